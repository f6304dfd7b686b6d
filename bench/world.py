"""What all contenders share: a corpus in a registry on loopback, keys and policies, and fresh filesystems."""

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))

from encryption import KeyHub, Keys, skopeo_encrypt  # noqa: E402
from registry import Registry  # noqa: E402
from signing import CosignKey, GpgKey, cosign_sign, simple_payload, write_lookaside, write_registries_d  # noqa: E402

BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
PEERS = pathlib.Path(os.environ.get("GUEST_PULL_PEERS", "/var/cache/guest-pull-peers"))
CACHE = pathlib.Path(os.environ.get("GUEST_PULL_BENCH_CACHE", "/var/cache/guest-pull-bench"))


class World:
    """images: names in the registry ("web-gz"). Everything is gone at the end but the corpus."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.guest_pull, self.floor = BUILD / "bin/guest-pull", BUILD / "bench/floor"
        self.registry = Registry(self.folder / "registry")
        self.key = CosignKey(self.folder / "keys")
        self.gpg = GpgKey("bench")
        self.sizes = {}
        self.wrapping = Keys(self.folder / "wrapping")
        self.hub = KeyHub(self.folder / "cdh.sock", self.wrapping)
        self._policy("key.json", {"type": "sigstoreSigned", "keyPath": self.key.public})
        self._policy("gpg.json", {"type": "signedBy", "keyType": "GPGKeys", "keyPath": self.gpg.public,
                                  "signedIdentity": {"type": "matchRepository"}})
        write_registries_d(self.folder / "registries.d", self.folder / "lookaside")
        (self.folder / "guest-pull.toml").write_text(
            f'[guest_pull]\nruntime_dir = "{self.folder}/run"\nmeasurement = "off"\ncdh_socket = "{self.folder}/cdh.sock"\n')

    def _policy(self, name, requirement):
        document = {"default": [{"type": "reject"}], "transports": {"docker": {self.registry.host: [requirement]}}}
        (self.folder / name).write_text(json.dumps(document))

    def reference(self, image: str) -> str:
        return f"{self.registry.host}/{image}:latest"

    def add(self, image: str, layout: str):
        """Pushes an OCI layout ("oci:DIR:TAG") as `image` and signs it twice."""
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", layout, "docker://" + self.reference(image)],
                       check=True)
        self._sign_pushed(image)

    def add_encrypted(self, image: str, layout: str):
        """The same, every layer encrypted by skopeo 1.22 (tests/tools/peers.sh)."""
        skopeo_encrypt(PEERS / "bin/skopeo", layout, "docker://" + self.reference(image), self.wrapping)
        self._sign_pushed(image)

    def _sign_pushed(self, image):
        raw = self.registry.get_manifest(image, "latest")
        self.sign(image, json.loads(raw), raw)

    def sign(self, image: str, manifest: dict, raw: bytes):
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.sizes[image] = sum(layer["size"] for layer in manifest["layers"])
        cosign_sign(self.registry, image, digest, self.key)
        write_lookaside(self.folder / "lookaside", image, digest, self.gpg.sign(simple_payload(digest, self.reference(image))))

    def stop(self):
        self.hub.stop()
        self.registry.stop()
        self.gpg.stop()


@contextlib.contextmanager
def world():
    with tempfile.TemporaryDirectory(prefix="gp-bench-") as folder:
        made = World(folder)
        try:
            yield made
        finally:
            made.stop()


class Disk:
    """A sparse file in memory that becomes a fresh, journalled ext4 each time: no run sees what another left."""

    def __init__(self, folder: pathlib.Path, size: str = "14G"):
        self.ram, self.point = folder / "ram", folder / "disk"
        for path in (self.ram, self.point):
            path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90%", "bench", self.ram], check=True)
        self.file, self.size = self.ram / "image", size

    @contextlib.contextmanager
    def fresh(self):
        subprocess.run(["truncate", "-s", self.size, self.file], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "3000000", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", self.file], check=True)
        subprocess.run(["mount", "-o", "loop,noatime", self.file, self.point], check=True)
        try:
            (self.point / "work").mkdir()
            yield self.point / "work"
        finally:
            for point in reversed(mounts_below(self.point)):
                subprocess.run(["umount", "-l" if point != str(self.point) else "-R", point], check=False)
            self.file.unlink()

    def stop(self):
        """The kernel lets a loop device go a little later than its mount."""
        for _ in range(50):
            if subprocess.run(["umount", self.ram], check=False, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        subprocess.run(["umount", "-l", self.ram], check=True)


def mounts_below(folder) -> list[str]:
    prefix, found = str(folder), []
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        for line in lines:
            point = line.split()[4]
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return found
