"""guest-pulld with a fake puller and peers over Debian's Go ttrpc, all in a temporary directory."""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent

# The registries, keys and directories of the integration tests serve here too.
_spec = importlib.util.spec_from_file_location("integration_conftest", HERE.parent / "integration/conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
session_folder, registry, registry_auth, work = (
    _fixtures.session_folder, _fixtures.registry, _fixtures.registry_auth, _fixtures.work)
cosign_key, other_cosign_key = _fixtures.cosign_key, _fixtures.other_cosign_key

BUILD = pathlib.Path(os.environ.get("BUILD", HERE.parent.parent / "build"))
PEER = BUILD / "tests/service/peer"
IDLE_KIB = 6 * 1024
FAKE = HERE / "fake-guest-pull"


def wait_for(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


def mounts_below(directory):
    with open("/proc/self/mountinfo") as lines:
        return [line.split()[4] for line in lines if line.split()[4].startswith(f"{directory}/")]


def answers(path):
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
            return True
        except OSError:
            return False


class Service:
    def __init__(self, directory):
        self.directory = directory
        self.socket = directory / "cdh.sock"
        self.status_socket = directory / "status.sock"
        self.upstream_socket = directory / "upstream.sock"
        self.bundles = directory / "bundles"
        self.bundles.mkdir()
        self.log = directory / "log"
        self.started = []
        self.process = None
        self.mark = f"GP_TEST={directory}"

    def start(self, *options, upstream=True, program=FAKE, wait=True, environment=None, command=None):
        command = [command or BUILD / "bin/guest-pulld", f"--listen=unix:{self.socket}", f"--status=unix:{self.status_socket}",
                   f"--guest-pull={program}", f"--bundle-root={self.bundles}", "--log-format=json",
                   f"--upstream=unix:{self.upstream_socket}" if upstream else "--upstream=none", *options]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in command], stderr=log,
                                            env={**os.environ, **(environment or {}), "GP_TEST": str(self.directory)})
        self.started.append(self.process)
        if wait:
            wait_for(lambda: answers(self.socket) or self.process.poll() is not None, "guest-pulld listens")
            assert self.process.poll() is None, self.log_text()
        return self

    def start_hub(self, *options, path=None):
        path = path or self.upstream_socket
        hub = subprocess.Popen([PEER, "hub", f"-listen={path}", *options])
        self.started.append(hub)
        wait_for(lambda: answers(path), "the hub listens")
        return hub

    def bundle(self, name="c1"):
        path = self.bundles / name
        path.mkdir()
        return path

    def peer(self, command, *arguments, timeout=120):
        run = subprocess.run([PEER, command, f"-socket={self.socket}", *map(str, arguments)], capture_output=True,
                             text=True, timeout=timeout)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def peer_start(self, command, *arguments):
        peer = subprocess.Popen([PEER, command, f"-socket={self.socket}", *map(str, arguments)], text=True,
                                stdout=subprocess.PIPE)
        self.started.append(peer)
        return peer

    def pull(self, image, bundle, timeout="60s"):
        return self.peer("pull", f"-timeout={timeout}", "--", image, bundle)

    def call(self, service, method, payload=b""):
        return self.peer("call", service, method, payload.hex())

    def status(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.status_socket))
            client.shutdown(socket.SHUT_WR)
            return json.loads(b"".join(iter(lambda: client.recv(65536), b"")))

    def log_text(self):
        return self.log.read_text()

    def children(self):
        """Processes that guest-pulld started, and theirs, whatever they have become: they carry a mark in their environment."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
        return [line for line in found if line and b"guest-pulld" not in line]

    def memory(self):
        """Private memory in KiB."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))

    def descriptors(self):
        """How many it has when nobody is connected."""
        wait_for(lambda: self.status()["server"]["connections"] == 0, "connections are gone")
        time.sleep(0.1)
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def assert_small(self, limit=IDLE_KIB):
        if "asan" not in str(BUILD):  # a sanitizer's own memory says nothing
            assert self.memory() <= limit

    def nothing_left(self):
        assert mounts_below(self.bundles) == []
        assert self.children() == []
        assert [str(p) for p in self.bundles.rglob("rootfs")] == []

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def clean(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(6)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for mount in reversed(mounts_below(self.directory)):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def service():
    made = Service(pathlib.Path(tempfile.mkdtemp(prefix="gp-service-")))
    yield made
    try:
        if made.process and made.process.poll() is None:
            assert made.stop() == 0, made.log_text()  # a sanitizer says so here when something leaked
    finally:
        made.clean()
