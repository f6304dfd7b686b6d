/* A refusal is tested by its code and its reason: an input refused for another reason proves nothing. */
#pragma once

#include "base/error.h"

/* Asserts that @error has @code and that its text contains @reason; frees it. @input names the row in a failure. */
static inline void expect_refusal(GError **error, GpErrorCode code, const char *reason, const char *input)
{
    if (!*error)
        g_error("accepted, but should be refused (%s): %s", reason, input);
    if ((*error)->domain != GP_ERROR || (*error)->code != (int) code || !strstr((*error)->message, reason))
        g_error("%s: expected code %d with \"%s\", got code %d: %s", input, code, reason, (*error)->code,
            (*error)->message);
    g_clear_error(error);
}

/* Asserts that there is no error. */
static inline void expect_success(const GError *error, const char *input)
{
    if (error)
        g_error("refused, but should be accepted: %s: %s", input, error->message);
}

static inline GBytes *text_bytes(const char *text)
{
    return g_bytes_new(text, strlen(text));
}

/* Documents in tables are written with ' in place of ". */
static inline char *rows_json(const char *text)
{
    return g_strdelimit(g_strdup(text), "'", '"');
}

/* Registers a test for every row of @rows; a row begins with its name (a "const char *"). */
#define ROWS_ADD(prefix, rows, function)                                                                               \
    for (gsize row_ = 0; row_ < G_N_ELEMENTS(rows); row_++) {                                                          \
        g_autofree char *path_ = g_strconcat(prefix, (rows)[row_].name, NULL);                                         \
        g_test_add_data_func(path_, &(rows)[row_], function);                                                          \
    }
