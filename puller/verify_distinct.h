/* Counting signers for "so many of several". */
#pragma once

#include <glib.h>

/* @sets: for each of several requirements a GPtrArray of the signers (char*) that satisfied it. How many of them can be
 * satisfied at once when every signer stands for one only: a maximum matching, so that it does not matter in which
 * order requirements and signatures come. */
guint gp_verify_count_distinct(GPtrArray *sets);
