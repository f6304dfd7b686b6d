"""The real puller, its workers, the upstream and the clients killed with SIGKILL at random moments, while eight clients pull: the
service goes on, nothing is left, and the store is good."""

import os
import pathlib
import queue
import random
import re
import subprocess
import threading
import time

import pytest

import lib
from conftest import BOTH_WAYS, mounts_below, wait_for
from test_real import Real, kilobytes_of_tmpfs, policy_for

CLIENTS = 8


def images(registry, work, count):
    """Each with a layer of its own and two of six that others have too."""
    shared = [lib.Layer([lib.File(f"s{i}", os.urandom(150_000))]) for i in range(6)]
    return [lib.Image([shared[i % 6], shared[(i * 5 + 1) % 6], lib.Layer([lib.File("own", os.urandom(60_000))])]).push(
        registry, work.repository(), f"v{i}") for i in range(count)]


def descendants(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *descendants(child)]
    return found


def name_of(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


class Kills:
    """Who was killed, and how often."""

    def __init__(self, service, hub, seed):
        self.service, self.hub, self.random, self.count = service, hub, random.Random(seed), {}
        self.clients, self.over = {}, False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over:
            time.sleep(self.random.uniform(0.01, 0.12))
            try:
                getattr(self, self.random.choice(["puller", "fetch", "unpack", "unpack", "client", "upstream"]))()
            except (ProcessLookupError, FileNotFoundError, IndexError):
                pass  # it was faster

    def at_work(self):
        return [pull["pid"] for pull in self.service.status()["pulls"]["inFlight"] if pull["pid"] > 0]

    def kill(self, kind, pid):
        os.kill(pid, 9)
        self.count[kind] = self.count.get(kind, 0) + 1

    def puller(self):
        self.kill("puller", self.random.choice(self.at_work()))

    def worker(self, name):
        workers = [pid for puller in self.at_work() for pid in descendants(puller) if name_of(pid).startswith(name)]
        self.kill(name, self.random.choice(workers))

    def fetch(self):
        self.worker("guest-pull-fetc")

    def unpack(self):
        self.worker("guest-pull-unpa")

    def client(self):
        self.random.choice(list(self.clients.values())).kill()
        self.count["client"] = self.count.get("client", 0) + 1

    def upstream(self):
        if self.random.random() < 0.3:
            self.kill("upstream", self.hub.pid)
            self.hub.wait()
            self.hub = self.service.start_hub(f"-resources={self.service.directory}/resources")


def agent(service, kills, work, number, outcomes):
    """As kata-agent does: make the bundle, pull, use it, unmount, remove."""
    while True:
        try:
            image = work.get_nowait()
        except queue.Empty:
            return
        bundle = service.bundle(f"b{number}")
        client = service.peer_start("pull", image, bundle)
        kills.clients[number] = client
        out, _ = client.communicate(timeout=60)
        killed = client.returncode != 0
        if killed:  # the service undoes, unless it had just answered
            wait_for(lambda: not [pull for pull in service.status()["pulls"]["inFlight"] if pull["bundle"] == str(bundle)],
                     "the pull is cancelled", 30)
        succeeded = '"code":0' in out
        if succeeded:
            assert (bundle / "rootfs/own").stat().st_size == 60_000
        elif not killed:
            assert os.listdir(bundle) == [], out
        outcomes.append("killed" if killed else "pulled" if succeeded else "failed")
        subprocess.run(["umount", "-l", bundle / "rootfs"], stderr=subprocess.DEVNULL, check=False)
        lib.run("rm", "-rf", "--one-file-system", bundle)


def under_fire(service, work, registry, count, seed):
    todo = queue.Queue()
    for image in images(registry, work, count):
        todo.put(image)
    real = Real(service, work, registry, policy_for(work, registry, {"type": "insecureAcceptAnything"}))
    first = todo.queue[0]
    assert real.pull(first, "first")["code"] == 0
    lib.run("umount", service.bundles / "first/rootfs")
    lib.run("rm", "-rf", service.bundles / "first")
    before, tmpfs = service.descriptors(), kilobytes_of_tmpfs()
    hub = next(process for process in service.started if "hub" in process.args)
    kills, outcomes = Kills(service, hub, seed), []
    agents = [threading.Thread(target=agent, args=(service, kills, todo, number, outcomes)) for number in range(CLIENTS)]
    for thread in [*agents, kills.thread]:
        thread.start()
    for thread in agents:
        thread.join()
    kills.over = True
    kills.thread.join()
    print(f"{kills.count}, outcomes {({word: outcomes.count(word) for word in set(outcomes)})}")
    assert len(outcomes) == count and outcomes.count("pulled") > count // 10
    return kills, before, tmpfs, real, first


def workers(service):
    """Processes of any request of this service."""
    session = re.search(r'"request":"([0-9a-f]{8})-1"', service.log_text())[1]
    found = []
    for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"GUEST_PULL_REQUEST_ID={session}-".encode() in environ.read_bytes():
                found.append((environ.parent / "comm").read_text())
        except OSError:
            continue
    return found


def nothing_leaks(service, work, before, tmpfs):
    service.nothing_left()
    assert mounts_below(service.bundles) == []
    wait_for(lambda: not workers(service), "all workers end")
    wait_for(lambda: service.descriptors() == before, "descriptors are back")
    wait_for(lambda: kilobytes_of_tmpfs() <= tmpfs + 8192, "tmpfs is given back", 30)
    service.assert_small(8 * 1024)
    lib.guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store")
    lib.run("ostree", "fsck", f"--repo={work.store}/repo")


@pytest.mark.quick
def test_kill_9_at_random_moments_shortly(service, work, registry):
    kills, before, tmpfs, real, first = under_fire(service, work, registry, 40, seed=1)
    assert sum(kills.count.values()) >= 5
    nothing_leaks(service, work, before, tmpfs)
    assert real.pull(first, "last")["code"] == 0
    assert os.listdir(work.store / "staging") == []


@BOTH_WAYS
def test_kill_9_at_random_moments_over_200_pulls(service, work, registry):
    kills, before, tmpfs, real, first = under_fire(service, work, registry, 200, seed=2)
    assert {"puller", "client", "upstream", "guest-pull-fetc", "guest-pull-unpa"} <= set(kills.count)
    nothing_leaks(service, work, before, tmpfs)
    assert real.pull(first, "last")["code"] == 0
    assert os.listdir(work.store / "staging") == []
