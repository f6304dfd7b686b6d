"""Several pulls at once through one store."""

import concurrent.futures
import os
import subprocess
import time

from lib import *

ANYTHING = {"type": "insecureAcceptAnything"}


def shared_images(count):
    """Images that share five layers and have one each, the shared ones in different orders of size and place."""
    shared = [Layer([File(f"shared/{i}", os.urandom(200_000 + 50_000 * i))]) for i in range(5)]
    return shared, [Image([*shared[i % 5:], *shared[:i % 5], Layer([File(f"own/{i}", os.urandom(1000))])]) for i in range(count)]


def test_eight_cold_pulls_fetch_each_blob_once(work, registry):
    shared, images = shared_images(8)
    names = [image.push(registry, work.repository(), f"v{i}") for i, image in enumerate(images)]
    policy = write_policy(work / "policy.json", {registry.host: ANYTHING})
    mark = registry.mark()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda pair: work.pull(pair[1], policy=policy, registry=registry,
                                                    bundle=work.new_bundle(f"b{pair[0]}")), enumerate(names)))
    assert [d.json["manifestDigest"] for d in done] == [image.digest for image in images]
    requests = registry.since(mark)
    for layer in {layer.digest for image in images for layer in image.layers}:
        assert len([line for line in requests if layer in line]) == 1, layer
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]
    layers = guest_pull("layers", "--store", work.store, "--json").json["layers"]
    assert {layer["digest"]: layer["images"] for layer in layers if layer["digest"] == shared[0].digest} == {shared[0].digest: 8}
    assert not list((work.store / "staging").iterdir())


def gated(fake, path, body, gate):
    """The answer at `path` comes only when `gate` is set."""
    def answer(handler):
        gate.wait(30)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    fake.answers[path] = answer


def test_pulls_that_wait_for_each_other_both_end(work):
    """One has layer A and wants B, the other has B and wants A: each gives what it has to the other at once."""
    import threading
    a, b = Layer([File("a", os.urandom(5000))]), Layer([File("b", os.urandom(5000))])
    one, two = Image([a, b]), Image([b, a, Layer([File("c", "x")])])
    gate = threading.Event()
    with FakeRegistry() as fake:
        first, second = fake.add(one, "x/one", "1"), fake.add(two, "x/two", "1")
        gated(fake, f"/v2/x/one/blobs/{a.digest}", a.blob, gate)
        gated(fake, f"/v2/x/two/blobs/{b.digest}", b.blob, gate)
        policy = write_policy(work / "policy.json", {fake.host: ANYTHING})
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            pulls = [pool.submit(work.pull, name, "--max-parallel", "1", "--timeout", "60", policy=policy, registry=fake,
                                 bundle=work.new_bundle(folder)) for name, folder in ((first, "one"), (second, "two"))]
            time.sleep(1)
            gate.set()
            start = time.monotonic()
            for pull in pulls:
                pull.result()
            assert time.monotonic() - start < 5
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]


def test_deadline_ends_waiting_for_another_pull(work):
    """A pull that waits for a layer in another process's hands still keeps its own deadline."""
    import threading
    layer = Layer([File("a", os.urandom(5000))])
    gate = threading.Event()
    with FakeRegistry() as fake:
        first, second = fake.add(Image([layer]), "x/one", "1"), fake.add(Image([layer], config={"User": "1"}), "x/two", "1")
        gated(fake, f"/v2/x/one/blobs/{layer.digest}", layer.blob, gate)
        policy = write_policy(work / "policy.json", {fake.host: ANYTHING})
        holder = subprocess.Popen([GUEST_PULL, "pull", first, "--bundle", work.new_bundle("one"), "--store", work.store,
                                   "--allow-unencrypted-store", *work.options(policy=policy, registry=fake)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not any(layer.digest in path for path in fake.paths()) and time.monotonic() < deadline:
                time.sleep(0.05)
            start = time.monotonic()
            waiting = work.pull(second, "--timeout", "2", policy=policy, registry=fake, bundle=work.new_bundle("two"), check=CANCELLED)
            assert time.monotonic() - start < 6 and "2 seconds" in waiting.message
        finally:
            gate.set()
            assert holder.wait(30) == 0


def start_pull(work, name, policy, fake, bundle, *more) -> subprocess.Popen:
    return subprocess.Popen([GUEST_PULL, "pull", name, "--bundle", work.new_bundle(bundle), "--store", work.store, "--allow-unencrypted-store",
                             *more, *work.options(policy=policy, registry=fake)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def wait_until(condition, seconds: float = 20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def half_then(gate, body):
    """An answer of which the second half comes only when `gate` is set."""
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:len(body) // 2])
        handler.wfile.flush()
        gate.wait(60)
        handler.wfile.write(body[len(body) // 2:])
    return answer


def test_another_takes_over_from_a_pull_that_is_killed(work):
    """Three want one layer. The one that is at it is killed in the middle: one of the others fetches it, once for both."""
    import threading
    layer, gate = Layer([File("shared", os.urandom(300_000))], "none"), threading.Event()
    images = [Image([layer, Layer([File("own", f"{i}")])]) for i in range(3)]
    with FakeRegistry() as fake:
        names = [fake.add(image, f"app{i}", "1") for i, image in enumerate(images)]
        fake.answers[f"/v2/app0/blobs/{layer.digest}"] = half_then(gate, layer.blob)
        policy = write_policy(work / "policy.json", {fake.host: ANYTHING})
        asked = lambda: [path for path in fake.paths() if layer.digest in path]  # noqa: E731
        first = start_pull(work, names[0], policy, fake, "b0")
        others = []
        try:
            wait_until(asked)
            others = [start_pull(work, names[i], policy, fake, f"b{i}") for i in (1, 2)]
            wait_until(lambda: sum(f"GET /v2/app{i}/blobs/{images[i].layers[1].digest}" in fake.paths() for i in (1, 2)) == 2)
            time.sleep(0.5)
            assert len(asked()) == 1 and all(other.poll() is None for other in others), "they wait"
            first.kill()
            assert [other.wait(20) for other in others] == [OK, OK]
        finally:
            gate.set()
            for process in (first, *others):
                process.kill()
                process.communicate()
        assert len(asked()) == 2 and len({path.split("/")[2] for path in asked()}) == 2
    assert all((work / f"b{i}/rootfs/own").read_text() == f"{i}" and (work / f"b{i}/rootfs/shared").stat().st_size == 300_000 for i in (1, 2))
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]


def test_a_pull_whose_registry_gives_up_is_taken_over_from(work):
    """Each asks its own registry: the one that never ends its answer costs the others that pull's time, no more."""
    import threading
    layer, gate = Layer([File("shared", os.urandom(300_000))], "none"), threading.Event()
    with FakeRegistry() as slow, FakeRegistry() as quick:
        bad, good = slow.add(Image([layer]), "app", "1"), quick.add(Image([layer], config={"User": "1"}), "app", "1")
        slow.answers[f"/v2/app/blobs/{layer.digest}"] = half_then(gate, layer.blob)
        policy = write_policy(work / "policy.json", default=ANYTHING)
        first = start_pull(work, bad, policy, slow, "slow", "--timeout", "4")
        try:
            wait_until(lambda: any(layer.digest in path for path in slow.paths()))
            start = time.monotonic()
            done = work.pull(good, "--timeout", "60", policy=policy, registry=quick, bundle=work.new_bundle("quick"))
            assert time.monotonic() - start < 15 and first.wait(10) == CANCELLED
        finally:
            gate.set()
            first.kill()
            first.communicate()
        assert len([path for path in quick.paths() if layer.digest in path]) == 1 and done.json["bytes"]["downloaded"] == len(layer.blob)
    assert not (work / "slow/rootfs").exists() and (work / "quick/rootfs/shared").stat().st_size == 300_000


def test_a_slow_pull_holds_up_nobody_with_what_it_has(work):
    """What it shares is finished, its own layer is not: the others do not wait for that, and fetch nothing twice."""
    import threading
    shared, gate = Layer([File("shared", os.urandom(400_000))], "none"), threading.Event()
    images = [Image([shared, Layer([File("own", os.urandom(1000))])]) for _ in range(4)]
    with FakeRegistry() as fake:
        names = [fake.add(image, f"app{i}", "1") for i, image in enumerate(images)]
        own = f"/v2/app0/blobs/{images[0].layers[1].digest}"
        fake.answers[own] = half_then(gate, fake.answers[own])
        policy = write_policy(work / "policy.json", {fake.host: ANYTHING})
        first = start_pull(work, names[0], policy, fake, "b0")
        try:
            wait_until(lambda: f"GET {own}" in fake.paths() and any(shared.digest in path for path in fake.paths()))
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                done = list(pool.map(lambda i: work.pull(names[i], "--timeout", "30", policy=policy, registry=fake,
                                                         bundle=work.new_bundle(f"b{i}")), (1, 2, 3)))
            assert first.poll() is None and all(each.json["layers"][0]["reused"] for each in done)
            gate.set()
            assert first.wait(20) == OK
        finally:
            gate.set()
            first.kill()
            first.communicate()
        assert len([path for path in fake.paths() if shared.digest in path]) == 1
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]
