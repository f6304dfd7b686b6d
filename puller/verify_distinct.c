#include "puller/verify_distinct.h"

/* Finds a signer for @set, moving others aside if they have another one (an augmenting path, Kuhn's algorithm). @owner
 * maps a signer to the set (its number + 1) that has it; @seen keeps a signer from being asked twice. */
static gboolean assign(GPtrArray *sets, guint set, GHashTable *owner, GHashTable *seen)
{
    GPtrArray *signers = sets->pdata[set];
    for (guint i = 0; i < signers->len; i++) {
        char *signer = signers->pdata[i];
        if (!g_hash_table_add(seen, signer))
            continue;
        guint other = GPOINTER_TO_UINT(g_hash_table_lookup(owner, signer));
        if (other == 0 || assign(sets, other - 1, owner, seen)) {
            g_hash_table_insert(owner, signer, GUINT_TO_POINTER(set + 1));
            return TRUE;
        }
    }
    return FALSE;
}

guint gp_verify_count_distinct(GPtrArray *sets)
{
    g_autoptr(GHashTable) owner = g_hash_table_new(g_str_hash, g_str_equal);
    guint count = 0;
    for (guint set = 0; set < sets->len; set++) {
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
        count += assign(sets, set, owner, seen);
    }
    return count;
}
