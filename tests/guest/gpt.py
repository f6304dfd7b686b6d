"""A partition table as "sfdisk" would write it, so that no program is needed for it. Format: UEFI specification, chapter 5."""

import struct
import uuid
import zlib

SECTOR = 512
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


def write(disk, partitions: list[tuple[str, int]]) -> None:
    """(label, bytes) one behind the other from 1 MiB on, in the file `disk` of the right size."""
    with open(disk, "r+b") as file:
        sectors = file.seek(0, 2) // SECTOR
        entries, at = b"", 2048
        for label, size in partitions:
            entries += struct.pack("<16s16sQQQ72s", LINUX.bytes_le, uuid.uuid4().bytes_le, at, at + size // SECTOR - 1, 0,
                                   label.encode("utf-16-le"))
            at += size // SECTOR
        assert at <= sectors - 33
        entries = entries.ljust(128 * 128, b"\0")
        guid = uuid.uuid4().bytes_le
        # A protective record of the old kind, then table and entries, and both again at the end.
        file.seek(0)
        file.write(struct.pack("<446x4B4BII48xH", 0, 0, 2, 0, 0xee, 255, 255, 255, 1, sectors - 1, 0xaa55))
        for own, other, where in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)):
            def header(checksum, own=own, other=other, where=where):
                return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, own, other, 34, sectors - 34, guid, where,
                                   128, 128, zlib.crc32(entries))
            file.seek(own * SECTOR)
            file.write(header(zlib.crc32(header(0))).ljust(SECTOR, b"\0"))
            file.seek(where * SECTOR)
            file.write(entries)
