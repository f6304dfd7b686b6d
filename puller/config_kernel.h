/* The kernel's command line, as far as kata's image keys are on it. */
#pragma once

#include <glib.h>

/* The value of the last "key=value" in @text whose key is @key; "" for "key" alone, NULL when there is none. Words are
 * separated by blanks; double quotes hold a word together, as the kernel reads them. Caller's. */
char *gp_kernel_parameter(const char *text, const char *key);
