/* confined fetch|unpack|blobs ATTEMPT [PATH]: enters the confinement of the real worker, by the worker's own code, and then
 * does one thing that a worker under somebody's control might try. Exit status 0: it worked; an errno value: it was
 * refused; death by SIGSYS: it was not even asked. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "puller/blobs_sandbox.h"
#include "puller/worker_sandbox.h"
#include "storage/worker_sandbox.h"

#define NOT_CONFINED 250
#define UNKNOWN 251

static const char *path;

#define TRY(name, expression)                                                                                          \
    static long try_##name(void)                                                                                       \
    {                                                                                                                  \
        return (long) (expression);                                                                                    \
    }

static char page[4096] __attribute__((aligned(4096)));
static struct sockaddr_in loopback = {.sin_family = AF_INET};
static struct sockaddr_un abstract_name = {.sun_family = AF_UNIX, .sun_path = "\0guest-pull-test"};
static struct open_how reading = {.flags = O_RDONLY};

TRY(nothing, getpid() > 0 ? 0 : -1)
TRY(write, write(STDOUT_FILENO, "x", 1) == 1 ? 0 : -1)
TRY(open, open(path, O_RDONLY | O_CLOEXEC))
TRY(open_old, syscall(SYS_open, path, O_RDONLY))
TRY(open_write, open(path, O_WRONLY | O_CLOEXEC))
TRY(open_create, open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600))
TRY(open_truncate, open(path, O_RDONLY | O_TRUNC | O_CLOEXEC))
TRY(open_tmpfile, open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600))
TRY(openat2, syscall(SYS_openat2, AT_FDCWD, path, &reading, sizeof reading))
TRY(open_by_handle, syscall(SYS_open_by_handle_at, AT_FDCWD, page, O_RDONLY))
TRY(memfd, memfd_create("x", 0))
TRY(unlink, unlink(path))
TRY(rename, rename(path, "/tmp/guest-pull-renamed"))
TRY(mkdir, mkdir(path, 0700))
TRY(symlink, symlink("x", path))
TRY(chmod, chmod(path, 0777))
TRY(truncate, truncate(path, 0))
TRY(socket_inet, socket(AF_INET, SOCK_STREAM, 0))
TRY(socket_inet6, socket(AF_INET6, SOCK_DGRAM, 0))
TRY(socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))
TRY(socket_packet, socket(AF_PACKET, SOCK_RAW, 0))
TRY(socket_raw, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
TRY(socket_vsock, socket(AF_VSOCK, SOCK_STREAM, 0))
TRY(socket_alg, socket(AF_ALG, SOCK_SEQPACKET, 0))
TRY(socketpair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int *) page))
TRY(bind, bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *) &loopback, sizeof loopback))
TRY(listen, listen(socket(AF_INET, SOCK_STREAM, 0), 1))
TRY(accept, accept(0, NULL, NULL))
TRY(connect_abstract, connect(3, (struct sockaddr *) &abstract_name, sizeof abstract_name))
TRY(execve, execl("/bin/true", "true", NULL))
TRY(fork, fork())
TRY(vfork_like, syscall(SYS_clone, CLONE_VM | SIGCHLD, 0, 0, 0, 0))
TRY(new_user_namespace, syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0))
TRY(unshare, unshare(CLONE_NEWUSER))
TRY(setns, setns(3, 0))
TRY(mount, mount("none", "/tmp", "tmpfs", 0, NULL))
TRY(chroot, chroot("/tmp"))
TRY(ptrace, ptrace(PTRACE_ATTACH, getppid(), NULL, NULL))
TRY(process_vm_readv, syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0))
TRY(pidfd_open, syscall(SYS_pidfd_open, getppid(), 0))
TRY(kill_parent, kill(getppid(), 0))
TRY(kill_all, kill(-1, 0))
TRY(setuid, setuid(0))
TRY(capset, syscall(SYS_capset, page, page))
TRY(bpf, syscall(SYS_bpf, BPF_MAP_CREATE, page, 64))
TRY(perf, syscall(SYS_perf_event_open, page, 0, -1, -1, 0))
TRY(io_uring, syscall(SYS_io_uring_setup, 1, page))
TRY(userfaultfd, syscall(SYS_userfaultfd, 0))
TRY(keyctl, syscall(SYS_keyctl, 0, 0, 0, 0, 0))
TRY(terminal, ioctl(0, TIOCSTI, "x"))
TRY(prlimit, setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}))
TRY(map_executable, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ? 0 : -1)
TRY(make_executable, mprotect(page, sizeof page, PROT_READ | PROT_EXEC))
TRY(more_memory,
    mmap(NULL, (size_t) 8 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ? 0 : -1)

static const struct {
    const char *name;
    long (*run)(void);
} attempts[] = {{"nothing", try_nothing}, {"write", try_write}, {"open", try_open}, {"open-old", try_open_old},
    {"open-write", try_open_write}, {"open-create", try_open_create}, {"open-truncate", try_open_truncate},
    {"open-tmpfile", try_open_tmpfile}, {"openat2", try_openat2}, {"open-by-handle", try_open_by_handle},
    {"memfd", try_memfd}, {"unlink", try_unlink}, {"rename", try_rename}, {"mkdir", try_mkdir},
    {"symlink", try_symlink}, {"chmod", try_chmod}, {"truncate", try_truncate}, {"socket-inet", try_socket_inet},
    {"socket-inet6", try_socket_inet6}, {"socket-unix", try_socket_unix}, {"socket-packet", try_socket_packet},
    {"socket-raw", try_socket_raw}, {"socket-vsock", try_socket_vsock}, {"socket-alg", try_socket_alg},
    {"socketpair", try_socketpair}, {"bind", try_bind}, {"listen", try_listen}, {"accept", try_accept},
    {"connect-abstract", try_connect_abstract}, {"execve", try_execve}, {"fork", try_fork},
    {"vfork-like", try_vfork_like}, {"new-user-namespace", try_new_user_namespace}, {"unshare", try_unshare},
    {"setns", try_setns}, {"mount", try_mount}, {"chroot", try_chroot}, {"ptrace", try_ptrace},
    {"process-vm-readv", try_process_vm_readv}, {"pidfd-open", try_pidfd_open}, {"kill-parent", try_kill_parent},
    {"kill-all", try_kill_all}, {"setuid", try_setuid}, {"capset", try_capset}, {"bpf", try_bpf}, {"perf", try_perf},
    {"io-uring", try_io_uring}, {"userfaultfd", try_userfaultfd}, {"keyctl", try_keyctl}, {"terminal", try_terminal},
    {"prlimit", try_prlimit}, {"map-executable", try_map_executable}, {"make-executable", try_make_executable},
    {"more-memory", try_more_memory}};

static int confine(const char *worker)
{
    GError *error = NULL;
    gboolean ok = strcmp(worker, "fetch") == 0   ? gp_fetch_worker_confine(&error)
                  : strcmp(worker, "blobs") == 0 ? gp_blobs_worker_confine(&error)
                                                 : gp_unpack_worker_confine(&error);
    if (!ok)
        fprintf(stderr, "%s\n", error->message);
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return UNKNOWN;
    path = argc > 3 ? argv[3] : "/etc/passwd";
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        if (strcmp(argv[2], attempts[i].name) != 0)
            continue;
        if (!confine(argv[1]))
            _exit(NOT_CONFINED);
        long result = attempts[i].run();
        _exit(result >= 0 ? 0 : errno);
    }
    return UNKNOWN;
}
