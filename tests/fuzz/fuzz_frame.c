/* FUZZ_LIBS: base
 * The frame reader over a pipe whose other side lies. All but the last frame that it gives out must lie one behind the
 * other in what was sent. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/frame.h"
#include "base/io.h"

#define LARGEST 4096

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    GP_AUTOFD int fd = memfd_create("frames", MFD_CLOEXEC);
    g_assert_true(fd >= 0 && gp_write_all(fd, data, size, NULL) && lseek(fd, 0, SEEK_SET) == 0);
    g_autoptr(GpFrameReader) reader = gp_frame_reader_new(fd, LARGEST);
    gsize at = 0;
    for (;;) {
        guint32 type = 0;
        const guint8 *payload = NULL;
        gsize length = 0;
        g_autoptr(GError) error = NULL;
        if (!gp_frame_reader_next(reader, &type, &payload, &length, &error)) {
            g_assert_error(error, GP_ERROR, GP_ERROR_SANDBOX);
            return 0;
        }
        g_assert_no_error(error);
        if (type == 0) {
            g_assert_cmpuint(at, ==, size);
            return 0;
        }
        g_assert_cmpuint(length, <=, LARGEST);
        g_assert_cmpuint(at + 8 + length, <=, size);
        g_assert_true(length == 0 || memcmp(payload, data + at + 8, length) == 0);
        at += 8 + length;
    }
}
