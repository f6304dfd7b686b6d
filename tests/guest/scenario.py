"""What stands around the guest in these tests: the registry, the key broker behind the confidential-data-hub, and images whose every
64 bytes are recognized again."""

import hashlib
import io
import json
import os
import pathlib
import secrets
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent)]

import image as images  # noqa: E402
import signing  # noqa: E402
import ttrpc  # noqa: E402
from guest import HOST  # noqa: E402
from image import Dir, File, Image, Layer, Symlink  # noqa: E402

STORE = "/var/lib/guest-pull"
APPLETS = ("sh", "cat", "dd", "df", "echo", "id", "ls", "mount", "mkdir", "rm", "sha256sum", "stat", "touch")


class Marks:
    """Text that is found again: a token of this run, in which any 64 bytes hold it whole."""

    def __init__(self):
        self.token = secrets.token_hex(12).encode()

    def text(self, size: int, seed: int = 0) -> bytes:
        """Of 40-byte lines "TOKEN:number", so that every run of 64 bytes has a whole token in it."""
        lines = b"".join(b"%s:%014d\n" % (self.token, seed * 10_000_000 + i) for i in range(size // 40 + 1))
        return lines[:size]

    def name(self, what: str) -> str:
        return f"{what}-{self.token.decode()}"


def shell_layer() -> Layer:
    busybox = pathlib.Path("/bin/busybox").read_bytes()
    return Layer([Dir("bin"), Dir("proc"), Dir("sys"), Dir("dev"), Dir("tmp", mode=0o1777), Dir("etc"),
                  File("bin/busybox", busybox, mode=0o755), *(Symlink(f"bin/{name}", "busybox") for name in APPLETS),
                  File("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")])


def marked_image(marks: Marks, layers: int = 3, size: int = 1 << 20, files: int = 8, command: str = "echo hello", seed: int = 0) -> Image:
    """A shell, and `layers` layers of `files` files that make `size` bytes each, all of them and all names full of marks."""
    content = [shell_layer()]
    for number in range(layers):
        folder = f"data/{marks.name('folder')}/{number}"
        entries = [Dir("data"), Dir(f"data/{marks.name('folder')}"), Dir(folder)]
        entries += [File(f"{folder}/{marks.name(f'file{i}')}", marks.text(size // files, seed + number * 100 + i)) for i in range(files)]
        content.append(Layer(entries))
    return Image(content, config={"Cmd": ["sh", "-c", command], "Env": ["PATH=/bin"]})


def random_image(layers: int, size: int, files: int = 4, shell: bool = False) -> Image:
    """Layers that nothing compresses and that no other image has."""
    content = [shell_layer()] if shell else []
    content += [Layer([File(f"l{number}/f{i}", os.urandom(size // files)) for i in range(files)], compression="none")
                for number in range(layers)]
    return Image(content, config={"Cmd": ["sh"]})


class World:
    """A registry that the guest reaches, a hub with policy and keys, and images that are signed for it."""

    def __init__(self, folder, registry, key):
        self.folder, self.registry, self.key = pathlib.Path(folder), registry, key
        self.host = f"{HOST}:{registry.host.split(':')[1]}"
        self.marks = Marks()
        self.hub = ttrpc.Hub(None, {"default/cosign/key": pathlib.Path(key.public).read_bytes(),
                                    "default/volume/key": secrets.token_bytes(32),
                                    "default/volume/other": secrets.token_bytes(32)})
        requirement = {"type": "sigstoreSigned", "keyPath": "kbs:///default/cosign/key", "signedIdentity": {"type": "matchRepository"}}
        self.policy = {"default": [{"type": "reject"}],
                       "transports": {"docker": {self.host: [requirement],
                                                 f"{self.host}/{self.marks.name('secret-scope')}": [requirement]}}}
        self.hub.resources["default/policy/test"] = json.dumps(self.policy).encode()

    def push(self, image: Image, name: str, sign: bool = True) -> str:
        """Returns the name that the guest pulls it by."""
        repository = f"guest/{name}"
        image.push(self.registry, repository, "1")
        if sign:
            signing.cosign_sign(self.registry, repository, image.digest, self.key, reference=f"{self.host}/{repository}")
        return f"{self.host}/{repository}:1"

    def config(self, volume: dict | None = None, **own) -> str:
        """A cdh.toml. volume None: a plain store, as for debugging."""
        sections = {"image": {"image_security_policy_uri": "kbs:///default/policy/test",
                              "sigstore_config": "default-docker: {use-sigstore-attachments: true}\n"},
                    "guest_pull": {"plain_http": [self.host], "allow_unencrypted_store": volume is None, **own}}
        if volume is not None:
            sections["guest_pull.volume"] = {"device": "/dev/vda", **volume}
        return "".join(f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())
                       for name, section in sections.items())

    def persistent(self, **more) -> dict:
        return {"mode": "persistent", "key": "kbs:///default/volume/key", **more}

    def stop(self):
        self.hub.stop()


def read_back(guest, rootfs: str, image: Image) -> dict[str, list[str]]:
    """Reads every file of the image in the guest, from the disk. Paths by what came: "right", "error" (the read failed), "wrong"."""
    wanted = {name: hashlib.sha256(data).hexdigest() for layer in image.layers for name, data in named_files(layer.tar)}
    guest.drop_caches()
    lines = guest.run(f"cd {rootfs} && find . -type f | while read -r f; do sha256sum \"$f\" 2>/dev/null || echo error \"$f\"; done",
                      check=None).out.splitlines()
    got = {path.removeprefix("./"): digest for digest, path in (line.split(None, 1) for line in lines)}
    kinds = {"right": [], "error": [], "wrong": []}
    for name, digest in wanted.items():
        seen = got.get(name, "error")
        kinds["right" if seen == digest else "error" if seen == "error" else "wrong"].append(name)
    return kinds


BLOCK = 4096


def blocks_of(path) -> dict[int, bytes]:
    """Every 4096 bytes of a disk that were ever written and are not zeros, by number."""
    zeros = bytes(BLOCK)
    return {(at + i) // BLOCK: piece for at, data in extents(path) for i in range(0, len(data), BLOCK)
            if (piece := data[i:i + BLOCK]) != zeros}


def write_block(path, number: int, data: bytes) -> None:
    with open(path, "r+b") as disk:
        disk.seek(number * BLOCK)
        disk.write(data)


def chunks_of(image: Image) -> set[bytes]:
    """Every 64 bytes at a multiple of 64 of every file that are no run of one byte."""
    found = set()
    for layer in image.layers:
        for _, entry_data in named_files(layer.tar):
            found.update(chunk for at in range(0, len(entry_data) - 63, 64) if len(set(chunk := entry_data[at:at + 64])) > 8)
    return found


def named_files(tar: bytes):
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            if member.isreg():
                yield member.name, archive.extractfile(member).read()


def extents(path):
    """What of a sparse file was ever written: (offset, bytes)."""
    with open(path, "rb") as disk:
        at, end = 0, os.fstat(disk.fileno()).st_size
        while at < end:
            try:
                at = os.lseek(disk.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            stop = os.lseek(disk.fileno(), at, os.SEEK_HOLE)
            while at < stop:
                data = os.pread(disk.fileno(), min(stop - at, 8 << 20), at)
                if not data:
                    return
                yield at, data
                at += len(data)


def search_disk(path, needles: dict[str, bytes], chunks: set[bytes]) -> tuple[dict[str, int], int, int]:
    """How often each needle is in the disk at any place, how many of `chunks` are there (at multiples of 64, where files lie), and
    how many bytes were looked at."""
    found, seen, total, tail = dict.fromkeys(needles, 0), set(), 0, b""
    last = 0
    for at, data in extents(path):
        total += len(data)
        joined = (tail if at == last else b"") + data
        for name, needle in needles.items():
            found[name] += joined.count(needle)
        seen.update(chunks.intersection(data[i:i + 64] for i in range(0, len(data), 64)))
        last, tail = at + len(data), data[-max(map(len, needles.values())) + 1:]
    return found, len(seen), total
