"""Volumes that are small, in a file, and full: the filesystem of each, what is left behind, and that a container's volume is not closed."""

import pytest
import ttrpc
from scenario import STORE, marked_image, random_image, read_back, search_disk

CONFIG = "/run/confidential-containers/initdata/cdh.toml"
ROOTFS = "/run/kata-containers/c1/rootfs"
IN_A_FILE = {"device": "/mnt/volume.img", "size": "256M"}


def with_file(guest):
    """A plain disk below the volume's file, as for debugging."""
    guest.run("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt")


def loops(guest) -> str:
    return guest.run("cat /sys/block/loop*/loop/backing_file 2>/dev/null", check=None).out


def unmount(guest):
    guest.run(f"umount {ROOTFS} && rm -r /run/kata-containers/c1")


def test_a_volume_in_a_file(world, new_guest):
    image = marked_image(world.marks)
    name = world.push(image, "file")
    guest = new_guest(disks={"store": "1G"}).boot()
    with_file(guest)
    guest.start_service(world.config(IN_A_FILE), hub=world.hub)
    assert guest.pull(name) == image.digest, guest.service_log()
    source, kind = guest.run(f"findmnt -no SOURCE,FSTYPE {STORE}").out.split()
    assert (source, kind) == ("/dev/mapper/guest-pull", "ext4")  # XFS needs 512 MiB to be of use
    status = guest.run(f"guest-pull --json --config {CONFIG} volume status").json
    assert status["open"] and status["integrity"] and status["device"].startswith("/dev/loop") and status["bytes"] < 256 << 20
    assert loops(guest) == "/mnt/volume.img\n"
    # While a container uses it, it stays, whole.
    refused = guest.run(f"guest-pull --json --config {CONFIG} volume close", check=2)
    assert refused.message == "volume: still in use: 1 container"
    assert refused.error["detail"] == "First: guest-pull umount /run/kata-containers/c1"
    kinds = read_back(guest, ROOTFS, image)
    assert not kinds["wrong"] and not kinds["error"] and guest.run(f"findmnt {STORE}").out
    guest.run("sync")
    found, _, looked = search_disk(guest.disk("store"), {"token": world.marks.token, "policy": b"sigstoreSigned"}, set())
    assert looked > 3 << 20 and not any(found.values()), found
    unmount(guest)
    guest.run(f"guest-pull --config {CONFIG} volume close")
    assert guest.run("dmsetup ls").out == "No devices found\n" and loops(guest) == ""
    # What is found in the file is ignored and overwritten.
    assert guest.pull(name) == image.digest, guest.service_log()


@pytest.mark.parametrize("filesystem, volume", [("ext4", IN_A_FILE), ("xfs", {})], ids=["ext4", "xfs"])
def test_a_full_volume(world, new_guest, filesystem, volume):
    """Room for nothing, for a part of a layer, for some layers: refused as "space", nothing half is left, and with room the same pull succeeds."""
    print()
    small, image = random_image(1, 1 << 20), random_image(3, 4 << 20, files=200)
    first, name = world.push(small, f"small-{filesystem}"), world.push(image, f"full-{filesystem}")
    guest = new_guest(disks={"store": "1G"}).boot()
    if volume:
        with_file(guest)
    # What is there is not to be removed for what comes.
    guest.start_service(world.config(volume, store_low_water=0, store_high_water=0), hub=world.hub)
    assert guest.pull(first) == small.digest, guest.service_log()
    unmount(guest)
    assert guest.run(f"findmnt -no FSTYPE {STORE}").out == f"{filesystem}\n"
    filler = f"{STORE}/filler"
    for kilobytes in (100, 1_000, 6_000):
        guest.run(f"free=$(df -k {STORE} | tail -n 1 | sed 's/  */ /g' | cut -d ' ' -f 4); fallocate -l $(((free - {kilobytes}) * 1024)) {filler}")
        with pytest.raises(ttrpc.Refusal) as failure:
            guest.pull(name)
        print(f"  {filesystem}, {kilobytes} kB left: {str(failure.value).split(': ', 4)[-1]}")
        assert "(space)" in str(failure.value)
        assert guest.run(f"findmnt {ROOTFS}; ls -A /run/kata-containers/c1; find {STORE}/staging {STORE}/repo/refs/heads/making -mindepth 1",
                         check=None).out == ""
        guest.run(f"guest-pull --config {CONFIG} fsck && rm {filler}")
    assert guest.pull(name) == image.digest, guest.service_log()
    kinds = read_back(guest, ROOTFS, image)
    assert len(kinds["right"]) == 600 and guest.run(f"guest-pull --config {CONFIG} fsck").status == 0
    unmount(guest)
    assert guest.pull(first) == small.digest  # it is still there
