/* One entry of a Rekor log: is it in a log that is trusted, since when, and is it about this signature? */
#pragma once

#include "sigstore/bundle.h"
#include "sigstore/rekor_body.h"
#include "sigstore/trusted_root.h"

/* Verifies @entry: its log is one of @root's; its promise (SET), if it is Rekor v1's and there is one, its inclusion
 * proof and checkpoint, if there is one, at least one of the two; its body (gp_rekor_body_check()). *@time: the
 * integrated time if a promise vouches for it and the log's key was valid then, else -1 (CVE-2024-55655). *@found:
 * whose it is, borrowed from @root. Errors: SIGNATURE "log-unknown: ", "set-signature: ", "log-key-not-valid-then: ",
 * "checkpoint-…: ", "inclusion-proof: ", "log-entry-not-bound: ". */
gboolean gp_rekor_verify(const GpLogEntry *entry, const GpTrustedRoot *root, const GpLogBinding *binding, gint64 *time,
    const GpTrustedLog **found, GError **error);
