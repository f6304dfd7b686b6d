"""[guest_pull.limits]: each limit met exactly passes, and one less is refused as "limit", naming it; nothing is left of what was refused."""

import pytest

from lib import *

LONG = "n" * 100
IMAGE = [
    [Dir("a"), Dir("a/b"), File("a/b/deep", "12345"), File(LONG, "x" * 95), Symlink("link", "t" * 50),
     File("attributes", "", xattrs={"user.one": b"v" * 40, "user.two": b"w" * 2})],
    [File("second", "y" * 900)],
]

# Exactly what IMAGE has.
EXACT = {"layer_bytes": 900, "image_bytes": 1000, "layer_entries": 6, "image_entries": 7, "image_layers": 2, "depth": 3, "path": 100,
         "name": 100, "link_target": 50, "xattrs": 2, "xattr_bytes": 40, "xattrs_bytes": 58, "layer_metadata": 108}


@pytest.fixture(scope="module")
def image(registry):
    image = Image([Layer(entries) for entries in IMAGE])
    return image.push(registry, "test/limits", "1"), image


def configure(work, limits):
    config = work / "config.toml"
    config.write_text("[guest_pull.limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
    return ["--config", config]


def pull(work, registry, image, limits, **more):
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    return work.pull(image[0], *configure(work, limits), policy=policy, registry=registry, **more)


def test_all_limits_met_exactly(work, registry, image):
    pull(work, registry, image, EXACT)
    assert (work.rootfs / "a/b/deep").read_text() == "12345"


@pytest.mark.parametrize("name", EXACT)
def test_one_less_is_refused(work, registry, image, name):
    done = pull(work, registry, image, EXACT | {name: EXACT[name] - 1}, check=LIMIT)
    wanted = {"layer_bytes": "bytes of content", "layer_entries": "entries", "layer_metadata": "link targets and extended attributes"}
    assert wanted.get(name, name) in done.message
    assert not mounts_below(work) and not list(work.store.glob("staging/*")) and not list(work.store.glob("layers/*"))


@pytest.mark.parametrize("name", ["layer_bytes", "image_bytes", "layer_entries", "image_entries"])
def test_stored_layers_count_too(work, registry, image, name):
    pull(work, registry, image, EXACT)
    work.umount()
    done = pull(work, registry, image, EXACT | {name: EXACT[name] - 1}, check=LIMIT)
    assert name in done.message


def test_ratio(work, registry):
    layer = Layer([File("zeros", bytes(70_000_000))])
    image = Image([layer])
    exact = -(-70_000_000 // len(layer.blob))
    named = image.push(registry, work.repository(), "1"), image
    assert "bytes of content" in pull(work, registry, named, {"ratio": exact - 1}, check=LIMIT).message
    pull(work, registry, named, {"ratio": exact})


@pytest.mark.parametrize("text, wanted", [
    ("layer_bytes = 0", "from 1 to"), ("layer_bytes = -1", "from 1 to"), ("depth = 129", "from 1 to 128"), ("layers = 3", "no limit \"layers\""),
    ("name = true", "from 1 to"), ("path = \"10%\"", "from 1 to"), ("image_bytes = \"2000G\"", "from 1 to")])
def test_bad_limits_are_refused(work, text, wanted):
    config = work / "config.toml"
    config.write_text(f"[guest_pull.limits]\n{text}\n")
    assert wanted in guest_pull("config", "show", "--config", config, check=USAGE).stderr
    config.write_text("[guest_pull.limits]\nlayer_bytes = \"2M\"\n")
    shown = guest_pull("config", "show", "--config", config, "--json").json["settings"]
    limits = next(s["value"] for s in shown if s["name"] == "limits")
    assert limits["layer_bytes"] == 2 << 20 and limits["depth"] == 128
