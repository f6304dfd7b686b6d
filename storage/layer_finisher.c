#include "storage/layer_finisher.h"

#include "base/error.h"
#include "base/io.h"
#include "storage/object.h"

/* Each is an open file, and as much memory as its content: enough that neither thread waits for the other's next. */
#define SLOTS 32
#define MOST_BYTES (8 * GP_FINISHER_SIZE) /* of content in all of them */

typedef struct {
    int fd;           /* the file; or a directory that is only to be closed, then all else is not set */
    int directory_fd; /* the file's; closed by a later job */
    GpNode *node;
    guint8 *data;
    gsize size;
} Job;

struct _GpFinisher {
    const GpLayerDisk *disk;
    int objects_fd;
    GThread *thread; /* NULL until there is something to do */
    GMutex lock;
    GCond changed; /* for whoever waits: the thread for jobs, the writer for room or the end */
    /* Under the lock: */
    Job jobs[SLOTS];
    guint first, count; /* the one that the thread works on counts until it is finished */
    gsize bytes;        /* of their content */
    gboolean thread_waits, writer_waits, ended;
    GError *error;
};

GpFinisher *gp_finisher_new(const GpLayerDisk *disk, int objects_fd)
{
    GpFinisher *finisher = g_new0(GpFinisher, 1);
    finisher->disk = disk;
    finisher->objects_fd = objects_fd;
    g_mutex_init(&finisher->lock);
    g_cond_init(&finisher->changed);
    return finisher;
}

static void drop(Job *job)
{
    gp_close_fd(&job->fd);
    g_clear_pointer(&job->data, g_free);
}

static gboolean finish(const GpFinisher *finisher, GpHasher *hasher, const Job *job, GError **error)
{
    GpInode *inode = job->node->inode;
    GpDigest digest;
    if (!gp_write_all(job->fd, job->data, job->size, error)) {
        g_autofree char *shown = gp_escape(job->node->name, -1, 256);
        g_prefix_error(error, "layer directory: writing \"%s\": ", shown);
        return FALSE;
    }
    gp_object_hasher_start(hasher, inode->uid, inode->gid, inode->mode, NULL, NULL);
    gp_hasher_update(hasher, job->data, job->size);
    gp_hasher_finish(hasher, &digest);
    memcpy(inode->object, digest.bytes, sizeof inode->object);
    inode->has_object = TRUE;
    return gp_layer_disk_apply_open(finisher->disk, job->fd, job->node->name, inode, error) &&
           gp_object_link(finisher->objects_fd, inode->object, job->directory_fd, job->node->name, error);
}

/* The next job; FALSE at the end. Called and left with the lock held. */
static gboolean wait_for_job(GpFinisher *finisher)
{
    while (finisher->count == 0 && !finisher->ended) {
        finisher->thread_waits = TRUE;
        g_cond_wait(&finisher->changed, &finisher->lock);
    }
    finisher->thread_waits = FALSE;
    return !finisher->ended;
}

static gpointer run(gpointer data)
{
    GpFinisher *finisher = data;
    g_autoptr(GpHasher) hasher = gp_hasher_new(GP_DIGEST_SHA256);
    g_mutex_lock(&finisher->lock);
    while (wait_for_job(finisher)) {
        Job *job = &finisher->jobs[finisher->first];
        gsize size = job->size;
        gboolean skip = finisher->error != NULL || !job->node;
        GError *error = NULL;
        g_mutex_unlock(&finisher->lock);
        if (!skip)
            (void) finish(finisher, hasher, job, &error);
        drop(job);
        g_mutex_lock(&finisher->lock);
        if (error)
            finisher->error = error;
        finisher->first = (finisher->first + 1) % SLOTS;
        finisher->count--;
        finisher->bytes -= size;
        if (finisher->writer_waits && finisher->count <= SLOTS / 2)
            g_cond_broadcast(&finisher->changed);
    }
    g_mutex_unlock(&finisher->lock);
    return NULL;
}

void gp_finisher_free(GpFinisher *finisher)
{
    if (!finisher)
        return;
    g_mutex_lock(&finisher->lock);
    finisher->ended = TRUE;
    g_cond_broadcast(&finisher->changed);
    g_mutex_unlock(&finisher->lock);
    if (finisher->thread)
        g_thread_join(finisher->thread);
    for (; finisher->count > 0; finisher->count--, finisher->first = (finisher->first + 1) % SLOTS)
        drop(&finisher->jobs[finisher->first]);
    g_clear_error(&finisher->error);
    g_mutex_clear(&finisher->lock);
    g_cond_clear(&finisher->changed);
    g_free(finisher);
}

/* Waits until at most @most jobs with @bytes of content are left, or something went wrong. Called and left with the
 * lock held. */
static gboolean wait_for_room(GpFinisher *finisher, guint most, gsize bytes, GError **error)
{
    while (finisher->count > most || finisher->bytes > bytes) {
        finisher->writer_waits = TRUE;
        g_cond_wait(&finisher->changed, &finisher->lock);
    }
    finisher->writer_waits = FALSE;
    if (!finisher->error)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&finisher->error));
    return FALSE;
}

/* Called with the lock held, when there is room. */
static void add(GpFinisher *finisher, const Job *job)
{
    finisher->jobs[(finisher->first + finisher->count++) % SLOTS] = *job;
    finisher->bytes += job->size;
    if (finisher->thread_waits)
        g_cond_broadcast(&finisher->changed);
}

gboolean gp_finisher_put(GpFinisher *finisher, int *fd, GpNode *node, guint8 **data, gsize size, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (!finisher->thread)
        finisher->thread = g_thread_try_new("finish", run, finisher, &cause);
    if (cause) {
        g_set_error(error, GP_ERROR, GP_ERROR_SPACE, "no thread for a layer's files: %s", cause->message);
        return FALSE;
    }
    g_mutex_lock(&finisher->lock);
    gboolean ok = wait_for_room(finisher, SLOTS - 1, MOST_BYTES - size, error);
    if (ok) {
        Job job = {.fd = gp_steal_fd(fd),
            .directory_fd = finisher->disk->directory_fd,
            .node = node,
            .data = g_steal_pointer(data),
            .size = size};
        add(finisher, &job);
    }
    g_mutex_unlock(&finisher->lock);
    return ok;
}

void gp_finisher_close(GpFinisher *finisher, int *directory_fd)
{
    g_mutex_lock(&finisher->lock);
    /* What went wrong is told with the next file. */
    while (finisher->count == SLOTS) {
        finisher->writer_waits = TRUE;
        g_cond_wait(&finisher->changed, &finisher->lock);
    }
    finisher->writer_waits = FALSE;
    Job job = {.fd = gp_steal_fd(directory_fd)};
    if (finisher->count > 0)
        add(finisher, &job);
    else
        gp_close_fd(&job.fd);
    g_mutex_unlock(&finisher->lock);
}

gboolean gp_finisher_drain(GpFinisher *finisher, GError **error)
{
    g_mutex_lock(&finisher->lock);
    gboolean ok = wait_for_room(finisher, 0, 0, error);
    g_mutex_unlock(&finisher->lock);
    return ok;
}
