#include "puller/worker_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void gp_pipe_sink_init(GpPipeSink *sink, int fd)
{
    *sink = (GpPipeSink){.fd = fd};
    int flags = fcntl(fd, F_GETFL);
    (void) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void gp_pipe_sink_restart(GpPipeSink *sink, guint64 skip)
{
    sink->skip = skip;
    sink->partial = 0;
}

GpSinkResult gp_pipe_sink_write(GpPipeSink *sink, const guint8 *bytes, gsize length)
{
    gsize dropped = (gsize) MIN(sink->skip, length - sink->partial);
    sink->skip -= dropped;
    sink->partial += dropped;
    while (sink->partial < length) {
        ssize_t written = write(sink->fd, bytes + sink->partial, length - sink->partial);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno == EAGAIN ? GP_SINK_FULL : GP_SINK_GONE;
        sink->partial += (gsize) written;
        sink->delivered += (guint64) written;
    }
    sink->partial = 0;
    return GP_SINK_TAKEN;
}
