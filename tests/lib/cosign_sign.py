#!/usr/bin/python3
"""cosign_sign.py KEY HOST:PORT/REPOSITORY@DIGEST: signs an image in a plain-HTTP registry in cosign's format (".sig" tag), with an EC key
in a PEM file and openssl alone. For machines without cosign."""

import sys

from registry import Http
from signing import CosignKey, cosign_sign


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or "@" not in arguments[1] or "/" not in arguments[1]:
        print(__doc__, file=sys.stderr)
        return 2
    name, digest = arguments[1].split("@")
    registry = Http()
    registry.host, repository = name.split("/", 1)
    print(cosign_sign(registry, repository, digest, CosignKey.from_file(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
