#include "puller/worker_tls.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/error.h"
#include "base/io.h"
#include "base/limits.h"

struct _GpTls {
    X509_STORE *store;
    gboolean system_loaded;
    GBytes *certificate; /* of the client, PEM; NULL: none */
    GBytes *key;
};

/* Where distributions keep their bundle; the first one counts. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

static gboolean add_roots(X509_STORE *store, GBytes *pem, const char *path, GError **error)
{
    gsize length;
    const void *data = g_bytes_get_data(pem, &length);
    BIO *bio = BIO_new_mem_buf(data, (int) length);
    guint count = 0;
    X509 *certificate;
    while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (X509_STORE_add_cert(store, certificate) == 1)
            count++;
        X509_free(certificate);
    }
    /* The end of the bundle is the error "no start line"; anything else is a damaged certificate. */
    gboolean at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    if (count > 0 && at_end)
        return TRUE;
    g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: %s", path,
        count ? "a damaged certificate" : "no certificate in PEM form");
    return FALSE;
}

static GBytes *read_pem(const char *directory, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autoptr(GError) cause = NULL;
    /* Links are followed: such directories often consist of them, and they belong to the administrator. */
    GP_AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    GBytes *bytes = fd >= 0 ? gp_read_all(fd, GP_LIMIT_KEY, path, &cause) : NULL;
    if (!bytes)
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: %s", path, cause ? cause->message : "cannot be read");
    return bytes;
}

static gboolean load_pair(GpTls *tls, const char *directory, const char *name, GError **error)
{
    if (tls->certificate) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "%s: more than one client certificate (*.cert)", directory);
        return FALSE;
    }
    g_autofree char *stem = g_strndup(name, strlen(name) - strlen(".cert"));
    g_autofree char *key = g_strconcat(stem, ".key", NULL);
    g_autofree char *key_path = g_build_filename(directory, key, NULL);
    if (!g_file_test(key_path, G_FILE_TEST_EXISTS)) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE,
            "%s/%s: its key %s is missing\nRoot certificates end in .crt, client certificates in .cert.", directory,
            name, key);
        return FALSE;
    }
    tls->certificate = read_pem(directory, name, error);
    tls->key = tls->certificate ? read_pem(directory, key, error) : NULL;
    return tls->key != NULL;
}

static gboolean load_file(GpTls *tls, const char *directory, const char *name, GError **error)
{
    if (g_str_has_suffix(name, ".cert"))
        return load_pair(tls, directory, name, error);
    if (g_str_has_suffix(name, ".key")) {
        g_autofree char *stem = g_strndup(name, strlen(name) - strlen(".key"));
        g_autofree char *certificate = g_strdup_printf("%s/%s.cert", directory, stem);
        if (g_file_test(certificate, G_FILE_TEST_EXISTS))
            return TRUE;
        g_set_error(
            error, GP_ERROR, GP_ERROR_USAGE, "%s/%s: its certificate %s.cert is missing", directory, name, stem);
        return FALSE;
    }
    if (!g_str_has_suffix(name, ".crt"))
        return TRUE;
    g_autoptr(GBytes) pem = read_pem(directory, name, error);
    g_autofree char *path = g_build_filename(directory, name, NULL);
    return pem && add_roots(tls->store, pem, path, error);
}

static gboolean load_extra(GpTls *tls, const char *pem, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static(pem, strlen(pem));
    return add_roots(tls->store, bytes, "extra_root_certificates", error);
}

GpTls *gp_tls_load(const char *cert_dir, const char *extra_roots, GError **error)
{
    g_autoptr(GpTls) tls = g_new0(GpTls, 1);
    tls->store = X509_STORE_new();
    /* Whatever certificate the administrator lists is an anchor, also one that is not self-signed. */
    X509_STORE_set_flags(tls->store, X509_V_FLAG_PARTIAL_CHAIN);
    if (extra_roots && !load_extra(tls, extra_roots, error))
        return NULL;
    if (!cert_dir)
        return g_steal_pointer(&tls);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) directory = g_dir_open(cert_dir, 0, &cause);
    if (!directory) {
        g_set_error(error, GP_ERROR, GP_ERROR_USAGE, "certificate directory: %s", cause->message);
        return NULL;
    }
    const char *name;
    while ((name = g_dir_read_name(directory)))
        if (!load_file(tls, cert_dir, name, error))
            return NULL;
    return g_steal_pointer(&tls);
}

void gp_tls_free(GpTls *tls)
{
    if (!tls)
        return;
    X509_STORE_free(tls->store);
    g_clear_pointer(&tls->certificate, g_bytes_unref);
    g_clear_pointer(&tls->key, g_bytes_unref);
    g_free(tls);
}

/* One store for all connections: parsing 140 roots for each would cost more than the handshake. */
static CURLcode give_store(CURL *easy, void *context, void *data)
{
    GpTls *tls = data;
    for (gsize i = 0; i < G_N_ELEMENTS(bundles) && !tls->system_loaded; i++)
        tls->system_loaded = X509_STORE_load_file(tls->store, bundles[i]) == 1;
    tls->system_loaded = TRUE;
    ERR_clear_error();
    SSL_CTX_set1_cert_store(context, tls->store);
    return CURLE_OK;
}

static struct curl_blob as_blob(GBytes *bytes)
{
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);
    return (struct curl_blob){.data = (void *) (guintptr) data, .len = length, .flags = CURL_BLOB_NOCOPY};
}

gboolean gp_tls_apply(GpTls *tls, CURL *easy, gboolean show_certificate)
{
    gboolean ok = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
                  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
                  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
                  curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
                  curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK &&
                  curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, give_store) == CURLE_OK &&
                  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, tls) == CURLE_OK;
    if (ok && show_certificate && tls->certificate) {
        struct curl_blob certificate = as_blob(tls->certificate), key = as_blob(tls->key);
        ok = curl_easy_setopt(easy, CURLOPT_SSLCERT_BLOB, &certificate) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_SSLKEY_BLOB, &key) == CURLE_OK;
    }
    return ok;
}
