"""Memory runs out, in every phase of a pull: a clear error or the puller's death, no half layer and no mount that stays, and the next pull into
the same bundle succeeds without repair. And never a yes that would have been a no.

GUEST_PULL_CASES=all tries many more points."""

import os
import random
import resource
import signal
import subprocess

import pytest

from lib import *
from test_workers import ASAN, LIARS

MANY = os.environ.get("GUEST_PULL_CASES") == "all"
SEED = int(os.environ.get("GUEST_PULL_SEED", random.SystemRandom().randrange(1 << 32)))
# GLib ends a program that gets no memory (SIGTRAP, SIGABRT); libraries without a check for it may do worse.
DEATHS = {-signal.SIGTRAP, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGKILL}
NO_START = 127  # of the dynamic loader: not even the libraries fit
CLEAR = {SPACE, SANDBOX, INTERNAL, LIMIT, NETWORK}
pytestmark = pytest.mark.skipif(ASAN, reason="the sanitizer has an allocator of its own")


class Shortage:
    """One image, pulled cold under some shortage, and what must be true afterwards."""

    def __init__(self, work, registry, key, other_key):
        self.work, self.registry = work, registry
        self.config = work / "config.toml"
        self.config.write_text(f'[guest_pull]\nruntime_dir = "{work}/run"\n')
        (work / "registries.d").mkdir()
        (work / "registries.d/d.yaml").write_text("default-docker:\n  use-sigstore-attachments: true\n")
        policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(key, "matchRepository")})
        self.options = ["--config", self.config, *work.options(policy=policy, registry=registry, registries_d=work / "registries.d")]
        self.image, self.name = self.push("good", key)
        _, self.bad_name = self.push("bad", other_key)

    def push(self, what, key):
        image = Image([Layer([Dir(f"d{i}") for i in range(5)] + [File(f"d{i % 5}/f{i}", os.urandom(500 + i)) for i in range(60)]),
                       Layer([File("big", os.urandom(400_000)), Whiteout("d0/f0"), Symlink("link", "d1")])])
        repository = f"{self.work.repository()}-{what}"
        name = image.push(self.registry, repository, "1")
        cosign_sign(self.registry, repository, image.digest, key)
        return image, name

    def start_anew(self):
        run("rm", "-rf", self.work.store, self.work.bundle)
        self.work.bundle  # noqa: B018 (makes the directory)

    def pull(self, name, wrapper=(), env=None, limits=None):
        """How it ended: the exit status (a signal's is negative) and what it said."""
        command = [*map(str, wrapper), str(GUEST_PULL), "pull", name, "--bundle", str(self.work.bundle), "--store", str(self.work.store),
                   "--allow-unencrypted-store", *map(str, self.options)]

        def limit():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for which, value in (limits or {}).items():
                resource.setrlimit(which, (value, value))
        done = subprocess.run(command, capture_output=True, env={**os.environ, **(env or {})}, preexec_fn=limit, timeout=120, check=False)
        return Result(command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def nothing_is_left(self):
        work = self.work
        assert not mounts_below(work.bundle) and not list(work.bundle.iterdir())
        assert not list(work.store.glob("staging/*")) and not list(work.store.glob("repo/refs/heads/making/*"))

    def check(self, done, what):
        """After a pull of the good image under `what`; `done` is how it ended."""
        work = self.work
        try:
            # Who cannot read a document says what the document is for, and why it cannot be read.
            assert done.status in {OK, *CLEAR, *DEATHS, NO_START} or "annot allocate memory" in done.message, done
            assert done.status != NO_START or "error while loading shared libraries" in done.stderr, done
            if done.status > 0:
                assert done.message, done
                self.nothing_is_left()
            elif done.status == OK:
                work.umount()
            again = self.pull(self.name)
            assert again.status == OK, again
            assert len(list((work.rootfs / "d1").iterdir())) == 12 and not (work.rootfs / "d0/f0").exists()
            assert len(mounts_below(work.bundle)) == 1 and not list((work / "run/mounting").iterdir())
            run(GUEST_PULL, "umount", work.bundle, "--config", self.config)
            self.nothing_is_left_but_files()
            assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]
            run("ostree", "fsck", "--quiet", f"--repo={work.store}/repo")
        except BaseException:
            print(f"seed {SEED}: {what}: {done}")
            raise

    def nothing_is_left_but_files(self):
        work = self.work
        assert not mounts_below(work)
        assert not list(work.store.glob("staging/*")) and not list(work.store.glob("repo/refs/heads/making/*"))


@pytest.fixture
def shortage(work, registry, cosign_key, other_cosign_key):
    return Shortage(work, registry, cosign_key, other_cosign_key)


@pytest.fixture(scope="module")
def preloaded(session_folder):
    library = session_folder / "no_memory.so"
    run("cc", "-O1", "-shared", "-fPIC", "-o", library, LIARS / "no_memory.c")
    return library


def names(ends):
    return ", ".join(f"{count} times {'status ' + str(end) if end >= 0 else signal.Signals(-end).name}"
                     for end, count in sorted(((end, ends.count(end)) for end in set(ends)), reverse=True))


def spread(total, count):
    """`count` numbers of 1…total, one at random in each of as many equal parts."""
    chosen = random.Random(SEED)
    return [1 + int(total * (i + chosen.random()) / count) for i in range(count)]


def allocations(shortage, preloaded, name):
    note = shortage.work / "count"
    shortage.pull(name, env={"LD_PRELOAD": str(preloaded), "NO_MEMORY_COUNT": str(note)})
    shortage.work.umount(check=OK if mounts_below(shortage.work.bundle) else NOT_FOUND)
    return int(note.read_text())


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_allocations_that_fail(shortage, preloaded, capsys, for_good):
    total = allocations(shortage, preloaded, shortage.name)
    env = {"LD_PRELOAD": str(preloaded), **({"NO_MEMORY_FOR_GOOD": "1"} if for_good else {})}
    ends = []
    for number in spread(total, 300 if MANY else 12):
        shortage.start_anew()
        done = shortage.pull(shortage.name, env={**env, "NO_MEMORY_AT": str(number)})
        shortage.check(done, f"allocation {number} of {total} failed")
        ends.append(done.status)
    with capsys.disabled():
        print(f"\n{len(ends)} of {total} allocations failed (seed {SEED}): {names(ends)}")


def test_allocations_that_fail_make_no_yes_of_a_no(shortage, preloaded, capsys):
    """An image that the policy rejects, whatever allocation fails."""
    total = allocations(shortage, preloaded, shortage.bad_name)
    ends = []
    for number in spread(total, 1000 if MANY else 60):
        done = shortage.pull(shortage.bad_name, env={"LD_PRELOAD": str(preloaded), "NO_MEMORY_AT": str(number)})
        assert done.status != OK and not mounts_below(shortage.work.bundle), (number, done)
        assert not list(shortage.work.store.glob("layers/*"))
        ends.append(done.status)
    with capsys.disabled():
        print(f"\n{len(ends)} of {total} allocations failed while a bad image was refused (seed {SEED}): {names(ends)}")


def test_address_space_that_ends(shortage, capsys):
    """From too little to start with to enough: for puller and workers alike, which inherit the limit."""
    ends, size = [], 8 << 20
    while not ends or ends[-1] != OK:
        shortage.start_anew()
        done = shortage.pull(shortage.name, limits={resource.RLIMIT_AS: size})
        shortage.check(done, f"{size} bytes of address space")
        ends.append(done.status)
        size += (4 if MANY else 16) << 20
        assert size < 4 << 30
    with capsys.disabled():
        print(f"\n{len(ends)} limits of address space up to {size >> 20} MiB: {names(ends)}")
