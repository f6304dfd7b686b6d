"""guest-pulld with the real guest-pull: kata's end-to-end cases, and many containers."""

import os
import statistics
import time

import pytest

import lib
from conftest import BOTH_WAYS, BUILD, mounts_below, wait_for


class Real:
    """A service whose puller has a store, a policy and a registry of its own."""

    def __init__(self, service, work, registry, policy, *more, **options):
        self.service, self.work = service, work
        self.options = ["--store", str(work.store), "--allow-unencrypted-store",
                        *work.options(policy=policy, registry=registry, **options)[1:], *more]
        service.start_hub(resources(service))
        service.start(*[f"--puller-option={option}" for option in self.options], program=BUILD / "bin/guest-pull")

    def pull(self, image, name="c1"):
        return self.service.pull(image, self.service.bundle(name))


def resources(service):
    folder = service.directory / "resources/default/key"
    folder.mkdir(parents=True)
    (folder / "one").write_text("the resource\n")
    return f"-resources={service.directory}/resources"


def small_image(*entries):
    return lib.Image([lib.Layer([lib.Dir("bin"), lib.File("bin/tool", b"x" * 5000), *entries])], config={"Cmd": ["/bin/tool"]})


def policy_for(work, registry, requirement):
    return lib.write_policy(work / "policy.json", {registry.host: requirement}, default={"type": "reject"})


def test_rejected_by_default(service, work, registry):
    image = small_image().push(registry, work.repository(), "v1")
    real = Real(service, work, registry, lib.write_policy(work / "policy.json", default={"type": "reject"}))
    answer = real.pull(image)
    assert answer["code"] == 13
    assert "Failed to pull image" in answer["message"] and "Image policy rejected: Denied by policy" in answer["message"]
    service.nothing_left()


def test_no_policy_is_a_refusal(service, work, registry):
    image = small_image().push(registry, work.repository(), "v1")
    answer = Real(service, work, registry, work / "absent.json").pull(image)
    assert answer["code"] == 13 and "Failed to pull image" in answer["message"]
    service.nothing_left()


@BOTH_WAYS
def test_allowed_unsigned_scope(service, work, registry):
    image = small_image(lib.File("hello", "hi"))
    name = image.push(registry, work.repository(), "v1")
    real = Real(service, work, registry, policy_for(work, registry, {"type": "insecureAcceptAnything"}))
    answer = real.pull(name)
    assert answer["code"] == 0, answer
    assert answer["digest"] == image.digest
    assert (service.bundles / "c1/rootfs/hello").read_text() == "hi"
    assert mounts_below(service.bundles) == [f"{service.bundles}/c1/rootfs"]
    assert (service.bundles / "c1/config.json").exists()


def test_signed_scope_with_the_right_and_the_wrong_key(service, work, registry, cosign_key, other_cosign_key):
    image = small_image()
    name = image.push(registry, work.repository(), "v1")
    lib.cosign_sign(registry, work.repository(), image.digest, cosign_key)
    policy = policy_for(work, registry, lib.sigstore_signed(cosign_key, "matchRepository"))
    real = Real(service, work, registry, policy)
    assert real.pull(name)["digest"] == image.digest
    # The policy is read freshly: the same service, the same store, another key now.
    policy_for(work, registry, lib.sigstore_signed(other_cosign_key, "matchRepository"))
    answer = real.pull(name, "c2")
    assert answer["code"] == 13 and "Image policy rejected: Denied by policy" in answer["message"]
    assert mounts_below(service.bundles) == [f"{service.bundles}/c1/rootfs"]


@pytest.mark.parametrize("credentials, good", [(None, True), (("user", "wrong"), False)])
def test_authenticated_registry(service, work, registry_auth, credentials, good):
    image = small_image()
    name = image.push(registry_auth, work.repository(), "v1")
    policy = policy_for(work, registry_auth, {"type": "insecureAcceptAnything"})
    authfile = registry_auth.authfile(work / "auth.json", credentials)
    answer = Real(service, work, registry_auth, policy, authfile=authfile).pull(name)
    if good:
        assert answer["digest"] == image.digest
    else:
        assert answer["code"] == 13
        assert "Failed to pull image" in answer["message"] and "Not authorized" in answer["message"]
        service.nothing_left()


def kilobytes_of_tmpfs():
    """Shared memory that no mounted tmpfs accounts for: what a detached one would hold."""
    with open("/proc/meminfo") as lines:
        shared = next(int(line.split()[1]) for line in lines if line.startswith("Shmem:"))
    with open("/proc/mounts") as lines:
        places = {line.split()[1] for line in lines if line.split()[2] == "tmpfs"}
    for place in places:
        sizes = os.statvfs(place)
        shared -= (sizes.f_blocks - sizes.f_bfree) * sizes.f_frsize // 1024
    return shared


@BOTH_WAYS
def test_a_hundred_containers_eight_at_once(service, work, registry):
    image = small_image()
    name = image.push(registry, work.repository(), "v1")
    real = Real(service, work, registry, policy_for(work, registry, {"type": "insecureAcceptAnything"}))
    assert real.pull(name)["code"] == 0
    lib.run("umount", service.bundles / "c1/rootfs")
    before, tmpfs = service.descriptors(), kilobytes_of_tmpfs()
    result = service.peer("agent", f"-bundles={service.bundles}", f"-image={name}", "-count=100", "-relay", timeout=300)
    assert result["failures"] is None and result["succeeded"] == 100
    assert service.descriptors() == before
    assert mounts_below(service.bundles) == []
    # The containers wrote 25 MiB; the machine's other work makes this number move too.
    wait_for(lambda: kilobytes_of_tmpfs() <= tmpfs + 8192, "tmpfs is given back", 30)
    assert "guest-pull" not in lib.run("ps", "-o", "comm=", "--ppid", str(service.process.pid), check=None).stdout
    lib.guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store")


@BOTH_WAYS
def test_a_warm_pull_costs_little_more_than_on_the_command_line(service, work, registry):
    name = small_image().push(registry, work.repository(), "v1")
    real = Real(service, work, registry, policy_for(work, registry, {"type": "insecureAcceptAnything"}))
    real.pull(name)
    served, direct = [], []
    for i in range(10):
        served.append(real.pull(name, f"s{i}")["seconds"])
        bundle = service.bundle(f"d{i}")
        start = time.monotonic()
        lib.guest_pull("pull", name, "--json", "--quiet", "--bundle", bundle, *real.options)
        direct.append(time.monotonic() - start)
    print(f"warm pull: served {statistics.median(served):.4f} s, direct {statistics.median(direct):.4f} s")
    assert statistics.median(served) <= 1.3 * statistics.median(direct)


def test_kill_9_of_real_pullers_leaves_a_good_store(service, work, registry):
    layers = [lib.Layer([lib.File(f"f{i}", os.urandom(400_000))]) for i in range(4)]
    images = [lib.Image([*layers, lib.Layer([lib.File("own", str(i))])]).push(registry, work.repository(), f"v{i}")
              for i in range(12)]
    real = Real(service, work, registry, policy_for(work, registry, {"type": "insecureAcceptAnything"}))
    policy = work / "policy.json"
    start = time.monotonic()
    work.pull(images[0], store=work / "timed", bundle=work.new_bundle("timed"), policy=policy, registry=registry)
    whole = time.monotonic() - start
    for i, image in enumerate(images):
        client = service.peer_start("pull", image, service.bundle(f"k{i}"))
        time.sleep(whole * (i + 1) / 8)  # from the first steps to behind the end
        for pull in service.status()["pulls"]["inFlight"]:
            if pull["pid"]:
                try:
                    os.kill(pull["pid"], 9)
                except ProcessLookupError:
                    pass
        client.wait(20)
    wait_for(lambda: not service.status()["pulls"]["inFlight"], "all end")
    done = {path.split("/")[-2] for path in mounts_below(service.bundles)}
    for i in range(len(images)):
        if f"k{i}" not in done:
            assert os.listdir(service.bundles / f"k{i}") == []
    lib.guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store")
    assert real.pull(images[0], "again")["code"] == 0


@BOTH_WAYS
def test_eight_cold_pulls_that_share_layers_download_each_blob_once(service, work, registry):
    shared = [lib.Layer([lib.File(f"f{i}", os.urandom(2_000_000))]) for i in range(3)]
    images = [lib.Image([*shared, lib.Layer([lib.File("own", str(i))])]).push(registry, work.repository(), f"v{i}")
              for i in range(8)]
    Real(service, work, registry, policy_for(work, registry, {"type": "insecureAcceptAnything"}), "--max-parallel=4")
    mark = registry.mark()
    clients = [service.peer_start("pull", image, service.bundle(f"m{i}")) for i, image in enumerate(images)]
    assert all('"code":0' in client.communicate(timeout=60)[0] for client in clients)
    blobs = [line for line in registry.since(mark) if "/blobs/" in line and "GET" in line]
    for layer in shared:
        assert sum(layer.descriptor()["digest"] in line for line in blobs) == 1


@BOTH_WAYS
def test_kill_9_of_the_service_ends_its_pullers(service, work, registry):
    name = lib.Image([lib.Layer([lib.File(f"f{i}", os.urandom(20_000_000))]) for i in range(3)]).push(
        registry, work.repository(), "v1")
    Real(service, work, registry, policy_for(work, registry, {"type": "insecureAcceptAnything"}))
    bundle = service.bundle()
    service.peer_start("pull", name, bundle)
    wait_for(lambda: [pull for pull in service.status()["pulls"]["inFlight"] if pull["pid"]], "the pull is at work")
    time.sleep(0.1)
    service.process.kill()
    service.process.wait()
    wait_for(lambda: not service.children(), "its puller and the workers end")
    assert mounts_below(service.bundles) == [] and os.listdir(bundle) == []
    lib.guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store")
