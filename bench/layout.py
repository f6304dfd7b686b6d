#!/usr/bin/python3
"""layout.py TARS FOLDER-{gz,zst} LAYER…: an OCI layout of the layers TARS/LAYER.{tar,gz,zst}. Blobs are hard links."""

import hashlib
import json
import os
import sys


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def main(tars: str, folder: str, *layers: str):
    form = folder.rsplit("-", 1)[1]
    blobs = os.path.join(folder, "blobs/sha256")
    os.makedirs(blobs, exist_ok=True)

    def put(document) -> dict:
        data = json.dumps(document).encode()
        name = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, name), "wb") as out:
            out.write(data)
        return {"digest": "sha256:" + name, "size": len(data)}

    descriptors, diff_ids = [], []
    for layer in layers:
        blob = os.path.join(tars, f"{layer}.{form}")
        named = digest(blob)
        if not os.path.exists(os.path.join(blobs, named[7:])):
            os.link(blob, os.path.join(blobs, named[7:]))
        kind = {"gz": "gzip", "zst": "zstd"}[form]
        descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+" + kind, "digest": named, "size": os.path.getsize(blob)})
        diff_ids.append(digest(os.path.join(tars, layer + ".tar")))
    config = put({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = put({"schemaVersion": 2, "mediaType": manifest_type, "layers": descriptors,
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config}})
    with open(os.path.join(folder, "index.json"), "w") as out:
        json.dump({"schemaVersion": 2, "manifests": [{"mediaType": manifest_type, **manifest,
                                                      "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}, out)
    with open(os.path.join(folder, "oci-layout"), "w") as out:
        json.dump({"imageLayoutVersion": "1.0.0"}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
