/* What the puller asks of guest-pull-volume: one line of JSON on descriptor 3, then the key's bytes to the end; the
 * answer is one JSON object on descriptor 4. */
#pragma once

#include "storage/volume.h"

#define GP_VOLUME_HELPER "guest-pull-volume"
#define GP_VOLUME_REQUEST_FD 3
#define GP_VOLUME_ANSWER_FD 4

typedef struct {
    gboolean close;
    GpVolumeConfig config;
    gboolean discard;
    char *mountpoint;
    GBytes *key; /* NULL: none */
} GpVolumeRequest;

void gp_volume_request_clear(GpVolumeRequest *request);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GpVolumeRequest, gp_volume_request_clear)

/* The line and the key; wiped with its last reference. Owned by the caller. */
GBytes *gp_volume_request_write(const GpVolumeRequest *request);
/* @request is zeroed by the caller. Errors: INVALID. */
gboolean gp_volume_request_read(GBytes *bytes, GpVolumeRequest *request, GError **error);
