"""Tars that somebody made to get out of the layer, to lie about it or to exhaust the reader. HOSTILE: name to (archive, exit status, what the message must
say, compression). {canary} in names is the path, relative to a staging directory, of a tree that must never be touched."""

import gzip
import subprocess

import lib
from lib import INVALID, LIMIT, UNSUPPORTED
from minitar import BLOCKDEV, CHAR, DIR, END, FIFO, GNU, LINK, SYMLINK, entry, gnu_long, gnu_sparse, header, octal, pax, pax_sparse, record

UP = b"../../../../canary"
BELOW = "leads out of the layer"
S = "SCHILY.xattr."


def zstd(data: bytes, *options: str) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def link(name: bytes, target: bytes) -> bytes:
    return entry(name, type=SYMLINK, link=target)


def hard(name: bytes, target: bytes) -> bytes:
    return entry(name, type=LINK, link=target)


def folder(name: bytes) -> bytes:
    return entry(name, type=DIR, mode=0o755)


def xattrs(records: dict, name: bytes = b"f", **fields) -> bytes:
    return pax({S + key: value for key, value in records.items()}) + entry(name, **fields)


def lying_map(text: bytes, size: int = 1000, stored: bytes = b"x" * 512) -> bytes:
    """Sparse format 1.0 with any text for its map."""
    body = text.ljust(512, b"\0") + stored
    return pax({"GNU.sparse.major": 1, "GNU.sparse.minor": 0, "GNU.sparse.name": "s", "GNU.sparse.realsize": size}) + entry(b"s", body)


def old_map(pieces: list[tuple[int, int]], size: int, stored: int) -> bytes:
    return gnu_sparse(b"s", [], size, size=stored, fields={386: b"".join(octal(a, 12) + octal(b, 12) for a, b in pieces)}) + b"x" * stored


PATHS = {
    "parent": (entry(b"../x"), INVALID, BELOW),
    "parent canary": (entry(UP + b"/file", b"changed"), INVALID, BELOW),
    "parent inside": (entry(b"a/../../x"), INVALID, BELOW),
    "parent at the end": (folder(b"a/.."), INVALID, BELOW),
    "parent behind root": (entry(b"/../x"), INVALID, BELOW),
    "parent behind dot": (entry(b"./../x"), INVALID, BELOW),
    "parent behind slashes": (entry(b"//..//x"), INVALID, BELOW),
    "parent alone": (folder(b".."), INVALID, BELOW),
    "parent by pax": (pax({"path": UP + b"/file"}) + entry(b"x", b"changed"), INVALID, BELOW),
    "parent by GNU": (gnu_long(UP + b"/file") + entry(b"x", b"changed"), INVALID, BELOW),
    "parent by prefix": (entry(b"file", b"changed", prefix=UP), INVALID, BELOW),
    "parent by sparse name": (pax_sparse(UP + b"/file", [(0, b"x" * 512)], 512), INVALID, BELOW),
    "parent of a directory": (folder(UP + b"/new"), INVALID, BELOW),
    "parent of a link": (link(UP + b"/new", b"x"), INVALID, BELOW),
    "parent of a whiteout": (entry(UP + b"/.wh.file"), INVALID, BELOW),
    "parent of an opaque mark": (entry(UP + b"/.wh..wh..opq"), INVALID, BELOW),
    "parent of a fifo": (entry(UP + b"/new", type=FIFO), INVALID, BELOW),
    "parent of a device": (entry(UP + b"/new", type=CHAR, major=1, minor=3), INVALID, BELOW),
    "nul in a pax path": (pax({"path": b"a\0/../../x"}) + entry(b"x"), INVALID, "has a NUL inside"),
    "nul in a GNU name": (gnu_long(b"a\0/../../x") + entry(b"x"), INVALID, "NUL inside"),
    "no name": (entry(b""), INVALID, "an entry without a name"),
    "no GNU name": (gnu_long(b"") + entry(b"x"), INVALID, "an entry without a name"),
    "root as a file": (entry(b".", b"x"), INVALID, "root can only be a directory"),
    "root as a link": (link(b".", UP), INVALID, "root can only be a directory"),
    "root as a hard link": (entry(b"a") + hard(b"/", b"a"), INVALID, "root cannot be a hard link"),
    "root as a fifo": (entry(b"././.", type=FIFO), INVALID, "root can only be a directory"),
    "name of 256": (pax({"path": b"n" * 256}) + entry(b"x"), LIMIT, "a name is longer than 255 bytes"),
    "name of 256 by GNU": (gnu_long(b"n" * 256) + entry(b"x"), LIMIT, "a name is longer than 255 bytes"),
    "path of 4096": (pax({"path": b"/".join([b"p" * 255] * 16) + b"/q"}) + entry(b"x"), LIMIT, "longer than 4095 bytes"),
    "path of 900 KiB": (pax({"path": b"p/" * 450_000 + b"q"}) + entry(b"x"), LIMIT, "longer than 4095 bytes"),
    "depth of 129": (pax({"path": b"d/" * 128 + b"f"}) + entry(b"x"), LIMIT, "deeper than 128"),
    "depth of 2000 directories": (b"".join(gnu_long(b"d/" * n) + entry(b"x", type=DIR) for n in range(1, 2001, 50)), LIMIT, "deeper than 128"),
}

LINKS = {
    "hard link to the canary": (hard(b"h", UP + b"/file"), INVALID, "forbidden path"),
    "hard link to the canary by pax": (pax({"linkpath": UP + b"/file"}) + hard(b"h", b"x"), INVALID, "forbidden path"),
    "hard link to the canary by GNU": (gnu_long(UP + b"/file", b"K") + hard(b"h", b"x"), INVALID, "forbidden path"),
    "hard link to an absolute name": (hard(b"h", b"/etc/passwd"), INVALID, "no such target"),
    "hard link to nothing": (hard(b"h", b"x"), INVALID, "no such target"),
    "hard link without a target": (hard(b"h", b""), INVALID, "ambiguous"),
    "hard link to itself": (hard(b"h", b"h"), INVALID, "no such target"),
    "hard links in a circle": (hard(b"a", b"b") + hard(b"b", b"a"), INVALID, "no such target"),
    "hard link to what comes later": (hard(b"a", b"b") + entry(b"b"), INVALID, "no such target"),
    "hard link to a directory": (folder(b"d") + hard(b"h", b"d"), INVALID, "target is a directory"),
    "hard link to the root": (folder(b"d") + hard(b"h", b"."), INVALID, "without a target|target is a directory"),
    "hard link to a whiteout": (entry(b".wh.w") + hard(b"h", b"w"), INVALID, "no such target"),
    "hard link to a whiteout's own name": (entry(b".wh.w") + hard(b"h", b".wh.w"), INVALID, "no such target"),
    "hard link to a replaced name": (entry(b"d/f") + entry(b"d") + hard(b"h", b"d/f"), INVALID, "no such target"),
    "hard link through a link": (link(b"d", UP) + hard(b"h", b"d/file"), INVALID, "no such target"),
    "hard link with nul": (pax({"linkpath": b"a\0b"}) + hard(b"h", b"x"), INVALID, "has a NUL inside"),
    "through a link": (link(b"d", UP) + entry(b"d/new", b"x"), INVALID, '"d" is a symbolic link'),
    "through a link to the root": (link(b"d", b"/") + entry(b"d/etc/new", b"x"), INVALID, '"d" is a symbolic link'),
    "through a link to itself": (link(b"d", b"d") + entry(b"d/new"), INVALID, '"d" is a symbolic link'),
    "through a link to here": (link(b"d", b".") + entry(b"d/new"), INVALID, '"d" is a symbolic link'),
    "through a link above": (folder(b"a") + link(b"a/l", UP) + entry(b"a/l/b/c"), INVALID, "is a symbolic link"),
    "through a hard link of a link": (link(b"l", UP) + hard(b"h", b"l") + entry(b"h/new"), INVALID, '"h" is a symbolic link'),
    "through a replaced directory": (folder(b"d") + entry(b"d/x") + link(b"d", UP) + entry(b"d/file", b"changed"), INVALID, "is a symbolic link"),
    "through a replaced parent": (folder(b"a") + folder(b"a/b") + entry(b"a/b/c") + link(b"a", UP) + entry(b"a/b/c", b"changed"), INVALID,
                                  "is a symbolic link"),
    "through two links": (link(b"a", b"b") + link(b"b", UP) + entry(b"a/new"), INVALID, "is a symbolic link"),
    "whiteout through a link": (link(b"d", UP) + entry(b"d/.wh.file"), INVALID, "is a symbolic link"),
    "opaque mark through a link": (link(b"d", UP) + entry(b"d/.wh..wh..opq"), INVALID, "is a symbolic link"),
    "directory through a link": (link(b"d", UP) + folder(b"d/new"), INVALID, "is a symbolic link"),
    "link through a link": (link(b"d", UP) + link(b"d/new", b"x"), INVALID, "is a symbolic link"),
    "hard link put through a link": (entry(b"f") + link(b"d", UP) + hard(b"d/new", b"f"), INVALID, "is a symbolic link"),
    "through a file": (entry(b"f") + entry(b"f/x"), INVALID, "is not a directory"),
    "through a fifo": (entry(b"f", type=FIFO) + entry(b"f/x"), INVALID, "is not a directory"),
    "through a device": (entry(b"f", type=CHAR, major=1, minor=3) + entry(b"f/x"), INVALID, "is not a directory"),
    "below a whiteout": (entry(b".wh.d/x"), INVALID, "below a whiteout"),
    "below an opaque mark": (entry(b".wh..wh..opq/x"), INVALID, "below a whiteout"),
    "whiteout of no name": (entry(b"a/.wh."), INVALID, "a whiteout of no name"),
    "whiteout of dot": (entry(b"a/.wh.."), INVALID, "a whiteout of no name"),
    "whiteout of the parent": (entry(b"a/.wh..."), INVALID, "a whiteout of no name"),
    "link of 4096": (pax({"linkpath": b"l" * 4096}) + link(b"s", b"x"), LIMIT, "longer than 4095"),
    "link without a target": (link(b"s", b""), INVALID, "without a target"),
}

NODES = {
    "whiteout in disguise": (entry(b"w", type=CHAR), INVALID, "whiteout in disguise"),
    "device major of 13 bits": (entry(b"d", type=CHAR, major=4096, minor=1), INVALID, "beyond Linux's range"),
    "device minor of 21 bits": (entry(b"d", type=BLOCKDEV, major=1, minor=1 << 20), INVALID, "beyond Linux's range"),
    "device negative": (entry(b"d", type=BLOCKDEV, major=-1, minor=1), INVALID, "beyond Linux's range"),
    "owner of 33 bits": (entry(b"f", uid=1 << 32), INVALID, "owner out of range"),
    "owner minus one": (entry(b"f", gid=(1 << 32) - 1), INVALID, "owner out of range"),
    "owner negative": (entry(b"f", uid=-2), INVALID, "owner out of range"),
    "owner of letters": (pax({"uid": "root"}) + entry(b"f"), INVALID, "is not a number"),
    "group of 40 digits": (pax({"gid": "9" * 40}) + entry(b"f"), INVALID, "is not a number"),
    "time of letters": (pax({"mtime": "now"}) + entry(b"f"), INVALID, "is not a time"),
    "time beyond all": (pax({"mtime": "9" * 30}) + entry(b"f"), INVALID, "is not a time"),
    "xattr of overlayfs": (xattrs({"trusted.overlay.opaque": "y"}, b"d", type=DIR), INVALID, "overlayfs's own"),
    "xattr redirect": (xattrs({"trusted.overlay.redirect": "/etc"}, b"d", type=DIR), INVALID, "overlayfs's own"),
    "xattr metacopy": (xattrs({"trusted.overlay.metacopy": ""}), INVALID, "overlayfs's own"),
    "xattr of overlayfs by libarchive's name": (pax({"LIBARCHIVE.xattr.trusted.overlay.opaque": "eQ"}) + entry(b"d", type=DIR), INVALID,
                                                "overlayfs's own"),
    "xattr of overlayfs by an escaped name": (pax({"LIBARCHIVE.xattr.trusted.%6fverlay.opaque": "eQ"}) + entry(b"d", type=DIR), INVALID,
                                              "overlayfs's own"),
    "xattr without a namespace": (xattrs({"plain": "x"}), INVALID, "without a namespace"),
    "xattr of a strange namespace": (xattrs({"strange.x": "x"}), UNSUPPORTED, "extended attribute strange.x"),
    "xattr twice": (pax({S + "user.a": "b", "LIBARCHIVE.xattr.user.a": "Yw"}) + entry(b"f"), INVALID, "given twice"),
    "xattr twice the same way": (pax(record(b"SCHILY.xattr.user.a", b"b") + record(b"SCHILY.xattr.user.a", b"c")) + entry(b"f"), INVALID,
                                 "given twice"),
    "xattr on a link": (pax({S + "user.a": "b"}) + link(b"l", b"x"), INVALID, "the kernel refuses"),
    "129 xattrs": (xattrs({f"user.{i}": "" for i in range(129)}), LIMIT, "too many or too big"),
    "xattr name of 256": (xattrs({"user." + "n" * 251: "x"}), LIMIT, "too many or too big"),
    "xattr of 64 KiB and one": (xattrs({"user.a": b"v" * 65537}), LIMIT, "too many or too big"),
    "xattrs of 128 KiB and more": (xattrs({f"user.{i}": b"v" * 33000 for i in range(4)}), LIMIT, "too many or too big"),
    "capability of no format": (xattrs({"security.capability": b"\1\2\3"}), INVALID, "the kernel refuses"),
    "ACL of no format": (xattrs({"system.posix_acl_access": b"\1\2\3"}), INVALID, "the kernel refuses|extended attribute"),
    "ACL by name alone": (pax({"SCHILY.acl.access": "user::rw-,user:joe:r--,group::r--,mask::r--,other::---"}) + entry(b"f"), UNSUPPORTED,
                          "by name only"),
}

HEADERS = {
    "wrong checksum": (entry(b"a") + entry(b"f", checksum=b"000001\0 "), INVALID, "wrong checksum"),
    "no checksum": (entry(b"f", checksum=bytes(8)), INVALID, "wrong checksum"),
    "checksum of letters": (entry(b"f", checksum=b"zzzzzz\0 "), INVALID, "wrong checksum"),
    "no tar at all": (b"neither tar nor anything " * 100, INVALID, "wrong checksum"),
    "html": (b"<html>" + b" " * 2000, INVALID, "wrong checksum"),
    "shifted by one": (b"x" + entry(b"f"), INVALID, "wrong checksum"),
    "size of letters": (header(b"f", fields={124: b"zzzzzzzzzzz\0"}), INVALID, "a size that is none"),
    "size negative": (entry(b"f", size=-512), INVALID, "a size that is none"),
    "size of 2^90": (header(b"f", fields={124: b"\x80\x04" + bytes(10)}), INVALID, "a size that is none"),
    "size that is not there": (entry(b"f", b"x", size=1 << 30), INVALID, "[Tt]runcated"),
    "size of 2^62": (header(b"f", size=1 << 62), LIMIT, "more than .* bytes"),
    "pax size that is not there": (pax({"size": 1 << 30}) + entry(b"f", b"x"), INVALID, "[Tt]runcated"),
    "pax size of 2^62": (pax({"size": 1 << 62}) + entry(b"f", b"x"), LIMIT, "more than .* bytes"),
    "pax size of 2^63": (pax({"size": 1 << 63}) + entry(b"f", b"x"), INVALID, "is not a size"),
    "pax size too small": (pax({"size": 1}) + entry(b"f", b"x" * 2000), INVALID, "wrong checksum"),
    "pax size negative": (pax({"size": -1}) + entry(b"f", b"x"), INVALID, "is not a size"),
    "pax size of letters": (pax({"size": "0x10"}) + entry(b"f", b"x"), INVALID, "is not a size"),
    "pax size empty": (pax({"size": ""}) + entry(b"f", b"x"), INVALID, "is not a size"),
    "owner field of letters": (header(b"f", fields={108: b"zzzzzzz\0"}), INVALID, "no number"),
    "time field of letters": (header(b"f", fields={136: b"zzzzzzzzzzz\0"}), INVALID, "no number"),
    "directory with content": (entry(b"d", b"x", DIR), INVALID, "wrong checksum"),
    "link with content": (entry(b"l", b"x", SYMLINK, link=b"y"), INVALID, "wrong checksum"),
    "hard link with content": (entry(b"a", b"y") + entry(b"h", b"x", LINK, link=b"a"), INVALID, "wrong checksum|ambiguous"),
    "file with a directory's name and content": (entry(b"f/", b"x") + entry(b"g"), INVALID, "ambiguous"),
    "entry behind a zero block": (entry(b"a") + bytes(512) + entry(b"b"), INVALID, "an entry behind the end"),
    "zero block first": (bytes(512) + entry(b"b"), INVALID, "an entry behind the end"),
    "extended header alone": (pax({"path": "x"}), INVALID, "needs its entry"),
    "extended header twice": (pax({"path": "x"}) + pax({"uid": 1}) + entry(b"f"), INVALID, "two extended headers"),
    "long name twice": (gnu_long(b"x") + gnu_long(b"y") + entry(b"f"), INVALID, "two long names"),
    "two names": (gnu_long(b"x") + pax({"path": "y"}) + entry(b"f"), INVALID, "two names"),
    "extended header of 1 MiB and more": (pax({"comment": b"c" * (1 << 20)}) + entry(b"f"), LIMIT, "more than 1 MiB"),
    "extended header that says 8 GiB": (header(b"x", b"x", size=8 << 30), LIMIT, "more than 1 MiB"),
    "long name that says 8 GiB": (header(b"././@LongLink", b"L", size=8 << 30), LIMIT, "more than 1 MiB"),
    "record without a length": (pax(b"path=x\n") + entry(b"f"), INVALID, "malformed"),
    "record that is too long": (pax(b"99 path=x\n") + entry(b"f"), INVALID, "malformed"),
    "record that is too short": (pax(b"2 path=x\n") + entry(b"f"), INVALID, "malformed"),
    "record without an end": (pax(b"9 path=xy") + entry(b"f"), INVALID, "malformed"),
    "record without a key": (pax(b"5 =x\n") + entry(b"f"), INVALID, "malformed"),
    "record of length 0": (pax(b"0 path=x\n") + entry(b"f"), INVALID, "malformed"),
    "global path": (pax({"path": "x"}, b"g") + entry(b"f"), UNSUPPORTED, "for all entries at once"),
    "global size": (pax({"size": 5}, b"g") + entry(b"f", b"hello"), UNSUPPORTED, "for all entries at once"),
    "global xattr": (pax({S + "security.capability": b"x"}, b"g") + entry(b"f"), UNSUPPORTED, "for all entries at once"),
    "global owner of letters": (pax({"uid": "x"}, b"g") + entry(b"f"), INVALID, "is not a number"),
    "global inside an entry": (pax({"path": "x"}) + pax({"uid": "1"}, b"g") + entry(b"f"), INVALID, "a global header between"),
    **{f"type {kind}": (entry(b"f", type=kind.encode(), magic=GNU), UNSUPPORTED, "of a type that no layer has") for kind in "ADMNVXZ89"},
}

SPARSE = {
    "map beyond the size": (old_map([(4096, 512)], 1000, 512), INVALID, "beyond its size|out of order|tar: "),
    "map of a size of 0": (old_map([(0, 512)], 0, 512), INVALID, "beyond its size"),
    "map backwards": (old_map([(4096, 512), (0, 512)], 8192, 1024), INVALID, "out of order"),
    "map overlapping": (old_map([(0, 1024), (512, 512)], 8192, 1536), INVALID, "out of order"),
    "map with more than is stored": (old_map([(0, 4096)], 8192, 512), INVALID, "not there"),
    "map negative": (old_map([(-512, 512)], 8192, 512), INVALID, "sparse|order|tar: "),
    "map of letters": (lying_map(b"x\ny\nz\n"), INVALID, "tar: "),
    "map without an end": (lying_map(b"1" * 512), INVALID, "tar: "),
    "map of a billion pieces": (lying_map(b"1000000000\n0\n1\n"), INVALID, "tar: "),
    "map of negative pieces": (lying_map(b"-1\n0\n1\n"), INVALID, "tar: "),
    "map beyond the size, 1.0": (lying_map(b"1\n5000\n512\n"), INVALID, "beyond its size|tar: "),
    "map of 2^62": (lying_map(b"1\n4611686018427387904\n512\n", 1 << 62), LIMIT, "more than .* bytes"),
    "map backwards, 1.0": (lying_map(b"2\n4096\n256\n0\n256\n", 8192), INVALID, "out of order|tar: "),
    "map of an odd number, 0.1": (pax({"GNU.sparse.size": 100, "GNU.sparse.numblocks": 1, "GNU.sparse.map": "0"}) + entry(b"s", b"x" * 512), INVALID,
                                  "beyond its size|tar: "),
    "hole of 300 GiB": (pax_sparse(b"s", [(0, b"x" * 512)], 300 << 30), LIMIT, "more than .* bytes"),
    "map cut off": (gnu_sparse(b"s", [(i * 1024, b"y" * 512) for i in range(40)], 99999)[:1024], INVALID, "[Tt]runcated"),
}

GOOD = entry(b"f", b"content")
COMPRESSED = {
    "gzip cut": (gzip.compress(GOOD + END)[:-9], INVALID, "gzip: the stream is truncated", "gzip"),
    "gzip with a wrong sum": (gzip.compress(GOOD + END)[:-8] + bytes(8), INVALID, "wrong checksum", "gzip"),
    "gzip with garbage behind": (gzip.compress(GOOD + END) + b"garbage", INVALID, "garbage behind", "gzip"),
    "gzip that is tar": (GOOD + END, INVALID, "not gzip", "gzip"),
    "gzip that is zstd": (zstd(GOOD + END), INVALID, "not gzip", "gzip"),
    "gzip in gzip": (gzip.compress(gzip.compress(GOOD + END)), INVALID, "tar: ", "gzip"),
    "gzip of nothing": (b"", INVALID, "it is empty", "gzip"),
    "zstd cut": (zstd(GOOD + END)[:-2], INVALID, "zstd: the stream is truncated", "zstd"),
    "zstd with garbage behind": (zstd(GOOD + END) + b"garbage", INVALID, "zstd: ", "zstd"),
    "zstd that is gzip": (gzip.compress(GOOD + END), INVALID, "zstd: ", "zstd"),
    "zstd with a window of 256 MiB": (zstd(GOOD * 40000 + END, "--ultra", "--long=28"), LIMIT, "zstd: ", "zstd"),
    "tar that is gzip": (gzip.compress(GOOD + END), INVALID, "tar: ", "none"),
}

HOSTILE = {name: (archive + END, status, reason, "none") for table in (PATHS, LINKS, NODES, HEADERS, SPARSE)
           for name, (archive, status, reason) in table.items()} | COMPRESSED
HOSTILE["zstd bomb"] = (zstd(bytes(300_000_000), "-9"), LIMIT, "decompression bomb", "zstd")
HOSTILE["zstd bomb behind an entry"] = (zstd(GOOD + END + bytes(300_000_000), "-9"), LIMIT, "decompression bomb", "zstd")
