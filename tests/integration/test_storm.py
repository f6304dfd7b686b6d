"""Eight processes pull four overlapping images, again and again, while others prune, remove, check and list the same store. No error
may name corruption; what a pull mounts is right; and at the end refs and bytes are exactly those of what was asked for.

GUEST_PULL_ROUNDS says how many rounds (make check-storm: 50)."""

import concurrent.futures
import os
import random
import threading

from lib import *

ROUNDS = int(os.environ.get("GUEST_PULL_ROUNDS", "1"))
SEED = int(os.environ.get("GUEST_PULL_SEED", random.SystemRandom().randrange(1 << 32)))
PULLERS = 8

# What may come of a command that meets others: done; not there (any more); mounted; too long in use.
HARMLESS = {"rm": (OK, NOT_FOUND, INVALID), "prune": (OK,), "fsck": (OK,), "images": (OK,), "layers": (OK,), "df": (OK,)}


def the_images():
    """Four images over six shared layers, many of whose files are equal between layers: their objects are one and the same."""
    shared = [Layer([File(f"s{i}/common{k}", f"equal everywhere {k}") for k in range(60)] +
                    [File(f"s{i}/data", os.urandom(120_000 + 30_000 * i))]) for i in range(6)]
    return [Image([shared[i], shared[i + 1], shared[i + 2], Layer([File("own", f"image {i}" * 500)])]) for i in range(4)]


class Storm:
    def __init__(self, work, registry):
        self.work, self.over, self.counts, self.lock = work, threading.Event(), {}, threading.Lock()
        self.images = the_images()
        self.names = [image.push(registry, work.repository(), f"v{i}") for i, image in enumerate(self.images)]
        self.config = work / "config.toml"
        self.config.write_text(f'[guest_pull]\nruntime_dir = "{work}/run"\n')
        self.options = ["--config", self.config, *work.options(policy=write_policy(
            work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}}), registry=registry)]

    def count(self, what, status):
        with self.lock:
            self.counts[what, status] = self.counts.get((what, status), 0) + 1

    def pull(self, puller, number):
        """One pull of image `number`; what is mounted is looked at and unmounted."""
        image, bundle = self.images[number], self.work / f"bundle{puller}"
        bundle.mkdir(exist_ok=True)
        done = self.work.pull(self.names[number], *self.options, bundle=bundle)
        self.count("pull", done.status)
        assert done.json["manifestDigest"] == image.digest
        assert (bundle / "rootfs/own").read_text() == f"image {number}" * 500
        for i in range(number, number + 3):
            assert (bundle / f"rootfs/s{i}/common59").read_text() == "equal everywhere 59"
            assert len(list((bundle / f"rootfs/s{i}").iterdir())) == 61
        guest_pull("umount", bundle, "--config", self.config)

    def disturb(self, seed):
        """rm, prune, fsck and lists, in any order, until the pulls are over."""
        dice = random.Random(seed)
        while not self.over.is_set():
            command = dice.choice(["rm", "rm", "prune", "prune-all", "fsck", "images", "layers", "df"])
            words = {"rm": ["rm", dice.choice(self.images).digest], "prune-all": ["prune", "--older-than", "0"]}.get(command, [command])
            done = guest_pull(*words, "--store", self.work.store, "--config", self.config, "--json", check=None)
            self.count(command, done.status)
            assert done.status in HARMLESS[words[0]], done
            assert command != "rm" or done.status != INVALID or "is mounted" in done.message, done

    def round(self, dice):
        order = [(puller, dice.randrange(4)) for puller in range(PULLERS)]
        with concurrent.futures.ThreadPoolExecutor(PULLERS) as pool:
            list(pool.map(lambda pair: self.pull(*pair), order))

    def end(self):
        """Quiet: all four are pulled once more, garbage goes, and everything is counted."""
        for number in range(4):
            self.pull(0, number)
        guest_pull("prune", "--store", self.work.store, "--config", self.config)
        report = guest_pull("fsck", "--store", self.work.store, "--json")
        assert report.json["clean"], report
        run("ostree", "fsck", "--quiet", f"--repo={self.work.store}/repo")
        layers = {layer.digest: layer for image in self.images for layer in image.layers}
        refs = {p.relative_to(self.work.store / "repo/refs/heads") for p in (self.work.store / "repo/refs/heads").rglob("*") if p.is_file()}
        assert {str(ref) for ref in refs} == {f"layer/{d.replace(':', '/')}" for d in layers} | \
            {f"image/{image.digest.replace(':', '/')}" for image in self.images}
        assert {p.name for p in (self.work.store / "layers").iterdir()} == {digest.replace(":", "-") for digest in layers}
        assert not list((self.work.store / "staging").iterdir())
        contents = sum(60 * len("equal everywhere 0") + 50 + 120_000 + 30_000 * i for i in range(6)) + 4 * 500 * len("image 0")
        assert guest_pull("df", "--store", self.work.store, "--config", self.config, "--json").json["store"]["layerBytes"] == contents
        # And when the last image goes, nothing stays.
        guest_pull("prune", "--older-than", "0", "--store", self.work.store, "--config", self.config)
        assert not list(self.work.store.glob("repo/objects/*/*")) and not list((self.work.store / "layers").iterdir())


def test_pulls_beside_removals(work, registry, capsys):
    storm = Storm(work, registry)
    dice = random.Random(SEED)
    storm.pull(0, 0)
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            disturbers = [pool.submit(storm.disturb, SEED + i) for i in range(2)]
            try:
                for _ in range(ROUNDS):
                    storm.round(dice)
            finally:
                storm.over.set()
            for disturber in disturbers:
                disturber.result()
        storm.end()
    finally:
        with capsys.disabled():
            print(f"\nseed {SEED}: {ROUNDS} rounds, " + ", ".join(f"{what} {status}: {n}" for (what, status), n in sorted(storm.counts.items())))
