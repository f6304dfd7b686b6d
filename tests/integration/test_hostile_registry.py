"""The registry is hostile or broken: each pull ends as it should, in time, in little memory, and leaves nothing (hostile_registry.py has the cases)."""

import concurrent.futures
import os
import pathlib
import random
import subprocess
import sys
import time
import types

import pytest

import lib
from hostile_registry import CASES, SIZE, World
from lib import ASAN, OK, FakeRegistry, File, GUEST_PULL, Image, Layer, Result, mounts_below, unmount_below, write_policy

AT_ONCE = 12  # most of the time is spent waiting
MEMORY = 64 * 1024  # KiB


def make_image() -> Image:
    """One layer of exactly SIZE bytes, which nothing compresses."""
    return Image([Layer([File("data", random.Random(1).randbytes(SIZE - 10240))], "none")])


# Starts the rest of its arguments, waits, and writes status and peak memory (KiB) to the file named first. A child inherits the peak of what
# it was forked from, and the tests' own process is large by now.
MEASURE = """import os, sys
pid = os.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
open(sys.argv[1], "w").write(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}")
"""


def run(folder: pathlib.Path, command) -> tuple[Result, float, int]:
    """How it ended, after how many seconds, and the most memory that it or a worker of its had (KiB)."""
    start = time.monotonic()
    note = folder / "measured"
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, note, *command], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    seconds = time.monotonic() - start
    status, memory = map(int, note.read_text().split())
    result = Result([str(part) for part in command], status, done.stdout.decode(), done.stderr.decode(errors="replace"))
    return result, seconds, memory


def play(case, folder: pathlib.Path, image: Image):
    """Runs one case; what came of it."""
    folder.mkdir()
    (folder / "bundle").mkdir()
    with FakeRegistry() as fake:
        world = World(fake, image, "hostile/image")
        try:
            case.script(world)
            name = f"{fake.host}/{world.repository}@{image.digest}" if case.by_digest else world.name
            policy = write_policy(folder / "policy.json", {fake.host: lib.ACCEPT_ANYTHING})
            options = ["--authfile", fake.authfile(folder / "auth.json")] if fake.auth else []
            result, seconds, memory = run(folder, [GUEST_PULL, "pull", name, "--bundle", folder / "bundle", "--store", folder / "store", "--json",
                "--allow-unencrypted-store", "--policy", policy, "--plain-http", fake.host, "--timeout", str(case.timeout),
                *world.options, *options, *case.options])
            found = types.SimpleNamespace(result=result, seconds=seconds, memory=memory, world=world, folder=folder,
                                          mounts=mounts_below(folder))
        finally:
            world.stop()
            unmount_below(folder)
    return found


@pytest.fixture(scope="module")
def played(request, session_folder):
    """All cases that were asked for, several at once."""
    wanted = {item.callspec.params["case"].name for item in request.session.items if item.module is request.module and hasattr(item, "callspec")
              and "case" in item.callspec.params}
    folder, image = session_folder / "hostile-registry", make_image()
    folder.mkdir()
    assert len(image.layers[0].blob) == SIZE
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        cases = sorted((case for case in CASES if case.name in wanted), key=lambda case: -case.timeout)
        yield {case.name: pool.submit(play, case, folder / f"case{i}", image) for i, case in enumerate(cases)}


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_case(played, case):
    found = played[case.name].result()
    assert found.result.status == case.status and case.words in found.result.message, found.result
    assert found.seconds < case.seconds
    assert ASAN or found.memory < MEMORY
    if case.after:
        case.after(found.world)
    if case.status == OK:
        assert found.result.json["manifestDigest"] == found.world.image.digest
        return
    assert not found.mounts and not (found.folder / "bundle/rootfs").exists() and not (found.folder / "bundle/config.json").exists()
    for left in ("staging", "layers"):
        assert not (found.folder / "store" / left).exists() or not os.listdir(found.folder / "store" / left), left


def test_every_case_has_a_name_of_its_own():
    assert len({case.name for case in CASES}) == len(CASES) >= 60
