"""Demonstration 3: the host changes the disk under a running guest. Every reader gets the right bytes or an error, and the pull after it
fetches again what is broken."""

import os
import random

import pytest
from guest import GuestError
from scenario import BLOCK, STORE, blocks_of, random_image, read_back, write_block

CONFIG = "--config /run/confidential-containers/initdata/cdh.toml"
ROOTFS = "/run/kata-containers/c1/rootfs"


@pytest.fixture
def running(world, new_guest):
    """A guest with a mounted image of 3 layers that nothing compresses, and the numbers of the disk's blocks that hold them: those
    that the pull wrote, in long runs."""
    image = random_image(3, 6 << 20)
    name = world.push(image, f"tampered-{os.urandom(4).hex()}")
    guest = new_guest(disks={"store": "1G"}).boot()
    guest.start_service(world.config({}), hub=world.hub)
    guest.run(f"guest-pull {CONFIG} volume open; sync")
    before = blocks_of(guest.disk("store"))
    assert guest.pull(name) == image.digest, guest.service_log()
    guest.drop_caches()
    after = blocks_of(guest.disk("store"))
    changed = {number for number, data in after.items() if before.get(number) != data}
    data = sorted(number for number in changed if all(number + i in changed for i in range(-16, 17)))
    assert len(data) * BLOCK > 8 << 20, len(data)
    assert read_back(guest, ROOTFS, image) == {"right": [f"l{i}/f{j}" for i in range(3) for j in range(4)], "error": [], "wrong": []}
    return guest, image, name, data


def report(what, kinds, guest):
    text = guest.run("dmesg", check=None).out
    told = [line for line in text.splitlines() if "INTEGRITY" in line or "I/O error" in line]
    print(f"\n  {what}: {', '.join(f'{len(paths)} files {kind}' for kind, paths in kinds.items())}; the kernel's first of {len(told)} lines: "
          f"{told[0] if told else '-'}")


def flip(guest, data):
    for number in random.sample(data, 24):
        with open(guest.disk("store"), "r+b") as disk:
            at = number * BLOCK + random.randrange(BLOCK)
            disk.seek(at)
            byte = disk.read(1)[0]
            disk.seek(at)
            disk.write(bytes([byte ^ 1 << random.randrange(8)]))


def swap(guest, data):
    one, other = data[len(data) // 4], data[3 * len(data) // 4]
    blocks = blocks_of(guest.disk("store"))
    write_block(guest.disk("store"), one, blocks[other])
    write_block(guest.disk("store"), other, blocks[one])


def truncate(guest, data):
    os.truncate(guest.disk("store"), data[len(data) // 3] * BLOCK)


def replace(guest, data):
    size = os.stat(guest.disk("store")).st_size
    for number in sorted(blocks_of(guest.disk("store"))):
        write_block(guest.disk("store"), number, random.randbytes(BLOCK))
    assert os.stat(guest.disk("store")).st_size == size


def detach(guest, _data):
    guest.qmp("device_del", id="store-device")
    for _ in range(100):
        if guest.run("[ ! -e /sys/block/vda ]", check=None).status == 0:
            return
    raise GuestError("the disk is still there")


@pytest.mark.parametrize("attack", [flip, swap, truncate, replace, detach], ids=lambda attack: attack.__name__)
def test_nothing_wrong_is_served(world, running, attack):
    guest, image, name, data = running
    attack(guest, data)
    kinds = read_back(guest, ROOTFS, image)
    report(attack.__name__, kinds, guest)
    assert kinds["wrong"] == []
    assert kinds["error"], "the attack hit nothing"
    checked = guest.run(f"guest-pull --json {CONFIG} fsck", check=None, timeout=120)
    print(f"  fsck: exit status {checked.status}: {checked.out[:300]}")
    assert checked.status == 5 and "(integrity: what the disk gives is not what was written" in checked.out, checked
    if attack in (flip, swap):
        fetched_again(world, guest, image, name)


def fetched_again(world, guest, image, name):
    """The store as such is whole: what is broken goes aside, and comes anew with the next pull."""
    guest.run(f"umount {ROOTFS}")
    checked = guest.run(f"guest-pull {CONFIG} fsck --quarantine", check=None, timeout=120)
    print(f"  fsck --quarantine: exit status {checked.status}: {(checked.out + checked.err)[:400]}")
    assert checked.status == 5
    mark = world.registry.mark()
    assert guest.pull(name, "c2") == image.digest, guest.service_log()
    assert any("/blobs/" in line for line in world.registry.since(mark))
    kinds = read_back(guest, "/run/kata-containers/c2/rootfs", image)
    assert kinds["wrong"] == kinds["error"] == []


def test_an_old_sector_is_taken_for_a_new_one(world, running):
    """What authenticated encryption without a tree cannot see, stated as what it is: a sector that was written there before, in this
    boot, put back with its tag, once the kernel no longer has the tag in memory (half a minute here; minutes otherwise). guest-pull
    never changes a layer in place, so what can be put back below a layer is what is not its content."""
    guest, *_ = running
    guest.run("cd /sys/module/dm_bufio/parameters; echo 1 > max_age_seconds; echo 0 > retain_bytes")
    guest.run(f"printf %4096s old > {STORE}/replayed; sync")
    guest.drop_caches()
    old = blocks_of(guest.disk("store"))
    guest.run(f"printf %4096s new | dd of={STORE}/replayed conv=notrunc,fsync 2>/dev/null; sync")
    guest.drop_caches()
    new = blocks_of(guest.disk("store"))
    assert guest.run(f"cat {STORE}/replayed").out.strip() == "new"
    guest.run("sleep 35")
    guest.drop_caches()
    changed = [number for number, data in new.items() if old.get(number) != data]
    for number in changed:
        write_block(guest.disk("store"), number, old.get(number, bytes(BLOCK)))
    got = guest.run(f"cat {STORE}/replayed", check=None)
    print(f"\n  {len(changed)} blocks put back: the guest reads {got.out.strip() or got.err.strip()!r}")
    assert got.out.strip() in ("old", ""), "neither the old bytes nor an error"
