"""SIGKILL of the puller and of each worker at random moments of cold pulls. After each: the workers are gone, the next pull into the
same bundle succeeds without repair, our fsck and Debian's are clean, and nothing mounted or half made is left.

GUEST_PULL_KILLS says how many (make check-crash: 300), GUEST_PULL_SEED repeats a run."""

import os
import pathlib
import random
import subprocess
import time

import pytest

from lib import *

KILLS = int(os.environ.get("GUEST_PULL_KILLS", "3"))
SEED = int(os.environ.get("GUEST_PULL_SEED", random.SystemRandom().randrange(1 << 32)))
VICTIMS = ("guest-pull", "guest-pull-fetch", "guest-pull-unpack")


def the_image():
    """Four layers with all kinds of entries: long enough to be killed in the middle of each phase."""
    rich = [Dir(f"d{i}") for i in range(20)] + [File(f"d{i % 20}/f{i}", os.urandom(500 + i), mtime=f"{i}.5") for i in range(200)]
    return Image([Layer(rich), Layer([File("big", os.urandom(800_000)), File("zeros", bytes(2_000_000))]),
                  Layer([Whiteout("d0/f0"), Symlink("link", "d1"), Hardlink("hard", "twice"), File("twice", "same")][::-1]),
                  Layer([File(f"d1/g{i}", "the same content") for i in range(100)])])


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            pass
    return found


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().rsplit("/", 1)[-1]
    except OSError:
        return ""


def gone(pids):
    """Waits until none of them lives."""
    deadline = time.monotonic() + 10
    while alive := [pid for pid in pids if name_of(pid) in VICTIMS]:
        assert time.monotonic() < deadline, f"still there: {[(pid, name_of(pid)) for pid in alive]}"
        time.sleep(0.01)


class Crash:
    def __init__(self, work, registry):
        self.work, self.random = work, random.Random(SEED)
        self.image = the_image()
        self.name = self.image.push(registry, work.repository(), "1")
        self.config = work / "config.toml"
        self.config.write_text(f'[guest_pull]\nruntime_dir = "{work}/run"\n')
        self.options = ["--config", self.config, *work.options(policy=write_policy(
            work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}}), registry=registry)]
        self.killed = dict.fromkeys(VICTIMS, 0)
        self.missed = self.mounted = 0

    def start(self):
        return subprocess.Popen([GUEST_PULL, "pull", self.name, "--bundle", self.work.bundle, "--store", self.work.store,
                                 "--allow-unencrypted-store", *self.options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def kill(self, victim, delay):
        """One cold pull with a kill `delay` seconds after the victim's first sight; True if it was still there to be killed."""
        puller, start = self.start(), time.monotonic()
        deadline, seen, candidates = None, set(), []
        while puller.poll() is None and not (deadline and time.monotonic() >= deadline):
            seen.update(children(puller.pid))
            candidates = [puller.pid] if victim == "guest-pull" else [pid for pid in seen if name_of(pid) == victim]
            if candidates and not deadline:
                deadline = time.monotonic() + delay
            time.sleep(0.001)
        if puller.poll() is not None or not candidates:
            puller.wait(60)
            self.duration = (self.duration + time.monotonic() - start) / 2  # other work on the machine comes and goes
            self.missed += 1
            self.clear()
            return False
        try:
            os.kill(self.random.choice(candidates), 9)
        except ProcessLookupError:
            candidates = []  # it was faster by a hair
        puller.wait(60)
        gone(seen)
        if not candidates:
            self.missed += 1
            self.clear()
            return False
        if victim != "guest-pull":
            self.after_a_worker(puller)
        elif not puller.stdout.read():
            self.mounted += bool(mounts_below(self.work.bundle))
        return True

    def clear(self):
        if mounts_below(self.work.bundle):
            guest_pull("umount", self.work.bundle, "--config", self.config)

    def after_a_worker(self, puller):
        """The puller lives on and clears up by itself; it may have had all that it wanted of the worker."""
        text = puller.stdout.read().decode()
        assert puller.returncode in (OK, SANDBOX, NETWORK), text
        if puller.returncode:
            assert not mounts_below(self.work.bundle) and not (self.work.bundle / "rootfs").exists()
            assert not list((self.work.store / "staging").glob("*")), text

    def check(self):
        """The next pull, into the same bundle; what is there then, and what is not."""
        if self.complete():
            guest_pull("umount", self.work.bundle, "--config", self.config)
        done = self.work.pull(self.name, *self.options)
        assert done.json["manifestDigest"] == self.image.digest
        assert len(mounts_below(self.work.bundle)) == 1
        assert (self.work.rootfs / "hard").stat().st_ino == (self.work.rootfs / "twice").stat().st_ino
        assert not (self.work.rootfs / "d0/f0").exists() and len(list((self.work.rootfs / "d1").iterdir())) == 110
        assert sorted(p.name for p in self.work.bundle.iterdir()) == ["config.json", "rootfs"]
        assert not list((self.work.store / "staging").iterdir())
        assert not list((self.work.store / "repo/refs/heads/making").glob("*"))
        assert not list((self.work / "run" / "mounting").iterdir())
        assert guest_pull("fsck", "--store", self.work.store, "--json").json["clean"]
        run("ostree", "fsck", "--quiet", f"--repo={self.work.store}/repo")
        guest_pull("umount", self.work.bundle, "--config", self.config)
        assert not mounts_below(self.work)

    def complete(self):
        """A pull that was killed after its answer has left a mount that is somebody's."""
        return mounts_below(self.work.bundle) and not list((self.work / "run" / "mounting").glob("*"))


def empty(work):
    run("rm", "-rf", work.store, work.bundle)
    work.bundle.mkdir(exist_ok=True)


def test_killed_at_random_moments(work, registry, capsys):
    crash = Crash(work, registry)
    start = time.monotonic()
    crash.start().wait(60)
    crash.duration = time.monotonic() - start
    guest_pull("umount", work.bundle, "--config", crash.config)
    while sum(crash.killed.values()) < KILLS:
        # The unpackers live for a part of the time only: the fewest so far is next, so that all get their share.
        victim = min(VICTIMS, key=crash.killed.get)
        delay = crash.random.uniform(0, crash.duration * (1 if victim == "guest-pull" else 0.6))
        empty(work)
        try:
            if crash.kill(victim, delay):
                crash.killed[victim] += 1
                crash.check()
        except BaseException:
            print(f"seed {SEED}, {crash.killed}: {victim} after {delay:.4f} of {crash.duration:.4f} s")
            raise
        assert crash.missed < 50 + 10 * KILLS
    with capsys.disabled():
        print(f"\nkilled {crash.killed} (seed {SEED}, {crash.missed} were faster, {crash.mounted} between mount and answer): "
              f"a cold pull takes {crash.duration:.2f} s")
