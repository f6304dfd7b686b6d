/* Starting a program as the leader of a process group of its own, so that it and all that it started can be ended
 * together. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    pid_t pid; /* also the id of its process group; 0: none */
    int pidfd; /* readable once the program has ended; -1: none */
} GpChild;

typedef struct {
    const char *const *argv; /* argv[0]: an absolute path */
    char **envp;
    int stdout_fd;  /* -1: our standard error */
    const int *fds; /* become descriptors 3, 4… of the program; NULL: none */
    gsize n_fds;    /* GP_CHILD_FDS at most */
    int death_signal;
    gboolean expendable; /* when memory runs out, the kernel ends it or what it starts before us and containers */
} GpChildStart;

#define GP_CHILD_FDS 4

/* Starts a program with /dev/null as standard input, our standard error, default signals and no descriptor but those
 * named. It gets the death signal when this process dies. The descriptors are borrowed. Errors: INTERNAL, NOT_FOUND (no
 * such program). */
gboolean gp_child_spawn(const GpChildStart *asked, GpChild *child, GError **error);

/* From now on, when memory runs out, the kernel ends others before this process, where we may say so; children that are
 * started from here on are what this process was before, or expendable. */
void gp_child_outlive_pullers(void);

/* Our environment without what the supervisor of this process meant for it alone (LISTEN_FDS, NOTIFY_SOCKET…). To be
 * freed with g_strfreev(). */
char **gp_child_environment(void);

/* Sends @signal to the program (@group: to its whole group). Does nothing if there is none. */
void gp_child_signal(const GpChild *child, int signal, gboolean group);

/* For a program that has ended (pidfd readable): kills what is left of its group, then reaps it. Returns the wait
 * status and clears @child. */
int gp_child_reap(GpChild *child);

/* "exit status 3" or "killed by signal 9 (Killed)"; owned by the caller. */
char *gp_child_describe(int wait_status);
