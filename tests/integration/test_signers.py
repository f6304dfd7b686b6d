"""Signers that nobody here wrote: Debian's skopeo with GPG, skopeo 1.22 and cosign from newer suites. What they sign is pulled; the same signatures
with another key, for another repository, over changed bytes or removed are refused."""

import json
import os
import subprocess

import pytest
from lib import *


def image_for(work):
    """An image that no other test has: blobs are shared by all repositories of a registry, and one test damages them."""
    image = Image([Layer([File("hello", work.repository())]), Layer([File("more", "x" * 1000)])], config={"Cmd": ["/hello"]})
    return image, image.write_layout(work / "layout")


# ---- skopeo --sign-by (GPG, lookaside)

@pytest.fixture
def skopeo_signed(work, registry, gpg_key):
    image, layout = image_for(work)
    registries_d = write_registries_d(work / "registries.d", work / "sigs")
    name = skopeo_push_signed(layout, registry, work.repository(), "latest", gpg_key, registries_d)
    return image, name, registries_d


def test_skopeo_gpg_right_key(work, registry, gpg_key, skopeo_signed):
    image, name, registries_d = skopeo_signed
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    assert work.pull(name, policy=policy, registry=registry, registries_d=registries_d).json["manifestDigest"] == image.digest


def test_skopeo_gpg_another_key(work, registry, other_gpg_key, skopeo_signed):
    _, name, registries_d = skopeo_signed
    policy = write_policy(work / "policy.json", {registry.host: signed_by(other_gpg_key)})
    refused = work.pull(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "unknown-key" in refused.message


def test_skopeo_gpg_signature_of_another_repository(work, registry, gpg_key, skopeo_signed):
    """The same bytes under another name, with the signature that was made for the first."""
    image, _, registries_d = skopeo_signed
    other = work.repository() + "-other"
    name = image.push(registry, other, "latest")
    signatures = work / "sigs" / f"{work.repository()}@{image.digest.replace(':', '=')}"
    (work / "sigs" / f"{other}@{image.digest.replace(':', '=')}").symlink_to(signatures)
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    refused = work.pull(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "identity-mismatch" in refused.message


def test_skopeo_gpg_flipped_byte_in_the_manifest(work, registry, gpg_key, skopeo_signed):
    """The registry has one byte changed. Under the tag that is another manifest, which nobody signed; under the digest it is not what was
    named, if the registry serves it at all."""
    image, name, registries_d = skopeo_signed
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    changed = image.manifest[:-1] + b" }"
    registry.put_manifest(work.repository(), "latest", changed, image.media_type)
    refused = work.pull(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "no-signature" in refused.message
    with FakeRegistry() as fake:
        fake.add(image, work.repository())
        path = f"/v2/{work.repository()}/manifests/{image.digest}"
        fake.answers[path] = (200, {"Content-Type": image.media_type}, changed)
        scope = write_policy(work / "fake.json", {fake.host: signed_by(gpg_key)})
        by_digest = work.pull(f"{fake.host}/{work.repository()}@{image.digest}", policy=scope, registry=fake, registries_d=registries_d,
                              check=DIGEST)
        assert f"expected {image.digest}" in by_digest.message


def test_skopeo_gpg_removed_signature(work, registry, gpg_key, skopeo_signed):
    image, name, registries_d = skopeo_signed
    os.unlink(work / "sigs" / f"{work.repository()}@{image.digest.replace(':', '=')}" / "signature-1")
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    refused = work.pull(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "no-signature" in refused.message


# ---- skopeo --sign-by-sigstore-private-key (1.22) and cosign sign (2.5): the .sig tag

def sign_with_skopeo(work, peers, registry, layout, private):
    if not peers.skopeo:
        pytest.skip("no newer skopeo to be had")
    registries_d = write_registries_d(work / "attach.d", None, **{"use-sigstore-attachments": True})
    (work / "passphrase").write_text("secret")
    name = f"{registry.host}/{work.repository()}:latest"
    run(peers.skopeo, "--insecure-policy", "--registries.d", registries_d, "copy", "--quiet", "--dest-tls-verify=false",
        "--sign-by-sigstore-private-key", private, "--sign-passphrase-file", work / "passphrase", layout, "docker://" + name)
    return name


def cosign_environment(work):
    return {**os.environ, "COSIGN_PASSWORD": "secret", "HOME": str(work), "TUF_ROOT": str(work / "tuf")}


def cosign_generate(work, cosign, prefix):
    run(cosign, "generate-key-pair", "--output-key-prefix", prefix, env=cosign_environment(work), cwd=work)
    return str(work / f"{prefix}.key"), str(work / f"{prefix}.pub")


def sign_with_cosign(work, cosign, registry, image, private, *more):
    name = image.push(registry, work.repository(), "latest")
    run(cosign, "sign", "--key", private, "--tlog-upload=false", "--allow-http-registry", "-y", *more,
        f"{registry.host}/{work.repository()}@{image.digest}", env=cosign_environment(work))
    return name


@pytest.fixture(params=["skopeo 1.22", "cosign 2.5", "cosign 3.1 in legacy form"])
def stranger_signed(request, work, registry, peers):
    """(image, name, right public key, another public key)"""
    image, layout = image_for(work)
    cosign = peers.cosign3 if "3.1" in request.param else peers.cosign2
    if not cosign:
        pytest.skip(f"{request.param}: no cosign to be had")
    private, public = cosign_generate(work, cosign, "right")
    _, other = cosign_generate(work, cosign, "other")
    if request.param.startswith("skopeo"):
        name = sign_with_skopeo(work, peers, registry, layout, private)
    elif "3.1" in request.param:
        name = sign_with_cosign(work, cosign, registry, image, private, "--use-signing-config=false", "--new-bundle-format=false")
    else:
        name = sign_with_cosign(work, cosign, registry, image, private)
    return image, name, public, other


def test_stranger_right_key(work, registry, stranger_signed):
    image, name, public, _ = stranger_signed
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(public)})
    done = work.pull(name, policy=policy, registry=registry)
    assert done.json["manifestDigest"] == image.digest
    repository = write_policy(work / "repository.json", {registry.host: sigstore_signed(public, "matchRepository")})
    assert work.verify(name, policy=repository, registry=registry).json["verdict"]["accepted"]


def test_stranger_another_key(work, registry, stranger_signed):
    _, name, _, other = stranger_signed
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(other)})
    assert "bad-signature" in work.pull(name, policy=policy, registry=registry, check=SIGNATURE).message


def test_stranger_signature_of_another_repository(work, registry, stranger_signed):
    """Manifest, layers and .sig tag copied to another repository: the payload names the first one."""
    image, _, public, _ = stranger_signed
    other = work.repository() + "-other"
    name = image.push(registry, other, "latest")
    tag = cosign_tag(image.digest)
    manifest = registry.get_manifest(work.repository(), tag)
    document = json.loads(manifest)
    for descriptor in [document["config"], *document["layers"]]:
        with open(registry.blob_path(descriptor["digest"]), "rb") as blob:
            registry.put_blob(other, blob.read())
    registry.put_manifest(other, tag, manifest, document["mediaType"])
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(public)})
    assert "identity-mismatch" in work.pull(name, policy=policy, registry=registry, check=SIGNATURE).message


def test_stranger_removed_signature(work, registry, stranger_signed):
    image, _, public, _ = stranger_signed
    other = work.repository() + "-unsigned"
    name = image.push(registry, other, "latest")
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(public)})
    assert "no-signature" in work.pull(name, policy=policy, registry=registry, check=SIGNATURE).message


# ---- the other way round: what we accept, the reference accepts

def test_verdict_agrees_with_newer_skopeo(work, registry, peers, gpg_key, skopeo_signed):
    if not peers.skopeo:
        pytest.skip("no newer skopeo to be had")
    _, name, registries_d = skopeo_signed
    for key, expected in ((gpg_key, 0), (str(work / "none.gpg"), 1)):
        (work / "none.gpg").write_bytes(b"")
        policy = write_policy(work / "policy.json", {registry.host: signed_by(key)})
        theirs = subprocess.run([peers.skopeo, "--policy", policy, "--registries.d", registries_d, "copy", "--quiet",
                                 "--src-tls-verify=false", "docker://" + name, f"dir:{work / 'out'}"], capture_output=True, check=False)
        ours = work.verify(name, policy=policy, registry=registry, registries_d=registries_d, check=None)
        assert (theirs.returncode == 0) == (ours.status == 0) == (expected == 0), (theirs.stderr, ours)
