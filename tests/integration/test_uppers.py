"""What containers write is in memory: how much one may, and how much all of them may together."""

import errno
import threading
import time

import pytest
from lib import *
from settings import write_config


@pytest.fixture
def limited(work, registry):
    """pull(bundle): with 32 MiB for each writable layer and 80 MiB for all."""
    image = Image([Layer([File("hello", "hi")])])
    name = image.push(registry, work.repository(), "v1")
    policy = write_policy(work / "policy.json", {registry.host: ACCEPT_ANYTHING})
    config = write_config(work / "config.toml", guest_pull={"rw_size": "32M", "rw_total": "80M", "runtime_dir": str(work / "run")})

    def pull(bundle, check=0):
        return work.pull(name, "--config", config, bundle=bundle, policy=policy, registry=registry, check=check)
    pull.config = config
    return pull


def test_the_sum_of_all_writable_layers_is_limited(work, limited):
    bundles = [work.new_bundle(f"b{i}") for i in range(3)]
    limited(bundles[0])
    limited(bundles[1])
    refused = limited(bundles[2], check=SPACE)
    assert refused.message.split("\n")[0].endswith(
        "writable layer of 33554432 bytes: 2 others may grow to 67108864 bytes, and all together to 83886080 (rw_total)"), refused
    assert not (bundles[2] / "rootfs").exists() and mounts_below(bundles[2]) == []
    shown = guest_pull("df", "--json", "--config", limited.config, "--store", work.store).json["uppers"]
    assert shown["limit"] == 64 << 20 and len(shown["mounts"]) == 2
    # Counted are live mounts: whoever unmounts, with or without telling us, gives his share back.
    # (A mount namespace that some other process of this machine made meanwhile may hold a mount for a moment; that is counted, too.)
    run("umount", bundles[0] / "rootfs")
    end = time.monotonic() + 30
    while limited(bundles[2], check=None).status != OK:
        assert time.monotonic() < end, "the share of what was unmounted is not given back"
        time.sleep(0.2)


def test_pulls_at_once_count_each_other(work, limited):
    bundles, results = [work.new_bundle(f"b{i}") for i in range(6)], []
    threads = [threading.Thread(target=lambda bundle=bundle: results.append(limited(bundle, check=None).status)) for bundle in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [OK] * 2 + [SPACE] * 4


def test_a_full_writable_layer_is_enospc_and_nothing_else(work, limited):
    limited(work.bundle)
    with pytest.raises(OSError) as failure, open(work.rootfs / "big", "wb") as out:
        for _ in range(40):
            out.write(bytes(1 << 20))
            out.flush()
    assert failure.value.errno == errno.ENOSPC
    assert (work.rootfs / "hello").read_text() == "hi"
    (work.rootfs / "big").unlink()
    (work.rootfs / "small").write_text("there is room again")
    used = guest_pull("df", "--json", "--config", limited.config, "--store", work.store).json["uppers"]["used"]
    assert used < 1 << 20


def test_nothing_of_the_image_is_in_the_writable_layer(work, registry):
    name = Image([Layer([File("big", bytes(20 << 20))])]).push(registry, work.repository(), "v1")
    policy = write_policy(work / "policy.json", {registry.host: ACCEPT_ANYTHING})
    config = write_config(work / "config.toml", guest_pull={"rw_size": "32M", "runtime_dir": str(work / "run")})
    work.pull(name, "--config", config, policy=policy, registry=registry)
    used = guest_pull("df", "--json", "--config", config, "--store", work.store).json["uppers"]["used"]
    assert used < 64 << 10
