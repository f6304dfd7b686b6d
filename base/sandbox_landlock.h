/* The Landlock part of a sandbox (base/sandbox.h): which files may be read, by the kernel's ABI. */
#pragma once

#include "base/sandbox.h"

/* Allows reading below profile->read_below and nothing else; where the ABI has them, also no TCP binding (and no
 * connecting without profile->network), no signals and no abstract unix sockets out of the domain. A kernel without
 * Landlock offers nothing and is no error. Paths that do not exist are skipped. Needs no_new_privs. Errors: SANDBOX. */
gboolean gp_landlock_enter(const GpSandboxProfile *profile, GError **error);
