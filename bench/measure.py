"""What one run costs: wall clock, CPU of all its processes, and (in a run of its own, because looking costs time) the peak of its memory."""

import dataclasses
import os
import pathlib
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Cost:
    """Seconds, and MB (0: not measured)."""

    wall: float
    cpu: float
    peak: float = 0

    def __add__(self, other):
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak))


def cpu_of(pid: int) -> float:
    """User and system time of a running process and of those children that it has waited for."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICK


def children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            found.setdefault(parent, []).append(int(name))
    return found


def tree(pids: list[int]) -> list[int]:
    below, todo, all_children = [], list(pids), children()
    while todo:
        pid = todo.pop()
        below.append(pid)
        todo += all_children.get(pid, [])
    return below


def pss(pid: int) -> int:
    """KiB; shared pages are counted in parts. 0 for a process that is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


class MemoryWatch(threading.Thread):
    """Looks at a tree of processes every few milliseconds; peak: the largest sum of their memory, in MB."""

    def __init__(self, pids: list[int], interval: float = 0.01):
        super().__init__(daemon=True)
        self.pids, self.interval, self.peak, self.ended = pids, interval, 0.0, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(self.interval):
            self.peak = max(self.peak, sum(pss(pid) for pid in tree(self.pids)) * 1024 / 1e6)

    def stop(self) -> float:
        self.ended.set()
        self.join()
        return self.peak


def run(command, *, daemon: int | None = None, memory: bool = False, environment: dict | None = None) -> Cost:
    """Runs `command` to its end, which must be a good one. daemon: a process that works for it, whose CPU and memory count too."""
    before = cpu_of(daemon) if daemon else 0
    started = time.monotonic()
    process = subprocess.Popen([os.fspath(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    watch = MemoryWatch([process.pid, *([daemon] if daemon else [])]) if memory else None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = status
    process.stdout.close()
    peak = watch.stop() if watch else 0
    if status:
        raise RuntimeError(f"{command} ended with {status}\n{output.decode(errors='replace')[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime + (cpu_of(daemon) - before if daemon else 0), peak)
