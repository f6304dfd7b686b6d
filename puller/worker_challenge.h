/* WWW-Authenticate (RFC 9110 11.6.1) as registries send it: several challenges in one field, quoted strings, any letter
 * case. */
#pragma once

#include <glib.h>

typedef struct {
    char *scheme; /* lower case: "bearer", "basic" */
    char *realm;  /* NULL when absent, like the others */
    char *service;
} GpChallenge;

/* Adds the challenges of one field value to @challenges (GpChallenge*). Unknown parameters are skipped. Errors: INVALID
 * for what does not fit the grammar, a parameter that occurs twice, or more than a registry could mean. */
gboolean gp_challenges_parse(const char *field, GPtrArray *challenges, GError **error);
GPtrArray *gp_challenges_new(void);

/* The one to answer: the first Bearer with a realm, else the first Basic, else NULL. Borrowed. */
const GpChallenge *gp_challenges_choose(const GPtrArray *challenges);
