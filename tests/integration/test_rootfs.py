"""The mounted root filesystem against what somebody else makes of the same image (umoci unpack), and the store against Debian's ostree."""

import dataclasses
import decimal
import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time

import pytest

from lib import *  # noqa: F403
import compare
import lib

sys.path.insert(0, str(lib.ROOT / "tests" / "demo"))
import mkimage  # noqa: E402

PACKAGES = ("base-files", "base-passwd", "netbase", "busybox-static", "libc-bin", "tzdata")
LONG = "x" * 200
# What GNU tar, setcap and setfacl make: the archive of a real builder, not of our own library.
GNU_SCRIPT = """
set -e
mkdir -p t/opt/gnu/deep t/opt/gnu/sticky
printf tool > t/opt/gnu/tool; printf acl > t/opt/gnu/acl; printf odd > t/opt/gnu/odd
truncate -s 3M t/opt/gnu/sparse; printf end >> t/opt/gnu/sparse
chmod 1777 t/opt/gnu/sticky; chown 12345:54321 t/opt/gnu/odd; chmod 6755 t/opt/gnu/odd
setcap cap_net_raw,cap_net_bind_service+ep t/opt/gnu/tool
setfattr -n user.comment -v 'a value' t/opt/gnu/acl
setfattr -n user.binary -v 0x00ff0a3d t/opt/gnu/acl
setfattr -n user.on-directory -v yes t/opt/gnu/deep
setfacl -m u:1234:rw,g:99:r t/opt/gnu/acl
setfacl -d -m u:1234:rwx t/opt/gnu/deep
ln t/opt/gnu/acl t/opt/gnu/acl-again; ln -s ../../etc/passwd t/opt/gnu/link
touch -d '2001-02-03 04:05:06.123456789' t/opt/gnu/tool t/opt/gnu/deep
touch -h -d '2002-02-03 04:05:06.987654321' t/opt/gnu/link
tar -C t --xattrs --xattrs-include='*' --acls --sparse --format=posix --pax-option='delete=atime,delete=ctime' --sort=name -cf gnu.tar opt
"""


@pytest.fixture(scope="module")
def packages(session_folder):
    """Debian packages as lists of entries."""
    folder = session_folder / "debs"
    folder.mkdir(exist_ok=True)
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    if lib.run(*download, cwd=folder, check=None).status != 0:
        lib.run("apt-get", "-qq", "update")
        lib.run(*download, cwd=folder)
    return [mkimage.read_package(str(next(folder.glob(f"{name}_*.deb")))) for name in PACKAGES]


def gnu_tar(folder: pathlib.Path) -> bytes:
    place = folder / "gnu"
    place.mkdir()
    lib.run("sh", "-c", GNU_SCRIPT, cwd=place)
    return (place / "gnu.tar").read_bytes()


def make_layers(packages, folder) -> list[tuple[list | bytes, str]]:
    """(entries or tar, compression) of each layer, base first."""
    twice = [Dir("srv/twice", mode=0o750, uid=7, gid=8, mtime="1500000000.5"), File("srv/twice/kept", "kept", mtime="1500000001.25"),
             File("srv/twice/gone", "comes back")]
    kinds = ("gzip", "zstd", "none")
    base = [(entries, kinds[i % 3]) for i, entries in enumerate(packages)]
    special = [
        Dir("./", mode=0o755, mtime="1600000000.123456789"),
        Dir("var/x", mode=0o1777, mtime="1111111111.000000001"),
        File("var/x/setuid", "s", mode=0o4755), File("var/x/setgid", "g", mode=0o2711, uid=3000000, gid=4000000000),
        File("var/x/sticky", "t", mode=0o1644, uid=65534, gid=65534), File("var/x/unreadable", "n", mode=0o000),
        File("var/x/nanoseconds", "ns", mtime="1234567890.987654321"), File("var/x/ancient", "", mtime=0),
        File("var/x/hard1", "linked", mtime="1400000000.1"), Hardlink("var/x/hard2", "var/x/hard1"),
        Hardlink("usr/hard3", "var/x/hard1"),
        File(f"var/x/{LONG}", "long name"), File("var/" + "/".join(["d" * 60] * 12) + "/leaf", "long path"),
        File(b"var/x/latin-\xe9\xff", "not UTF-8"), File("var/x/snow☃man", "UTF-8"), File("var/x/new\nline \"q\" \\ %20", "odd"),
        Device("var/x/null", 1, 3, mode=0o666), Device("var/x/loop", 7, 300, block=True, mode=0o660, gid=6, mtime=5),
        Fifo("var/x/fifo", mode=0o622, uid=9), Symlink("var/x/dangling", "/no/such/place", mtime="1300000000.5"),
        Symlink("var/x/up", "../../../../../../etc"), Symlink(b"var/x/raw", b"\xfe\xff"),
        File("var/x/xattrs", "x", xattrs={"user.one": b"1", "user.binary": bytes(range(256)), "user.empty": b""}),
        File("var/x/big", bytes(range(256)) * 8192),
    ]
    to_change = [
        Dir("opt/plain"), File("opt/plain/a", "a"), File("opt/plain/b", "b"), Dir("opt/plain/sub"), File("opt/plain/sub/c", "c"),
        Dir("opt/opaque", mode=0o711), File("opt/opaque/old", "old"), Dir("opt/opaque/below"), File("opt/opaque/below/old", "old"),
        Dir("opt/becomes-file"), File("opt/becomes-file/inside", "x"), File("opt/becomes-dir", "file"),
        File("opt/again", "first", mtime=100), Symlink("opt/becomes-dir-too", "plain"), Dir("opt/becomes-link"),
        File("opt/becomes-link/y", "y"), Dir("opt/attributes", mode=0o700, uid=1, gid=2, mtime=300),
        File("opt/attributes/stays", "stays"), Dir("opt/implied", mode=0o710, uid=11, gid=12, mtime="400.25",
                                                   xattrs={"user.dir": b"yes"}),
        Dir("opt/implied/inner", mode=0o701, uid=13, mtime="500.75"), File("opt/implied/inner/one", "1"),
        File("opt/linked", "linked below"), Hardlink("opt/linked2", "opt/linked"),
    ]
    changes = [
        Whiteout("opt/plain/a"), Whiteout("opt/plain/sub"), Whiteout("opt/again"), Dir("opt/opaque", mode=0o711), Opaque("opt/opaque"),
        File("opt/opaque/new", "new"), File("opt/becomes-file", "now a file", mode=0o600), Dir("opt/becomes-dir", mode=0o500),
        File("opt/becomes-dir/now", "inside"), Dir("opt/becomes-dir-too"), File("opt/becomes-dir-too/z", "z"),
        Symlink("opt/becomes-link", "plain"), Dir("opt/attributes", mode=0o755, uid=0, gid=0, mtime="301.5"),
        Whiteout("srv/twice/gone"), File("opt/linked2", "no longer linked"),
    ]
    implied = [File("opt/implied/inner/two", "2"), File("opt/all/new/three", "3"), File("opt/again", "second", mtime="101.125")]
    return [*base, (special, "gzip"), (to_change, "none"), (twice, "zstd"), (changes, "zstd"), (gnu_tar(folder), "gzip"),
            (implied, "gzip"), (twice, "zstd")]


@dataclasses.dataclass
class Pulled:
    """The image pulled and mounted by guest-pull, and unpacked by umoci."""

    work: lib.Work
    image: lib.Image
    result: lib.Result
    started: int  # nanoseconds, before umoci ran
    ours: dict[bytes, compare.Node]
    umocis: dict[bytes, compare.Node]


@pytest.fixture(scope="module")
def pulled(session_folder, packages):
    work = lib.Work(session_folder / "rootfs")
    work.mkdir()
    layers = make_layers(packages, work)
    image = Image([Layer(content, how) for content, how in layers], config={"Cmd": ["/bin/sh"]})
    # umoci 0.4 has no zstd: it gets the same archives (the same diffIDs) as gzip.
    twin = Image([Layer(layer.tar, "gzip") for layer in image.layers], config={"Cmd": ["/bin/sh"]})
    assert [layer.diff_id for layer in twin.layers] == [layer.diff_id for layer in image.layers]
    name = image.write_layout(work / "layout")
    result = work.pull(name, policy=lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING}))
    twin.write_layout(work / "twin")
    started = time.time_ns()
    lib.run("umoci", "unpack", "--image", f"{work / 'twin'}:latest", work / "umoci")
    yield Pulled(work, image, result, started, compare.snapshot(work.rootfs), compare.snapshot(work / "umoci/rootfs"))
    lib.unmount_below(work)


def told_mtimes(image) -> dict[bytes, int]:
    """The mtime of every directory that some layer has an entry for: the topmost such entry counts (image-spec layer.md, "Applying
    Changesets": an entry's attributes replace those below; a layer without an entry says nothing about the directory)."""
    times = {}
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(layer.tar)) as tar:
            for member in tar:
                if member.isdir():
                    path = os.fsencode(member.name).removeprefix(b"./").strip(b"/")
                    seconds = decimal.Decimal(member.pax_headers.get("mtime", str(member.mtime)))
                    times[b"" if path == b"." else path] = int(seconds * 10**9)
    return times


def is_umocis_way(path: bytes, attribute: str, pulled: Pulled) -> bool:
    """The two ways in which umoci 0.4 deviates, each checked against the layers themselves.

    - It sets a directory's mtime when it reads the directory's entry and not again after later layers have added or removed something
      inside, so it shows the time of the unpacking. We show what the topmost entry says, or 0 where none says anything.
    - It is written in Go, whose tar reader takes an empty PAX value for a deleted record: an empty extended attribute is lost. GNU tar
      and libarchive keep it, and so do we.
    """
    ours, umocis = pulled.ours[path], pulled.umocis[path]
    if attribute == "mtime":
        return ours.type == "directory" and umocis.mtime >= pulled.started and ours.mtime == told_mtimes(pulled.image).get(path, 0)
    if attribute == "xattrs":
        lost = {name: value for name, value in ours.xattrs.items() if name not in umocis.xattrs}
        return path == b"var/x/xattrs" and lost == {"user.empty": b""} and ours.xattrs == {**umocis.xattrs, **lost}
    return False


def test_rootfs_equals_umoci(pulled):
    assert len(pulled.image.layers) >= 6
    found = compare.differences(pulled.ours, pulled.umocis, "guest-pull", "umoci")
    left = [sentence for path, attribute, sentence in found if not is_umocis_way(path, attribute, pulled)]
    assert not left, "\n".join(left)


def test_the_comparison_sees_every_attribute(work):
    """The oracle itself: each kind of change is one difference."""
    for name in ("one", "two"):
        lib.run("sh", "-ec", f"mkdir {name}; cd {name}; printf 1 > f; ln f g; ln -s f l; mknod c c 1 3; mkdir d; touch -d @1 . * -h", cwd=work)
    before = compare.snapshot(work / "one")
    assert not compare.differences(before, compare.snapshot(work / "two"), "one", "two")
    changes = {"mode": "chmod 4755 f", "owner": "chown 5 f", "mtime": "touch -d @1.000000001 f", "content": "printf 2 > f",
               "size": "printf 12 > f", "xattrs": "setfattr -n user.a -v b f", "target": "ln -sf g l", "type": "rm l; mkfifo l",
               "device": "rm c; mknod c c 1 5", "links": "cp -a g h; mv h g", "presence": "touch new"}
    for attribute, command in changes.items():
        shutil.rmtree(work / "two")
        lib.run("cp", "-a", "one", "two", cwd=work)
        lib.run("sh", "-c", command, cwd=work / "two")
        found = {kind for _, kind, _ in compare.differences(before, compare.snapshot(work / "two"), "one", "two")}
        assert attribute in found, (attribute, found)


@pytest.mark.parametrize("path, expected", {
    b"opt/plain/b": {"content": hashlib.sha256(b"b").hexdigest()},
    b"opt/opaque/new": {"mode": 0o644},
    b"opt/becomes-file": {"type": "file", "mode": 0o600},
    b"opt/becomes-dir": {"type": "directory", "mode": 0o500},
    b"opt/becomes-link": {"type": "symlink", "target": b"plain"},
    b"opt/again": {"content": hashlib.sha256(b"second").hexdigest(), "mtime": 101_125_000_000},
    b"opt/attributes": {"mode": 0o755, "owner": (0, 0), "mtime": 301_500_000_000},
    b"opt/implied": {"mode": 0o710, "owner": (11, 12), "mtime": 400_250_000_000, "xattrs": {"user.dir": b"yes"}},
    b"opt/implied/inner": {"mode": 0o701, "owner": (13, 0), "mtime": 500_750_000_000},
    b"opt/all/new": {"mode": 0o755, "owner": (0, 0), "mtime": 0},
    b"srv/twice": {"mode": 0o750, "owner": (7, 8), "mtime": 1_500_000_000_500_000_000},
    b"srv/twice/gone": {"content": hashlib.sha256(b"comes back").hexdigest()},
    b"var/x/setuid": {"mode": 0o4755},
    b"var/x/setgid": {"mode": 0o2711, "owner": (3000000, 4000000000)},
    b"var/x/hard1": {"links": (b"usr/hard3", b"var/x/hard1", b"var/x/hard2")},
    b"var/x/loop": {"type": "block device", "device": (7, 300)},
    b"var/x/raw": {"target": b"\xfe\xff"},
    b"var/x/latin-\xe9\xff": {"size": 9},
    b"opt/gnu/tool": {"mtime": 981_173_106_123_456_789},
    b"opt/gnu/sparse": {"size": 3 * 1024 * 1024 + 3},
    b"": {"mode": 0o755, "owner": (0, 0), "mtime": 1_600_000_000_123_456_789},
}.items(), ids=lambda value: os.fsdecode(value).encode(errors="backslashreplace").decode() or "root" if isinstance(value, bytes) else "")
def test_rootfs_shows_what_the_layers_say(pulled, path, expected):
    """The same without umoci: what the layers say, read off by hand."""
    node = pulled.ours[path]
    assert {name: getattr(node, name) for name in expected} == expected


def test_rootfs_hides_what_whiteouts_say(pulled):
    gone = [b"opt/plain/a", b"opt/plain/sub", b"opt/plain/sub/c", b"opt/opaque/old", b"opt/opaque/below", b"opt/becomes-file/inside",
            b"opt/becomes-link/y"]
    assert not [path for path in gone if path in pulled.ours]
    assert not [path for path in pulled.ours if b".wh." in path]
    assert not [path for path, node in pulled.ours.items() if any(name.startswith("trusted.overlay") for name in node.xattrs)]


def test_file_capability_is_there(pulled):
    shown = lib.run("getcap", pulled.work.rootfs / "opt/gnu/tool").stdout
    assert "cap_net_bind_service,cap_net_raw=ep" in shown


def test_a_repeated_layer_is_reported_and_stored_once(pulled):
    digests = [layer["digest"] for layer in pulled.result.json["layers"]]
    assert digests == [layer.digest for layer in pulled.image.layers]
    assert len(set(digests)) == len(digests) - 1
    stored = lib.guest_pull("layers", "--store", pulled.work.store, "--json").json
    assert len(os.listdir(pulled.work.store / "layers")) == len(set(digests)), stored


def test_the_store_is_whole(pulled):
    lib.run("ostree", "fsck", f"--repo={pulled.work.store / 'repo'}")
    lib.guest_pull("fsck", "--store", pulled.work.store, "--allow-unencrypted-store", "--json")


def test_pulled_twice_it_is_the_same_and_nothing_is_fetched(pulled):
    bundle = pulled.work.new_bundle("second")
    again = pulled.work.pull(f"oci:{pulled.work / 'layout'}:latest", bundle=bundle, policy=pulled.work / "policy.json")
    assert all(layer["reused"] for layer in again.json["layers"])
    assert not compare.differences(pulled.ours, compare.snapshot(bundle / "rootfs"), "first", "second")
    pulled.work.umount(bundle)
    assert not (bundle / "rootfs").exists()


def small(work, name, *layers) -> str:
    image = Image([Layer(entries, "none") for entries in layers], config={"Cmd": ["/x"]})
    lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
    return image.write_layout(work / name)


def test_root_directory_that_no_layer_mentions(work):
    work.pull(small(work, "layout", [File("a", "a")], [File("b/c", "c")]), policy=work / "policy.json")
    root = compare.snapshot(work.rootfs)[b""]
    assert (root.mode, root.owner, root.mtime, root.xattrs) == (0o755, (0, 0), 0, {})


def test_root_directory_of_the_topmost_layer_that_mentions_it(work):
    lower = Dir("./", mode=0o711, uid=1, gid=2, mtime="5.5", xattrs={"user.root": b"lower"})
    work.pull(small(work, "layout", [Dir("./", mode=0o700), File("a", "a")], [lower], [File("c", "c")]), policy=work / "policy.json")
    root = compare.snapshot(work.rootfs)[b""]
    assert (root.mode, root.owner, root.mtime, root.xattrs) == (0o711, (1, 2), 5_500_000_000, {"user.root": b"lower"})


def test_equal_files_are_not_one_inode(work):
    """Hard links are what the layer says, not what the store finds convenient: a write to one must not show in the other, and tools
    that look at inode numbers (tar, rsync, du) must not see links."""
    same = {"data": b"the same content" * 1000, "mtime": 1234567890}
    work.pull(small(work, "layout", [File("a", **same), File("b", **same), Hardlink("c", "a")], [File("d", **same)]),
              policy=work / "policy.json")
    inode = {name: (os.lstat(work.rootfs / name).st_dev, os.lstat(work.rootfs / name).st_ino) for name in "abcd"}
    assert inode["a"] == inode["c"]
    assert len({inode["a"], inode["b"], inode["d"]}) == 3
    (work.rootfs / "b").write_text("changed")
    assert (work.rootfs / "a").read_bytes() == (work.rootfs / "d").read_bytes() == same["data"]


def test_writes_land_in_the_upper_only(work):
    work.pull(small(work, "layout", [Dir("etc"), File("etc/a", "a"), File("etc/b", "b")], [File("etc/c", "c")]), policy=work / "policy.json")
    before = compare.snapshot(work.store)
    (work.rootfs / "etc/a").write_text("changed")
    (work.rootfs / "etc/b").unlink()
    (work.rootfs / "new").mkdir()
    os.chmod(work.rootfs / "etc/c", 0o777)
    os.setxattr(work.rootfs / "etc", "user.x", b"y")
    assert not compare.differences(before, compare.snapshot(work.store), "before", "after")
    work.umount()
    assert not compare.differences(before, compare.snapshot(work.store), "before", "after")
    lib.guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store")
    work.pull(f"oci:{work / 'layout'}:latest", policy=work / "policy.json")
    assert (work.rootfs / "etc/a").read_text() == "a" and (work.rootfs / "etc/b").read_text() == "b" and not (work.rootfs / "new").exists()


def shared_memory() -> int:
    return next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("Shmem:")) * 1024


def test_memory_of_the_upper_returns_after_a_plain_umount(work):
    """What the kata agent does: umount(2) of the rootfs and nothing else."""
    size, slack = 192 << 20, 64 << 20  # other programs of this machine may use shared memory too
    work.pull(small(work, "layout", [Dir("data")]), "--rw-size", "256M", policy=work / "policy.json")
    before = shared_memory()
    with open(work.rootfs / "data/big", "wb") as out:
        for _ in range(size >> 20):
            out.write(bytes(1 << 20))
    assert shared_memory() > before + size - slack
    with pytest.raises(OSError), open(work.rootfs / "data/more", "wb") as out:
        out.write(bytes(128 << 20))
    assert lib.mounts_below(work) == [str(work.rootfs)]
    subprocess.run(["umount", work.rootfs], check=True)
    assert lib.mounts_below(work) == []
    assert shared_memory() < before + slack


def test_hundreds_of_layers_with_few_descriptors(work, registry):
    """A hard limit of 600 open files for 300 layers: as 1024, the usual one, for the 500 that are allowed."""
    layers = [Layer([File(f"f{i}", str(i)), File("all", str(i))]) for i in range(300)]
    image = Image(layers)
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    name = image.push(registry, work.repository(), "1")
    run("prlimit", "--nofile=600:600", GUEST_PULL, "pull", name, "--bundle", work.bundle, "--store", work.store,
        "--allow-unencrypted-store", *work.options(policy=policy, registry=registry))
    assert (work.rootfs / "f0").read_text() == "0" and (work.rootfs / "f299").read_text() == (work.rootfs / "all").read_text() == "299"
    assert not list((work.store / "staging").iterdir())
    layers = guest_pull("layers", "--store", work.store, "--json").json["layers"]
    assert len(layers) == 300 and all(layer["images"] == 1 for layer in layers)
