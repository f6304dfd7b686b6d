#include "storage/store_internal.h"
#include "tests/unit/storage/store_fixture.h"

/* Damage done by @script in the store's directory ($l is the layer's root, $h its blob's digest in hex, $i the
 * image's), and what a line of the findings must say. */
static const struct {
    const char *name, *script, *finding;
} damages[] = {
    {"byte",
        "printf X | dd of=$l/bin/su bs=1 seek=3 conv=notrunc status=none; touch -d @1600000002.123456789 $l/bin/su",
        "bin/su: its content differs"},
    {"byte-in-the-object", "printf X | dd of=$l/bin/su bs=1 seek=3 conv=notrunc status=none", ": object "},
    {"shorter", "truncate -s 3 $l/same-1; touch -d @1 $l/same-1", "same-1: has 3 bytes, should have 16"},
    {"seconds", "touch -d @1600000003.123456789 $l/bin/su",
        "bin/su: was modified at 1600000003.123456789, should be 1600000002.123456789"},
    {"nanoseconds", "touch -d @1600000002.123456788 $l/bin/su", "bin/su: was modified at 1600000002.123456788"},
    {"time-of-a-link", "touch -h -d @5 $l/link", "link: was modified at 5.000000000, should be 0.000000000"},
    {"time-of-a-directory", "touch -d @5 $l/bin", "bin: was modified at 5.0"},
    {"time-of-a-device", "touch -h -d @5 $l/dev/null", "dev/null: was modified at 5.0"},
    {"mode", "chmod 4711 $l/bin/su", "bin/su: has mode 4711, should be 4755"},
    {"mode-of-the-root", "chmod 0755 $l", "/: has mode 755, should be 751"},
    {"mode-of-an-implied-directory", "chmod 0700 $l/implied", "implied: has mode 700, should be 755"},
    {"owner", "chown 1002:1001 $l/bin/su; chmod 4755 $l/bin/su", "bin/su: belongs to 1002:1001, should to 1000:1001"},
    {"group-of-a-link", "chown -h 0:7 $l/link", "link: belongs to 0:7, should to 0:0"},
    {"file-gone", "rm $l/empty", "empty: is missing"},
    {"directory-gone", "rm -r $l/dev", "dev: is missing"},
    {"file-more", "touch $l/bin/more; touch -d @1600000001.999999999 $l/bin", "bin/more: is there, but no entry"},
    {"file-more-in-the-root", "touch $l/more; touch -d @1600000000.000000001 $l", ": more: is there, but no entry"},
    {"file-more-in-an-empty-directory", "mkdir $l/bin/x; touch -d @1600000001.999999999 $l/bin", "bin/x: is there"},
    {"type", "rm $l/empty; mkdir $l/empty", "empty: is of type 40000, should be 100000"},
    {"fifo-instead-of-a-file", "rm $l/empty; mkfifo $l/empty", "empty: is of type 10000, should be 100000"},
    {"link-instead-of-a-directory", "mv $l/dev $l/../away; ln -s ../away $l/dev", "dev: is of type 120000"},
    {"link-target", "ln -snf elsewhere $l/link; touch -h -d @0 $l/link", "link: points elsewhere"},
    {"device-number", "rm $l/dev/null; mknod -m 666 $l/dev/null c 1 5; touch -d @0 $l/dev/null $l/dev",
        "dev/null: is device 1:5, should be 1:3"},
    {"device-instead-of-a-whiteout", "rm $l/etc/gone; mknod $l/etc/gone c 1 3",
        "etc/gone: is a device, should be a whiteout"},
    {"file-instead-of-a-whiteout", "rm $l/etc/gone; touch $l/etc/gone", "etc/gone: is of type 100000"},
    {"whiteout-gone", "rm $l/etc/gone; touch -d @0 $l/etc", "etc/gone: is missing"},
    {"opaque-gone", "setfattr -x trusted.overlay.opaque $l/opt", "opt: should be opaque"},
    {"opaque-more", "setfattr -n trusted.overlay.opaque -v y $l/bin", "bin: is opaque, should not be"},
    {"redirect", "setfattr -n trusted.overlay.redirect -v /etc $l/bin",
        "bin: has extended attribute trusted.overlay.redirect, should not"},
    {"xattr-value", "setfattr -n user.note -v x $l/bin/ping", "bin/ping: its extended attribute user.note differs"},
    {"xattr-gone", "setfattr -x user.on-directory $l/dev", "dev: lacks an extended attribute"},
    {"xattr-more", "setfattr -n user.more -v x $l/bin/su", "bin/su: has extended attribute user.more, should not"},
    {"capability-more", "setcap cap_sys_admin+ep $l/bin/ping",
        "bin/ping: its extended attribute security.capability differs"},
    {"acl-more", "setfacl -m u:5:r-x $l/bin", "bin: has extended attribute system.posix_acl_access, should not"},
    {"hard-link-broken",
        "cp -p $l/bin/su $l/x; chown 1000:1001 $l/x; chmod 4755 $l/x; mv $l/x $l/bin/also-su; "
        "touch -d @1600000002.123456789 $l/bin/also-su; touch -d @1600000001.999999999 $l/bin; "
        "touch -d @1600000000.000000001 $l",
        "should be a hard link of another entry, but is a file of its own"},
    {"hard-link-more", "ln -f $l/same-1 $l/same-2; touch -d @2 $l/same-2; touch -d @1600000000.000000001 $l",
        "is the same file as another entry, but should not be"},
    {"name-that-is-not-utf-8", "printf X >> $l/caf\xe9", "caf\xe9: was modified"},
    {"below-a-name-that-is-not-utf-8", "rm $l/\xff/inside", "\xff/inside: is missing"},
    {"layer-directory-gone", "rm -r $l", "No such file or directory"},
    {"layer-directory-gone-for-the-image", "rm -r $l", "image sha256:"},
    {"object-gone", "find repo/objects -name '*.file' -size -60c -delete", ": object "},
    {"directory-object-damaged", "for o in $(find repo/objects -name '*.dirmeta'); do printf X >> $o; done",
        ": object "},
    {"tree-object-gone", "find repo/objects -name '*.dirtree' -delete", "layer/sha256/"},
    {"commit-gone",
        "rm repo/objects/$(cut -c 1-2 repo/refs/heads/layer/sha256/$h)/"
        "$(cut -c 3- repo/refs/heads/layer/sha256/$h).commit",
        "layer/sha256/"},
    {"ref-of-another", "cp repo/refs/heads/layer/sha256/$h repo/refs/heads/image/sha256/$i", "lacks its metadata"},
    {"ref-of-another-layer",
        "mkdir -p layers/sha256-$i; cp -a $l layers/sha256-$i/root; "
        "cp repo/refs/heads/layer/sha256/$h repo/refs/heads/layer/sha256/$i",
        ": its ref names the commit of layer sha256:"},
    {"ref-that-is-none", "echo x > repo/refs/heads/layer/sha256/$h", "layer/sha256/"},
    {"ref-gone", "rm repo/refs/heads/layer/sha256/$h", " is missing"},
    {"manifest-of-another-image",
        "n=$(echo $i | tr 0123456789abcdef 123456789abcdef0); mv repo/refs/heads/image/sha256/$i "
        "repo/refs/heads/image/sha256/$n",
        "the stored manifest is sha256:"},
    {"sidecar-of-another-version", "o=$(grep -lr '^guest-pull-layer' repo/objects); sed -i '1s/1/2/' $o",
        "layer sidecar: not one of ours"},
};

static void set_up_store(Fixture *f, gconstpointer data)
{
    set_up(f, data);
    GpDigest layer = put_layer(f->store, NULL);
    put_image(f->store, "example.com/a:1", &layer, 1);
    close_store(f);
}

static char *findings_of(const Fixture *f)
{
    g_autoptr(GpStore) store = open_store(f, GP_STORE_READ);
    return findings(store);
}

static void test_damage(Fixture *f, gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    shell(f->path,
        "h=$(ls repo/refs/heads/layer/sha256); i=$(ls repo/refs/heads/image/sha256); l=layers/sha256-$h/root; %s",
        damages[i].script);
    g_autofree char *lines = findings_of(f);
    if (!strstr(lines, damages[i].finding))
        g_error("expected \"%s\", found \"%s\"", damages[i].finding, lines);

    /* Out of use with it, and the store is as good as new. */
    f->store = open_store(f, GP_STORE_REMOVE);
    g_autoptr(GpFsckReport) report = gp_fsck_report_new();
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_store_fsck(f->store, report, &error) || error);
    g_assert_no_error(error);
    g_assert_true(gp_store_quarantine(f->store, report->layers, report->images, f->directory, &error) || error);
    g_assert_no_error(error);
    assert_clean(f);
    GpDigest rich = digest_of("rich");
    if (!gp_store_has_layer(f->store, &rich)) {
        put_layer(f->store, NULL);
        g_assert_cmpuint(report->layers->len + report->images->len, >, 0);
        shell(f->path, "! test -d quarantine || test $(ls quarantine | wc -l) -le 1");
    }
    put_image(f->store, "example.com/a:1", &rich, 1);
    assert_clean(f);
}

/* What would be mounted is looked at before its first use in a boot; what is not mounted need not be. */
static void test_verified_before_use(Fixture *f, gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autofree char *notes = g_build_filename(f->directory, "run", NULL), *problem = NULL;
    g_autoptr(GError) error = NULL;
    GpDigest rich = digest_of("rich");
    shell(f->path,
        "h=$(ls repo/refs/heads/layer/sha256); i=$(ls repo/refs/heads/image/sha256); l=layers/sha256-$h/root; %s",
        damages[i].script);
    f->store = open_store(f, GP_STORE_WRITE);
    gp_store_set_runtime_dir(f->store, notes);
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    gp_store_check_layer(f->store, &rich, problems);
    gboolean good = gp_store_verify_layer(f->store, &rich, &problem, &error);
    g_assert_no_error(error);
    g_assert_cmpint(good, ==, problems->len == 0);
    g_assert_cmpint(good, ==, problem == NULL);
    if (good)
        return;
    g_assert_cmpstr(problem, ==, problems->pdata[0]);
    g_assert_false(gp_store_has_layer(f->store, &rich));
    g_assert_cmpuint(count_names(f, "quarantine"), <=, 1);
    put_layer(f->store, NULL);
    g_assert_true(gp_store_verify_layer(f->store, &rich, &problem, &error));
}

static void test_verified_once(Fixture *f, gconstpointer data)
{
    g_autofree char *notes = g_build_filename(f->directory, "run", NULL), *problem = NULL;
    g_autoptr(GError) error = NULL;
    GpDigest rich = digest_of("rich");
    const char *damage = "l=layers/*/root; printf X | dd of=$(echo $l/bin/su) bs=1 seek=3 conv=notrunc status=none";
    f->store = open_store(f, GP_STORE_WRITE);
    gp_store_set_runtime_dir(f->store, notes);
    g_assert_true(gp_store_verify_layer(f->store, &rich, &problem, &error));
    /* In this boot it was good; whoever can write to the store can do anything. */
    shell(f->path, "%s", damage);
    g_assert_true(gp_store_verify_layer(f->store, &rich, &problem, &error));
    /* The next boot knows nothing of that. */
    shell(f->directory, "rm -r run");
    g_assert_false(gp_store_verify_layer(f->store, &rich, &problem, &error));
    g_assert_no_error(error);
    g_assert_nonnull(strstr(problem, "su: "));
    /* What a boot has written itself needs no look. */
    put_layer(f->store, NULL);
    shell(f->path, "%s", damage);
    g_assert_true(gp_store_verify_layer(f->store, &rich, &problem, &error));
}

static void test_one(Fixture *f, gconstpointer data)
{
    f->store = open_store(f, GP_STORE_WRITE);
    GpDigest other = put_layer(f->store, "other"), image = put_image(f->store, "example.com/o:1", &other, 1),
             rich = digest_of("rich"), unknown = digest_of("unknown");
    g_autoptr(GpFsckReport) report = gp_fsck_report_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *name = gp_store_file_name(&rich);
    shell(f->path, "touch layers/%s/root/bin/su", name);
    g_assert_true(gp_store_fsck_one(f->store, &other, report, &error));
    g_assert_true(gp_store_fsck_one(f->store, &image, report, &error));
    g_assert_cmpuint(report->problems->len, ==, 0);
    g_assert_true(gp_store_fsck_one(f->store, &rich, report, &error));
    g_assert_cmpuint(report->problems->len, >, 0);
    g_assert_true(gp_digest_equal(&g_array_index(report->layers, GpDigest, 0), &rich));
    g_assert_false(gp_store_fsck_one(f->store, &unknown, report, &error));
    assert_refused(error, GP_ERROR_NOT_FOUND, "no such layer or image");
}

static void test_clean(Fixture *f, gconstpointer data)
{
    assert_clean(f);
    g_autoptr(GpStore) store = open_store(f, GP_STORE_READ);
    g_autoptr(GpFsckReport) report = gp_fsck_report_new();
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_store_fsck(store, report, &error));
    /* Every entry, its implied directories and the root. */
    g_assert_cmpuint(report->checked, ==, 25);
}

static void test_configuration(Fixture *f, gconstpointer data)
{
    f->store = open_store(f, GP_STORE_WRITE);
    g_autoptr(GpStoredImage) image = image_new("example.com/b:1", NULL, 0, 1);
    g_bytes_unref(image->config);
    image->config = g_bytes_new("{}", 2);
    commit_ok(f->store, NULL, image);
    g_autofree char *lines = findings(f->store);
    g_assert_nonnull(
        strstr(lines, "the stored configuration is sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e831"
                      "0c060f61caaff8a, expected sha256:"));
}

/* One damaged layer does not hide another one's damage. */
static void test_all_are_reported(Fixture *f, gconstpointer data)
{
    f->store = open_store(f, GP_STORE_WRITE);
    put_layer(f->store, "another");
    close_store(f);
    shell(f->path, "for l in layers/*/root; do touch $l/more; touch -d @5 $l; done");
    g_autofree char *lines = findings_of(f);
    g_auto(GStrv) all = g_strsplit(lines, "\n", 0);
    guint more = 0;
    for (char **line = all; *line; line++)
        more += g_str_has_suffix(*line, ": more: is there, but no entry of the layer");
    g_assert_cmpuint(more, ==, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!need_root_for_all())
        return 0;
    g_test_add("/storage/fsck/clean-store", Fixture, NULL, set_up_store, test_clean, tear_down);
    for (gsize i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *name = g_strdup_printf("/storage/fsck/found/%s", damages[i].name);
        g_test_add(name, Fixture, GSIZE_TO_POINTER(i), set_up_store, test_damage, tear_down);
        g_autofree char *verified = g_strdup_printf("/storage/fsck/before-use/%s", damages[i].name);
        g_test_add(verified, Fixture, GSIZE_TO_POINTER(i), set_up_store, test_verified_before_use, tear_down);
    }
    g_test_add("/storage/fsck/found/configuration", Fixture, NULL, set_up_store, test_configuration, tear_down);
    g_test_add("/storage/fsck/verified-once-a-boot", Fixture, NULL, set_up_store, test_verified_once, tear_down);
    g_test_add("/storage/fsck/one-layer-or-image", Fixture, NULL, set_up_store, test_one, tear_down);
    g_test_add("/storage/fsck/all-layers-are-reported", Fixture, NULL, set_up_store, test_all_are_reported, tear_down);
    return g_test_run();
}
