"""Who pulls and unpacks images: peers from Debian, the physical floor, and guest-pull. Each has cold(image) and, if it has one, warm(image);
both return a Cost. `folder` is on a fresh filesystem."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.request

from measure import run

CONTAINERD = """version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{0}/s.sock"
[ttrpc]
  address = "{0}/t.sock"
"""


class Contender:
    """programs: what must be installed. world: the bench's World (registry, keys, programs)."""

    name = ""
    programs: tuple[str, ...] = ()

    def __init__(self, world, folder: pathlib.Path, memory: bool):
        self.world, self.folder, self.memory = world, folder, memory

    @classmethod
    def missing(cls) -> list[str]:
        return [program for program in cls.programs if not shutil.which(program)]

    def run(self, *command, **more):
        return run(command, memory=self.memory, **more)

    def stop(self):
        pass


class Podman(Contender):
    name = "podman"
    programs = ("podman",)
    tool = "podman"

    def cold(self, image):
        return self.run(self.tool, "--root", self.folder / "root", "--runroot", self.folder / "run", "--storage-driver", "overlay", "pull",
                        "-q", "--tls-verify=false", self.world.reference(image))

    warm = cold


class Buildah(Podman):
    name = tool = "buildah"
    programs = ("buildah",)


class SkopeoUmoci(Contender):
    name = "skopeo+umoci"
    programs = ("skopeo", "umoci")

    def cold(self, image):
        layout = f"{self.folder}/oci"
        copied = self.run("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false",
                          "docker://" + self.world.reference(image), f"oci:{layout}:x")
        if image.endswith("zst"):  # Debian 12's umoci has no zstd
            raise NotImplementedError
        return copied + self.run("umoci", "unpack", "--image", layout + ":x", self.folder / "bundle")

    warm = None


class Ctr(Contender):
    name = "containerd (ctr)"
    programs = ("containerd", "ctr")

    def __init__(self, world, folder, memory):
        super().__init__(world, folder, memory)
        (folder / "config.toml").write_text(CONTAINERD.format(folder))
        self.daemon = subprocess.Popen(["containerd", "-c", folder / "config.toml", "-l", "error"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        for _ in range(200):
            if (folder / "s.sock").exists() and self._ctr("version", capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError("containerd does not start")

    def _ctr(self, *words, **more):
        return subprocess.run(["ctr", "-a", self.folder / "s.sock", *words], check=False, **more)

    def cold(self, image):
        return self.run("ctr", "-a", self.folder / "s.sock", "-n", "bench", "images", "pull", "--plain-http", "--snapshotter",
                        "overlayfs", self.world.reference(image), daemon=self.daemon.pid)

    warm = cold

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait()


class Floor(Contender):
    """Download, both hashes, inflate, untar, write; two layers at a time, nothing else: bench/floor.c."""

    name = "floor"
    programs = ("curl", "xargs")

    def cold(self, image):
        request = urllib.request.Request(f"http://{self.world.registry.host}/v2/{image}/manifests/latest",
                                         headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        layers = json.load(urllib.request.urlopen(request))["layers"]
        form = "zstd" if image.endswith("zst") else "gzip"
        (self.folder / "work").write_text("".join(f"{i} {layer['digest']}\n" for i, layer in enumerate(layers)))
        script = (f'curl -s http://{self.world.registry.host}/v2/{image}/blobs/$1 | {self.world.floor} {form} {self.folder}/layer$0 $1')
        return self.run("xargs", "-a", self.folder / "work", "-P", "2", "-L", "1", "sh", "-ec", script)

    warm = None


class GuestPull(Contender):
    """With a cosign signature that the policy demands, an overlay mount and config.json at the end: the whole job."""

    name = "guest-pull"
    policy = "key.json"

    def __init__(self, world, folder, memory):
        super().__init__(world, folder, memory)
        self.bundles, self.store = 0, folder / "store"

    def pull(self, image):
        bundle = self.folder / f"bundle{self.bundles}"
        self.bundles += 1
        bundle.mkdir()
        world = self.world
        config = world.folder / "guest-pull.toml"
        cost = self.run(world.guest_pull, "pull", world.reference(image), "--bundle", bundle, "--store", self.store,
                        "--allow-unencrypted-store", "--config", config, "--policy", world.folder / self.policy, "--registries-d",
                        world.folder / "registries.d", "--plain-http", world.registry.host, "--quiet")
        subprocess.run(["umount", bundle / "rootfs"], check=True)
        return cost

    cold = warm = pull


class GuestPullGpg(GuestPull):
    """The same with a GPG signature."""

    name = "guest-pull (GPG)"
    policy = "gpg.json"
    cold = None


class GuestPullEncrypted(GuestPull):
    """The image's encrypted twin; the key broker is a thread of the bench."""

    name = "guest-pull (encrypted)"
    warm = None

    def cold(self, image):
        return self.pull(image + "-encrypted")


ALL = [Podman, Ctr, SkopeoUmoci, Buildah, Floor, GuestPull, GuestPullEncrypted]


def clear_caches():
    """What peers keep outside of their stores."""
    try:
        os.unlink("/var/lib/containers/cache/blob-info-cache-v1.boltdb")
    except FileNotFoundError:
        pass
