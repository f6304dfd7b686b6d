"""A bad line between two network namespaces, for kernels without netem: packets of real TCP pass through a program of ours that delays, limits, loses, reorders and
repeats them. Run as a program it is that line; Line starts it."""

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time

CLIENT, SERVER = "10.99.7.1", "10.99.7.2"  # of the two ends; each pair of namespaces is a world of its own
CLIENT6, SERVER6 = "fd99::1", "fd99::2"
QUEUE_SECONDS = 0.25  # what a router buffers before it drops
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def _call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


# ---- the line itself

class Direction:
    """One way through the line: packets that wait for their time, at the end of which they go out."""

    def __init__(self, out, settings, seed):
        self.out, self.settings, self.random, self.free, self.waiting = out, settings, random.Random(seed), 0.0, []
        self.count = self.lost = 0

    def take(self, packet, now):
        settings, chance = self.settings, self.random.random
        self.count += 1
        if settings["down"] or chance() < settings["loss"] or len(packet) > settings["hole"]:
            self.lost += 1
            return
        begin = max(now, self.free)
        if begin - now > QUEUE_SECONDS:
            self.lost += 1
            return
        self.free = begin + len(packet) * 8 / settings["rate"]
        delay = settings["delay"] * (1 + (chance() if chance() < settings["reorder"] else 0))
        for _ in range(2 if chance() < settings["repeat"] else 1):
            heapq.heappush(self.waiting, (self.free + delay, self.count, packet))

    def give(self, now):
        while self.waiting and self.waiting[0][0] <= now:
            with contextlib.suppress(OSError):  # the interface is being taken down
                os.write(self.out, heapq.heappop(self.waiting)[2])

    def next(self):
        return self.waiting[0][0] if self.waiting else float("inf")


def make_end(address, address6, mtu):
    """A namespace of its own with a TUN device in it: descriptors of the namespace and of the device. The caller's thread stays in it."""
    _call("unshare", CLONE_NEWNET)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN | IFF_NO_PI))
    commands = [["link", "set", "lo", "up"], ["link", "set", "line", "mtu", str(mtu), "up"], ["addr", "add", address + "/24", "dev", "line"]]
    if mtu >= 1280:  # IPv6 exists nowhere below
        commands += [["-6", "addr", "add", address6 + "/64", "dev", "line", "nodad"]]
    for command in commands:
        subprocess.run(["ip", *command], check=True)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY), device


def serve(settings):
    """Until standard input ends; each line of it changes settings."""
    names, devices = zip(make_end(CLIENT, CLIENT6, settings["mtu"]), make_end(SERVER, SERVER6, settings["mtu"]))
    up, down = Direction(devices[1], settings, settings["seed"]), Direction(devices[0], settings, settings["seed"] + 1)
    print(json.dumps({"namespaces": [f"/proc/{os.getpid()}/fd/{name}" for name in names]}), flush=True)
    ways = {devices[0]: up, devices[1]: down}
    while True:
        wait = max(0, min(up.next(), down.next(), time.monotonic() + 1) - time.monotonic())
        ready, _, _ = select.select([0, *ways], [], [], wait)
        for device in ready:
            if device == 0:
                line = os.read(0, 65536)
                if not line:
                    return
                settings.update(json.loads(line))
                print(json.dumps({"packets": [up.count, down.count], "lost": [up.lost, down.lost]}), flush=True)
                continue
            with contextlib.suppress(BlockingIOError):
                while packet := os.read(device, 65536):
                    ways[device].take(packet, time.monotonic())
        for way in ways.values():
            way.give(time.monotonic())


# ---- for tests

class Line:
    """Use as a context manager. delay (seconds), rate (bits a second), loss, reorder and repeat (chances) hold for both directions; hole: longer packets vanish;
    down: nothing passes."""

    def __init__(self, **settings):
        settings = {"delay": 0, "rate": 1e12, "loss": 0, "reorder": 0, "repeat": 0, "hole": 1 << 20, "down": False, "mtu": 1500, "seed": 1, **settings}
        self.child = subprocess.Popen([sys.executable, __file__, json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
        ready = self.child.stdout.readline()
        if not ready:
            reason = self.child.communicate()[1].strip().splitlines()[-1:]
            raise OSError(f"no line between two namespaces: {reason}")
        self.client, self.server = json.loads(ready)["namespaces"]

    def set(self, **settings) -> dict:
        """Changes the line; returns what has passed so far: {"packets": [to the server, to the client], "lost": …}."""
        self.child.stdin.write(json.dumps(settings) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    @contextlib.contextmanager
    def _in(self, name):
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        other = os.open(name, os.O_RDONLY)
        try:
            _call("setns", other, CLONE_NEWNET)
            yield
        finally:
            _call("setns", own, CLONE_NEWNET)
            os.close(own)
            os.close(other)

    def at_server(self):
        """A context in which this thread is at the server's end: a socket that is made in it stays there."""
        return self._in(self.server)

    def at_client(self) -> list[str]:
        """In front of a command that is to run at the client's end."""
        return ["nsenter", f"--net={self.client}"]

    def after(self, seconds: float, **settings) -> threading.Timer:
        """Changes the line later, unless it is closed by then."""
        timer = threading.Timer(seconds, lambda: self.child.poll() is None and self.set(**settings))
        timer.daemon = True
        timer.start()
        return timer

    def stop(self):
        self.child.stdin.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()
        self.child.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
