/* The puller's calls of the guest's services, from a shell: prints what came, or the error as CODE: MESSAGE. For
 * tests/service. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "puller/guest_services.h"

#define THREADS 8

typedef struct {
    char **argv;
    GBytes *bytes;
    GError *error;
} Job;

/* resource SOCKET URI DEADLINE_MS MAX | unwrap SOCKET TEXT DEADLINE_MS MAX */
static gpointer run(gpointer user_data)
{
    Job *job = user_data;
    guint deadline = (guint) strtoul(job->argv[4], NULL, 10);
    gsize max = strtoul(job->argv[5], NULL, 10);
    if (g_str_equal(job->argv[1], "resource")) {
        job->bytes = gp_guest_get_resource(job->argv[2], job->argv[3], deadline, max, &job->error);
    } else {
        g_autoptr(GBytes) request = g_bytes_new(job->argv[3], strlen(job->argv[3]));
        job->bytes = gp_guest_unwrap_key(job->argv[2], request, deadline, max, &job->error);
    }
    return NULL;
}

static int finish(const GError *error)
{
    if (!error)
        return 0;
    fprintf(stderr, "%s: %s\n", gp_error_info(error->code)->name, error->message);
    return gp_error_info(error->code)->exit_status;
}

static int extend(char **argv)
{
    g_autoptr(GError) error = NULL;
    GpExtendResult result = GP_EXTEND_OK;
    if (gp_guest_extend_measurement(argv[2], argv[3], argv[4], 2000, &result, &error))
        printf("%d\n", (int) result);
    return finish(error);
}

int main(int argc, char **argv)
{
    if (argc == 5 && g_str_equal(argv[1], "extend"))
        return extend(argv);
    if (argc != 6)
        return 2;
    Job jobs[THREADS] = {0};
    GThread *threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i].argv = argv;
        threads[i] = g_thread_new("job", run, &jobs[i]);
    }
    for (int i = 0; i < THREADS; i++)
        g_thread_join(threads[i]);
    /* All asked for the same thing at once, so all must have the same. */
    for (int i = 1; i < THREADS; i++)
        if (!jobs[i].bytes != !jobs[0].bytes || (jobs[0].bytes && !g_bytes_equal(jobs[i].bytes, jobs[0].bytes)))
            return 99;
    if (jobs[0].bytes)
        (void) fwrite(g_bytes_get_data(jobs[0].bytes, NULL), 1, g_bytes_get_size(jobs[0].bytes), stdout);
    int status = finish(jobs[0].error);
    for (int i = 0; i < THREADS; i++) {
        g_clear_pointer(&jobs[i].bytes, g_bytes_unref);
        g_clear_error(&jobs[i].error);
    }
    return status;
}
