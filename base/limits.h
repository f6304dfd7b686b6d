/* Every ceiling of the program, in one file. Bytes unless the name says otherwise. */
#pragma once

#include <glib.h>

#define GP_KIB G_GUINT64_CONSTANT(1024)
#define GP_MIB (GP_KIB * 1024)
#define GP_GIB (GP_MIB * 1024)

/* Documents. 4 MiB for manifest, config and payload is what containers/image allows. */
#define GP_LIMIT_JSON_DEPTH 32
#define GP_LIMIT_JSON_VALUES 32768 /* of one document; each takes up to 240 bytes of memory, however few of text */
#define GP_LIMIT_MANIFEST (4 * GP_MIB)
#define GP_LIMIT_CONFIG (4 * GP_MIB)
#define GP_LIMIT_SIGNATURE (4 * GP_MIB)
#define GP_LIMIT_POLICY (1 * GP_MIB)
#define GP_LIMIT_REGISTRIES (1 * GP_MIB)
#define GP_LIMIT_REGISTRY_TABLES 1024
#define GP_LIMIT_MIRRORS 16 /* of one registry */
#define GP_LIMIT_BLOB_DIRECTORIES 8
#define GP_LIMIT_AUTHFILE (1 * GP_MIB)
#define GP_LIMIT_KEY (1 * GP_MIB)
#define GP_LIMIT_TOKEN (1 * GP_MIB)
#define GP_LIMIT_TAG_SIGNATURES                                                                                        \
    128                            /* signatures of one image looked at, as lookaside's ceiling in containers/image    \
                                    */
#define GP_LIMIT_REFERRERS 64      /* of one image that are opened */
#define GP_LIMIT_REFERRER_PAGES 16 /* of the list of them */
#define GP_LIMIT_REFERRER (256 * GP_KIB) /* the manifest of one; several are open at once */
#define GP_LIMIT_BUNDLE (1 * GP_MIB)
#define GP_LIMIT_REFERENCE 4096
#define GP_LIMIT_POLICY_COUNT 32 /* members and thresholds of a requirement that counts something */

/* Encrypted layers (ocicrypt). */
#define GP_LIMIT_LAYER_OPTIONS 4096 /* the public and the private options of one layer, JSON */
#define GP_LIMIT_KEY_PACKETS 16     /* wrapped keys of one layer */
#define GP_LIMIT_KEY_PACKET 65536   /* one of them, base64 */
#define GP_LIMIT_UNWRAP_ANSWER (64 * GP_KIB)
#define GP_LIMIT_KEY_PROVIDERS (64 * GP_KIB) /* ocicrypt's configuration */

/* Sigstore bundles and trusted roots: real ones have one entry and one timestamp. */
#define GP_LIMIT_LOG_ENTRIES 32
#define GP_LIMIT_TIMESTAMPS 32
#define GP_LIMIT_PROOF_HASHES 64
#define GP_LIMIT_TRUSTED_ROOT (1 * GP_MIB)
#define GP_LIMIT_TRUSTED_SERVICES 64 /* of one kind in a trusted root */
#define GP_LIMIT_CERTIFICATE (64 * GP_KIB)
#define GP_LIMIT_CHAIN 16 /* certificates of one chain */
#define GP_LIMIT_SCTS 32
#define GP_LIMIT_TIMESTAMP (64 * GP_KIB)

/* Images. */
#define GP_LIMIT_LAYERS 500
#define GP_LIMIT_INDEX_ENTRIES 1024
#define GP_LIMIT_INDEX_DEPTH 2
#define GP_LIMIT_BLOB (64 * GP_GIB)
#define GP_LIMIT_IMAGE_BYTES (1024 * GP_GIB) /* of content, all layers together */
#define GP_LIMIT_IMAGE_ENTRIES 16000000

/* One layer, as unpacked. */
#define GP_LIMIT_LAYER_BYTES (256 * GP_GIB)
#define GP_LIMIT_LAYER_ENTRIES 4000000
#define GP_DEFAULT_LAYER_ENTRIES 1000000
#define GP_LIMIT_LAYER_RATIO 1100        /* deflate tops out at 1032:1; applied beyond the first 64 MiB of output */
#define GP_LIMIT_TAR_HEADER (1 * GP_MIB) /* one extended header or long name; libarchive's own ceiling */
#define GP_LIMIT_PATH 4095
#define GP_LIMIT_NAME 255
#define GP_LIMIT_PATH_DEPTH 128
#define GP_LIMIT_LINK_TARGET 4095
#define GP_LIMIT_XATTRS 128
#define GP_LIMIT_XATTR_NAME 255
#define GP_LIMIT_XATTR_VALUE (64 * GP_KIB)
#define GP_LIMIT_LAYER_METADATA                                                                                        \
    (64 * GP_MIB) /* link targets and xattrs of all entries: held in memory until the commit */
#define GP_LIMIT_XATTR_TOTAL (128 * GP_KIB)

/* Workers. */
#define GP_LIMIT_FRAME_DATA (256 * GP_KIB) /* a DATA frame of the unpack worker */
#define GP_LIMIT_FRAME_ENTRY (256 * GP_KIB)
#define GP_LIMIT_FETCH_REQUEST (64 * GP_KIB)
#define GP_LIMIT_FETCH_REPLY (64 * GP_KIB)
#define GP_LIMIT_EXCHANGES 16          /* of one request that the fetch worker tells the puller about */
#define GP_LIMIT_EXCHANGE (2 * GP_KIB) /* what it says of one: less than a pipe takes at once */
#define GP_LIMIT_REQUEST_LOG 256       /* rows of a report: the first ones and the last ones */
#define GP_LIMIT_HTTP_HEADERS (256 * GP_KIB)
#define GP_LIMIT_REDIRECTS 10
#define GP_LIMIT_URLS 16       /* of one foreign layer */
#define GP_LIMIT_URL 2000      /* bytes of each */
#define GP_LIMIT_PARTS 12      /* of blobs on their way at once, over as many further connections, where one is slow */
#define GP_LIMIT_PARTS_HELD 32 /* of all blobs in memory, 512 KiB each, and one more for each blob */

/* Time, in seconds. */
#define GP_DEFAULT_TIMEOUT 1200 /* kata's agent.image_pull_timeout */
#define GP_LIMIT_CONNECT_TIMEOUT 10
#define GP_LIMIT_GPG_TIMEOUT 20
#define GP_LIMIT_SHARED_STALL 10 /* a directory that the host shares: as long as a KiB a second is not given */
#define GP_LIMIT_CLOCK_SKEW 300  /* how far in the future a GPG signature may be dated */
#define GP_DEFAULT_PARALLEL 4
#define GP_LIMIT_PARALLEL 32

/* Free space in the store: a pull that would leave less than the low mark makes room up to the high one. */
#define GP_DEFAULT_LOW_WATER_PERCENT 5
#define GP_DEFAULT_HIGH_WATER_PERCENT 10

/* The writable layer. */
#define GP_DEFAULT_RW_PERCENT 50 /* of physical memory, as tmpfs itself */

/* The encrypted volume. */
#define GP_LIMIT_VOLUME_MIN (64 * GP_MIB) /* smaller has no room for a store */
#define GP_VOLUME_XFS_MIN (512 * GP_MIB)  /* mkfs.xfs makes none below 300 MB; and so much of it is log */
#define GP_LIMIT_VOLUME_KEY (8 * GP_KIB)
#define GP_LIMIT_KDF_TIME 16 /* what a LUKS2 header may ask of argon2id and pbkdf2 */
#define GP_LIMIT_KDF_MEMORY (256 * GP_MIB)
#define GP_LIMIT_KDF_THREADS 4
#define GP_LIMIT_KDF_ITERATIONS 10000000

/* The service. */
#define GP_LIMIT_TTRPC_PAYLOAD (4 * GP_MIB)    /* the largest message of ttrpc itself */
#define GP_LIMIT_TTRPC_OVERHEAD (256 * GP_KIB) /* what decoding one message may allocate beyond its own length */
#define GP_LIMIT_TTRPC_NAME 256                /* of a service or a method */
#define GP_LIMIT_TTRPC_STATUS (8 * GP_KIB)     /* an error's text */

/* An image's /etc/passwd or /etc/group; supplementary groups as Linux (NGROUPS_MAX). */
#define GP_LIMIT_PASSWD (1 * GP_MIB)
#define GP_LIMIT_GROUPS 65536
#define GP_LIMIT_PULL_REPORT (1 * GP_MIB)     /* JSON of one pull */
#define GP_LIMIT_PULL_PROGRESS (128 * GP_KIB) /* one message about a pull at work; what a unix socket takes at once */
#define GP_LIMIT_STATUS (64 * GP_MIB)         /* what the service says about itself: every pull, every layer */
#define GP_LIMIT_CONNECTIONS 64               /* to the service at once */
#define GP_LIMIT_RELAYED 1024                 /* requests in flight at the upstream, for one connection */
#define GP_DEFAULT_PULL_QUEUE 256             /* pulls that wait for their turn */

/* Configuration and records. */
#define GP_LIMIT_CONFIGURATION (1 * GP_MIB)
#define GP_LIMIT_COMMAND_LINE (64 * GP_KIB) /* of the kernel */
#define GP_LIMIT_EXTRA_ROOTS                                                                                           \
    (48 * GP_KIB) /* extra_root_certificates: they go to the fetch worker in its first message */
#define GP_LIMIT_RECEIPT (4 * GP_MIB)
#define GP_LIMIT_RECEIPTS 1000 /* kept */

/* All signatures of one document from one of three places, and they are held at once for an image and its index: six
 * times this in memory. A real one has a few KiB. */
#define GP_LIMIT_SIGNATURES_TOTAL (6 * GP_MIB)
