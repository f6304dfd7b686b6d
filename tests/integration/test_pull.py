"""The main job through the real program: what is pulled, what is refused and why, and what is left behind (nothing)."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from lib import *

BUSYBOX = pathlib.Path("/bin/busybox")


def simple_image(text="hi", **more):
    return Image([Layer([Dir("etc"), File("etc/motd", text)]), Layer([File("hello", text)], compression="zstd")],
                 config={"Cmd": ["/hello"], **more})


def gpg_setup(work, registry, key, image, *, signed_as=None, signature=None, tag="latest"):
    """Pushes `image` and signs it with `key` in a lookaside folder; returns (name, registries.d)."""
    repository = work.repository()
    name = image.push(registry, repository, tag)
    payload = simple_payload(image.digest, signed_as or f"{registry.host}/{repository}:{tag}")
    write_lookaside(work / "sigs", repository, image.digest, signature or key.sign(payload))
    return name, write_registries_d(work / "registries.d", work / "sigs")


def leftovers(work):
    """What a refused pull must not leave: a rootfs, mounts, staging, images, layers."""
    found = [point for point in mounts_below(work)]
    if work.rootfs.exists():
        found.append("rootfs")
    for folder in ("staging", "layers"):
        path = work.store / folder
        if path.exists():
            found += [str(p) for p in path.iterdir()]
    return found


# ---- what works

def test_gpg_signed_image_is_mounted(work, registry, gpg_key):
    image = simple_image()
    name, registries_d = gpg_setup(work, registry, gpg_key, image)
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    done = work.pull(name, policy=policy, registry=registry, registries_d=registries_d)
    assert (work.rootfs / "hello").read_text() == "hi"
    report = done.json
    assert report["manifestDigest"] == image.digest
    assert report["image"] == name
    assert report["verdict"]["scope"] == f"docker: {registry.host}"
    requirement, = report["verdict"]["requirements"]
    assert requirement["type"] == "signedBy" and requirement["accepted"] and gpg_key.fingerprint in requirement["by"]
    assert [layer["reused"] for layer in report["layers"]] == [False, False]
    assert [layer["digest"] for layer in report["layers"]] == [layer.digest for layer in image.layers]
    assert [layer["diffId"] for layer in report["layers"]] == [layer.diff_id for layer in image.layers]
    assert report["rootfs"] == str(work.rootfs)
    assert report["bytes"]["downloaded"] == sum(len(layer.blob) for layer in image.layers)
    assert "total" in report["timings"]


def test_second_pull_reuses_every_layer(work, registry):
    image = simple_image()
    name = image.push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    work.pull(name, policy=policy, registry=registry)
    mark = registry.mark()
    again = work.pull(name, policy=policy, registry=registry, bundle=work.new_bundle("second"))
    assert all(layer["reused"] for layer in again.json["layers"])
    assert not [line for line in registry.since(mark) if any(layer.digest in line for layer in image.layers)]


def test_human_output_names_key_scope_and_mount(work, registry, cosign_key):
    image = simple_image()
    name = image.push(registry, work.repository(), "latest")
    cosign_sign(registry, work.repository(), image.digest, cosign_key)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key)})
    done = guest_pull("pull", name, "--bundle", work.bundle, "--store", work.store, "--allow-unencrypted-store", "--plain-http",
                      registry.host, "--policy", policy)
    assert done.stdout.splitlines()[0] == image.digest
    for words in ("accepted, scope docker: " + registry.host, "sigstoreSigned by key sha256:", str(work.rootfs)):
        assert words in done.stdout
    quiet = guest_pull("pull", name, "--bundle", work.new_bundle("q"), "--store", work.store, "--allow-unencrypted-store",
                       "--plain-http", registry.host, "--policy", policy, "--quiet")
    assert (quiet.stdout, quiet.stderr) == (image.digest + "\n", "")


@pytest.mark.parametrize("kind", ["tag", "digest", "index"])
def test_image_is_found_by(kind, work, registry):
    image = simple_image()
    other = Image([Layer([File("other", "x")])], architecture="riscv64")
    repository = work.repository()
    pushed = Index([other, image]) if kind == "index" else image
    name = pushed.push(registry, repository, None if kind == "digest" else "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    done = work.pull(name, "--platform", "linux/amd64", policy=policy, registry=registry)
    assert done.json["manifestDigest"] == image.digest
    assert (done.json.get("indexDigest") == pushed.digest) == (kind == "index")
    assert (work.rootfs / "hello").exists()


def test_container_runs_as_configured(work, registry):
    if not BUSYBOX.exists():
        pytest.skip("busybox-static is not installed")
    users = "root:x:0:0::/:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n"
    groups = "root:x:0:\napp:x:1235:\nextra:x:77:app\n"
    image = Image([Layer([Dir("bin"), Dir("etc"), Dir("proc"), Dir("dev"), Dir("sys"), Dir("tmp", mode=0o1777),
                          File("bin/busybox", BUSYBOX.read_bytes(), mode=0o755), Symlink("bin/sh", "busybox"),
                          File("etc/passwd", users), File("etc/group", groups)])],
                  config={"Entrypoint": ["/bin/busybox", "sh", "-c"],
                          "Cmd": ["/bin/busybox id; /bin/busybox pwd; echo $GREETING; echo written > /tmp/f"],
                          "Env": ["PATH=/bin", "GREETING=hello"], "WorkingDir": "/etc", "User": "app"})
    name = image.push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    work.pull(name, policy=policy, registry=registry)
    ran = crun(work.bundle, work.name)
    identity, *rest = ran.stdout.splitlines()
    assert identity.startswith("uid=1234(app) gid=1235(app)") and "77(extra)" in identity
    assert rest == ["/etc", "hello"]
    assert (work.rootfs / "tmp/f").read_text() == "written\n"
    assert not [path for path in work.store.rglob("*") if path.name == "f"]
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]


def test_authenticated_registry(work, registry_auth):
    image = simple_image()
    name = image.push(registry_auth, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry_auth.host: {"type": "insecureAcceptAnything"}})
    refused = work.pull(name, policy=policy, registry=registry_auth, check=AUTH)
    assert refused.error["code"] == "auth"
    wrong = registry_auth.authfile(work / "wrong.json", ("user", "wrong"))
    work.pull(name, policy=policy, registry=registry_auth, authfile=wrong, check=AUTH)
    assert not leftovers(work)
    done = work.pull(name, policy=policy, registry=registry_auth, authfile=True)
    assert done.json["manifestDigest"] == image.digest


def test_tls_registry(work, registry_tls):
    image = simple_image()
    name = image.push(registry_tls, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry_tls.host: {"type": "insecureAcceptAnything"}})
    untrusted = guest_pull("verify", name, "--json", "--policy", policy, check=NETWORK)
    assert "certificate" in untrusted.message
    assert work.pull(name, policy=policy, registry=registry_tls).json["manifestDigest"] == image.digest


def test_plain_http_must_be_asked_for_even_on_loopback(work, registry):
    image = simple_image()
    name = image.push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    guest_pull("verify", name, "--json", "--policy", policy, check=NETWORK)


# ---- what is refused

def test_without_a_policy_everything_is_refused(work, registry):
    name = simple_image().push(registry, work.repository(), "latest")
    mark = registry.mark()
    refused = work.pull(name, registry=registry, check=POLICY)
    assert "no policy" in refused.message
    absent = work.pull(name, registry=registry, policy=work / "absent.json", check=POLICY)
    assert "absent.json" in absent.message
    (work / "broken.json").write_text('{"default":[{"type":"reject"}],"default":[]}')
    broken = work.pull(name, registry=registry, policy=work / "broken.json", check=INVALID)
    assert "duplicate" in broken.message
    assert not registry.since(mark), "no request may be made before there is a policy"
    assert not leftovers(work)


def test_reject_needs_no_network(work, registry):
    name = simple_image().push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "reject"}})
    mark = registry.mark()
    refused = work.pull(name, policy=policy, registry=registry, check=POLICY)
    assert refused.error["code"] == "policy" and refused.error["retryable"] is False
    assert refused.json["verdict"]["accepted"] is False
    assert not registry.since(mark)


def test_refused_image_costs_no_config_and_no_layer(work, registry, gpg_key):
    """Only after the verdict says yes is config or a layer requested."""
    image = simple_image()
    name = image.push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    registries_d = write_registries_d(work / "registries.d", work / "sigs")
    mark = registry.mark()
    refused = work.pull(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "no-signature" in refused.message
    assert not [line for line in registry.since(mark) if "/blobs/" in line]
    assert not leftovers(work) and not work.store.exists()


@pytest.mark.parametrize("case, reason", [
    ("other-key", "unknown-key"),
    ("other-repository", "identity-mismatch"),
    ("other-tag", "identity-mismatch"),
    ("other-digest", "digest-mismatch"),
    ("garbage", "signature-format"),
])
def test_bad_gpg_signature(case, reason, work, registry, gpg_key, other_gpg_key):
    image = simple_image()
    reference = f"{registry.host}/{work.repository()}:latest"
    make = {
        "other-key": lambda: other_gpg_key.sign(simple_payload(image.digest, reference)),
        "other-repository": lambda: gpg_key.sign(simple_payload(image.digest, f"{registry.host}/other/app:latest")),
        "other-tag": lambda: gpg_key.sign(simple_payload(image.digest, reference.replace(":latest", ":old"))),
        "other-digest": lambda: gpg_key.sign(simple_payload("sha256:" + "0" * 64, reference)),
        "garbage": lambda: b"\x90garbage that only looks like OpenPGP",
    }
    name, registries_d = gpg_setup(work, registry, gpg_key, image, signature=make[case]())
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    refused = work.pull(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert reason in refused.message
    assert not leftovers(work)
    signature, = refused.json["verdict"]["requirements"][0]["signatures"]
    assert not signature["accepted"] and reason in signature["reason"]


def test_one_good_signature_among_bad_ones_is_enough(work, registry, gpg_key, other_gpg_key):
    image = simple_image()
    payload = simple_payload(image.digest, f"{registry.host}/{work.repository()}:latest")
    name, registries_d = gpg_setup(work, registry, gpg_key, image, signature=other_gpg_key.sign(payload))
    write_lookaside(work / "sigs", work.repository(), image.digest, gpg_key.sign(payload))
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    done = work.pull(name, policy=policy, registry=registry, registries_d=registries_d)
    assert [s["accepted"] for s in done.json["verdict"]["requirements"][0]["signatures"]] == [False, True]


def test_every_requirement_must_hold(work, registry, gpg_key, cosign_key):
    image = simple_image()
    name, registries_d = gpg_setup(work, registry, gpg_key, image)
    policy = write_policy(work / "policy.json", {registry.host: [signed_by(gpg_key), sigstore_signed(cosign_key)]})
    refused = work.pull(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "sigstoreSigned" in refused.message
    cosign_sign(registry, work.repository(), image.digest, cosign_key)
    work.pull(name, policy=policy, registry=registry, registries_d=registries_d)


@pytest.mark.parametrize("case, reason", [
    ("other-key", "bad-signature"),
    ("other-repository", "identity-mismatch"),
    ("other-type", "payload"),
    ("other-digest", "digest-mismatch"),
    ("no-annotation", "signature-format"),
])
def test_bad_cosign_signature(case, reason, work, registry, cosign_key, other_cosign_key):
    image = simple_image()
    repository = work.repository()
    name = image.push(registry, repository, "latest")
    reference = f"{registry.host}/{repository}"
    changes = {
        "other-key": {"key": other_cosign_key},
        "other-repository": {"reference": f"{registry.host}/other/app"},
        "other-type": {"payload": simple_payload(image.digest, reference)},
        "other-digest": {"payload": cosign_payload("sha256:" + "1" * 64, reference)},
        "no-annotation": {"annotations": {"unrelated": "x"}},
    }[case]
    cosign_sign(registry, repository, image.digest, changes.pop("key", cosign_key), **changes)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key)})
    refused = work.pull(name, policy=policy, registry=registry, check=SIGNATURE)
    assert reason in refused.message
    assert not leftovers(work)


def test_signed_manifest_of_other_bytes_is_refused(work, registry, gpg_key):
    """The registry changes one byte of the manifest: under its tag it is another, unsigned image; by digest it is not what was named."""
    image = simple_image()
    name, registries_d = gpg_setup(work, registry, gpg_key, image)
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    with FakeRegistry() as fake:
        changed = image.manifest.replace(b'"schemaVersion"', b' "schemaVersion"', 1)
        repository = work.repository()
        fake.answers[f"/v2/{repository}/manifests/latest"] = (200, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, changed)
        fake.answers[f"/v2/{repository}/manifests/{image.digest}"] = \
            (200, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, changed)
        policy = write_policy(work / "policy.json", {fake.host: signed_by(gpg_key)})
        by_tag = work.pull(f"{fake.host}/{repository}:latest", policy=policy, registry=fake, registries_d=registries_d, check=SIGNATURE)
        assert "no-signature" in by_tag.message
        by_digest = work.pull(f"{fake.host}/{repository}@{image.digest}", policy=policy, registry=fake, registries_d=registries_d,
                              check=DIGEST)
        assert image.digest in by_digest.message
    assert not leftovers(work)


def test_tag_that_moves_between_requests_changes_nothing(work, registry, cosign_key):
    """The tag is asked once; everything afterwards goes by digest."""
    good, evil = simple_image("good"), simple_image("evil")
    repository = work.repository()
    with FakeRegistry() as fake:
        fake.add(good, repository, "latest")
        fake.add(evil, repository)
        asked = []
        tag_path = f"/v2/{repository}/manifests/latest"

        def moving(handler):
            asked.append(1)
            body = (good if len(asked) == 1 else evil).manifest
            handler.send_response(200)
            handler.send_header("Content-Type", good.media_type)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        fake.answers[tag_path] = moving
        policy = write_policy(work / "policy.json", {fake.host: {"type": "insecureAcceptAnything"}})
        done = work.pull(f"{fake.host}/{repository}:latest", policy=policy, registry=fake)
        assert done.json["manifestDigest"] == good.digest
        assert (work.rootfs / "hello").read_text() == "good"
        assert len(asked) == 1


def test_cached_image_is_verified_again(work, registry, cosign_key, other_cosign_key):
    """Weakness 1 of the field: admitted once under a lax scope, asked for under a strict one."""
    image = simple_image()
    name = image.push(registry, work.repository(), "latest")
    cosign_sign(registry, work.repository(), image.digest, other_cosign_key)
    lax = write_policy(work / "lax.json", {registry.host: {"type": "insecureAcceptAnything"}})
    work.pull(name, policy=lax, registry=registry)
    strict = write_policy(work / "strict.json", {registry.host: sigstore_signed(cosign_key)})
    second = work.new_bundle("second")
    refused = work.pull(name, policy=strict, registry=registry, bundle=second, check=SIGNATURE)
    assert "bad-signature" in refused.message
    assert not (second / "rootfs").exists()
    reject = write_policy(work / "reject.json", {registry.host: {"type": "reject"}})
    work.pull(name, policy=reject, registry=registry, bundle=second, check=POLICY)


@pytest.mark.parametrize("signed", ["index", "instance", "other-instance"])
def test_multi_arch_signature_covers(signed, work, registry, cosign_key):
    """A signature of the index admits the instance that was chosen from it; one of another instance admits nothing."""
    image, other = simple_image("amd"), Image([Layer([File("other", "x")])], architecture="riscv64")
    index = Index([other, image])
    repository = work.repository()
    name = index.push(registry, repository, "latest")
    digest = {"index": index.digest, "instance": image.digest, "other-instance": other.digest}[signed]
    cosign_sign(registry, repository, digest, cosign_key)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key)})
    expected = SIGNATURE if signed == "other-instance" else OK
    work.pull(name, "--platform", "linux/amd64", policy=policy, registry=registry, check=expected)
    assert work.rootfs.exists() == (expected == OK)


def test_signature_of_an_instance_does_not_admit_its_index_siblings(work, registry, cosign_key):
    amd, arm = simple_image("amd"), Image([Layer([File("hello", "arm")])], architecture="arm64")
    repository = work.repository()
    name = Index([amd, arm]).push(registry, repository, "latest")
    cosign_sign(registry, repository, amd.digest, cosign_key)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key)})
    refused = work.pull(name, "--platform", "linux/arm64", policy=policy, registry=registry, check=SIGNATURE)
    assert "no-signature" in refused.message


# ---- bytes that are not what was named

@pytest.mark.parametrize("which", ["layer", "config", "child"])
def test_other_bytes_under_a_digest(which, work):
    image = simple_image()
    repository = work.repository()
    with FakeRegistry() as fake:
        index = Index([image])
        name = fake.add(index, repository, "latest")
        victim = {"layer": f"/v2/{repository}/blobs/{image.layers[0].digest}",
                  "config": f"/v2/{repository}/blobs/{digest_of(image.config)}",
                  "child": f"/v2/{repository}/manifests/{image.digest}"}[which]
        body = {"layer": bytearray(image.layers[0].blob), "config": bytearray(image.config), "child": bytearray(image.manifest)}[which]
        body[len(body) // 2] ^= 1
        kind = {"child": "application/vnd.oci.image.manifest.v1+json"}.get(which, "application/octet-stream")
        fake.answers[victim] = (200, {"Content-Type": kind}, bytes(body))
        policy = write_policy(work / "policy.json", {fake.host: {"type": "insecureAcceptAnything"}})
        refused = work.pull(name, "--platform", "linux/amd64", policy=policy, registry=fake, check=DIGEST)
        assert refused.error["code"] == "digest"
        assert "expected sha256:" in refused.message
        assert not leftovers(work)


def test_wrong_diff_id_is_refused(work, registry):
    def lie(config):
        config["rootfs"]["diff_ids"][1] = "sha256:" + "ab" * 32
    image = Image([Layer([File("a", "1")]), Layer([File("b", "2")])], edit_config=lie)
    name = image.push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    refused = work.pull(name, policy=policy, registry=registry, check=DIGEST)
    assert "diffID" in refused.message
    assert not leftovers(work)
    # And also when the layers are in the store already.
    good = Image(image.layers)
    good.push(registry, work.repository(), "good")
    work.pull(f"{registry.host}/{work.repository()}:good", policy=policy, registry=registry)
    second = work.new_bundle("second")
    refused = work.pull(name, policy=policy, registry=registry, bundle=second, check=DIGEST)
    assert "diffID" in refused.message


def test_unsupported_documents(work, registry):
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})

    def change(**members):
        def edit(manifest):
            manifest.update(members)
        return edit
    image = simple_image()
    cases = {
        "unknown": (Image(image.layers, edit_manifest=change(mediaType="application/vnd.example+json")), (UNSUPPORTED, INVALID)),
        "both": (Image(image.layers, edit_manifest=change(manifests=[])), (INVALID,)),
    }
    with FakeRegistry() as fake:
        policy = write_policy(work / "policy.json", {fake.host: {"type": "insecureAcceptAnything"}})
        for name, (made, statuses) in cases.items():
            fake.answers[f"/v2/x/{name}/manifests/1"] = (200, {"Content-Type": made.media_type if name != "unknown" else
                                                              "application/vnd.example+json"}, made.manifest)
            done = work.pull(f"{fake.host}/x/{name}:1", policy=policy, registry=fake, check=None)
            assert done.status in statuses, done
        fake.answers["/v2/x/one/manifests/1"] = (200, {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
                                                 b'{"schemaVersion":1,"name":"x"}')
        done = work.pull(f"{fake.host}/x/one:1", policy=policy, registry=fake, check=UNSUPPORTED)
        assert "schema" in done.message.lower()
    assert not leftovers(work)


# ---- the bundle

def test_bundle_in_use_is_refused(work, registry):
    name = simple_image().push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    work.pull(name, policy=policy, registry=registry)
    again = work.pull(name, policy=policy, registry=registry, check=INVALID)
    assert "rootfs" in again.message
    assert (work.rootfs / "hello").exists(), "the first mount must survive"
    work.umount()
    assert not work.rootfs.exists()
    work.pull(name, policy=policy, registry=registry)


def test_plain_umount_by_the_agent_is_enough(work, registry):
    """kata-agent unmounts and removes the directory and tells nobody: then the image can be removed too."""
    name = simple_image().push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    work.pull(name, policy=policy, registry=registry)
    mounted = guest_pull("rm", name, "--store", work.store, "--json", check=INVALID)
    assert str(work.bundle) in mounted.message
    run("umount", "-l", work.rootfs)
    assert mounts_below(work) == []
    removed = guest_pull("rm", name, "--store", work.store, "--json")
    assert removed.json["layers"] == 2
    assert guest_pull("images", "--store", work.store, "--json").json == {"images": []}
    assert not list((work.store / "layers").iterdir())


def test_unencrypted_store_is_refused(work, registry):
    name = simple_image().push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    refused = guest_pull("pull", name, "--bundle", work.bundle, "--store", work.store, *work.options(policy=policy, registry=registry),
                         check=UNSUPPORTED)
    assert "--allow-unencrypted-store" in refused.error["message"] + (refused.error["detail"] or "")
    assert not leftovers(work)


def test_missing_bundle_is_an_error(work, registry):
    name = simple_image().push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    done = work.pull(name, policy=policy, registry=registry, bundle=work / "absent", check=NOT_FOUND)
    assert "absent" in done.message


# ---- time and signals

def slow_registry(fake, image, repository):
    """An image whose first layer never comes to its end."""
    name = fake.add(image, repository, "latest")

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(image.layers[0].blob)))
        handler.end_headers()
        handler.wfile.write(image.layers[0].blob[:10])
        handler.wfile.flush()
        time.sleep(20)
    fake.answers[f"/v2/{repository}/blobs/{image.layers[0].digest}"] = stall
    return name


def test_deadline_ends_a_pull_and_leaves_nothing(work):
    with FakeRegistry() as fake:
        name = slow_registry(fake, simple_image(), work.repository())
        policy = write_policy(work / "policy.json", {fake.host: {"type": "insecureAcceptAnything"}})
        start = time.monotonic()
        done = work.pull(name, "--timeout", "2", policy=policy, registry=fake, check=CANCELLED)
        assert time.monotonic() - start < 8
        assert "2 seconds" in done.message and done.error["retryable"]
        assert not work.rootfs.exists() and not mounts_below(work)
        assert not list((work.store / "staging").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_a_pull_and_leaves_nothing(number, work):
    image = simple_image()
    with FakeRegistry() as fake:
        name = slow_registry(fake, image, work.repository())
        policy = write_policy(work / "policy.json", {fake.host: {"type": "insecureAcceptAnything"}})
        process = subprocess.Popen([GUEST_PULL, "pull", name, "--bundle", work.bundle, "--store", work.store, "--allow-unencrypted-store",
                                    *work.options(policy=policy, registry=fake)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not any(image.layers[0].digest in path for path in fake.paths()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate(timeout=10)
        assert process.returncode == CANCELLED
        assert json.loads(output)["error"]["code"] == "cancelled"
        assert not work.rootfs.exists() and not mounts_below(work)
        assert not list((work.store / "staging").iterdir())


def test_verify_works_as_an_ordinary_user(work, registry, gpg_key, cosign_key):
    image = simple_image()
    name, registries_d = gpg_setup(work, registry, gpg_key, image)
    cosign_sign(registry, work.repository(), image.digest, cosign_key)
    os.chmod(work, 0o755)
    for key in (gpg_key.public, cosign_key.public):
        (work / pathlib.Path(key).name).write_bytes(pathlib.Path(key).read_bytes())
    policy = write_policy(work / "policy.json", {registry.host: [signed_by(str(work / pathlib.Path(gpg_key.public).name)),
                                                                sigstore_signed(str(work / pathlib.Path(cosign_key.public).name))]})
    # The build may lie where only root can go; the program finds its workers wherever it is moved to.
    installed = work / "installed"
    for part in ("bin", "libexec"):
        shutil.copytree(BUILD / part, installed / part)
    done = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", installed / "bin/guest-pull", "verify", name,
               *work.options(policy=policy, registry=registry, registries_d=registries_d), env={"PATH": os.environ["PATH"]})
    assert done.json["verdict"]["accepted"]


def test_opaque_mark_in_the_root_hides_all_lower_layers(work, registry):
    image = Image([Layer([File("old", "x"), Dir("d"), File("d/f", "x")]), Layer([Opaque(""), File("new", "y")])])
    name = image.push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    work.pull(name, policy=policy, registry=registry)
    assert sorted(path.name for path in work.rootfs.iterdir()) == ["new"]
