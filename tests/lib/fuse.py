"""A filesystem whose server a test is: the kernel's FUSE protocol (linux/fuse.h), spoken by hand because no library is needed for so little.

    with Fuse(mountpoint, tree, lambda operation, name: "hang" if operation == "read" else None) as fs:

shows the directory `tree` read-only at `mountpoint`. What the function says of an operation ("lookup", "open", "read") on a file of that name is
done: None: what is right; "hang": there is never an answer; "drip": 100 bytes, half a second later; "eio": an error. fs.hanging counts
those without an answer. At the end the connection is cut, which lets go of whoever waited. Raises FuseMissing where there is no FUSE."""

import ctypes
import errno
import os
import stat
import struct
import subprocess
import threading
import time

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = \
    1, 2, 3, 14, 15, 17, 18, 25, 26, 27, 29, 36, 38, 42
DIRECT_IO = 1
PARALLEL_LOOKUPS = 1 << 18
ROOT = 1


class FuseMissing(Exception):
    pass


class Fuse:
    def __init__(self, mountpoint, tree, behave):
        self.mountpoint, self.behave, self.hanging = os.fspath(mountpoint), behave, 0
        self.paths = {ROOT: os.fspath(tree)}
        try:
            self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as failure:
            raise FuseMissing(str(failure)) from failure
        options = f"fd={self.fd},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"guest-pull-test", self.mountpoint.encode(), b"fuse", 0, options) != 0:
            failure = os.strerror(ctypes.get_errno())
            os.close(self.fd)
            raise FuseMissing(f"mounting: {failure}")
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Cuts the connection. "umount -f" aborts what hangs; -l takes the mount away while somebody still has a file of it."""
        for flag in ("-f", "-l"):
            subprocess.run(["umount", flag, self.mountpoint], check=False, capture_output=True)
        self.thread.join(10)
        os.close(self.fd)

    def _serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError as failure:
                if failure.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return  # ENODEV: unmounted
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode not in (FORGET, BATCH_FORGET, INTERRUPT):
                self._answer(opcode, unique, node, request[40:])

    def _reply(self, unique: int, error: int = 0, body: bytes = b""):
        try:
            os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError:
            pass  # nobody waits any more

    def _answer(self, opcode, unique, node, body):
        path = self.paths.get(node)
        if opcode == LOOKUP:
            path = os.path.join(path, os.fsdecode(body.split(b"\0")[0]))
        what = self.behave({LOOKUP: "lookup", OPEN: "open", READ: "read"}.get(opcode, ""), os.path.basename(path or ""))
        if what == "hang":
            self.hanging += 1
        elif what == "eio":
            self._reply(unique, errno.EIO)
        elif what == "drip":
            threading.Thread(target=lambda: (time.sleep(0.5), self._read(unique, path, body, 100)), daemon=True).start()
        else:
            self._do(opcode, unique, path, body)

    def _do(self, opcode, unique, path, body):
        if opcode == INIT:
            self._reply(unique, 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, PARALLEL_LOOKUPS, 16, 12, 65536, 1, 32, 0, 0))
        elif opcode == LOOKUP:
            if not os.path.lexists(path):
                self._reply(unique, errno.ENOENT)
                return
            node = os.lstat(path).st_ino + 1000
            self.paths[node] = path
            self._reply(unique, 0, struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self._attributes(path))
        elif opcode == GETATTR:
            self._reply(unique, 0, struct.pack("<QII", 0, 0, 0) + self._attributes(path))
        elif opcode in (OPEN, OPENDIR):
            self._reply(unique, 0, struct.pack("<QII", 0, DIRECT_IO if opcode == OPEN else 0, 0))
        elif opcode == READ:
            self._read(unique, path, body, 1 << 20)
        elif opcode == STATFS:
            self._reply(unique, 0, bytes(80))
        elif opcode in (RELEASE, RELEASEDIR, FLUSH, DESTROY):
            self._reply(unique)
        else:
            self._reply(unique, errno.ENOSYS)

    def _read(self, unique, path, body, most):
        _, offset, size = struct.unpack_from("<QQI", body)
        with open(path, "rb") as file:
            file.seek(offset)
            self._reply(unique, 0, file.read(min(size, most)))

    @staticmethod
    def _attributes(path) -> bytes:
        st = os.lstat(path)
        mode = st.st_mode & ~0o222 if stat.S_ISREG(st.st_mode) else st.st_mode
        return struct.pack("<QQQQQQIIIIIIIIII", st.st_ino + 1000, st.st_size, st.st_blocks, 0, 0, 0, 0, 0, 0, mode, st.st_nlink, 0, 0, 0, 4096, 0)
