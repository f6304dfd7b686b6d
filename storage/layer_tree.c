#include "storage/layer_tree.h"

#include <sys/stat.h>

#include "base/limits.h"

static void inode_unref(GpInode *inode)
{
    if (--inode->references > 0)
        return;
    g_free(inode->symlink);
    g_clear_pointer(&inode->xattrs, g_array_unref);
    g_free(inode);
}

static void node_free(gpointer data)
{
    GpNode *node = data;
    g_clear_pointer(&node->children, g_hash_table_unref);
    inode_unref(node->inode);
    g_free(node);
}

/* A layer may have a million names, so a node is one piece of memory with its name behind it. */
static GpNode *node_new(GpNode *parent, const char *name, GpInode *inode)
{
    gsize size = strlen(name) + 1;
    GpNode *node = g_malloc0(sizeof *node + size);
    node->name = memcpy(node + 1, name, size);
    node->parent = parent;
    node->inode = inode ? inode : g_new0(GpInode, 1);
    node->inode->references++;
    return node;
}

GpLayerTree *gp_layer_tree_new(void)
{
    GpLayerTree *tree = g_new0(GpLayerTree, 1);
    tree->root = node_new(NULL, "", NULL);
    tree->root->inode->mode = S_IFDIR | 0755;
    tree->root->inode->implied = TRUE;
    return tree;
}

void gp_layer_tree_free(GpLayerTree *tree)
{
    if (!tree)
        return;
    node_free(tree->root);
    g_free(tree);
}

static guint name_hash(gconstpointer node)
{
    return g_str_hash(((const GpNode *) node)->name);
}

static gboolean same_name(gconstpointer a, gconstpointer b)
{
    return strcmp(((const GpNode *) a)->name, ((const GpNode *) b)->name) == 0;
}

GpNode *gp_layer_child(const GpNode *parent, const char *name)
{
    const GpNode wanted = {.name = name};
    return parent->children ? g_hash_table_lookup(parent->children, &wanted) : NULL;
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
        node = gp_layer_child(node, name);
        path += length + (path[length] == '/');
    }
    return node;
}

GpNode *gp_layer_tree_add(GpLayerTree *tree, GpNode *parent, const char *name, GpInode *inode)
{
    if (!parent->children)
        parent->children = g_hash_table_new_full(name_hash, same_name, node_free, NULL);
    g_return_val_if_fail(!gp_layer_child(parent, name), NULL);
    GpNode *node = node_new(parent, name, inode);
    g_hash_table_add(parent->children, node);
    tree->entries++;
    return node;
}

/* Takes @node's whole subtree out of the count of entries. */
static void discount(GpLayerTree *tree, const GpNode *node)
{
    tree->entries--;
    GHashTableIter iter;
    gpointer child;
    if (!node->children)
        return;
    g_hash_table_iter_init(&iter, node->children);
    while (g_hash_table_iter_next(&iter, NULL, &child))
        discount(tree, child);
}

void gp_layer_tree_remove(GpLayerTree *tree, GpNode *node)
{
    g_return_if_fail(node->parent != NULL);
    discount(tree, node);
    g_hash_table_remove(node->parent->children, node);
}
