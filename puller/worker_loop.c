#include "puller/worker_loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"

#define MAX_JOBS 400 /* two descriptors each, and the connections: below RLIMIT_NOFILE */
#define IDLE_MS 1000

typedef struct {
    GpWorkerContext *context;
    int control;
    GPtrArray *jobs; /* GpJob* */
    char *message;
} Loop;

/* One request with its two descriptors. FALSE when the puller is gone or breaks the protocol. */
static gboolean receive_request(Loop *loop)
{
    union {
        char buffer[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec part = {loop->message, GP_LIMIT_FETCH_REQUEST};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.buffer, .msg_controllen = sizeof control.buffer};
    ssize_t length = recvmsg(loop->control, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length < 0)
        return errno == EAGAIN || errno == EINTR;
    const struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    if (length == 0 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || !cmsg ||
        cmsg->cmsg_len != CMSG_LEN(2 * sizeof(int)) || cmsg->cmsg_type != SCM_RIGHTS)
        return FALSE;
    int fds[2];
    memcpy(fds, CMSG_DATA(cmsg), sizeof fds);
    g_ptr_array_add(loop->jobs, gp_job_new(loop->context, loop->message, (gsize) length, fds[0], fds[1]));
    explicit_bzero(loop->message, (gsize) length);
    return TRUE;
}

static void collect_finished(Loop *loop)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(loop->context->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        /* @message lives no longer than its handle. */
        CURLcode result = message->data.result;
        gp_exchange_done(message->easy_handle, result);
    }
}

/* Looks at all pipes at once and lets every job go on. */
static void tick(Loop *loop)
{
    guint count = loop->jobs->len;
    g_autofree struct pollfd *pipes = g_new0(struct pollfd, MAX(count, 1));
    for (guint i = 0; i < count; i++) {
        gboolean for_room = FALSE;
        pipes[i].fd = gp_job_watch(loop->jobs->pdata[i], &for_room);
        pipes[i].events = for_room ? POLLOUT : 0;
    }
    (void) poll(pipes, count, 0);
    gint64 now = g_get_monotonic_time();
    for (guint i = 0; i < count; i++)
        gp_job_tick(loop->jobs->pdata[i], now, (pipes[i].revents & POLLOUT) != 0, (pipes[i].revents & POLLERR) != 0);
    for (guint i = count; i-- > 0;)
        if (gp_job_is_done(loop->jobs->pdata[i]))
            g_ptr_array_remove_index_fast(loop->jobs, i);
}

static void wait_for_events(Loop *loop)
{
    g_autofree struct curl_waitfd *extra = g_new0(struct curl_waitfd, loop->jobs->len + 1);
    guint count = 0;
    gint64 next = g_get_monotonic_time() + IDLE_MS * 1000;
    for (guint i = 0; i < loop->jobs->len; i++) {
        gboolean for_room = FALSE;
        int fd = gp_job_watch(loop->jobs->pdata[i], &for_room);
        if (fd >= 0 && for_room)
            extra[count++] = (struct curl_waitfd){.fd = fd, .events = CURL_WAIT_POLLOUT};
        next = MIN(next, gp_job_next_time(loop->jobs->pdata[i]));
    }
    if (loop->jobs->len < MAX_JOBS)
        extra[count++] = (struct curl_waitfd){.fd = loop->control, .events = CURL_WAIT_POLLIN};
    gint64 wait = (next - g_get_monotonic_time()) / 1000 + 1;
    (void) curl_multi_poll(loop->context->multi, extra, count, (int) CLAMP(wait, 0, IDLE_MS), NULL);
}

void gp_worker_loop(GpWorkerContext *context, int control)
{
    Loop loop = {.context = context, .control = control};
    loop.jobs = g_ptr_array_new_with_free_func((GDestroyNotify) gp_job_free);
    loop.message = g_malloc0(GP_LIMIT_FETCH_REQUEST);
    while (loop.jobs->len >= MAX_JOBS || receive_request(&loop)) {
        int running;
        (void) curl_multi_perform(context->multi, &running);
        collect_finished(&loop);
        tick(&loop);
        wait_for_events(&loop);
    }
    g_ptr_array_unref(loop.jobs);
    g_free(loop.message);
}
