/* What a puller's end means: its exit status and its JSON on the one side, kata-agent's answer on the other. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/error.h"

/* Parses the standard output of a "guest-pull … --json" that ended with @wait_status. Returns its JSON when it
 * succeeded, a new reference. Errors: its own code and message (detail as hint), or SANDBOX (it crashed) or INTERNAL
 * (it said nothing that makes sense). */
json_t *gp_pull_report_parse(GBytes *output, int wait_status, GError **error);

/* Reads the standard output of "guest-pull pull --json" (@output, possibly hostile: the puller parsed hostile bytes)
 * that ended with
 * @wait_status. Returns the manifest digest's text, owned by the caller. Errors: the puller's own code and message
 * (detail as hint), or SANDBOX (it crashed) or INTERNAL (it said nothing that makes sense). */
char *gp_pull_report_read(GBytes *output, int wait_status, GError **error);

/* The text of a failure as kata-agent's users and tests know it: "[CDH] [ERROR]: Image Pull error: Failed to pull image
 * …", with "Not authorized" for AUTH, "Image policy rejected: Denied by policy" for POLICY and SIGNATURE, and the
 * decryption text for a KEY error about decryption. @image is escaped here. Owned by the caller. */
char *gp_pull_report_text(const char *image, const GError *why);
