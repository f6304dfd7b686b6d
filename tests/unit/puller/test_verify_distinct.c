/* Counting distinct signers: whatever the order, and however often one of them signed. */
#include "puller/verify_distinct.h"

#include <string.h>

static const struct {
    const char *name;
    const char *sets[5]; /* signers of one requirement, a letter each; NULL ends */
    guint count;
} rows[] = {
    {"nothing", {NULL}, 0},
    {"nobody", {"", ""}, 0},
    {"one", {"a"}, 1},
    {"two-signers", {"a", "b"}, 2},
    {"one-signer-for-two", {"a", "a"}, 1},
    {"one-signer-twice-for-one", {"aa"}, 1},
    {"greedy-would-fail", {"ab", "a"}, 2},
    {"greedy-would-fail-the-other-way", {"a", "ab"}, 2},
    {"chain-of-three", {"ab", "bc", "a"}, 3},
    {"chain-that-moves-all", {"a", "ab", "bc", "cd"}, 4},
    {"two-for-three", {"ab", "ab", "ab"}, 2},
    {"one-without", {"a", "", "b"}, 2},
};

static void check_row(gconstpointer data)
{
    gsize row = GPOINTER_TO_SIZE(data);
    g_autoptr(GPtrArray) sets = g_ptr_array_new_with_free_func((GDestroyNotify) g_ptr_array_unref);
    for (gsize i = 0; i < G_N_ELEMENTS(rows[row].sets) && rows[row].sets[i]; i++) {
        GPtrArray *signers = g_ptr_array_new_with_free_func(g_free);
        for (const char *p = rows[row].sets[i]; *p; p++)
            g_ptr_array_add(signers, g_strndup(p, 1));
        g_ptr_array_add(sets, signers);
    }
    g_assert_cmpuint(gp_verify_count_distinct(sets), ==, rows[row].count);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/puller/distinct/", rows[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), check_row);
    }
    return g_test_run();
}
