"""Demonstration 7: the power fails while a persistent store is written to."""

import os
import random
import threading
import time

import ttrpc
from conftest import rounds
from scenario import random_image, read_back

CONFIG = "/run/confidential-containers/initdata/cdh.toml"
ROOTFS = "/run/kata-containers/c1/rootfs"


def test_power_cuts_never_leave_a_damaged_layer(world, new_guest):
    """Each boot pulls the images that it pulled before (whatever was kept of them must be whole), and one more while the power fails."""
    kept = random_image(3, 2 << 20)
    kept_name = world.push(kept, f"power-{os.urandom(4).hex()}")
    guest = new_guest(disks={"store": "1G"})
    opened, discarded, reused, last = 0, 0, 0, None
    count = rounds(20)
    for number in range(count + 1):
        guest.boot()
        guest.start_service(world.config(world.persistent()), hub=world.hub)
        mark = world.registry.mark()
        for name, image in [(kept_name, kept), *([last] if last else [])]:
            try:
                assert guest.pull(name) == image.digest
            except ttrpc.Refusal as failure:
                # A volume whose making was cut short may be refused, with what to do; then it is made anew.
                print(f"\n  boot {number}: {failure}")
                assert "--discard" in str(failure), guest.service_log()
                guest.run(f"guest-pull --config {CONFIG} volume open --discard")
                discarded += 1
                assert guest.pull(name) == image.digest, guest.service_log()
            kinds = read_back(guest, ROOTFS, image)
            assert kinds["wrong"] == kinds["error"] == [], (number, kinds)
            guest.run(f"umount {ROOTFS} && rm -r /run/kata-containers/c1")
        opened += 1
        fetched = sum(layer.digest in line for line in world.registry.since(mark) for layer in kept.layers)
        reused += len(kept.layers) - min(fetched, len(kept.layers))
        checked = guest.run(f"guest-pull --config {CONFIG} fsck", check=None)
        assert checked.status == 0, checked
        if number == count:
            break
        image = random_image(4, 2 << 20)
        last = (world.push(image, f"cut-{number}-{os.urandom(4).hex()}"), image)
        pulling = threading.Thread(target=quietly, args=(guest, last[0]))
        pulling.start()
        time.sleep(random.uniform(0, 4))
        guest.kill()
        pulling.join(60)
    guest.kill()
    print(f"\n  {count} power cuts: {opened} boots opened the volume, {discarded} of them made it anew; {reused} times a layer was there and whole")


def quietly(guest, name):
    try:
        guest.pull(name, "cut")
    except (OSError, ttrpc.Refusal, AssertionError, KeyError):
        pass
