"""A pull whose layers are all in the store: what it asks for, what it loads, and what it writes."""

import os
import time

import pytest
from lib import *


@pytest.fixture
def stored(work, registry):
    """An image that was pulled once; again() pulls it another time and returns (result, requests)."""
    class Stored:
        image = Image([Layer([Dir("etc"), File("etc/motd", "hi")])], config={"Cmd": ["/bin/sh"]})
        policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
        bundles = 0

        def again(self, name=None, **more):
            self.bundles += 1
            mark = registry.mark()
            done = work.pull(name or self.name, policy=self.policy, registry=registry, bundle=work.new_bundle(f"again{self.bundles}"), **more)
            return done, registry.since(mark)

        def ref(self):
            return work.store / "repo/refs/heads/image" / self.image.digest.replace(":", "/")

        def row(self):
            one, = guest_pull("images", "--store", work.store, "--json").json["images"]
            return one

    stored = Stored()
    stored.name = stored.image.push(registry, work.repository(), "latest")
    work.pull(stored.name, policy=stored.policy, registry=registry)
    return stored


def loaded(folder):
    """Of all processes: the libraries that the dynamic linker opened."""
    return "".join(file.read_text(errors="replace") for file in folder.iterdir())


def test_libostree_is_not_loaded(work, stored, registry):
    folder = work / "linker"
    folder.mkdir()
    env = {**os.environ, "LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(folder / "log")}
    stored.again(env=env)
    text = loaded(folder)
    assert "libcrypto" in text and "libostree" not in text and "libgio" not in text
    other = Image([Layer([File("other", "2")])])
    stored.again(other.push(registry, work.repository() + "/other", "latest"), env=env)
    assert "libostree" in loaded(folder)


def test_nothing_but_the_manifest_is_asked_for(stored):
    done, requests = stored.again()
    assert all("/manifests/" in line for line in requests), requests
    assert done.json["configDigest"] == stored.image.config_digest and done.json["layers"][0]["reused"]


def test_damaged_configuration_is_fetched(work, stored):
    """Only its digest counts, wherever it comes from. One that is missing is written again; one that is damaged is fsck's to find."""
    where = [path for path in (work.store / "repo/objects").glob("*/*.file") if path.read_bytes() == stored.image.config]
    assert len(where) == 1
    where[0].write_bytes(bytes(len(stored.image.config)))
    _, requests = stored.again()
    assert any(stored.image.config_digest in line for line in requests)
    where[0].unlink()
    stored.again()
    assert where[0].read_bytes() == stored.image.config


def test_commit_that_is_not_what_its_ref_names(work, stored):
    commit = stored.ref().read_text().strip()
    path = work.store / "repo/objects" / commit[:2] / (commit[2:] + ".commit")
    data = bytearray(path.read_bytes())
    data[data.index(b"guest-pull.reference")] ^= 1
    path.write_bytes(data)
    broken = guest_pull("images", "--store", work.store, "--json", check=DIGEST)
    assert "its commit is sha256:" in broken.message


@pytest.mark.parametrize("text", ["", "0" * 63 + "\n", "0" * 64, "g" * 64 + "\n", "0" * 65 + "\n"])
def test_ref_that_is_none(work, stored, text):
    stored.ref().write_text(text)
    broken = guest_pull("images", "--store", work.store, "--json", check=None)
    assert broken.status in (INTERNAL, LIMIT) and "a ref" in broken.message


def test_time_of_the_last_pull(work, stored):
    commit, old = stored.ref().read_text(), int(time.time()) - 1000
    os.utime(stored.ref(), (old, old))
    assert stored.row()["pulled"] == old
    stored.again()
    assert time.time() - 60 < stored.row()["pulled"] <= time.time()
    assert stored.ref().read_text() == commit
    run("ostree", f"--repo={work.store / 'repo'}", "fsck", "--quiet")


def test_other_name_of_the_same_image(work, stored, registry):
    name = stored.image.push(registry, work.repository() + "/twin", "v2")
    stored.again(name)
    assert stored.row()["image"] == name
    stored.again()
    assert stored.row()["image"] == stored.name
