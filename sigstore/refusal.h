/* Why evidence is not good enough: a machine word, then words for people. docs/sigstore.md lists the words. */
#pragma once

#include <glib.h>

/* Sets a SIGNATURE error "@word: …"; always FALSE. Text of others in it is to be escaped by the caller. */
gboolean gp_refuse(GError **error, const char *word, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Makes the error of a parser (INVALID, LIMIT) a refusal: "limit: …" for LIMIT, else "@word: …". Takes @cause; always
 * FALSE. */
gboolean gp_refuse_cause(GError **error, const char *word, GError *cause);
