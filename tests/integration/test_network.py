"""Bad networks: packets that get lost, late, out of order and twice, lines that go dead and come back, name servers that do not answer, IPv6. The line is a program of
ours between two network namespaces (tests/lib/lossy.py); TCP on both sides of it is the kernel's."""

import concurrent.futures
import os
import random
import re
import socket
import subprocess
import time

import pytest

from lib import *
from lossy import CLIENT6, SERVER, SERVER6, Line

MB = 1_000_000
MEGABYTES = int(os.environ.get("GUEST_PULL_NETWORK_MB", "0"))  # "make check-network" has 100
# What "netem delay 100ms loss 2% rate 20mbit" does in both directions, or a sixth of that delay where time is short.
BAD = {"delay": 0.1 if MEGABYTES else 0.015, "loss": 0.02, "rate": 20e6}


@pytest.fixture
def line():
    """A function that makes a Line; skips, aloud, where the machine has no TUN devices."""
    lines = []

    def make(**settings):
        try:
            lines.append(Line(**settings))
        except OSError as failure:
            pytest.skip(f"{failure}: bad networks are not tried")
        return lines[-1]
    yield make
    for one in lines:
        one.stop()


# ---- lines between two namespaces

class RangeServer(FakeRegistry):
    """Serves blobs by ranges; each connection is cut after `cut` bytes of them. connections: bytes sent, of each."""

    def __init__(self, cut: int | None = None, congestion: str = "", address: str = SERVER, **more):
        super().__init__(address=address, **more)
        self.cut, self.connections, self.ranges = cut, {}, []
        if congestion:  # what this side's TCP makes of a lost packet; "cubic" is what nearly every server runs
            self.server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())

    def add_ranges(self, image, repository="test/big", tag="one") -> str:
        name = self.add(image, repository, tag)
        for layer in image.layers:
            self.answers[f"/v2/{repository}/blobs/{layer.digest}"] = lambda handler, blob=layer.blob: self.serve(handler, blob)
        return name

    def serve(self, handler, blob):
        wanted = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", handler.headers.get("Range") or "bytes=0-")
        start, end = int(wanted[1]), int(wanted[2] or len(blob) - 1)
        self.ranges.append((start, end))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(end + 1 - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{end}/{len(blob)}")
        handler.end_headers()
        while start <= end:
            sent = self.connections.setdefault(handler, 0)
            piece = blob[start:min(end + 1, start + 16384, start + (self.cut or len(blob)) - sent)]
            if not piece:
                handler.close_connection = True
                return
            handler.wfile.write(piece)
            start += len(piece)
            self.connections[handler] += len(piece)


def one_layer(size: int) -> Image:
    return Image([Layer([File("data", random.Random(3).randbytes(size))], "none")])


def pull(work, line, name, server, *more, timeout=300, check=0, wrap=()):
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    return run(*line.at_client(), *wrap, GUEST_PULL, "pull", name, "--bundle", work.bundle, "--store", work.store, "--allow-unencrypted-store",
               *work.options(policy=policy, registry=server), "--timeout", str(timeout), "--verbose", *more, check=check, timeout=timeout + 60)


def read_by_the_client(result) -> int:
    return sum(int(found[1]) for found in re.finditer(r"^fetch: .*: [0-9]+, ([0-9]+) bytes", result.stderr, re.M))


@pytest.mark.parametrize("congestion", ["cubic", "bbr"] if MEGABYTES else ["cubic"])
def test_a_line_that_loses_packets_and_cuts_connections(congestion, work, line):
    size = (MEGABYTES or 12) * MB
    image, bad = one_layer(size), line(**BAD)
    with bad.at_server():
        server = RangeServer(cut=size // 10, congestion=congestion)
    with server:
        name = server.add_ranges(image)
        start = time.monotonic()
        done = pull(work, bad, name, server, timeout=1200)
        seconds = time.monotonic() - start
    sent, read = sum(server.connections.values()), read_by_the_client(done)
    line_said = bad.set()
    print(f"{congestion}: {size / MB:.0f} MB in {seconds:.0f} s ({size / seconds / 1000:.0f} kB/s) over {len(server.connections)} connections; of the bytes "
          f"{sent / size:.3f} were sent, {read / size:.3f} read; packets {line_said}")
    assert done.json["manifestDigest"] == image.digest
    assert (work.rootfs / "data").read_bytes() == image.layers[0].blob[512:512 + size]
    assert min(line_said["lost"]) > 0 and len(server.connections) >= 10
    assert sent <= 1.1 * size and read <= 1.1 * size


# ---- a blob that comes slowly is asked for in parts too, if the server can do that

PART = 524288
SLOW = 300_000  # bytes a second of a connection


class SlowServer(RangeServer):
    """Gives each connection a little only. part(handler, start, end, number) answers the requests for parts, the rest is as ever."""

    def __init__(self, part=None):
        super().__init__(address="127.0.0.1")
        self.part, self.bounded = part, []

    def serve(self, handler, blob):
        wanted = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", handler.headers.get("Range") or "")
        if wanted:
            self.bounded.append((int(wanted[1]), int(wanted[2])))
            if self.part:
                self.part(self, handler, blob, *self.bounded[-1], len(self.bounded))
                return
        handler.wfile = Paced(handler.wfile)
        super().serve(handler, blob)


class Paced:
    def __init__(self, out):
        self.out, self.start, self.sent = getattr(out, "out", out), time.monotonic(), 0

    def write(self, data):
        self.sent += len(data)
        time.sleep(max(0, self.start + self.sent / SLOW - time.monotonic()))
        return self.out.write(data)

    def flush(self):
        self.out.flush()

    @property
    def closed(self):
        return self.out.closed

    def close(self):
        self.out.close()


def send(handler, status, body, **fields):
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in fields.items()}}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def right(server, handler, blob, start, end, number):
    send(handler, 206, blob[start:end + 1], Content_Range=f"bytes {start}-{end}/{len(blob)}")


def everything(server, handler, blob, start, end, number):
    send(handler, 200, blob)


def another_part(server, handler, blob, start, end, number):
    send(handler, 206, blob[start + 1:end + 2], Content_Range=f"bytes {start + 1}-{end + 1}/{len(blob)}")


def to_the_end(server, handler, blob, start, end, number):
    send(handler, 206, blob[start:], Content_Range=f"bytes {start}-{len(blob) - 1}/{len(blob)}")


def too_much(server, handler, blob, start, end, number):
    handler.close_connection = True
    handler.wfile.write(f"HTTP/1.1 206 X\r\nContent-Range: bytes {start}-{end}/{len(blob)}\r\n\r\n".encode() + blob[start:end + 2])


def busy(server, handler, blob, start, end, number):
    send(handler, 429, b"", Retry_After="1000")


def unauthorized(server, handler, blob, start, end, number):
    send(handler, 401, b"", WWW_Authenticate='Bearer realm="https://evil.example/"')


def elsewhere(server, handler, blob, start, end, number):
    send(handler, 307, b"", Location="http://127.0.0.1:1/")


def hang_up(server, handler, blob, start, end, number):
    handler.close_connection = True


def hang_up_at_first(server, handler, blob, start, end, number):
    if number % 2:
        handler.close_connection = True
        handler.wfile.write(f"HTTP/1.1 206 X\r\nContent-Range: bytes {start}-{end}/{len(blob)}\r\nContent-Length: {end + 1 - start}\r\n\r\n".encode()
                            + blob[start:(start + end) // 2])
    else:
        right(server, handler, blob, start, end, number)


def silence(server, handler, blob, start, end, number):
    handler.connection.settimeout(60)
    try:
        handler.connection.recv(1)
    except OSError:
        pass


def other_bytes(server, handler, blob, start, end, number):
    send(handler, 206, bytes(end + 1 - start), Content_Range=f"bytes {start}-{end}/{len(blob)}")


PARTS = {right: (OK, True), hang_up_at_first: (OK, True), everything: (OK, False), another_part: (OK, False), to_the_end: (OK, False), too_much: (OK, False),
         busy: (OK, False), unauthorized: (OK, False), elsewhere: (OK, False), hang_up: (OK, False), silence: (OK, False), other_bytes: (DIGEST, True)}


def play(part, folder, image):
    folder.mkdir()
    work = Work(folder)
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    with SlowServer(part) as server:
        done = work.pull(server.add_ranges(image), "--timeout", "100", policy=policy, registry=server, check=None)
        size = (work.rootfs / "data").stat().st_size if done.status == OK else None
        unmount_below(folder)
    return done, server, size, os.listdir(work.store / "staging")


@pytest.fixture(scope="module")
def played(session_folder):
    """All of PARTS at once: time passes by waiting."""
    (session_folder / "parts").mkdir()
    image = one_layer(5 * MB)
    with concurrent.futures.ThreadPoolExecutor(len(PARTS)) as pool:
        yield len(image.layers[0].blob), {part: pool.submit(play, part, session_folder / "parts" / part.__name__, image) for part in PARTS}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_parts_of_a_slow_blob(part, played):
    """Whatever comes of the parts: the blob arrives, or is refused for its digest; and the one connection brings all that no part brought, and no more."""
    size, futures = played
    done, server, unpacked, staged = futures[part].result()
    status, parts_come = PARTS[part]
    assert done.status == status and not staged, done
    assert status != OK or unpacked == 5 * MB
    assert server.bounded and all(end - start < PART for start, end in server.bounded)
    alone = sum(server.connections.values())
    assert alone < 3 * MB if parts_come else alone == size
    if parts_come and part is not hang_up_at_first:
        starts = [start for start, _ in server.bounded]
        assert len(set(starts)) == len(starts) and {end + 1 for _, end in server.bounded} <= {*starts, size}
    elif not parts_come and part not in (hang_up, silence, unauthorized):
        assert len(server.bounded) <= 12  # a server that cannot, or does not want to, is not asked again


def test_a_blob_that_comes_quickly_is_asked_for_once(work):
    image = one_layer(60 * MB)
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    with RangeServer(address="127.0.0.1") as server:
        work.pull(server.add_ranges(image), policy=policy, registry=server)
        assert server.ranges == [(0, len(image.layers[0].blob) - 1)]


# ---- lines that are bad in other ways

def test_a_line_that_reorders_and_repeats(work, line):
    image, bad = one_layer(6 * MB), line(delay=0.005, reorder=0.2, repeat=0.1, loss=0.005, rate=50e6)
    with bad.at_server():
        server = RangeServer()
    with server:
        assert pull(work, bad, server.add_ranges(image), server).json["manifestDigest"] == image.digest


@pytest.mark.parametrize("mtu", [576, 1280, 9000])
def test_a_line_with_another_mtu(mtu, work, line):
    image, bad = one_layer(2 * MB), line(mtu=mtu, delay=0.002, rate=100e6)
    with bad.at_server():
        server = RangeServer()
    with server:
        assert pull(work, bad, server.add_ranges(image), server).json["manifestDigest"] == image.digest


def test_a_line_that_swallows_long_packets(work, line):
    """The manifest gets through, and of a layer nothing: it ends with the time that there is."""
    image, bad = one_layer(2 * MB), line(hole=1000)
    with bad.at_server():
        server = RangeServer()
    with server:
        start = time.monotonic()
        done = pull(work, bad, server.add_ranges(image), server, timeout=5, check=CANCELLED)
        assert server.seen and time.monotonic() - start < 15 and "5 seconds" in done.message and not mounts_below(work)


def test_a_line_that_dies_and_comes_back(work, line):
    image, bad = one_layer(8 * MB), line(delay=0.005, rate=20e6)
    with bad.at_server():
        server = RangeServer()
    with server:
        bad.after(1.5, down=True)
        bad.after(5.5, down=False)
        start = time.monotonic()
        done = pull(work, bad, server.add_ranges(image), server)
        assert done.json["manifestDigest"] == image.digest and time.monotonic() - start > 5.5
        assert sum(server.connections.values()) < 1.2 * 8 * MB  # what was there is not asked for again


def test_a_line_that_dies_for_ever(work, line):
    image, bad = one_layer(8 * MB), line(delay=0.005, rate=20e6)
    with bad.at_server():
        server = RangeServer()
    with server:
        bad.after(1.5, down=True)
        start = time.monotonic()
        done = pull(work, bad, server.add_ranges(image), server, timeout=8, check=CANCELLED)
        assert server.ranges and time.monotonic() - start < 18 and "8 seconds" in done.message
    assert not mounts_below(work) and not os.listdir(work.store / "staging") and not os.listdir(work.store / "layers")


@pytest.mark.skipif(not MEGABYTES, reason="a minute of silence")
def test_a_line_that_dies_for_ever_and_there_is_time(work, line):
    """The stall is noticed, the server asked four times in vain: a network error long before the deadline."""
    image, bad = one_layer(8 * MB), line(delay=0.005, rate=20e6)
    with bad.at_server():
        server = RangeServer()
    with server:
        bad.after(1.5, down=True)
        start = time.monotonic()
        done = pull(work, bad, server.add_ranges(image), server, timeout=1200, check=NETWORK)
        assert 30 < time.monotonic() - start < 120 and "tried 4 times" in done.message


# ---- names and addresses

def hosts(work, *rows, nameserver=SERVER) -> list[str]:
    """In front of a command: these are its /etc/hosts and /etc/resolv.conf."""
    (work / "hosts").write_text("".join(row + "\n" for row in rows))
    (work / "resolv.conf").write_text(f"nameserver {nameserver}\noptions timeout:3\n")
    script = f'mount --bind {work}/hosts /etc/hosts && mount --bind {work}/resolv.conf "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    return ["unshare", "--mount", "sh", "-ec", script, "sh"]


def named(server, name) -> FakeRegistry:
    """The same server under a name."""
    server.host = f"{name}:{server.host.rsplit(':', 1)[1]}"
    return server


def test_no_name_server_at_the_end_of_the_line(work, line):
    image, bad = one_layer(1000), line()
    with bad.at_server():
        server = RangeServer()
    with named(server, "registry.example"):
        start = time.monotonic()
        done = pull(work, bad, server.add_ranges(image), server, wrap=hosts(work), check=NETWORK)
        assert "resolve" in done.message and "tried 4 times" in done.message and time.monotonic() - start < 60


def test_a_name_server_that_is_silent_holds_up_only_itself(work, line):
    """The line's other end is not its address, so nobody answers: the deadline holds, and a mirror that has an address is asked meanwhile."""
    image, bad = one_layer(1000), line()
    with bad.at_server():
        server = RangeServer()
    with server:
        start = time.monotonic()
        done = pull(work, bad, "registry.example/app:1", server, wrap=hosts(work, nameserver="10.99.7.77"), timeout=5, check=CANCELLED)
        assert "5 seconds" in done.message and time.monotonic() - start < 15
        name = server.add_ranges(image)
        (work / "registries.conf").write_text(f'[[registry]]\nprefix = "registry.example"\n[[registry.mirror]]\nlocation = "{server.host}"\ninsecure = true\n')
        done = pull(work, bad, name.replace(server.host, "registry.example"), server, "--registries", work / "registries.conf",
                    wrap=hosts(work, nameserver="10.99.7.77"))
        assert done.json["manifestDigest"] == image.digest


def test_ipv6_at_the_end_of_the_line(work, line):
    image, bad = one_layer(MB), line(delay=0.005)
    with bad.at_server():
        server = RangeServer(address=SERVER6)
    with server:
        name = server.add_ranges(image)
        assert name.startswith(f"[{SERVER6}]:")
        assert pull(work, bad, name, server).json["manifestDigest"] == image.digest


def test_an_ipv6_address_that_is_dead_beside_one_that_lives(work, line):
    image, bad = one_layer(1000), line()
    with bad.at_server():
        server = RangeServer()
    with named(server, "both.example"):
        start = time.monotonic()
        done = pull(work, bad, server.add_ranges(image), server, wrap=hosts(work, "fd99::dead both.example", f"{SERVER} both.example"))
        assert done.json["manifestDigest"] == image.digest and time.monotonic() - start < 8  # a second or so, not each connection's ten


def test_ipv6_on_loopback(work):
    image = one_layer(1000)
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    try:
        server = RangeServer(address="::1")
    except OSError as failure:
        pytest.skip(f"no IPv6 on loopback: {failure}")
    with server:
        assert work.pull(server.add_ranges(image), policy=policy, registry=server).json["manifestDigest"] == image.digest
