/* For tables of JSON documents: rows are written with ' in place of ", and every row is a test of its own. */
#pragma once

#include <glib.h>

static inline char *rows_json(const char *text)
{
    return g_strdelimit(g_strdup(text), "'", '"');
}

static inline GBytes *rows_bytes(const char *text)
{
    return g_bytes_new(text, strlen(text));
}

/* Fails the test unless @error has @code and its message contains @reason. */
static inline void rows_assert_refused(const GError *error, GQuark domain, int code, const char *reason)
{
    if (!error)
        g_error("accepted, expected \"%s\"", reason);
    g_assert_error(error, domain, code);
    if (!strstr(error->message, reason))
        g_error("expected \"%s\", got \"%s\"", reason, error->message);
}

/* Fails the test if there is an error. */
static inline void rows_assert_accepted(const GError *error)
{
    if (error)
        g_error("refused: %s", error->message);
}

/* Registers a test for every row of @rows; a row begins with its name (a "const char *"). */
#define ROWS_ADD(prefix, rows, function)                                                                               \
    for (gsize row_ = 0; row_ < G_N_ELEMENTS(rows); row_++) {                                                          \
        g_autofree char *path_ = g_strconcat(prefix, (rows)[row_].name, NULL);                                         \
        g_test_add_data_func(path_, &(rows)[row_], function);                                                          \
    }
