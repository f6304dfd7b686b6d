/* The unpack worker's inside: decompression, diffID, tar; then the program itself in its sandbox. */
#include <string.h>

#include "base/worker.h"
#include "tests/unit/storage/layer_fixture.h"

/* The stream to its end. */
static GBytes *drain(GBytes *blob, GpCompression compression, GpDigest *diff_id, GError **error)
{
    GP_AUTOFD int fd = memory_fd(blob);
    g_autoptr(GpUnpackStream) stream = gp_unpack_stream_new(fd, compression);
    g_autoptr(GByteArray) all = g_byte_array_new();
    const guint8 *data;
    gsize length = 1;
    guint64 bytes;
    while (length > 0) {
        if (!gp_unpack_stream_next(stream, &data, &length, error))
            return NULL;
        if (length)
            g_byte_array_append(all, data, (guint) length);
    }
    gp_unpack_stream_finish(stream, diff_id, &bytes);
    g_assert_cmpuint(bytes, ==, all->len);
    return g_byte_array_free_to_bytes(g_steal_pointer(&all));
}

/* How "in" (1 MiB of text and noise) becomes a blob in the shell. */
static const struct {
    const char *name, *command;
    GpCompression compression;
    const char *refused; /* NULL: the stream is "in" */
} streams[] = {
    {"none", "cat in", GP_COMPRESSION_NONE, NULL},
    {"gzip", "gzip < in", GP_COMPRESSION_GZIP, NULL},
    {"gzip-stored",
        "/usr/bin/python3 -c 'import zlib,sys; c=zlib.compressobj(0,8,31); d=open(\"in\",\"rb\").read(); "
        "sys.stdout.buffer.write(c.compress(d)+c.flush())'",
        GP_COMPRESSION_GZIP, NULL},
    {"gzip-with-name", "gzip -N -c in", GP_COMPRESSION_GZIP, NULL},
    {"gzip-members", "head -c 100001 in | gzip; tail -c +100002 in | head -c 5 | gzip; tail -c +100007 in | gzip -1",
        GP_COMPRESSION_GZIP, NULL},
    {"gzip-empty-members", "gzip < /dev/null; gzip < in; gzip < /dev/null", GP_COMPRESSION_GZIP, NULL},
    {"gzip-many-tiny-members",
        "head -c 300 in > tiny; tail -c +301 in > more; for i in $(seq 0 299); do tail -c +$((i+1)) tiny | "
        "head -c 1 | gzip; done; gzip < more",
        GP_COMPRESSION_GZIP, NULL},
    {"gzip-zero-padding", "gzip < in; head -c 1024 /dev/zero", GP_COMPRESSION_GZIP, NULL},
    {"gzip-garbage-behind", "gzip < in; echo garbage", GP_COMPRESSION_GZIP, "garbage behind the last gzip member"},
    {"gzip-garbage-behind-padding", "gzip < in; head -c 99 /dev/zero; gzip < in", GP_COMPRESSION_GZIP,
        "garbage behind"},
    {"gzip-half-magic-behind", "gzip < in; printf '\\037'", GP_COMPRESSION_GZIP, "the stream is truncated"},
    {"gzip-wrong-magic-behind", "gzip < in; printf '\\037\\214abcdefghijk'", GP_COMPRESSION_GZIP,
        "malformed member header"},
    {"gzip-wrong-checksum", "gzip < in > g; head -c -8 g; printf '\\0\\0\\0\\0'; tail -c 4 g", GP_COMPRESSION_GZIP,
        "wrong checksum"},
    {"gzip-wrong-length", "gzip < in > g; head -c -4 g; printf '\\0\\0\\0\\0'", GP_COMPRESSION_GZIP,
        "wrong checksum or length"},
    {"gzip-damaged", "gzip < in > g; head -c 40000 g; printf 'XXXXXXXXXXXXXXXX'; tail -c +40017 g", GP_COMPRESSION_GZIP,
        "layer: gzip: "},
    {"gzip-empty", "true", GP_COMPRESSION_GZIP, "not gzip: it is empty"},
    {"gzip-that-is-none", "cat in", GP_COMPRESSION_GZIP, "layer: not gzip"},
    {"gzip-that-is-zstd", "zstd -q < in", GP_COMPRESSION_GZIP, "layer: not gzip"},
    {"zstd", "zstd -q < in", GP_COMPRESSION_ZSTD, NULL},
    {"zstd-frames", "head -c 100001 in | zstd -q; tail -c +100002 in | zstd -q -19", GP_COMPRESSION_ZSTD, NULL},
    {"zstd-skippable",
        "printf '\\120\\052\\115\\030\\003\\0\\0\\0abc'; zstd -q < in; printf '\\137\\052\\115\\030\\001\\0\\0\\0x'",
        GP_COMPRESSION_ZSTD, NULL},
    {"zstd-window-27", "zstd -q --long=27 < in", GP_COMPRESSION_ZSTD, NULL},
    {"zstd-without-checksum", "zstd -q --no-check < in", GP_COMPRESSION_ZSTD, NULL},
    {"zstd-truncated", "zstd -q < in | head -c -1", GP_COMPRESSION_ZSTD, "layer: zstd: the stream is truncated"},
    {"zstd-garbage-behind", "zstd -q < in; echo garbage", GP_COMPRESSION_ZSTD, "layer: zstd: "},
    {"zstd-wrong-checksum", "zstd -q < in > z; head -c -1 z; printf '\\0'", GP_COMPRESSION_ZSTD, "layer: zstd: "},
    {"zstd-empty", "true", GP_COMPRESSION_ZSTD, "not zstd: it is empty"},
};

static void test_stream(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory,
        "{ head -c 600000 /dev/urandom | base64; head -c 200000 /dev/urandom; } > in; { %s\n} > blob",
        streams[row].command);
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    g_autoptr(GBytes) in = slurp(layer.directory, "in");
    g_autoptr(GError) error = NULL;
    GpDigest diff_id, expected;
    g_autoptr(GBytes) out = drain(blob, streams[row].compression, &diff_id, &error);
    if (streams[row].refused) {
        assert_refused(error, GP_ERROR_INVALID, streams[row].refused);
        return;
    }
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(in, out));
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(in, NULL), g_bytes_get_size(in), &expected);
    g_assert_true(gp_digest_equal(&diff_id, &expected));
}

static void test_gzip_cut_anywhere(void)
{
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "seq 400 | gzip > blob; seq 300 | gzip -9 >> blob");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    guint whole = 0;
    for (gsize length = 1; length < g_bytes_get_size(blob); length++) {
        g_autoptr(GBytes) part = g_bytes_new_from_bytes(blob, 0, length);
        g_autoptr(GError) error = NULL;
        GpDigest diff_id;
        g_autoptr(GBytes) out = drain(part, GP_COMPRESSION_GZIP, &diff_id, &error);
        if (out)
            whole++;
        else
            assert_refused(error, GP_ERROR_INVALID, "layer: gzip: the stream is truncated");
    }
    g_assert_cmpuint(whole, ==, 1); /* exactly between the two members */
}

static void test_bomb(void)
{
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "head -c 300000000 /dev/zero | zstd -q -9 > blob");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    g_assert_cmpuint(g_bytes_get_size(blob), <, 50000);
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(unpack_frames(blob, GP_COMPRESSION_ZSTD, &error), ==, -1);
    g_clear_error(&error);
    GpDigest diff_id;
    g_assert_null(drain(blob, GP_COMPRESSION_ZSTD, &diff_id, &error));
    assert_refused(error, GP_ERROR_LIMIT, "a decompression bomb");
}

static void test_ordinary_zeros(void)
{
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "head -c 150000000 /dev/zero | gzip -9 > blob");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    g_autoptr(GError) error = NULL;
    GpDigest diff_id;
    g_autoptr(GBytes) out = drain(blob, GP_COMPRESSION_GZIP, &diff_id, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_bytes_get_size(out), ==, 150000000);
}

static void test_zstd_window(void)
{
    g_auto(Layer) layer;
    layer_open(&layer);
    shell(layer.directory, "seq 100000 | zstd -q --ultra --long=28 > blob");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    g_autoptr(GError) error = NULL;
    GpDigest diff_id;
    g_assert_null(drain(blob, GP_COMPRESSION_ZSTD, &diff_id, &error));
    assert_refused(error, GP_ERROR_LIMIT, "layer: zstd: ");
}

/* ---- tar: Python writes "t", an open tarfile in pax format; A(name, **fields) adds an entry, P(...) is one with pax
 * records */
static const char python[] = "import tarfile, io, sys\n"
                             "t = tarfile.open('blob', 'w', format=tarfile.PAX_FORMAT)\n"
                             "def A(name, data=b'', **f):\n"
                             "    i = tarfile.TarInfo(name); i.size = len(data)\n"
                             "    for k, v in f.items(): setattr(i, k, v)\n"
                             "    t.addfile(i, io.BytesIO(data))\n"
                             "def X(**records): return {k.replace('__', '.'): v for k, v in records.items()}\n"
                             "DIR, SYM, LNK, CHR, BLK, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, "
                             "tarfile.CHRTYPE, tarfile.BLKTYPE, "
                             "tarfile.FIFOTYPE\n";

static void make_tar(const Layer *layer, const char *script)
{
    g_autofree char *path = g_build_filename(layer->directory, "make.py", NULL);
    g_autofree char *text = g_strconcat(python, script, "\nt.close()\n", NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    shell(layer->directory, "PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -I make.py");
}

static const struct {
    const char *name, *script;
    GpErrorCode code;
    const char *reason;
} hostile[] = {
    {"absolute-dot-dot", "A('/../etc/passwd')", GP_ERROR_INVALID, "\"..\" leads out of the layer"},
    {"dot-dot", "A('../x')", GP_ERROR_INVALID, "forbidden path \"../x\": \"..\" leads out of the layer"},
    {"dot-dot-inside", "A('a/./../../x')", GP_ERROR_INVALID, "\"..\" leads out of the layer"},
    {"dot-dot-directory", "A('..', type=DIR)", GP_ERROR_INVALID, "\"..\" leads out of the layer"},
    {"dot-that-is-a-file", "A('./.')", GP_ERROR_INVALID, "root can only be a directory"},
    {"parent-is-a-link", "A('a', type=SYM, linkname='/etc'); A('a/passwd', b'x')", GP_ERROR_INVALID,
        "forbidden path \"a/passwd\": \"a\" is a symbolic link"},
    {"hard-link-outside", "A('a', type=LNK, linkname='../../etc/shadow')", GP_ERROR_INVALID,
        "hard link \"a\": forbidden path"},
    {"hard-link-absolute", "A('a', type=LNK, linkname='/etc/shadow')", GP_ERROR_INVALID,
        "the layer has no such target"},
    {"hard-link-missing", "A('a', type=LNK, linkname='b')", GP_ERROR_INVALID, "the layer has no such target"},
    {"symlink-without-target", "A('a', type=SYM, linkname='')", GP_ERROR_INVALID, "a link without a target"},
    {"whiteout-in-disguise", "A('a', type=CHR, devmajor=0, devminor=0)", GP_ERROR_INVALID, "a whiteout in disguise"},
    {"trusted-overlay", "A('a', type=DIR, pax_headers={'SCHILY.xattr.trusted.overlay.opaque': 'y'})", GP_ERROR_INVALID,
        "trusted.overlay.opaque is overlayfs's own"},
    {"libarchive-overlay", "A('a', type=DIR, pax_headers={'LIBARCHIVE.xattr.trusted.overlay.opaque': 'eQ'})",
        GP_ERROR_INVALID, "trusted.overlay.opaque is overlayfs's own"},
    {"xattr-twice", "A('a', pax_headers={'SCHILY.xattr.user.a': 'b', 'LIBARCHIVE.xattr.user.a': 'Yw'})",
        GP_ERROR_INVALID, "user.a is given twice, with different values"},
    {"acl-by-name-only",
        "A('a', pax_headers={'SCHILY.acl.access': 'user::rwx,user:joe:r--,group::r-x,mask::rwx,other::---'})",
        GP_ERROR_UNSUPPORTED, "somebody by name only"},
    {"name-of-300-bytes", "A('n' * 300)", GP_ERROR_LIMIT, "a name is longer than 255 bytes"},
    {"path-of-5000-bytes", "A('p/' * 2500 + 'x')", GP_ERROR_LIMIT, "longer than 4095 bytes"},
    {"deep", "A('p/' * 200 + 'x')", GP_ERROR_LIMIT, "deeper than 128 directories"},
    {"owner-beyond-32-bits", "A('a', uid=1 << 32)", GP_ERROR_INVALID, "owner out of range"},
    {"owner-minus-one", "A('a', uid=(1 << 32) - 1)", GP_ERROR_INVALID, "owner out of range"},
    {"content-cut-off", "A('a', b'x' * 100000); t.fileobj.seek(60000); t.fileobj.truncate(); sys.exit()",
        GP_ERROR_INVALID, "layer: tar: "},
    {"header-cut-off", "A('a'); t.fileobj.truncate(300); sys.exit()", GP_ERROR_INVALID, "layer: tar: "},
    {"no-tar", "t.fileobj.write(b'neither tar nor anything else ' * 99); sys.exit()", GP_ERROR_INVALID, "layer: tar: "},
    {"wrong-header-checksum", "A('a'); t.fileobj.seek(0); t.fileobj.write(b'b'); sys.exit()", GP_ERROR_INVALID,
        "layer: tar: "},
};

static void test_hostile_tar(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer, hostile[row].script);
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    assert_refused(layer.error, hostile[row].code, hostile[row].reason);
}

/* Scripts and what "find -printf" then shows, in the order of names. */
static const struct {
    const char *name, *script, *listing;
} ordinary[] = {
    {"paths-are-normalized", "A('./a//b/./c'); A('d/', type=DIR)", "a d|a/b d|a/b/c f|d d|"},
    {"absolute-names-begin-at-the-root", "A('/a/b'); A('//c'); A('d', type=LNK, linkname='/a/b')",
        "a d|a/b f|c f|d f|"},
    {"root-entry", "A('./', type=DIR, mode=0o711); A('./x')", "x f|"},
    {"empty-tar", "", ""},
    {"nothing-at-all", "t.fileobj.truncate(0); sys.exit()", ""},
    {"no-end-marker", "A('a', b'x' * 600); t.fileobj.truncate(512 + 1024); sys.exit()", "a f|"},
    {"contiguous-type", "A('a', b'x', type=b'7')", "a f|"},
    {"directory-without-its-type", "A('a/', type=b'0')", "a d|"},
    {"global-header", "t.pax_headers = {'comment': 'hello'}; A('a', pax_headers={'comment': 'x'})", "a f|"},
    {"xattr-twice-the-same", "A('a', pax_headers={'SCHILY.xattr.user.a': 'b', 'LIBARCHIVE.xattr.user.a': 'Yg'})",
        "a f|"},
    {"mac-os-doubles-are-files", "A('._a', b'\\0\\5\\26\\7'); A('a')", "._a f|a f|"},
    {"hard-link-normalized", "A('d/a', b'x'); A('./b', type=LNK, linkname='./d//a')", "b f|d d|d/a f|"},
    {"hard-link-with-content", "A('a', b'first'); A('b', type=LNK, linkname='a')", "a f|b f|"},
};

static void test_ordinary_tar(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer, ordinary[row].script);
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);
    g_autofree char *listing =
        shell_output(layer.directory, "find root -mindepth 1 -printf '%%P %%y\\n' | LC_ALL=C sort | tr '\\n' '|'");
    g_assert_cmpstr(listing, ==, ordinary[row].listing);
}

static void test_names_keep_their_bytes(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer, "A('nfd-e\\u0301'); A('nfc-\\u00e9'); A('raw-\\udcff'); A('l', type=SYM, linkname='e\\u0301')");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);
    g_assert_true(S_ISREG(mode_of(&layer, "nfd-e\xcc\x81")));
    g_assert_true(S_ISREG(mode_of(&layer, "nfc-\xc3\xa9")));
    g_assert_true(S_ISREG(mode_of(&layer, "raw-\xff")));
    char target[16] = "";
    g_assert_cmpint(readlinkat(layer.root_fd, "l", target, sizeof target), ==, 3);
    g_assert_cmpstr(target, ==, "e\xcc\x81");
}

/* guest-components#1737: builders leave user.overlay.origin behind, without a value. */
static void test_xattr_without_value(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer,
        "A('a', pax_headers={'SCHILY.xattr.user.overlay.origin': '', 'comment': '', 'SCHILY.xattr.user.b': 'c'})");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);
    g_autofree char *path = g_build_filename(layer.root, "a", NULL);
    char value[4];
    g_assert_cmpint(lgetxattr(path, "user.overlay.origin", value, sizeof value), ==, 0);
    g_assert_cmpint(lgetxattr(path, "user.b", value, sizeof value), ==, 1);
}

static void test_pax_overrides(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer, "A('a', uid=70000, gid=3000000, pax_headers={'mtime': '1234567890.123456789'})\n"
                     "A('x', b'12345', pax_headers={'path': 'sub/b', 'uid': '4294967294', 'mtime': '0.000000001'})");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);
    g_autofree char *listing =
        shell_output(layer.directory, "cd root; stat -c '%%n %%u:%%g %%.9Y %%s' a sub/b | tr '\n' '|'");
    g_assert_cmpstr(listing, ==, "a 70000:3000000 1234567890.123456789 0|sub/b 4294967294:0 0.000000001 5|");
}

static void test_diff_id_covers_what_follows_the_tar(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer, "A('a')");
    shell(layer.directory, "head -c 700000 /dev/urandom >> blob");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);
    GpDigest expected;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(blob, NULL), g_bytes_get_size(blob), &expected);
    g_assert_true(gp_digest_equal(&expected, &layer.diff_id));
}

static void test_acl_text(void)
{
    if (!need_root())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer, "A('f', mode=0o770, pax_headers={'SCHILY.acl.access': "
                     "'user::rwx,group::r-x,mask::rwx,other::---,user:joe:r--:1000,"
                     "group:55:rw-'})\n"
                     "A('d', type=DIR, mode=0o755, pax_headers={'SCHILY.acl.default': "
                     "'user::rwx\\nuser:1234:rwx\\ngroup::r-x\\nmask::rwx\\nother::---\\n'})");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    layer_unpack(&layer, blob, GP_COMPRESSION_NONE);
    g_assert_no_error(layer.error);
    g_autofree char *acls = shell_output(layer.directory, "getfacl -cnE root/f root/d | grep . | tr '\\n' '|'");
    g_assert_cmpstr(acls, ==,
        "user::rwx|user:1000:r--|group::r-x|group:55:rw-|mask::rwx|other::---|"
        "user::rwx|group::r-x|other::r-x|default:user::rwx|default:user:1234:rwx|default:group::r-x|default:mask::rwx|"
        "default:other::---|");
}

/* ---- the program */

/* Runs guest-pull-unpack over @blob, everything as the puller does. */
static void run_worker(Layer *layer, const char *compression, GBytes *blob, gboolean *clean_exit)
{
    GP_AUTOFD int in = memory_fd(blob);
    int ends[2];
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    const char *arguments[] = {compression, NULL};
    const int fds[] = {in, ends[1]};
    g_autoptr(GpWorker) worker = gp_worker_spawn("guest-pull-unpack", arguments, fds, 2, &layer->error);
    g_assert_no_error(layer->error);
    close(ends[1]);
    layer_write(layer, ends[0], &generous);
    close(ends[0]);
    *clean_exit = gp_worker_wait(worker, NULL);
}

static gboolean need_worker(void)
{
    if (g_getenv("GUEST_PULL_LIBEXEC"))
        return need_root();
    g_test_skip("needs GUEST_PULL_LIBEXEC, as make check-unit sets it");
    return FALSE;
}

static void test_worker(gconstpointer data)
{
    static const char *const commands[] = {"cat", "gzip", "zstd -q --long=27"};
    static const char *const names[] = {"none", "gzip", "zstd"};
    gsize row = GPOINTER_TO_SIZE(data);
    gboolean clean_exit;
    if (!need_worker())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(
        &layer, "A('e\\u0301/f', b'content' * 100000, pax_headers={'SCHILY.xattr.user.a': 'b'}); A('g', uid=1000)");
    shell(layer.directory, "mv blob tar; %s < tar > blob", commands[row]);
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    g_autoptr(GBytes) tar = slurp(layer.directory, "tar");
    run_worker(&layer, names[row], blob, &clean_exit);
    g_assert_no_error(layer.error);
    g_assert_true(clean_exit);
    g_autoptr(GBytes) content = slurp(layer.root, "e\xcc\x81/f");
    g_assert_cmpuint(g_bytes_get_size(content), ==, 700000);
    GpDigest expected;
    gp_digest_of(GP_DIGEST_SHA256, g_bytes_get_data(tar, NULL), g_bytes_get_size(tar), &expected);
    g_assert_true(gp_digest_equal(&expected, &layer.diff_id));
}

static void test_worker_blames_the_archive(void)
{
    gboolean clean_exit;
    if (!need_worker())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    make_tar(&layer, "A('good', b'x'); A('../bad')");
    g_autoptr(GBytes) blob = slurp(layer.directory, "blob");
    run_worker(&layer, "none", blob, &clean_exit);
    assert_refused(layer.error, GP_ERROR_INVALID, "forbidden path \"../bad\"");
    g_assert_true(clean_exit);
}

static void test_worker_refuses_strange_arguments(void)
{
    gboolean clean_exit;
    if (!need_worker())
        return;
    g_auto(Layer) layer;
    layer_open(&layer);
    g_autoptr(GBytes) blob = g_bytes_new_static("", 0);
    run_worker(&layer, "xz", blob, &clean_exit);
    assert_refused(layer.error, GP_ERROR_SANDBOX, "it ended in the middle");
    g_assert_false(clean_exit);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    gp_unpack_tar_prepare();
#define ADD_TABLE(table, prefix, function)                                                                             \
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {                                                                  \
        g_autofree char *path = g_strconcat("/storage/unpack/" prefix "/", (table)[i].name, NULL);                     \
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), function);                                                     \
    }
    ADD_TABLE(streams, "stream", test_stream)
    ADD_TABLE(hostile, "hostile", test_hostile_tar)
    ADD_TABLE(ordinary, "ordinary", test_ordinary_tar)
    g_test_add_func("/storage/unpack/stream/gzip-cut-anywhere", test_gzip_cut_anywhere);
    g_test_add_func("/storage/unpack/stream/bomb", test_bomb);
    g_test_add_func("/storage/unpack/stream/ordinary-zeros", test_ordinary_zeros);
    g_test_add_func("/storage/unpack/stream/zstd-window", test_zstd_window);
    g_test_add_func("/storage/unpack/names-keep-their-bytes", test_names_keep_their_bytes);
    g_test_add_func("/storage/unpack/xattr-without-value", test_xattr_without_value);
    g_test_add_func("/storage/unpack/pax-overrides", test_pax_overrides);
    g_test_add_func("/storage/unpack/diff-id-covers-what-follows-the-tar", test_diff_id_covers_what_follows_the_tar);
    g_test_add_func("/storage/unpack/acl-text", test_acl_text);
    g_test_add_data_func("/storage/unpack/worker/none", GSIZE_TO_POINTER(0), test_worker);
    g_test_add_data_func("/storage/unpack/worker/gzip", GSIZE_TO_POINTER(1), test_worker);
    g_test_add_data_func("/storage/unpack/worker/zstd", GSIZE_TO_POINTER(2), test_worker);
    g_test_add_func("/storage/unpack/worker/blames-the-archive", test_worker_blames_the_archive);
    g_test_add_func("/storage/unpack/worker/refuses-strange-arguments", test_worker_refuses_strange_arguments);
    return g_test_run();
}
