"""What the workers cannot do, and what comes of workers that lie, die, or are killed: the right exit status with the reason, nothing stored,
nothing mounted, nothing outside touched. The liars are in liars/; docs/threat-model.md says what is claimed."""

import collections
import errno
import json
import os
import pathlib
import re
import signal
import stat
import struct
import subprocess
import tempfile
import threading
import time

import pytest

from lib import *  # noqa: F403
import compare
import lib

LIARS = pathlib.Path(__file__).parent / "liars"
WORKERS = lib.BUILD / "libexec" / "guest-pull"

# ---- what every refused pull must leave as it was


class Scene:
    """A directory with a canary tree that no pull may touch. refused() runs a pull and checks all that must not be there afterwards."""

    def __init__(self, work):
        self.work = work
        self.libexec = work / "libexec"
        self.libexec.mkdir()
        canary = work / "canary"
        (canary / "folder").mkdir(parents=True)
        (canary / "file").write_text("untouched")
        os.chmod(canary / "file", 0o640)
        (canary / "link").symlink_to("file")
        work.bundle  # noqa: B018 (makes the directory)
        self.before = self.surroundings()

    def surroundings(self) -> dict:
        """Everything in the test's directory that is not the store's, the liars' or the configuration's."""
        nodes = {path: node for path, node in compare.snapshot(self.work / "canary").items()}
        nodes[b"<names>"] = sorted(set(os.listdir(self.work)) - {"store", "libexec", "layout", "policy.json", ".repository", "keys", "trace",
                                                                 "stderr"})
        nodes[b"<canary's links>"] = os.lstat(self.work / "canary/file").st_nlink
        return nodes

    def liar(self, name: str, script: dict, **files: bytes):
        """Installs liars/NAME.py as guest-pull-NAME, with its script and files beside it; the other worker is the real one."""
        for worker in ("fetch", "unpack"):
            place = self.libexec / f"guest-pull-{worker}"
            if not place.exists():
                place.symlink_to(WORKERS / f"guest-pull-{worker}")
        place = self.libexec / f"guest-pull-{name}"
        place.unlink()
        place.write_bytes((LIARS / f"{name}.py").read_bytes())
        place.chmod(0o755)
        (self.libexec / f"{name}.json").write_text(json.dumps(script))
        for file, data in files.items():
            (self.libexec / file).write_bytes(data)

    @property
    def env(self) -> dict:
        return {"GUEST_PULL_LIBEXEC": str(self.libexec)}

    def nothing_left(self):
        work = self.work
        assert lib.mounts_below(work) == []
        assert os.listdir(work.bundle) == [], "the bundle must be as it was"
        store = work.store
        if store.exists():
            assert os.listdir(store / "staging") == [] and os.listdir(store / "layers") == []
            objects = [path for path in (store / "repo/objects").rglob("*") if not path.is_dir()]
            assert objects == [], "objects that no commit names"
            assert lib.guest_pull("images", "--store", store, "--allow-unencrypted-store", "--json").json == {"images": []}
            assert lib.guest_pull("layers", "--store", store, "--allow-unencrypted-store", "--json").json == {"layers": []}
        assert self.surroundings() == self.before

    def refused(self, image: str, status: int, words: str, *more, **options) -> lib.Result:
        """A pull that must end with `status` and an error whose text matches `words`, and leave nothing."""
        done = self.work.pull(image, *more, check=None, policy=self.work / "policy.json", env=self.env, timeout=60, **options)
        assert done.status == status, done
        assert re.search(words, done.error.get("message", "")), done
        self.nothing_left()
        return done


@pytest.fixture
def scene(work):
    return Scene(work)


# ---- a lying unpack worker

READY, ENTRY, DATA, END, ERROR = range(1, 6)


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack("<II", kind, len(payload)) + payload


def entry(path: bytes | str, mode: int = stat.S_IFREG | 0o644, *, uid=0, gid=0, mtime=(0, 0), size=0, device=(0, 0), link=None, hardlink=False,
          xattrs=()) -> bytes:
    """storage/entry.c's wire form, whatever it says."""
    path, target = os.fsencode(path), os.fsencode(link or "")
    flags = hardlink | (link is not None) << 1
    return frame(ENTRY, struct.pack("<BIIIqIQIIHHH", flags, mode, uid, gid, *mtime, size, *device, len(path), len(target), len(xattrs)) + path +
                 target + b"".join(struct.pack("<HI", len(name), len(value)) + name + value for name, value in xattrs))


def data(content: bytes, offset: int = 0) -> bytes:
    return frame(DATA, struct.pack("<Q", offset) + content)


def end(diff_id: str, size: int = 10240) -> bytes:
    return frame(END, diff_id.encode() + struct.pack("<Q", size))


def folder(path, mode=0o755) -> bytes:
    return entry(path, stat.S_IFDIR | mode)


def local_image(work) -> lib.Image:
    lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
    return Image([Layer([File("true", "the real content")])], config={"Cmd": ["/true"]})


DEVICE = stat.S_IFCHR | 0o600
HONEST = b"@END@"  # replaced by an end frame with the right diffID
UP = "../../../../canary"  # from a staging directory to the canary
WRONG = "sha256:" + "0" * 64

# name: (frames after READY, exit status, the reason in words)
UNPACK_LIES = {
    # paths
    "parent": (entry("../x") + HONEST, INVALID, r"forbidden path \"\.\./x\": \"\.\.\" leads out"),
    "parent inside": (entry("a/../../x") + HONEST, INVALID, r"forbidden path \"a/\.\./\.\./x\""),
    "parent at the end": (folder("a/..") + HONEST, INVALID, "forbidden path"),
    "parent canary": (entry(f"{UP}/file") + HONEST, INVALID, "forbidden path"),
    "absolute": (entry("/etc/x") + HONEST, INVALID, r"forbidden path \"/etc/x\": it is absolute"),
    "absolute canary": (entry("@WORK@/canary/file") + HONEST, INVALID, "it is absolute"),
    "dot": (entry("./x") + HONEST, INVALID, "forbidden path"),
    "empty part": (entry("a//b") + HONEST, INVALID, "forbidden path"),
    "through a link": (entry("d", stat.S_IFLNK | 0o777, link="@WORK@/canary") + entry("d/new") + HONEST, INVALID,
                       r"forbidden path \"d/new\": \"d\" is a symbolic link"),
    "through a link above": (folder("a") + entry("a/d", stat.S_IFLNK | 0o777, link=f"../{UP}") + folder("a/d/e") + HONEST, INVALID,
                             "forbidden path.*symbolic link"),
    "through a replaced directory": (folder("d") + entry("d/x") + entry("d", stat.S_IFLNK | 0o777, link="@WORK@/canary") + entry("d/file") +
                                     HONEST, INVALID, "forbidden path.*symbolic link"),
    "through a file": (entry("d") + entry("d/new") + HONEST, INVALID, r"\"d\" is not a directory"),
    "below a whiteout": (entry(".wh.d/new") + HONEST, INVALID, "below a whiteout"),
    "hard link outside": (entry("h", link=f"{UP}/file", hardlink=True) + HONEST, INVALID, "hard link .*forbidden path"),
    "hard link absolute": (entry("h", link="/etc/passwd", hardlink=True) + HONEST, INVALID, "hard link .*forbidden path"),
    "hard link through a link": (entry("d", stat.S_IFLNK | 0o777, link="@WORK@/canary") + entry("h", link="d/file", hardlink=True) + HONEST,
                                 INVALID, "hard link .*the layer has no such target"),
    "hard link to nothing": (entry("h", link="gone", hardlink=True) + HONEST, INVALID, "no such target"),
    "hard link to a directory": (folder("d") + entry("h", link="d", hardlink=True) + HONEST, INVALID, "target is a directory"),
    "hard link to a whiteout": (entry(".wh.w") + entry("h", link="w", hardlink=True) + HONEST, INVALID, "no such target"),
    "whiteout of the parent": (entry("a/.wh...") + HONEST, INVALID, "forbidden path"),
    "whiteout of nothing": (entry("a/.wh.") + HONEST, INVALID, "forbidden path"),
    "long name": (entry("n" * 256) + HONEST, LIMIT, "longer than 255"),
    "deep": (folder("/".join("d" * 129)) + HONEST, LIMIT, "deeper than 128"),
    # what an overlay would believe
    "device 0:0": (entry("w", DEVICE) + HONEST, INVALID, "whiteout in disguise"),
    "opaque by attribute": (entry("d", stat.S_IFDIR | 0o755, xattrs=[(b"trusted.overlay.opaque", b"y")]) + HONEST, INVALID,
                            "trusted.overlay.opaque is overlayfs's own"),
    "redirect": (entry("d", stat.S_IFDIR | 0o755, xattrs=[(b"trusted.overlay.redirect", b"/etc")]) + HONEST, INVALID, "overlayfs's own"),
    "socket": (entry("s", stat.S_IFSOCK | 0o600) + HONEST, INVALID, "socket"),
    "no type": (entry("s", 0o600) + HONEST, INVALID, "no known type"),
    "root is a file": (entry("") + HONEST, INVALID, "root can only be a directory"),
    "owner -1": (entry("f", uid=0xffffffff) + HONEST, INVALID, "no owner"),
    "time": (entry("f", mtime=(0, 10**9)) + HONEST, INVALID, "nanoseconds"),
    "size of a directory": (entry("d", stat.S_IFDIR | 0o755, size=5) + HONEST, INVALID, "only a regular file has a size"),
    "huge file": (entry("f", size=1 << 62) + HONEST, LIMIT, "bytes of content"),
    "xattrs unsorted": (entry("f", xattrs=[(b"user.b", b""), (b"user.a", b"")]) + HONEST, INVALID, "unsorted or named twice"),
    "too many xattrs": (entry("f", xattrs=[(b"user.%04d" % i, b"") for i in range(200)]) + HONEST, LIMIT, "too many or too big"),
    # the protocol
    "data without entry": (data(b"x") + HONEST, SANDBOX, "broke the protocol: content without a file"),
    "data behind a directory": (folder("d") + data(b"x") + HONEST, SANDBOX, "broke the protocol: content"),
    "too much data": (entry("f", size=3) + data(b"four") + HONEST, SANDBOX, "broke the protocol: content outside"),
    "data beyond": (entry("f", size=3) + data(b"x", 1 << 62) + HONEST, SANDBOX, "broke the protocol: content outside"),
    "data backwards": (entry("f", size=9) + data(b"abc", 3) + data(b"x", 1) + HONEST, SANDBOX, "broke the protocol: content outside"),
    "data without offset": (entry("f", size=9) + frame(DATA, b"1234") + HONEST, SANDBOX, "broke the protocol: content without an offset"),
    "unknown frame": (frame(99, b"hello") + HONEST, SANDBOX, "broke the protocol: an unknown frame"),
    "frame 0": (frame(0) + HONEST, SANDBOX, "frame of type 0"),
    "oversized frame": (struct.pack("<II", ENTRY, 0x7fffffff), SANDBOX, "frame of type 2 with 2147483647 bytes"),
    "half a frame": (entry("f")[:-3], SANDBOX, "ends inside a frame"),
    "half a header": (b"\2\0", SANDBOX, "ends inside a frame"),
    "second ready": (frame(READY) + HONEST, SANDBOX, "broke the protocol: an unknown frame"),
    "no end": (entry("f"), SANDBOX, "broke the protocol: it ended in the middle"),
    "nothing": (b"", SANDBOX, "broke the protocol: it ended in the middle"),
    "second end": (HONEST + HONEST, SANDBOX, "broke the protocol: something behind the end"),
    "entry behind the end": (HONEST + entry("f"), SANDBOX, "broke the protocol: something behind the end"),
    "entry that does not parse": (frame(ENTRY, b"\1\2\3") + HONEST, SANDBOX, "an entry that does not parse"),
    "entry with more behind": (frame(ENTRY, entry("f")[8:] + b"x") + HONEST, SANDBOX, "an entry that does not parse"),
    "end without digest": (frame(END, b"sha256:xyz" + bytes(8)), SANDBOX, "end without a digest"),
    "short end": (frame(END, b"x"), SANDBOX, "a short end"),
    "report that is none": (frame(ERROR, b"{}"), SANDBOX, "error report that is none"),
    "report of another's failure": (frame(ERROR, b'{"code":"policy","message":"fine"}'), SANDBOX, "error report that is none"),
    "report with control characters": (frame(ERROR, b'{"code":"invalid","message":"\\u001b[2J"}'), INVALID, r"\\x1b\[2J|\\e\[2J|\\033\[2J"),
    # the digest
    "wrong diffID": (entry("f") + end(WRONG), DIGEST, r"unpacked layer \(diffID\)"),
    "wrong algorithm": (entry("f") + end("sha512:" + "0" * 128), DIGEST, r"unpacked layer \(diffID\)"),
}


def tell_lies(scene, frames: bytes, *, ready=frame(READY), drain=True, flood=b"", repeat=0, number=None, tail=b"", ending="exit") -> str:
    """Prepares a pull of an image whose unpack worker says `frames`; returns its name."""
    image = local_image(scene.work)
    honest = end(image.layers[0].diff_id, len(image.layers[0].tar))
    # Frame lengths hold for what stands in a frame: the placeholders are filled before the frame is made.
    frames, tail = frames.replace(HONEST, honest), tail.replace(HONEST, honest)
    script = {"drain": drain, "flood": flood.hex(), "repeat": repeat, "number": number, "tail": tail.hex(), "end": ending}
    scene.liar("unpack", script, frames=ready + frames)
    return image.write_layout(scene.work / "layout")


def place(frames: bytes, work) -> bytes:
    """Fills "@WORK@" in, and mends the lengths around it."""
    mark, filled = b"@WORK@", os.fsencode(work)
    done = b""
    while mark in frames and len(frames) >= 8:
        kind, length = struct.unpack_from("<II", frames)
        payload, frames = frames[8:8 + length], frames[8 + length:]
        if mark in payload:
            flags, path_length, link_length = payload[0], *struct.unpack_from("<HH", payload, 41)
            more = len(filled) - len(mark)
            in_path = mark in payload[47:47 + path_length]
            payload = (payload[:41] + struct.pack("<HH", path_length + more * in_path, link_length + more * (not in_path)) +
                       payload[45:]).replace(mark, filled)
        done += frame(kind, payload)
    return done + frames


@pytest.mark.parametrize("name", UNPACK_LIES)
def test_unpack_worker_that_lies(scene, name):
    frames, status, words = UNPACK_LIES[name]
    scene.refused(tell_lies(scene, place(frames, scene.work)), status, words)


def test_unpack_worker_that_is_not_confined(scene):
    scene.refused(tell_lies(scene, entry("f") + HONEST, ready=b""), SANDBOX, "did not say that it is confined")


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("ending, words", [("kill", "guest-pull-unpack was killed by SIGKILL"), ("exit-3", "guest-pull-unpack ended with status 3")])
@pytest.mark.parametrize("frames", [b"", folder("d") + entry("d/f", size=100) + data(b"half")])
def test_unpack_worker_that_dies(scene, frames, ending, words, drain):
    scene.refused(tell_lies(scene, frames, drain=drain, ending=ending), SANDBOX, words)


@pytest.mark.parametrize("ending, words", [("kill", "guest-pull-unpack was killed by SIGKILL"), ("exit-3", "guest-pull-unpack ended with status 3")])
def test_unpack_worker_that_dies_behind_its_end(scene, ending, words):
    """All frames were right, but a worker that does not end well has not done its job."""
    scene.refused(tell_lies(scene, folder("d") + HONEST, ending=ending), SANDBOX, words)


@pytest.mark.parametrize("frames, ending", [(b"", "hang"), (entry("f", size=9), "hang"), (HONEST, "hang"), (HONEST, "close")],
                         ids=["at once", "in the middle", "behind the end", "with its output closed"])
def test_unpack_worker_that_never_ends(scene, frames, ending):
    started = time.monotonic()
    scene.refused(tell_lies(scene, frames, ending=ending), CANCELLED, "not done within 1 seconds", "--timeout", "1")
    assert time.monotonic() - started < 5


def test_unpack_worker_that_was_honest(scene):
    """The same liar with nothing false to say: what the tests above see is not an accident of the liar."""
    name = tell_lies(scene, folder("d", 0o751) + entry("d/f", size=7) + data(b"content") + HONEST)
    scene.work.pull(name, policy=scene.work / "policy.json", env=scene.env)
    assert (scene.work.rootfs / "d/f").read_text() == "content"


# The kernel counts what a process had before exec, and a child of this test's has all of pytest's memory then: a small process in between.
LAUNCHER = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as out:
    out.write(str(usage.ru_maxrss * 1024))
os._exit(os.waitstatus_to_exitcode(status))
"""


def peak_memory(command: list, env: dict) -> tuple[int, int, bytes]:
    """(exit status, peak resident bytes, standard output) of a program."""
    with tempfile.NamedTemporaryFile("r") as note:
        done = subprocess.run(["/usr/bin/python3", "-I", "-c", LAUNCHER, note.name, *command], env={**os.environ, **env},
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return done.returncode, int(note.read()), done.stdout


FLOODS = {
    "content a byte at a time": (entry("f", size=1 << 20), data(b"x"), 1000000, None, SANDBOX),
    "the root again and again": (b"", folder(""), 1000000, None, DIGEST),
    "one name again and again": (b"", folder("d"), 300000, None, DIGEST),
    "many names": (b"", folder("d0000000"), 5000, [56, 7], DIGEST),
}


@pytest.mark.skipif(ASAN, reason="AddressSanitizer's own memory")
@pytest.mark.parametrize("name", FLOODS)
def test_flood_of_frames_takes_little_memory(scene, name):
    start, flood, repeat, number, status = FLOODS[name]
    image = tell_lies(scene, start, flood=flood, repeat=repeat, number=number, tail=end(WRONG))
    command = [lib.GUEST_PULL, "pull", image, "--bundle", scene.work.bundle, "--store", scene.work.store, "--allow-unencrypted-store", "--json",
               "--policy", scene.work / "policy.json"]
    ended, peak, output = peak_memory(command, scene.env)
    assert ended == status, output
    assert peak < 64 << 20
    scene.nothing_left()


# ---- a lying fetch worker


class Liar(lib.Http):
    """A "registry" whose answers a lying fetch worker gives. Images and cosign signatures are put in as into a real one; then change()
    makes single answers false. pull() is Scene.refused(), or an honest pull."""

    host = "registry.invalid"

    def __init__(self, scene):
        self.scene, self.answers, self.repository = scene, {}, "some/app"
        (scene.libexec / "blobs").mkdir()

    def put(self, selector: str, body: bytes, media_type: str) -> str:
        place = self.scene.libexec / "blobs" / selector
        place.write_bytes(body)
        self.answers[selector] = {"file": str(place), "type": media_type}
        return selector

    def put_blob(self, repository, blob, digest=None):
        return self.put(digest or lib.digest_of(blob), blob, "application/octet-stream")

    def put_manifest(self, repository, reference, manifest, media_type):
        self.put(lib.digest_of(manifest), manifest, media_type)
        return self.put(reference, manifest, media_type)

    def get_manifest(self, repository, reference):
        return pathlib.Path(self.answers[reference]["file"]).read_bytes() if reference in self.answers else None

    def change(self, selector: str, body: bytes | None = None, **changes):
        if body is not None:
            self.put(selector, body, self.answers[selector]["type"])
        self.answers[selector].update(changes)

    def install(self, start: str = "ready"):
        self.scene.liar("fetch", {"start": start, "answers": self.answers})


@pytest.fixture
def liar(scene, cosign_key):
    """A Liar with one image, tagged and signed. liar.image, liar.name (by tag), liar.pinned (by digest)."""
    liar = Liar(scene)
    filler = bytes(range(256)) * 2048
    liar.image = Image([Layer([Dir("bin"), File("bin/true", "true", mode=0o755), File("filler", filler)], "none"),
                        Layer([File("second", "layer")], "gzip")], config={"Cmd": ["/bin/true"]})
    liar.name = liar.image.push(liar, liar.repository, "v1")
    liar.pinned = f"{liar.host}/{liar.repository}@{liar.image.digest}"
    # Annotated, because a payload without annotations is guessed and never asked for.
    payload = lib.cosign_payload(liar.image.digest, f"{liar.host}/{liar.repository}", optional={"creator": "tests"})
    lib.cosign_sign(liar, liar.repository, liar.image.digest, cosign_key, payload=payload)
    lib.write_policy(scene.work / "policy.json", {liar.host: lib.sigstore_signed(cosign_key, "matchRepository")})
    return liar


def other_image() -> lib.Image:
    return Image([Layer([File("evil", "evil")])], config={"Cmd": ["/evil"]})


def test_fetch_worker_that_was_honest(scene, liar):
    liar.install()
    for name in (liar.name, liar.pinned):
        scene.work.pull(name, policy=scene.work / "policy.json", env=scene.env)
        assert (scene.work.rootfs / "bin/true").read_text() == "true"
        scene.work.umount()


def exchange(**changes) -> bytes:
    """What the worker says of one HTTP exchange."""
    return json.dumps({"method": "GET", "url": "https://a/b", "status": 200, "bytes": 1, "start": 0, "took": 0, "token": False, **changes}).encode()


# what is false: (a change of the liar's answers, exit status, the reason in words); L: the liar
FETCH_LIES = {
    "manifest of another image by tag": (lambda L: L.change("v1", other_image().manifest), SIGNATURE, "signature"),
    "manifest of another signed image's place": (lambda L: other_image().push(L, L.repository, "v1"), SIGNATURE, "signature"),
    "flipped manifest by tag": (lambda L: L.change("v1", L.image.manifest.replace(b'"size"', b'"sizE"', 1)), INVALID, "size|sizE"),
    "manifest with a space by tag": (lambda L: L.change("v1", L.image.manifest + b" "), SIGNATURE, "signature"),
    "other manifest by digest": (lambda L: L.change(L.image.digest, other_image().manifest), DIGEST, "the manifest.*sha256:"),
    "short manifest by digest": (lambda L: L.change(L.image.digest, send=20), DIGEST, "the manifest.*sha256:"),
    "empty manifest by digest": (lambda L: L.change(L.image.digest, send=0), DIGEST, "the manifest.*sha256:"),
    "endless manifest": (lambda L: L.change(L.image.digest, b" " * (5 << 20)), LIMIT, "manifest.*more than|more than.*manifest"),
    "other signature payload": (lambda L: L.change(L.payload, b"{}"), DIGEST, "the blob.*sha256:"),
    "other configuration": (lambda L: L.change(L.config, L.image.config.replace(b"/bin/true", b"/bin/evil")), DIGEST,
                            "image configuration: the blob.*sha256:"),
    "short configuration": (lambda L: L.change(L.config, send=20), DIGEST, "image configuration"),
    "empty configuration": (lambda L: L.change(L.config, send=0), DIGEST, "image configuration"),
    "long configuration": (lambda L: L.change(L.config, L.image.config + b" "), DIGEST, "image configuration"),
    "other layer": (lambda L: L.change(L.layer, L.tar.replace(b"truefiller", b"evil")[:-1] + b"\1"), DIGEST, "layer sha256:.*the blob"),
    "other archive as layer": (lambda L: L.change(L.layer, Layer([File("x", "y" * len(L.tar))], "none").tar[:len(L.tar)]), DIGEST,
                               "layer sha256:.*the blob"),
    "short layer": (lambda L: L.change(L.layer, send=1000), DIGEST, "layer sha256:"),
    "short layer claimed whole": (lambda L: L.change(L.layer, send=1000, claim=len(L.tar)), DIGEST, "layer sha256:"),
    "empty layer": (lambda L: L.change(L.layer, send=0), DIGEST, "layer sha256:"),
    "empty layer claimed whole": (lambda L: L.change(L.layer, send=0, claim=len(L.tar)), DIGEST, "layer sha256:"),
    "long layer": (lambda L: L.change(L.layer, L.tar + bytes(512)), DIGEST, "more than the [0-9]+ bytes that the manifest names"),
    "endless layer": (lambda L: L.change(L.layer, bytes(32 << 20)), DIGEST, "more than the [0-9]+ bytes that the manifest names"),
    "layer swapped for another of the image": (lambda L: L.change(L.layer, L.image.layers[1].blob), DIGEST, "layer sha256:.*the blob"),
    "manifest without content": (lambda L: L.change(L.image.digest, send=0, claim=len(L.image.manifest)), SANDBOX,
                                 "broke its protocol: it speaks of [0-9]+ bytes and sent 0"),
    "wrong count": (lambda L: L.change(L.image.digest, claim=1), SANDBOX, "broke its protocol: it speaks of 1 bytes"),
    "negative count": (lambda L: L.change(L.image.digest, claim=-1), SANDBOX, "broke its protocol: negative count"),
    "reply of another type": (lambda L: L.change(L.image.digest, reply=frame(7, b"{}").hex()), SANDBOX, "broke its protocol: frame type 7"),
    "reply that is not JSON": (lambda L: L.change(L.config, reply=frame(1, b"[[").hex()), SANDBOX, "broke its protocol"),
    "reply with unknown fields": (lambda L: L.change(L.config, reply=frame(1, b'{"status":200,"bytes":1,"x":1}').hex()), SANDBOX,
                                  "broke its protocol"),
    "reply too large": (lambda L: L.change(L.layer, reply=struct.pack("<II", 1, 1 << 30).hex()), SANDBOX, "fetch worker"),
    "half a reply": (lambda L: L.change(L.layer, reply=frame(1, b"{}").hex()[:-2]), SANDBOX, "fetch worker"),
    **{f"exchange {name}": (lambda L, frames=frames: L.change(L.image.digest, reply=frames.hex()), SANDBOX, words) for name, (frames, words) in {
        "of an unknown form": (frame(2, b"{}"), "exchange: .*method"),
        "with a query": (frame(2, exchange(url="https://a/b?token=x")), "exchange: url"),
        "with a user": (frame(2, exchange(url="https://me:pw@a/b")), "exchange: url"),
        "of another scheme": (frame(2, exchange(url="file:///etc/passwd")), "exchange: url"),
        "that is longer than the request": (frame(2, exchange(took=3600 * 10**6)), "exchange: a time"),
        "before the request": (frame(2, exchange(start=-1)), "exchange: a time"),
        "of an odd status": (frame(2, exchange(status=1000)), "exchange: status"),
        "of an odd method": (frame(2, exchange(method="PWN")), "exchange: method"),
        "too many": (17 * frame(2, exchange()), "frame type 2"),
    }.items()},
    "failure that is none of its own": (lambda L: L.change(L.image.digest, reply=frame(
        1, b'{"status":0,"bytes":0,"error":{"code":"policy","message":"all is well"}}').hex()), SANDBOX, "all is well"),
    "failure with control characters": (lambda L: L.change(L.image.digest, reply=frame(
        1, b'{"status":0,"bytes":0,"error":{"code":"network","message":"\\u001b[2J"}}').hex()), NETWORK, r"\\x1b\[2J|\\e\[2J|\\033\[2J"),
    "death before the manifest": (lambda L: L.change(L.image.digest, do="exit-before"), SANDBOX, "fetch worker died"),
    "death in the manifest": (lambda L: L.change(L.image.digest, do="exit-in-body"), SANDBOX, "fetch worker died"),
    "death in the configuration": (lambda L: L.change(L.config, do="exit-in-body"), SANDBOX, "fetch worker died"),
    "death in the layer": (lambda L: L.change(L.layer, do="exit-in-body"), SANDBOX, "fetch worker died"),
    "killed in the layer": (lambda L: L.change(L.layer, do="kill-in-body"), SANDBOX, "fetch worker died"),
    "death behind the layer": (lambda L: L.change(L.layer, do="exit-without-reply"), SANDBOX, "fetch worker died"),
    "silence instead of the manifest": (lambda L: L.change(L.image.digest, do="hang"), CANCELLED, "not done within 1 seconds"),
    "silence in the layer": (lambda L: L.change(L.layer, do="hang-in-body"), CANCELLED, "not done within 1 seconds"),
    "silence behind the layer": (lambda L: L.change(L.layer, do="hang-without-reply"), CANCELLED, "not done within 1 seconds"),
    "layer answered not found": (lambda L: L.answers.pop(L.layer), NOT_FOUND, "no such thing"),
}


@pytest.mark.parametrize("name", FETCH_LIES)
def test_fetch_worker_that_lies(scene, liar, name):
    tell, status, words = FETCH_LIES[name]
    liar.config, liar.layer, liar.tar = liar.image.config_digest, liar.image.layers[0].digest, liar.image.layers[0].blob
    liar.payload = json.loads(liar.get_manifest("", lib.cosign_tag(liar.image.digest)))["layers"][0]["digest"]
    tell(liar)
    liar.install()
    started = time.monotonic()
    # With a layer kept, "nothing left" would be wrong: one layer at a time, and the first (the biggest) is the one lied about.
    options = ["--max-parallel", "1", *(["--timeout", "1"] if status == CANCELLED else [])]
    scene.refused(liar.name if "by tag" in name or "place" in name else liar.pinned, status, words, *options)
    assert time.monotonic() - started < 6


def test_words_of_the_fetch_worker_in_the_report(scene, liar):
    """They are escaped, cut, and marked as the worker's."""
    said = exchange(url="https://a/\u202e" + "x" * 600, error="\x1b[2J\u202e", status=777)
    size = len(liar.image.manifest)
    liar.change(liar.image.digest, reply=(frame(2, said) + frame(1, b'{"status":200,"bytes":%d,"untold":3}' % size)).hex())
    liar.install()
    timings = scene.work.pull(liar.pinned, policy=scene.work / "policy.json", env=scene.env).json["timings"]
    row = timings["requests"][0]  # the list of referrers is asked for by the same digest
    assert row["by"] == "fetch worker" and row["status"] == 777 and row["error"] == "\\x1b[2J\\u{202e}"
    assert row["url"].startswith("https://a/\\u{202e}xxx") and row["url"].endswith("…") and len(row["url"]) <= 410
    assert timings["requestsLeftOut"] == 6


@pytest.mark.parametrize("start, status, words", [
    ("exit", SANDBOX, "died while it was starting"),
    ('{"ready":false}', SANDBOX, "fetch worker"),
    ('{"ready":true,"extra":1}', SANDBOX, "fetch worker"),
    ("garbage", SANDBOX, "fetch worker"),
    ('{"error":{"code":"sandbox","message":"no Landlock"}}', SANDBOX, "no Landlock"),
    ("silent", CANCELLED, "not ready within 1 seconds"),
])
def test_fetch_worker_that_does_not_start(scene, liar, start, status, words):
    liar.install(start)
    started = time.monotonic()
    scene.refused(liar.pinned, status, words, "--timeout", "1")
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("worker", ["fetch", "unpack"])
def test_worker_that_is_not_there(scene, liar, worker):
    liar.install()
    (scene.libexec / f"guest-pull-{worker}").unlink()
    scene.refused(liar.pinned, SANDBOX, f"cannot start .*guest-pull-{worker}")


# ---- killed in the middle


class SlowRegistry(lib.FakeRegistry):
    """Gives half of one blob, says so in `halfway`, and the rest when `go` is set."""

    def slow(self, repository: str, digest: str):
        self.halfway, self.go = threading.Event(), threading.Event()
        path = f"/v2/{repository}/blobs/{digest}"
        body = self.answers[path]

        def answer(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[:len(body) // 2])
            handler.wfile.flush()
            self.halfway.set()
            self.go.wait(30)
            handler.wfile.write(body[len(body) // 2:])

        self.answers[path] = answer
        self.whole = lambda: self.answers.__setitem__(path, body)


@pytest.fixture
def slow_registry():
    with SlowRegistry() as server:
        yield server
        if hasattr(server, "go"):
            server.go.set()


def children(pid: int) -> dict[str, int]:
    """Names (without "guest-pull-") and pids of a puller's workers."""
    found = {}
    for stat_file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat_file.read_text()
            if int(text.rpartition(")")[2].split()[1]) == pid:
                program = os.readlink(stat_file.parent / "exe")
                found[os.path.basename(program).removeprefix("guest-pull-")] = int(stat_file.parent.name)
        except (OSError, ValueError):
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class HalfPull:
    """A pull that stands still in the middle of its layer, with both workers alive."""

    def __init__(self, work, registry):
        self.image = Image([Layer([Dir("d"), File("d/first", os.urandom(300000)), File("d/second", os.urandom(300000))], "none"),
                            Layer([File("small", "small")])], config={"Cmd": ["/x"]})
        self.work, self.registry = work, registry
        self.name = registry.add(self.image, work.repository(), "v1")
        self.policy = lib.write_policy(work / "policy.json", {registry.host: lib.ACCEPT_ANYTHING})
        registry.slow(work.repository(), self.image.layers[0].digest)
        command = [lib.GUEST_PULL, "pull", self.name, "--bundle", work.bundle, "--store", work.store, "--allow-unencrypted-store",
                   *work.options(policy=self.policy, registry=registry), "--timeout", "30", "--max-parallel", "1"]
        with open(work / "stderr", "wb") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert registry.halfway.wait(10)
        # Something unpacked lies there: both workers are in their sandboxes and at work.
        self.wait_for(lambda: any(path.stat().st_size > 0 for path in (work.store / "staging").rglob("first")))
        self.workers = children(self.process.pid)
        assert sorted(self.workers) == ["fetch", "unpack"]

    def wait_for(self, condition):
        for _ in range(500):
            if condition():
                return
            time.sleep(0.01)
        raise AssertionError("it did not come to that")

    def finish(self) -> tuple[int, dict]:
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, json.loads(output) if output else {}

    def gone(self):
        """No worker lives. (As a zombie it may wait for init to take notice.)"""
        self.wait_for(lambda: not any(map(is_alive, self.workers.values())))

    def end(self):
        self.registry.go.set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def next_pull_succeeds(self):
        """Whatever happened, the store is as good as new."""
        work = self.work
        self.registry.whole()
        done = work.pull(self.name, policy=self.policy, registry=self.registry)
        assert done.json["manifestDigest"] == self.image.digest
        assert (work.rootfs / "small").read_text() == "small"
        assert os.listdir(work.store / "staging") == []
        assert sorted(os.listdir(work.store / "layers")) == sorted(layer.digest.replace(":", "-") for layer in self.image.layers)
        lib.guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store")
        lib.run("ostree", "fsck", f"--repo={work.store / 'repo'}")
        work.umount()


@pytest.mark.parametrize("worker, words", [("fetch", "fetch worker died"), ("unpack", "guest-pull-unpack was killed by SIGKILL")])
def test_killed_worker_ends_the_pull_and_leaves_nothing(scene, slow_registry, worker, words):
    work = scene.work
    with HalfPull(work, slow_registry) as half:
        os.kill(half.workers[worker], signal.SIGKILL)
        slow_registry.go.set()  # with the unpack worker gone, the puller still reads the blob to its end
        status, report = half.finish()
        assert status == SANDBOX and re.search(words, report["error"]["message"]), (status, report)
        half.gone()
        scene.nothing_left()
        half.next_pull_succeeds()


def test_killed_puller_takes_its_workers_along(scene, slow_registry):
    work = scene.work
    with HalfPull(work, slow_registry) as half:
        os.kill(half.process.pid, signal.SIGKILL)
        half.process.wait()
        half.gone()
        assert lib.mounts_below(work) == [] and os.listdir(work.bundle) == []
        assert os.listdir(work.store / "layers") == []
        assert len(os.listdir(work.store / "staging")) == 1, "nobody could clean up: this is what the next pull has to do"
        half.next_pull_succeeds()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_interrupted_puller_cleans_up(scene, slow_registry, number):
    work = scene.work
    with HalfPull(work, slow_registry) as half:
        half.process.send_signal(number)
        status, report = half.finish()
        assert status == CANCELLED and f"interrupted by {signal.Signals(number).name}" in report["error"]["message"], (status, report)
        half.gone()
        scene.nothing_left()
        half.next_pull_succeeds()


# ---- the confinement, from outside: a worker in the middle of its work


def status_of(pid: int) -> dict[str, str]:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def limits_of(pid: int) -> dict[str, tuple[str, str]]:
    found = {}
    for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]:
        fields = re.split(r"\s{2,}", line.strip())
        found[fields[0]] = (fields[1], fields[2])
    return found


def descriptors_of(pid: int) -> dict[int, str]:
    """Numbers and what they are: "/dev/null", "pipe", "socket", "anon_inode:[eventfd]", or a path."""
    folder = pathlib.Path(f"/proc/{pid}/fd")
    return {int(name): re.sub(r"^(pipe|socket):\[\d+\]$", r"\1", os.readlink(folder / name)) for name in os.listdir(folder)}


@pytest.fixture(scope="module")
def half_pull(session_folder):
    """One pull that stands still while the tests below look at its workers."""
    work = lib.Work(session_folder / "half-pull")
    work.mkdir()
    with SlowRegistry() as registry, HalfPull(work, registry) as half:
        for pid in half.workers.values():
            os.kill(pid, signal.SIGSTOP)
        yield half
        for pid in half.workers.values():
            os.kill(pid, signal.SIGCONT)
        registry.go.set()
        assert half.finish()[0] == OK, "stopped and continued, they still do their work"
    lib.unmount_below(work)


@pytest.mark.parametrize("worker", ["fetch", "unpack"])
def test_worker_has_no_privileges(half_pull, worker):
    status = status_of(half_pull.workers[worker])
    assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4 and status["Groups"] == ""
    assert {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert int(status["Threads"]) == 1


@pytest.mark.parametrize("worker", ["fetch", "unpack"])
def test_worker_has_namespaces_of_its_own(half_pull, worker):
    def spaces(pid):
        return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in ("mnt", "ipc", "uts", "net")}

    ours, puller = spaces(os.getpid()), spaces(half_pull.process.pid)
    worker_spaces = spaces(half_pull.workers[worker])
    for name in ("mnt", "ipc", "uts"):
        assert worker_spaces[name] not in (ours[name], puller[name]), name
    assert puller["net"] != ours["net"], "the puller has given the network up"
    if worker == "fetch":
        assert worker_spaces["net"] == ours["net"]
    else:
        assert worker_spaces["net"] not in (ours["net"], puller["net"])


@pytest.mark.parametrize("pid_of", ["puller", "unpack"])
def test_no_network_interface_is_up(half_pull, pid_of):
    pid = half_pull.process.pid if pid_of == "puller" else half_pull.workers[pid_of]
    interfaces = [line.split(":")[0].strip() for line in pathlib.Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]]
    assert interfaces == ["lo"]
    assert pathlib.Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:] == []
    assert pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:] == []


@pytest.mark.parametrize("worker", ["fetch", "unpack"])
def test_worker_has_the_descriptors_that_it_needs(half_pull, worker):
    found = descriptors_of(half_pull.workers[worker])
    standard = [found.pop(number) for number in (0, 1, 2)]
    assert standard[:2] == ["/dev/null"] * 2 and (standard[2] == "/dev/null" or ASAN)  # sanitizers' reports must be seen
    if worker == "unpack":
        assert found == {3: "pipe", 4: "pipe"}
        return
    kinds = collections.Counter(found.values())
    # The control socket; body and reply pipe of the one transfer; libcurl's connections, with what wakes its waiting.
    assert found[3] == "socket" and kinds.pop("pipe") == 2 and kinds.pop("socket") <= 6
    assert set(kinds) <= {"anon_inode:[eventfd]", "anon_inode:[eventpoll]"}


@pytest.mark.parametrize("worker", ["fetch", "unpack"])
def test_worker_has_limits(half_pull, worker):
    limits = limits_of(half_pull.workers[worker])
    for name in ("Max core file size", "Max file size", "Max locked memory", "Max msgqueue size"):
        assert limits[name] == ("0", "0"), name
    assert limits["Max open files"] == (("1024", "1024") if worker == "fetch" else ("16", "16"))
    if not ASAN:
        bytes_allowed = str((4 << 30) if worker == "fetch" else (512 << 20))
        assert limits["Max address space"] == (bytes_allowed, bytes_allowed)


@pytest.mark.parametrize("worker", ["fetch", "unpack"])
def test_worker_knows_nothing_from_its_environment(half_pull, worker):
    pid = half_pull.workers[worker]
    variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    assert {variable.partition(b"=")[0] for variable in variables} <= {b"PATH", b"LC_ALL"} | ({b"ASAN_OPTIONS", b"UBSAN_OPTIONS", b"LSAN_OPTIONS"})
    arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert arguments == ([b"guest-pull-fetch"] if worker == "fetch" else [b"guest-pull-unpack", b"none"])


def test_puller_has_no_socket_but_the_workers(half_pull):
    sockets = [number for number, kind in descriptors_of(half_pull.process.pid).items() if kind == "socket"]
    assert len(sockets) == 1


# ---- the confinement, by what the workers do: every system call behind the sandbox's last step

READABLE = ("/etc/", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/lib/ssl", "/run/systemd/resolve")
UNPACK_CALLS = {"read", "readv", "write", "writev", "close", "fstat", "newfstatat", "lseek", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk",
                "futex", "clock_gettime", "getrandom", "rt_sigprocmask", "exit_group"}
FETCH_CALLS = UNPACK_CALLS | {"poll", "ppoll", "socket", "socketpair", "connect", "getsockname", "getpeername", "getsockopt", "setsockopt", "sendto",
                              "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "openat", "fcntl", "ioctl", "shutdown", "bind", "clone", "clone3", "exit",
                              "set_robust_list", "rseq", "gettid", "getpid", "pipe2", "eventfd2", "uname", "rt_sigaction", "access", "readlink",
                              "prlimit64", "sysinfo", "sched_getaffinity", "statx", "stat", "nanosleep", "clock_nanosleep", "prctl", "pread64"}


def calls_behind_the_sandbox(folder: pathlib.Path) -> dict[str, list[tuple[str, str, str]]]:
    """For each worker: (call, arguments, result) of all that it and its threads did after the seccomp filter was loaded. `folder` has
    strace's files, one a thread."""
    found = collections.defaultdict(list)
    # A worker's main thread has its execve in its file; threads follow by the results of clone.
    pending = [(path, re.search(r'^execve\("[^"]*/guest-pull-(fetch|unpack)"', path.read_text(errors="replace"), re.M)) for path in folder.iterdir()]
    pending = [(path, match[1], False) for path, match in pending if match]
    while pending:
        path, worker, confined = pending.pop()
        for line in path.read_text(errors="replace").splitlines():
            match = re.match(r"(\w+)\((.*)$", line)
            # A call that the puller's SIGKILL came before; what strace names there is none of the worker's.
            if not match or line.endswith("<unfinished ...>"):
                continue
            call, rest = match[1], match[2]
            result = rest.rpartition(" = ")[2].strip()
            if confined:
                found[worker].append((call, rest, result))
            if call in ("clone", "clone3") and result.isdigit():
                pending.append((folder / f"t.{result}", worker, confined))
            confined |= call == "seccomp" and "SECCOMP_SET_MODE_FILTER" in rest and result == "0"
    return found


@pytest.fixture(scope="module")
def traced(session_folder):
    """Under strace: a whole pull over TLS, and one from a host that no resolver knows (libcurl knows "localhost" by itself)."""
    work = lib.Work(session_folder / "traced")
    work.mkdir()
    with lib.FakeRegistry(work, tls=True) as server:
        image = Image([Layer([File("plain", os.urandom(100000))], "none"), Layer([File("gzip", bytes(3000000))], "gzip"),
                       Layer([Dir("d"), File("d/zstd", os.urandom(3000)), Symlink("l", "d"), Device("n", 1, 3)], "zstd")])
        name = server.add(image, "some/app", "v1")
        policy = lib.write_policy(work / "policy.json", {server.host: lib.ACCEPT_ANYTHING})
        trace = work / "trace"
        trace.mkdir()
        strace = ["strace", "-ff", "-qq", "-s", "300", "-o", trace / "t", lib.GUEST_PULL]
        options = work.options(policy=policy, registry=server)
        lib.run(*strace, "pull", name, "--bundle", work.bundle, "--store", work.store, "--allow-unencrypted-store", *options)
        assert (work.rootfs / "d/zstd").exists()
        lib.write_policy(policy, {"registry.invalid": lib.ACCEPT_ANYTHING})
        failed = lib.run(*strace, "verify", "registry.invalid/some/app", *options, "--timeout", "3", check=None)
        assert failed.status in (NETWORK, CANCELLED), failed
    yield calls_behind_the_sandbox(trace)
    lib.unmount_below(work)


@pytest.mark.skipif(ASAN, reason="AddressSanitizer's own system calls")
def test_unpack_opens_nothing_and_creates_no_socket(traced):
    calls = traced["unpack"]
    assert sum(call == "exit_group" for call, _, _ in calls) == 3, "three layers, three workers"
    names = {call for call, _, _ in calls}
    assert not names & {"open", "openat", "openat2", "creat", "socket", "socketpair", "connect", "execve", "clone", "clone3", "fork", "prctl"}
    assert names <= UNPACK_CALLS, [call for call in calls if call[0] not in UNPACK_CALLS]
    assert not [rest for call, rest, _ in calls if call in ("mmap", "mprotect") and "PROT_EXEC" in rest]


@pytest.mark.skipif(ASAN, reason="AddressSanitizer's own system calls")
def test_fetch_reads_its_files_and_talks_ip_only(traced):
    calls = traced["fetch"]
    names = {call for call, _, _ in calls}
    assert {"connect", "openat", "clone"} <= names, "there is something to see: the resolver's thread, too"
    assert names <= FETCH_CALLS, [call for call in calls if call[0] not in FETCH_CALLS]
    for call, rest, result in calls:
        if call == "openat":
            assert not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE|O_PATH", rest), rest
            path = re.search(r'"([^"]*)"', rest)
            assert result.startswith("-1") or path and path[1].startswith(READABLE), rest
        elif call == "socket":
            assert re.match(r"AF_INET6?,|AF_NETLINK,", rest) or result.startswith("-1 EACCES"), rest
            assert "SOCK_RAW" not in rest or "AF_NETLINK" in rest, rest
        elif call == "connect":
            assert re.search(r"AF_INET6?|AF_UNSPEC|AF_NETLINK", rest), rest
        elif call in ("mmap", "mprotect"):
            assert "PROT_EXEC" not in rest or result.startswith("-1 EACCES"), rest
        elif call == "ioctl":
            assert result.startswith(("0", "-1")) and "TIOCSTI" not in rest, rest


# ---- the confinement, by trying: a program of ours inside the very same sandbox


@pytest.fixture(scope="session")
def confined(session_folder):
    program = session_folder / "confined"
    packages = ["glib-2.0", "jansson", "libcrypto", "libseccomp"]
    flags = lib.run("pkg-config", "--cflags", "--libs", *packages).stdout.split()
    libraries = [lib.BUILD / "lib" / f"{name}.a" for name in ("fetch", "unpack", "blobs", "base")]
    more = ["-fsanitize=address,undefined"] if ASAN else []
    lib.run("gcc", "-D_GNU_SOURCE", "-I", lib.ROOT, *more, LIARS / "confined.c", *libraries, *flags, "-o", program)
    return program


WORKS, NOT_ALLOWED, DEATH = "works", "EACCES", "SIGSYS"
BOTH_DIE = ["openat2", "open-by-handle", "memfd", "unlink", "rename", "mkdir", "symlink", "chmod", "truncate", "accept", "execve", "fork", "vfork-like",
            "new-user-namespace", "unshare", "setns", "mount", "chroot", "ptrace", "process-vm-readv", "pidfd-open", "kill-parent", "kill-all", "setuid",
            "capset", "bpf", "perf", "io-uring", "userfaultfd", "keyctl", "socket-packet", "socket-vsock", "socket-alg", "listen"]
FETCH = {"nothing": WORKS, "write": WORKS, "open": NOT_ALLOWED, "open-old": NOT_ALLOWED, "open-write": NOT_ALLOWED, "open-create": NOT_ALLOWED,
         "open-truncate": NOT_ALLOWED, "open-tmpfile": NOT_ALLOWED, "socket-inet": WORKS, "socket-inet6": WORKS, "socket-unix": NOT_ALLOWED,
         "socket-raw": "EPERM", "bind": NOT_ALLOWED, "prlimit": NOT_ALLOWED, "map-executable": NOT_ALLOWED, "make-executable": NOT_ALLOWED,
         "more-memory": "ENOMEM", **dict.fromkeys(BOTH_DIE, DEATH)}
UNPACK = {"nothing": WORKS, "write": WORKS, "map-executable": NOT_ALLOWED, "make-executable": NOT_ALLOWED, "more-memory": "ENOMEM",
          **dict.fromkeys(["open", "open-old", "open-write", "open-create", "open-truncate", "open-tmpfile", "socket-inet", "socket-inet6", "socket-unix",
                           "socket-raw", "socketpair", "bind", "connect-abstract", "prlimit", "terminal", *BOTH_DIE], DEATH)}
LOOSER_WITH_ASAN = {"open-old", "more-memory", "prlimit"}


def how_it_ended(program, *arguments) -> str:
    done = lib.run(program, *arguments, check=None)
    assert done.status not in (250, 251), done
    if done.status == 0:
        return WORKS
    return signal.Signals(-done.status).name if done.status < 0 else errno.errorcode[done.status]


@pytest.mark.parametrize("worker", ["fetch", "unpack", "blobs"])
def test_confined_program_is_stopped(confined, work, worker):
    """Every attempt of the list in liars/confined.c, on a file that anyone may read and write, in a folder where anyone may make one."""
    os.chmod(work, 0o777)
    victim = work / "victim"
    expected = FETCH if worker == "fetch" else UNPACK
    wrong = {}
    for attempt, ending in expected.items():
        victim.write_text("untouched")
        victim.chmod(0o666)
        target = {"open-create": work / "new", "open-tmpfile": work, "mkdir": work / "new", "symlink": work / "new"}.get(attempt, victim)
        ended = how_it_ended(confined, worker, attempt, target)
        if ended != ending and not (ASAN and attempt in LOOSER_WITH_ASAN):
            wrong[attempt] = f"{ended} instead of {ending}"
        assert victim.read_text() == "untouched" and os.listdir(work) == ["victim"], attempt
    assert not wrong


@pytest.mark.parametrize("path, ending", [
    ("/etc/hosts", WORKS), ("/etc/ssl/certs", WORKS), ("/etc/passwd", NOT_ALLOWED), ("/etc/shadow", NOT_ALLOWED), ("/proc/self/environ", NOT_ALLOWED),
    ("/proc/self/maps", NOT_ALLOWED), ("/usr/bin/env", NOT_ALLOWED), ("/etc/ssl/../passwd", NOT_ALLOWED), ("/dev/null", NOT_ALLOWED),
    ("/root", NOT_ALLOWED), ("/", NOT_ALLOWED), ("/etc", NOT_ALLOWED), ("/var/lib/guest-pull", None)])
def test_confined_fetch_reads_only_what_its_job_needs(confined, path, ending):
    ended = how_it_ended(confined, "fetch", "open", path)
    assert ended == ending or ending is None and ended in ("EACCES", "ENOENT")
