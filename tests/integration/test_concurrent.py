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
