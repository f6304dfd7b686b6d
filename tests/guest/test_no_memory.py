"""Memory runs out in the guest, for guest-pulld and all that it starts together. The kernel ends the puller or a worker; guest-pulld lives,
says so, leaves nothing, and the next pull is as if nothing had been."""

import ttrpc
from conftest import rounds
from scenario import STORE, random_image, read_back

CONFIG = "/run/confidential-containers/initdata/cdh.toml"
GROUP = "/sys/fs/cgroup/pulls"
ROOTFS = "/run/kata-containers/c1/rootfs"


class Scene:
    def __init__(self, world, guest):
        self.guest, self.image = guest, random_image(3, 3 << 20, files=24)
        self.name = world.push(self.image, "no-memory")
        guest.boot()
        guest.start_service(world.config({}), hub=world.hub)
        guest.run(f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir {GROUP}; echo $(pidof guest-pulld) > {GROUP}/cgroup.procs")
        self.service = guest.run("pidof guest-pulld").out
        self.ends = []

    def attempt(self, what):
        """A cold pull; True if it succeeded. What must be true of one that did not is asserted."""
        guest = self.guest
        try:
            assert guest.pull(self.name) == self.image.digest
            end = "ok"
        except ttrpc.Refusal as failure:
            end = str(failure).split(": ", 4)[-1]
            assert any(f"({code})" in end for code in ("sandbox", "space", "internal", "limit")), failure
            assert guest.run(f"findmnt {ROOTFS}; ls -A /run/kata-containers/c1", check=None).out == ""
            assert "the puller was killed" in end or self.half_made() == []
        print(f"  {what}: {end}")
        self.ends.append(end)
        assert guest.run("pidof guest-pulld").out == self.service
        return end == "ok"

    def half_made(self):
        """Layers in the making. A puller that was killed leaves them to the next one."""
        return self.guest.run(f"find {STORE}/staging {STORE}/repo/refs/heads/making -mindepth 1", check=None).out.split()

    def works_again(self, succeeded):
        """With memory; and then as cold as before."""
        guest = self.guest
        if not succeeded:
            assert guest.pull(self.name) == self.image.digest, guest.service_log()
        kinds = read_back(guest, ROOTFS, self.image)
        assert kinds["wrong"] == kinds["error"] == self.half_made() == []
        guest.run(f"umount {ROOTFS} && rm -r /run/kata-containers/c1 && guest-pull --config {CONFIG} fsck && "
                  f"guest-pull --config {CONFIG} rm {self.name}")


def test_a_control_group_without_memory(world, new_guest):
    """From too little for anything to enough, the volume's opening included."""
    print()
    scene = Scene(world, new_guest(disks={"store": "1G"}))
    guest = scene.guest
    # With less, guest-pulld itself has no room beside the puller, which the kernel may take too long to clear away.
    limit, factor = 4, 16 ** (1 / rounds(24))
    while limit < 160 and scene.ends[-2:] != ["ok", "ok"]:
        guest.run(f"echo {int(limit * 1024)}K > {GROUP}/memory.max")
        succeeded = scene.attempt(f"{limit:.1f} MiB")
        guest.run(f"echo max > {GROUP}/memory.max")
        scene.works_again(succeeded)
        guest.run(f"guest-pull --config {CONFIG} volume close")
        limit *= factor
    killed = guest.run(f"grep oom_kill {GROUP}/memory.events").out.split()[1]
    print(f"  {killed} processes were ended by the kernel in {len(scene.ends)} pulls")
    assert "ok" in scene.ends and int(killed) > 0
