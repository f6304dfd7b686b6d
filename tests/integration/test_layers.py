"""Layers exactly as their tar says. GNU tar, as root, is the oracle for hundreds of small archives (layer_cases.py); a model of the image specification for
whiteouts, in random stacks of layers."""

import dataclasses
import os
import random
import subprocess

import pytest

from lib import *  # noqa: F403
import compare
import layer_cases
import lib

AT_ONCE = 480  # layers of one image; 500 is the ceiling
# make check takes the single features and every third pair; GUEST_PULL_CASES=all takes all of them (make check-layers).
EVERYTHING = os.environ.get("GUEST_PULL_CASES") == "all"
SAMPLE = [name for i, name in enumerate(layer_cases.CASES) if EVERYTHING or "+" not in name or i % 4 == 0]


def layer_root(store, layer):
    return store / "layers" / layer.digest.replace(":", "-") / "root"


def gnu_tar(archive: bytes, folder, may_complain: bool = False) -> dict[bytes, compare.Node]:
    """What GNU tar makes of it as root."""
    folder.mkdir()
    done = subprocess.run(["tar", "-C", folder, "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--same-owner", "--delay-directory-restore", "-xpf", "-"],
                          input=archive, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, check=False)
    assert done.returncode == 0 or may_complain, done.stderr
    return compare.snapshot(folder)


def pull_layers(work, tars: list[bytes], name: str) -> Image:
    image = Image([Layer(tar, "none") for tar in tars], config={"Cmd": ["/x"]})
    lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
    work.pull(image.write_layout(work / name), policy=work / "policy.json", bundle=work.new_bundle(name + "-bundle"))
    return image


def check_case(name: str, case, ours, oracle) -> list[str]:
    found = []
    for path, attribute, sentence in compare.differences(oracle, ours, "GNU tar", "ours"):
        if path != b"" and (path, attribute) not in case.differs:
            found.append(f"{name}: {sentence}")
    if case.path not in ours:
        return found + [f"{name}: no {case.path!r}"]
    for (path, attribute), value in case.differs.items():
        if getattr(ours[path], attribute) != value:
            found.append(f"{name}: {path!r}: {attribute} is {getattr(ours[path], attribute)!r}, not {value!r} ({case.reason})")
    return found


def test_small_tars_come_out_as_gnu_tar_makes_them(work):
    wrong = []
    for at in range(0, len(SAMPLE), AT_ONCE):
        names = SAMPLE[at:at + AT_ONCE]
        image = pull_layers(work, [layer_cases.CASES[name].tar for name in names], f"batch{at}")
        for i, (name, layer) in enumerate(zip(names, image.layers)):
            case = layer_cases.CASES[name]
            wrong += check_case(name, case, compare.snapshot(layer_root(work.store, layer)), gnu_tar(case.tar, work / f"gnu{at}-{i}", bool(case.differs)))
    assert not wrong, f"{len(wrong)} differences in {len(SAMPLE)} archives:\n" + "\n".join(wrong[:60])
    print(f"{len(SAMPLE)} archives compared")


# ---- whiteouts: random stacks of layers against a model of image-spec layer.md, "Whiteouts" and "Applying Changesets"

@dataclasses.dataclass
class Place:
    """A name in the model's tree; children: directories."""

    type: str = "directory"
    mode: int = 0o755
    mtime: int = 0
    content: bytes = b""
    children: dict | None = None


def new_directory() -> Place:
    return Place(children={})


def walk(root: Place, path: str, make: bool = True) -> Place | None:
    for name in filter(None, path.split("/")):
        child = root.children.get(name)
        if child is None or child.children is None:
            if not make:
                return None
            child = root.children[name] = new_directory()
        root = child
    return root


def split(path: str) -> tuple[str, str]:
    return os.path.split(path)


def apply_layer(root: Place, entries: list) -> None:
    """Whiteouts hide names of the layers below only, wherever they stand in the archive; then entries apply one after the other."""
    for entry in entries:
        folder, name = split(entry.path)
        if name == ".wh..wh..opq":
            place = walk(root, folder, make=False)
            if place:
                place.children.clear()
        elif name.startswith(".wh."):
            place = walk(root, folder, make=False)
            if place:
                place.children.pop(name[4:], None)
    for entry in entries:
        folder, name = split(entry.path)
        if entry.path == "./":
            root.mode, root.mtime = entry.mode, entry.mtime * 10**9
            continue
        place = walk(root, folder)
        if name.startswith(".wh."):
            continue
        old = place.children.get(name)
        if isinstance(entry, Dir):
            new = old if old is not None and old.children is not None else new_directory()
        else:
            new = Place(type="symlink" if isinstance(entry, Symlink) else "file", content=entry.data or os.fsencode(entry.link))
        new.mode, new.mtime = 0o777 if isinstance(entry, Symlink) else entry.mode, entry.mtime * 10**9
        place.children[name] = new


def flatten(place: Place, path: bytes = b"") -> dict[bytes, tuple]:
    found = {path: (place.type, place.mode, place.mtime, place.content)}
    for name, child in (place.children or {}).items():
        found.update(flatten(child, os.path.join(path, name.encode())))
    return found


def random_layer(chance: random.Random) -> list:
    """Entries over a tiny alphabet, so that they meet; none below a file or link of the same layer, which would be refused."""
    entries, here = [], {}
    for _ in range(chance.randint(1, 9)):
        path = "/".join(chance.choice("abc") for _ in range(chance.choice((1, 1, 2, 2, 3))))
        folder, name = split(path)
        above = ["/".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)]
        if any(here.get(parent) == "leaf" for parent in above):
            continue
        here.update(dict.fromkeys(above, "directory"))
        kind = chance.choice(("file", "file", "directory", "directory", "link", "whiteout", "whiteout", "opaque"))
        attributes = {"mtime": chance.randint(1, 2 * 10**9)}
        if chance.random() < 0.05:
            entries.append(chance.choice((Dir("./", mode=0o711, **attributes), Opaque(""))))
            continue
        if kind == "file":
            entries.append(File(path, f"{chance.random()}", mode=chance.choice((0o644, 0o4755)), **attributes))
        elif kind == "link":
            entries.append(Symlink(path, f"to-{chance.randint(1, 99)}", **attributes))
        elif kind == "directory":
            entries.append(Dir(path, mode=chance.choice((0o755, 0o700, 0o1777)), **attributes))
        else:
            entries.append(Whiteout(path) if kind == "whiteout" else Opaque(folder if folder else path))
            if kind == "opaque" and not folder:
                if here.get(path) == "leaf":
                    entries.pop()
                    continue
                here[path] = "directory"
            continue
        if kind in ("file", "link"):
            here = {other: what for other, what in here.items() if not other.startswith(path + "/")}
        here[path] = "directory" if kind == "directory" else "leaf"
    return entries


def shown(root) -> dict[bytes, tuple]:
    found = {}
    for path, node in compare.snapshot(root).items():
        content = node.target or b""
        if node.type == "file":
            with open(os.path.join(os.fsencode(root), path), "rb") as file:
                content = file.read()
        found[path] = (node.type, node.mode, node.mtime, content)
    return found


def test_random_stacks_show_what_the_specification_says(work):
    seed = int(os.environ.get("GUEST_PULL_SEED", random.randrange(10**6)))
    print(f"GUEST_PULL_SEED={seed}")
    policy = lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
    for i in range(400 if EVERYTHING else 40):
        chance = random.Random(f"{seed}-{i}")
        layers = [random_layer(chance) for _ in range(chance.randint(2, 6))]
        layers += [layers[0]] * chance.randint(0, 1)  # a layer twice
        model = new_directory()
        for layer in layers:
            apply_layer(model, layer)
        bundle = work.new_bundle(f"bundle{i}")
        work.pull(Image([Layer(layer, "none") for layer in layers]).write_layout(work / f"layout{i}"), policy=policy, bundle=bundle)
        told = "\n".join(f"layer {n}: " + ", ".join(f"{type(e).__name__} {e.path}" for e in layer) for n, layer in enumerate(layers))
        try:
            expected, got = flatten(model), shown(bundle / "rootfs")
        except FileNotFoundError as failure:  # a name that is listed and is not there
            raise AssertionError(f"GUEST_PULL_SEED={seed}, stack {i}: {failure}\n{told}") from failure
        assert got == expected, f"GUEST_PULL_SEED={seed}, stack {i}\n{told}"
        work.umount(bundle)
