/* The command table: one row a command, one function a row. */
#pragma once

#include <glib.h>

#include "puller/config.h"
#include "puller/options.h"

/* What every command gets: the global options, and its own words. */
typedef struct {
    GpPullOptions *pull; /* defaults, configuration and options together */
    GpConfig *config;    /* where they come from; NULL for commands without */
    char *identity;      /* policy match: the rule as JSON; NULL */
    char *older_than;    /* prune: an age; NULL */
    char *until_free;    /* prune: an amount of space; NULL */
    gboolean quarantine; /* fsck */
    gboolean receipts;   /* images */
    gboolean discard;    /* volume open */
    gboolean json, quiet, verbose;
    char **words; /* behind the command's name, NULL-ended */
    guint n_words;
} GpContext;

typedef struct {
    const char *name;
    const char *arguments; /* as --help shows them */
    const char *summary;
    guint min_words, max_words;
    /* FALSE with an error, or TRUE: *@status is the exit status (0 unless the command sets it: "no" is 3). Results go
     * to standard output. */
    gboolean (*run)(GpContext *context, int *status, GError **error);
    gboolean unconfigured; /* it reads no configuration, so a broken one does not stop it */
} GpCommand;

/* The commands, ended by a row without a name. */
extern const GpCommand gp_commands[];
