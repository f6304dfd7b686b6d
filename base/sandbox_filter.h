/* The seccomp part of a sandbox (base/sandbox.h): the system calls that remain. */
#pragma once

#include "base/sandbox.h"

/* Loads an allowlist: a common core, what the profile adds, and death (SIGSYS) for the rest. Executable memory is
 * refused with EACCES, clone3 with ENOSYS (libc then uses clone, whose flags can be checked). Needs no_new_privs.
 * Errors: SANDBOX. */
gboolean gp_filter_enter(const GpSandboxProfile *profile, GError **error);
