"""The known holes of this field, one test each, named after it: what broke other verifiers and pullers is tried on the real program.
Most have more than one test elsewhere (tests/lib/minisigstore, tests/unit); this is the list by name."""

import json
import time

import pytest

from lib import *
import minisigstore as mini
from minisigstore import NOW, b64
from minisigstore.authority import Fulcio, TimestampAuthority
from minisigstore.keys import Key
from oci_registry import OciRegistry, attach_bundle as attach
from test_sigstore import cosign_tag_signature, fulcio_rule, keyed, keyless, legacy, statement, verify, with_mail

DSSE = {"entries": ["dsse"]}
V2 = {"entries": ["v2"], "stamps": 1}


@pytest.fixture(scope="module")
def instance():
    return mini.Sigstore()


@pytest.fixture
def modern():
    with OciRegistry() as server:
        yield server


@pytest.fixture
def image():
    return Image([Layer([File("hello", "hi")])], config={"Cmd": ["/hello"]})


def replaced(old, new):
    """A twist of a JSON document: a text in it."""
    return lambda document: json.loads(json.dumps(document).replace(old(document), new))


# ---- Sigstore

@pytest.fixture
def refused(work, modern, image, instance):
    """refused(reason, bundle, requirement=keyless, trust=the instance): such a bundle is attached, and refused for that reason."""
    def check(reason, bundle, requirement=None, **more):
        name = image.push(modern, work.repository(), "latest")
        attach(modern, work.repository(), image.digest, bundle)
        assert f"{reason}: " in verify(work, modern, name, requirement or keyless(work, instance, **more), SIGNATURE).message
    return check


def test_cve_2022_23649(work, registry, instance, image):
    """cosign: a log entry of another signature counted as this one's."""
    name = image.push(registry, work.repository(), "latest")
    payload = cosign_payload(image.digest, f"{registry.host}/{work.repository()}")
    annotations = legacy(instance, payload, twists=with_mail())
    annotations["dev.sigstore.cosign/bundle"] = legacy(instance, payload, twists=with_mail())["dev.sigstore.cosign/bundle"]
    cosign_tag_signature(registry, work.repository(), image, payload, annotations)
    assert "log-entry-not-bound: " in verify(work, registry, name, fulcio_rule(work, instance), SIGNATURE).message


def test_cve_2022_36056(instance, image, refused):
    """cosign: of the entry only the signature was compared, not the key."""
    other = b64(Key().pem)
    refused("log-entry-not-bound", instance.bundle(statement(image), **DSSE, twists={
        "body": replaced(lambda body: body["spec"]["signatures"][0]["verifier"], other)}))


def test_cve_2026_22703(instance, image, refused):
    """cosign: an entry of any other artifact in the log passed."""
    other = instance.bundle(mini.statement_for("00" * 32), **DSSE)["verificationMaterial"]["tlogEntries"]

    def lend(bundle):
        bundle["verificationMaterial"]["tlogEntries"] = other
        return bundle
    refused("log-entry-not-bound", instance.bundle(statement(image), **DSSE, twists={"bundle": lend}))


@pytest.mark.parametrize("predicate", ["https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"])
def test_cve_2022_35929_cve_2022_35930_cve_2026_39395(instance, image, refused, predicate):
    """cosign, policy-controller: an attestation of any type passed for the one that was asked for."""
    refused("predicate-type", instance.bundle(statement(image, predicateType=predicate), **DSSE))


def test_cve_2023_46737(work, registry, image, cosign_key):
    """cosign: a registry fed it attachments without end."""
    name = image.push(registry, work.repository(), "latest")
    payload = registry.put_blob(work.repository(), b"x")
    layer = {"mediaType": COSIGN_LAYER, "digest": payload, "size": 1, "annotations": {COSIGN_SIGNATURE: "eA=="}}
    manifest = to_json({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer] * 400,
                        "config": {"mediaType": CONFIG, "digest": payload, "size": 1}})
    registry.put_manifest(work.repository(), cosign_tag(image.digest), manifest, MANIFEST)
    assert "more than 128 signatures" in verify(work, registry, name, sigstore_signed(cosign_key), LIMIT).message


def test_cve_2024_29902(work, modern, image, instance):
    """cosign: one attachment of any size was read into memory."""
    name = image.push(modern, work.repository(), "latest")
    attach(modern, work.repository(), image.digest, b" " * (9 << 20))
    assert "bundle-unreadable: " in verify(work, modern, name, keyed(work, instance), SIGNATURE).message


def test_cve_2024_29903(work, modern, image, instance):
    """cosign: any number of attachments was."""
    name = image.push(modern, work.repository(), "latest")
    for number in range(65):
        attach(modern, work.repository(), image.digest, b"{}" + b" " * number)
    assert "more than 64 referrers" in verify(work, modern, name, keyed(work, instance), LIMIT).message


def test_cve_2024_45395(instance, image, refused):
    """sigstore-go: a small bundle with very many entries kept it busy."""
    def many(bundle):
        bundle["verificationMaterial"]["tlogEntries"] *= 33
        return bundle
    refused("limit", instance.bundle(statement(image), **DSSE, twists={"bundle": many}))


def test_cve_2024_55655(instance, image, refused):
    """sigstore-python: a time that no log has signed was believed."""
    refused("no-verified-time", instance.bundle(statement(image), **DSSE, twists={
        "entry": lambda old: {name: value for name, value in old.items() if name != "inclusionPromise"}}))


def test_cve_2026_24122(work, image, instance, refused):
    """cosign: a CA that had expired when the certificate was used."""
    expired = instance.but(fulcio=Fulcio(mini.START, intermediate_end=NOW - 3600))
    refused("certificate-expired-at-time", expired.bundle(statement(image), **DSSE), keyless(work, expired))


def test_cve_2026_39984(instance, image, refused):
    """A timestamp whose checks were made on another certificate than the one that signed it."""
    stranger = TimestampAuthority(mini.START)
    refused("timestamp-untrusted", instance.but(tsa=stranger).bundle(statement(image), **V2, twists={
        "stamp": lambda old: {**old, "embed_chain": [stranger.leaf, instance.tsa.leaf]}}))


def test_one_log_counted_twice(instance, image, refused):
    refused("log-entries-missing", instance.bundle(statement(image), entries=["dsse", "intoto"], stamps=1, twists={
        "number": lambda old, seen=[]: seen.append(0) or old + len(seen)}), logs=2)


def test_window_of_a_logs_key(work, image, instance, refused):
    root = instance.trusted_root()
    root["tlogs"][0]["publicKey"]["validFor"]["end"] = mini.rfc3339(NOW - 60)
    requirement = keyless(work, instance)
    (work / "root.json").write_bytes(mini.to_bytes(root))
    refused("log-key-not-valid-then", instance.bundle(statement(image), **DSSE), requirement)


def test_bundle_by_a_key_escapes_no_requirement(instance, image, refused):
    """A bare key has no certificate whose SCTs could be asked for: it does not satisfy who asks for an identity."""
    refused("no-certificate", instance.bundle(statement(image), keyless=False, **DSSE))


def test_tag_is_resolved_once(work, registry, image, cosign_key):
    """Between check and use (TOCTOU): from the first answer on, only its digest is asked for."""
    name = image.push(registry, work.repository(), "latest")
    cosign_sign(registry, work.repository(), image.digest, cosign_key)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key)})
    mark = registry.mark()
    work.pull(name, policy=policy, registry=registry)
    assert len([line for line in registry.since(mark) if "/manifests/latest" in line]) == 1


# ---- GnuPG

def signed_with(work, registry, image, key, accepted, *options, payload=None):
    """A signature by `key`, made with gpg's `options`, for a policy that accepts `accepted`."""
    name = image.push(registry, work.repository(), "latest")
    blob = key.sign(payload or simple_payload(image.digest, name), *options)
    write_lookaside(work / "lookaside", work.repository(), image.digest, blob)
    policy = write_policy(work / "policy.json", {registry.host: signed_by(accepted)})
    return work.verify(name, policy=policy, registry=registry, registries_d=write_registries_d(work / "registries.d", work / "lookaside"),
                       check=None)


def status_lines(key) -> str:
    return (f"\n[GNUPG:] GOODSIG {key.fingerprint[-16:]} me\n[GNUPG:] VALIDSIG {key.fingerprint} 2026-01-01 1767225600 0 4 0 1 10 00 "
            f"{key.fingerprint}\n[GNUPG:] TRUST_ULTIMATE\n")


def test_cve_2018_12020(work, registry, image, gpg_key, other_gpg_key):
    """GnuPG: a file name inside the message wrote status lines."""
    done = signed_with(work, registry, image, other_gpg_key, gpg_key, "--set-filename", "x" + status_lines(gpg_key))
    assert done.status == SIGNATURE and "unknown-key: " in done.message
    # The same file name in a good signature harms nobody, whatever it says.
    assert signed_with(work, registry, Image([Layer([File("other", "x")])]), gpg_key, gpg_key, "--set-filename", "x\n[GNUPG:] BADSIG").status == OK


def test_cve_2022_34903(work, registry, image, gpg_key, other_gpg_key):
    """GnuPG: a notation inside the signature wrote status lines."""
    text = status_lines(gpg_key)
    marker = "y" * len(text)
    name = image.push(registry, work.repository(), "latest")
    for key, reason in ((other_gpg_key, "unknown-key: "), (gpg_key, "bad-signature: ")):
        # gpg itself writes no control characters there; whoever attacks does.
        blob = key.sign(simple_payload(image.digest, name), "--compress-level", "0", "--sig-notation",
                        "a@example.invalid=" + "x" * 6000 + marker)
        assert marker.encode() in blob
        write_lookaside(work / key.fingerprint, work.repository(), image.digest, blob.replace(marker.encode(), text.encode()))
        done = work.verify(name, policy=write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)}), registry=registry,
                           registries_d=write_registries_d(work / ("d" + key.fingerprint), work / key.fingerprint), check=SIGNATURE)
        assert reason in done.message


def test_cve_2022_3219(work, registry, image, gpg_key):
    """GnuPG: a small key with thousands of signatures keeps it busy; here its time ends, and nothing of it stays."""
    public = open(gpg_key.public, "rb").read()
    # The self-signature is the last packet: an old-format packet with a length of two bytes (RFC 4880 §4.2.1).
    at = public.rindex(b"\x89\x01")
    (work / "many.gpg").write_bytes(public + public[at:] * 2000)
    began = time.monotonic()
    done = signed_with(work, registry, image, gpg_key, str(work / "many.gpg"))
    assert time.monotonic() - began < 60
    assert done.status == OK or "gpg-timeout: " in done.message or "no-usable-key: " in done.message
    (work / "huge.gpg").write_bytes(public + public[at:] * 5000)
    assert "more than 1048576 bytes" in signed_with(work, registry, image, gpg_key, str(work / "huge.gpg")).message


def test_cve_2025_68973(work, registry, image, gpg_key):
    """GnuPG: its reader of armour wrote past a buffer; armour never reaches it."""
    done = signed_with(work, registry, image, gpg_key, gpg_key, "--armor")
    assert done.status != OK
    (work / "lookaside").rename(work / "before")
    name = image.push(registry, work.repository(), "latest")
    blob = b"-----BEGIN PGP MESSAGE-----\nHash: " + b"A" * 100000 + b"\n\n" + b"A" * 100000
    write_lookaside(work / "lookaside", work.repository(), image.digest, blob)
    policy = write_policy(work / "policy.json", {registry.host: signed_by(gpg_key)})
    registries_d = write_registries_d(work / "registries.d", work / "lookaside")
    assert work.verify(name, policy=policy, registry=registry, registries_d=registries_d, check=None).status in (SIGNATURE, INVALID)


# ---- registries

ANYTHING = {"type": "insecureAcceptAnything"}


def pull(work, registry, name, status):
    return work.pull(name, policy=write_policy(work / "policy.json", {registry.host: ANYTHING}), registry=registry, check=status)


@pytest.mark.parametrize("digest", ["../../../etc/passwd", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 64 + "/x"])
def test_cve_2024_3727(work, fake_registry, digest):
    """containers/image: a digest that is none went into URLs and paths."""
    index = to_json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": MANIFEST, "digest": digest, "size": 10, "platform": {"os": "linux", "architecture": "amd64"}}]})
    fake_registry.answers["/v2/app/manifests/1"] = (200, {"Content-Type": "application/vnd.oci.image.index.v1+json"}, index)
    assert "digest" in pull(work, fake_registry, f"{fake_registry.host}/app:1", INVALID).message
    assert not [path for path in fake_registry.paths() if "passwd" in path]


def test_cve_2020_1702(work, fake_registry):
    """containers/image: a manifest of any size was read into memory."""
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", MANIFEST)
        handler.end_headers()
        for _ in range(4096):
            handler.wfile.write(b" " * 65536)
    fake_registry.answers["/v2/app/manifests/1"] = endless
    assert "more than" in pull(work, fake_registry, f"{fake_registry.host}/app:1", LIMIT).message


def test_cve_2020_15157(work, fake_registry, image):
    """containerd: credentials were sent to wherever a layer's "urls" pointed; here nobody asks there."""
    with FakeRegistry() as thief:
        document = json.loads(image.manifest)
        document["layers"][0] |= {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "urls": [f"http://{thief.host}/layer"]}
        fake_registry.answers["/v2/app/manifests/1"] = (200, {"Content-Type": MANIFEST}, to_json(document))
        assert "outside the registry" in pull(work, fake_registry, f"{fake_registry.host}/app:1", UNSUPPORTED).message
        assert thief.seen == []


def test_cve_2019_10214(work, fake_registry_tls, session_folder):
    """containers/image: the token server was asked without a look at its certificate."""
    with FakeRegistry(work / "token", tls=True) as token:
        realm = f'Bearer realm="https://{token.host}/token",service="x"'
        fake_registry_tls.answers["/v2/app/manifests/1"] = (401, {"WWW-Authenticate": realm}, b"{}")
        (work / "auth.json").write_text(json.dumps({"auths": {fake_registry_tls.host: {"auth": b64(b"anna:secret")}}}))
        done = work.pull(f"{fake_registry_tls.host}/app:1", policy=write_policy(work / "policy.json", {fake_registry_tls.host: ANYTHING}),
                         registry=fake_registry_tls, authfile=work / "auth.json", check=None)
        assert done.status in (NETWORK, AUTH) and token.seen == []


def test_cve_2021_41190(work, fake_registry, image):
    """One document, read as a manifest by one and as an index by the other."""
    document = json.loads(image.manifest) | {"manifests": []}
    fake_registry.answers["/v2/app/manifests/1"] = (200, {"Content-Type": MANIFEST}, to_json(document))
    assert "CVE-2021-41190" in pull(work, fake_registry, f"{fake_registry.host}/app:1", INVALID).message
