"""Demonstration 2: what the host can read on the disk that it lends us."""

import pytest
from scenario import STORE, chunks_of, marked_image, search_disk


def look(world, guest, image) -> tuple[dict[str, int], int, int]:
    key = world.hub.resources["default/cosign/key"]
    needles = {"files, paths and policy (mark)": world.marks.token,
               "policy": world.hub.resources["default/policy/test"][:64],
               "public key": key.splitlines()[1][:60],
               "volume key": world.hub.resources["default/volume/key"],
               "manifest": image.manifest[:64], "configuration": image.config[:64],
               "layer digest": image.layers[1].digest.split(":")[1].encode()}
    return search_disk(guest.disk("store"), needles, chunks_of(image))


def fill(world, new_guest, name, volume):
    """A guest that has pulled an image and runs on."""
    image = marked_image(world.marks)
    reference = world.push(image, name)
    guest = new_guest(disks={"store": "1G"}).boot()
    if volume is None:
        guest.run(f"mkfs.ext4 -q /dev/vda && mount /dev/vda {STORE}")
    guest.start_service(world.config(volume), hub=world.hub)
    assert guest.pull(reference) == image.digest
    # Policy and key are told to the guest and used; whoever wrote them to the store would be caught by this.
    guest.run("sync")
    return guest, image


def test_the_search_finds_everything_on_a_plain_disk(world, new_guest):
    guest, image = fill(world, new_guest, "plain-disk", None)
    found, chunks, total = look(world, guest, image)
    wanted = len(chunks_of(image))
    print(f"\n  plain disk: {total >> 20} MiB looked at, {chunks} of {wanted} pieces of files; {found}")
    assert chunks == wanted > 20_000
    assert found["files, paths and policy (mark)"] > 3 * 8 * 1000
    assert found["manifest"] and found["configuration"] and found["layer digest"]


@pytest.mark.parametrize("mode", ["ephemeral", "persistent"])
def test_the_host_finds_nothing_on_the_encrypted_disk(world, new_guest, mode):
    guest, image = fill(world, new_guest, f"secret-{mode}", {} if mode == "ephemeral" else world.persistent())
    running = look(world, guest, image)
    guest.shutdown()
    for when, (found, chunks, total) in (("running", running), ("after shutdown", look(world, guest, image))):
        print(f"\n  {mode}, {when}: {total >> 20} MiB looked at, {chunks} pieces of files; {found}")
        assert total > 4 << 20, "the image is not on this disk"
        assert chunks == 0
        assert not any(found.values())
