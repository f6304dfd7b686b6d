"""Layers damaged in the store, and layers that a manifest describes otherwise than they came in."""

import os
import shutil

import pytest

from lib import *


def prepare(work, registry):
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    config = work / "config.toml"
    config.write_text(f'[guest_pull]\nruntime_dir = "{work}/run"\n')
    return {"policy": policy, "registry": registry}, ["--config", config]


def damage(work):
    """One byte of a file, its times kept: what a disk does."""
    victim = next(work.store.glob("layers/*/root/victim"))
    before = victim.stat()
    with open(victim, "r+b") as file:
        file.seek(1000)
        file.write(b"X")
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_refs_that_a_kill_at_the_end_of_a_commit_left_are_removed(work, registry):
    """Between moving layers into place and dropping their refs in the making there is no staging directory to find them by."""
    image = Image([Layer([File("x", work.repository())])])
    options, more = prepare(work, registry)
    name = image.push(registry, work.repository(), "1")
    work.pull(name, *more, **options)
    making = work.store / "repo/refs/heads/making"
    shutil.copy(next((work.store / "repo/refs/heads/layer/sha256").iterdir()), making / "0123456789abcdef")
    guest_pull("umount", work.bundle, *more)
    work.pull(name, *more, **options)
    assert not list(making.iterdir())
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]


def test_damaged_layer_is_found_before_its_use_and_comes_anew(work, registry):
    image = Image([Layer([File("victim", bytes(5000))]), Layer([File("other", "o")])])
    options, more = prepare(work, registry)
    name = image.push(registry, work.repository(), "1")
    work.pull(name, *more, **options)
    guest_pull("umount", work.bundle, *more)
    damage(work)
    shutil.rmtree(work / "run" / "verified")  # another boot
    done = work.pull(name, *more, **options)
    assert [(layer["reused"], "victim" in layer.get("damage", "")) for layer in done.json["layers"]] == [(False, True), (True, False)]
    assert (work.rootfs / "victim").read_bytes() == bytes(5000)
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]
    assert len(list((work.store / "quarantine").iterdir())) == 1
    guest_pull("prune", "--store", work.store, *more)
    assert len(list((work.store / "quarantine").iterdir())) == 1  # something is mounted: perhaps on it
    guest_pull("umount", work.bundle, *more)
    guest_pull("prune", "--store", work.store, *more)
    assert not (work.store / "quarantine").exists()


def test_fsck_takes_damage_out_of_use(work, registry):
    good, bad = Layer([File("good", "g")]), Layer([File("victim", bytes(5000))])
    both, alone = Image([good, bad]), Image([good])
    options, more = prepare(work, registry)
    names = [image.push(registry, work.repository(), f"v{i}") for i, image in enumerate((both, alone))]
    for i, name in enumerate(names):
        work.pull(name, *more, bundle=work.new_bundle(f"b{i}"), **options)
    guest_pull("umount", work / "b0", *more)
    damage(work)
    fsck = ["fsck", "--store", work.store, *more, "--json"]
    assert guest_pull(*fsck, good.digest).json["clean"] and guest_pull(*fsck, alone.digest).json["clean"]
    for word in ([], [bad.digest], [both.digest], [names[0]]):
        found = guest_pull(*fsck, *word, check=DIGEST).json
        assert found["damagedLayers"] == [bad.digest] and not found["quarantined"]
    found = guest_pull(*fsck, "--quarantine", check=DIGEST).json
    assert found["damagedLayers"] == [bad.digest] and found["quarantined"]
    assert guest_pull(*fsck).json["clean"]
    run("ostree", "fsck", "--quiet", f"--repo={work.store}/repo")
    assert [i["manifestDigest"] for i in guest_pull("images", "--store", work.store, "--json").json["images"]] == [alone.digest]
    assert [layer["digest"] for layer in guest_pull("layers", "--store", work.store, "--json").json["layers"]] == [good.digest]
    done = work.pull(names[0], *more, **options)
    assert [layer["reused"] for layer in done.json["layers"]] == [True, False] and (work.rootfs / "victim").read_bytes() == bytes(5000)
    assert "no such" in guest_pull(*fsck, "sha256:" + "0" * 64, check=NOT_FOUND).message


@pytest.mark.parametrize("change, code, words", [
    ({"size": 1}, DIGEST, "bytes, but the blob in the store had"),
    ({"mediaType": LAYER + "+zstd"}, INVALID, 'says "zstd", but the blob in the store was unpacked as "gzip"'),
    ({"mediaType": DOCKER_LAYER + ".gzip"}, OK, ""),
])
def test_stored_layer_must_be_as_the_manifest_says(work, registry, change, code, words):
    """The same blob under another manifest: warm or cold, the answer is the same."""
    layer = Layer([File("a", "1")])

    def edit(manifest):
        manifest["layers"][0] |= {k: v + manifest["layers"][0]["size"] if k == "size" else v for k, v in change.items()}
    options, more = prepare(work, registry)
    work.pull(Image([layer]).push(registry, work.repository(), "1"), *more, bundle=work.new_bundle("b"), **options)
    with FakeRegistry() as fake:
        name = fake.add(Image([layer], edit_manifest=edit), "x/y", "1")
        policy = write_policy(work / "fake.json", {fake.host: {"type": "insecureAcceptAnything"}})
        done = work.pull(name, *more, policy=policy, registry=fake, check=code)
        assert words in done.message


@pytest.mark.parametrize("said, code, words", [(DOCKER_MANIFEST, INVALID, "the index's entry says"), (MANIFEST, OK, "")])
def test_index_entry_and_document_must_agree(work, said, code, words):
    def edit(index):
        index["manifests"][0]["mediaType"] = said
    with FakeRegistry() as fake:
        name = fake.add(Index([Image([Layer([File("a", "1")])])], edit=edit), "x/y", "1")
        policy = write_policy(work / "policy.json", {fake.host: {"type": "insecureAcceptAnything"}})
        assert words in work.verify(name, policy=policy, registry=fake, check=code).message
