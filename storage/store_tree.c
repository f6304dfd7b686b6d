#include "storage/store_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/io.h"
#include "storage/object.h"

#define SCRATCH "object"
#define SIDECAR_SCRATCH "sidecar"
#define TREE_SCRATCH "tree"
#define PIECE (64 * 1024)    /* of a tree that is in memory */
#define COMPARED (64 * 1024) /* bytes at a time */

typedef struct {
    GpLayerTree *tree;
    int objects_fd, scratch_fd;
    GpHasher *hasher;
    GHashTable *metadata; /* GBytes of a dirmeta object to its checksum: most directories have the same attributes */
    GpLayerTree *side;    /* of objects that libostree's trees cannot name, by checksum */
} Writer;

/* ---- objects */

static gboolean failed(const char *what, GError **error)
{
    gp_set_errno(error, errno, "store: a tree's object: %s", what);
    return FALSE;
}

/* The directory of objects that begin as @path does. */
static gboolean make_prefix(const Writer *writer, const char *path)
{
    char prefix[3] = {path[0], path[1], '\0'};
    return mkdirat(writer->objects_fd, prefix, 0775) == 0 || errno == EEXIST;
}

static int create_scratch(const Writer *writer, const char *name, GError **error)
{
    GP_AUTOFD int fd = openat(writer->scratch_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fchown(fd, 0, 0) < 0 || fchmod(fd, 0644) < 0) {
        (void) failed("creating", error);
        return -1;
    }
    return gp_steal_fd(&fd);
}

static gboolean move_object(const Writer *writer, const char *scratch, const char *path, GError **error)
{
    int status = renameat(writer->scratch_fd, scratch, writer->objects_fd, path);
    if (status < 0 && errno == ENOENT && make_prefix(writer, path))
        status = renameat(writer->scratch_fd, scratch, writer->objects_fd, path);
    return status == 0 || failed("naming", error);
}

/* Makes the object's file where it is scratch, as a whole, and then moves it into place. */
static gboolean replace_object(const Writer *writer, const char *path, const guint8 *data, gsize size, GError **error)
{
    GP_AUTOFD int fd = create_scratch(writer, SCRATCH, error);
    return fd >= 0 && gp_write_all(fd, data, size, error) && move_object(writer, SCRATCH, path, error);
}

/* Does the object hold just these bytes? A process that was killed while it wrote leaves fewer. */
static gboolean is_complete(const Writer *writer, const char *path, const guint8 *data, gsize size)
{
    GP_AUTOFD int fd = openat(writer->objects_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (guint64) st.st_size != size)
        return FALSE;
    g_autofree guint8 *there = g_malloc(size + 1);
    return gp_read_full(fd, there, size, NULL) == (gssize) size && memcmp(there, data, size) == 0;
}

static int create_object(const Writer *writer, const char *path)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(writer->objects_fd, path, flags, 0644);
    if (fd < 0 && errno == ENOENT && make_prefix(writer, path))
        fd = openat(writer->objects_fd, path, flags, 0644);
    return fd;
}

/* A dirtree or dirmeta object. Written in place, which costs half: no ref leads to a half object, and whoever wants the
 * same one looks (and may replace it under the hands of a writer, who then writes to what nobody sees). */
static gboolean put_object(
    const Writer *writer, const guint8 checksum[32], const char *suffix, const guint8 *data, gsize size, GError **error)
{
    char path[GP_OBJECT_PATH_SIZE + 3];
    gp_object_path(checksum, path);
    memcpy(strrchr(path, '.'), suffix, strlen(suffix) + 1);
    GP_AUTOFD int fd = create_object(writer, path);
    if (fd < 0 && errno == EEXIST)
        return is_complete(writer, path, data, size) || replace_object(writer, path, data, size, error);
    if (fd < 0)
        return failed("creating", error);
    return gp_write_all(fd, data, size, error);
}

static gboolean put_metadata_object(
    const Writer *writer, const char *suffix, const guint8 *data, gsize size, guint8 checksum[32], GError **error)
{
    GpDigest digest;
    gp_hasher_restart(writer->hasher);
    gp_hasher_update(writer->hasher, data, size);
    gp_hasher_finish(writer->hasher, &digest);
    memcpy(checksum, digest.bytes, 32);
    return put_object(writer, checksum, suffix, data, size, error);
}

/* Do the two files hold the same? */
static gboolean are_same(int a, int b)
{
    g_autofree guint8 *left = g_malloc(COMPARED), *right = g_malloc(COMPARED);
    struct stat st[2];
    if (fstat(a, &st[0]) < 0 || fstat(b, &st[1]) < 0 || !S_ISREG(st[1].st_mode) || st[0].st_size != st[1].st_size)
        return FALSE;
    for (off_t at = 0; at < st[0].st_size; at += COMPARED) {
        ssize_t want = (ssize_t) MIN(COMPARED, st[0].st_size - at);
        if (pread(a, left, (gsize) want, at) != want || pread(b, right, (gsize) want, at) != want ||
            memcmp(left, right, (gsize) want) != 0)
            return FALSE;
    }
    return TRUE;
}

/* Moves the finished file @scratch, open as @fd, to its object's name. Never written in place: gp_object_link() takes a
 * content object that is there for a whole one. One that is there and good stays, since layers' files may be the same
 * inode. */
static gboolean name_scratch(
    const Writer *writer, const char *scratch, int fd, const guint8 checksum[32], const char *suffix, GError **error)
{
    char path[GP_OBJECT_PATH_SIZE + 3];
    gp_object_path(checksum, path);
    memcpy(strrchr(path, '.'), suffix, strlen(suffix) + 1);
    GP_AUTOFD int there = openat(writer->objects_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (there >= 0 && are_same(fd, there))
        return unlinkat(writer->scratch_fd, scratch, 0) == 0 || failed("removing", error);
    return move_object(writer, scratch, path, error);
}

/* ---- directories' attributes */

static GBytes *metadata_bytes(const GpInode *inode)
{
    GVariantBuilder xattrs;
    g_variant_builder_init(&xattrs, G_VARIANT_TYPE("a(ayay)"));
    for (guint i = 0; inode->xattrs && i < inode->xattrs->len; i++) {
        const GpXattr *xattr = &g_array_index(inode->xattrs, GpXattr, i);
        g_variant_builder_add(&xattrs, "(@ay@ay)", g_variant_new_bytestring(xattr->name),
            g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, xattr->value, xattr->size, 1));
    }
    g_autoptr(GVariant) metadata = g_variant_ref_sink(g_variant_new(
        "(uuua(ayay))", GUINT32_TO_BE(inode->uid), GUINT32_TO_BE(inode->gid), GUINT32_TO_BE(inode->mode), &xattrs));
    return g_variant_get_data_as_bytes(metadata);
}

/* The checksum of the dirmeta object of @inode's attributes, which is written if it is new; of writer->metadata. */
static const guint8 *find_metadata(Writer *writer, const GpInode *inode, GError **error)
{
    g_autoptr(GBytes) bytes = metadata_bytes(inode);
    const guint8 *known = g_hash_table_lookup(writer->metadata, bytes);
    if (known)
        return known;
    gsize size;
    const guint8 *data = g_bytes_get_data(bytes, &size);
    guint8 checksum[32];
    if (!put_metadata_object(writer, ".dirmeta", data, size, checksum, error))
        return NULL;
    guint8 *kept = g_memdup2(checksum, sizeof checksum);
    g_hash_table_insert(writer->metadata, g_bytes_ref(bytes), kept);
    return kept;
}

/* ---- directories' contents
 *
 * "(a(say)a(sayay))": files with their checksums, directories with two, each list in the order of the names' bytes. In
 * GVariant's serialization (GLib's gvariant-specification, 2.5) nothing here wants alignment: members follow each
 * other, and behind them stands where they end, little-endian in 1, 2 or 4 bytes as the container's size demands: in a
 * list for each element, in a tuple for each but the last, backwards. */

static guint offset_size(gsize body, gsize count)
{
    return body + count <= G_MAXUINT8 ? 1 : body + 2 * count <= G_MAXUINT16 ? 2 : 4;
}

/* ---- a layer */

static void add_file(GpLayerTree *tree, const char *name, const guint8 object[32])
{
    GpInode *inode = gp_layer_tree_add(tree, tree->root, name, NULL)->inode;
    inode->mode = S_IFREG | 0644;
    inode->has_object = TRUE;
    memcpy(inode->object, object, 32);
}

/* Objects below a directory that libostree cannot name: each once, by its checksum. */
static void put_aside(Writer *writer, const GpNode *node)
{
    if (node->inode->has_object) {
        GpDigest digest = {.algorithm = GP_DIGEST_SHA256};
        memcpy(digest.bytes, node->inode->object, 32);
        g_autofree char *hex = gp_digest_to_hex(&digest);
        if (!gp_layer_child(writer->side, writer->side->root, hex))
            add_file(writer->side, hex, node->inode->object);
    }
    for (const GpNode *child = node->first; child; child = child->next)
        put_aside(writer, child);
}

/* What libostree's trees hold by its name: directories, and what has an object. */
static gboolean is_file(const GpNode *node)
{
    return !S_ISDIR(node->inode->mode) && node->inode->has_object && g_utf8_validate(node->name, -1, NULL);
}

static gboolean is_directory(const GpNode *node)
{
    return S_ISDIR(node->inode->mode) && g_utf8_validate(node->name, -1, NULL);
}

typedef gboolean (*Belongs)(const GpNode *node);

/* A tree object on its way out: as long as it is small, all of it is in @bytes; a directory of a million names goes to
 * a file, piece by piece. writer->hasher sees it all. */
typedef struct {
    const Writer *writer;
    GByteArray *bytes; /* that are not in the file yet */
    int fd;            /* TREE_SCRATCH; -1: there is no file */
    gsize length;      /* of all */
} Output;

static gboolean flush(Output *output, GError **error)
{
    if (output->fd < 0)
        output->fd = create_scratch(output->writer, TREE_SCRATCH, error);
    if (output->fd < 0 || !gp_write_all(output->fd, output->bytes->data, output->bytes->len, error))
        return FALSE;
    gp_hasher_update(output->writer->hasher, output->bytes->data, output->bytes->len);
    g_byte_array_set_size(output->bytes, 0);
    return TRUE;
}

static gboolean emit(Output *output, const void *data, gsize size, GError **error)
{
    g_byte_array_append(output->bytes, data, (guint) size);
    output->length += size;
    return output->bytes->len < PIECE || flush(output, error);
}

static gboolean emit_offset(Output *output, gsize offset, guint size, GError **error)
{
    guint32 little = GUINT32_TO_LE((guint32) offset);
    return emit(output, &little, size, error);
}

/* Of an element with @count checksums. */
static gsize element_size(const GpNode *node, guint count)
{
    gsize body = strlen(node->name) + 1 + 32 * count;
    return body + count * offset_size(body, count);
}

static gboolean emit_element(Output *output, const GpNode *node, guint count, GError **error)
{
    gsize text = strlen(node->name) + 1;
    guint size = offset_size(text + 32 * count, count);
    gboolean ok = emit(output, node->name, text, error) && emit(output, node->inode->object, 32, error) &&
                  (count == 1 || emit(output, node->inode->metadata, 32, error));
    for (guint i = count; ok && i-- > 0;)
        ok = emit_offset(output, text + 32 * i, size, error);
    return ok;
}

/* The list of those children of @node that @belongs says, each with @count checksums; then where each of them ends. */
static gboolean emit_list(Output *output, const GpNode *node, Belongs belongs, guint count, GError **error)
{
    gsize body = 0, elements = 0, end = 0;
    gboolean ok = TRUE;
    for (const GpNode *child = node->first; child && ok; child = child->next) {
        gp_layer_tree_passed(output->writer->tree);
        if (!belongs(child))
            continue;
        body += element_size(child, count);
        elements++;
        ok = emit_element(output, child, count, error);
    }
    guint size = offset_size(body, elements);
    for (const GpNode *child = node->first; child && ok && elements; child = child->next) {
        gp_layer_tree_passed(output->writer->tree);
        if (belongs(child))
            ok = emit_offset(output, end += element_size(child, count), size, error);
    }
    return ok;
}

/* Gives the object its name, which is @checksum then. */
static gboolean name_output(Output *output, guint8 checksum[32], GError **error)
{
    if (output->fd < 0)
        return put_metadata_object(
            output->writer, ".dirtree", output->bytes->data, output->bytes->len, checksum, error);
    GpDigest digest;
    if (!flush(output, error))
        return FALSE;
    gp_hasher_finish(output->writer->hasher, &digest);
    memcpy(checksum, digest.bytes, 32);
    return name_scratch(output->writer, TREE_SCRATCH, output->fd, checksum, ".dirtree", error);
}

static gboolean emit_directory(Output *output, const GpNode *node, guint8 checksum[32], GError **error)
{
    gp_hasher_restart(output->writer->hasher);
    if (!emit_list(output, node, is_file, 1, error))
        return FALSE;
    gsize files_end = output->length;
    return emit_list(output, node, is_directory, 2, error) &&
           emit_offset(output, files_end, offset_size(output->length, 1), error) &&
           name_output(output, checksum, error);
}

/* The objects of @node alone, whose checksums stay in its inode. */
static gboolean write_one(Writer *writer, GpNode *node, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    Output output = {.writer = writer, .bytes = bytes, .fd = -1};
    gboolean ok = emit_directory(&output, node, node->inode->object, error);
    gp_close_fd(&output.fd);
    node->inode->metadata = ok ? find_metadata(writer, node->inode, error) : NULL;
    return node->inode->metadata != NULL;
}

/* Directories below first. */
static gboolean write_directory(Writer *writer, GpNode *node, GError **error)
{
    for (GpNode *child = node->first; child; child = child->next) {
        gp_layer_tree_passed(writer->tree);
        if (!g_utf8_validate(child->name, -1, NULL))
            put_aside(writer, child);
        else if (S_ISDIR(child->inode->mode) && !write_directory(writer, child, error))
            return FALSE;
    }
    return write_one(writer, node, error);
}

/* ---- the sidecar
 *
 * Written and hashed piece by piece: of a million names it is larger than all else that a pull has in memory. By a
 * thread of its own, since at the end of a pull there is often nothing else to do. */

typedef struct {
    const Writer *writer;
    GThread *thread;
    GpHasher *hasher;
    int fd;
    guint8 checksum[32];
    GError *error;
} Sidecar;

static gboolean take_text(gpointer data, const char *text, gsize length, GError **error)
{
    Sidecar *sidecar = data;
    gp_hasher_update(sidecar->hasher, text, length);
    return gp_write_all(sidecar->fd, text, length, error);
}

static gboolean write_sidecar(Sidecar *sidecar, GError **error)
{
    GpDigest digest;
    sidecar->fd = create_scratch(sidecar->writer, SIDECAR_SCRATCH, error);
    gp_object_hasher_start(sidecar->hasher, 0, 0, S_IFREG | 0644, NULL, NULL);
    if (sidecar->fd < 0 || !gp_layer_tree_serialize(sidecar->writer->tree, take_text, sidecar, error))
        return FALSE;
    gp_hasher_finish(sidecar->hasher, &digest);
    memcpy(sidecar->checksum, digest.bytes, sizeof sidecar->checksum);
    return name_scratch(sidecar->writer, SIDECAR_SCRATCH, sidecar->fd, sidecar->checksum, ".file", error);
}

static gpointer run_sidecar(gpointer data)
{
    Sidecar *sidecar = data;
    (void) write_sidecar(sidecar, &sidecar->error);
    return NULL;
}

static gboolean finish_sidecar(Sidecar *sidecar, GError **error)
{
    if (sidecar->thread)
        g_thread_join(sidecar->thread);
    else
        (void) run_sidecar(sidecar);
    gp_close_fd(&sidecar->fd);
    gp_hasher_free(sidecar->hasher);
    if (!sidecar->error)
        return TRUE;
    g_propagate_error(error, sidecar->error);
    return FALSE;
}

static gboolean write_layer(Writer *writer, Sidecar *sidecar, GError **error)
{
    sidecar->thread = g_thread_try_new("sidecar", run_sidecar, sidecar, NULL);
    gboolean ok = write_directory(writer, writer->tree->root, error);
    if (ok) {
        gp_layer_tree_sort(writer->side);
        ok = write_one(writer, writer->side->root, error);
    }
    return finish_sidecar(sidecar, ok ? error : NULL) && ok;
}

/* The directory of the commit, as a tree of three names: its root's inode has the checksums. */
static gboolean write_top(Writer *writer, GpLayerTree *top, const char *sidecar_name, GError **error)
{
    Sidecar sidecar = {.writer = writer, .hasher = gp_hasher_new(GP_DIGEST_SHA256), .fd = -1};
    if (!write_layer(writer, &sidecar, error))
        return FALSE;
    add_file(top, sidecar_name, sidecar.checksum);
    gp_layer_tree_add(top, top->root, "objects", writer->side->root->inode);
    gp_layer_tree_add(top, top->root, "root", writer->tree->root->inode);
    gp_layer_tree_sort(top);
    return write_one(writer, top->root, error);
}

static void set_hex(char out[65], const guint8 checksum[32])
{
    GpDigest digest = {.algorithm = GP_DIGEST_SHA256};
    memcpy(digest.bytes, checksum, 32);
    g_autofree char *hex = gp_digest_to_hex(&digest);
    g_strlcpy(out, hex, 65);
}

gboolean gp_tree_write(
    int objects_fd, int scratch_fd, GpLayerTree *tree, const char *sidecar_name, GpTreeName *name, GError **error)
{
    g_autoptr(GpHasher) hasher = gp_hasher_new(GP_DIGEST_SHA256);
    g_autoptr(GHashTable) metadata =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify) g_bytes_unref, g_free);
    g_autoptr(GpLayerTree) side = gp_layer_tree_new(-1);
    g_autoptr(GpLayerTree) top = gp_layer_tree_new(-1);
    Writer writer = {.tree = tree,
        .objects_fd = objects_fd,
        .scratch_fd = scratch_fd,
        .hasher = hasher,
        .metadata = metadata,
        .side = side};
    gp_layer_tree_sort(tree); /* before there are two threads that walk through it */
    if (!write_top(&writer, top, sidecar_name, error) || !gp_arena_check(tree->arena, error))
        return FALSE;
    set_hex(name->contents, top->root->inode->object);
    set_hex(name->metadata, top->root->inode->metadata);
    return TRUE;
}
