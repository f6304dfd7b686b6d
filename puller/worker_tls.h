/* What the fetch worker trusts and shows in TLS: the system's roots, and the *.crt, *.cert and *.key files of one
 * directory. */
#pragma once

#include <curl/curl.h>
#include <glib.h>

typedef struct _GpTls GpTls;

/* Reads @cert_dir (NULL: none), which root alone may be able to: call it before gp_sandbox_enter(). @extra_roots are
 * further CA certificates in PEM form (NULL: none). The system's roots are read at the first TLS connection. Errors:
 * USAGE naming the file, or extra_root_certificates. */
GpTls *gp_tls_load(const char *cert_dir, const char *extra_roots, GError **error);
void gp_tls_free(GpTls *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GpTls, gp_tls_free)

/* Sets everything of TLS on @easy; the client certificate, if there is one, only with @show_certificate. @tls must
 * outlive it. */
gboolean gp_tls_apply(GpTls *tls, CURL *easy, gboolean show_certificate);
