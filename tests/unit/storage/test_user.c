#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"
#include "storage/user.h"

typedef struct {
    char *top, *etc, *passwd, *group;
    int fd;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->top = g_dir_make_tmp("gp-user-XXXXXX", NULL);
    f->etc = g_build_filename(f->top, "root", "etc", NULL);
    f->passwd = g_build_filename(f->etc, "passwd", NULL);
    f->group = g_build_filename(f->etc, "group", NULL);
    g_assert_cmpint(g_mkdir_with_parents(f->etc, 0755), ==, 0);
    g_autofree char *root = g_path_get_dirname(f->etc);
    f->fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(f->fd, >=, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    close(f->fd);
    g_assert_true(gp_remove_tree(AT_FDCWD, f->top, NULL));
    g_free(f->top);
    g_free(f->etc);
    g_free(f->passwd);
    g_free(f->group);
}

static void write_databases(Fixture *f)
{
    g_assert_true(g_file_set_contents(f->passwd,
        "root:x:0:0:root:/root:/bin/sh\n"
        "# a comment\n"
        "broken:x:y:0::/:\n"
        "+::::::\n"
        "web:x:33:133::/srv/web:/bin/false\n"
        "1000:x:77:77:a name of digits:/seventyseven:\n"
        "nohome:x:5:6\n"
        "relative:x:8:8::home:\n"
        "big:x:4294967294:4294967294::/big:\n"
        "bigger:x:4294967295:0::/:\n"
        "web:x:34:134::/second:/bin/false\n",
        -1, NULL));
    g_assert_true(g_file_set_contents(f->group,
        "root:x:0:\n"
        "adm:x:4:web,root\n"
        "web:x:133:web\n"
        "tape:x:26:other,web\n"
        "tape2:x:26:web\n"
        "short:x:99\n"
        "bad:x:-1:web\n"
        "website:x:200:webmaster\n",
        -1, NULL));
}

static char *describe(const GpUser *user)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%u:%u %s", user->uid, user->gid, user->home);
    for (guint i = 0; i < user->additional_gids->len; i++)
        g_string_append_printf(text, " %u", g_array_index(user->additional_gids, guint32, i));
    return g_string_free(text, FALSE);
}

static void assert_user(Fixture *f, const char *text, const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_auto(GpUser) user = {0};
    gp_user_resolve(f->fd, text, &user, &error);
    g_assert_no_error(error);
    g_autofree char *described = describe(&user);
    g_assert_cmpstr(described, ==, expected);
}

static void assert_refused(Fixture *f, const char *text, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_auto(GpUser) user = {0};
    g_assert_false(gp_user_resolve(f->fd, text, &user, &error));
    g_assert_error(error, GP_ERROR, (int) code);
    if (!strstr(error->message, reason))
        g_error("\"%s\" does not say \"%s\"", error->message, reason);
}

static void test_found(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {NULL, "0:0 /root 4"},
        {"", "0:0 /root 4"},
        {"root", "0:0 /root 4"},
        {"web", "33:133 /srv/web 4 26"}, /* its own group and the repeated 26 once */
        {"33", "33:133 /srv/web 4 26"},
        {"033", "33:133 /srv/web 4 26"},
        {"web:adm", "33:4 /srv/web"}, /* a named group replaces all others */
        {"web:26", "33:26 /srv/web"},
        {"web:4711", "33:4711 /srv/web"},
        {"web:", "33:133 /srv/web 4 26"},
        {":adm", "0:4 /root"},
        {"1000", "1000:0 /"}, /* a number is an id, never a name */
        {"4711", "4711:0 /"},
        {"4711:4712", "4711:4712 /"},
        {"nohome", "5:6 /"},
        {"relative", "8:8 /"},
        {"big", "4294967294:4294967294 /big"},
        {"4294967294", "4294967294:4294967294 /big"},
    };
    write_databases(f);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_user(f, cases[i].text, cases[i].expected);
}

static void test_missing(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"nobody", "user \"nobody\" of the image's configuration is not in its /etc/passwd"},
        {"broken", "user \"broken\""},
        {"bigger", "user \"bigger\""},
        {"Web", "user \"Web\""},
        {" web", "user \" web\""},
        {"-1", "user \"-1\""},
        {"we\033[2Jb", "user \"we\\x1b[2Jb\""},
        {"4294967295", "user \"4294967295\" of the image's configuration is no valid id"},
        {"99999999999999999999", "is no valid id"},
        {"web:nogroup", "group \"nogroup\" of the image's configuration is not in its /etc/group"},
        {"web:bad", "group \"bad\""},
        {"web:4294967295", "group \"4294967295\" of the image's configuration is no valid id"},
        {"web:adm:x", "is not user[:group]"},
        {"::", "is not user[:group]"},
    };
    write_databases(f);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_refused(f, cases[i].text, GP_ERROR_INVALID, cases[i].reason);
}

static void test_no_databases(Fixture *f, gconstpointer data)
{
    assert_user(f, NULL, "0:0 /");
    assert_user(f, "12:34", "12:34 /");
    assert_refused(f, "web", GP_ERROR_INVALID, "user \"web\"");
    assert_refused(f, "12:adm", GP_ERROR_INVALID, "group \"adm\"");
    g_assert_cmpint(rmdir(f->etc), ==, 0);
    assert_user(f, "12", "12:0 /");
    g_assert_true(g_file_set_contents(f->etc, "a file", -1, NULL));
    assert_user(f, "12", "12:0 /");
}

/* The host's users must never answer for the image's. */
static void test_links_stay_inside(Fixture *f, gconstpointer data)
{
    g_autofree char *outside = g_build_filename(f->top, "outside", NULL);
    g_assert_true(g_file_set_contents(outside, "web:x:1:1::/:\n", -1, NULL));
    static const char *const out[] = {"../../outside", "../../../../../../../../../../etc/passwd", "/etc/passwd"};
    for (gsize i = 0; i < G_N_ELEMENTS(out); i++) {
        g_assert_cmpint(symlink(out[i], f->passwd), ==, 0);
        g_autoptr(GError) error = NULL;
        g_auto(GpUser) user = {0};
        g_assert_false(gp_user_resolve(f->fd, i == 0 ? "web" : "root", &user, &error));
        g_assert_error(error, GP_ERROR, GP_ERROR_INVALID);
        g_assert_cmpint(unlink(f->passwd), ==, 0);
    }
    g_assert_cmpint(symlink(outside, f->passwd), ==, 0);
    assert_refused(f, "web", GP_ERROR_INVALID, "user \"web\"");
    g_assert_cmpint(unlink(f->passwd), ==, 0);

    g_autofree char *real = g_build_filename(f->etc, "real", NULL);
    g_assert_true(g_file_set_contents(real, "web:x:7:8::/:\n", -1, NULL));
    g_assert_cmpint(symlink("/etc/real", f->passwd), ==, 0); /* absolute, and still the image's */
    assert_user(f, "web", "7:8 /");

    g_assert_cmpint(unlink(f->passwd), ==, 0);
    g_assert_cmpint(symlink("passwd", f->passwd), ==, 0);
    assert_refused(f, "web", GP_ERROR_INVALID, "symbolic links lead nowhere");
}

static void test_odd_files(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(mkfifo(f->passwd, 0644), ==, 0);
    assert_refused(f, "web", GP_ERROR_INVALID, "/etc/passwd: not a regular file");
    g_assert_cmpint(unlink(f->passwd), ==, 0);
    g_assert_cmpint(g_mkdir(f->passwd, 0755), ==, 0);
    assert_refused(f, "0", GP_ERROR_INVALID, "/etc/passwd: not a regular file");
    g_assert_cmpint(rmdir(f->passwd), ==, 0);

    g_autofree char *huge = g_strnfill(GP_LIMIT_PASSWD + 1, '\n');
    g_assert_true(g_file_set_contents(f->passwd, huge, GP_LIMIT_PASSWD + 1, NULL));
    assert_refused(f, "web", GP_ERROR_LIMIT, "/etc/passwd: more than");
    g_assert_true(g_file_set_contents(f->passwd, "a:x:1:1::/:\n\0web:x:0:0::/:\n", 27, NULL));
    assert_refused(f, "web", GP_ERROR_INVALID, "user \"web\"");
}

#define ADD(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/storage/user/names-and-numbers-are-found", test_found);
    ADD("/storage/user/missing-and-malformed-ones-are-refused", test_missing);
    ADD("/storage/user/image-without-databases", test_no_databases);
    ADD("/storage/user/links-never-leave-the-image", test_links_stay_inside);
    ADD("/storage/user/odd-files-are-refused", test_odd_files);
    return g_test_run();
}
