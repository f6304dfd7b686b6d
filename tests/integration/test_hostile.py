"""Hostile layers through the real program: each is refused with its reason, nothing of it is kept and nothing outside of the staging directory is touched."""

import os
import re
import subprocess

import pytest

from lib import *  # noqa: F403
import compare
import hostile_tars
import lib
import minitar
from hostile_tars import HOSTILE

# make check-layers: all of it, ten million files; make check: every second trace, a fiftieth of the files.
EVERYTHING = os.environ.get("GUEST_PULL_CASES") == "all"
# What a process may do to a file system, as strace names it.
CHANGES = ("open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,"
           "chmod,fchmod,fchmodat,chown,lchown,fchown,fchownat,truncate,ftruncate,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,"
           "utimensat,mount,umount2,fsopen,move_mount")


@pytest.fixture(scope="module")
def place(session_folder):
    """A work folder that all cases share, with a canary tree beside the store."""
    work = lib.Work(session_folder / "hostile")
    work.mkdir()
    canary = work / "canary"
    canary.mkdir()
    (canary / "file").write_text("untouched")
    (canary / "folder").mkdir()
    (canary / "folder/inside").write_text("untouched")
    os.symlink("file", canary / "link")
    lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
    # A first pull makes the store.
    work.pull(Image([Layer([File("a", "a")], "none")]).write_layout(work / "first"), policy=work / "policy.json", bundle=work.new_bundle("first-bundle"))
    work.umount(work / "first-bundle")
    return work


def blob_image(archive: bytes, how: str) -> Image:
    """An image whose layer is these very bytes, whatever they are."""
    layer = Layer(b"", how)
    layer.blob, layer.digest = archive, lib.digest_of(archive)
    return Image([layer])


def pull_hostile(place, name: str, archive: bytes, how: str, prefix=(), env=None):
    folder = re.sub(r"\W+", "-", name)
    bundle = place.new_bundle("b-" + folder)
    image = blob_image(archive, how).write_layout(place / ("l-" + folder))
    command = [*prefix, lib.GUEST_PULL, "pull", image, "--bundle", bundle, "--store", place.store, "--allow-unencrypted-store", "--json",
               "--policy", place / "policy.json"]
    return lib.run(*command, check=None, env=env), bundle


def left_over(place, bundle) -> list[str]:
    """What a refused pull must not leave: in the bundle, in the staging, among the layers."""
    found = [str(path) for path in bundle.iterdir()] + [str(path) for path in (place.store / "staging").iterdir()]
    return found + [name for name in os.listdir(place.store / "layers")[1:]]


def test_there_are_enough():
    assert len(HOSTILE) >= 120


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(place, name):
    archive, status, reason, how = HOSTILE[name]
    before = compare.snapshot(place / "canary")
    result, bundle = pull_hostile(place, name, archive, how)
    assert result.status == status, result
    assert re.search(reason, result.message), result.message
    assert "broke the protocol" not in result.message
    assert left_over(place, bundle) == []
    assert compare.differences(before, compare.snapshot(place / "canary"), "before", "after") == []


TRACED = [name for name in HOSTILE if re.search("canary|through|parent|whiteout|replaced|absolute", name)]
# A call on a path, with the directory that its first argument names: openat(7</store>, "x", ...) = 8
CALL = re.compile(r'^(?:\d+ +)?(\w+)\((?:AT_FDCWD(?:<([^>]*)>)?, |\d+<([^>]*)>, )?(?:"((?:[^"\\\\]|\\\\.)*)")?(.*)\) += (-?\d+|\?)')


def changed_paths(trace: str) -> set[str]:
    """Every path that a successful call may have changed, as far as a dirfd and a name tell."""
    found = set()
    for line in trace.splitlines():
        match = CALL.match(line)
        if not match or match[6].startswith("-") or (match[1].startswith("open") and not re.search("O_CREAT|O_WRONLY|O_RDWR|O_TRUNC", match[5])):
            continue
        folder, path = match[2] or match[3] or "", match[4] or ""
        # A symbolic link's target is text; MS_SLAVE is a process that cuts its own mount namespace off.
        if match[1] not in ("symlink", "symlinkat") and "MS_SLAVE" not in line:
            found.add(os.path.normpath(os.path.join(folder, path)))
        for other, name in re.findall(r'\d+<([^>]*)>, "([^"]*)"', match[5]):
            found.add(os.path.normpath(os.path.join(other, name)))
    return found


def test_system_calls_stay_in_the_store(place):
    """The archives that name the canary, traced: no call that succeeds changes anything but the store and the bundle."""
    assert len(TRACED) >= 40
    traced = TRACED if EVERYTHING else TRACED[::2]
    seen, outside = 0, set()
    for name in traced:
        archive, status, _, how = HOSTILE[name]
        log = place / "trace"
        result, bundle = pull_hostile(place, "traced " + name, archive, how, ("strace", "-f", "-y", "-s", "5000", "-e", f"trace={CHANGES}", "-o", log),
                                      {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})  # no two tracers at once
        assert result.status == status, result
        paths = changed_paths(log.read_text(errors="replace"))
        seen += len(paths)
        allowed = (str(place.store), str(bundle), "/proc/", "/dev/null", "/dev/tty", "/sys/fs/", "/memfd:", "memfd:", "/run/guest-pull", "/run/lock")
        outside |= {path for path in paths if not path.startswith(allowed)}
    assert seen > 5 * len(traced)
    assert outside == set()


def complex_tar() -> tuple[bytes, set[int]]:
    """A tar with some of everything, and the offsets at which it may end: behind whole entries (POSIX wants two zero blocks, many writers forget them)."""
    parts = [minitar.entry(b"a", b"x" * 700), minitar.pax({"path": "b" * 250, "mtime": "1.5"}) + minitar.entry(b"b", b"y" * 513),
             minitar.gnu_long(b"c" * 120) + minitar.entry(b"c", type=minitar.DIR), minitar.entry(b"l", type=minitar.SYMLINK, link=b"a"),
             minitar.gnu_sparse(b"s", [(i * 1024, b"z" * 512) for i in range(5)] + [(9000, b"")], 9000), minitar.entry(b"h", type=minitar.LINK, link=b"a"),
             minitar.pax_sparse(b"t", [(512, b"z" * 512), (2000, b"")], 2000), bytes(512), bytes(512)]
    ends, at = {0}, 0
    for part in parts:
        at += len(part)
        ends.add(at)
    return b"".join(parts), ends


def test_truncated_anywhere(place):
    archive, ends = complex_tar()
    beside = (-1, 0, 1) if EVERYTHING else (0,)
    lengths = sorted({length + more for length in range(0, len(archive) + 1, 512) for more in beside} - {-1, len(archive) + 1})
    assert len(lengths) > 20
    for length in lengths:
        cut = archive[:length]
        image = Image([Layer(cut, "none")])
        bundle = place.new_bundle(f"cut{length}")
        result = place.pull(image.write_layout(place / f"cut-layout{length}"), bundle=bundle, policy=place / "policy.json", check=None)
        # Less than a block at the end is nothing that a reader of blocks can see.
        good = length in ends or length > len(archive) - 512
        assert result.status == (lib.OK if good else lib.INVALID), f"{length} bytes: {result}"
        if good:
            place.umount(bundle)
            lib.guest_pull("rm", image.digest, "--store", place.store, "--allow-unencrypted-store")
        else:
            assert re.search("tar: ", result.message), result.message
            assert left_over(place, bundle) == []


ODD = {
    "absolute name": (minitar.entry(b"/etc/x", b"x"), {b"etc", b"etc/x"}),
    "names with control characters": (minitar.entry(b"new\nline") + minitar.entry(b"\x1b[2J") + minitar.entry(b"\xff"), {b"new\nline", b"\x1b[2J", b"\xff"}),
    "names that look like options": (minitar.entry(b"-rf") + minitar.entry(b"--help"), {b"-rf", b"--help"}),
    "links that lead out": (minitar.entry(b"l", type=b"2", link=b"/etc/passwd") + minitar.entry(b"m", type=b"2", link=b"../../../.."), {b"l", b"m"}),
    "a link replaced by a directory": (minitar.entry(b"d", type=b"2", link=b"/etc") + minitar.entry(b"d", type=b"5", mode=0o755) +
                                       minitar.entry(b"d/passwd", b"inside"), {b"d", b"d/passwd"}),
    "a hard link of a link, written through": (minitar.entry(b"l", type=b"2", link=b"../../../../canary/file") + minitar.entry(b"h", type=b"1", link=b"l") +
                                               minitar.entry(b"h", b"inside"), {b"l", b"h"}),
    "bookkeeping of AUFS": (minitar.entry(b".wh..wh.plnk", type=b"5") + minitar.entry(b".wh..wh.plnk/1.2", b"x") + minitar.entry(b".wh..wh.aufs"), set()),
    "whiteouts of nothing": (minitar.entry(b".wh.x") + minitar.entry(b"d/.wh.y") + minitar.entry(b".wh..wh..opq"), {b"d"}),
    "whiteouts as directories and links": (minitar.entry(b".wh.x", type=b"5") + minitar.entry(b".wh.y", type=b"2", link=b"z"), set()),
    "garbage behind the end": (minitar.entry(b"f") + minitar.END + b"garbage" * 1000, {b"f"}),
    "an empty archive": (b"", set()),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_harmless(work, name):
    archive, names = ODD[name]
    (work / "canary").mkdir()
    (work / "canary/file").write_text("untouched")
    policy = lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
    work.pull(Image([Layer(archive + minitar.END, "gzip")]).write_layout(work / "layout"), policy=policy)
    assert set(compare.snapshot(work.rootfs)) - {b""} == names
    assert (work / "canary/file").read_text() == "untouched"
    lib.guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store")


# ---- floods: refused by count, in memory that does not grow with the archive

PER_ENTRY, BASE = 400, 64 << 20  # bytes of the puller for each entry that it may take, and without any


def write_flood(path, total: int, distinct: int) -> None:
    """Empty files, the first `distinct` of them each with its own name, then the last thousand again and again."""
    with open(path, "wb") as out, subprocess.Popen(["zstd", "-q", "-c"], stdin=subprocess.PIPE, stdout=out) as zstd:
        thousand = b""
        for at in range(0, distinct, 1000):
            thousand = b"".join(minitar.header(b"d%d/f%d" % (at // 1000, at + i)) for i in range(1000))
            zstd.stdin.write(thousand)
        for _ in range(distinct, total, 1000):
            zstd.stdin.write(thousand)
        zstd.stdin.write(minitar.END)
        zstd.stdin.close()


@pytest.fixture
def in_memory(work):
    """A store in memory: a million of files is nothing to wait for on a disk."""
    store = work / "memory"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8G,nr_inodes=4m,mode=0700", "tmpfs", store], check=True)
    yield store
    subprocess.run(["umount", store], check=True)


def pull_measured(work, store, blob: bytes, how: str, limits: str) -> tuple[lib.Result, int]:
    """The run, and the puller's largest resident memory in bytes."""
    config, policy = work / "config.toml", lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
    config.write_text(limits)
    image = blob_image(blob, how).write_layout(work / "layout")
    measured = work / "rss"
    result = lib.run("/usr/bin/env", "python3", "-c", "import os,resource,subprocess,sys\n"
                     "status = subprocess.call(sys.argv[2:])\n"
                     "open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))\n"
                     "sys.exit(status)", measured, lib.GUEST_PULL, "--config", config, "pull", image, "--bundle", work.bundle, "--store", store,
                     "--allow-unencrypted-store", "--json", "--policy", policy, check=None, timeout=1800)
    return result, int(measured.read_text())


def test_ten_million_empty_files(work, in_memory):
    total, limit = (10_000_000, 1_000_000) if EVERYTHING else (200_000, 20_000)
    write_flood(work / "flood", total, limit + 1000)
    result, memory = pull_measured(work, in_memory, (work / "flood").read_bytes(), "zstd",
                                   "" if EVERYTHING else f"[guest_pull.limits]\nlayer_entries = {limit}\n")
    assert result.status == lib.LIMIT and f"more than {limit} entries" in result.message, result
    assert lib.ASAN or memory < BASE + limit * PER_ENTRY, memory
    assert os.listdir(in_memory / "staging") == [] == os.listdir(in_memory / "layers")
    print(f"{total} empty files: refused behind {limit}, the puller had {memory >> 20} MiB")


def test_one_name_a_million_times(work, in_memory):
    """Each takes the last one's place: nothing grows but the count."""
    total, limit = (10_000_000, 1_000_000) if EVERYTHING else (200_000, 20_000)
    write_flood(work / "flood", total, 1000)
    result, memory = pull_measured(work, in_memory, (work / "flood").read_bytes(), "zstd",
                                   "" if EVERYTHING else f"[guest_pull.limits]\nlayer_entries = {limit}\n")
    # Ten million of them compress so well that the ratio is what they meet first.
    assert result.status == lib.LIMIT and re.search(f"more than {limit} entries|decompression bomb", result.message), result
    assert lib.ASAN or memory < BASE, memory


KEPT = "link targets and extended attributes"
FLOODS = {
    "link targets": (lambda i: minitar.pax({"linkpath": b"t" * 4000}) + minitar.entry(b"l%d" % i, type=b"2"), 17_000, lib.LIMIT, KEPT),
    "xattrs": (lambda i: minitar.pax({"SCHILY.xattr.user.a": os.urandom(30_000) * 2}) + minitar.entry(b"f%d" % i), 1_200, lib.LIMIT, KEPT),
    "global headers": (lambda i: minitar.pax({"comment": b"c" * 9000}, b"g"), 5_000, lib.INVALID, "tar: "),
    "extended headers of 1 MiB": (lambda i: minitar.pax({"comment": b"c" * ((1 << 20) - 20)}) + minitar.entry(b"f%d" % i), 40, lib.DIGEST, ""),
    "devices": (lambda i: minitar.entry(b"n%d" % i, type=b"3", major=1, minor=3), 20_000, lib.DIGEST, ""),
    "depth": (lambda i: minitar.gnu_long(b"/".join([b"d"] * 127) + b"/f%d" % i) + minitar.entry(b"x"), 3_000, lib.DIGEST, ""),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_in_flat_memory(work, in_memory, name):
    """Floods that stay below every count are unpacked, those that do not are refused; memory is bounded by the ceiling of what must be kept."""
    make, count, status, reason = FLOODS[name]
    archive = b"".join(make(i) for i in range(count)) + minitar.END
    result, memory = pull_measured(work, in_memory, hostile_tars.zstd(archive), "zstd", "")
    # The image's diffID is that of nothing: an archive that is accepted fails by it, behind its last byte.
    assert result.status == status and reason in result.message, result
    assert lib.ASAN or memory < BASE + (80 << 20 if reason == KEPT else count * PER_ENTRY), memory
