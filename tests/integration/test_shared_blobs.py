"""A blob directory of a host that does not answer: the worker that reads it hangs, the pull does not. And that worker itself: what it is told,
what it can do, and what comes of one that lies."""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

import pytest

from lib import *
import fuse
from settings import write_config

WORKERS = BUILD / "libexec/guest-pull"
LIARS = pathlib.Path(__file__).parent / "liars"
ASAN = b"__asan_init" in (BUILD / "lib/base.a").read_bytes()


@pytest.fixture
def place(work, fake_registry):
    """An image in the registry (.name) and in a directory that the host shares (.tree); pull(directory) uses it."""
    image = Image([Layer([File("hello", "hi")]), Layer([File("big", os.urandom(600_000))], "none")])
    place = type("Place", (), {})()
    place.registry, place.image, place.name, place.tree = fake_registry, image, fake_registry.add(image, "app", "1"), \
        work / "tree"
    place.tree.mkdir()
    image.write_layout(place.tree, "latest")
    place.big = image.layers[1].digest.removeprefix("sha256:")
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})

    def pull(directory, *more, number=0, **options):
        (work / f"bundle{number}").mkdir()
        config = write_config(work / f"config{number}.toml", {}, {"blob_directories": [os.fspath(directory)]})
        return work.pull(place.name, "--config", config, *more, policy=policy, registry=fake_registry,
                         bundle=work / f"bundle{number}", store=work / f"store{number}", **options)

    place.pull = pull
    return place


def workers_left(work) -> list[int]:
    """guest-pull-blobs processes of this test that are still there."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
            state = (entry.parent / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"guest-pull-blobs" in command and os.fsencode(work) in command and state != "Z":
            found.append(int(entry.parent.name))
    return found


def has_been_killed(pid: int) -> bool:
    """SIGKILL is there, and the kernel does not act upon it yet."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("SigPnd", "ShdPnd")) and int(line.split()[1], 16) & 1 << (signal.SIGKILL - 1):
            return True
    return False


@pytest.fixture
def shared(work, place):
    """shared(behave, number): the tree through a filesystem that behaves so. Skips, aloud, without FUSE."""
    mounts = []

    def mount(behave, number=0):
        point = work / f"host{number}"
        point.mkdir()
        try:
            mounts.append(fuse.Fuse(point, place.tree, behave))
        except fuse.FuseMissing as reason:
            pytest.skip(f"no FUSE here: {reason}")
        return point

    yield mount
    for each in mounts:
        each.stop()
    end = time.monotonic() + 10
    while workers_left(work) and time.monotonic() < end:
        time.sleep(0.1)
    assert workers_left(work) == [], "what hung is gone with the host"


def test_a_filesystem_that_answers_is_one_like_others(work, place, shared):
    done = place.pull(shared(lambda operation, name: None))
    assert done.json["bytes"]["downloaded"] == 0 and done.json["warnings"] == [] and workers_left(work) == []


# what the host does with the big layer's file: (operation, behaviour), and what the warning says
SILENCES = {
    "read": ("read", "hang", "the host does not answer"),
    "lookup": ("lookup", "hang", "the host does not answer"),
    "open": ("open", "hang", "the host does not answer"),
    "drip": ("read", "drip", "the host does not answer"),
    "error": ("read", "eio", "reading the blob: Input/output error"),
}


def test_what_the_host_does_not_answer_comes_from_the_registry(work, place, shared, fake_registry):
    """All of them at once, because each takes as long as the host is given."""
    import concurrent.futures
    points = {}
    for number, (name, (operation, what, _)) in enumerate(SILENCES.items()):
        points[name] = shared(lambda asked, file, operation=operation, what=what: what if (asked, file) == (operation, place.big) else None, number)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(SILENCES)) as pool:
        done = list(pool.map(lambda pair: place.pull(pair[1], number=pair[0]), enumerate(points.values())))
    assert time.monotonic() - started < 40
    for each, (_, _, words) in zip(done, SILENCES.values()):
        assert each.json["manifestDigest"] == place.image.digest
        assert len(each.json["warnings"]) == 1, each.json["warnings"]
        warning = each.json["warnings"][0]
        assert words in warning and "blob directory" in warning and place.big in warning, warning
        assert each.json["bytes"]["downloaded"] > 600_000 > each.json["bytes"]["local"] > 0
    assert len([path for path in fake_registry.paths() if place.big in path]) == len(SILENCES)
    for pid in workers_left(work):  # only what the kernel itself does not let die
        assert has_been_killed(pid), pathlib.Path(f"/proc/{pid}/status").read_text()


def test_a_directory_that_stopped_answering_is_asked_no_more(work, fake_registry, shared, place):
    """Four layers, one at a time: not four times the patience."""
    image = Image([Layer([File(f"f{i}", os.urandom(20_000 + i))]) for i in range(4)])
    place.name, place.image = fake_registry.add(image, "four", "1"), image
    image.write_layout(place.tree, "four")
    layers = {layer.digest.removeprefix("sha256:") for layer in image.layers}
    point = shared(lambda operation, name: "hang" if operation == "read" and name in layers else None)
    started = time.monotonic()
    done = place.pull(point, "--max-parallel", "1")
    assert 9 < time.monotonic() - started < 25 and len(done.json["warnings"]) == 1
    assert done.json["bytes"]["local"] == 0


@pytest.mark.parametrize("operation", ["read", "lookup"])
def test_the_deadline_and_signals_end_a_pull_whose_host_is_silent(work, place, shared, operation):
    point = shared(lambda asked, name: "hang" if (asked, name) == (operation, place.big) else None)
    started = time.monotonic()
    refused = place.pull(point, "--timeout", "2", check=CANCELLED)
    assert "not done within 2 seconds" in refused.message and 1.5 < time.monotonic() - started < 5
    assert mounts_below(work / "bundle0") == [] and all(has_been_killed(pid) for pid in workers_left(work))


def test_killing_the_puller_takes_the_worker_along(work, place, shared):
    """As far as the kernel lets it die."""
    point = shared(lambda asked, name: "hang" if (asked, name) == ("read", place.big) else None)
    (work / "bundle0").mkdir()
    config = write_config(work / "config.toml", {}, {"blob_directories": [os.fspath(point)]})
    puller = subprocess.Popen([GUEST_PULL, "pull", place.name, "--bundle", work / "bundle0", "--store", work.store, "--allow-unencrypted-store",
                               "--config", config, "--policy", work / "policy.json", "--plain-http", place.name.split("/")[0]],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not workers_left(work) and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.5)
        assert len(workers_left(work)) == 1
    finally:
        puller.kill()
    assert puller.wait(5) == -signal.SIGKILL
    time.sleep(0.2)
    assert all(has_been_killed(pid) for pid in workers_left(work))


# ---- the worker, from outside, while it waits for the host

def test_the_worker_has_nothing_but_its_file(work, place, shared):
    point = shared(lambda asked, name: "hang" if (asked, name) == ("read", place.big) else None)
    (work / "bundle0").mkdir()
    config = write_config(work / "config.toml", {}, {"blob_directories": [os.fspath(point)]})
    puller = subprocess.Popen([GUEST_PULL, "pull", place.name, "--bundle", work / "bundle0", "--store", work.store, "--allow-unencrypted-store",
                               "--config", config, "--policy", work / "policy.json", "--plain-http", place.name.split("/")[0]],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        workers = []
        while time.monotonic() < end and not (workers and "Seccomp:\t2" in pathlib.Path(f"/proc/{workers[0]}/status").read_text()):
            time.sleep(0.05)
            workers = [pid for pid in workers_left(work) if place.big in pathlib.Path(f"/proc/{pid}/cmdline").read_text()]
        folder = pathlib.Path(f"/proc/{workers[0]}")
        status = dict(re.findall(r"^(\w+):\s*(.*)$", (folder / "status").read_text(), re.MULTILINE))
        assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4 and status["NoNewPrivs"] == "1"
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["Threads"] == "1"
        for name in ("mnt", "ipc", "uts", "net"):
            others = {os.readlink(f"/proc/{pid}/ns/{name}") for pid in (os.getpid(), puller.pid)}
            assert os.readlink(folder / "ns" / name) not in others, name
        # Not readlink() of the file itself: that would ask the host, too.
        assert len(os.listdir(folder / "fd")) == 6 and [os.readlink(folder / f"fd/{number}")[:5] for number in (3, 4)] == ["pipe:", "pipe:"]
        limits = (folder / "limits").read_text()
        assert re.search(r"Max open files\s+16\s+16", limits) and re.search(r"Max file size\s+0\s+0", limits)
        assert ASAN or re.search(rf"Max address space\s+{64 << 20}\s", limits)
        assert {word.split(b"=")[0] for word in (folder / "environ").read_bytes().rstrip(b"\0").split(b"\0")} <= \
            {b"PATH", b"LC_ALL", b"ASAN_OPTIONS", b"UBSAN_OPTIONS", b"LSAN_OPTIONS"}
    finally:
        puller.terminate()
        puller.wait(10)


def test_no_worker_is_started_without_a_directory(work, place):
    """Its absence is not noticed."""
    libexec = work / "libexec"
    libexec.mkdir()
    for name in ("fetch", "unpack"):
        (libexec / f"guest-pull-{name}").symlink_to(WORKERS / f"guest-pull-{name}")
    work.pull(place.name, policy=work / "policy.json", env={"GUEST_PULL_LIBEXEC": os.fspath(libexec)}, registry=place.registry)


# ---- one that lies

def frame(kind: int, payload: bytes = b"") -> str:
    return (struct.pack("<II", kind, len(payload)) + payload).hex()


READY, ABSENT, REFUSED = 1, 2, 3

# name: (what the liar does, what the warning says; None: there is none)
LIES = {
    "other bytes": ({"first": frame(READY), "body": "other", "ending": "exit"}, "the blob"),
    "too few": ({"first": frame(READY), "body": "short", "ending": "exit"}, "the file ended after 100 of 604160 bytes"),
    "too few, and silence": ({"first": frame(READY), "body": "short", "ending": "close"}, "the file ended after 100 of 604160 bytes"),
    "too few, with a reason": ({"first": frame(READY), "body": "short", "last": frame(REFUSED, b"a\x1b[2J"), "ending": "exit"}, "a\\x1b[2J"),
    "too many": ({"first": frame(READY), "body": "right", "repeat": 1000, "ending": "exit"}, None),
    "no end": ({"first": frame(READY), "body": "right", "ending": "hang"}, None),
    "death": ({"first": frame(READY), "body": "short", "ending": "kill"}, "the file ended after 100"),
    "death before it is ready": ({"first": "", "body": "none", "ending": "kill"}, "guest-pull-blobs died"),
    "half a frame": ({"first": frame(READY)[:-4], "body": "none", "ending": "hang"}, "guest-pull-blobs broke its protocol"),
    "a huge frame": ({"first": struct.pack("<II", 1, 1 << 31).hex(), "body": "none", "ending": "hang"}, "guest-pull-blobs broke its protocol"),
    "an unknown frame": ({"first": frame(9), "body": "none", "ending": "hang"}, "guest-pull-blobs broke its protocol: frame type 9"),
    "absent": ({"first": frame(ABSENT), "body": "none", "ending": "hang"}, None),
    "refused": ({"first": frame(REFUSED, b"no\nway"), "body": "none", "ending": "hang"}, "no\\x0away"),
    "silence": ({"first": "", "body": "none", "ending": "hang"}, "the host does not answer"),
    "ready and silence": ({"first": frame(READY), "body": "none", "ending": "hang"}, "the host does not answer"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_worker_that_lies(work, place, name):
    """What it gives is hashed, what it says is escaped, and the registry has the blob."""
    script, words = LIES[name]
    libexec = work / "libexec"
    libexec.mkdir()
    for worker in ("fetch", "unpack"):
        (libexec / f"guest-pull-{worker}").symlink_to(WORKERS / f"guest-pull-{worker}")
    (libexec / "guest-pull-blobs").write_bytes((LIARS / "blobs.py").read_bytes())
    (libexec / "guest-pull-blobs").chmod(0o755)
    right = place.image.layers[1].blob
    for file, data in {"right": right, "short": right[:100], "other": right[:-1] + b"x", "none": b""}.items():
        (work / file).write_bytes(data)
    (libexec / "blobs.json").write_text(json.dumps({**script, "body": os.fspath(work / script["body"])}))
    done = place.pull(work / "tree", "--max-parallel", "1", env={"GUEST_PULL_LIBEXEC": os.fspath(libexec)})
    assert done.json["manifestDigest"] == place.image.digest and (work / "bundle0/rootfs/hello").read_text() == "hi"
    about = [text for text in done.json["warnings"] if place.big in text or "does not answer" in text]
    assert any(words in text for text in about) if words else not about, done.json["warnings"]
    assert all(re.fullmatch(r"[\x20-\x7e…]+", text) for text in done.json["warnings"])
    assert workers_left(work) == []
