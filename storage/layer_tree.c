#include "storage/layer_tree.h"

#include <sys/stat.h>

#include "base/limits.h"
#include "storage/name_index.h"

static GpInode *inode_new(GpLayerTree *tree)
{
    return gp_arena_alloc(tree->arena, sizeof(GpInode), NULL);
}

/* A node is one piece of memory with its name in it. */
static GpNode *node_new(GpLayerTree *tree, GpNode *parent, const char *name, GpInode *inode, guint32 *ref)
{
    gsize size = strlen(name) + 1;
    GpNode *node = gp_arena_alloc(tree->arena, sizeof *node + size, ref);
    memcpy(node->name, name, size);
    node->parent = parent;
    node->inode = inode ? inode : inode_new(tree);
    node->inode->references++;
    return node;
}

GpLayerTree *gp_layer_tree_new(int directory_fd)
{
    GpLayerTree *tree = g_new0(GpLayerTree, 1);
    tree->arena = gp_arena_new(directory_fd);
    tree->names = gp_name_index_new();
    tree->root = node_new(tree, NULL, "", NULL, NULL); /* the first, so that no other one has the reference 0 */
    tree->root->inode->mode = S_IFDIR | 0755;
    tree->root->inode->implied = TRUE;
    tree->sorted = TRUE;
    return tree;
}

/* Drops what @node and all below it have outside of the arena; @tree's count of entries goes with them. */
static void drop(GpLayerTree *tree, GpNode *node)
{
    for (GpNode *child = node->first; child; child = child->next)
        drop(tree, child);
    gp_layer_tree_passed(tree);
    tree->entries--;
    if (--node->inode->references == 0)
        g_clear_pointer(&node->inode->xattrs, g_array_unref);
}

void gp_layer_tree_free(GpLayerTree *tree)
{
    if (!tree)
        return;
    drop(tree, tree->root);
    gp_name_index_free(tree->names);
    gp_arena_free(tree->arena);
    g_free(tree);
}

typedef struct {
    const GpLayerTree *tree;
    const GpNode *parent;
    const char *name;
} Wanted;

static gboolean is_wanted(gconstpointer data, guint32 ref)
{
    const Wanted *wanted = data;
    const GpNode *node = gp_arena_at(wanted->tree->arena, ref);
    return node->parent == wanted->parent && strcmp(node->name, wanted->name) == 0;
}

GpNode *gp_layer_child(const GpLayerTree *tree, const GpNode *parent, const char *name)
{
    if (!tree->names) {
        for (GpNode *child = parent->first; child; child = child->next)
            if (strcmp(child->name, name) == 0)
                return child;
        return NULL;
    }
    const Wanted wanted = {tree, parent, name};
    guint32 ref = gp_name_index_find(tree->names, gp_name_index_hash(tree->names, parent, name), is_wanted, &wanted);
    return ref ? gp_arena_at(tree->arena, ref) : NULL;
}

GpNode *gp_layer_tree_find(const GpLayerTree *tree, const char *path)
{
    GpNode *node = tree->root;
    char name[GP_LIMIT_NAME + 1];
    while (node && *path) {
        gsize length = strcspn(path, "/");
        if (length >= sizeof name)
            return NULL;
        memcpy(name, path, length);
        name[length] = '\0';
        node = gp_layer_child(tree, node, name);
        path += length + (path[length] == '/');
    }
    return node;
}

GpNode *gp_layer_tree_add(GpLayerTree *tree, GpNode *parent, const char *name, GpInode *inode)
{
    guint32 ref;
    g_return_val_if_fail(tree->names && !gp_layer_child(tree, parent, name), NULL);
    GpNode *node = node_new(tree, parent, name, inode, &ref);
    gp_name_index_add(tree->names, gp_name_index_hash(tree->names, parent, name), ref);
    node->previous = parent->last;
    *(parent->last ? &parent->last->next : &parent->first) = node;
    parent->last = node;
    tree->entries++;
    tree->sorted = FALSE;
    return node;
}

void gp_layer_tree_remove(GpLayerTree *tree, GpNode *node)
{
    GpNode *parent = node->parent;
    g_return_if_fail(tree->names && parent);
    guint64 hash = gp_name_index_hash(tree->names, parent, node->name);
    const Wanted wanted = {tree, parent, node->name};
    gp_name_index_remove(tree->names, hash, gp_name_index_find(tree->names, hash, is_wanted, &wanted));
    *(node->previous ? &node->previous->next : &parent->first) = node->next;
    *(node->next ? &node->next->previous : &parent->last) = node->previous;
    drop(tree, node); /* nobody asks the index for what was below any more */
}

const char *gp_layer_tree_text(GpLayerTree *tree, const char *text)
{
    gsize size = strlen(text) + 1;
    return memcpy(gp_arena_alloc(tree->arena, size, NULL), text, size);
}

void gp_layer_tree_settle(GpLayerTree *tree)
{
    g_clear_pointer(&tree->names, gp_name_index_free);
}

void gp_layer_tree_passed(GpLayerTree *tree)
{
    gp_arena_passed(tree->arena);
}

/* ---- sorting
 *
 * Runs in memory, which are then merged. By the first bytes in which a directory's names differ, kept beside the
 * pointers, so that the names themselves need hardly be looked at: they may lie in a file. */

#define RUN 65536 /* names: 2 MB */

typedef struct {
    guint64 key; /* the bytes, the first one on top */
    GpNode *node;
} Sortable;

static gsize common_prefix(GpLayerTree *tree, const GpNode *directory)
{
    const char *first = directory->first->name;
    gsize common = strlen(first);
    for (const GpNode *child = directory->first->next; child && common > 0; child = child->next) {
        gsize same = 0;
        while (same < common && child->name[same] == first[same])
            same++;
        common = same;
        gp_layer_tree_passed(tree);
    }
    return common;
}

static gint compare(gconstpointer a, gconstpointer b, gpointer tree)
{
    const Sortable *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    gp_layer_tree_passed(tree);
    return strcmp(x->node->name, y->node->name);
}

static gboolean is_sorted(GpLayerTree *tree, const GpNode *directory)
{
    for (const GpNode *child = directory->first; child && child->next; child = child->next) {
        gp_layer_tree_passed(tree);
        if (strcmp(child->name, child->next->name) > 0)
            return FALSE;
    }
    return TRUE;
}

static guint64 key_of(const char *bytes)
{
    guint64 key = 0;
    for (guint i = 0; i < sizeof key; i++) {
        key = key << 8 | (guint8) *bytes;
        bytes += *bytes != '\0';
    }
    return key;
}

/* At most RUN nodes from @first on, sorted; the last one's next is NULL. */
static GpNode *sort_run(GpLayerTree *tree, GpNode *first, gsize count, gsize common)
{
    g_autofree Sortable *order = g_new(Sortable, count);
    GpNode *node = first, *sorted = NULL;
    for (gsize i = 0; i < count; i++, node = node->next) {
        order[i] = (Sortable){key_of(node->name + common), node};
        gp_layer_tree_passed(tree);
    }
    g_qsort_with_data(order, (gint) count, sizeof *order, compare, tree);
    for (gsize i = count; i-- > 0; sorted = order[i].node)
        order[i].node->next = sorted;
    return sorted;
}

static GpNode *merge(GpLayerTree *tree, GpNode *a, GpNode *b)
{
    GpNode *sorted = NULL, **end = &sorted;
    while (a && b) {
        GpNode **smaller = strcmp(a->name, b->name) < 0 ? &a : &b;
        *end = *smaller;
        end = &(*smaller)->next;
        *smaller = *end;
        gp_layer_tree_passed(tree);
    }
    *end = a ? a : b;
    return sorted;
}

static GpNode *sort_list(GpLayerTree *tree, GpNode *first, gsize count, gsize common)
{
    if (count <= RUN)
        return sort_run(tree, first, count, common);
    GpNode *middle = first;
    for (gsize i = 0; i < count / 2; i++, middle = middle->next)
        gp_layer_tree_passed(tree);
    GpNode *right = sort_list(tree, middle, count - count / 2, common);
    return merge(tree, sort_list(tree, first, count / 2, common), right);
}

static void sort_directory(GpLayerTree *tree, GpNode *directory)
{
    gsize count = 0;
    for (const GpNode *child = directory->first; child; child = child->next, count++)
        gp_layer_tree_passed(tree);
    directory->first = sort_list(tree, directory->first, count, common_prefix(tree, directory));
    directory->last = NULL;
    for (GpNode *child = directory->first; child; child = child->next) {
        child->previous = directory->last;
        directory->last = child;
        gp_layer_tree_passed(tree);
    }
}

static void sort_below(GpLayerTree *tree, GpNode *directory)
{
    if (!is_sorted(tree, directory))
        sort_directory(tree, directory);
    for (GpNode *child = directory->first; child; child = child->next) {
        gp_layer_tree_passed(tree);
        if (child->first)
            sort_below(tree, child);
    }
}

void gp_layer_tree_sort(GpLayerTree *tree)
{
    if (!tree->sorted)
        sort_below(tree, tree->root);
    tree->sorted = TRUE;
}
