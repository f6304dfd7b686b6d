#!/usr/bin/python3
"""scale.py [AXIS,…]: time and memory of guest-pull against the size of a layer, the number of files, of layers, and of pulls at once. What
a unit costs (the last column) must not grow down a list. `make bench-scale` runs it; axes: size, files, layers, pulls."""

import hashlib
import io
import pathlib
import random
import subprocess
import sys
import tarfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from contenders import GuestPull  # noqa: E402
from world import Disk, world  # noqa: E402

from image import CONFIG, LAYER, MANIFEST, to_json  # noqa: E402

MB = 1 << 20


def tar_of(files) -> bytes:
    """files: (name, data) pairs."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1700000000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def half_random(size: int, seed: int) -> bytes:
    """Compresses to about one half."""
    noise = random.Random(seed)
    return b"".join(noise.randbytes(MB // 2) + bytes(MB // 2) for _ in range(size // MB)) or noise.randbytes(size)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def push(made, name: str, tars: list[bytes]):
    layers, diff_ids = [], []
    for tar in tars:
        blob = subprocess.run(["pigz", "-1", "-n"], input=tar, stdout=subprocess.PIPE, check=True).stdout
        made.registry.put_blob(name, blob, digest_of(blob))
        layers.append({"mediaType": LAYER + "+gzip", "digest": digest_of(blob), "size": len(blob)})
        diff_ids.append(digest_of(tar))
    config = to_json({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    made.registry.put_blob(name, config, digest_of(config))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
                "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)}}
    raw = to_json(manifest)
    made.registry.put_manifest(name, "latest", raw, MANIFEST)
    made.sign(name, manifest, raw)


def line(what: str, amount: int, cost, unit: str):
    print(f"{amount:9d} {what:12s} {cost.wall:8.3f} s wall {cost.cpu:8.3f} s CPU {cost.peak:6.0f} MB  {cost.wall / amount * 1e6:10.1f} us a {unit}",
          flush=True)


def measure(made, disk, name: str):
    """Time from one run, memory from another: looking at memory costs time."""
    with disk.fresh() as folder:
        cost = GuestPull(made, folder, False).cold(name)
    with disk.fresh() as folder:
        cost.peak = GuestPull(made, folder, True).cold(name).peak
    return cost


def size(made, disk):
    for megabytes in (1, 16, 128, 1024, 2048):
        push(made, f"size{megabytes}", [tar_of([("file", half_random(megabytes * MB, megabytes))])])
        line("MB a layer", megabytes, measure(made, disk, f"size{megabytes}"), "MB")


def files(made, disk):
    for count in (100, 1000, 10000, 100000, 999000):  # with its directories, the last is what a layer may have by default
        push(made, f"files{count}", [tar_of((f"d{i // 1000}/f{i}", b"%d" % i) for i in range(count))])
        line("files", count, measure(made, disk, f"files{count}"), "file")


def layers(made, disk):
    for count in (1, 10, 100, 500):
        push(made, f"layers{count}", [tar_of([(f"f{count}-{i}", b"%d" % i)]) for i in range(count)])
        line("layers", count, measure(made, disk, f"layers{count}"), "layer")


def pulls(made, disk):
    for count in (1, 2, 4, 8, 16):
        names = [f"pull{count}-{i}" for i in range(count)]
        for name in names:
            push(made, name, [tar_of([(name + str(i), half_random(MB, i)) for i in range(32)])])
        line("pulls", count, together(made, disk, names), "pull")


def together(made, disk, names):
    with disk.fresh() as folder:
        costs, threads = [], []
        for name in names:
            work = folder / name
            work.mkdir()
            one = GuestPull(made, work, False)
            one.store = folder / "store"
            threads.append(threading.Thread(target=lambda one=one, name=name: costs.append(one.cold(name))))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(costs) == len(names), "a pull failed"
        total = max(costs, key=lambda cost: cost.wall)
        total.cpu = sum(cost.cpu for cost in costs)
        return total


def main(*chosen: str):
    axes = {"size": size, "files": files, "layers": layers, "pulls": pulls}
    with world() as made:
        disk = Disk(made.folder)
        try:
            for name in chosen or axes:
                axes[name](made, disk)
        finally:
            disk.stop()


if __name__ == "__main__":
    main(*(sys.argv[1].split(",") if len(sys.argv) > 1 else []))
