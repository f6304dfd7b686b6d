"""Container images made in memory: layers from descriptions of their entries, exactly as wanted and always the same bytes.

    image = Image([Layer([Dir("bin"), File("bin/sh", data, mode=0o4755)]), Layer([Whiteout("bin/sh")])], config={"Cmd": ["sh"]})
    image.digest; image.layers[0].digest; image.push(registry, "demo/app", "latest"); image.write_layout(folder, "latest")

Nothing is repaired: a wrong path, size or digest that a test asks for comes out as asked.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from typing import Callable

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MANIFEST = OCI + "manifest.v1+json"
INDEX = OCI + "index.v1+json"
CONFIG = OCI + "config.v1+json"
LAYER = OCI + "layer.v1.tar"
DOCKER_MANIFEST = DOCKER + "distribution.manifest.v2+json"
DOCKER_LIST = DOCKER + "distribution.manifest.list.v2+json"
DOCKER_CONFIG = DOCKER + "container.image.v1+json"
DOCKER_LAYER = DOCKER + "image.rootfs.diff.tar"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def to_json(value) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclasses.dataclass
class Entry:
    """One tar entry. mtime: seconds, or a string with a fraction ("1.5") that becomes a PAX record. path may be bytes."""

    path: str | bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int | str = 1700000000
    xattrs: dict[str, bytes] = dataclasses.field(default_factory=dict)
    pax: dict[str, str] = dataclasses.field(default_factory=dict)
    type = tarfile.REGTYPE
    data = b""
    link: str | bytes = ""

    def info(self) -> tarfile.TarInfo:
        info = tarfile.TarInfo(os.fsdecode(self.path))
        info.type, info.mode, info.uid, info.gid = self.type, self.mode, self.uid, self.gid
        info.linkname, info.size = os.fsdecode(self.link), len(self.data)
        info.pax_headers = dict(self.pax)
        if isinstance(self.mtime, str):
            info.mtime = int(float(self.mtime))
            info.pax_headers["mtime"] = self.mtime
        else:
            info.mtime = self.mtime
        for name, value in self.xattrs.items():
            info.pax_headers["SCHILY.xattr." + name] = value.decode("utf-8", "surrogateescape")
        return info


class File(Entry):
    def __init__(self, path, data: bytes | str = b"", **attributes):
        super().__init__(path, **attributes)
        self.data = data.encode() if isinstance(data, str) else data


class Dir(Entry):
    type = tarfile.DIRTYPE

    def __init__(self, path, **attributes):
        super().__init__(path, **{"mode": 0o755, **attributes})


class Symlink(Entry):
    type = tarfile.SYMTYPE

    def __init__(self, path, link, **attributes):
        super().__init__(path, **{"mode": 0o777, **attributes})
        self.link = link


class Hardlink(Entry):
    type = tarfile.LNKTYPE

    def __init__(self, path, link, **attributes):
        super().__init__(path, **attributes)
        self.link = link


class Fifo(Entry):
    type = tarfile.FIFOTYPE


class Device(Entry):
    """A character device, or a block device with block=True."""

    def __init__(self, path, major: int, minor: int, block: bool = False, **attributes):
        super().__init__(path, **attributes)
        self.major, self.minor = major, minor
        self.type = tarfile.BLKTYPE if block else tarfile.CHRTYPE

    def info(self):
        info = super().info()
        info.devmajor, info.devminor = self.major, self.minor
        return info


class Whiteout(File):
    """Deletes `path` of the layers below."""

    def __init__(self, path: str, **attributes):
        folder, name = os.path.split(path)
        super().__init__(os.path.join(folder, ".wh." + name), b"", **attributes)


class Opaque(File):
    """Hides all that the layers below have in directory `path`."""

    def __init__(self, path: str, **attributes):
        super().__init__(os.path.join(path, ".wh..wh..opq"), b"", **attributes)


def make_tar(entries: list[Entry]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            tar.addfile(entry.info(), io.BytesIO(entry.data))
    return out.getvalue()


def compress(data: bytes, how: str) -> bytes:
    """how: "gzip", "zstd" or "none"."""
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-3", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


class Layer:
    """`content`: entries, or the bytes of a tar. Attributes: tar, diff_id, blob, digest, media_type."""

    def __init__(self, content: list[Entry] | bytes, compression: str = "gzip", media_type: str | None = None,
                 annotations: dict[str, str] | None = None):
        self.tar = content if isinstance(content, bytes) else make_tar(content)
        self.diff_id = digest_of(self.tar)
        self.blob = compress(self.tar, compression)
        self.digest = digest_of(self.blob)
        self.compression, self.annotations = compression, annotations
        self.media_type = media_type or LAYER + ("" if compression == "none" else "+" + compression)

    def descriptor(self) -> dict:
        descriptor = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.blob)}
        if self.annotations:
            descriptor["annotations"] = self.annotations
        return descriptor


class Image:
    """`config` is the inner "config" object (Cmd, Env, User, …). `docker` uses Docker's media types (gzip layers).
    `edit_config` and `edit_manifest` get the document as a dict and may change it or return another; raw bytes are taken too."""

    def __init__(self, layers: list[Layer], config: dict | None = None, *, architecture: str = "amd64", os: str = "linux",
                 variant: str | None = None, docker: bool = False, annotations: dict | None = None,
                 edit_config: Callable | None = None, edit_manifest: Callable | None = None):
        self.layers = layers
        self.platform = {"architecture": architecture, "os": os, **({"variant": variant} if variant else {})}
        document = {"created": "2026-01-02T03:04:05Z", **self.platform, "config": config or {},
                    "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                    "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "test"} for _ in layers]}
        self.config = _edited(document, edit_config)
        self.config_digest = digest_of(self.config)
        self.media_type = DOCKER_MANIFEST if docker else MANIFEST
        descriptors = [layer.descriptor() for layer in layers]
        if docker:
            for descriptor, layer in zip(descriptors, layers):
                descriptor["mediaType"] = DOCKER_LAYER + (".gzip" if layer.compression == "gzip" else "")
        manifest = {"schemaVersion": 2, "mediaType": self.media_type,
                    "config": {"mediaType": DOCKER_CONFIG if docker else CONFIG, "digest": self.config_digest,
                               "size": len(self.config)}, "layers": descriptors}
        if annotations:
            manifest["annotations"] = annotations
        self.manifest = _edited(manifest, edit_manifest)
        self.digest = digest_of(self.manifest)

    def blobs(self) -> dict[str, bytes]:
        """Config and layers by digest, without the manifest."""
        return {self.config_digest: self.config, **{layer.digest: layer.blob for layer in self.layers}}

    def descriptor(self) -> dict:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), "platform": self.platform}

    def push(self, registry, repository: str, tag: str | None = None) -> str:
        """Uploads everything by HTTP. Returns "host:port/repository@digest", or with ":tag" when a tag is given."""
        for digest, blob in self.blobs().items():
            registry.put_blob(repository, blob, digest)
        registry.put_manifest(repository, tag or self.digest, self.manifest, self.media_type)
        return f"{registry.host}/{repository}" + (f":{tag}" if tag else f"@{self.digest}")

    def write_layout(self, folder, tag: str = "latest") -> str:
        """Writes an OCI layout to `folder` (which may exist already; then the image is added). Returns "oci:folder:tag"."""
        return write_layout(folder, tag, self.descriptor(), {**self.blobs(), self.digest: self.manifest})


class Index:
    """Several images under one name. `edit` as Image's. Children are pushed by digest."""

    def __init__(self, images: list[Image], *, docker: bool = False, edit: Callable | None = None):
        self.images = images
        self.media_type = DOCKER_LIST if docker else INDEX
        document = {"schemaVersion": 2, "mediaType": self.media_type, "manifests": [image.descriptor() for image in images]}
        self.manifest = _edited(document, edit)
        self.digest = digest_of(self.manifest)

    def descriptor(self) -> dict:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest)}

    def push(self, registry, repository: str, tag: str | None = None) -> str:
        for image in self.images:
            image.push(registry, repository)
        registry.put_manifest(repository, tag or self.digest, self.manifest, self.media_type)
        return f"{registry.host}/{repository}" + (f":{tag}" if tag else f"@{self.digest}")

    def write_layout(self, folder, tag: str = "latest") -> str:
        blobs = {self.digest: self.manifest}
        for image in self.images:
            blobs |= {**image.blobs(), image.digest: image.manifest}
        return write_layout(folder, tag, self.descriptor(), blobs)


def write_layout(folder, tag: str, descriptor: dict, blobs: dict[str, bytes]) -> str:
    folder = os.fspath(folder)
    for digest, blob in blobs.items():
        algorithm, name = digest.split(":")
        os.makedirs(os.path.join(folder, "blobs", algorithm), exist_ok=True)
        with open(os.path.join(folder, "blobs", algorithm, name), "wb") as out:
            out.write(blob)
    with open(os.path.join(folder, "oci-layout"), "w") as out:
        out.write('{"imageLayoutVersion":"1.0.0"}')
    path = os.path.join(folder, "index.json")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    if os.path.exists(path):
        with open(path) as old:
            index = json.load(old)
    named = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
    index["manifests"] = [m for m in index["manifests"] if m.get("annotations") != named["annotations"]] + [named]
    with open(path, "wb") as out:
        out.write(to_json(index))
    return f"oci:{folder}:{tag}"


def _edited(document: dict, edit: Callable | None) -> bytes:
    if edit:
        result = edit(document)
        if isinstance(result, bytes):
            return result
        document = document if result is None else result
    return to_json(document)
