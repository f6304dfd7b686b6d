"""Sigstore signatures of images through the real program: found by tag and among the referrers, by keys, identities and private CAs."""

import base64
import json
import os
import time

import pytest

from lib import *
import minisigstore as mini
from minisigstore import IDENTITY, ISSUER, NOW, b64, to_pem
from minisigstore.authority import Fulcio
from minisigstore.keys import Key
from oci_registry import EMPTY, OciRegistry, attach_bundle as attach

BUNDLE = mini.MEDIA_TYPE
DSSE = {"entries": ["dsse"]}
V2 = {"entries": ["v2"], "stamps": 1}


@pytest.fixture(scope="module")
def instance():
    return mini.Sigstore()


@pytest.fixture
def modern():
    """A registry with the referrers API."""
    with OciRegistry() as server:
        yield server


@pytest.fixture
def image():
    return Image([Layer([File("hello", "hi")])], config={"Cmd": ["/hello"]})


def statement(image, **changes) -> dict:
    return mini.statement_for(image.digest.split(":")[1], **changes)


def keyed(work, instance, **more) -> dict:
    (work / "signer.pub").write_bytes(instance.signer.pem)
    return sigstore_signed(str(work / "signer.pub"), **more)


def keyless(work, instance, signers=None, **more) -> dict:
    (work / "root.json").write_bytes(mini.to_bytes(instance.trusted_root()))
    return {"type": "guest-pull/keyless", "trustedRootPath": str(work / "root.json"),
            "signers": signers or [{"issuer": ISSUER, "uri": IDENTITY}], **more}


def verify(work, registry, name, requirement, status=OK):
    policy = write_policy(work / "policy.json", {registry.host: requirement})
    return work.verify(name, policy=policy, registry=registry, check=status)


def cosign_tag_signature(registry, repository, image, payload: bytes, annotations: dict):
    cosign_sign(registry, repository, image.digest, None, payload=payload, signature=b"x", annotations=annotations)


def legacy(instance, payload: bytes, *, keyless=True, twists=None, promise=True, stamp=False) -> dict:
    """The annotations of a signature in cosign's first form."""
    bundle = instance.bundle(payload, keyless=keyless, twists=twists, stamps=1 if stamp else 0)
    material = bundle["verificationMaterial"]
    annotations = {COSIGN_SIGNATURE: bundle["messageSignature"]["signature"]}
    if keyless:
        der = mini.from_b64(material["certificate"]["rawBytes"])
        pem = "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der).decode() + "-----END CERTIFICATE-----\n"
        annotations["dev.sigstore.cosign/certificate"] = pem
        annotations["dev.sigstore.cosign/chain"] = "".join(to_pem(item).decode() for item in instance.fulcio.chain)
    if promise:
        entry = material["tlogEntries"][0]
        annotations["dev.sigstore.cosign/bundle"] = json.dumps({
            "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {"body": entry["canonicalizedBody"], "integratedTime": int(entry["integratedTime"]),
                        "logIndex": int(entry["logIndex"]), "logID": mini.from_b64(entry["logId"]["keyId"]).hex()}})
    if stamp:
        item = material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"]
        annotations["dev.sigstore.cosign/rfc3161timestamp"] = json.dumps({"SignedRFC3161Timestamp": item})
    return annotations


# ---- bundles

@pytest.mark.parametrize("options", [{"entries": []}, DSSE, V2], ids=["no-log", "v1", "v2"])
def test_keyed_bundle(work, modern, instance, image, options):
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, **options))
    done = verify(work, modern, name, keyed(work, instance))
    assert done.json["verdict"]["requirements"][0]["by"] == "key sha256:" + instance.signer.id.hex()
    assert "bad-signature" in verify(work, modern, name, keyed(work, instance.but(signer=Key())), SIGNATURE).message


@pytest.mark.parametrize("options", [DSSE, V2, {"entries": ["dsse", "v2"], "stamps": 1}, {"entries": ["intoto"]}],
                         ids=["v1", "v2", "both", "intoto"])
def test_keyless_bundle(work, modern, instance, image, options):
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), **options))
    done = verify(work, modern, name, keyless(work, instance))
    assert IDENTITY in done.json["verdict"]["requirements"][0]["by"]
    other = [{"issuer": ISSUER, "uri": "https://forge.example/other"}]
    assert "identity-mismatch: " in verify(work, modern, name, keyless(work, instance, other), SIGNATURE).message
    assert "identity-mismatch: " in verify(work, modern, name, keyless(work, instance, [{"issuer": "https://x.example", "uri": IDENTITY}]),
                                           SIGNATURE).message


def test_keyless_bundle_is_pulled(work, modern, instance, image):
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), **V2))
    policy = write_policy(work / "policy.json", {modern.host: keyless(work, instance)})
    assert work.pull(name, policy=policy, registry=modern).json["manifestDigest"] == image.digest
    assert (work.rootfs / "hello").read_text() == "hi"


def test_thresholds(work, modern, instance, image):
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), **DSSE))
    for more, reason in (({"logs": 2}, "log-entries-missing"), ({"scts": 2}, "sct-missing"), ({"timestamps": 1}, "timestamps-missing")):
        assert f"{reason}: " in verify(work, modern, name, keyless(work, instance, **more), SIGNATURE).message
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), entries=["dsse", "v2"], stamps=1))
    verify(work, modern, name, keyless(work, instance, logs=2, scts=1, timestamps=1))


def test_rekor_key_of_bundle(work, modern, instance, image):
    """A bundle by a key, and a policy that wants its entry in a log."""
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, entries=[]))
    want = keyed(work, instance, rekorPublicKeyData=b64(instance.rekor1.key.pem))
    assert "log-entries-missing: " in verify(work, modern, name, want, SIGNATURE).message
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, **DSSE))
    verify(work, modern, name, want)
    want = keyed(work, instance, rekorPublicKeyData=b64(Key().pem))
    assert "log-unknown: " in verify(work, modern, name, want, SIGNATURE).message


@pytest.mark.parametrize("predicate", ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document", "https://cosign.sigstore.dev/attestation/v1",
                                       "https://sigstore.dev/cosign/sign/v2", "", "https://sigstore.dev/cosign/sign/v1/"])
def test_cve_2022_35929_attestation_is_no_signature(work, modern, instance, image, predicate):
    """CVE-2022-35929, CVE-2026-39395: what somebody says *about* an image is not that he signs it; cosign 3.1 takes it for that."""
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image, predicateType=predicate), keyless=False, entries=[]))
    message = verify(work, modern, name, keyed(work, instance), SIGNATURE).message
    assert "predicate-type: " in message or "statement: " in message


def test_bundle_of_a_blob_is_no_signature_of_an_image(work, modern, instance, image):
    """A signature over the manifest's bytes, not a statement about it."""
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(image.manifest, keyless=False, entries=[]))
    assert "statement: " in verify(work, modern, name, keyed(work, instance), SIGNATURE).message


def test_bundle_of_another_image(work, modern, instance, image):
    """Attached to this image, about another one."""
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(mini.statement_for("00" * 32), keyless=False, entries=[]))
    assert "digest-mismatch: " in verify(work, modern, name, keyed(work, instance), SIGNATURE).message


def test_referrer_of_another_image(work, registry, instance, image):
    """Listed here, but attached to another image: not looked at."""
    name = image.push(registry, work.repository(), "latest")
    attach(registry, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, entries=[]),
           subject="sha256:" + "00" * 32)
    assert "no-signature: " in verify(work, registry, name, keyed(work, instance), SIGNATURE).message


@pytest.mark.parametrize("listed", [None, EMPTY, BUNDLE, "application/vnd.example"])
def test_fallback_tag(work, registry, instance, image, listed):
    """docker-registry has no referrers API; what its list says of an entry is not believed."""
    name = image.push(registry, work.repository(), "latest")
    attach(registry, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, entries=[]), listed=listed)
    verify(work, registry, name, keyed(work, instance))


def test_pages_of_referrers(work, instance, image):
    with OciRegistry(page=2, typed=False) as server:
        name = image.push(server, work.repository(), "latest")
        for _ in range(5):
            attach(server, work.repository(), image.digest, instance.but(signer=Key()).bundle(statement(image), keyless=False, entries=[]))
        attach(server, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, entries=[]))
        verify(work, server, name, keyed(work, instance))
        assert len([line for line in server.seen if "/referrers/" in line]) == 3


def test_a_bad_bundle_beside_a_good_one(work, modern, instance, image):
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, b"{}")
    attach(modern, work.repository(), image.digest, b"\0" * (1 << 20) + b"x")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, entries=[]))
    done = verify(work, modern, name, keyed(work, instance))
    reasons = [item["reason"].split(":")[0] for item in done.json["verdict"]["requirements"][0]["signatures"]]
    assert reasons[-1] == "accepted" and set(reasons[:-1]) <= {"bundle-format", "bundle-unreadable"}


def test_bundle_of_the_index(work, modern, instance):
    images = [Image([Layer([File("hello", arch)])], architecture=arch) for arch in ("amd64", "arm64")]
    index = Index(images)
    name = index.push(modern, work.repository(), "latest")
    bundle = instance.bundle(mini.statement_for(index.digest.split(":")[1]), keyless=False, entries=[])
    attach(modern, work.repository(), index.digest, bundle)
    verify(work, modern, name, keyed(work, instance))


def test_signed_identity_of_a_bundle(work, modern, instance, image):
    """A bundle states no name: a written signedIdentity cannot be met, none is bound by the digest."""
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), keyless=False, entries=[]))
    verify(work, modern, name, keyed(work, instance))
    assert "identity-not-stated: " in verify(work, modern, name, keyed(work, instance, identity="matchRepository"), SIGNATURE).message


def test_bundle_in_a_layout(work, instance, image):
    """An OCI layout with the referrer beside the image, as "oras copy --recursive" leaves it."""
    folder = work / "layout"
    bundle = json.dumps(instance.bundle(statement(image), keyless=False, entries=[])).encode()
    referrer = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": {"mediaType": EMPTY, "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": digest_of(bundle), "size": len(bundle)}],
        "subject": {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest)}}).encode()
    (folder / "blobs/sha256").mkdir(parents=True)
    for blob in (*image.blobs().values(), image.manifest, bundle, b"{}", referrer):
        (folder / "blobs/sha256" / digest_of(blob)[7:]).write_bytes(blob)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entry = lambda data, **more: {"mediaType": MANIFEST, "digest": digest_of(data), "size": len(data), **more}  # noqa: E731
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry(image.manifest), entry(referrer, artifactType=BUNDLE)]}))
    policy = write_policy(work / "policy.json", {"example.com": keyed(work, instance)}, default=keyed(work, instance))
    done = guest_pull("verify", f"oci:{folder}", "--as", "example.com/app:1", *work.options(policy=policy))
    assert done.json["verdict"]["accepted"]


# ---- cosign's first form, by keys

@pytest.mark.parametrize("kind, digest, reason", [
    ("P-256", "sha256", ""), ("P-384", "sha384", ""), ("P-384", "sha256", ""), ("P-521", "sha512", ""), ("P-521", "sha256", ""),
    ("RSA-2048", "sha256", ""), ("RSA-4096", "sha256", ""), ("Ed25519", "sha256", ""),
    ("P-256", "sha384", "bad-signature"), ("P-384", "sha512", "bad-signature"), ("RSA-2048", "sha512", "bad-signature"),
    ("P-256", "sha1", "bad-signature")])
def test_kinds_of_keys(work, registry, image, kind, digest, reason):
    """Between signatures of strangers and attachments of another kind; base64 with line breaks."""
    name = image.push(registry, work.repository(), "latest")
    key, stranger = Key(kind), Key()
    (work / "key.pub").write_bytes(key.pem)
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    for signer, media_type in ((stranger, COSIGN_LAYER), (key, "application/vnd.example"), (key, COSIGN_LAYER), (stranger, COSIGN_LAYER)):
        text = base64.encodebytes(signer.sign(payload, digest if signer is key else None)).decode()
        cosign_sign(registry, work.repository(), image.digest, None, payload=payload, signature=b"x", annotations={COSIGN_SIGNATURE: text},
                    media_type=media_type)
    done = verify(work, registry, name, sigstore_signed(str(work / "key.pub")), SIGNATURE if reason else OK)
    assert not reason or f"{reason}: " in done.message


# ---- cosign's first form, with certificates and log entries

def fulcio_rule(work, instance, mail="me@team.example", issuer=ISSUER, log=None) -> dict:
    ca = b"".join(to_pem(item) for item in instance.fulcio.chain)
    return {"type": "sigstoreSigned", "fulcio": {"caData": b64(ca), "oidcIssuer": issuer, "subjectEmail": mail},
            "rekorPublicKeyData": b64((log or instance.rekor1.key).pem), "signedIdentity": {"type": "matchRepository"}}


def with_mail(mail="me@team.example", **options):
    return {"leaf": lambda old: {**old, "san": mini.email(mail), **options}}


def test_fulcio(work, registry, instance, image):
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    cosign_tag_signature(registry, work.repository(), image, payload, legacy(instance, payload, twists=with_mail(), stamp=True))
    verify(work, registry, name, fulcio_rule(work, instance))
    for rule, reason in ((fulcio_rule(work, instance, mail="you@team.example"), "identity-mismatch"),
                         (fulcio_rule(work, instance, issuer="https://other.example"), "identity-mismatch"),
                         (fulcio_rule(work, instance, log=Key()), "log-unknown"),
                         (fulcio_rule(work, instance.but(fulcio=Fulcio(mini.START))), "certificate-untrusted")):
        assert f"{reason}: " in verify(work, registry, name, rule, SIGNATURE).message


FULCIO_BAD = {
    "expired": (with_mail(start=NOW - 7200), {}, "certificate-expired-at-time"),
    "time of the promise (CVE-2024-55655)": ({**with_mail(), "entry": lambda old: {**old, "integratedTime": str(NOW + 1)}}, {}, "set-signature"),
    "entry of another signature (CVE-2022-36056)": ({**with_mail(), "body": lambda old: json.loads(
        json.dumps(old).replace(old["spec"]["signature"]["content"], b64(b"0")))}, {}, "log-entry-not-bound"),
    "entry of another artifact (CVE-2022-23649)": ({**with_mail(), "body": lambda old: json.loads(
        json.dumps(old).replace(old["spec"]["data"]["hash"]["value"], "00" * 32))}, {}, "log-entry-not-bound"),
    "no promise": (with_mail(), {"promise": False}, "log-entries-missing"),
    "no code signing": (with_mail(eku=()), {}, "certificate-usage"),
    "signature of another payload": ({**with_mail(), "signature": lambda old: b"0" * 70}, {}, "bad-signature"),
}


@pytest.mark.parametrize("case", FULCIO_BAD)
def test_fulcio_refused(work, registry, instance, image, case):
    twists, options, reason = FULCIO_BAD[case]
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    cosign_tag_signature(registry, work.repository(), image, payload, legacy(instance, payload, twists=twists, **options))
    assert f"{reason}: " in verify(work, registry, name, fulcio_rule(work, instance), SIGNATURE).message


@pytest.mark.parametrize("what, change", [
    ("bundle", lambda old: old.replace('"logIndex"', '"logIndex": 1, "logIndex"')), ("bundle", lambda old: old[:-1] + ', "more": 1}'),
    ("bundle", lambda old: "[]"), ("bundle", lambda old: old.replace('"integratedTime": ', '"integratedTime": -')),
    ("bundle", lambda old: old.replace('"logID": "', '"logID": "zz')), ("certificate", lambda old: old * 2),
    ("certificate", lambda old: "certificate"), ("chain", lambda old: old[:-40]),
    ("rfc3161timestamp", lambda old: "{}")])
def test_annotations_are_read_strictly(work, registry, instance, image, what, change):
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    annotations = legacy(instance, payload, twists=with_mail(), stamp=True)
    annotations["dev.sigstore.cosign/" + what] = change(annotations["dev.sigstore.cosign/" + what])
    cosign_tag_signature(registry, work.repository(), image, payload, annotations)
    message = verify(work, registry, name, fulcio_rule(work, instance), SIGNATURE).message
    assert f"signature-format: annotation dev.sigstore.cosign/{what}" in message


def test_blank_annotations(work, registry, instance, image):
    """Some producers write white space where they have nothing."""
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    annotations = legacy(instance, payload, keyless=False) | {"dev.sigstore.cosign/certificate": " \n", "dev.sigstore.cosign/chain": "\n"}
    cosign_tag_signature(registry, work.repository(), image, payload, annotations)
    verify(work, registry, name, keyed(work, instance, rekorPublicKeyData=b64(instance.rekor1.key.pem)))
    assert "log-unknown: " in verify(work, registry, name, keyed(work, instance, rekorPublicKeyData=b64(Key().pem)), SIGNATURE).message


def test_keyless_by_tag(work, registry, instance, image):
    """cosign 2's keyless signatures satisfy guest-pull/keyless too."""
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    cosign_tag_signature(registry, work.repository(), image, payload, legacy(instance, payload, stamp=True))
    verify(work, registry, name, keyless(work, instance, timestamps=1))
    other = [{"issuer": ISSUER, "email": "me@team.example"}]
    assert "identity-mismatch: " in verify(work, registry, name, keyless(work, instance, other), SIGNATURE).message


# ---- private PKI

@pytest.fixture(scope="module")
def pki():
    """A CA, and (key, certificate) of a signer."""
    fulcio = Fulcio(int(time.time()) - 86400, intermediate_eku=())
    return fulcio, Key()


def pki_annotations(pki, payload: bytes, **options) -> dict:
    fulcio, key = pki
    san = [mini.email("me@team.example"), mini.x509.DNSName("build.team.example")]
    leaf = fulcio.issue(key.public, options.pop("san", san), "", int(time.time()) - 60, eku=(), issuer_v1=False, issuer_v2=False, **options)
    return {COSIGN_SIGNATURE: b64(key.sign(payload)), "dev.sigstore.cosign/certificate": to_pem(leaf).decode(),
            "dev.sigstore.cosign/chain": to_pem(fulcio.intermediate).decode()}


def pki_rule(pki, **subject) -> dict:
    return {"type": "sigstoreSigned", "pki": {"caRootsData": b64(to_pem(pki[0].root)), **subject}, "signedIdentity": {"type": "matchRepository"}}


def test_pki(work, registry, image, pki):
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    cosign_tag_signature(registry, work.repository(), image, payload, pki_annotations(pki, payload))
    for subject in ({"subjectEmail": "me@team.example"}, {"subjectHostname": "build.team.example"},
                    {"subjectEmail": "me@team.example", "subjectHostname": "build.team.example"}):
        verify(work, registry, name, pki_rule(pki, **subject))
    for subject in ({"subjectEmail": "you@team.example"}, {"subjectHostname": "team.example"},
                    {"subjectEmail": "me@team.example", "subjectHostname": "other.example"}):
        assert "identity-mismatch: " in verify(work, registry, name, pki_rule(pki, **subject), SIGNATURE).message
    other = (Fulcio(mini.START), Key())
    assert "certificate-untrusted: " in verify(work, registry, name, pki_rule(other, subjectEmail="me@team.example"), SIGNATURE).message


@pytest.mark.parametrize("options, reason", [({"lifetime": 1}, "certificate-expired-at-time"), ({"ca": True}, "certificate-usage"),
                                             ({"signer": Key()}, "certificate-untrusted")])
def test_pki_refused(work, registry, image, pki, options, reason):
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    cosign_tag_signature(registry, work.repository(), image, payload, pki_annotations(pki, payload, **options))
    assert f"{reason}: " in verify(work, registry, name, pki_rule(pki, subjectEmail="me@team.example"), SIGNATURE).message


# ---- signatures that the public Sigstore made (containers/image's fixtures)

VECTORS = os.environ.get("GUEST_PULL_VECTORS")
MITR = {"oidcIssuer": "https://github.com/login/oauth", "subjectEmail": "mitr@redhat.com"}
PUBLIC_CASES = {
    "fulcio": ("fulcio", {"fulcio": MITR}, ""),
    "fulcio: another email": ("fulcio", {"fulcio": {**MITR, "subjectEmail": "other@redhat.com"}}, "identity-mismatch"),
    "fulcio: another issuer": ("fulcio", {"fulcio": {**MITR, "oidcIssuer": "https://github.com/login"}}, "identity-mismatch"),
    "fulcio: another log": ("fulcio", {"fulcio": MITR, "rekorPublicKeyPath": "cosign.pub"}, "log-unknown"),
    "fulcio: its signature is no key's": ("key", {"fulcio": MITR}, "no-certificate"),
    "key": ("key", {"keyPath": "cosign2.pub"}, ""),
    "key: another": ("key", {"keyPath": "cosign.pub"}, "bad-signature"),
    "key: another log": ("key", {"keyPath": "cosign2.pub", "rekorPublicKeyPath": "cosign.pub"}, "log-unknown"),
}


def verify_public(work, folder: str, requirement: dict, reason: str):
    repository = "192.168.64.2:5000/cosign-signed/" + ("key-1" if "key" in folder else "fulcio-rekor-1")
    requirement["signedIdentity"] = {"type": "exactRepository", "dockerRepository": repository}
    policy = write_policy(work / "policy.json", default=requirement)
    done = guest_pull("verify", f"dir:{VECTORS}/containers-image/{folder}", "--as", "example.com/app:1", *work.options(policy=policy),
                      check=SIGNATURE if reason else OK)
    assert not reason or f"{reason}: " in done.message


@pytest.mark.skipif(not VECTORS, reason="GUEST_PULL_VECTORS is not set: signatures of the public Sigstore are not checked")
@pytest.mark.parametrize("case", PUBLIC_CASES)
def test_public_sigstore(work, case):
    folder, members, reason = PUBLIC_CASES[case]
    requirement = {"type": "sigstoreSigned", "rekorPublicKeyPath": "rekor.pub", **members}
    if "fulcio" in requirement:
        requirement["fulcio"] = {"caPath": f"{VECTORS}/containers-image/fulcio_v1.crt.pem", **requirement["fulcio"]}
    for member in ("keyPath", "rekorPublicKeyPath"):
        if member in requirement:
            requirement[member] = f"{VECTORS}/containers-image/{requirement[member]}"
    verify_public(work, "dir-img-cosign-fulcio-rekor-valid" if folder == "fulcio" else "dir-img-cosign-key-rekor-valid", requirement, reason)


@pytest.mark.skipif(not VECTORS, reason="GUEST_PULL_VECTORS is not set: signatures of the public Sigstore are not checked")
@pytest.mark.parametrize("more, reason", [({}, ""), ({"scts": 2}, "sct-missing"), ({"timestamps": 1}, "timestamps-missing"), ({"logs": 2}, "log-entries-missing"),
                                          ({"signers": [{"issuer": MITR["oidcIssuer"], "email": "x@redhat.com"}]}, "identity-mismatch")])
def test_public_sigstore_keyless(work, more, reason):
    """The same signature by the trusted root of the public instance, with the certificate's SCT."""
    requirement = {"type": "guest-pull/keyless", "trustedRootPath": f"{VECTORS}/sigstore-conformance/production_trusted_root.json",
                   "signers": [{"issuer": MITR["oidcIssuer"], "email": MITR["subjectEmail"]}], **more}
    verify_public(work, "dir-img-cosign-fulcio-rekor-valid", requirement, reason)


# ---- what a pull asks for

def questions(registry, mark) -> list[str]:
    """The requests since `mark` without what every pull asks (ping, manifest)."""
    kinds = []
    for line in registry.since(mark):
        path = line.split()[1]
        kinds.append("referrers" if "/referrers/" in path else "tag" if path.endswith(".sig") else "fallback" if "/manifests/sha256-" in path
                     else "blob" if "/blobs/" in path else "manifest" if "/manifests/" in path else "other")
    return sorted(kinds)


def test_requests_of_a_signature_by_tag(work, registry, cosign_key, image):
    """At most one round trip after the manifest: tag and list of referrers at once, and the payload is not fetched."""
    name = image.push(registry, work.repository(), "latest")
    cosign_sign(registry, work.repository(), image.digest, cosign_key)
    mark = registry.mark()
    verify(work, registry, name, sigstore_signed(cosign_key))
    asked = questions(registry, mark)
    assert asked == ["manifest", "referrers", "tag"]


def test_one_round_trip_more(work, modern, cosign_key, image):
    """The same as time: from a registry far away, a signature by tag costs one round trip after the manifest."""
    name = image.push(modern, work.repository(), "latest")
    cosign_sign(modern, work.repository(), image.digest, cosign_key)
    modern.delay = 1.5

    def took(requirement) -> float:
        began = time.monotonic()
        verify(work, modern, name, requirement)
        return time.monotonic() - began
    assert took(sigstore_signed(cosign_key)) - took({"type": "insecureAcceptAnything"}) < 2 * modern.delay


def test_requests_follow_the_policy(work, registry, gpg_key, image):
    name = image.push(registry, work.repository(), "latest")
    mark = registry.mark()
    verify(work, registry, name, {"type": "insecureAcceptAnything"})
    assert not {"tag", "referrers", "fallback", "blob"} & set(questions(registry, mark))
    mark = registry.mark()
    verify(work, registry, name, signed_by(gpg_key), SIGNATURE)
    assert not {"tag", "referrers", "fallback", "blob"} & set(questions(registry, mark))


# ---- real signers

@pytest.fixture(params=["cosign2", "cosign3", "cosign3-legacy"])
def real_cosign(request, peers):
    """(program, further options of "sign")"""
    program = getattr(peers, request.param[:7])
    if not program:
        pytest.skip(f"no {request.param[:7]} to be had")
    legacy_options = ["--new-bundle-format=false"] if request.param.endswith("legacy") else []
    return program, ["--use-signing-config=false", *legacy_options] if "3" in request.param else []


@pytest.mark.parametrize("api", [False, True], ids=["no-referrers-api", "referrers-api"])
def test_real_cosign(work, registry, modern, image, real_cosign, api):
    """Signed by the real program, pushed to both kinds of registry, verified and pulled."""
    server = modern if api else registry
    program, options = real_cosign
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(work)}
    name = image.push(server, work.repository(), "latest")
    for key in ("right", "wrong"):
        run(program, "generate-key-pair", "--output-key-prefix", work / key, env=environment)
    run(program, "sign", "--key", work / "right.key", "--tlog-upload=false", "--allow-http-registry", "-y", *options,
        f"{server.host}/{work.repository()}@{image.digest}", env=environment)
    for key, status in (("right", OK), ("wrong", SIGNATURE)):
        policy = write_policy(work / f"{key}.json", {server.host: sigstore_signed(str(work / f"{key}.pub"))})
        done = work.pull(name, policy=policy, registry=server, check=status)
        assert status == OK or "bad-signature" in done.message


def test_real_attestation_is_no_signature(work, modern, image, peers):
    """CVE-2022-35929 with the real program: an attestation by the same key, which `cosign verify` itself accepts."""
    if not peers.cosign3:
        pytest.skip("no cosign 3 to be had")
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(work)}
    name = image.push(modern, work.repository(), "latest")
    (work / "predicate").write_text("{}")
    run(peers.cosign3, "generate-key-pair", "--output-key-prefix", work / "key", env=environment)
    run(peers.cosign3, "attest", "--key", work / "key.key", "--predicate", work / "predicate", "--type", "custom", "--tlog-upload=false",
        "--use-signing-config=false", "--allow-http-registry", "-y", f"{modern.host}/{work.repository()}@{image.digest}", env=environment)
    assert "predicate-type: " in verify(work, modern, name, sigstore_signed(str(work / "key.pub")), SIGNATURE).message


def test_cosign_accepts_our_bundle_of_an_image(work, modern, image, instance, peers):
    """The other way round: what the generator attaches, `cosign verify --trusted-root` accepts."""
    if not peers.cosign3:
        pytest.skip("no cosign 3 to be had")
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, instance.bundle(statement(image), **DSSE))
    verify(work, modern, name, keyless(work, instance))
    run(peers.cosign3, "verify", "--new-bundle-format", "--trusted-root", work / "root.json", "--certificate-identity", IDENTITY,
        "--certificate-oidc-issuer", ISSUER, "--allow-http-registry", f"{modern.host}/{work.repository()}@{image.digest}",
        env={**os.environ, "HOME": str(work)})


def test_layout_of_cosign_save(work, registry, image, peers):
    if not peers.cosign2:
        pytest.skip("no cosign 2 to be had")
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(work)}
    name = image.push(registry, work.repository(), "latest")
    run(peers.cosign2, "generate-key-pair", "--output-key-prefix", work / "key", env=environment)
    run(peers.cosign2, "sign", "--key", work / "key.key", "--tlog-upload=false", "--allow-http-registry", "-y",
        f"{registry.host}/{work.repository()}@{image.digest}", env=environment)
    run(peers.cosign2, "save", "--allow-http-registry", "--dir", work / "saved", name, env=environment)
    policy = write_policy(work / "policy.json", default=sigstore_signed(str(work / "key.pub")))
    assert guest_pull("verify", f"oci:{work / 'saved'}", "--as", name, *work.options(policy=policy)).json["verdict"]["accepted"]


