"""df and prune through the real program: bytes exact, what is mounted or in use stays, room is made before a pull."""

import os
import subprocess
import time

import pytest

from lib import *

ANYTHING = {"type": "insecureAcceptAnything"}


def df(work):
    return guest_pull("df", "--store", work.store, "--json").json


def prune(work, *more):
    return guest_pull("prune", "--store", work.store, "--json", *more).json


def du(folder):
    """What the disk holds below `folder`, each inode once."""
    return int(subprocess.run(["du", "-s", "-B1", folder], check=True, capture_output=True, text=True).stdout.split()[0])


def age(work, image, seconds):
    """Makes the store believe that the image was last pulled so long ago."""
    then = int(time.time()) - seconds
    os.utime(work.store / "repo/refs/heads/image" / image.digest.replace(":", "/"), (then, then))


@pytest.fixture
def shelf(work, registry):
    """Three images: a and b share a layer, c has its own; all pulled, none mounted."""
    shared, own = Layer([File("shared", os.urandom(300_000))]), [Layer([File(f"own{i}", os.urandom(100_000 * (i + 1)))]) for i in range(3)]
    images = [Image([shared, own[0], shared]), Image([shared, own[1]]), Image([own[2]])]
    policy = write_policy(work / "policy.json", {registry.host: ANYTHING})
    names = [image.push(registry, work.repository(), f"v{i}") for i, image in enumerate(images)]
    for i, name in enumerate(names):
        work.pull(name, policy=policy, registry=registry, bundle=work.new_bundle(f"b{i}"))
    return images, names, policy


def test_df_counts_each_byte_once(work, shelf):
    images, _, _ = shelf
    report = df(work)
    store = report["store"]
    assert store["layerBytes"] == 300_000 + 100_000 + 200_000 + 300_000 and store["layers"] == 4 and store["imageCount"] == 3
    assert {i["manifestDigest"]: (i["bytes"], i["own"]) for i in store["images"]} == {
        images[0].digest: (400_000, 100_000), images[1].digest: (500_000, 200_000), images[2].digest: (300_000, 300_000)}
    assert store["unusedBytes"] == store["unusedLayers"] == 0
    assert store["bytes"] == du(work.store)
    disk = os.statvfs(work.store)
    assert report["filesystem"]["bytes"] == disk.f_blocks * disk.f_frsize and report["filesystem"]["inodes"] == disk.f_files
    assert report["memory"]["total"] >= report["memory"]["available"] > 0


def test_df_shows_what_containers_wrote(work, registry):
    image = Image([Layer([File("a", "1")])])
    name, policy = image.push(registry, work.repository(), "1"), write_policy(work / "policy.json", {registry.host: ANYTHING})
    config = work / "config.toml"
    config.write_text(f'[guest_pull]\nruntime_dir = "{work}/run"\nrw_size = "64M"\n')
    work.pull(name, "--config", config, policy=policy, registry=registry)
    before = guest_pull("df", "--store", work.store, "--config", config, "--json").json
    (work.rootfs / "written").write_bytes(bytes(5_000_000))
    after = guest_pull("df", "--store", work.store, "--config", config, "--json").json
    assert [m["bundle"] for m in after["uppers"]["mounts"]] == [str(work.bundle)]
    assert after["uppers"]["limit"] == after["writable"]["bytes"] == 64 << 20
    assert 5_000_000 <= after["uppers"]["used"] - before["uppers"]["used"] < 5_100_000
    assert after["store"]["bytes"] == before["store"]["bytes"]
    text = guest_pull("df", "--store", work.store, "--config", config).stdout
    assert "writable layers" in text and "1 mounts" in text and "67.1 MB" in text
    work.umount()
    gone = guest_pull("df", "--store", work.store, "--config", config, "--json").json
    assert gone["uppers"] == {"mounts": [], "limit": 0, "used": 0}


def test_prune_by_age_spares_what_is_mounted(work, shelf):
    images, names, policy = shelf
    guest_pull("umount", work / "b0")
    guest_pull("umount", work / "b2")
    for image, seconds in zip(images, (90000, 90000, 10)):
        age(work, image, seconds)
    assert prune(work, "--older-than", "1d") | {"free": 0} == {"images": 1, "layers": 1, "bytes": 100_000, "free": 0}
    assert {i["manifestDigest"] for i in guest_pull("images", "--store", work.store, "--json").json["images"]} == \
        {images[1].digest, images[2].digest}
    assert (work / "b1" / "rootfs" / "shared").stat().st_size == 300_000
    guest_pull("umount", work / "b1")
    assert prune(work, "--older-than", "1d")["bytes"] == 500_000
    assert prune(work, "--older-than", "0")["images"] == 1
    assert df(work)["store"]["layerBytes"] == 0 and not list((work.store / "layers").iterdir())
    assert not list(work.store.glob("repo/objects/*/*"))


def test_bad_amounts_are_refused(work, shelf):
    for option in (["--older-than", "1w"], ["--older-than", ""], ["--older-than", "-1"], ["--until-free", "101%"], ["--until-free", "x"],
                   ["--until-free", "99999999999999G"]):
        done = guest_pull("prune", "--store", work.store, *option, check=USAGE)
        assert option[0] in done.stderr and "Write " in done.stderr
    assert len(guest_pull("images", "--store", work.store, "--json").json["images"]) == 3


@pytest.fixture
def disk(work):
    """mount(megabytes): the store on an ext4 of its own."""
    def make(megabytes, *options):
        (work / "disk.img").write_bytes(b"")
        os.truncate(work / "disk.img", megabytes << 20)
        run("mkfs.ext4", "-q", "-F", *options, work / "disk.img")
        work.store.mkdir()
        run("mount", "-o", "loop", work / "disk.img", work.store)
        run("rmdir", work.store / "lost+found")
        run("chmod", "700", work.store)
    yield make
    subprocess.run(["umount", "-l", work.store], check=False, capture_output=True)


def test_a_pull_makes_room_for_itself(work, registry, disk):
    """Eight images of 4 MB each through a disk of 24 MB, one of them mounted all the time: it stays, the oldest others go."""
    disk(24)
    policy = write_policy(work / "policy.json", {registry.host: ANYTHING})
    pinned = Image([Layer([File("data", os.urandom(1_000_000))])])
    work.pull(pinned.push(registry, work.repository(), "pinned"), policy=policy, registry=registry)
    last = None
    for i in range(8):
        last = Image([Layer([File("data", os.urandom(4_000_000))])])
        bundle = work.new_bundle(f"b{i}")
        work.pull(last.push(registry, work.repository(), f"v{i}"), policy=policy, registry=registry, bundle=bundle)
        guest_pull("umount", bundle)
    left = {i["manifestDigest"] for i in guest_pull("images", "--store", work.store, "--json").json["images"]}
    assert pinned.digest in left and last.digest in left and len(left) < 9
    assert (work.rootfs / "data").stat().st_size == 1_000_000
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]


def test_marks_of_the_configuration_count(work, registry, disk):
    disk(40)
    policy = write_policy(work / "policy.json", {registry.host: ANYTHING})
    config = work / "config.toml"
    config.write_text('[guest_pull]\nstore_low_water = "0"\nstore_high_water = "0"\n')
    def pull(i):
        bundle = work.new_bundle(f"b{i}")
        name = Image([Layer([File("data", os.urandom(4_000_000))])]).push(registry, work.repository(), f"v{i}")
        work.pull(name, "--config", config, policy=policy, registry=registry, bundle=bundle)
        guest_pull("umount", bundle)
        return df(work)["store"]["imageCount"]
    assert [pull(i) for i in range(3)] == [1, 2, 3]
    config.write_text('[guest_pull]\nstore_low_water = "90%"\nstore_high_water = "90%"\n')
    assert pull(3) == 1
    config.write_text('[guest_pull]\nstore_low_water = "lots"\n')
    assert "store_low_water" in guest_pull("df", "--store", work.store, "--config", config, check=USAGE).stderr
    config.write_text("")
    shown = guest_pull("config", "show", "--config", config, "--json").json["settings"]
    assert {s["name"]: s["value"] for s in shown if "water" in s["name"]} == {"store_low_water": "5%", "store_high_water": "10%"}
