"""What a hostile host does to the header of a LUKS2 volume: any change, with checksums that are right again.
Format: "LUKS2 On-Disk Format Specification" 1.1."""

import hashlib
import json

SIZE = 16384
CHECKSUM = slice(448, 512)


def read(disk) -> dict:
    with open(disk, "rb") as file:
        return json.loads(file.read(SIZE)[4096:].rstrip(b"\0"))


def write(disk, text: bytes, size: int = SIZE, change_binary=None) -> None:
    """Both copies with this text as their JSON. size: what they say of their size (and how far apart they lie)."""
    with open(disk, "r+b") as file:
        old = [file.read(4096)]
        file.seek(SIZE)
        old.append(file.read(4096))
        for number, binary in enumerate(old):
            header = bytearray(binary)
            header[8:16] = size.to_bytes(8, "big")
            header[256:264] = (number * size).to_bytes(8, "big")
            if change_binary:
                change_binary(header)
            header[CHECKSUM] = bytes(64)
            whole = bytes(header) + text[:size - 4096].ljust(size - 4096, b"\0")
            header[CHECKSUM] = hashlib.sha256(whole).digest().ljust(64, b"\0")
            file.seek(number * size)
            file.write(bytes(header) + whole[4096:])


def edit(disk, change) -> None:
    """`change` gets the JSON document and changes it."""
    document = read(disk)
    change(document)
    write(disk, json.dumps(document).encode())
