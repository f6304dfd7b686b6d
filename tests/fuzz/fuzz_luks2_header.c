/* FUZZ_LIBS: storage base
 * The header of a persistent volume. The input is the JSON of both copies, with good checksums around it; behind a
 * first byte 0 it is the area itself, as it comes. What is accepted must come out as something that is accepted
 * unchanged. */
#include "base/digest.h"
#include "base/error.h"
#include "storage/luks2_header.h"

#define COPY GP_LUKS2_METADATA_SIZE

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void make_copy(guint8 *header, guint index, const guint8 *text, gsize length)
{
    GpDigest digest;
    memcpy(header, index ? "SKUL\xba\xbe\0\2" : "LUKS\xba\xbe\0\2", 8);
    header[14] = 0x40;
    g_strlcpy((char *) header + 24, "guest-pull", 48);
    g_strlcpy((char *) header + 72, "sha256", 32);
    g_strlcpy((char *) header + 168, "d4d2d6eb-7c6d-450f-aebf-015a60629b3e", 40);
    header[262] = index ? 0x40 : 0;
    memcpy(header + 4096, text, MIN(length, COPY - 4096));
    gp_digest_of(GP_DIGEST_SHA256, header, COPY, &digest);
    memcpy(header + 448, digest.bytes, 32);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static const GpVolumeIntegrity kinds[] = {GP_VOLUME_AES_GCM, GP_VOLUME_XTS_HMAC, GP_VOLUME_NO_INTEGRITY};
    guint8 *area = g_malloc0(GP_LUKS2_DATA_OFFSET);
    g_autoptr(GBytes) bytes = g_bytes_new_take(area, GP_LUKS2_DATA_OFFSET);
    if (size > 0 && data[0] == 0) {
        memcpy(area, data + 1, MIN(size - 1, 2 * COPY));
    } else {
        make_copy(area, 0, data, size);
        make_copy(area + COPY, 1, data, size);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) header = gp_luks2_accept(bytes, kinds[i], &error);
        g_assert_true((header == NULL) == (error != NULL));
        g_autoptr(GBytes) again = header ? gp_luks2_accept(header, kinds[i], &error) : NULL;
        g_assert_true(!header || (again && g_bytes_equal(header, again)));
    }
    return 0;
}
