"""Stores on small, full, limited, read-only and poor filesystems: a clear error, nothing half kept, and the next pull succeeds when
there is room again."""

import os
import subprocess

import pytest

from lib import *


@pytest.fixture
def image(work, registry):
    """Two layers: 3 MB in few files, and 600 small files in 60 directories."""
    small = [Dir(f"d{i}") for i in range(60)] + [File(f"d{i % 60}/f{i}", f"content {i}") for i in range(600)]
    image = Image([Layer([File("big", os.urandom(2_000_000)), File("other", os.urandom(1_000_000))]), Layer(small)])
    return image.push(registry, work.repository(), "1"), image


@pytest.fixture
def disk(work):
    """make(megabytes, …): the store's directory on a filesystem of its own. Returns its directory."""
    def make(megabytes, *options, kind="ext4", mount="loop"):
        work.store.mkdir()
        if kind == "none":
            run("mount", "-t", mount, "none", work.store)
        else:
            (work / "disk.img").write_bytes(b"")
            os.truncate(work / "disk.img", megabytes << 20)
            run(f"mkfs.{kind}", "-q", *options, work / "disk.img")
            run("mount", "-o", mount, work / "disk.img", work.store)
        work.store.chmod(0o700)
        return work.store
    yield make
    subprocess.run(["umount", "-l", work.store], check=False, capture_output=True)


def pull(work, registry, image, *more, **options):
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    return work.pull(image[0], *more, policy=policy, registry=registry, **options)


def nothing_is_left(work):
    assert not mounts_below(work.bundle) and not list(work.bundle.iterdir())
    assert not list(work.store.glob("staging/*")) and not list(work.store.glob("repo/refs/heads/making/*"))
    if (work.store / "repo").exists():
        assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]
        run("ostree", "fsck", "--quiet", f"--repo={work.store}/repo")


def fill(path, leave):
    """A file that leaves `leave` bytes of the filesystem free."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - leave, 1))


def sweep(work, registry, image, fillers):
    """Pulls with less and less missing, until one succeeds. How each ended."""
    ends = []
    for prepare in fillers:
        clear = prepare()
        done = pull(work, registry, image, check=None)
        ends.append(done.status)
        if done.status:
            assert done.status == SPACE and done.error["retryable"], done
            nothing_is_left(work)
        clear()
        if not done.status:
            work.umount()
            break
    pull(work, registry, image)
    assert len(list((work.rootfs / "d7").iterdir())) == 10
    work.umount()
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]
    return ends


def test_disk_full_in_every_phase(work, registry, image, disk):
    """From no room at all to enough, in steps of 700 kB: the store's own files, contents, objects, commits, refs."""
    store = disk(32, "-O", "^has_journal")

    def filler(leave):
        def prepare():
            fill(store / "filler", leave)
            return (store / "filler").unlink
        return prepare
    ends = sweep(work, registry, image, [filler(leave) for leave in [0, 20_000, 50_000, *range(100_000, 9_000_000, 700_000)]])
    assert ends.count(SPACE) > 5 and ends[-1] == OK


def test_no_inodes_in_every_phase(work, registry, image, disk):
    store = disk(40, "-N", "2000")

    def filler(leave):
        def prepare():
            folder = store / "filler"
            folder.mkdir()
            for i in range(max(os.statvfs(store).f_favail - leave, 0)):
                (folder / str(i)).touch()
            return lambda: run("rm", "-rf", folder)
        return prepare
    ends = sweep(work, registry, image, [filler(leave) for leave in [3, 8, 14, 20, 40, *range(100, 2000, 300)]])
    assert ends.count(SPACE) > 3 and ends[-1] == OK


def test_quota(work, registry, image, disk):
    """A project's quota, which counts for root too."""
    try:
        store = disk(320, kind="xfs", mount="loop,prjquota")
        run("xfs_quota", "-x", "-c", "project -s -p . 42", "-c", "limit -p bhard=2m 42", store, cwd=store)
    except (AssertionError, OSError) as failure:
        pytest.skip(f"no project quotas here: {str(failure).splitlines()[-1]}")
    done = pull(work, registry, image, check=SPACE)
    assert "quota" in done.message.lower() or "no space left" in done.message.lower()
    nothing_is_left(work)
    run("xfs_quota", "-x", "-c", "limit -p bhard=100m 42", store)
    pull(work, registry, image)


def test_read_only_store(work, registry, image, disk):
    """What only reads goes on; a pull says what is wrong."""
    store = disk(32)
    pull(work, registry, image)
    work.umount()
    run("mount", "-o", "remount,ro", store)
    done = pull(work, registry, image, check=UNSUPPORTED)
    assert "read-only" in done.message.lower() and str(store) in done.message
    assert not mounts_below(work.bundle)
    for command in ("images", "layers", "df"):
        guest_pull(command, "--store", store)
    assert guest_pull("fsck", "--store", store, "--json").json["clean"]
    for command in (["prune"], ["rm", image[1].digest]):
        assert "read-only" in guest_pull(*command, "--store", store, check=UNSUPPORTED).stderr.lower()


def test_filesystem_without_attributes(work, registry, image, disk):
    """Before anything is fetched: ramfs has no extended attributes at all."""
    disk(0, kind="none", mount="ramfs")
    mark = registry.mark()
    done = pull(work, registry, image, check=UNSUPPORTED)
    assert "extended attributes" in done.message
    assert not [line for line in registry.since(mark) if image[1].layers[0].digest in line]
    assert not mounts_below(work.bundle)


def test_writable_layer_too_small(work, registry):
    """400 directories that the upper has to show with the lower layer's attributes, in 256 inodes."""
    image = Image([Layer([Dir(f"d{i}", mode=0o700) for i in range(400)]), Layer([File(f"d{i}/f", "x") for i in range(400)])])
    named = image.push(registry, work.repository(), "1"), image
    done = pull(work, registry, named, "--rw-size", "1M", check=SPACE)
    assert "writable layer" in done.message
    nothing_is_left(work)
    pull(work, registry, named, "--rw-size", "8M")
