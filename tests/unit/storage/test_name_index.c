#include "storage/name_index.h"

/* References are places in an array of numbers. */
typedef struct {
    const guint *numbers;
    guint wanted;
} Lookup;

static gboolean is_wanted(gconstpointer data, guint32 ref)
{
    const Lookup *lookup = data;
    return lookup->numbers[ref] == lookup->wanted;
}

static guint32 find(const GpNameIndex *index, const guint *numbers, guint wanted, guint64 hash)
{
    const Lookup lookup = {numbers, wanted};
    return gp_name_index_find(index, hash, is_wanted, &lookup);
}

static void test_same_hash(void)
{
    static const guint numbers[] = {0, 10, 20, 30};
    GpNameIndex *index = gp_name_index_new();
    g_assert_cmpuint(find(index, numbers, 10, 5), ==, 0);
    for (guint32 i = 1; i < G_N_ELEMENTS(numbers); i++)
        gp_name_index_add(index, 5, i);
    g_assert_cmpuint(find(index, numbers, 20, 5), ==, 2);
    g_assert_cmpuint(find(index, numbers, 40, 5), ==, 0);
    gp_name_index_remove(index, 5, 2);
    g_assert_cmpuint(find(index, numbers, 20, 5), ==, 0);
    g_assert_cmpuint(find(index, numbers, 30, 5), ==, 3); /* behind the gap */
    gp_name_index_free(index);
}

static void test_many(void)
{
    enum { COUNT = 50000 };
    g_autofree guint *numbers = g_new0(guint, COUNT + 1);
    g_autofree guint64 *hashes = g_new0(guint64, COUNT + 1);
    GpNameIndex *index = gp_name_index_new();
    for (guint32 i = 1; i <= COUNT; i++) {
        g_autofree char *name = g_strdup_printf("name%u", i);
        numbers[i] = i;
        hashes[i] = gp_name_index_hash(index, numbers, name);
        gp_name_index_add(index, hashes[i], i);
    }
    for (guint32 i = 1; i <= COUNT; i += 3)
        gp_name_index_remove(index, hashes[i], i);
    for (guint32 i = 1; i <= COUNT; i++)
        g_assert_cmpuint(find(index, numbers, i, hashes[i]), ==, i % 3 == 1 ? 0 : i);
    gp_name_index_free(index);
}

static void test_hash(void)
{
    GpNameIndex *index = gp_name_index_new(), *other = gp_name_index_new();
    static const char *const names[] = {"", "a", "b", "abcdefgh", "abcdefgha", "abcdefghb", "abcdefgh\x01"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        guint64 hash = gp_name_index_hash(index, index, names[i]);
        g_assert_cmpuint(hash, ==, gp_name_index_hash(index, index, names[i]));
        g_assert_cmpuint(hash, !=, gp_name_index_hash(index, other, names[i]));
        g_assert_cmpuint(hash, !=, gp_name_index_hash(other, index, names[i])); /* nobody can prepare names */
        for (gsize k = 0; k < i; k++)
            g_assert_cmpuint(hash, !=, gp_name_index_hash(index, index, names[k]));
    }
    gp_name_index_free(index);
    gp_name_index_free(other);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storage/name-index/several-under-one-hash", test_same_hash);
    g_test_add_func("/storage/name-index/many-and-some-taken-out", test_many);
    g_test_add_func("/storage/name-index/the-hash-is-of-directory-name-and-a-secret", test_hash);
    return g_test_run();
}
