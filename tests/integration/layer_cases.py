"""Small tars, one for each feature of an entry and for each pair of features of different kinds, with what becomes of them.

CASES: name to Case. GNU tar is the oracle, unless `differs` says what the entry must look like instead, and why."""

import dataclasses
import itertools
import struct

import lib  # noqa: F401 (tests/lib on the path)
import minitar
from minitar import BLOCKDEV, CHAR, CONTIGUOUS, DIR, END, FIFO, FILE, GNU, LINK, SYMLINK, V7, entry, gnu_long, gnu_sparse, pax, pax_sparse

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
LONG = b"n" * 200
# GNU tar ends a map with an empty piece at the end of the file.
PIECES = [(4096, b"one" * 100 + bytes(212)), (65536, b"two" * 100 + bytes(212)), (100000, b"")]
HEADER_TIME = 1_700_000_000

# kind of feature: its features. What they say is merged into one entry (see build()); "not" names types that the kernel allows it not for.
FEATURES = {
    "name": {
        "short": {"name": b"f"},
        "nested": {"name": b"a/b/f", "parents": [b"a/", b"a/b/"]},
        "dot-slash": {"name": b"./f"},
        "absolute": {"name": b"/f"},
        "slashes": {"name": b"a//.//f", "parents": [b"a/"]},
        "hundred": {"name": b"h" * 100},
        "prefix": {"name": b"f", "prefix": b"p" * 60 + b"/" + b"q" * 60, "parents": [b"p" * 60 + b"/", b"p" * 60 + b"/" + b"q" * 60 + b"/"]},
        "gnu-long": {"name": LONG, "how": "gnu"},
        "pax-long": {"name": LONG, "how": "pax"},
        "pax-255": {"name": b"m" * 255, "how": "pax"},
        "pax-raw": {"name": b"raw-\xff\xfe", "how": "pax"},
        "raw": {"name": b"raw-\xff\xfe"},
        "decomposed": {"name": "e\u0301".encode(), "how": "pax"},
        "odd": {"name": b"new\nline 'q' \"d\" \\ %20 \x7f", "how": "pax"},
    },
    "type": {
        "file": {"data": b"hello"},
        "empty": {"data": b""},
        "one-block": {"data": b"b" * 512},
        "many-frames": {"data": bytes(range(256)) * 2600},
        "directory": {"type": DIR},
        "symlink": {"type": SYMLINK, "link": b"../nowhere"},
        "symlink-pax": {"type": SYMLINK, "link": b"/" + b"l" * 900, "link_how": "pax"},
        "symlink-gnu": {"type": SYMLINK, "link": b"k" * 300, "link_how": "gnu"},
        "hard-link": {"type": LINK, "link": b"target"},
        "character": {"type": CHAR, "major": 5, "minor": 1},
        "block": {"type": BLOCKDEV, "major": 259, "minor": 70000},
        "fifo": {"type": FIFO},
        "contiguous": {"type": CONTIGUOUS, "data": b"hello"},
        "v7": {"type": b"\0", "data": b"hello", "magic": V7},
        "sparse-old": {"sparse": "old"},
        "sparse-0.0": {"sparse": "0.0"},
        "sparse-0.1": {"sparse": "0.1"},
        "sparse-1.0": {"sparse": "1.0"},
    },
    "owner": {
        "header": {"uid": 1000, "gid": 1001},
        "pax": {"records": {"uid": "3000000", "gid": "4000000000"}},
        "base-256": {"uid": 1 << 31, "gid": (1 << 32) - 2},
        "pax-empty": {"uid": 5, "gid": 6, "records": {"uid": "", "gid": ""},
                      "differs": ({"owner": (5, 6)}, "POSIX: a record without a value takes back the override")},
        "global": {"global": {"uid": "77", "gid": "78"}},
        "global-and-pax": {"global": {"uid": "77", "gid": "78"}, "records": {"uid": "79"}},
        "names-do-not-count": {"uid": 1, "gid": 2, "fields": {265: b"nobody", 297: b"nogroup"}, "records": {"uname": "root", "gname": "root"}},
    },
    "mode": {
        "setuid": {"mode": 0o4755},
        "setgid": {"mode": 0o2711},
        "sticky": {"mode": 0o1777},
        "nothing": {"mode": 0},
        "all": {"mode": 0o7777},
        "with-type-bits": {"mode": 0o100640},
    },
    "mtime": {
        "zero": {"mtime": 0},
        "nanoseconds": {"records": {"mtime": "1234567890.123456789"}},
        "negative": {"records": {"mtime": "-5.25"}},
        "just-negative": {"records": {"mtime": "-0.25"}},
        "base-256": {"mtime": -86400},
        "far": {"records": {"mtime": "9999999999.999999999"}},
        "many-digits": {"records": {"mtime": "-1.2345678901"}},
        "pax-empty": {"mtime": 4711, "records": {"mtime": ""},
                      "differs": ({"mtime": 4711 * 10**9}, "POSIX: a record without a value takes back the override")},
        "global": {"global": {"mtime": "99.5"}},
    },
    "xattr": {
        "user": {"records": {"SCHILY.xattr.user.note": "hello"}, "not": {"symlink", "device"}},
        "user-binary": {"records": {"SCHILY.xattr.user.b": bytes(range(256))}, "not": {"symlink", "device"}},
        "user-empty": {"records": {"SCHILY.xattr.user.overlay.origin": ""}, "not": {"symlink", "device"}},
        "capability": {"records": {"SCHILY.xattr.security.capability": CAPABILITY}, "not": {"symlink", "device", "directory"}},
        "trusted": {"records": {"SCHILY.xattr.trusted.thing": "t"}},
        "acl": {"records": {"SCHILY.acl.access": "user::rw-,user:1234:r--,group::r--,mask::r--,other::---"}, "mode": 0o640,
                "not": {"symlink"}},
        "many": {"records": {f"SCHILY.xattr.user.{c}": c * 300 for c in "abcdefg"}, "not": {"symlink", "device"}},
    },
}
# What a type is for "not" above.
CLASS = {"symlink": "symlink", "symlink-pax": "symlink", "symlink-gnu": "symlink", "directory": "directory", "character": "device",
         "block": "device", "fifo": "device"}


@dataclasses.dataclass
class Case:
    tar: bytes
    path: bytes  # of the entry in question, as it must come out
    differs: dict  # (path, attribute) to value, where GNU tar has another one
    reason: str


def merge(*features: dict) -> dict:
    out: dict = {"records": {}, "global": {}, "differs": ({}, "")}
    for feature in features:
        for key, value in feature.items():
            if key in ("records", "global"):
                out[key] = {**out[key], **value}
            elif key == "differs":
                out[key] = ({**out[key][0], **value[0]}, value[1])
            else:
                out[key] = value
    return out


def build(spec: dict) -> bytes:
    """The tar: global header, parents, a target for hard links, then the entry with all headers that it needs."""
    name, records, out = spec.get("name", b"f"), dict(spec["records"]), b""
    if spec["global"]:
        out += pax(spec["global"], b"g", b"pax_global_header")
    for parent in spec.get("parents", []):
        out += (gnu_long(parent) if len(parent) > 100 else b"") + entry(parent[:100], type=DIR, mode=0o755, mtime=HEADER_TIME)
    type = spec.get("type", FILE)
    fields = {key: spec[key] for key in ("mode", "uid", "gid", "magic", "major", "minor", "prefix", "fields") if key in spec}
    fields["mtime"] = spec.get("mtime", HEADER_TIME)
    if type == LINK:
        if spec["mtime_given"] or spec["owned"]:  # the link says what its target says, or tools differ by their order
            out += (pax(records) if records else b"") + entry(b"target", b"linked", **{k: v for k, v in fields.items() if k != "prefix"})
        else:
            out += entry(b"target", b"linked", mtime=HEADER_TIME)
    sparse = spec.get("sparse")
    if sparse and sparse != "old":
        path = (spec["prefix"] + b"/" if "prefix" in spec else b"") + name
        fields.pop("prefix", None)
        records = {key: value for key, value in records.items()}
        if sparse == "0.0":
            records["path"] = path
        return out + pax_sparse(path, PIECES, 100000, sparse, records, **fields) + END
    how, link, link_how = spec.get("how"), spec.get("link", b""), spec.get("link_how")
    if how == "pax":
        records["path"] = name
    if link_how == "pax":
        records["linkpath"] = link
    if records:
        out += pax(records)
    if how == "gnu":
        out += gnu_long(name)
    if link_how == "gnu":
        out += gnu_long(link, b"K")
    header_name = name[:50] if how else name
    if sparse == "old":
        fields.pop("magic", None)
        if "prefix" in spec:  # that header has other things there
            out += gnu_long(fields.pop("prefix") + b"/" + name)
        return out + gnu_sparse(header_name, PIECES, 100000, **fields) + END
    if spec.get("magic") == V7 and "prefix" in fields:
        out += gnu_long(fields.pop("prefix") + b"/" + name)
    return out + entry(header_name + (b"/" if type == DIR and not how else b""), spec.get("data", b""), type, link=link[:100], **fields) + END


def out_path(spec: dict) -> bytes:
    path = (spec["prefix"] + b"/" if "prefix" in spec else b"") + spec.get("name", b"f")
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def make(chosen: list[tuple[str, str]]) -> Case | None:
    kinds = dict(chosen)
    spec = merge(*(FEATURES[kind][name] for kind, name in chosen))
    shape = CLASS.get(kinds.get("type", "file"))
    if shape in spec.get("not", ()):
        return None
    spec["mtime_given"], spec["owned"] = "mtime" in kinds, bool({"owner", "mode", "xattr"} & kinds.keys())
    path, reason = out_path(spec), spec["differs"][1]
    expected = {(path, attribute): value for attribute, value in spec["differs"][0].items()}
    if kinds.get("name") == "slashes" and shape == "symlink":
        expected[(b"a", "mtime")] = HEADER_TIME * 10**9
        reason = "GNU tar puts some links in place behind the directories' times"
    return Case(build(spec), path, expected, reason)


def make_all() -> dict[str, Case]:
    cases = {}
    single = [(kind, name) for kind, features in FEATURES.items() for name in features]
    for chosen in [[one] for one in single] + [list(pair) for pair in itertools.combinations(single, 2) if pair[0][0] != pair[1][0]]:
        case = make(chosen)
        if case:
            cases["+".join(f"{kind}:{name}" for kind, name in chosen)] = case
    return cases


CASES = make_all()
