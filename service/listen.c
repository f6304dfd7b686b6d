#include "service/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/log.h"

#define FIRST_INHERITED 3
#define BACKLOG 64

static void fill_address(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    g_strlcpy(address->sun_path, path, sizeof address->sun_path);
}

/* Makes room at @path: absent is fine, a dead socket goes, anything else stays and is an error. */
static gboolean remove_stale(const char *path, GError **error)
{
    struct stat st;
    if (lstat(path, &st) < 0) {
        if (errno == ENOENT)
            return TRUE;
        gp_set_errno(error, errno, "%s", path);
        return FALSE;
    }
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: there is something that is not a socket", path);
        return FALSE;
    }
    struct sockaddr_un address;
    fill_address(&address, path);
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        gp_set_errno(error, errno, "socket");
        return FALSE;
    }
    if (connect(fd, (struct sockaddr *) &address, sizeof address) == 0 || errno != ECONNREFUSED) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: another process serves this socket\nEnd it first.", path);
        return FALSE;
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        gp_set_errno(error, errno, "removing the stale socket %s", path);
        return FALSE;
    }
    return TRUE;
}

int gp_listen_unix(const char *path, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(path);
    if (!gp_mkdir_p(directory, 0755, error) || !remove_stale(path, error))
        return -1;
    struct sockaddr_un address;
    fill_address(&address, path);
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        gp_set_errno(error, errno, "socket");
        return -1;
    }
    /* The mode must be right from the first moment on, and there is no fchmod() for a name in the file system. */
    mode_t mask = umask(0177);
    int bound = bind(fd, (struct sockaddr *) &address, sizeof address);
    int err = errno;
    umask(mask);
    if (bound < 0 || listen(fd, BACKLOG) < 0) {
        gp_set_errno(error, bound < 0 ? err : errno, "listening on %s", path);
        return -1;
    }
    return gp_steal_fd(&fd);
}

void gp_listen_remove(const char *path, int fd)
{
    struct sockaddr_un address;
    struct stat st;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *) &address, &length) == 0 &&
        length > offsetof(struct sockaddr_un, sun_path) && g_str_equal(address.sun_path, path) &&
        lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void) unlink(path);
}

static gboolean check_inherited(int fd, GError **error)
{
    int listening = 0, domain = 0, type = 0;
    socklen_t length = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && listening && domain == AF_UNIX &&
        type == SOCK_STREAM && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
        "descriptor %d from the supervisor is not a listening unix stream socket\nUse ListenStream=PATH.", fd);
    return FALSE;
}

int gp_listen_inherited(const char *name, GError **error)
{
    const char *pid_text = g_getenv("LISTEN_PID");
    const char *count_text = g_getenv("LISTEN_FDS");
    guint64 pid, count;
    if (!pid_text || !count_text || !g_ascii_string_to_unsigned(pid_text, 10, 1, G_MAXINT32, &pid, NULL) ||
        !g_ascii_string_to_unsigned(count_text, 10, 1, 64, &count, NULL) || (pid_t) pid != getpid())
        return -1;
    const char *names_text = g_getenv("LISTEN_FDNAMES");
    g_auto(GStrv) names = g_strsplit(names_text ? names_text : "", ":", -1);
    guint n_names = g_strv_length(names);
    for (guint i = 0; i < count; i++) {
        const char *its_name = i < n_names ? names[i] : "";
        gboolean wanted = name ? g_str_equal(its_name, name) : !g_str_equal(its_name, "status");
        if (!wanted)
            continue;
        int fd = FIRST_INHERITED + (int) i;
        return check_inherited(fd, error) ? fd : -1;
    }
    return -1;
}

int gp_listen_accept(int listen_fd)
{
    GP_AUTOFD int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
            gp_log(G_LOG_LEVEL_WARNING, NULL, "accept: %s", g_strerror(errno));
        return -1;
    }
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -1;
    if (peer.uid != 0 && peer.uid != geteuid()) {
        gp_log(G_LOG_LEVEL_WARNING, NULL, "turned away a connection of user %u (process %d)", (unsigned) peer.uid,
            (int) peer.pid);
        return -1;
    }
    return gp_steal_fd(&fd);
}

void gp_listen_notify(const char *state)
{
    const char *where = g_getenv("NOTIFY_SOCKET");
    if (!where || (where[0] != '/' && where[0] != '@'))
        return;
    struct sockaddr_un address;
    fill_address(&address, where);
    socklen_t length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(address.sun_path));
    if (where[0] == '@')
        address.sun_path[0] = '\0';
    GP_AUTOFD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        (void) sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *) &address, length);
}
