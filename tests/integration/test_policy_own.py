"""Our own requirements through the real program, and the weaknesses of today's implementation (numbers of facts/coco.md, section 5) that a policy is
about: each has a test that names it."""

import base64
import json
import os

import pytest
from lib import *

OTHER_DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def image(work, registry):
    """(image, name with tag)"""
    made = Image([Layer([File("hello", work.repository())])])
    return made, made.push(registry, work.repository(), "1")


def sign_gpg(work, digest, name, *signers):
    """Adds a signature of each signer; returns the registries.d that finds them."""
    repository = name.split("/", 1)[1].rsplit(":", 1)[0]
    for signer in signers:
        write_lookaside(work / "sigs", repository, digest, signer.sign(simple_payload(digest, name)))
    return write_registries_d(work / "registries.d", work / "sigs")


def requirements(done):
    return done.json["verdict"]["requirements"]


# ---- guest-pull/digests

def digests(*listed, **more):
    return {"type": "guest-pull/digests", "digests": list(listed), **more}


def test_pinned_digest(work, registry, image):
    made, name = image
    policy = write_policy(work / "policy.json", {registry.host: digests(OTHER_DIGEST, made.digest)})
    done = work.pull(name, policy=policy, registry=registry)
    assert done.json["manifestDigest"] == made.digest and requirements(done)[0]["by"] == made.digest
    write_policy(policy, {registry.host: digests(OTHER_DIGEST)})
    refused = work.pull(name, policy=policy, registry=registry, check=POLICY, bundle=work.new_bundle("second"))
    assert "digest-not-listed: " + made.digest in refused.message and "guest-pull/digests" in refused.message


def test_pinned_digest_and_index(work, registry):
    made = Image([Layer([File("hello", work.repository())])])
    index = Index([made, Image([Layer([File("hello", "arm")])], architecture="arm64")])
    name = index.push(registry, work.repository(), "1")
    for listed, covers, status in ((index.digest, "any", OK), (index.digest, "index", OK), (index.digest, "instance", POLICY),
                                   (made.digest, "any", OK), (made.digest, "index", POLICY), (made.digest, "instance", OK),
                                   (index.images[1].digest, "any", POLICY)):
        policy = write_policy(work / "policy.json", {registry.host: digests(listed, covers=covers)})
        done = work.verify(name, "--platform", "linux/amd64", policy=policy, registry=registry, check=status)
        assert status == OK or "digest-not-listed" in done.message


# ---- guest-pull/covers

@pytest.mark.parametrize("signed, covers, reason", [
    ("index", "any", None), ("index", "index", None), ("index", "instance", "covers-mismatch: it signs the index"),
    ("instance", "any", None), ("instance", "instance", None), ("instance", "index", "covers-mismatch: it signs the manifest"),
    ("sibling", "any", "no-signature"),
])
def test_covers(work, registry, gpg_key, signed, covers, reason):
    made = Image([Layer([File("hello", work.repository())])])
    index = Index([made, Image([Layer([File("hello", "arm")])], architecture="arm64")])
    name = index.push(registry, work.repository(), "1")
    digest = {"index": index.digest, "instance": made.digest, "sibling": index.images[1].digest}[signed]
    registries_d = sign_gpg(work, digest, name, gpg_key)
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key, **{"guest-pull/covers": covers})})
    done = work.verify(name, "--platform", "linux/amd64", policy=policy, registry=registry, registries_d=registries_d,
                       check=SIGNATURE if reason else OK)
    assert not reason or reason in done.message


def test_covers_index_of_an_image_without_one(work, registry, gpg_key, image):
    made, name = image
    registries_d = sign_gpg(work, made.digest, name, gpg_key)
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key, **{"guest-pull/covers": "index"})})
    refused = work.verify(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "this image has none" in refused.message


# ---- guest-pull/threshold

def threshold(count, *of):
    return {"type": "guest-pull/threshold", "threshold": count, "of": list(of)}


def test_two_of_three_signers(work, registry, gpg_key, other_gpg_key, cosign_key, image):
    made, name = image
    policy = write_policy(work / "policy.json", {registry.host: threshold(
        2, signed_by(gpg_key), signed_by(other_gpg_key), sigstore_signed(cosign_key, "matchRepository"))})
    registries_d = sign_gpg(work, made.digest, name, gpg_key)
    alone = work.verify(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "threshold: 1 of 3 signers, wanted are 2" in alone.message
    parts = alone.json["verdict"]["requirements"][0]["of"]
    assert [part["accepted"] for part in parts] == [True, False, False]
    cosign_sign(registry, work.repository(), made.digest, cosign_key)
    both = requirements(work.verify(name, policy=policy, registry=registry, registries_d=registries_d))[0]
    assert [part["accepted"] for part in both["of"]] == [True, False, True]
    assert gpg_key.fingerprint in both["by"] and "key sha256:" in both["by"]


def test_one_signer_does_not_count_twice(work, registry, gpg_key, other_gpg_key, image):
    """The same key under two names, and two signatures by it."""
    made, name = image
    registries_d = sign_gpg(work, made.digest, name, gpg_key, gpg_key)
    (work / "copy.gpg").write_bytes(open(gpg_key.public, "rb").read())
    policy = write_policy(work / "policy.json", {registry.host: threshold(2, signed_by(gpg_key), signed_by(str(work / "copy.gpg")))})
    refused = work.verify(name, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "threshold: 1 of 2 signers, wanted are 2" in refused.message
    sign_gpg(work, made.digest, name, other_gpg_key)
    keyring = {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": [gpg_key.public, other_gpg_key.public]}
    write_policy(policy, {registry.host: threshold(2, keyring, signed_by(gpg_key))})
    work.verify(name, policy=policy, registry=registry, registries_d=registries_d)


# ---- guest-pull/encrypted

def test_layers_in_the_clear(work, registry, image):
    _, name = image
    policy = write_policy(work / "policy.json", {registry.host: [ACCEPT_ANYTHING, {"type": "guest-pull/encrypted"}]})
    refused = work.verify(name, policy=policy, registry=registry, check=POLICY)
    assert "not-encrypted: 1 of 1 layers are in the clear" in refused.message


def test_one_layer_of_two_in_the_clear(work, registry):
    encrypted = Layer([File("a", "1")], media_type="application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                      annotations={"org.opencontainers.image.enc.keys.provider.x": "e30=", "org.opencontainers.image.enc.pubopts": "e30="})
    name = Image([encrypted, Layer([File("b", "2")])]).push(registry, work.repository(), "1")
    policy = write_policy(work / "policy.json", {registry.host: [ACCEPT_ANYTHING, {"type": "guest-pull/encrypted"}]})
    assert "not-encrypted: 1 of 2" in work.verify(name, policy=policy, registry=registry, check=POLICY).message
    name = Image([encrypted]).push(registry, work.repository(), "2")
    assert requirements(work.verify(name, policy=policy, registry=registry))[1]["accepted"]


# ---- the reasoning for a person

def test_verify_prints_the_whole_reasoning(work, registry, gpg_key, other_gpg_key, image):
    made, name = image
    registries_d = sign_gpg(work, made.digest, name, other_gpg_key, gpg_key)
    policy = write_policy(work / "policy.json", {registry.host: [signed_by(gpg_key), signed_by(other_gpg_key, "matchRepository")]})
    options = ["--policy", policy, "--registries-d", registries_d, "--plain-http", registry.host]
    shown = guest_pull("verify", name, *options).stdout
    for part in (f"scope docker: {registry.host}", "accepted", f'$.transports.docker["{registry.host}"][0]', "signature-1: unknown-key",
                 f"signature-2: accepted, by GPG key {gpg_key.fingerprint}"):
        assert part in shown, shown
    write_policy(policy, {registry.host: signed_by("/dev/null")})
    guest_pull("verify", name, *options, check=KEY)
    write_policy(policy, {registry.host: signed_by(gpg_key, {"type": "exactRepository", "dockerRepository": "quay.io/x"})})
    shown = guest_pull("verify", name, *options, check=SIGNATURE).stdout
    assert "refused" in shown and "signature-2: identity-mismatch" in shown and f"by GPG key {gpg_key.fingerprint}" in shown


def test_oci_layout_scope_with_its_name(work):
    layout = Image([Layer([File("hello", "hi")])]).write_layout(work / "layout", "one")
    policy = write_policy(work / "policy.json", oci={f"{work / 'layout'}:one": [ACCEPT_ANYTHING], f"{work / 'layout'}": [REJECT]})
    assert work.verify(layout, policy=policy).json["verdict"]["scope"] == f"oci: {work / 'layout'}:one"
    Image([Layer([File("hello", "ho")])]).write_layout(work / "layout", "two")
    work.verify(f"oci:{work / 'layout'}:two", policy=policy, check=POLICY)
    explained = guest_pull("policy", "explain", layout, "--policy", policy, "--json").json
    assert explained["scopes"][:3] == [f"{work / 'layout'}:one", f"{work / 'layout'}", str(work)]


def test_tag_and_digest(work, registry, gpg_key, image):
    """The digest decides which bytes run and which scope applies; a signature must state both."""
    made, name = image
    both = f"{name}@{made.digest}"
    registries_d = sign_gpg(work, made.digest, name, gpg_key)
    repository = name.rsplit(":", 1)[0]
    policy = write_policy(work / "policy.json", {name: ACCEPT_ANYTHING, repository: signed_by(gpg_key)})
    refused = work.verify(both, policy=policy, registry=registry, registries_d=registries_d, check=SIGNATURE)
    assert "identity-mismatch" in refused.message and f"scope docker: {repository}" in refused.message
    write_policy(policy, {repository: signed_by(gpg_key, "matchRepository")})
    work.verify(both, policy=policy, registry=registry, registries_d=registries_d)


# ---- weaknesses of today's implementation

def test_weakness_1_a_cached_image_is_verified_again(work, registry, gpg_key, image):
    """Admitted once under a lax scope, asked for under a strict one: the same bytes, all cached."""
    made, name = image
    strict = made.push(registry, work.repository() + "/strict", "1")
    policy = write_policy(work / "policy.json", {registry.host: ACCEPT_ANYTHING, strict: signed_by(gpg_key)})
    registries_d = write_registries_d(work / "registries.d", work / "sigs")
    work.pull(name, policy=policy, registry=registry, registries_d=registries_d)
    second = work.new_bundle("second")
    refused = work.pull(strict, policy=policy, registry=registry, registries_d=registries_d, bundle=second, check=SIGNATURE)
    assert "no-signature" in refused.message and not mounts_below(second)


def test_weakness_2_no_policy_and_empty_lists_accept_nothing(work, registry, image):
    _, name = image
    assert "there is no policy" in work.verify(name, registry=registry, check=POLICY).message
    for document in ({"default": []}, {"default": [REJECT], "transports": {"docker": {registry.host: []}}}):
        (work / "empty.json").write_text(json.dumps(document))
        refused = work.verify(name, policy=work / "empty.json", registry=registry, check=INVALID)
        assert "at least one requirement" in refused.message


def test_weakness_4_scopes_are_whole_components(work, registry, image):
    made, _ = image
    other = made.push(registry, f"{work.repository()}/{registry.host.split(':')[0]}/x", "1")
    policy = write_policy(work / "policy.json", {f"{registry.host}/test": REJECT, registry.host.split(":")[0]: ACCEPT_ANYTHING})
    assert "docker: " + registry.host + "/test" in work.verify(other, policy=policy, registry=registry, check=POLICY).message
    half = write_policy(work / "half.json", {f"{registry.host}/{work.repository()[:-1]}": ACCEPT_ANYTHING})
    assert "scope default" in work.verify(other, policy=half, registry=registry, check=POLICY).message


def test_weakness_5_unknown_fields_are_refused(work, registry, cosign_key, image):
    made, name = image
    cosign_sign(registry, work.repository(), made.digest, cosign_key)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key, rekorPublicKeyPaht="/r.pub")})
    refused = work.verify(name, policy=policy, registry=registry, check=INVALID)
    assert 'rekorPublicKeyPaht: unknown key (did you mean "rekorPublicKeyPath"?)' in refused.message


def test_weakness_6_the_type_counts_and_strangers_do_no_harm(work, registry, cosign_key, other_cosign_key, image):
    made, name = image
    repository = work.repository()
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key)})
    cosign_sign(registry, repository, made.digest, cosign_key, payload=simple_payload(made.digest, f"{registry.host}/{repository}"))
    refused = work.verify(name, policy=policy, registry=registry, check=SIGNATURE)
    assert "payload: " in refused.message and "type" in refused.message
    cosign_sign(registry, repository, made.digest, other_cosign_key)
    cosign_sign(registry, repository, made.digest, cosign_key)
    signatures = requirements(work.verify(name, policy=policy, registry=registry))[0]["signatures"]
    assert [signature["accepted"] for signature in signatures] == [False, False, True]


def test_weakness_7_a_policy_without_transports_and_an_inline_key(work, registry, cosign_key, image):
    """Over plain HTTP as well."""
    made, name = image
    cosign_sign(registry, work.repository(), made.digest, cosign_key)
    requirement = {"type": "sigstoreSigned", "keyData": base64.b64encode(open(cosign_key.public, "rb").read()).decode()}
    (work / "policy.json").write_text(json.dumps({"default": [requirement]}))
    assert work.verify(name, policy=work / "policy.json", registry=registry).json["verdict"]["scope"] == "default"


# ---- the reference implementation's own fixtures

VECTORS = os.environ.get("GUEST_PULL_VECTORS")
FIXTURES = os.path.join(VECTORS or "/nonexistent", "containers-image")
GPG_NAME, COSIGN_NAME = "testing/manifest:latest", "192.168.64.2:5000/cosign-signed-single-sample"
needs_vectors = pytest.mark.skipif(not VECTORS, reason="GUEST_PULL_VECTORS is not set: public vectors are not checked")


@needs_vectors
@pytest.mark.parametrize("folder, key, name, identity, reason", [
    ("dir-img-valid", "public-key.gpg", GPG_NAME, None, None),
    ("dir-img-valid", "public-key.gpg", "testing/manifest:other", None, "identity-mismatch"),
    ("dir-img-valid", "public-key.gpg", "testing/manifest:other", "matchRepository", None),
    ("dir-img-valid", "public-key.gpg", "testing/elsewhere:latest", "matchRepository", "identity-mismatch"),
    ("dir-img-valid", "public-key-1.gpg", GPG_NAME, None, None),
    ("dir-img-valid", "cosign.pub", GPG_NAME, None, "no-signature: no cosign signature"),
    ("dir-img-mixed", "public-key.gpg", GPG_NAME, None, None),
    ("dir-img-unsigned", "public-key.gpg", GPG_NAME, None, "no-signature: no simple-signing signature"),
    ("dir-img-unsigned", "cosign.pub", COSIGN_NAME, None, "no-signature: no cosign signature"),
    ("dir-img-modified-manifest", "public-key.gpg", GPG_NAME, None, "digest-mismatch"),
    ("dir-img-cosign-valid", "cosign.pub", COSIGN_NAME, "matchRepository", None),
    ("dir-img-cosign-valid", "cosign.pub", COSIGN_NAME, None, None),
    ("dir-img-cosign-valid", "cosign2.pub", COSIGN_NAME, "matchRepository", "bad-signature"),
    ("dir-img-cosign-valid", "cosign.pub", "192.168.64.2:5000/other", "matchRepository", "identity-mismatch"),
    ("dir-img-cosign-valid", "public-key.gpg", COSIGN_NAME, None, "no-signature: no simple-signing signature"),
    ("dir-img-cosign-modified-manifest", "cosign.pub", COSIGN_NAME, "matchRepository", "digest-mismatch"),
])
def test_reference_fixtures(work, folder, key, name, identity, reason):
    make = sigstore_signed if key.endswith(".pub") else signed_by
    policy = write_policy(work / "policy.json", default=make(os.path.join(FIXTURES, key), identity))
    done = work.verify(f"dir:{os.path.join(FIXTURES, folder)}", "--as", name, policy=policy, check=SIGNATURE if reason else OK)
    assert not reason or reason in done.message


@needs_vectors
def test_reference_policy(work):
    """Every construct of the format in one file: taken, and explained scope by scope."""
    policy = os.path.join(FIXTURES, "policy.json")
    assert guest_pull("policy", "check", policy, "--json").json["valid"]
    with open(policy) as text:
        document = json.load(text)
    checked = 0
    for scope, wanted in document["transports"]["docker"].items():
        if scope.startswith("*"):
            continue
        if scope.startswith("bogus/"):
            continue
        name = scope if "/" in scope else scope + "/image"
        explained = guest_pull("policy", "explain", name, "--policy", policy, "--json")
        assert explained.json["scope"] == f"docker: {scope}"
        assert [rule["type"] for rule in explained.json["requirements"]] == [rule["type"] for rule in wanted]
        checked += 1
    assert checked >= 9
