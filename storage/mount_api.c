#include "storage/mount_api.h"

#include <errno.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"

int gp_mount_open(const char *type)
{
    GP_AUTOFD int context = fsopen(type, FSOPEN_CLOEXEC);
    if (context < 0 || !gp_mount_set(context, "source", GP_MOUNT_SOURCE))
        return -1;
    return gp_steal_fd(&context);
}

gboolean gp_mount_set(int context, const char *key, const char *value)
{
    return fsconfig(context, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0) == 0;
}

int gp_mount_create(int context)
{
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return fsmount(context, FSMOUNT_CLOEXEC, 0);
}

char *gp_mount_log(int context)
{
    int saved = errno;
    GString *all = g_string_new(NULL);
    char line[1024];
    ssize_t got;
    /* One message a read(), "e overlay: text"; warnings and information ("w ", "i ") are not about the failure. */
    while ((got = read(context, line, sizeof line)) > 0) {
        if (got < 3 || line[0] != 'e')
            continue;
        g_autofree char *text = gp_escape(line + 2, got - 2, 256);
        g_string_append_printf(all, "%s%s", all->len ? "; " : "", g_strchomp(text));
    }
    errno = saved;
    return g_string_free(all, FALSE);
}
