"""A virtual machine of the tests: boots, runs commands, loses power.

    with Guest(machine, folder, disks={"store": "1G", "plain": "256M"}) as guest:
        guest.run("lsblk")                  # a shell script; a Result with status, out, err
        guest.put("/run/policy.json", b"…"); guest.get("/run/log")
        guest.start_service(config)         # guest-pulld with the text of a cdh.toml
        guest.pull("10.0.2.2:5000/app:1")   # as kata-agent: ttrpc over the service's socket
        guest.kill()                        # the power is cut
        guest.boot()                        # the same disks again

Booting costs an emulated machine a quarter of a minute of both processors. So machines with one disk of 1 GiB are booted once a run for each
number of processors and amount of memory, stored before they have looked at the disk, and boot() goes on from there; cold_boot() really
boots. Machines that go on from one place draw the same random numbers at first.

GUEST_CONSOLE=1 prints the console as it comes, GUEST_ACCEL=kvm (default tcg) is faster where it works, GUEST_KEEP=1 keeps the folder.
`python3 tests/guest/guest.py` boots one with a shell on this terminal."""

import base64
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))

import ttrpc  # noqa: E402
from registry import free_port  # noqa: E402

ACCEL = os.environ.get("GUEST_ACCEL", "tcg")
HOST = "10.0.2.2"  # the host's loopback, as the guest sees it
AGENT, SERVICE = 7000, 7001  # ports in the guest
BOOT_SECONDS = 240
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class GuestError(Exception):
    """The machine does not do what a machine does; the text ends with its console."""


@dataclasses.dataclass
class Result:
    """How a script in the guest ended."""

    script: str
    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode(errors="replace")

    @property
    def json(self):
        try:
            return json.loads(self.raw)
        except ValueError:
            return None

    @property
    def error(self) -> dict:
        return (self.json or {}).get("error", {})

    @property
    def message(self) -> str:
        """guest-pull's error text, wherever it was printed."""
        return self.error.get("message") or self.err

    def __str__(self):
        return f"in the guest: {self.script}\nexit status {self.status}\n--- out\n{self.out[-4000:]}\n--- err\n{self.err[-4000:]}"


def read_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(1 << 20, count - len(data)))
        if not piece:
            raise ConnectionError("the guest hung up")
        data += piece
    return bytes(data)


class Guest:
    """disks: name -> size ("1G"), or the path of an image that exists; in this order they are vda, vdb, … and below
    /dev/disk nothing is: guest.device[name]. They are files in `folder`, guest.disk(name) for the host."""

    def __init__(self, machine, folder, *, disks: dict, cpus: int = 2, memory: int = 1536):
        self.machine, self.folder = machine, pathlib.Path(folder)
        self.cpus, self.megabytes = cpus, memory
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = {name: f"/dev/vd{chr(ord('a') + i)}" for i, name in enumerate(disks)}
        self.process = None
        self.state = self.machine.folder / f"state-{machine}-{cpus}-{memory}" if list(disks.values()) == ["1G"] else None
        for name, size in disks.items():
            if isinstance(size, str):
                self.make_disk(name, size)
            else:
                self.disk(name).symlink_to(size)

    # ---- disks, as the host has them
    def disk(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.img"

    def make_disk(self, name: str, size: str) -> None:
        """An empty one, in the place of what was there."""
        self.disk(name).unlink(missing_ok=True)
        with open(self.disk(name), "xb") as out:
            out.truncate(int(size[:-1]) * SIZES[size[-1]])

    # ---- power
    def boot(self) -> "Guest":
        if not self.state:
            return self.cold_boot()
        if self.state.exists():
            return self._boot([], ["-incoming", f"exec:cat {self.state}"])
        self.cold_boot()
        self.run("sync; echo 1 > /proc/sys/vm/drop_caches; sleep 1")
        self.qmp("migrate", uri=f"exec:cat > {self.state}.part")
        while (status := self.qmp("query-migrate")["status"]) != "completed":
            assert status in ("setup", "active", "device"), status
            time.sleep(0.1)
        os.rename(f"{self.state}.part", self.state)
        self.qmp("cont")
        return self

    def cold_boot(self, *kernel_options: str) -> "Guest":
        return self._boot(kernel_options, [])

    def _boot(self, kernel_options, options) -> "Guest":
        for _ in range(3):  # somebody else may take the free ports before QEMU does
            self.ports = {AGENT: free_port(), SERVICE: free_port()}
            self._start(kernel_options, options)
            try:
                self._wait(booting=not options)
                return self
            except GuestError:
                self.kill()
                if "Could not set up host forwarding" not in self._qemu_log():
                    raise
        raise GuestError("no free ports")

    def command(self, kernel_options, serial: list[str]) -> list[str]:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in self.ports.items())
        # QEMU 7.2's emulation of cmpxchg16b is wrong with several processors: Linux 6.12 does not get through its start with it. Its emulation
        # of AVX costs more than what Linux takes instead.
        accel = ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16,-avx,-avx2"] if ACCEL == "tcg" else ["-accel", ACCEL, "-cpu", "host"]
        disks = [part for name in self.device for part in
                 ("-drive", f"file={self.disk(name)},if=none,id={name},format=raw,cache=writeback,aio=threads",
                  "-device", f"virtio-blk-pci,drive={name},id={name}-device,serial={name}")]
        return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *accel,
                "-m", str(self.megabytes), "-smp", str(self.cpus), "-kernel", str(self.machine.kernel.image),
                "-initrd", str(self.machine.initrd), "-append", " ".join(["console=ttyS0 quiet panic=-1", *kernel_options]),
                *disks, "-nic", f"user,model=virtio-net-pci{forwards}", "-device", "virtio-rng-pci", *serial]

    def _start(self, kernel_options, options):
        self.monitor = self.folder / "qmp"
        self.monitor.unlink(missing_ok=True)
        console = self.folder / "console.log"
        console.touch()
        self.console_start = console.stat().st_size
        serial = ["-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console",
                  "-qmp", f"unix:{self.monitor},server=on,wait=off", *options]
        with open(self.folder / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(self.command(kernel_options, serial), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        if os.environ.get("GUEST_CONSOLE"):
            threading.Thread(target=self._show_console, args=(self.process, console, self.console_start), daemon=True).start()

    @staticmethod
    def _show_console(process, path, start):
        with open(path, errors="replace") as lines:
            lines.seek(start)
            while True:
                text = lines.read()
                sys.stderr.write(text)
                if not text:
                    if process.poll() is not None:
                        return
                    time.sleep(0.1)

    def _wait(self, booting: bool):
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise GuestError(f"QEMU ended: {self._qemu_log()}\n{self.console()}")
            # Before the agent listens, QEMU takes connections and keeps them waiting.
            if not booting or "GUEST up" in self.console():
                try:
                    self.run("true", timeout=20)
                    return
                except (OSError, ValueError):
                    pass
            time.sleep(0.1)
        raise GuestError(f"the guest does not answer\n{self.console()}")

    def _qemu_log(self) -> str:
        return (self.folder / "qemu.log").read_text(errors="replace")

    def console(self) -> str:
        """What the console said since the last boot."""
        with open(self.folder / "console.log", errors="replace") as text:
            text.seek(self.console_start)
            return text.read()

    def kill(self) -> None:
        """Power cut: the process is gone between two instructions. What the guest had not flushed is lost with its memory."""
        if self.process:
            if self.process.poll() is None:
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def shutdown(self) -> None:
        """What a guest does that ends in peace, as far as disks are concerned."""
        self.run("sync; (sleep 0.2; poweroff -f) > /dev/null 2>&1 &")
        try:
            self.process.wait(120)
        finally:
            self.kill()

    def reboot(self) -> "Guest":
        self.shutdown()
        return self.cold_boot()

    def __enter__(self):
        return self.boot()

    def __exit__(self, *_):
        self.kill()
        if not os.environ.get("GUEST_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def qmp(self, command: str, **arguments):
        """Asks QEMU's monitor. Returns what it returned, raises GuestError with its reason."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.monitor))
            lines = connection.makefile("rw")
            lines.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                lines.write(json.dumps(request) + "\n")
                lines.flush()
                while "event" in (answer := json.loads(lines.readline())):
                    pass
            if "error" in answer:
                raise GuestError(f"{command}: {answer['error']['desc']}")
            return answer["return"]

    # ---- inside
    def run(self, script: str, check: int | None = 0, timeout: float = 300) -> Result:
        """check: the exit status that must come out, None for any."""
        with socket.create_connection(("127.0.0.1", self.ports[AGENT]), timeout=timeout) as connection:
            connection.sendall(base64.b64encode(script.encode()) + b"\n")
            header = b""
            while not header.endswith(b"\n"):
                header += read_exactly(connection, 1)
            status, out, err = map(int, header.split())
            result = Result(script, status, read_exactly(connection, out), read_exactly(connection, err).decode(errors="replace"))
        assert check is None or status == check, f"expected exit status {check}\n{result}\n--- console\n{self.console()[-3000:]}"
        return result

    def put(self, path: str, data: bytes | str, mode: int = 0o600) -> None:
        data = data.encode() if isinstance(data, str) else data
        self.run(f"mkdir -p {os.path.dirname(path)}; base64 -d > {path} <<'END'\n{base64.encodebytes(data).decode()}END\nchmod {mode:o} {path}")

    def get(self, path: str) -> bytes:
        return self.run(f"cat {path}").raw

    def memory(self) -> dict[str, int]:
        """/proc/meminfo in bytes, after everything that is only cached has been dropped; and in "Free" all that is free. The kernel's
        own MemFree and MemAvailable leave out pages that are free on a processor's own list, and those lists grow by themselves since
        Linux 6.7, to 28 MB each in our guest: so much may seem to be missing after a process has freed it, until somebody takes it."""
        text = self.run("sync; echo 3 > /proc/sys/vm/drop_caches; cat /proc/meminfo /proc/zoneinfo").out
        figures = {name: int(value) * 1024 for name, value in re.findall(r"^(\w+): +(\d+) kB$", text, re.M)}
        listed = sum(map(int, re.findall(r"^ +count: +(\d+)$", text, re.M))) * 4096
        return {**figures, "Listed": listed, "Free": figures["MemAvailable"] + listed}

    def memory_back(self, before: dict[str, int], slack: int = 4 << 20, seconds: float = 20) -> dict[str, int]:
        """Waits until memory files are what they were (to 256 KiB) and free memory is (to `slack`: the kernel's own odds and ends).
        Returns the last figures."""
        end = time.monotonic() + seconds
        while True:
            now = self.memory()
            if now["Shmem"] <= before["Shmem"] + (256 << 10) and now["Free"] >= before["Free"] - slack:
                return now
            assert time.monotonic() < end, f"memory is not given back: before {before}, now {now}"
            time.sleep(0.3)

    def drop_caches(self) -> None:
        self.run("sync; echo 3 > /proc/sys/vm/drop_caches")

    # ---- the service
    def start_service(self, config: str, *, hub: ttrpc.Server | None = None, options: str = "") -> None:
        """guest-pulld, configured by the text of a cdh.toml; hub: a server on the host (TCP) that is the real confidential-data-hub."""
        self.put("/run/confidential-containers/initdata/cdh.toml", config)
        bridge, there = "", ""
        if hub:  # whoever asks before its socket is there asks somebody else
            there = "test -S /run/guest-pull/cdh-upstream.sock &&"
            bridge = f"socat UNIX-LISTEN:/run/guest-pull/cdh-upstream.sock,fork,mode=600 TCP:{HOST}:{hub.port} &"
        self.run(f"""exec > /run/service.log 2>&1
            {bridge}
            setsid guest-pulld --config /run/confidential-containers/initdata/cdh.toml {options} &
            for i in $(seq 100); do
                {there} socat -u /dev/null UNIX-CONNECT:/run/confidential-containers/cdh.sock && socat -u /dev/null TCP:127.0.0.1:{SERVICE} && exit 0
                sleep 0.1
            done; exit 1""")

    def service_log(self) -> str:
        return self.get("/run/service.log").decode(errors="replace")

    def bundle(self, name: str) -> str:
        path = f"/run/kata-containers/{name}"
        self.run(f"mkdir -p {path}")
        return path

    def pull(self, image: str, name: str = "c1", timeout: float = 300) -> str:
        """PullImage as kata-agent calls it. Returns the manifest digest; raises ttrpc.Refusal."""
        request = ttrpc.field(1, image.encode()) + ttrpc.field(2, self.bundle(name).encode())
        with ttrpc.Client(("127.0.0.1", self.ports[SERVICE]), timeout) as client:
            return ttrpc.fields(client.call("api.ImagePullService", "PullImage", request, timeout))[1].decode()


def main() -> int:
    """A guest to look around in: the console is this terminal, Ctrl-A X ends it."""
    from conftest import Machine, find_kernels
    kernels, missing = find_kernels()
    if not kernels:
        print("\n".join(missing), file=sys.stderr)
        return 1
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    kernel = next(kernel for kernel in kernels if wanted in kernel.release)
    with tempfile.TemporaryDirectory(prefix="gp-guest-") as folder:
        guest = Guest(Machine(kernel, pathlib.Path(folder)), pathlib.Path(folder) / "g", disks={"store": "4G", "plain": "1G"})
        guest.ports = {AGENT: free_port(), SERVICE: free_port()}
        return subprocess.call(guest.command(["guest.shell"], ["-serial", "mon:stdio"]))


if __name__ == "__main__":
    sys.exit(main())
