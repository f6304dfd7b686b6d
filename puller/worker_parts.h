/* Parts of one blob, fetched by ranges ahead of where its one reader is, over connections of their own: where packets
 * get lost, or a server gives each connection little, one connection is slow and many are not. Nothing but speed comes
 * from here: what a further try does not mend ends all parts, and the job goes on over its one connection. */
#pragma once

#include <glib.h>

#include "puller/worker_job.h"
#include "puller/worker_log.h"
#include "puller/worker_sink.h"

#define GP_PART_SIZE (512 * GP_KIB)

/* The pace at which a blob comes; zero to begin with. */
typedef struct {
    gint64 since; /* 0: nobody has looked yet */
    guint64 from;
} GpPace;

/* To be called often, with the bytes that have come. TRUE when they came so slowly for a while that several connections
 * may be faster. Time for which @counts is FALSE is not looked at. */
gboolean gp_pace_is_slow(GpPace *pace, gint64 now, guint64 bytes, gboolean counts);

typedef struct _GpParts GpParts;

typedef struct {
    GpExchangeLog *log;        /* of the job; outlives the parts */
    const char *url;           /* where the reader was sent to */
    const char *authorization; /* field value or NULL; secret */
    gboolean show_certificate;
    guint64 first; /* byte of the blob with which the parts begin; not 0 */
    guint64 size;  /* of the blob */
} GpPartsPlan;

typedef enum {
    GP_PARTS_GOING,
    GP_PARTS_COMPLETE, /* all of the blob is in the pipe */
    GP_PARTS_ENDED,    /* whatever is not in the pipe has to come another way */
    GP_PARTS_GONE,     /* the puller has closed the pipe */
} GpPartsState;

/* Nothing is asked before gp_parts_fetch(). @context outlives it. */
GpParts *gp_parts_new(GpWorkerContext *context, const GpPartsPlan *plan);
void gp_parts_free(GpParts *parts);

/* Where the reader must stop. */
guint64 gp_parts_first(const GpParts *parts);

/* To be called often, with the byte of the blob that the reader comes to: starts what may be started. A part of which
 * nothing has come when the reader is near is left to the reader. */
GpPartsState gp_parts_fetch(GpParts *parts, gint64 now, guint64 reader);

/* Once the reader has come to the first byte, with the pipe that it wrote to: the same, and puts what is there into the
 * pipe. *@full: it has no room. */
GpPartsState gp_parts_deliver(GpParts *parts, gint64 now, GpPipeSink *sink, gboolean *full);

/* Whether parts that have ended are worth another attempt: only the network or an authorization failed them. */
gboolean gp_parts_may_return(const GpParts *parts);
