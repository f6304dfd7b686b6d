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
import threading
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
BOTH_WAYS = pytest.mark.parametrize("service", ["child", "unit"], indirect=True)

# What guest-pulld.service makes of root, as far as it goes without systemd: a mount namespace into which mounts come but from
# which none go, no network, no capability.
LOCKED_UP = ["unshare", "--mount", "--net", "--ipc", "--uts", "--propagation=slave", "setpriv", "--no-new-privs",
             "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: what \"make check\" runs of these tests")


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


class PullUnits(threading.Thread):
    """What guest-pull.socket and guest-pull@.service are: for each connection a process with it as standard input."""

    def __init__(self, path, command, log, environment):
        super().__init__(daemon=True)
        self.command, self.log, self.environment, self.started = command, log, environment, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(str(path))
        self.socket.listen(64)
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, open(self.log, "ab") as log:
                self.started.append(subprocess.Popen(self.command, stdin=connection, stdout=connection, stderr=log,
                                                     env=self.environment))
            for unit in self.started:
                unit.poll()

    def close(self):
        if self.socket.fileno() >= 0:
            self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
        for unit in self.started:
            try:
                unit.wait(15)
            except subprocess.TimeoutExpired:
                unit.kill()
                unit.wait()


class Service:
    def __init__(self, directory, way="child"):
        self.way = way  # a pull is the service's own child, or systemd's unit
        self.units = None
        self.pull_socket = directory / "pull.sock"
        if way == "unit":  # as systemd makes "/" at boot
            subprocess.run(["mount", "--bind", directory, directory], check=True)
            subprocess.run(["mount", "--make-shared", directory], check=True)
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

    def start(self, *options, upstream=True, program=FAKE, wait=True, environment=None, command=None, roots=True):
        command = [command or BUILD / "bin/guest-pulld", f"--listen=unix:{self.socket}", f"--status=unix:{self.status_socket}",
                   f"--guest-pull={program}", "--log-format=json", *([f"--bundle-root={self.bundles}"] if roots else []),
                   f"--upstream=unix:{self.upstream_socket}" if upstream else "--upstream=none", *options]
        command = [str(word) for word in command]
        environment = {**os.environ, **(environment or {}), "GP_TEST": str(self.directory)}
        if self.way == "unit":
            self.start_units([*command, "--serve-pull"], environment)
            command = [*LOCKED_UP, *command, f"--pull-socket=unix:{self.pull_socket}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment)
        self.started.append(self.process)
        if wait:
            wait_for(lambda: answers(self.socket) or self.process.poll() is not None, "guest-pulld listens")
            assert self.process.poll() is None, self.log_text()
        return self

    def start_units(self, command, environment):
        if not self.units:
            self.units = PullUnits(self.pull_socket, command, self.log, environment)

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
        return [line for line in found if line and (b"guest-pulld" not in line or b"--serve-pull" in line)]

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
        wait_for(lambda: not self.children(), "all pullers, and the units around them, have ended")
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
        if self.units:
            self.units.close()
        for mount in reversed(mounts_below(self.directory)):
            subprocess.run(["umount", "-l", mount], check=False)
        if self.way == "unit":
            subprocess.run(["umount", "-l", self.directory], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def service(request):
    """Parametrized indirectly with "child" or "unit": see BOTH_WAYS."""
    made = Service(pathlib.Path(tempfile.mkdtemp(prefix="gp-service-")), getattr(request, "param", "child"))
    yield made
    try:
        if made.process and made.process.poll() is None:
            assert made.stop() == 0, made.log_text()  # a sanitizer says so here when something leaked
    finally:
        made.clean()
