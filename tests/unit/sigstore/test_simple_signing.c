/* OpenPGP simple signing: one test for each attribute of a signature, with keys and signatures that gpg makes here. */
#include "sigstore/simple_signing.h"

#include "base/limits.h"
#include "tests/unit/sigstore/gpg_kit.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PAYLOAD                                                                                                        \
    "{\"critical\":{\"type\":\"atomic container signature\",\"image\":{\"docker-manifest-digest\":\"sha256:" HEX64     \
    "\"},\"identity\":{\"docker-reference\":\"registry.example/team/app:1\"}},\"optional\":{\"creator\":\"test 1\","   \
    "\"timestamp\":1600000000}}"

/* Keys are old, so that tests can sign in the past. */
static GBytes *generate(const char *name, const char *algorithm, const char *usage, const char *expires)
{
    KIT_DO(NULL, "--faked-system-time", "20200101T000000", "--quick-generate-key", name, algorithm, usage, expires);
    return KIT_GPG(NULL, "--export", name);
}

static char *fingerprint_of(const char *name)
{
    g_autoptr(GBytes) listing = KIT_GPG(NULL, "--with-colons", "--list-keys", name);
    g_autofree char *text = g_strndup(g_bytes_get_data(listing, NULL), g_bytes_get_size(listing));
    const char *line = strstr(text, "\nfpr:");
    g_assert_nonnull(line);
    g_auto(GStrv) fields = g_strsplit(line + 1, ":", 11);
    return g_strdup(fields[9]);
}

static GBytes *alice, *bob, *rsa;

static void make_keys(void)
{
    alice = generate("alice", "ed25519", "sign", "never");
    bob = generate("bob", "ed25519", "sign", "never");
    rsa = generate("rsa", "rsa2048", "sign", "never");
}

static GpSignatureFacts *verify_with(GBytes *blob, GError **error, guint n_keys, GBytes *const *keys)
{
    g_autoptr(GPtrArray) keyrings = g_ptr_array_new();
    for (guint i = 0; i < n_keys; i++)
        g_ptr_array_add(keyrings, keys[i]);
    GpSignatureFacts *facts = kit_verify(blob, keyrings, error);
    kit_assert_clean();
    return facts;
}

static void assert_good(GBytes *blob, GBytes *key, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSignatureFacts) facts = verify_with(blob, &error, 1, &key);
    g_assert_no_error(error);
    g_autofree char *fingerprint = fingerprint_of(name);
    g_autofree char *signer = g_strdup_printf("GPG key %s", fingerprint);
    g_assert_cmpstr(facts->signer, ==, signer);
    g_assert_cmpstr(facts->docker_reference, ==, "registry.example/team/app:1");
    g_assert_cmpstr(facts->creator, ==, "test 1");
    g_assert_cmpint(facts->timestamp, ==, 1600000000);
    g_autofree char *digest = gp_digest_to_string(&facts->manifest_digest);
    g_assert_cmpstr(digest, ==, "sha256:" HEX64);
}

static void assert_refused(GBytes *blob, GBytes *key, GpErrorCode code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(verify_with(blob, &error, 1, &key));
    g_assert_error(error, GP_ERROR, (int) code);
    if (!g_str_has_prefix(error->message, reason))
        g_error("expected \"%s…\", got \"%s\"", reason, error->message);
}

#define SIGN(user, ...) KIT_GPG(PAYLOAD, "--local-user", user, ##__VA_ARGS__, "--sign")

static void test_good(void)
{
    g_autoptr(GBytes) blob = SIGN("alice");
    assert_good(blob, alice, "alice");
}

static void test_good_rsa(void)
{
    g_autoptr(GBytes) blob = SIGN("rsa");
    assert_good(blob, rsa, "rsa");
}

static void test_good_uncompressed_and_zlib(void)
{
    g_autoptr(GBytes) bare = SIGN("alice", "--compress-algo", "none");
    assert_good(bare, alice, "alice");
    g_autoptr(GBytes) zlib = SIGN("alice", "--compress-algo", "zlib");
    assert_good(zlib, alice, "alice");
}

static void test_bzip2(void)
{
    g_autoptr(GBytes) blob = SIGN("alice", "--compress-algo", "bzip2");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "signature-format: compression algorithm 3");
}

static void test_armoured_key(void)
{
    g_autoptr(GBytes) key = KIT_GPG(NULL, "--armor", "--export", "alice");
    g_autoptr(GBytes) blob = SIGN("alice");
    assert_good(blob, key, "alice");
}

static void test_several_keys(void)
{
    g_autoptr(GBytes) blob = SIGN("bob");
    g_autoptr(GError) error = NULL;
    g_autoptr(GpSignatureFacts) facts = verify_with(blob, &error, 2, (GBytes *[]){alice, bob});
    g_assert_no_error(error);
    g_autoptr(GBytes) both = kit_concat(alice, bob);
    assert_good(blob, both, "bob");
}

static void test_subkey(void)
{
    g_bytes_unref(generate("sue", "ed25519", "cert", "never"));
    g_autofree char *primary = fingerprint_of("sue");
    KIT_DO(NULL, "--faked-system-time", "20200101T000000", "--quick-add-key", primary, "ed25519", "sign", "never");
    g_autoptr(GBytes) key = KIT_GPG(NULL, "--export", "sue");
    g_autoptr(GBytes) blob = SIGN("sue");
    assert_good(blob, key, "sue");

    KIT_DO("key 1\nrevkey\ny\n0\n\ny\nsave\n", "--command-fd", "0", "--edit-key", "sue");
    g_autoptr(GBytes) revoked = KIT_GPG(NULL, "--export", "sue");
    assert_refused(blob, revoked, GP_ERROR_SIGNATURE, "revoked-key: ");
}

static void test_expired_signature(void)
{
    g_autoptr(GBytes) blob = SIGN("alice", "--faked-system-time", "20200601T000000", "--default-sig-expire", "1d");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "expired-signature: ");
}

static void test_unexpired_signature(void)
{
    g_autoptr(GBytes) blob = SIGN("alice", "--default-sig-expire", "1d");
    assert_good(blob, alice, "alice");
}

static void test_expired_key(void)
{
    g_autoptr(GBytes) key = generate("eve", "ed25519", "sign", "1y");
    g_autoptr(GBytes) blob = SIGN("eve", "--faked-system-time", "20200601T000000");
    assert_refused(blob, key, GP_ERROR_SIGNATURE, "expired-key: ");
}

static void test_revoked_key(void)
{
    g_bytes_unref(generate("rob", "ed25519", "sign", "never"));
    g_autoptr(GBytes) blob = SIGN("rob");
    g_autofree char *fingerprint = fingerprint_of("rob");
    g_autofree char *file = g_strdup_printf("%s/openpgp-revocs.d/%s.rev", kit_home, fingerprint);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    const char *armour = strstr(text, ":-----BEGIN");
    g_assert_nonnull(armour);
    KIT_DO(armour + 1, "--import");
    g_autoptr(GBytes) key = KIT_GPG(NULL, "--export", "rob");
    assert_refused(blob, key, GP_ERROR_SIGNATURE, "revoked-key: ");
}

static void test_unknown_key(void)
{
    g_autoptr(GBytes) blob = SIGN("bob");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "unknown-key: ");
}

static void test_wrong_key_usage(void)
{
    g_bytes_unref(generate("wes", "ed25519", "cert,sign", "never"));
    g_autoptr(GBytes) blob = SIGN("wes", "--faked-system-time", "20200102T000000");
    KIT_DO("change-usage\nS\nQ\nsave\n", "--expert", "--command-fd", "0", "--faked-system-time", "20200103T000000",
        "--edit-key", "wes");
    g_autoptr(GBytes) key = KIT_GPG(NULL, "--export", "wes");
    assert_refused(blob, key, GP_ERROR_SIGNATURE, "wrong-key-usage: ");
}

static void test_future(void)
{
    g_autoptr(GBytes) blob = SIGN("alice", "--faked-system-time", "20990101T000000");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "bad-signature: ");
}

static void test_sha1(void)
{
    g_autoptr(GBytes) blob = SIGN("rsa", "--digest-algo", "SHA1");
    assert_refused(blob, rsa, GP_ERROR_SIGNATURE, "bad-signature: made with the broken hash SHA1");
}

static void test_two_signatures(void)
{
    g_autoptr(GBytes) blob = KIT_GPG(PAYLOAD, "--local-user", "alice", "--local-user", "bob", "--sign");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "several-signatures: ");
}

static void test_cleartext(void)
{
    g_autoptr(GBytes) blob = KIT_GPG(PAYLOAD, "--local-user", "alice", "--clearsign");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "cleartext-signature: ");
}

static void test_detached(void)
{
    g_autoptr(GBytes) blob = KIT_GPG(PAYLOAD, "--local-user", "alice", "--detach-sign");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "signature-format: a detached signature");
}

static void test_armoured(void)
{
    g_autoptr(GBytes) blob = KIT_GPG(PAYLOAD, "--local-user", "alice", "--armor", "--sign");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "signature-format: ASCII armour");
}

static void test_concatenated(void)
{
    const char *const algorithms[] = {"none", "zip", "zlib"};
    g_autoptr(GBytes) literal = KIT_GPG("unsigned", "--compress-algo", "none", "--store");
    for (gsize i = 0; i < G_N_ELEMENTS(algorithms); i++) {
        g_autoptr(GBytes) blob = SIGN("alice", "--compress-algo", algorithms[i]);
        assert_good(blob, alice, "alice");
        g_autoptr(GBytes) twice = kit_concat(blob, blob);
        assert_refused(twice, alice, GP_ERROR_SIGNATURE, "signature-format: ");
        g_autoptr(GBytes) appended = kit_concat(blob, literal);
        assert_refused(appended, alice, GP_ERROR_SIGNATURE, "signature-format: ");
        g_autoptr(GBytes) prepended = kit_concat(literal, blob);
        assert_refused(prepended, alice, GP_ERROR_SIGNATURE, "signature-format: ");
        g_autoptr(GBytes) tail = g_bytes_new_static("\n", 1);
        g_autoptr(GBytes) newline = kit_concat(blob, tail);
        assert_refused(newline, alice, GP_ERROR_SIGNATURE, "signature-format: bytes ");
    }
}

static void test_unsigned(void)
{
    g_autoptr(GBytes) literal = KIT_GPG(PAYLOAD, "--store");
    assert_refused(literal, alice, GP_ERROR_SIGNATURE, "signature-format: the message carries no signature");
}

static void test_encrypted(void)
{
    g_autoptr(GBytes) blob = KIT_GPG(PAYLOAD, "--passphrase", "x", "--symmetric");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "signature-format: an OpenPGP packet with tag 3");
}

static void test_key_as_signature(void)
{
    assert_refused(alice, alice, GP_ERROR_SIGNATURE, "signature-format: an OpenPGP packet with tag 6");
}

static void test_tampered(void)
{
    g_autoptr(GBytes) blob = SIGN("alice", "--compress-algo", "none");
    gsize size;
    const guint8 *data = g_bytes_get_data(blob, &size);
    const guint8 *at = memmem(data, size, "team/app", 8);
    g_assert_nonnull(at);
    g_autofree guint8 *copy = g_memdup2(data, size);
    copy[at - data] ^= 1;
    g_autoptr(GBytes) tampered = g_bytes_new(copy, size);
    assert_refused(tampered, alice, GP_ERROR_SIGNATURE, "bad-signature: ");
    g_autoptr(GBytes) half = g_bytes_new(data, size / 2);
    assert_refused(half, alice, GP_ERROR_SIGNATURE, "signature-format: ");
}

static void test_no_json(void)
{
    g_autoptr(GBytes) blob = KIT_GPG("this is no JSON", "--local-user", "alice", "--sign");
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "payload: ");
    g_autoptr(GBytes) empty = KIT_GPG("", "--local-user", "alice", "--sign");
    assert_refused(empty, alice, GP_ERROR_SIGNATURE, "payload: ");
}

static void test_no_signature_at_all(void)
{
    const char *const texts[] = {"", "{}", "\n", "garbage", "\x01\x02"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GBytes) blob = g_bytes_new(texts[i], strlen(texts[i]));
        assert_refused(blob, alice, GP_ERROR_SIGNATURE, "signature-format: ");
    }
}

static void test_secret_key(void)
{
    g_autoptr(GBytes) secret = KIT_GPG(NULL, "--export-secret-keys", "alice");
    g_autoptr(GBytes) blob = SIGN("alice");
    assert_refused(blob, secret, GP_ERROR_KEY, "no-usable-key: key file 1 of 1 holds a secret key");
    g_autoptr(GBytes) both = kit_concat(bob, secret);
    assert_refused(blob, both, GP_ERROR_KEY, "no-usable-key: key file 1 of 1 holds a secret key");
}

static void test_no_usable_key(void)
{
    g_autoptr(GBytes) blob = SIGN("alice");
    g_autoptr(GBytes) empty = g_bytes_new_static("", 0);
    assert_refused(blob, empty, GP_ERROR_KEY, "no-usable-key: key file 1 of 1 is empty");
    g_autoptr(GBytes) garbage = g_bytes_new_static("not a key", 9);
    assert_refused(blob, garbage, GP_ERROR_KEY, "no-usable-key: key file 1 of 1 ");
    assert_refused(blob, blob, GP_ERROR_KEY, "no-usable-key: key file 1 of 1 ");

    g_autoptr(GError) error = NULL;
    g_assert_null(verify_with(blob, &error, 2, (GBytes *[]){alice, garbage}));
    g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
    g_assert_true(g_str_has_prefix(error->message, "no-usable-key: key file 2 of 2 "));
    g_clear_error(&error);
    g_assert_null(verify_with(blob, &error, 0, NULL));
    g_assert_error(error, GP_ERROR, GP_ERROR_KEY);
    g_assert_cmpstr(error->message, ==, "no-usable-key: no key to verify with");
}

static void test_huge_key(void)
{
    g_autoptr(GBytes) blob = SIGN("alice");
    g_autofree guint8 *filler = g_malloc0(GP_LIMIT_KEY + 1);
    memcpy(filler, g_bytes_get_data(alice, NULL), g_bytes_get_size(alice));
    g_autoptr(GBytes) huge = g_bytes_new(filler, GP_LIMIT_KEY + 1);
    assert_refused(blob, huge, GP_ERROR_KEY, "no-usable-key: key file 1 of 1 has more than 1048576 bytes");
}

static void test_decompression_bomb(void)
{
    g_autofree char *zeros = g_strnfill(GP_LIMIT_SIGNATURE + 1, ' ');
    g_autoptr(GBytes) blob = KIT_GPG(zeros, "--local-user", "alice", "--compress-algo", "zip", "--sign");
    g_assert_cmpuint(g_bytes_get_size(blob), <, 100000);
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "signature-format: the message decompresses to too many bytes");
    g_autoptr(GBytes) bare = KIT_GPG(zeros, "--local-user", "alice", "--compress-algo", "none", "--sign");
    assert_refused(bare, alice, GP_ERROR_SIGNATURE, "signature-format: it has too many bytes");
}

/* Neither the keys nor the options of whoever runs us. */
static void test_environment(void)
{
    g_autoptr(GBytes) blob = SIGN("bob");
    g_autofree char *dot_gnupg = g_build_filename(kit_dir, ".gnupg", NULL);
    g_assert_cmpint(symlink(kit_home, dot_gnupg), ==, 0);
    g_autofree char *config = g_build_filename(kit_home, "gpg.conf", NULL);
    g_assert_true(g_file_set_contents(config, "this-is-no-option\n", -1, NULL));
    g_setenv("GNUPGHOME", kit_home, TRUE);
    g_setenv("HOME", kit_dir, TRUE);
    assert_refused(blob, alice, GP_ERROR_SIGNATURE, "unknown-key: ");
    g_unlink(config);
    assert_good(blob, bob, "bob");
    g_unsetenv("GNUPGHOME");
}

static void test_descriptors(void)
{
    g_autoptr(GBytes) blob = SIGN("alice");
    assert_good(blob, alice, "alice");
    /* GSubprocess closes its pipes a little later. */
    g_usleep(100 * G_TIME_SPAN_MILLISECOND);
    guint before = kit_entries("/proc/self/fd");
    for (guint i = 0; i < 3; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpSignatureFacts) facts = verify_with(blob, &error, 1, &alice);
        g_assert_no_error(error);
        assert_refused(blob, bob, GP_ERROR_SIGNATURE, "unknown-key: ");
    }
    g_assert_cmpuint(kit_entries("/proc/self/fd"), ==, before);
}

static gpointer verify_in_thread(gpointer data)
{
    GBytes *blob = data;
    g_autoptr(GPtrArray) keyrings = g_ptr_array_new();
    g_ptr_array_add(keyrings, alice);
    for (guint i = 0; i < 4; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GpSignatureFacts) facts = kit_verify(blob, keyrings, &error);
        g_assert_no_error(error);
    }
    return NULL;
}

static void test_threads(void)
{
    g_autoptr(GBytes) blob = SIGN("alice");
    GThread *threads[6];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new(NULL, verify_in_thread, blob);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    kit_assert_clean();
}

static void add_tests(void)
{
    g_test_add_func("/sigstore/simple-signing/good", test_good);
    g_test_add_func("/sigstore/simple-signing/good-rsa", test_good_rsa);
    g_test_add_func("/sigstore/simple-signing/good-uncompressed-and-zlib", test_good_uncompressed_and_zlib);
    g_test_add_func("/sigstore/simple-signing/bzip2-is-refused", test_bzip2);
    g_test_add_func("/sigstore/simple-signing/armoured-key-is-fine", test_armoured_key);
    g_test_add_func("/sigstore/simple-signing/several-keys", test_several_keys);
    g_test_add_func("/sigstore/simple-signing/subkey-maps-to-primary-and-revoked-subkey-is-refused", test_subkey);
    g_test_add_func("/sigstore/simple-signing/expired-signature-is-refused", test_expired_signature);
    g_test_add_func("/sigstore/simple-signing/unexpired-signature", test_unexpired_signature);
    g_test_add_func("/sigstore/simple-signing/expired-key-is-refused", test_expired_key);
    g_test_add_func("/sigstore/simple-signing/revoked-key-is-refused", test_revoked_key);
    g_test_add_func("/sigstore/simple-signing/unknown-key-is-refused", test_unknown_key);
    g_test_add_func("/sigstore/simple-signing/wrong-key-usage-is-refused", test_wrong_key_usage);
    g_test_add_func("/sigstore/simple-signing/future-signature-is-refused", test_future);
    g_test_add_func("/sigstore/simple-signing/sha1-is-refused", test_sha1);
    g_test_add_func("/sigstore/simple-signing/two-signatures-are-refused", test_two_signatures);
    g_test_add_func("/sigstore/simple-signing/cleartext-framework-is-refused", test_cleartext);
    g_test_add_func("/sigstore/simple-signing/detached-signature-is-refused", test_detached);
    g_test_add_func("/sigstore/simple-signing/armoured-signature-is-refused", test_armoured);
    g_test_add_func("/sigstore/simple-signing/concatenated-packets-are-refused", test_concatenated);
    g_test_add_func("/sigstore/simple-signing/unsigned-literal-is-refused", test_unsigned);
    g_test_add_func("/sigstore/simple-signing/encrypted-message-is-refused", test_encrypted);
    g_test_add_func("/sigstore/simple-signing/key-as-signature-is-refused", test_key_as_signature);
    g_test_add_func("/sigstore/simple-signing/tampered-message-is-refused", test_tampered);
    g_test_add_func("/sigstore/simple-signing/signed-non-json-is-refused", test_no_json);
    g_test_add_func("/sigstore/simple-signing/garbage-is-refused", test_no_signature_at_all);
    g_test_add_func("/sigstore/simple-signing/secret-key-as-key-file-is-refused", test_secret_key);
    g_test_add_func("/sigstore/simple-signing/no-usable-key-is-refused", test_no_usable_key);
    g_test_add_func("/sigstore/simple-signing/huge-key-is-refused", test_huge_key);
    g_test_add_func("/sigstore/simple-signing/decompression-bomb-is-refused", test_decompression_bomb);
    g_test_add_func("/sigstore/simple-signing/environment-is-not-read", test_environment);
    g_test_add_func("/sigstore/simple-signing/no-descriptor-stays-open", test_descriptors);
    g_test_add_func("/sigstore/simple-signing/several-threads", test_threads);
}

int main(int argc, char **argv)
{
    return kit_main(argc, argv, make_keys, add_tests);
}
