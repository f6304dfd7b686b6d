"""Demonstration 4: a persistent volume over a reboot, with the right key, a wrong one, and headers that the host has changed."""

import copy
import json
import os

import luks2
import pytest
import ttrpc
from scenario import BLOCK, STORE, blocks_of, marked_image, read_back, write_block


def test_layers_of_an_earlier_boot_are_verified_and_reused(world, new_guest):
    image = marked_image(world.marks)
    name = world.push(image, "kept")
    guest = new_guest(disks={"store": "1G"}).boot()
    config = world.config(world.persistent())
    guest.start_service(config, hub=world.hub)
    assert guest.pull(name) == image.digest, guest.service_log()
    guest.reboot()
    guest.start_service(config, hub=world.hub)
    mark = world.registry.mark()
    assert guest.pull(name) == image.digest, guest.service_log()
    fetched = [line for line in world.registry.since(mark) if any(layer.digest in line for layer in image.layers)]
    assert fetched == []
    assert len(read_back(guest, "/run/kata-containers/c1/rootfs", image)["right"]) == 3 * 8 + 2


def test_what_changed_while_the_guest_was_off_is_not_reused(world, new_guest):
    """The host cannot write valid sectors, but somebody who once had the key could: a file of a layer is other than it was verified."""
    image = marked_image(world.marks)
    name = world.push(image, "changed")
    guest = new_guest(disks={"store": "1G"}).boot()
    config = world.config(world.persistent())
    guest.start_service(config, hub=world.hub)
    assert guest.pull(name) == image.digest, guest.service_log()
    guest.run("umount /run/kata-containers/c1/rootfs")
    victim = guest.run(f"find {STORE}/layers -type f -name 'file3-*' | head -n 1").out.strip()
    guest.run(f"touch -r {victim} /run/ref; printf X | dd of={victim} bs=1 seek=77 conv=notrunc 2>/dev/null; touch -r /run/ref {victim}; sync")
    guest.reboot()
    guest.start_service(config, hub=world.hub)
    mark = world.registry.mark()
    assert guest.pull(name) == image.digest, guest.service_log()
    assert any(layer.digest in line for line in world.registry.since(mark) for layer in image.layers)
    kinds = read_back(guest, "/run/kata-containers/c1/rootfs", image)
    assert kinds["wrong"] == kinds["error"] == []


# dm-integrity's own superblock lies before the data and is read by the kernel: (what, place, bytes), as "struct superblock" of the
# kernel's drivers/md/dm-integrity.c has it.
SUPERBLOCK = 1 << 20
CHANGES = [("magic", 0, b"other"), ("version", 8, b"\7"), ("interleaving", 9, b"\5"), ("tag size", 10, b"\4\0"), ("journal size", 12, b"\3\0\0\0"),
           ("fewer sectors", 16, (64 << 11).to_bytes(8, "little")), ("more sectors", 16, (1 << 40).to_bytes(8, "little")),
           ("recalculate", 24, b"\2\0\0\0"), ("dirty bitmap", 24, b"\4\0\0\0"), ("sector size", 28, b"\0"), ("garbage", 0, b"\xa5" * 512)]


def test_the_integrity_superblock_is_the_hosts_too(world, new_guest):
    """Whatever it says, sectors are opened with our key or not at all: the volume is refused, or reads fail, or nothing has changed."""
    image = marked_image(world.marks)
    name = world.push(image, "superblock")
    guest = new_guest(disks={"store": "1G"}).boot()
    guest.start_service(world.config(world.persistent()), hub=world.hub)
    close = "guest-pull --config /run/confidential-containers/initdata/cdh.toml volume close"
    assert guest.pull(name) == image.digest, guest.service_log()
    guest.run(f"umount /run/kata-containers/c1/rootfs && rm -r /run/kata-containers/c1; {close}; sync")
    disk = guest.disk("store")
    good = blocks_of(disk)
    assert good[SUPERBLOCK // BLOCK].startswith(b"integrt\0")
    print()
    for what, place, data in CHANGES:
        guest.drop_caches()
        with open(disk, "r+b") as file:
            file.seek(SUPERBLOCK + place)
            file.write(data)
        try:
            assert guest.pull(name) == image.digest
            kinds = read_back(guest, "/run/kata-containers/c1/rootfs", image)
            assert kinds["wrong"] == []
            print(f"  {what}: opens; {len(kinds['right'])} files right, {len(kinds['error'])} error")
            guest.run("umount /run/kata-containers/c1/rootfs && rm -r /run/kata-containers/c1")
        except ttrpc.Refusal as failure:
            print(f"  {what}: {failure}")
            assert "guest-pull volume open --discard makes the volume anew" in str(failure)
        guest.run(f"{close}; sync")
        for number, data in blocks_of(disk).items():
            if good.get(number) != data:
                write_block(disk, number, good.get(number, bytes(BLOCK)))
    guest.drop_caches()
    assert guest.pull(name) == image.digest, guest.service_log()
    kinds = read_back(guest, "/run/kata-containers/c1/rootfs", image)
    assert kinds["wrong"] == kinds["error"] == []


def keyslot(document):
    document["keyslots"]["1"] = copy.deepcopy(document["keyslots"]["0"])


def segment(key, change):
    def edit(document):
        document["segments"]["0"][key] = change(document["segments"]["0"][key])
    return edit


HEADERS = {
    "null cipher": (segment("encryption", lambda _: "cipher_null-ecb"), "$.segments.0.encryption"),
    "other cipher": (segment("encryption", lambda _: "aes-xts-plain64"), "$.segments.0.encryption"),
    "shifted segment": (segment("offset", lambda old: str(int(old) + 4096)), "$.segments.0.offset"),
    "other sector size": (segment("sector_size", lambda _: 512), "$.segments.0.sector_size"),
    "added keyslot": (keyslot, "$.keyslots"),
    "no integrity": (lambda document: document["segments"]["0"].pop("integrity"), "$.segments.0.integrity"),
    "reencryption": (lambda document: document["config"].update(requirements={"mandatory": ["online-reencrypt-v2"]}),
                     "$.config.requirements"),
    "token": (lambda document: document["tokens"].update({"0": {"type": "luks2-keyring", "keyslots": ["0"]}}), "$.tokens"),
}


def test_wrong_key_and_hostile_headers_are_refused(world, new_guest):
    image = marked_image(world.marks)
    name = world.push(image, "headers")
    guest = new_guest(disks={"store": "1G"}).boot()
    guest.start_service(world.config(world.persistent()), hub=world.hub)
    config = "--config /run/confidential-containers/initdata/cdh.toml"
    assert guest.pull(name) == image.digest, guest.service_log()
    # The header as it is now was read, and will not be read again: what the host makes of it under an open volume changes nothing.
    guest.run("sync")
    disk = guest.disk("store")
    with open(disk, "r+b") as file:
        good = file.read(1 << 20)
        file.seek(0)
        file.write(os.urandom(1 << 20))
    kinds = read_back(guest, "/run/kata-containers/c1/rootfs", image)
    assert kinds["wrong"] == kinds["error"] == []
    other = marked_image(world.marks, seed=5)
    assert guest.pull(world.push(other, "under-a-changed-header"), "c0") == other.digest
    guest.run(f"umount /run/kata-containers/c0/rootfs; umount /run/kata-containers/c1/rootfs; guest-pull {config} volume close")
    with open(disk, "r+b") as file:
        file.write(good)
        file.seek(0)
        good = file.read(9 << 20)  # as far as the giant one reaches

    def refused(what: str, reason: str) -> None:
        guest.drop_caches()
        with pytest.raises(ttrpc.Refusal) as failure:
            guest.pull(name, "c2")
        print(f"  {what}: {failure.value}")
        assert reason in str(failure.value)
        assert guest.run("findmnt /run/kata-containers/c2/rootfs; dmsetup ls", check=None).out.strip() == "No devices found"
        with open(disk, "r+b") as file:
            file.write(good)

    print()
    right = world.hub.resources["default/volume/key"]
    world.hub.resources["default/volume/key"] = world.hub.resources["default/volume/other"]
    refused("wrong key", "(key)")
    world.hub.resources["default/volume/key"] = right
    for what, (change, place) in HEADERS.items():
        luks2.edit(disk, change)
        refused(what, f"volume header: {place}")
    luks2.write(disk, b"{garbage" * 100)
    refused("garbage JSON", "volume header")
    luks2.write(disk, json.dumps({"x": ["y" * 1000] * 4000}).encode(), size=4 << 20)
    refused("giant JSON", "volume header: header size")
    guest.drop_caches()
    assert guest.pull(name, "c2") == image.digest, "the untouched header opens again"
    # What to do about a volume that is lost, and what an ephemeral one makes of whatever it finds.
    for name_of_it, options, volume in (("--discard", "--discard", world.persistent()), ("ephemeral", "", {})):
        guest.run(f"umount /run/kata-containers/c2/rootfs && rm -r /run/kata-containers/c2 && guest-pull {config} volume close")
        if options:
            luks2.write(disk, b"{garbage")
        guest.put(config.split()[1], world.config(volume))
        guest.run(f"guest-pull {config} volume open {options}")
        assert guest.run(f"ls -A {STORE}").out.split() in ([], ["lost+found"]), name_of_it
        assert guest.pull(name, "c2") == image.digest, guest.service_log()
