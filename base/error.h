/* One error domain for the whole program: every failure has one code, and every code has one exit status, one JSON
 * name, one gRPC status and one answer to "may I try again?". See docs/architecture.md, "Errors".
 *
 * Contract of every function that takes a GError **error: it returns FALSE, NULL or -1 exactly when it set the error,
 * and it sets it once. Callers add context with g_prefix_error(), which keeps the code.
 *
 * Message form: "what happened, naming the thing"; text behind the first newline is the hint: what the person can do.
 */
#pragma once

#include <glib.h>

#define GP_ERROR (gp_error_quark())

typedef enum {
    GP_ERROR_INTERNAL,    /* our fault, or a system call that should not have failed */
    GP_ERROR_USAGE,       /* command line or configuration */
    GP_ERROR_POLICY,      /* the policy rejects, or there is none */
    GP_ERROR_SIGNATURE,   /* signatures were needed and none was accepted */
    GP_ERROR_DIGEST,      /* bytes are not what was named */
    GP_ERROR_AUTH,        /* the registry refused us */
    GP_ERROR_NOT_FOUND,   /* no such image, tag, blob or resource */
    GP_ERROR_NETWORK,     /* unreachable, timed out, broken off */
    GP_ERROR_INVALID,     /* malformed or forbidden input */
    GP_ERROR_LIMIT,       /* a ceiling of base/limits.h, or a quota */
    GP_ERROR_SPACE,       /* the store or memory is full */
    GP_ERROR_UNSUPPORTED, /* media type, algorithm, platform, kernel feature */
    GP_ERROR_KEY,         /* a key, certificate or KBS resource could not be had */
    GP_ERROR_SANDBOX,     /* a worker died or could not be confined */
    GP_ERROR_CANCELLED,   /* deadline or signal */
} GpErrorCode;

#define GP_ERROR_N_CODES (GP_ERROR_CANCELLED + 1)

/* What the outside sees of a code; design contract of the command line and of ttrpc. */
typedef struct {
    const char *name; /* JSON "code" */
    int exit_status;
    int grpc_status; /* google.rpc.Code, for the service */
    gboolean retryable;
} GpErrorInfo;

GQuark gp_error_quark(void);

/* The row of @code; never NULL. Codes outside the enum count as GP_ERROR_INTERNAL. */
const GpErrorInfo *gp_error_info(int code);

/* The code of @error: its own if it is of our domain, else GP_ERROR_INTERNAL. */
GpErrorCode gp_error_code(const GError *error);

/* The code whose JSON name is @name, e.g. from a worker's report; FALSE (and @code untouched) if there is none. */
gboolean gp_error_code_from_name(const char *name, GpErrorCode *code);

/* Sets @error from errno value @err with the context @format…: ENOSPC, EDQUOT and ENOMEM become SPACE, what a disk that
 * was tampered with comes to (EIO, EILSEQ, EBADMSG, EUCLEAN) DIGEST, EROFS UNSUPPORTED, all others INTERNAL.
 * gp_errno_text() is appended.
 */
void gp_set_errno(GError **error, int err, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* The text of @err; behind that of a disk's error stands "(integrity: …)". Owned by the caller. */
char *gp_errno_text(int err);

/* Is it such an error of a disk? */
gboolean gp_error_is_integrity(const GError *error);

/* The text of an error, foreign or ours, which names integrity where a disk is to blame. The caller's. */
char *gp_foreign_text(const GError *foreign);

/* Turns a foreign error (GIO's from libostree, say) into ours with the context @format…; consumes *@foreign and leaves
 * it NULL. G_IO_ERROR_NO_SPACE and ENOMEM become SPACE, G_IO_ERROR_CANCELLED CANCELLED, NOT_FOUND NOT_FOUND, an error
 * of the disk DIGEST as with gp_set_errno(), the rest @otherwise. */
void gp_propagate_foreign(GError **error, GError **foreign, GpErrorCode otherwise, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* Message and hint of @error apart, both to be freed; @hint is NULL when the message has none. */
void gp_error_split(const GError *error, char **message, char **hint);

/* @text with everything that is not printable (control characters, invalid UTF-8, bidirectional overrides) written as
 * \xNN or \u{NNNN}, cut to @max bytes with "…". For whatever came from a registry, an archive or a worker, before it
 * enters a message, a terminal or a log. Owned by the caller. */
char *gp_escape(const char *text, gssize length, gsize max);
