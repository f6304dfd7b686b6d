/* For tests that need public keys: made by OpenSSL on the spot. */
#pragma once

#include <string.h>

#include <glib.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "sigstore/openssl.h"

/* "P-256", "P-384", "P-521", any other curve's name, "RSA-2048"…, "RSA-PSS", "ED25519", "ED448", "X25519"… */
static inline EVP_PKEY *kit_key(const char *kind)
{
    EVP_PKEY *key;
    if (g_str_equal(kind, "RSA-PSS")) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
        key = NULL;
        g_assert_true(EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) == 1 &&
                      EVP_PKEY_generate(ctx, &key) == 1);
        EVP_PKEY_CTX_free(ctx);
    } else if (g_str_has_prefix(kind, "RSA-")) {
        key = EVP_RSA_gen((unsigned) g_ascii_strtoull(kind + 4, NULL, 10));
    } else if (g_str_has_prefix(kind, "ED") || g_str_has_prefix(kind, "X")) {
        key = EVP_PKEY_Q_keygen(NULL, NULL, kind);
    } else {
        key = EVP_EC_gen(kind);
    }
    g_assert_nonnull(key);
    return key;
}

static inline GBytes *kit_der(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    g_assert_cmpint(size, >, 0);
    GBytes *bytes = g_bytes_new(der, (gsize) size);
    OPENSSL_free(der);
    return bytes;
}

/* @der as a PEM block with @label. */
static inline char *kit_pem_of(GBytes *der, const char *label)
{
    BIO *bio = BIO_new(BIO_s_mem());
    g_assert_cmpint(PEM_write_bio(bio, label, "", g_bytes_get_data(der, NULL), (long) g_bytes_get_size(der)), >, 0);
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    char *text = g_strndup(data, (gsize) size);
    BIO_free(bio);
    return text;
}

static inline char *kit_pem(EVP_PKEY *key)
{
    g_autoptr(GBytes) der = kit_der(key);
    return kit_pem_of(der, "PUBLIC KEY");
}

/* The signature over @data; @hash is NULL where the scheme has its own. */
static inline GBytes *kit_sign(EVP_PKEY *key, const char *hash, const void *data, gsize size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    g_assert_cmpint(EVP_DigestSignInit_ex(ctx, NULL, hash, NULL, NULL, key, NULL), ==, 1);
    gsize length = 0;
    g_assert_cmpint(EVP_DigestSign(ctx, NULL, &length, data, size), ==, 1);
    g_autofree guint8 *signature = g_malloc(length);
    g_assert_cmpint(EVP_DigestSign(ctx, signature, &length, data, size), ==, 1);
    EVP_MD_CTX_free(ctx);
    return g_bytes_new(signature, length);
}
