"""Layers that come faster than they are unpacked wait on the server's side, not in the fetch worker's memory."""

import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import pytest

from lib import *
from test_registries import nginx  # noqa: F401 (a fixture)

ASAN = b"__asan_init" in (BUILD / "lib/base.a").read_bytes()


def children(pid: int) -> dict[str, list[int]]:
    found = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[1]) == pid:
            found.setdefault(text[text.index("(") + 1:text.rindex(")")], []).append(int(entry.parent.name))
    return found


def peak(pid: int) -> int:
    """MiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) // 1024


@pytest.mark.skipif(ASAN, reason="AddressSanitizer's own memory")
@pytest.mark.parametrize("over", ["HTTP/1.1", "HTTP/2 and TLS"])
def test_layers_that_nobody_reads_wait_outside(work, registry, nginx, over):  # noqa: F811
    image = Image([Layer([File("data", random.Random(i).randbytes(40_000_000))], "none") for i in range(4)])
    image.push(registry, work.repository(), "1")
    host, trusted, log = nginx
    host, options = (registry.host, ["--plain-http", registry.host]) if over == "HTTP/1.1" else (host, ["--cert-dir", trusted])
    policy = write_policy(work / "policy.json", {host: ACCEPT_ANYTHING})
    process = subprocess.Popen([GUEST_PULL, "pull", f"{host}/{work.repository()}:1", *options, "--policy", policy, "--bundle", work.bundle,
                                "--store", work.store, "--allow-unencrypted-store", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    stopped, most = set(), 0
    try:
        begin = time.monotonic()
        while process.poll() is None and time.monotonic() < begin + 120:
            found = children(process.pid)
            if len(stopped) < 4:
                for pid in set(found.get("guest-pull-unpa", [])) - stopped:
                    os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)
                begin = time.monotonic()
            elif time.monotonic() > begin + 2:
                for pid in found.get("guest-pull-unpa", []):
                    with contextlib.suppress(ProcessLookupError):  # it has just ended
                        os.kill(pid, signal.SIGCONT)
            for pid in found.get("guest-pull-fetc", []):
                try:
                    most = max(most, peak(pid))
                except (OSError, AttributeError):
                    pass  # it has just ended
            time.sleep(0.05)
        assert process.wait(5) == OK and len(stopped) == 4
    finally:
        process.kill()
    assert 0 < most < 32, most
    if over != "HTTP/1.1":  # documents still share one connection
        assert any(line.startswith("HTTP/2.0 200 /v2/") and "/manifests/" in line for line in log())
