/* Where the bytes of an answer go: into the puller's pipe (a blob, at once) or into memory (everything small). */
#pragma once

#include <glib.h>

typedef enum {
    GP_SINK_TAKEN, /* all of it */
    GP_SINK_FULL,  /* the pipe has no room: offer the same bytes again later */
    GP_SINK_GONE,  /* the puller has closed the pipe */
} GpSinkResult;

/* A non-blocking pipe. */
typedef struct {
    int fd;
    guint64 delivered; /* bytes written so far */
    guint64 skip;      /* bytes still to be dropped: of an answer that starts again from 0 */
    gsize partial;     /* bytes of the chunk on offer that are already dealt with */
} GpPipeSink;

/* Makes @fd, taken over, non-blocking. */
void gp_pipe_sink_init(GpPipeSink *sink, int fd);
GpSinkResult gp_pipe_sink_write(GpPipeSink *sink, const guint8 *bytes, gsize length);
/* A new answer begins, whose first @skip bytes the pipe already has. */
void gp_pipe_sink_restart(GpPipeSink *sink, guint64 skip);
