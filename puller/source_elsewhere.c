#include "puller/source_elsewhere.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "puller/locations.h"
#include "puller/source_kind.h"

const GpReference *gp_source_physical(const GpSource *source)
{
    return source->location ? source->location->reference : NULL;
}

void gp_source_set_elsewhere(GpSource *source, const GpSourceElsewhere *elsewhere)
{
    source->elsewhere = *elsewhere;
}

/* ---- places */

static guint n_directories(const GpSource *source)
{
    guint count = 0;
    for (char *const *directory = source->elsewhere.directories; directory && *directory; directory++)
        count++;
    return count;
}

static guint n_others(const GpSource *source)
{
    const GpSourceElsewhere *elsewhere = &source->elsewhere;
    return elsewhere->locations && elsewhere->locations->len > elsewhere->first_location
               ? elsewhere->locations->len - elsewhere->first_location
               : 0;
}

const char *gp_source_place_directory(const GpSource *source, guint place)
{
    return place < n_directories(source) ? source->elsewhere.directories[place] : NULL;
}

const GpLocation *gp_source_place_location(const GpSource *source, guint place)
{
    guint own = n_directories(source);
    if (place <= own || place - own > n_others(source))
        return NULL;
    return source->elsewhere.locations->pdata[source->elsewhere.first_location + place - own - 1];
}

gboolean gp_source_place_is_local(const GpSource *source, guint place)
{
    return place < n_directories(source);
}

char *gp_source_place_describe(const GpSource *source, guint place)
{
    const char *directory = gp_source_place_directory(source, place);
    const GpLocation *location = gp_source_place_location(source, place);
    if (directory)
        return g_strdup_printf("blob directory %s", directory);
    if (!location)
        location = source->location;
    return location ? gp_location_describe(location) : g_strdup(source->path);
}

gboolean gp_source_place_failed(GpSource *source, guint place, const GError *problem)
{
    gboolean local = gp_source_place_is_local(source, place);
    if (place >= n_directories(source) + n_others(source))
        return FALSE;
    /* A directory that the host shares is the host's: whatever is wrong with it, the registry can do without it. */
    if (local ? problem->code == GP_ERROR_CANCELLED : !gp_locations_may_cure(problem))
        return FALSE;
    if (local && problem->code == GP_ERROR_NOT_FOUND)
        return TRUE;
    g_autofree char *where = gp_source_place_describe(source, place);
    gp_notes_add(source->elsewhere.notes, where, problem);
    return TRUE;
}

/* ---- directories */

static int open_at(int directory, const char *path, guint64 flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    return (int) syscall(SYS_openat2, directory, path, &how, sizeof how);
}

static gboolean check_file(int fd, guint64 size, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        gp_set_errno(error, errno, "stat");
        return FALSE;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "not a regular file");
        return FALSE;
    }
    if ((guint64) st.st_size == size)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INVALID,
        "the file has %" G_GUINT64_FORMAT " bytes, its descriptor says %" G_GUINT64_FORMAT, (guint64) st.st_size, size);
    return FALSE;
}

/* What it is, is known before it is opened: opening a device can do things by itself. The name is opened again to be
 * read, so it is looked at once more. */
static int open_blob(int directory, const char *path, guint64 size, GError **error)
{
    GP_AUTOFD int seen = open_at(directory, path, O_PATH);
    if (seen < 0 && errno == ENOENT)
        g_set_error(error, GP_ERROR, GP_ERROR_NOT_FOUND, "no such blob");
    else if (seen < 0 && (errno == ELOOP || errno == EXDEV))
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "a link or a mount on the way, which is not followed");
    else if (seen < 0)
        gp_set_errno(error, errno, "opening the blob");
    if (seen < 0 || !check_file(seen, size, error))
        return -1;
    GP_AUTOFD int fd = open_at(directory, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        gp_set_errno(error, errno, "opening the blob");
        return -1;
    }
    return check_file(fd, size, error) ? gp_steal_fd(&fd) : -1;
}

int gp_blob_directory_open(const char *directory, const GpDigest *digest, guint64 size, GError **error)
{
    GP_AUTOFD int root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (root < 0) {
        gp_set_errno(error, errno, "the directory");
        return -1;
    }
    g_autofree char *hex = gp_digest_to_hex(digest);
    g_autofree char *path = g_strdup_printf("blobs/%s/%s", gp_digest_algorithm_name(digest->algorithm), hex);
    g_autoptr(GError) cause = NULL;
    int fd = open_blob(root, path, size, &cause);
    if (fd < 0)
        g_propagate_prefixed_error(error, g_steal_pointer(&cause), "%s: ", path);
    return fd;
}
