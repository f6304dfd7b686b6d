#include "sigstore/gpg_home.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"

#define GPG_PROGRAM "/usr/bin/gpg"
#define HOME_PREFIX "guest-pull-gpg-"
#define HOME_TEMPLATE HOME_PREFIX "XXXXXX"
#define YOUNG 60 /* seconds: a home may not be locked yet */

/* Understood by GnuPG 2.2 and 2.4. Trust stays "pgp": with "always" gpg returns before it looks whether the key is
 * revoked or has expired. Third-party signatures are kept, for a designated revoker's revocation is one. */
static const char gpg_conf[] = "no-autostart\n"
                               "no-auto-key-retrieve\n"
                               "no-auto-key-locate\n"
                               "disable-dirmngr\n"
                               "no-random-seed-file\n"
                               "trust-model pgp\n"
                               "no-auto-check-trustdb\n";

struct _GpGpgHome {
    char *parent;
    char *name;
    char *path;
    int claim; /* descriptor of the directory, locked as long as somebody lives who uses it */
    gpgme_ctx_t ctx;
    GHashTable *accepted; /* fingerprints of primary keys */
    GPtrArray *keys;      /* gpgme_key_t: all of the keyring, once listed */
    GThread *watchdog;
    guint seconds; /* for each operation */
    GMutex lock;
    GCond changed;
    gint64 deadline;  /* under lock; of g_get_monotonic_time(); 0: nothing is under way */
    gboolean done;    /* under lock: no operation will follow */
    gboolean expired; /* under lock */
};

/* gpgme wants to be initialised by one thread; it also ignores SIGPIPE from then on. */
static gboolean gpgme_ready(void)
{
    static gsize once;
    if (g_once_init_enter(&once)) {
        /* gpgconf would be searched in PATH and asked for its configuration; the program's path is ours to say. */
        gpgme_set_global_flag("disable-gpgconf", "1");
        g_once_init_leave(&once, gpgme_check_version("1.14.0") ? 1 : 2);
    }
    return once == 1;
}

/* TRUE if a whole argument of process @pid is @path, which no other program has a reason to be given: gpgme does not
 * tell the pids of the programs that it starts, and detaches them. */
static gboolean runs_in(const char *pid, const char *path)
{
    char name[64], line[8192];
    g_snprintf(name, sizeof name, "/proc/%s/cmdline", pid);
    GP_AUTOFD int fd = open(name, O_RDONLY | O_CLOEXEC);
    gssize length = fd < 0 ? -1 : gp_read_full(fd, line, sizeof line, NULL);
    gsize wanted = strlen(path) + 1;
    for (gssize i = 0; length > 0 && i + (gssize) wanted <= length; i++)
        if ((i == 0 || line[i - 1] == '\0') && memcmp(line + i, path, wanted) == 0)
            return TRUE;
    return FALSE;
}

/* Kills every process that works in the home @path and returns how many there were. The pidfd is taken before the check
 * that decides, so that a pid that changes hands in between is not hit. */
static guint kill_processes(const char *path)
{
    guint found = 0;
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    for (const char *pid; proc && (pid = g_dir_read_name(proc));) {
        gint64 number = g_ascii_strtoll(pid, NULL, 10);
        if (number <= 0 || number == getpid() || !runs_in(pid, path))
            continue;
        GP_AUTOFD int pidfd = (int) syscall(SYS_pidfd_open, (pid_t) number, 0);
        if (pidfd < 0 || !runs_in(pid, path))
            continue;
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        found++;
    }
    return found;
}

static gboolean is_late(const GpGpgHome *home)
{
    return home->deadline > 0 && g_get_monotonic_time() >= home->deadline;
}

/* Ends the work in the home when its time is up. Killing is what makes gpgme return at once; cancelling covers a
 * program that is just being started, and it alone would leave a busy gpg behind (CVE-2022-3219). */
static gpointer watch(gpointer data)
{
    GpGpgHome *home = data;
    g_mutex_lock(&home->lock);
    while (!home->done) {
        if (!is_late(home)) {
            if (home->deadline > 0)
                g_cond_wait_until(&home->changed, &home->lock, home->deadline);
            else
                g_cond_wait(&home->changed, &home->lock);
            continue;
        }
        home->expired = TRUE;
        g_mutex_unlock(&home->lock);
        gpgme_cancel_async(home->ctx);
        kill_processes(home->path);
        g_mutex_lock(&home->lock);
        if (!home->done && home->deadline > 0)
            g_cond_wait_until(&home->changed, &home->lock, g_get_monotonic_time() + 50 * G_TIME_SPAN_MILLISECOND);
    }
    g_mutex_unlock(&home->lock);
    return NULL;
}

/* A memory file system if we can: keys and signatures are public, but nothing of a pull should reach a disk. */
static const char *parent_directory(void)
{
    const char *asked = g_getenv("TMPDIR");
    if (asked && *asked == '/')
        return asked;
    return geteuid() == 0 && access("/run", W_OK | X_OK) == 0 ? "/run" : "/tmp";
}

static gboolean write_configuration(const char *home, GError **error)
{
    g_autofree char *path = g_build_filename(home, "gpg.conf", NULL);
    GP_AUTOFD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        gp_set_errno(error, errno, "cannot create %s", path);
        return FALSE;
    }
    return gp_write_all(fd, gpg_conf, strlen(gpg_conf), error);
}

/* Whether @name is a home of ours whose owner was killed: nobody has it locked. */
static gboolean is_left_behind(int parent, const char *name)
{
    struct stat st;
    GP_AUTOFD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
           st.st_mtime + YOUNG < g_get_real_time() / G_USEC_PER_SEC && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* What a guest-pull that was killed with SIGKILL left: its home, and a gpg that may still be busy in it. */
static void sweep(const char *parent)
{
    g_autoptr(GDir) dir = g_dir_open(parent, 0, NULL);
    GP_AUTOFD int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const char *name; dir && fd >= 0 && (name = g_dir_read_name(dir));) {
        if (strlen(name) != strlen(HOME_TEMPLATE) || !g_str_has_prefix(name, HOME_PREFIX) || !is_left_behind(fd, name))
            continue;
        g_autofree char *path = g_build_filename(parent, name, NULL);
        kill_processes(path);
        (void) gp_remove_tree(fd, name, NULL);
    }
}

static gboolean make_directory(GpGpgHome *home, GError **error)
{
    sweep(home->parent);
    g_autofree char *path = g_build_filename(home->parent, HOME_TEMPLATE, NULL);
    if (!g_mkdtemp_full(path, 0700)) {
        gp_set_errno(error, errno, "cannot create a directory for GnuPG in %s", home->parent);
        return FALSE;
    }
    home->path = g_steal_pointer(&path);
    home->claim = open(home->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home->claim < 0 || flock(home->claim, LOCK_EX | LOCK_NB) != 0) {
        gp_set_errno(error, errno, "cannot lock %s", home->path);
        return FALSE;
    }
    home->name = g_path_get_basename(home->path);
    return write_configuration(home->path, error);
}

static gboolean make_context(GpGpgHome *home, const char *program, GError **error)
{
    gpgme_error_t err = access(program, X_OK) == 0 ? gpgme_new(&home->ctx) : gpgme_error_from_errno(errno);
    if (!err)
        err = gpgme_ctx_set_engine_info(home->ctx, GPGME_PROTOCOL_OpenPGP, program, home->path);
    if (!err)
        err = gpgme_set_protocol(home->ctx, GPGME_PROTOCOL_OpenPGP);
    if (!err)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "GnuPG (%s) cannot be used: %s\nInstall the package gpg.", program,
        gpgme_strerror(err));
    return FALSE;
}

GpGpgHome *gp_gpg_home_new(const char *program, guint seconds, GError **error)
{
    if (!gpgme_ready()) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "the library gpgme is too old");
        return NULL;
    }
    g_autoptr(GpGpgHome) home = g_new0(GpGpgHome, 1);
    home->claim = -1;
    g_mutex_init(&home->lock);
    g_cond_init(&home->changed);
    home->seconds = seconds;
    home->accepted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    home->keys = g_ptr_array_new_with_free_func((GDestroyNotify) gpgme_key_unref);
    home->parent = g_strdup(parent_directory());
    if (access("/proc/self/cmdline", R_OK) != 0) {
        gp_set_errno(error, errno, "cannot read /proc, without which a runaway GnuPG could not be found");
        return NULL;
    }
    if (!make_directory(home, error) || !make_context(home, program ? program : GPG_PROGRAM, error))
        return NULL;
    home->watchdog = g_thread_new("gpg-watchdog", watch, home);
    return g_steal_pointer(&home);
}

static void set_deadline(GpGpgHome *home, gint64 deadline)
{
    g_mutex_lock(&home->lock);
    home->deadline = deadline;
    g_cond_signal(&home->changed);
    g_mutex_unlock(&home->lock);
}

void gp_gpg_home_begin(GpGpgHome *home)
{
    set_deadline(home, g_get_monotonic_time() + home->seconds * G_TIME_SPAN_SECOND);
}

gboolean gp_gpg_home_in_time(GpGpgHome *home, GError **error)
{
    g_mutex_lock(&home->lock);
    gboolean expired = home->expired;
    home->deadline = 0;
    g_mutex_unlock(&home->lock);
    if (expired)
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "gpg-timeout: GnuPG did not come to an end in time and was stopped\nA key or signature made to be slow to "
            "process does this.");
    return !expired;
}

static gboolean refuse_keyring(GError **error, const char *what, const char *why)
{
    g_set_error(error, GP_ERROR, GP_ERROR_KEY, "no-usable-key: %s %s", what, why);
    return FALSE;
}

void gp_gpg_home_ends_without_memory(gpgme_error_t err)
{
    if (gpgme_err_code(err) == GPG_ERR_ENOMEM)
        g_error("gpgme: no memory");
}

static gboolean accept_imported(GpGpgHome *home, gpgme_error_t err, const char *what, GError **error)
{
    gpgme_import_result_t result = gpgme_op_import_result(home->ctx);
    gboolean secret = result && (result->secret_read > 0 || result->secret_imported > 0);
    for (gpgme_import_status_t key = result ? result->imports : NULL; key; key = key->next)
        secret = secret || (key->status & GPGME_IMPORT_SECRET);
    if (secret)
        return refuse_keyring(error, what,
            "holds a secret key\nExport the public key alone (gpg --export), and treat that secret key as disclosed.");
    if (err) {
        g_autofree char *why = g_strdup_printf("cannot be imported: %s", gpgme_strerror(err));
        return refuse_keyring(error, what, why);
    }
    guint count = 0;
    for (gpgme_import_status_t key = result ? result->imports : NULL; key; key = key->next)
        if (!key->result && key->fpr) {
            g_hash_table_add(home->accepted, g_strdup(key->fpr));
            count++;
        }
    return count > 0 ? TRUE : refuse_keyring(error, what, "holds no public key that GnuPG can use");
}

gboolean gp_gpg_home_import(GpGpgHome *home, GBytes *keyring, const char *what, GError **error)
{
    gsize size;
    const char *data = g_bytes_get_data(keyring, &size);
    if (size > GP_LIMIT_KEY) {
        g_autofree char *why = g_strdup_printf("has more than %" G_GUINT64_FORMAT " bytes", (guint64) GP_LIMIT_KEY);
        return refuse_keyring(error, what, why);
    }
    if (size == 0)
        return refuse_keyring(error, what, "is empty");
    gpgme_data_t input = NULL;
    gpgme_error_t err = gpgme_data_new_from_mem(&input, data, size, 0);
    gp_gpg_home_begin(home);
    if (!err)
        err = gpgme_op_import(home->ctx, input);
    gpgme_data_release(input);
    gp_gpg_home_ends_without_memory(err);
    return gp_gpg_home_in_time(home, error) && accept_imported(home, err, what, error);
}

gboolean gp_gpg_home_list_keys(GpGpgHome *home, GError **error)
{
    gp_gpg_home_begin(home);
    gpgme_error_t err = gpgme_op_keylist_start(home->ctx, NULL, 0);
    gpgme_key_t key;
    while (!err && !(err = gpgme_op_keylist_next(home->ctx, &key)))
        g_ptr_array_add(home->keys, key);
    gp_gpg_home_ends_without_memory(err);
    if (!gp_gpg_home_in_time(home, error))
        return FALSE;
    if (gpgme_err_code(err) == GPG_ERR_EOF)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "GnuPG cannot list the keys: %s", gpgme_strerror(err));
    return FALSE;
}

static gboolean has_subkey(gpgme_key_t key, const char *fingerprint)
{
    for (gpgme_subkey_t subkey = key->subkeys; subkey; subkey = subkey->next)
        if (g_strcmp0(subkey->fpr, fingerprint) == 0)
            return TRUE;
    return FALSE;
}

gpgme_key_t gp_gpg_home_key_of(const GpGpgHome *home, const char *fingerprint)
{
    gpgme_key_t found = NULL;
    for (guint i = 0; i < home->keys->len; i++) {
        gpgme_key_t key = home->keys->pdata[i];
        if (!has_subkey(key, fingerprint))
            continue;
        if (found)
            return NULL;
        found = key;
    }
    return found && found->fpr && g_hash_table_contains(home->accepted, found->fpr) ? found : NULL;
}

gpgme_ctx_t gp_gpg_home_context(GpGpgHome *home)
{
    return home->ctx;
}

static void remove_directory(const GpGpgHome *home)
{
    GP_AUTOFD int parent = open(home->parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GError) problem = NULL;
    if (!gp_remove_tree(parent, home->name, &problem))
        g_warning("cannot remove %s: %s", home->path, problem->message);
}

void gp_gpg_home_free(GpGpgHome *home)
{
    if (!home)
        return;
    if (home->watchdog) {
        g_mutex_lock(&home->lock);
        home->done = TRUE;
        g_cond_signal(&home->changed);
        g_mutex_unlock(&home->lock);
        g_thread_join(home->watchdog);
    }
    if (home->ctx)
        gpgme_release(home->ctx);
    if (home->path) {
        /* gpgme returns when gpg closes its status pipe or when an operation fails; gpg itself may still be there. */
        for (guint i = 0; i < 100 && kill_processes(home->path) > 0; i++)
            g_usleep(5 * G_TIME_SPAN_MILLISECOND);
        remove_directory(home);
    }
    gp_close_fd(&home->claim);
    g_clear_pointer(&home->keys, g_ptr_array_unref);
    g_clear_pointer(&home->accepted, g_hash_table_unref);
    g_mutex_clear(&home->lock);
    g_cond_clear(&home->changed);
    g_free(home->parent);
    g_free(home->name);
    g_free(home->path);
    g_free(home);
}
