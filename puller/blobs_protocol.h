/* What the puller and guest-pull-blobs say to each other; included by both, linked into neither.
 *
 *   guest-pull-blobs DIRECTORY DIGEST SIZE
 *
 * has the body pipe as descriptor 3 and the reply pipe as 4. It opens the blob, confines itself, and says so with one
 * frame into the reply pipe: GP_BLOBS_READY, or GP_BLOBS_ABSENT, or GP_BLOBS_REFUSED with the reason as payload, which
 * is the end. Then the bytes go into the body pipe, SIZE of them at most; a failure on the way is a second frame,
 * GP_BLOBS_REFUSED, before the pipes are closed. One process for each blob: one that hangs in a call that the host does
 * not answer holds nothing else up. */
#pragma once

#define GP_BLOBS_WORKER "guest-pull-blobs"
#define GP_BLOBS_BODY_FD 3
#define GP_BLOBS_REPLY_FD 4

#define GP_BLOBS_READY 1
#define GP_BLOBS_ABSENT 2
#define GP_BLOBS_REFUSED 3
#define GP_BLOBS_REASON_MAX 1000 /* bytes of the payload */
