"""Debian's kernels for the guest: downloaded by apt (which checks them against the archive's signatures), unpacked, not installed.

The packages come from wherever this machine's apt gets its own; backports' index is asked for at the same place, with lists of our
own, so that nothing of the machine's configuration changes."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

CACHE = pathlib.Path(os.environ.get("GUEST_PULL_GUEST_CACHE", "/var/cache/guest-pull-guest"))
META = "linux-image-cloud-amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What a guest with an encrypted store can want; all of the kernel's drivers are three times as much.
FOLDERS = ("arch/x86/crypto", "crypto", "lib", "drivers/md", "drivers/block/virtio_blk", "drivers/block/loop",
           "drivers/block/brd", "drivers/virtio", "drivers/net/virtio_net", "drivers/net/net_failover", "net/core",
           "drivers/char/hw_random", "fs/ext4", "fs/jbd2", "fs/mbcache", "fs/xfs", "fs/overlayfs", "drivers/pci/hotplug")


@dataclasses.dataclass
class Kernel:
    release: str
    folder: pathlib.Path

    @property
    def image(self) -> pathlib.Path:
        return self.folder / "vmlinuz"

    @property
    def modules(self) -> pathlib.Path:
        """A tree with lib/modules/RELEASE in it."""
        return self.folder / "tree"

    def __str__(self):
        return self.release


class Unavailable(Exception):
    """No kernel can be had; the text says why."""


def _run(*command, **more) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **more)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command[:3]))}…: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Apt:
    """The machine's own apt, or (suite given) one that sees that suite alone, at the mirror of the machine's own suite."""

    def __init__(self, suite_suffix: str | None = None):
        self.options = ["-o", "APT::Sandbox::User=root"]
        self.folder = None
        if suite_suffix:
            self.folder = tempfile.TemporaryDirectory(prefix="gp-apt-")
            here = pathlib.Path(self.folder.name)
            (here / "lists/partial").mkdir(parents=True)
            (here / "cache/archives/partial").mkdir(parents=True)
            mirror, suite = self._mirror()
            (here / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite}{suite_suffix} main\n")
            self.options += ["-o", f"Dir::Etc::sourcelist={here}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
                             "-o", f"Dir::State::lists={here}/lists", "-o", f"Dir::Cache={here}/cache"]
            _run("apt-get", *self.options, "-qq", "update")

    @staticmethod
    def _mirror() -> tuple[str, str]:
        codename = _run("sh", "-c", '. /etc/os-release; echo "$VERSION_CODENAME"').strip()
        listing = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)")
        for line in listing.splitlines():
            uri, name = line.split()
            if name == codename:
                return uri, codename
        raise Unavailable(f"apt has no source of {codename}")

    def newest(self) -> str | None:
        """The package with the kernel that Debian's meta package means."""
        text = _run("apt-cache", *self.options, "show", "--no-all-versions", META)
        found = re.search(r"^Depends: .*?(linux-image-[0-9]\S+-cloud-amd64)", text, re.M)
        return found.group(1) if found else None

    def download(self, package: str, folder) -> pathlib.Path:
        _run("apt-get", *self.options, "-qq", "download", package, cwd=folder)
        return next(pathlib.Path(folder).glob("*.deb"))


def _unpack(package: pathlib.Path, into: pathlib.Path) -> str:
    """Kernel and the modules of FOLDERS, uncompressed and with their dependencies listed. Returns the release."""
    everything = into / "all"
    _run("dpkg-deb", "-x", package, everything)
    image = next((everything / "boot").glob("vmlinuz-*"))
    release = image.name.removeprefix("vmlinuz-")
    shutil.move(image, into / "vmlinuz")
    modules = next(path for path in (everything / "lib/modules" / release, everything / "usr/lib/modules" / release) if path.exists())
    target = into / "tree/lib/modules" / release
    target.mkdir(parents=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(modules / name, target / name)
    for folder, _, files in os.walk(modules / "kernel"):
        place = os.path.relpath(folder, modules / "kernel")
        for name in files:
            path = f"{place}/{name}"
            if path.startswith(FOLDERS):
                (target / "kernel" / place).mkdir(parents=True, exist_ok=True)
                shutil.move(os.path.join(folder, name), target / "kernel" / path)
    compressed = [str(path) for path in target.rglob("*.ko.xz")]
    if compressed:
        _run("xz", "--decompress", *compressed)
    _run("depmod", "-b", into / "tree", release)
    shutil.rmtree(everything)
    return release


def _kernel(suite_suffix: str | None) -> Kernel:
    """From the cache, if it is the one that apt knows as the newest, or if apt cannot be asked."""
    label = "kernel" + (suite_suffix or "")
    note = CACHE / f"{label}.package"
    try:
        apt = Apt(suite_suffix)
        package = apt.newest()
        if not package:
            raise Unavailable(f"apt knows no {META}{suite_suffix or ''}")
    except Unavailable:
        if not note.exists():
            raise
        package = note.read_text()
    folder = CACHE / package
    if not (folder / "release").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".kernel-", dir=CACHE) as work:
            made = pathlib.Path(work) / "made"
            made.mkdir()
            (made / "release").write_text(_unpack(apt.download(package, work), made))
            try:
                made.rename(folder)
            except OSError:  # another run was faster
                if not (folder / "release").exists():
                    raise
        note.write_text(package)
    return Kernel((folder / "release").read_text(), folder)


def find_kernels() -> tuple[list[Kernel], list[str]]:
    """The newest first: backports' and the release's own; and why any is missing."""
    found, missing = [], []
    for suffix in ("-backports", None):
        try:
            found.append(_kernel(suffix))
        except (Unavailable, OSError, subprocess.TimeoutExpired, StopIteration) as failure:
            missing.append(f"{META}{suffix or ''}: {failure}")
    return found, missing


if __name__ == "__main__":
    for kernel in find_kernels()[0]:
        print(kernel.release, kernel.folder)
    for line in find_kernels()[1]:
        print("missing:", line)
