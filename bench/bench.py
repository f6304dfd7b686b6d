#!/usr/bin/python3
"""bench.py [--rounds N] [--images web-gz,…] [--contenders NAME,…] [--no-memory]: pulls the corpus with every contender, in interleaved rounds
on fresh filesystems, and prints medians with ratios to the fastest peer of the same round. `make bench` runs it."""

import argparse
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import contenders  # noqa: E402
from world import CACHE, PEERS, ROOT, Disk, world  # noqa: E402

IMAGES = ["small-gz", "web-gz", "ml-gz", "web-zst", "ml-zst"]
RIVALS = ("podman", "containerd (ctr)")


class Table:
    """rows: (image, what, contender) -> costs, one a round."""

    def __init__(self):
        self.rows = {}

    def add(self, image, what, contender, cost):
        self.rows.setdefault((image, what, contender), []).append(cost)

    def ratio(self, key, other, field):
        """Median of the rounds' ratios; None if one of the two is missing."""
        left, right = self.rows.get(key), self.rows.get(other)
        if not left or not right:
            return None
        return statistics.median(getattr(a, field) / getattr(b, field) for a, b in zip(left, right) if getattr(b, field))

    def fastest_peer(self, image, what):
        rows = {name: self.rows.get((image, what, name)) for name in RIVALS}
        return min((name for name in rows if rows[name]), default=None,
                   key=lambda name: statistics.median(cost.wall for cost in rows[name]))

    def print(self, world):
        print(f"{'':34s} {'wall s: median (min to max)':>30s} {'CPU s':>7s} {'peak MB':>8s} {'wall:peer':>10s} {'CPU:peer':>9s} {'wall:floor':>11s}")
        for image, what in dict.fromkeys(key[:2] for key in self.rows):
            size = f", {world.sizes[image] / 1e6:.0f} MB" if image in world.sizes else ""
            print(f"{image} {what}{size}")
            peer = self.fastest_peer(image, what)
            for key in (key for key in self.rows if key[:2] == (image, what)):
                walls = [cost.wall for cost in self.rows[key]]
                cpu = statistics.median(cost.cpu for cost in self.rows[key])
                peak = max(cost.peak for cost in self.rows[key])
                ratios = [self.ratio(key, (image, what, peer), "wall"), self.ratio(key, (image, what, peer), "cpu"),
                          self.ratio(key, (image, what, "floor"), "wall")]
                spread = f"{statistics.median(walls):.3f} ({min(walls):.3f} to {max(walls):.3f})"
                texts = [f"{ratio:.2f}" if ratio else "" for ratio in ratios]
                print(f"  {key[2]:32s} {spread:>30s} {cpu:7.2f} {peak or 0:8.0f} {texts[0]:>10s} {texts[1]:>9s} {texts[2]:>11s}", flush=True)


def one_round(made, disk, table, image, chosen, memory):
    for contender in chosen:
        if contender.cold is None:
            continue
        contenders.clear_caches()
        with disk.fresh() as folder:
            one = contender(made, folder, memory)
            try:
                cost = one.cold(image)
                record(table, image, "cold", contender, cost, memory)
                if one.warm and not memory:
                    record(table, image, "warm", contender, one.warm(image), memory)
                if contender is contenders.GuestPull and not memory:
                    gpg = contenders.GuestPullGpg(made, folder, memory)
                    gpg.bundles = 100
                    record(table, image, "warm", contenders.GuestPullGpg, gpg.warm(image), memory)
                if image.startswith("web") and not memory and one.warm and contender is not contenders.SkopeoUmoci:
                    shared = image.replace("web", "shared")
                    record(table, image, "then shared", contender, one.cold(shared), memory)
            except NotImplementedError:
                pass
            finally:
                one.stop()


def record(table, image, what, contender, cost, memory):
    """A memory round gives only the peak: to the rounds that were timed."""
    if memory:
        for timed in table.rows.get((image, what, contender.name), []):
            timed.peak = cost.peak
    else:
        table.add(image, what, contender.name, cost)


def corpus():
    if not (CACHE / "corpus/oci/ml-zst/index.json").exists():
        subprocess.run([ROOT / "bench/corpus.sh", CACHE], check=True)
    return CACHE / "corpus/oci"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", default=",".join(IMAGES))
    parser.add_argument("--contenders", default=",".join(one.name for one in contenders.ALL))
    parser.add_argument("--no-memory", action="store_true")
    arguments = parser.parse_args()
    images, names = arguments.images.split(","), arguments.contenders.split(",")
    chosen = [one for one in contenders.ALL if one.name in names]
    for one in list(chosen):
        if one.missing():
            print(f"{one.name}: left out, no {', '.join(one.missing())}")
            chosen.remove(one)
    if contenders.GuestPullEncrypted in chosen and not (PEERS / "bin/skopeo").exists():
        print("guest-pull (encrypted): left out, no skopeo that encrypts (tests/tools/peers.sh)")
        chosen.remove(contenders.GuestPullEncrypted)
    layouts, table = corpus(), Table()
    with world() as made:
        disk = Disk(made.folder)
        try:
            needed = dict.fromkeys(images + [image.replace("web", "shared") for image in images if image.startswith("web")])
            for image in needed:
                made.add(image, f"oci:{layouts / image}:latest")
                if contenders.GuestPullEncrypted in chosen:
                    made.add_encrypted(image + "-encrypted", f"oci:{layouts / image}:latest")
            for _ in range(arguments.rounds):
                for image in images:
                    one_round(made, disk, table, image, chosen, memory=False)
            for image in images if not arguments.no_memory else []:
                one_round(made, disk, table, image, chosen, memory=True)
            table.print(made)
        finally:
            disk.stop()


if __name__ == "__main__":
    main()
