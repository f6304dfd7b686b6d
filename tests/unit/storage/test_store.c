/* Layers go all the way from a tar into a store; Debian's "ostree fsck" and our own look at what is there. */
#include "tests/unit/storage/layer_fixture.h"

#include <signal.h>
#include <sys/file.h>

#include "storage/store.h"

typedef struct {
    Layer scratch; /* only its directory is used: store/ is inside */
    char *path;
} Place;

static void place_open(Place *place)
{
    layer_open(&place->scratch);
    place->path = g_build_filename(place->scratch.directory, "store", NULL);
}

static void place_close(Place *place)
{
    layer_close(&place->scratch);
    g_free(place->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_close)

/* The digest of @text stands for a blob's. */
static GpDigest digest_of(const char *text)
{
    GpDigest digest;
    gp_digest_of(GP_DIGEST_SHA256, text, strlen(text), &digest);
    return digest;
}

static GpStore *open_store(const Place *place, GpStoreMode mode)
{
    g_autoptr(GError) error = NULL;
    GpStore *store = gp_store_open(place->path, mode, TRUE, &error);
    g_assert_no_error(error);
    return store;
}

/* A tar with what libostree can hold and what it cannot, made by the script. */
static const char *const odd_layer =
    "mkdir -p t/sub t/dup; printf one > t/file; printf one > t/dup/same; ln t/file t/sub/hard; ln -s ../file "
    "t/sub/link;"
    "mknod t/dev c 1 3; mkfifo t/fifo; touch -d @1000.5 t/file; setfattr -n user.note -v hi t/sub; chmod 4711 "
    "t/dup/same;"
    "printf x > \"$(printf 't/na\\377me')\"; mkdir \"$(printf 't/d\\377')\"; printf y > \"$(printf 't/d\\377/f')\";"
    "touch t/sub/.wh.gone; tar --xattrs --format=pax -C t -cf layer.tar .";

/* Unpacks layer.tar of the scratch directory into a staging and completes it. */
static GpStaging *stage(const Place *place, GpStore *store, const GpDigest *blob)
{
    g_autoptr(GBytes) tar = slurp(place->scratch.directory, "layer.tar");
    g_autoptr(GError) error = NULL;
    gboolean already;
    GpStaging *staging = gp_store_begin_layer(store, blob, &already, &error);
    g_assert_no_error(error);
    g_assert_false(already);
    GP_AUTOFD int frames = unpack_frames(tar, GP_COMPRESSION_NONE, &error);
    g_assert_no_error(error);
    GpLayerTarget target = generous;
    target.objects_fd = gp_store_objects_fd(store);
    target.root_fd = gp_staging_root_fd(staging);
    GpDigest diff_id;
    GpLayerTree *tree = gp_layer_write(frames, &target, NULL, &diff_id, &error);
    g_assert_no_error(error);
    gp_staging_complete(staging, tree, &diff_id, g_bytes_get_size(tar));
    return staging;
}

static GpStoredImage *image_of(const char *name, const GpDigest *layers, guint n_layers)
{
    GpStoredImage *image = g_new0(GpStoredImage, 1);
    g_autofree char *config = g_strdup_printf("{\"name\":\"%s\"}", name);
    GpDigest config_digest = digest_of(config);
    g_autofree char *config_text = gp_digest_to_string(&config_digest);
    g_autofree char *manifest = g_strdup_printf("{\"config\":{\"digest\":\"%s\"}}", config_text);
    image->reference = g_strdup(name);
    image->manifest_digest = digest_of(manifest);
    image->manifest = g_bytes_new(manifest, strlen(manifest));
    image->config = g_bytes_new(config, strlen(config));
    image->layers = g_array_new(FALSE, FALSE, sizeof(GpDigest));
    g_array_append_vals(image->layers, layers, n_layers);
    image->pulled = 12345;
    return image;
}

static void commit(GpStore *store, GpStaging **stagings, guint n, const GpStoredImage *image)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    for (guint i = 0; i < n; i++)
        g_ptr_array_add(list, stagings[i]);
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_store_commit(store, list, image, &error));
    g_assert_no_error(error);
}

/* One image "one" of one odd layer "blob". */
static void fill(const Place *place, GpDigest *blob)
{
    shell(place->scratch.directory, "%s", odd_layer);
    g_autoptr(GpStore) store = open_store(place, GP_STORE_WRITE);
    *blob = digest_of("blob");
    g_autoptr(GpStaging) staging = stage(place, store, blob);
    g_autoptr(GpStoredImage) image = image_of("one", blob, 1);
    commit(store, &staging, 1, image);
}

static GPtrArray *findings(const Place *place)
{
    g_autoptr(GpStore) store = open_store(place, GP_STORE_READ);
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    guint64 checked;
    g_autoptr(GError) error = NULL;
    g_assert_true(gp_store_fsck(store, problems, &checked, &error));
    g_assert_no_error(error);
    return problems;
}

static void assert_clean(const Place *place)
{
    g_autoptr(GPtrArray) problems = findings(place);
    for (guint i = 0; i < problems->len; i++)
        g_test_message("%s", (char *) problems->pdata[i]);
    g_assert_cmpuint(problems->len, ==, 0);
}

static void what_went_in_is_there(void)
{
    if (!need_root())
        return;
    g_auto(Place) place = {0};
    place_open(&place);
    GpDigest blob;
    fill(&place, &blob);
    shell(place.scratch.directory, "ostree fsck --repo=store/repo");
    assert_clean(&place);

    g_autoptr(GpStore) store = open_store(&place, GP_STORE_READ);
    g_assert_true(gp_store_has_layer(store, &blob));
    g_autoptr(GPtrArray) images = gp_store_images(store, NULL);
    g_assert_cmpuint(images->len, ==, 1);
    const GpStoredImage *image = images->pdata[0];
    g_assert_cmpstr(image->reference, ==, "one");
    g_assert_cmpint(image->pulled, ==, 12345);
    g_assert_cmpuint(image->layers->len, ==, 1);
    g_assert_true(gp_digest_equal(&g_array_index(image->layers, GpDigest, 0), &blob));
    g_autoptr(GPtrArray) layers = gp_store_layers(store, NULL);
    g_assert_cmpuint(layers->len, ==, 1);
    g_assert_cmpuint(((GpStoredLayer *) layers->pdata[0])->images, ==, 1);
    g_assert_cmpuint(((GpStoredLayer *) layers->pdata[0])->bytes, ==, 3 + 3 + 1 + 1);
    shell(place.scratch.directory, "test -z \"$(ls store/staging)\"");
}

/* Two entries of the same content are two files: the tar did not link them. */
static void equal_content_is_not_one_inode(void)
{
    if (!need_root())
        return;
    g_auto(Place) place = {0};
    place_open(&place);
    shell(place.scratch.directory,
        "mkdir t; printf same > t/a; printf same > t/b; touch -d @5 t/a t/b; tar -C t -cf layer.tar .");
    g_autoptr(GpStore) store = open_store(&place, GP_STORE_WRITE);
    GpDigest blob = digest_of("blob");
    g_autoptr(GpStaging) staging = stage(&place, store, &blob);
    commit(store, &staging, 1, NULL);
    shell(place.scratch.directory, "cd store/layers/*/root; test $(stat -c %%i a) != $(stat -c %%i b)");
    assert_clean(&place);
}

static void every_damage_is_named(void)
{
    static const struct {
        const char *script, *finding;
    } rows[] = {
        {"printf two | dd of=file conv=notrunc status=none; touch -d @1000.5 file", "file: its content differs"},
        {"touch -d @1000.6 file", "was modified at"},
        {"touch -h -d @7 sub/link", "sub/link: was modified at"},
        {"touch -d @7 sub", "sub: was modified at"},
        {"chmod 600 dup/same", "dup/same: has mode 600"},
        {"chown 5 dev", "dev: belongs to 5:0"},
        {"rm fifo", "fifo: is missing"},
        {"touch new", "new: is there, but no entry"},
        {"setfattr -n user.note -v ho sub", "sub: its extended attribute user.note differs"},
        {"setfattr -x user.note sub", "sub: lacks an extended attribute"},
        {"setfattr -n user.more -v x fifo 2>/dev/null || setfattr -n trusted.more -v x fifo",
            "fifo: has extended attribute"},
        {"setfattr -n trusted.overlay.opaque -v y sub", "sub: is opaque, should not be"},
        {"rm sub/gone; mknod sub/gone c 1 3", "sub/gone: is a device, should be a whiteout"},
        {"rm dev; mknod dev c 1 5", "dev: "},
        {"rm sub/link; ln -s elsewhere sub/link", "sub/link: "},
        {"rm sub/hard; cp -a file sub/hard", "is the same file as another entry"},
        {"rm dup/same; ln file dup/same", "dup/same: "},
        {"printf z >> \"$(printf 'd\\377/f')\"", "/f: "},
    };
    if (!need_root())
        return;
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(Place) place = {0};
        place_open(&place);
        GpDigest blob;
        fill(&place, &blob);
        shell(place.scratch.directory, "cd store/layers/*/root; %s", rows[i].script);
        g_autoptr(GPtrArray) problems = findings(&place);
        gboolean named = FALSE;
        for (guint k = 0; k < problems->len; k++)
            named = named || strstr(problems->pdata[k], rows[i].finding);
        /* A second inode where there should be one is seen from either side. */
        if (!named && i != 15)
            g_error("%s: %u findings, first: %s", rows[i].script, problems->len,
                problems->len ? (char *) problems->pdata[0] : "-");
        g_assert_cmpuint(problems->len, >=, 1);
    }
}

static void a_damaged_repository_is_named(void)
{
    static const char *const scripts[] = {"rm $(find store/repo/objects -name '*.dirtree' | head -1)",
        "rm -rf store/layers/*", "echo x > $(find store/repo/refs/heads/image -type f)",
        "f=$(find store/repo/objects -name '*.file' -size -2 | head -1); printf q >> $f"};
    if (!need_root())
        return;
    for (gsize i = 0; i < G_N_ELEMENTS(scripts); i++) {
        g_auto(Place) place = {0};
        place_open(&place);
        GpDigest blob;
        fill(&place, &blob);
        shell(place.scratch.directory, "%s", scripts[i]);
        g_autoptr(GPtrArray) problems = findings(&place);
        g_assert_cmpuint(problems->len, >=, 1);
    }
}

static void shared_layers_stay_until_the_last_image_goes(void)
{
    if (!need_root())
        return;
    g_auto(Place) place = {0};
    place_open(&place);
    GpDigest shared;
    fill(&place, &shared);
    GpDigest own = digest_of("second blob");
    {
        g_autoptr(GpStore) store = open_store(&place, GP_STORE_WRITE);
        g_autoptr(GpStaging) staging = stage(&place, store, &own);
        GpDigest layers[] = {shared, own, shared};
        g_autoptr(GpStoredImage) two = image_of("two", layers, 3);
        commit(store, &staging, 1, two);
    }
    g_autoptr(GpStoredImage) two = image_of("two", &own, 1);
    g_autoptr(GpStoredImage) one = image_of("one", &shared, 1);
    guint64 freed;
    {
        g_autoptr(GpStore) store = open_store(&place, GP_STORE_EXCLUSIVE);
        g_assert_true(gp_store_remove_image(store, &two->manifest_digest, &freed, NULL));
        g_assert_cmpuint(freed, ==, 1);
        g_assert_true(gp_store_has_layer(store, &shared));
        g_assert_false(gp_store_has_layer(store, &own));
        g_autoptr(GError) error = NULL;
        g_assert_false(gp_store_remove_image(store, &two->manifest_digest, &freed, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_NOT_FOUND);
    }
    assert_clean(&place);
    g_autoptr(GpStore) store = open_store(&place, GP_STORE_EXCLUSIVE);
    g_assert_true(gp_store_remove_image(store, &one->manifest_digest, &freed, NULL));
    g_assert_cmpuint(freed, ==, 1);
    shell(place.scratch.directory,
        "test -z \"$(ls store/layers)\"; test -z \"$(find store/repo/objects -name '*.file')\"");
}

static void what_is_not_committed_leaves_nothing(void)
{
    if (!need_root())
        return;
    g_auto(Place) place = {0};
    place_open(&place);
    shell(place.scratch.directory, "%s", odd_layer);
    g_autoptr(GpStore) store = open_store(&place, GP_STORE_WRITE);
    GpDigest blob = digest_of("blob");
    GpStaging *staging = stage(&place, store, &blob);
    gp_staging_free(staging);
    g_assert_false(gp_store_has_layer(store, &blob));
    shell(place.scratch.directory, "test -z \"$(ls store/staging store/layers | grep -v :)\"");
}

/* A process that is killed leaves a staging directory, which the next one removes; and it blocks nobody. */
static void a_dead_process_is_swept_away(void)
{
    if (!need_root())
        return;
    g_auto(Place) place = {0};
    place_open(&place);
    shell(place.scratch.directory, "%s", odd_layer);
    GpDigest blob = digest_of("blob");
    pid_t pid = fork();
    if (pid == 0) {
        GpStore *store = open_store(&place, GP_STORE_WRITE);
        (void) stage(&place, store, &blob);
        raise(SIGKILL);
    }
    waitpid(pid, NULL, 0);
    shell(place.scratch.directory, "test -n \"$(ls store/staging)\"");
    g_autoptr(GpStore) store = open_store(&place, GP_STORE_WRITE);
    shell(place.scratch.directory, "test -z \"$(ls store/staging)\"");
    g_autoptr(GpStaging) staging = stage(&place, store, &blob);
    commit(store, &staging, 1, NULL);
    assert_clean(&place);
}

static gpointer begin_in_thread(gpointer data)
{
    GpDigest blob = digest_of("blob");
    gboolean already = FALSE;
    g_autoptr(GpStaging) staging = gp_store_begin_layer(data, &blob, &already, NULL);
    return GINT_TO_POINTER(!staging && already);
}

static void the_second_of_two_waits_and_reuses(void)
{
    if (!need_root())
        return;
    g_auto(Place) place = {0};
    place_open(&place);
    shell(place.scratch.directory, "%s", odd_layer);
    g_autoptr(GpStore) store = open_store(&place, GP_STORE_WRITE);
    GpDigest blob = digest_of("blob");
    GpStaging *staging = stage(&place, store, &blob);
    GThread *other = g_thread_new("other", begin_in_thread, store);
    g_usleep(100000);
    commit(store, &staging, 1, NULL);
    gp_staging_free(staging);
    g_assert_true(GPOINTER_TO_INT(g_thread_join(other)));
}

static void a_plain_disk_is_refused(void)
{
    g_auto(Place) place = {0};
    place_open(&place);
    g_autoptr(GError) error = NULL;
    g_assert_null(gp_store_open(place.path, GP_STORE_WRITE, FALSE, &error));
    assert_refused(error, GP_ERROR_UNSUPPORTED, "--allow-unencrypted-store");
    g_autoptr(GError) absent = NULL;
    g_autofree char *nowhere = g_strconcat(place.path, "-absent", NULL);
    g_assert_null(gp_store_open(nowhere, GP_STORE_READ, TRUE, &absent));
    assert_refused(absent, GP_ERROR_NOT_FOUND, "absent");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/store/what-went-in-is-there", what_went_in_is_there);
    g_test_add_func("/storage/store/equal-content-is-not-one-inode", equal_content_is_not_one_inode);
    g_test_add_func("/storage/store/every-damage-is-named", every_damage_is_named);
    g_test_add_func("/storage/store/a-damaged-repository-is-named", a_damaged_repository_is_named);
    g_test_add_func(
        "/storage/store/shared-layers-stay-until-the-last-image-goes", shared_layers_stay_until_the_last_image_goes);
    g_test_add_func("/storage/store/what-is-not-committed-leaves-nothing", what_is_not_committed_leaves_nothing);
    g_test_add_func("/storage/store/a-dead-process-is-swept-away", a_dead_process_is_swept_away);
    g_test_add_func("/storage/store/the-second-of-two-waits-and-reuses", the_second_of_two_waits_and_reuses);
    g_test_add_func("/storage/store/a-plain-disk-is-refused", a_plain_disk_is_refused);
    return g_test_run();
}
