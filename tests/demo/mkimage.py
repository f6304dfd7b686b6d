#!/usr/bin/python3
"""mkimage.py LAYOUT PACKAGE.deb…: builds the demonstration's images from Debian packages into an OCI layout, the same bytes for the
same packages. One layer a package, and on top a layer with a whiteout, a setuid program and a script. Prints a line
"TAG DIGEST LAYERS" for each image: "app" and "tool" differ in their last layer only."""

import os
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from image import Dir, Entry, File, Hardlink, Image, Layer, Symlink, Whiteout  # noqa: E402

APPLETS = ("sh", "cat", "dd", "df", "echo", "hostname", "id", "ls", "mkdir", "stat", "uname")
SCRIPT = """\
echo "hello from $(cat /etc/demo-name), user $(id -un) on $(hostname)"
echo "setuid program: $(stat -c '%A %u:%g' /usr/local/bin/as-root)"
[ -e /etc/rpc ] && echo "/etc/rpc is there" || echo "/etc/rpc: deleted by a whiteout of the top layer"
dd if=/dev/zero of=/var/lib/demo/written bs=64k count=48 2>/dev/null && echo "wrote 3 MiB to /var/lib/demo/written"
"""


def entry_of(member: tarfile.TarInfo, tar: tarfile.TarFile) -> Entry:
    path = member.name.removeprefix("./").removeprefix(".")
    attributes = {"mode": member.mode, "uid": member.uid, "gid": member.gid, "mtime": int(member.mtime)}
    if member.isdir():
        return Dir(path, **attributes)
    if member.issym():
        return Symlink(path, member.linkname, **attributes)
    if member.islnk():
        return Hardlink(path, member.linkname.removeprefix("./"), **attributes)
    return File(path, tar.extractfile(member).read(), **attributes)


def read_package(path: str) -> list[Entry]:
    """A package's files without its documentation."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            entries = [entry_of(member, tar) for member in tar if member.name not in (".", "./")]
        process.stdout.read()
    assert process.returncode == 0, f"dpkg-deb: {path}"
    return [entry for entry in entries if not entry.path.startswith(("usr/share/doc", "usr/share/man", "usr/share/lintian"))]


def find(layers: list[list[Entry]], path: str) -> bytes:
    return next(entry.data for entries in layers for entry in entries if entry.path == path)


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    packages = [read_package(path) for path in arguments[1:]]
    busybox = next(entry for entries in packages for entry in entries if entry.path.endswith("bin/busybox"))
    users = [
        File("etc/passwd", find(packages, "usr/share/base-passwd/passwd.master") + b"demo:*:1000:1000::/var/lib/demo:/bin/sh\n"),
        File("etc/group", find(packages, "usr/share/base-passwd/group.master") + b"demo:*:1000:\n"),
        *(Symlink(f"usr/local/bin/{name}", f"/{busybox.path}") for name in APPLETS),
    ]
    shared = [Layer(entries) for entries in packages] + [Layer(users)]
    for name in ("app", "tool"):
        top = Layer([
            Whiteout("etc/rpc"),
            File("etc/demo-name", f"demo/{name}"),
            File("usr/local/bin/as-root", b"not run here\n", mode=0o4755),
            File("usr/local/bin/demo", SCRIPT, mode=0o755),
            Dir("var/lib/demo", mode=0o700, uid=1000, gid=1000),
        ])
        image = Image([*shared, top], config={"User": "demo", "Env": ["PATH=/usr/local/bin"], "Cmd": ["sh", "/usr/local/bin/demo"]})
        image.write_layout(arguments[0], name)
        print(name, image.digest, len(image.layers))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
