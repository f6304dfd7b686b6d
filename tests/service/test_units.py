"""Pulls in units of their own: what happens when one side of that connection dies, and how far the service is locked up."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BUILD, FAKE, answers, mounts_below, wait_for

UNITS = pathlib.Path(__file__).resolve().parent.parent.parent / "packaging/systemd"
pytestmark = pytest.mark.quick
IN_UNITS = pytest.mark.parametrize("service", ["unit"], indirect=True)


def units(service):
    """Process ids of the units at work."""
    return [unit.pid for unit in service.units.started if unit.poll() is None]


def at_work(service, name="c1"):
    client = service.peer_start("pull", "example.com/hang", service.bundle(name))
    wait_for(lambda: mounts_below(service.bundles), "the pull is at work")
    (unit,) = units(service)
    return client, unit, service.status()["pulls"]["inFlight"][0]["pid"]


@IN_UNITS
def test_kill_9_of_the_unit(service):
    service.start()
    client, unit, puller = at_work(service)
    os.kill(unit, signal.SIGKILL)
    os.killpg(puller, signal.SIGKILL)  # as systemd does when a unit's main process is gone; the fake ignores SIGTERM
    wait_for(lambda: not mounts_below(service.bundles), "what it left is taken back", 15)
    out, _ = client.communicate(timeout=20)
    assert "the unit of this pull ended without an answer (sandbox). See journalctl -u 'guest-pull@*'." in out
    wait_for(lambda: not service.status()["pulls"]["inFlight"], "it is concluded")
    assert service.pull("example.com/ok", service.bundle("c2"))["code"] == 0


@IN_UNITS
def test_a_puller_whose_unit_died_is_ended_before_the_undo(service):
    service.start()
    client, unit, puller = at_work(service)
    start = time.monotonic()
    os.kill(unit, signal.SIGKILL)  # the fake puller ignores the SIGTERM that this means for it
    assert '"code":13' in client.communicate(timeout=20)[0]
    assert time.monotonic() - start >= 2  # it had its grace
    service.nothing_left()


@IN_UNITS
def test_a_process_that_got_the_pullers_number_is_left_alone(service):
    service.start()
    stranger = subprocess.Popen(["sleep", "100"], env={"GUEST_PULL_REQUEST_ID": "r-10"}, process_group=0)
    service.started.append(stranger)
    bundle = service.bundle()
    undo = {"undo": str(bundle), "hadConfig": False, "request": "r-1", "pid": stranger.pid}
    assert ask(service, undo) == [{"undone": True}]
    assert stranger.poll() is None


@IN_UNITS
def test_kill_9_of_the_service_undoes_what_its_units_did(service):
    service.start()
    at_work(service)
    service.process.kill()
    service.process.wait()
    wait_for(lambda: not mounts_below(service.bundles), "the mount goes")
    service.nothing_left()


@IN_UNITS
def test_nobody_starts_units(service):
    service.start()
    service.units.close()
    answer = service.pull("example.com/ok", service.bundle())
    assert answer["code"] == 13
    assert f"nobody listens at {service.pull_socket} to start the unit of a pull: Connection refused (not-found). " \
           "Start guest-pull.socket." in answer["message"]
    service.nothing_left()


def ask(service, message):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(20)
        client.connect(str(service.pull_socket))
        client.send(message if isinstance(message, bytes) else json.dumps(message).encode())
        return [json.loads(part) for part in iter(lambda: client.recv(200_000), b"")]


def request(bundle, **more):
    return {"pull": "example.com/ok", "bundle": str(bundle), "request": "r-1", "seconds": 20, **more}


@IN_UNITS
def test_a_unit_by_itself(service):
    service.start()
    pid, digest = ask(service, request(service.bundle()))
    assert pid["pid"] > 0 and digest == {"digest": f"sha256:{7:064d}"}
    assert ask(service, {"undo": f"{service.bundles}/c1", "hadConfig": False, "request": "r-1", "pid": 0}) == [{"undone": True}]
    service.nothing_left()
    assert os.listdir(service.bundles / "c1") == []


@IN_UNITS
@pytest.mark.parametrize("message, words", [
    (b"{", "a message"), (b"[1]", "a message that is no object"), (b"x" * 200_000, "a message of 200000 bytes"),
    (b'{"pull":"a"}', "bundle"), (b'{"undo":"/etc"}', "hadConfig"),
    ({"undo": "/etc/x", "hadConfig": False, "request": "r", "pid": 0}, "is not below an allowed directory"),
    (request("/etc/x"), "is not below an allowed directory"), (request("/etc/x", config="/tmp/evil.toml"), "config"),
], ids=lambda value: "words" if isinstance(value, str) else "message")
def test_a_request_decides_nothing_but_image_and_bundle(service, message, words):
    service.start()
    (answer,) = ask(service, message)
    assert words in answer["error"]["message"], answer


def test_standard_input_must_be_the_connection():
    for stdin in (subprocess.DEVNULL, subprocess.PIPE):
        run = subprocess.run([BUILD / "bin/guest-pulld", "--serve-pull"], stdin=stdin, capture_output=True, text=True)
        assert run.returncode == 2 and "standard input is no connection of messages" in run.stderr


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is missing: not tested here")
def test_with_systemds_own_socket_activation(service):
    activate = subprocess.Popen(
        ["systemd-socket-activate", "--seqpacket", "--accept", "--inetd", f"--listen={service.pull_socket}",
         *(f"--setenv={name}" for name in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS") if name in os.environ),
         BUILD / "bin/guest-pulld", "--serve-pull", f"--guest-pull={FAKE}", f"--bundle-root={service.bundles}"],
        stderr=subprocess.DEVNULL)
    service.started.append(activate)
    wait_for(service.pull_socket.exists, "systemd-socket-activate listens")
    service.start(f"--pull-socket=unix:{service.pull_socket}")
    assert service.pull("example.com/ok", service.bundle())["code"] == 0
    assert "Denied by policy" in service.pull("example.com/policy", service.bundle("c2"))["message"]
    assert mounts_below(service.bundles) == [f"{service.bundles}/c1/rootfs"]


def exposure(unit):
    run = subprocess.run(["systemd-analyze", "security", "--offline=true", UNITS / unit], capture_output=True, text=True)
    return float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", run.stdout)[1])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is missing: hardening not scored here")
def test_hardening():
    assert exposure("guest-pulld.service") <= 1.0
    assert exposure("guest-pull@.service") <= 6.0  # it mounts for others to see, so it cannot have a mount namespace


def test_the_units_fit_each_other():
    texts = {name: (UNITS / name).read_text() for name in ("guest-pulld.service", "guest-pull.socket", "guest-pull@.service")}
    listen = re.search(r"^ListenSequentialPacket=(.*)$", texts["guest-pull.socket"], re.M)[1]
    assert f"--pull-socket unix://{listen}" in texts["guest-pulld.service"]
    assert "Accept=yes" in texts["guest-pull.socket"]  # so the unit's name is the socket's, with @
    for private in ("Private", "ProtectSystem", "ProtectHome", "ProtectProc", "ProtectKernel", "Paths="):
        assert not re.search(rf"^[^#]*{private}", texts["guest-pull@.service"], re.M), private
