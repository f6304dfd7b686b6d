"""Demonstration 1: a signed image goes through the service into a container on the encrypted store."""

import pytest
from scenario import STORE, marked_image


COMMAND = "id -u; cat /etc/passwd; mkdir /written; dd if=/dev/zero of=/written/zeros bs=1M count=48 2>/dev/null; echo kept > /tmp/here; df -m /"


@pytest.mark.parametrize("which", ["newest", "stable"])
def test_signed_image_runs_from_an_encrypted_store(world, machine_of, new_guest, which):
    image = marked_image(world.marks, command=COMMAND)
    name = world.push(image, f"app-{which}")
    guest = new_guest(machine_of(which), disks={"store": "1G"}).cold_boot()
    eager = which == "stable"
    guest.start_service(world.config({"eager": eager}), hub=world.hub)
    if eager:
        guest.run(f"for i in $(seq 200); do findmnt {STORE} > /dev/null && exit 0; sleep 0.1; done; exit 1")
    else:
        assert guest.run("dmsetup ls").out == "No devices found\n", "the first pull opens the volume"
    assert guest.pull(name, "c1") == image.digest, guest.service_log()
    rootfs = "/run/kata-containers/c1/rootfs"
    mounted = guest.run(f"findmnt -no FSTYPE,OPTIONS {rootfs}").out
    assert mounted.startswith("overlay ")
    source, kind, options = guest.run(f"findmnt -no SOURCE,FSTYPE,OPTIONS {STORE}").out.split()
    assert source == "/dev/mapper/guest-pull" and {"nosuid", "nodev", "noexec"} <= set(options.split(","))
    table = guest.run("dmsetup table").out
    assert "guest-pull: 0 " in table and " crypt capi:gcm(aes)-random :32:logon:" in table and " integrity 254:0 " in table
    before = guest.memory()
    done = guest.run("crun --root /run/crun run --bundle /run/kata-containers/c1 app")
    assert done.out.startswith("0\nroot:x:0:0:root:/:/bin/sh\n"), done
    assert guest.get(f"{rootfs}/tmp/here") == b"kept\n"
    used = guest.memory()["Shmem"] - before["Shmem"]
    assert (48 << 20) - (128 << 10) <= used < 49 << 20  # files of a page or two come and go
    guest.run(f"umount {rootfs}")
    after = guest.memory_back(before)
    print(f"\n  {guest.machine}: {mounted.strip()}\n  store: {source} {kind} {options}\n  {table.strip()}\n  the upper took {used >> 10} KiB of memory; after the unmount memory files hold "
          f"{(after['Shmem'] - before['Shmem']) >> 10:+} KiB, free memory is {(after['Free'] - before['Free']) >> 10:+} KiB "
          f"({(after['Listed'] - before['Listed']) >> 10:+} KiB of it on the processors' lists)")
