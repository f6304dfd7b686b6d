"""Tar archives byte by byte, right and wrong ones: what no well-behaved writer would make. Nothing is checked or repaired.

    entry(b"a", b"content") + entry(b"l", type=b"2", link=b"a") + END
    pax({"mtime": "-0.25", "SCHILY.xattr.user.a": b"\\0"}) + entry(b"a")      # an extended header for the entry behind it
"""

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
FILE, LINK, SYMLINK, CHAR, BLOCKDEV, DIR, FIFO, CONTIGUOUS = b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"


def octal(value: int, width: int) -> bytes:
    """A number field: octal with a closing NUL, base-256 (GNU's, with the top bit set) when that cannot hold it."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0x80 if value >= 0 else 0xff]) + (value % 256 ** (width - 1)).to_bytes(width - 1, "big")


def header(name: bytes, type: bytes = FILE, size: int = 0, *, mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = 0, link: bytes = b"",
           magic: bytes = USTAR, major: int = 0, minor: int = 0, prefix: bytes = b"", checksum: bytes | None = None,
           fields: dict[int, bytes] | None = None) -> bytes:
    """One header block. fields: bytes to put at an offset before the checksum is made; checksum: 8 bytes instead of the right ones."""
    block = bytearray(BLOCK)

    def put(at: int, value: bytes, width: int) -> None:
        block[at:at + min(len(value), width)] = value[:width]

    put(0, name, 100)
    for at, value, width in ((100, mode, 8), (108, uid, 8), (116, gid, 8), (124, size, 12), (136, mtime, 12)):
        put(at, octal(value, width), width)
    put(156, type, 1)
    put(157, link, 100)
    put(257, magic, 8)
    if magic != V7:
        put(329, octal(major, 8), 8)
        put(337, octal(minor, 8), 8)
        put(345, prefix, 155)
    for at, value in (fields or {}).items():
        put(at, value, len(value))
    block[148:156] = b" " * 8
    block[148:156] = checksum if checksum is not None else b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def entry(name: bytes, data: bytes = b"", type: bytes = FILE, **fields) -> bytes:
    """A header and its content; size= lies about it."""
    return header(name, type, fields.pop("size", len(data)), **fields) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    """One record of an extended header, its length counting itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def as_bytes(value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def pax(records: dict | bytes, type: bytes = b"x", name: bytes = b"PaxHeaders/x", **fields) -> bytes:
    """An extended header (type "g": a global one) for what follows; records may be raw bytes."""
    body = records if isinstance(records, bytes) else b"".join(record(as_bytes(k), as_bytes(v)) for k, v in records.items())
    return entry(name, body, type, **fields)


def gnu_long(text: bytes, type: bytes = b"L") -> bytes:
    """GNU's long name ("L") or long link ("K") of the entry that follows."""
    return entry(b"././@LongLink", text + b"\0", type, magic=GNU)


def gnu_sparse(name: bytes, pieces: list[tuple[int, bytes]], real_size: int, **fields) -> bytes:
    """GNU's old sparse format (type "S"): four pieces in the header, 21 in each block behind it."""
    rows = [octal(offset, 12) + octal(len(data), 12) for offset, data in pieces]
    stored = b"".join(data for _, data in pieces)
    first, rest = rows[:4], rows[4:]
    extra = {386: b"".join(first), 482: b"\1" if rest else b"\0", 483: octal(real_size, 12), **fields.pop("fields", {})}
    out = header(name, b"S", fields.pop("size", len(stored)), magic=GNU, fields=extra, **fields)
    while rest:
        rows, rest = rest[:21], rest[21:]
        out += b"".join(rows).ljust(504, b"\0") + (b"\1" if rest else b"\0") + bytes(7)
    return out + padded(stored)


def pax_sparse(name: bytes, pieces: list[tuple[int, bytes]], real_size: int, version: str = "1.0", extra: dict | None = None, **fields) -> bytes:
    """The sparse formats that GNU tar writes with --format=pax: 0.0, 0.1 and 1.0."""
    stored = b"".join(data for _, data in pieces)
    if version == "1.0":
        numbers = [len(pieces)] + [n for offset, data in pieces for n in (offset, len(data))]
        stored = padded(b"".join(b"%d\n" % n for n in numbers)) + stored
        records = {"GNU.sparse.major": 1, "GNU.sparse.minor": 0, "GNU.sparse.name": name, "GNU.sparse.realsize": real_size}
        body = b"".join(record(as_bytes(k), as_bytes(v)) for k, v in {**records, **(extra or {})}.items())
    elif version == "0.1":
        listing = ",".join(f"{offset},{len(data)}" for offset, data in pieces)
        records = {"GNU.sparse.size": real_size, "GNU.sparse.numblocks": len(pieces), "GNU.sparse.map": listing, "GNU.sparse.name": name}
        body = b"".join(record(as_bytes(k), as_bytes(v)) for k, v in {**records, **(extra or {})}.items())
    else:
        body = record(b"GNU.sparse.size", b"%d" % real_size) + record(b"GNU.sparse.numblocks", b"%d" % len(pieces))
        for offset, data in pieces:
            body += record(b"GNU.sparse.offset", b"%d" % offset) + record(b"GNU.sparse.numbytes", b"%d" % len(data))
        body += b"".join(record(as_bytes(k), as_bytes(v)) for k, v in (extra or {}).items())
    return pax(body) + entry(b"GNUSparseFile.0/" + name[-60:] if version != "0.0" else name, stored, **fields)
