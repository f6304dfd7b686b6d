/* What an answer's status line and fields mean: pure decisions. */
#pragma once

#include <curl/curl.h>
#include <glib.h>

#include "base/error.h"
#include "puller/worker_exchange.h"

/* What was asked. */
typedef struct {
    gboolean is_blob;
    guint64 size;         /* of the blob, exact */
    guint64 range_start;  /* 0: all of it was asked for */
    guint64 range_length; /* 0: to the end */
} GpAnswerPlan;

/* Whether a 200 or 206 is what was asked for, before a byte of its body is taken; other statuses pass. Errors: INVALID.
 */
gboolean gp_answer_check(const GpAnswer *answer, const GpAnswerPlan *plan, GError **error);

/* 429 and the 5xx that may pass. */
gboolean gp_status_is_temporary(int status);
/* What registries without the referrers API (distribution-spec 1.1) answer to a question for referrers. */
gboolean gp_status_lacks_referrers(int status);
/* The error of a final status; @code is the registry's own word for it, or NULL. */
GpErrorCode gp_status_error_code(int status, const char *code);
/* Seconds; 0 when the server does not say. */
guint gp_answer_retry_after(const GpAnswer *answer, guint max);

/* Milliseconds to wait before the try behind @tries (1, 2, …) that failed: doubled each time, and never quite the same.
 */
guint gp_backoff_ms(guint tries);

GpErrorCode gp_curl_error_code(CURLcode result);
gboolean gp_curl_is_temporary(CURLcode result);
