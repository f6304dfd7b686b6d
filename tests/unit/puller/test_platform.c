#include "base/error.h"
#include "puller/platform.h"

static void test_parse(void)
{
    static const struct {
        const char *text, *expected; /* NULL: refused */
    } rows[] = {
        {"linux/amd64", "linux/amd64"},
        {"linux/x86_64", "linux/amd64"},
        {"linux/aarch64", "linux/arm64"},
        {"linux/arm", "linux/arm/v7"},
        {"linux/arm/v6", "linux/arm/v6"},
        {"linux/arm64/v8", "linux/arm64/v8"},
        {"linux/riscv64", "linux/riscv64"},
        {"windows/amd64", "windows/amd64"},
        {"", NULL},
        {"linux", NULL},
        {"linux/", NULL},
        {"/amd64", NULL},
        {"linux/amd64/", NULL},
        {"linux/arm/v7/x", NULL},
        {"Linux/amd64", NULL},
        {"linux/amd 64", NULL},
        {"linux/amd64\n", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        GpPlatform platform;
        g_autoptr(GError) error = NULL;
        if (gp_platform_parse(rows[i].text, &platform, &error)) {
            g_autofree char *text = gp_platform_to_string(&platform);
            g_assert_cmpstr(text, ==, rows[i].expected);
        } else {
            g_assert_null(rows[i].expected);
            g_assert_error(error, GP_ERROR, GP_ERROR_USAGE);
            g_assert_nonnull(strstr(error->message, "not of the form OS/ARCH"));
        }
        gp_platform_clear(&platform);
    }
}

static void test_this_machine(void)
{
    GpPlatform platform;
    g_assert_true(gp_platform_parse(NULL, &platform, NULL));
    g_assert_cmpstr(platform.os, ==, "linux");
#ifdef __x86_64__
    g_assert_cmpstr(platform.architecture, ==, "amd64");
#elif defined(__aarch64__)
    g_assert_cmpstr(platform.architecture, ==, "arm64");
#endif
    gp_platform_clear(&platform);
}

static void test_rank_order(void)
{
    /* Each row from the best to the worst; "-" is no variant, behind "!" what does not run. */
    static const struct {
        const char *wanted, *order;
    } rows[] = {
        {"linux/arm/v8", "v8 v7 v6 v5 -"},
        {"linux/arm/v6", "v6 v5 - ! v7 v8 x"},
        {"linux/arm64/v8", "v8 - ! v9"},
        {"linux/arm64", "- v8 ! v9"},
        {"linux/amd64", "- v1 ! v2 v3 v4"},
        {"linux/amd64/v3", "v3 v2 v1 - ! v4"},
        {"linux/ppc64le/power9", "power9 - ! power8"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        GpPlatform platform;
        g_assert_true(gp_platform_parse(rows[i].wanted, &platform, NULL));
        g_auto(GStrv) words = g_strsplit(rows[i].order, " ", -1);
        int before = -1;
        gboolean runs = TRUE;
        for (char **word = words; *word; word++) {
            if (strcmp(*word, "!") == 0) {
                runs = FALSE;
                continue;
            }
            int rank =
                gp_platform_rank(&platform, "linux", platform.architecture, strcmp(*word, "-") == 0 ? NULL : *word);
            if (runs)
                g_assert_cmpint(rank, >, before);
            else
                g_assert_cmpint(rank, ==, -1);
            before = rank;
        }
        gp_platform_clear(&platform);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/puller/platform/parse", test_parse);
    g_test_add_func("/puller/platform/this-machine", test_this_machine);
    g_test_add_func("/puller/platform/rank-order", test_rank_order);
    return g_test_run();
}
