/* libostree, loaded when something is written to a store or checked in it, and not when the program starts: its own
 * libraries are sixty others (GIO, two TLS stacks, Kerberos, LDAP, Avahi), which cost 13 of the 15 ms that a start
 * took, and which a verification, "--help", or a pull whose layers are all there never needs. Whoever calls libostree
 * includes this; its functions keep their names. A function that is missing in one of the two lists does not link. */
#pragma once

#include <glib.h>
#include <ostree.h>

#define GP_LIBOSTREE_FUNCTIONS(F)                                                                                      \
    F(g_object_unref)                                                                                                  \
    F(ostree_checksum_from_bytes)                                                                                      \
    F(ostree_checksum_from_bytes_v)                                                                                    \
    F(ostree_hash_object_name)                                                                                         \
    F(ostree_mutable_tree_new)                                                                                         \
    F(ostree_mutable_tree_new_from_checksum)                                                                           \
    F(ostree_mutable_tree_replace_file)                                                                                \
    F(ostree_mutable_tree_set_metadata_checksum)                                                                       \
    F(ostree_object_name_deserialize)                                                                                  \
    F(ostree_repo_abort_transaction)                                                                                   \
    F(ostree_repo_commit_transaction)                                                                                  \
    F(ostree_repo_copy_config)                                                                                         \
    F(ostree_repo_create_at)                                                                                           \
    F(ostree_repo_delete_object)                                                                                       \
    F(ostree_repo_fsck_object)                                                                                         \
    F(ostree_repo_list_commit_objects_starting_with)                                                                   \
    F(ostree_repo_list_refs_ext)                                                                                       \
    F(ostree_repo_load_commit)                                                                                         \
    F(ostree_repo_load_variant)                                                                                        \
    F(ostree_repo_open_at)                                                                                             \
    F(ostree_repo_prepare_transaction)                                                                                 \
    F(ostree_repo_prune_from_reachable)                                                                                \
    F(ostree_repo_set_disable_fsync)                                                                                   \
    F(ostree_repo_set_ref_immediate)                                                                                   \
    F(ostree_repo_transaction_set_ref)                                                                                 \
    F(ostree_repo_traverse_commit)                                                                                     \
    F(ostree_repo_traverse_commit_union)                                                                               \
    F(ostree_repo_traverse_new_reachable)                                                                              \
    F(ostree_repo_write_commit_with_time)                                                                              \
    F(ostree_repo_write_config)                                                                                        \
    F(ostree_repo_write_metadata)                                                                                      \
    F(ostree_repo_write_mtree)                                                                                         \
    F(ostree_repo_write_regfile_inline)

typedef struct {
#define GP_LIBOSTREE_MEMBER(name) __typeof__(name) *name;
    GP_LIBOSTREE_FUNCTIONS(GP_LIBOSTREE_MEMBER)
#undef GP_LIBOSTREE_MEMBER
} GpLibostree;

/* Valid once gp_libostree_load() has succeeded. */
extern GpLibostree gp_libostree;

/* For what libostree gives, instead of g_autoptr(), whose functions are GObject's own: unrefs *@object (a pointer to a
 * pointer) unless that is NULL, and clears it. */
void gp_libostree_clear(void *object);
#define GP_AUTO_OBJECT __attribute__((cleanup(gp_libostree_clear)))

/* Loads it, once; thread-safe. Errors: INTERNAL, naming what is missing. */
gboolean gp_libostree_load(GError **error);

#ifndef GP_LIBOSTREE_ITSELF
#define ostree_checksum_from_bytes gp_libostree.ostree_checksum_from_bytes
#define ostree_checksum_from_bytes_v gp_libostree.ostree_checksum_from_bytes_v
#define ostree_hash_object_name gp_libostree.ostree_hash_object_name
#define ostree_mutable_tree_new gp_libostree.ostree_mutable_tree_new
#define ostree_mutable_tree_new_from_checksum gp_libostree.ostree_mutable_tree_new_from_checksum
#define ostree_mutable_tree_replace_file gp_libostree.ostree_mutable_tree_replace_file
#define ostree_mutable_tree_set_metadata_checksum gp_libostree.ostree_mutable_tree_set_metadata_checksum
#define ostree_object_name_deserialize gp_libostree.ostree_object_name_deserialize
#define ostree_repo_abort_transaction gp_libostree.ostree_repo_abort_transaction
#define ostree_repo_commit_transaction gp_libostree.ostree_repo_commit_transaction
#define ostree_repo_copy_config gp_libostree.ostree_repo_copy_config
#define ostree_repo_create_at gp_libostree.ostree_repo_create_at
#define ostree_repo_delete_object gp_libostree.ostree_repo_delete_object
#define ostree_repo_fsck_object gp_libostree.ostree_repo_fsck_object
#define ostree_repo_list_commit_objects_starting_with gp_libostree.ostree_repo_list_commit_objects_starting_with
#define ostree_repo_list_refs_ext gp_libostree.ostree_repo_list_refs_ext
#define ostree_repo_load_commit gp_libostree.ostree_repo_load_commit
#define ostree_repo_load_variant gp_libostree.ostree_repo_load_variant
#define ostree_repo_open_at gp_libostree.ostree_repo_open_at
#define ostree_repo_prepare_transaction gp_libostree.ostree_repo_prepare_transaction
#define ostree_repo_prune_from_reachable gp_libostree.ostree_repo_prune_from_reachable
#define ostree_repo_set_disable_fsync gp_libostree.ostree_repo_set_disable_fsync
#define ostree_repo_set_ref_immediate gp_libostree.ostree_repo_set_ref_immediate
#define ostree_repo_transaction_set_ref gp_libostree.ostree_repo_transaction_set_ref
#define ostree_repo_traverse_commit gp_libostree.ostree_repo_traverse_commit
#define ostree_repo_traverse_commit_union gp_libostree.ostree_repo_traverse_commit_union
#define ostree_repo_traverse_new_reachable gp_libostree.ostree_repo_traverse_new_reachable
#define ostree_repo_write_commit_with_time gp_libostree.ostree_repo_write_commit_with_time
#define ostree_repo_write_config gp_libostree.ostree_repo_write_config
#define ostree_repo_write_metadata gp_libostree.ostree_repo_write_metadata
#define ostree_repo_write_mtree gp_libostree.ostree_repo_write_mtree
#define ostree_repo_write_regfile_inline gp_libostree.ostree_repo_write_regfile_inline
#endif
