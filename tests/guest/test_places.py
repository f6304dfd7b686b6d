"""Where a store may lie and where it may not, in a real kernel: partitions by label, disks without encryption or without integrity, swap
space, a runtime directory on a disk. Each refusal comes before anything is fetched."""

import gpt
import pytest
import ttrpc
from scenario import STORE, blocks_of, marked_image

CONFIG = "/run/confidential-containers/initdata/cdh.toml"
CLOSE = f"guest-pull --config {CONFIG} volume close"


@pytest.fixture
def place(world, new_guest):
    """place(disks): a Place with a booted guest."""
    def make(name, disks, prepare=None):
        return Place(world, new_guest(disks=disks), name, prepare)
    return make


class Place:
    """A guest, an image, and pulls with one configuration or another."""

    def __init__(self, world, guest, name, prepare):
        self.world, self.guest = world, guest
        self.image = marked_image(world.marks)
        self.name = world.push(self.image, name)
        if prepare:
            prepare(guest)
            guest.cold_boot()  # the kernel looks for partitions then
        else:
            guest.boot()
        guest.start_service(world.config({}), hub=world.hub)

    def configure(self, text):
        self.guest.put(CONFIG, text)

    def works(self):
        assert self.guest.pull(self.name) == self.image.digest, self.guest.service_log()
        self.guest.run("umount /run/kata-containers/c1/rootfs && rm -r /run/kata-containers/c1")

    def refused(self, words):
        mark = self.world.registry.mark()
        with pytest.raises(ttrpc.Refusal) as failure:
            self.guest.pull(self.name)
        print(f"  {failure.value}")
        assert words in str(failure.value)
        assert not [line for line in self.world.registry.since(mark) if any(layer.digest in line for layer in self.image.layers)]
        assert self.guest.run("findmnt /run/kata-containers/c1/rootfs", check=None).status != 0


def test_partitions_are_found_by_label(place, world):
    """The one that is named is overwritten, its neighbours are not touched; two of one name are none."""
    def prepare(guest):
        gpt.write(guest.disk("store"), [("other", 64 << 20), ("store", 512 << 20), ("twin", 100 << 20), ("twin", 100 << 20)])
        with open(guest.disk("store"), "r+b") as disk:
            disk.seek(2 << 20)
            disk.write(b"neighbour" * 1000)
    print()
    here = place("label", {"store": "1G"}, prepare)
    here.configure(world.config({"device": "PARTLABEL=store"}))
    here.works()
    status = here.guest.run(f"guest-pull --json --config {CONFIG} volume status").json
    assert status["device"] == "/dev/vda2" and status["integrity"] and status["bytes"] < 512 << 20
    here.guest.run(CLOSE + "; sync")
    touched = {number * 4096 >> 20 for number in blocks_of(here.guest.disk("store"))}
    # The first MiB and the last hold the table, the third what was written above; the partition is from 65 to 577.
    assert touched - set(range(65, 577)) <= {0, 2, 1023} and len(touched) > 20
    with open(here.guest.disk("store"), "rb") as disk:
        disk.seek(2 << 20)
        assert disk.read(9000) == b"neighbour" * 1000
    here.configure(world.config({"device": "PARTLABEL=twin"}))
    here.refused("are partitions labelled twin (usage). Name the device itself.")
    here.configure(world.config({"device": "PARTLABEL=absent"}))
    here.refused("no partition is labelled absent (not-found)")
    here.configure(world.config({"device": "/dev/vda3"}))
    here.works()


def test_memory_is_not_swapped_to_a_plain_disk(place, world):
    print()
    here = place("swap", {"store": "1G", "swap": "64M"})
    guest = here.guest
    guest.run("mkswap /dev/vdb && swapon /dev/vdb")
    here.refused("memory is swapped to /dev/vdb, which is not encrypted: keys and writable layers would get there (unsupported). swapoff /dev/vdb")
    guest.run("swapoff /dev/vdb && printf k | cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --hash sha512 --key-file - "
              "/dev/vdb swap && mkswap /dev/mapper/swap && swapon /dev/mapper/swap")
    here.works()
    guest.run("swapoff /dev/mapper/swap && cryptsetup close swap && mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && dd if=/dev/zero of=/mnt/s bs=1M "
              "count=8 2>/dev/null && chmod 600 /mnt/s && mkswap /mnt/s && swapon /mnt/s")
    here.refused("memory is swapped to /mnt/s, which is not encrypted")
    guest.run("swapoff /mnt/s; umount /mnt")
    here.works()


def test_no_store_without_encryption_and_none_without_integrity(place, world):
    print()
    here = place("plain", {"store": "1G"})
    guest, no_volume = here.guest, {"allow_unencrypted_store": False}
    here.configure(world.config(None, **no_volume))
    here.refused("so not on dm-crypt (unsupported). For debugging on a plain disk: --allow-unencrypted-store")
    guest.run(f"mkfs.ext4 -q /dev/vda && mount /dev/vda {STORE}")
    here.refused("the store is on vda, which is not encrypted (no dm-crypt) (unsupported)")
    # A mapping that does not encrypt, with the name and the mark of one that does anything else.
    guest.run(f"umount {STORE} && DM_DISABLE_UDEV=1 dmsetup create guest-pull --uuid CRYPT-VERITY-0-guest-pull --table \"0 $(blockdev --getsz /dev/vda) linear "
              f"/dev/vda 0\" && mount /dev/mapper/guest-pull {STORE}")
    here.refused("the store is on vda, which is not encrypted (no dm-crypt)")
    here.configure(world.config({}))
    here.refused("the store is on vda, which is not encrypted (no dm-crypt)")
    # What an administrator has encrypted himself is taken where no volume is configured, but not for a volume with integrity.
    guest.run(f"umount {STORE} && DM_DISABLE_UDEV=1 dmsetup remove guest-pull && printf k | cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 "
              f"--hash sha512 --key-file - /dev/vda guest-pull && mkfs.ext4 -q /dev/mapper/guest-pull && mount /dev/mapper/guest-pull {STORE}")
    here.refused("which is encrypted without integrity (no dm-integrity below it) (unsupported)")
    here.configure(world.config(None, **no_volume))
    here.works()
    # Locks, receipts and keys stay in memory.
    here.configure(world.config(None, runtime_dir=f"{STORE}/run", **no_volume))
    here.refused(f"the runtime directory {STORE}/run is not in memory (no tmpfs) (unsupported)")
