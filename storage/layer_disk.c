#include "storage/layer_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/layer_finisher.h"

#define WHITEOUT_PREFIX ".wh."

static void set_implied(GpInode *inode)
{
    inode->mode = S_IFDIR | 0755;
    inode->implied = TRUE;
}

/* Reading it by umask(2) would change it for other threads in between. */
static mode_t read_umask(void)
{
    g_autofree char *status = NULL;
    unsigned int mask;
    const char *line =
        g_file_get_contents("/proc/self/status", &status, NULL, NULL) ? strstr(status, "\nUmask:") : NULL;
    return line && sscanf(line, "\nUmask: %o", &mask) == 1 && mask <= 0777 ? (mode_t) mask : 0777;
}

gboolean gp_layer_disk_init(GpLayerDisk *disk, int root_fd, GpLayerTree *tree, GError **error)
{
    *disk = (GpLayerDisk){.root_fd = root_fd, .tree = tree, .directory = tree->root, .directory_fd = -1};
    set_implied(tree->root->inode);
    /* A set-group-id bit, which the directory may have inherited with its group, would be handed on below. */
    if (fchown(root_fd, geteuid(), getegid()) < 0 || fchmod(root_fd, 0700) < 0) {
        gp_set_errno(error, errno, "layer directory");
        return FALSE;
    }
    struct stat st;
    if (fstat(root_fd, &st) < 0 || !S_ISDIR(st.st_mode)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "layer directory: not a directory");
        return FALSE;
    }
    disk->files_are_ours = geteuid() == 0 && getegid() == 0;
    disk->umask = read_umask();
    return TRUE;
}

static void leave(GpLayerDisk *disk)
{
    if (disk->finisher)
        gp_finisher_close(disk->finisher, &disk->directory_fd);
    else
        gp_close_fd(&disk->directory_fd);
    g_clear_pointer(&disk->directory_path, g_free);
}

void gp_layer_disk_clear(GpLayerDisk *disk)
{
    leave(disk);
}

static int open_beneath(int directory_fd, const char *path, GError **error)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = (int) syscall(SYS_openat2, directory_fd, *path ? path : ".", &how, sizeof how);
    if (fd < 0) {
        int err = errno;
        g_autofree char *shown = gp_escape(path, -1, 256);
        gp_set_errno(error, err, "layer directory: opening \"%s\"", shown);
    }
    return fd;
}

static void append_path(const GpNode *node, GString *path)
{
    if (!node->parent)
        return;
    append_path(node->parent, path);
    if (path->len)
        g_string_append_c(path, '/');
    g_string_append(path, node->name);
}

int gp_layer_disk_open(const GpLayerDisk *disk, const GpNode *node, GError **error)
{
    g_autoptr(GString) path = g_string_new(NULL);
    append_path(node, path);
    return open_beneath(disk->root_fd, path->str, error);
}

static gboolean disk_error(const char *what, const char *name, GError **error)
{
    int err = errno;
    g_autofree char *shown = gp_escape(name, -1, 256);
    gp_set_errno(error, err, "layer directory: %s \"%s\"", what, shown);
    return FALSE;
}

gboolean gp_layer_disk_remove(GpLayerDisk *disk, GpNode *node, GError **error)
{
    if (S_ISDIR(node->inode->mode)) {
        if (!gp_remove_tree(disk->directory_fd, node->name, error))
            return FALSE;
    } else if (unlinkat(disk->directory_fd, node->name, 0) < 0) {
        return disk_error("replacing", node->name, error);
    }
    gp_layer_tree_remove(disk->tree, node);
    return TRUE;
}

static GpNode *make_directory(GpLayerDisk *disk, GpNode *parent, int parent_fd, const char *name, GError **error)
{
    /* 0700 and default attributes until the end: what is created inside must not inherit, and nobody looks. */
    if (mkdirat(parent_fd, name, 0700) < 0) {
        (void) disk_error("creating", name, error);
        return NULL;
    }
    GpNode *node = gp_layer_tree_add(disk->tree, parent, name, NULL);
    set_implied(node->inode);
    return node;
}

GpNode *gp_layer_disk_make_directory(GpLayerDisk *disk, const char *name, GError **error)
{
    return make_directory(disk, disk->directory, disk->directory_fd, name, error);
}

static gboolean refuse_parent(const char *path, const GpNode *node, GError **error)
{
    g_autofree char *shown = gp_escape(path, -1, 256);
    g_autoptr(GString) parent = g_string_new(NULL);
    append_path(node, parent);
    g_autofree char *shown_parent = gp_escape(parent->str, -1, 256);
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "forbidden path \"%s\": \"%s\" is %s in the same layer", shown,
        shown_parent, S_ISLNK(node->inode->mode) ? "a symbolic link" : "not a directory");
    return FALSE;
}

/* Steps from @parent, open as *@fd, into directory @name, making it if need be. */
static GpNode *step(GpLayerDisk *disk, GpNode *parent, int *fd, const char *name, const char *path, GError **error)
{
    GpNode *node = gp_layer_child(disk->tree, parent, name);
    gboolean opaque = FALSE;
    if (node && node->inode->whiteout) {
        /* The name was whited out and comes back with children: nothing of the lower layers shows through. */
        if (unlinkat(*fd, name, 0) < 0) {
            (void) disk_error("replacing", name, error);
            return NULL;
        }
        gp_layer_tree_remove(disk->tree, node);
        node = NULL;
        opaque = TRUE;
    }
    if (node && !S_ISDIR(node->inode->mode)) {
        (void) refuse_parent(path, node, error);
        return NULL;
    }
    if (!node && !(node = make_directory(disk, parent, *fd, name, error)))
        return NULL;
    if (opaque) {
        node->inode->opaque = TRUE;
        node->inode->implied = FALSE; /* not even the attributes of a lower one show through */
    }
    int next = open_beneath(*fd, name, error);
    if (next < 0)
        return NULL;
    gp_close_fd(fd);
    *fd = next;
    return node;
}

/* The deepest node on the way to @directory that is a directory of the tree; *@rest is what is left to make. */
static GpNode *deepest(const GpLayerDisk *disk, char *const *parts, guint *n_found)
{
    GpNode *node = disk->tree->root;
    for (*n_found = 0; parts[*n_found]; ++*n_found) {
        GpNode *child = gp_layer_child(disk->tree, node, parts[*n_found]);
        if (!child || !S_ISDIR(child->inode->mode))
            break;
        node = child;
    }
    return node;
}

static gboolean enter_directory(GpLayerDisk *disk, const char *directory, const char *path, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(directory, "/", -1);
    for (guint i = 0; parts[i]; i++)
        if (g_str_has_prefix(parts[i], WHITEOUT_PREFIX)) {
            g_autofree char *shown = gp_escape(path, -1, 256);
            g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "forbidden path \"%s\": it lies below a whiteout", shown);
            return FALSE;
        }
    guint at;
    GpNode *node = deepest(disk, parts, &at);
    GP_AUTOFD int fd = gp_layer_disk_open(disk, node, error);
    if (fd < 0)
        return FALSE;
    for (; parts[at]; at++)
        if (!(node = step(disk, node, &fd, parts[at], path, error)))
            return FALSE;
    leave(disk);
    disk->directory_path = g_strdup(directory);
    disk->directory = node;
    disk->directory_fd = gp_steal_fd(&fd);
    return TRUE;
}

gboolean gp_layer_disk_enter(GpLayerDisk *disk, const char *path, const char **name, GError **error)
{
    const char *slash = strrchr(path, '/');
    gsize length = slash ? (gsize) (slash - path) : 0;
    *name = slash ? slash + 1 : path;
    if (disk->directory_path && strlen(disk->directory_path) == length &&
        strncmp(disk->directory_path, path, length) == 0)
        return TRUE;
    g_autofree char *directory = g_strndup(path, length);
    return enter_directory(disk, directory, path, error);
}

void gp_layer_fill(GpLayerTree *tree, GpInode *inode, GpEntry *entry)
{
    inode->mode = entry->mode;
    inode->uid = entry->uid;
    inode->gid = entry->gid;
    inode->mtime = entry->mtime;
    inode->size = entry->size;
    inode->rdev_major = entry->rdev_major;
    inode->rdev_minor = entry->rdev_minor;
    inode->implied = FALSE;
    inode->symlink = S_ISLNK(entry->mode) ? gp_layer_tree_text(tree, entry->link_target) : NULL;
    if (inode->xattrs)
        g_array_unref(inode->xattrs);
    inode->xattrs = g_steal_pointer(&entry->xattrs);
}
