/* GnuPG for the signatures of one image under one requirement: a home directory that nobody else has, gone afterwards,
 * and a time limit that holds. */
#pragma once

#include <gpgme.h>
#include <glib.h>

typedef struct _GpGpgHome GpGpgHome;

/* An empty home (0700, below TMPDIR if set, else /run when we are root, else /tmp), offline, without agent, keyserver
 * or dirmngr, and without anything of the user's. Each operation in it has @seconds; then its GnuPG processes are
 * killed, and the home is good for nothing more.
 * What an earlier process left that was killed in the middle goes first: homes that nobody has locked, and the programs
 * that still run in them. @program is the gpg binary, NULL for the system's. Thread-safe; the home itself is for one
 * thread after the other. Errors: INTERNAL, SPACE. */
GpGpgHome *gp_gpg_home_new(const char *program, guint seconds, GError **error);

/* Imports @keyring (binary or armoured); @what names it in errors. It must hold at least one public key and no secret
 * one. Errors: KEY "no-usable-key: ", LIMIT "gpg-timeout: ". */
gboolean gp_gpg_home_import(GpGpgHome *home, GBytes *keyring, const char *what, GError **error);

/* Reads what GnuPG makes of the imported keys; once, behind the last import. Errors: LIMIT "gpg-timeout: ", INTERNAL.
 */
gboolean gp_gpg_home_list_keys(GpGpgHome *home, GError **error);
/* The listed key that was imported without an error and of which @fingerprint is the primary key or a subkey; NULL:
 * none is, or more than one. Borrowed. */
gpgme_key_t gp_gpg_home_key_of(const GpGpgHome *home, const char *fingerprint);

/* The context for gpgme operations; borrowed. */
gpgme_ctx_t gp_gpg_home_context(GpGpgHome *home);

/* To be called before each operation on the context: its time runs from here. */
void gp_gpg_home_begin(GpGpgHome *home);

/* To be asked after each operation, whose time ends here: FALSE and a LIMIT error "gpg-timeout: " if the time is up,
 * whatever the operation returned. */
gboolean gp_gpg_home_in_time(GpGpgHome *home, GError **error);

/* To be asked after each operation: if it failed for lack of memory, the process ends, as everywhere in GLib, before
 * anybody takes the key or the signature for a bad one. */
void gp_gpg_home_ends_without_memory(gpgme_error_t err);

/* Kills what still runs in the home and removes it. */
void gp_gpg_home_free(GpGpgHome *home);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpGpgHome, gp_gpg_home_free)
