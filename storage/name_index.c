#include "storage/name_index.h"

#include <string.h>

/* Tables with linear probing, each twice as big as the one before: when the last is full, another one is begun, and
 * what is in the others stays. The tag is 0 in a slot that was never used; the reference is 0 in one that was given up.
 * A miss passes some eighty slots, so the tag is long enough to hardly ever be another's by chance: looking at what the
 * reference means may bring back a page from a file. */
#define FIRST_SLOTS 1024
#define MOST_TABLES 22

typedef struct {
    guint16 *tags;
    guint32 *refs;
    gsize slots, used;
} Table;

struct _GpNameIndex {
    Table tables[MOST_TABLES];
    guint n_tables;
    guint64 seed; /* nobody can prepare names that collide */
};

GpNameIndex *gp_name_index_new(void)
{
    GpNameIndex *index = g_new0(GpNameIndex, 1);
    index->seed = (guint64) g_random_int() << 32 | g_random_int();
    return index;
}

void gp_name_index_free(GpNameIndex *index)
{
    if (!index)
        return;
    for (guint i = 0; i < index->n_tables; i++) {
        g_free(index->tables[i].tags);
        g_free(index->tables[i].refs);
    }
    g_free(index);
}

static guint64 mix(guint64 value)
{
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93u;
    return value ^ value >> 32;
}

guint64 gp_name_index_hash(const GpNameIndex *index, gconstpointer parent, const char *name)
{
    guint64 hash = mix(index->seed ^ (guintptr) parent);
    gsize left = strlen(name);
    for (guint64 part; left > 0; name += MIN(left, sizeof part), left -= MIN(left, sizeof part)) {
        part = left;
        memcpy(&part, name, MIN(left, sizeof part));
        hash = mix((hash ^ part) * 0x9e3779b97f4a7c15u);
    }
    return mix(hash);
}

static guint16 tag_of(guint64 hash)
{
    return (guint16) (1 + (hash >> 48) % G_MAXUINT16);
}

guint32 gp_name_index_find(const GpNameIndex *index, guint64 hash, GpNameMatch match, gconstpointer data)
{
    guint16 tag = tag_of(hash);
    for (guint i = index->n_tables; i-- > 0;) {
        const Table *table = &index->tables[i];
        for (gsize at = hash & (table->slots - 1); table->tags[at]; at = (at + 1) & (table->slots - 1))
            if (table->tags[at] == tag && table->refs[at] && match(data, table->refs[at]))
                return table->refs[at];
    }
    return 0;
}

static Table *room(GpNameIndex *index)
{
    Table *last = index->n_tables ? &index->tables[index->n_tables - 1] : NULL;
    if (last && last->used < last->slots / 4 * 3)
        return last;
    gsize slots = last ? 2 * last->slots : FIRST_SLOTS;
    if (index->n_tables == MOST_TABLES)
        g_error("a layer holds too many names");
    last = &index->tables[index->n_tables++];
    *last = (Table){.tags = g_new0(guint16, slots), .refs = g_new0(guint32, slots), .slots = slots};
    return last;
}

void gp_name_index_add(GpNameIndex *index, guint64 hash, guint32 ref)
{
    Table *table = room(index);
    gsize at = hash & (table->slots - 1);
    while (table->tags[at])
        at = (at + 1) & (table->slots - 1);
    table->tags[at] = tag_of(hash);
    table->refs[at] = ref;
    table->used++;
}

void gp_name_index_remove(GpNameIndex *index, guint64 hash, guint32 ref)
{
    for (guint i = 0; i < index->n_tables; i++) {
        const Table *table = &index->tables[i];
        for (gsize at = hash & (table->slots - 1); table->tags[at]; at = (at + 1) & (table->slots - 1))
            if (table->refs[at] == ref) {
                table->refs[at] = 0;
                return;
            }
    }
}
