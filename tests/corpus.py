"""The benchmark's corpus against oracles: corpus.py FOLDER, which has OCI layouts NAME-gz and NAME-zst. As root.

Every layer of every layout, as it lies in the store, against GNU tar; every image, mounted, against umoci (gzip only: Debian's has no zstd) and podman. A
difference fails, but for two that are counted: the mtime of a directory in which later layers changed something, where umoci and podman show when they
unpacked (ours must be what the topmost entry of that directory says), and the mode of the root, which podman's overlay driver makes 0555 whatever the tar
says (ours is compared with GNU tar's and umoci's)."""

import decimal
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "integration"))
import compare  # noqa: E402
import lib  # noqa: E402

OPAQUE = "trusted.overlay.opaque"
DECOMPRESS = {"gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dqc"]}


def layers_of(layout: pathlib.Path) -> list[tuple[str, list[str]]]:
    """(digest, command that writes the tar) of each layer, base first."""
    def blob(digest):
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    return [(layer["digest"], [*DECOMPRESS[layer["mediaType"].rsplit("+")[-1]], str(blob(layer["digest"]))]) for layer in manifest["layers"]]


def with_whiteouts(tree: dict[bytes, compare.Node]) -> dict[bytes, compare.Node]:
    """What GNU tar extracts, with whiteouts as overlayfs wants them: devices 0:0, and a mark on opaque directories."""
    out = {}
    for path, node in tree.items():
        folder, name = os.path.split(path)
        if name == b".wh..wh..opq":
            tree[folder].xattrs[OPAQUE] = b"y"
        elif name.startswith(b".wh."):
            hidden = os.path.join(folder, name[4:])
            out[hidden] = compare.Node("character device", 0, (0, 0), 0, {}, device=(0, 0), links=(hidden,))
        else:
            out[path] = node
    return out


def check_layer(store: pathlib.Path, digest: str, decompress: list[str], folder: pathlib.Path) -> tuple[int, list[str]]:
    folder.mkdir()
    with subprocess.Popen(decompress, stdout=subprocess.PIPE) as source:
        subprocess.run(["tar", "-C", folder, "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--same-owner",
                        "--delay-directory-restore", "-xpf", "-"], stdin=source.stdout, check=True)
    ours = compare.snapshot(store / "layers" / digest.replace(":", "-") / "root")
    oracle = with_whiteouts(compare.snapshot(folder))
    subprocess.run(["rm", "-rf", folder], check=True)
    return len(ours), [sentence for _, _, sentence in compare.differences(oracle, ours, "GNU tar", "ours")]


def told_directories(layers: list[tuple[str, list[str]]]) -> dict[bytes, int]:
    times = {}
    for _, decompress in layers:
        with subprocess.Popen(decompress, stdout=subprocess.PIPE) as source, tarfile.open(fileobj=source.stdout, mode="r|") as tar:
            for member in tar:
                if member.isdir():
                    path = os.fsencode(member.name).removeprefix(b"./").strip(b"/")
                    times[b"" if path == b"." else path] = int(decimal.Decimal(member.pax_headers.get("mtime", str(member.mtime))) * 10**9)
    return times


def check_image(ours, theirs, told: dict[bytes, int], who: str) -> tuple[int, list[str]]:
    """(tolerated, differences)"""
    tolerated, wrong = 0, []
    for path, attribute, sentence in compare.differences(theirs, ours, who, "ours"):
        if attribute == "mtime" and ours[path].type == "directory" and ours[path].mtime == told.get(path, 0):
            tolerated += 1
        elif who == "podman" and path == b"" and attribute == "mode" and theirs[path].mode == 0o555:
            tolerated += 1
        else:
            wrong.append(sentence)
    return tolerated, wrong


def umoci(layout: pathlib.Path, folder: pathlib.Path):
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:latest", folder], check=True, capture_output=True)
    tree = compare.snapshot(folder / "rootfs")
    subprocess.run(["rm", "-rf", folder], check=True)
    return tree


def podman(layout: pathlib.Path, folder: pathlib.Path):
    base = ["podman", "--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "overlay"]
    policy = folder.parent / "accept.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')

    def call(*words):
        return subprocess.run([*base, *words], check=True, capture_output=True, text=True).stdout.strip()

    image = call("pull", "--quiet", "--signature-policy", str(policy), f"oci:{layout}:latest").splitlines()[-1]
    try:
        return compare.snapshot(call("image", "mount", image))
    finally:
        call("image", "umount", image)
        subprocess.run([*base, "image", "rm", "--force", image], check=False, capture_output=True)
        subprocess.run(["umount", "-l", folder / "root/overlay"], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", folder], check=True)


def tell(found: list[str], what: str) -> int:
    for sentence in found[:20]:
        print(f"  {what}: {sentence}")
    return len(found)


def main() -> int:
    corpus = pathlib.Path(sys.argv[1])
    layouts = sorted(path.parent for path in corpus.glob("*/index.json"))
    if not layouts:
        print(f"{corpus}: no OCI layouts: build the corpus first (bench/)", file=sys.stderr)
        return 1
    work = lib.Work(tempfile.mkdtemp(prefix="gp-corpus-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    done: set[str] = set()
    bad = entries = 0
    try:
        policy = lib.write_policy(work / "policy.json", oci={"": lib.ACCEPT_ANYTHING})
        for layout in layouts:
            start, layers = time.monotonic(), layers_of(layout)
            bundle = work.new_bundle(layout.name)
            work.pull(f"oci:{layout}:latest", policy=policy, bundle=bundle, timeout=900)
            fresh = [layer for layer in layers if layer[0] not in done]
            done.update(digest for digest, _ in fresh)
            for digest, decompress in fresh:
                count, found = check_layer(work.store, digest, decompress, work / "gnu")
                entries += count
                bad += tell(found, digest)
            ours, told, said = compare.snapshot(bundle / "rootfs"), told_directories(layers), []
            for name, peer in (("umoci", umoci), ("podman", podman)):
                if name == "umoci" and layout.name.endswith("zst"):
                    continue
                tolerated, found = check_image(ours, peer(layout, work / name), told, name)
                bad += tell(found, f"{layout.name} against {name}")
                said.append(f"{name}: {len(found)} differences, {tolerated} tolerated")
            work.umount(bundle)
            print(f"{layout.name}: {len(layers)} layers, {len(fresh)} new ones against GNU tar; image of {len(ours)} names against {'; '.join(said)}; "
                  f"{time.monotonic() - start:.0f} s", flush=True)
    finally:
        lib.unmount_below(work)
        subprocess.run(["rm", "-rf", work], check=False)
    print(f"{len(done)} layers of {entries} entries, {len(layouts)} images: {bad} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
