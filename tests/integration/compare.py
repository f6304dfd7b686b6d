"""Two directory trees compared in every attribute that an image's layer can carry. snapshot() reads one tree, differences() tells how two
snapshots differ, one line a difference, nothing left out."""

import dataclasses
import hashlib
import os
import stat

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "character device",
         stat.S_IFBLK: "block device", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


@dataclasses.dataclass
class Node:
    """links: all names of the inode within the tree (hard links), sorted; directories have their own name alone."""

    type: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    xattrs: dict[str, bytes]
    size: int | None = None
    content: str | None = None
    target: bytes | None = None
    device: tuple[int, int] | None = None
    links: tuple[bytes, ...] = ()


def _content(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_node(path: bytes) -> Node:
    st = os.lstat(path)
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
    node = Node(TYPES[stat.S_IFMT(st.st_mode)], stat.S_IMODE(st.st_mode), (st.st_uid, st.st_gid), st.st_mtime_ns, xattrs)
    if node.type == "file":
        node.size, node.content = st.st_size, _content(path)
    elif node.type == "symlink":
        node.target = os.readlink(path)
    elif node.type.endswith("device"):
        node.device = os.major(st.st_rdev), os.minor(st.st_rdev)
    return node


def snapshot(root) -> dict[bytes, Node]:
    """All of a tree by relative path; b"" is its root."""
    root = os.fsencode(root)
    nodes, inodes = {b"": read_node(root)}, {}
    pending = [b""]
    while pending:
        folder = pending.pop()
        for name in os.listdir(os.path.join(root, folder)):
            path = os.path.join(folder, name)
            full = os.path.join(root, path)
            nodes[path] = read_node(full)
            if nodes[path].type == "directory":
                pending.append(path)
            else:
                st = os.lstat(full)
                inodes.setdefault((st.st_dev, st.st_ino), []).append(path)
    for paths in inodes.values():
        for path in paths:
            nodes[path].links = tuple(sorted(paths))
    return nodes


def differences(left: dict[bytes, Node], right: dict[bytes, Node], left_name: str, right_name: str) -> list[tuple[bytes, str, str]]:
    """(path, attribute, sentence) for every difference; attribute "presence" when only one side has the path."""
    found = []
    for path in sorted(left.keys() | right.keys()):
        if path not in left or path not in right:
            found.append((path, "presence", f"{path!r}: only in {left_name if path in left else right_name}"))
            continue
        for field in dataclasses.fields(Node):
            a, b = getattr(left[path], field.name), getattr(right[path], field.name)
            if a != b:
                shown = (f"{a:#o}", f"{b:#o}") if field.name == "mode" else (repr(a), repr(b))
                found.append((path, field.name, f"{path!r}: {field.name}: {left_name} {shown[0]}, {right_name} {shown[1]}"))
    return found
