/* Misuse that does not compile: functions without a size, with hidden state, or that start a shell. Included on the
 * command line before everything else, behind the headers that declare them. */
#pragma once

#ifndef __cplusplus
#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>

#define GP_BANNED(function) use_of_banned_function_##function

#undef strcpy
#define strcpy(d, s) GP_BANNED(strcpy)
#undef strcat
#define strcat(d, s) GP_BANNED(strcat)
#undef strncpy
#define strncpy(d, s, n) GP_BANNED(strncpy)
#undef strncat
#define strncat(d, s, n) GP_BANNED(strncat)
#undef sprintf
#define sprintf(...) GP_BANNED(sprintf)
#undef vsprintf
#define vsprintf(...) GP_BANNED(vsprintf)
#undef gets
#define gets(s) GP_BANNED(gets)
#undef strtok
#define strtok(s, d) GP_BANNED(strtok)
#undef atoi
#define atoi(s) GP_BANNED(atoi)
#undef atol
#define atol(s) GP_BANNED(atol)
#undef atoll
#define atoll(s) GP_BANNED(atoll)
#undef system
#define system(c) GP_BANNED(system)
#undef popen
#define popen(c, m) GP_BANNED(popen)
#undef tmpnam
#define tmpnam(s) GP_BANNED(tmpnam)
#undef mktemp
#define mktemp(s) GP_BANNED(mktemp)
#undef alloca
#define alloca(n) GP_BANNED(alloca)
#undef g_alloca
#define g_alloca(n) GP_BANNED(g_alloca)
#endif
