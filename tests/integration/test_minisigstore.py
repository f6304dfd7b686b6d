"""The generator of tests/lib/minisigstore held against programs that we did not write: what it calls valid, they accept."""

import hashlib
import subprocess

import pytest

import lib  # noqa: F401 (makes tests/lib importable)
from minisigstore import IDENTITY, ISSUER, SIGN_PREDICATE, Key, Sigstore, statement_for, to_bytes, to_pem, from_b64

ARTIFACT = b"an artifact\n"
STATEMENT = statement_for(hashlib.sha256(ARTIFACT).hexdigest())

# name → what is signed, and the options of Sigstore.bundle(); "signer" is the kind of key.
BUNDLES = {
    "v1": (ARTIFACT, {}),
    "v1-timestamp": (ARTIFACT, {"stamps": 1}),
    "v2-timestamp": (ARTIFACT, {"entries": ["v2"], "stamps": 1}),
    "both-logs": (ARTIFACT, {"entries": ["hashedrekord", "v2"], "stamps": 1}),
    "bundle-0.1": (ARTIFACT, {"version": "0.1"}),
    "bundle-0.2": (ARTIFACT, {"version": "0.2"}),
    "dsse": (STATEMENT, {"entries": ["dsse"]}),
    "intoto": (STATEMENT, {"entries": ["intoto"]}),
    "dsse-v2": (STATEMENT, {"entries": ["v2"], "stamps": 1}),
    "key-v1": (ARTIFACT, {"keyless": False}),
    "key-v2": (ARTIFACT, {"keyless": False, "entries": ["v2"], "stamps": 1}),
    "key-dsse": (STATEMENT, {"keyless": False, "entries": ["dsse"]}),
    "P-384": (ARTIFACT, {"signer": "P-384"}),
    "P-521-v2": (ARTIFACT, {"signer": "P-521", "entries": ["v2"], "stamps": 1}),
    "RSA": (STATEMENT, {"signer": "RSA-2048", "entries": ["dsse"]}),
    "Ed25519": (STATEMENT, {"signer": "Ed25519", "entries": ["dsse"]}),
}


@pytest.fixture(scope="module")
def instance():
    return Sigstore()


@pytest.mark.parametrize("name", BUNDLES)
def test_cosign_accepts(name, work, peers, instance):
    if not peers.cosign3:
        pytest.skip("no cosign 3 to be had")
    content, options = BUNDLES[name]
    options = dict(options)
    instance = instance.but(signer=Key(options.pop("signer", "P-256")))
    for file, data in (("bundle", to_bytes(instance.bundle(content, **options))), ("root", to_bytes(instance.trusted_root())),
                       ("artifact", ARTIFACT), ("key", instance.signer.pem)):
        (work / file).write_bytes(data)
    who = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER] if options.get("keyless", True) else \
        ["--key", work / "key"]
    kind = ["verify-blob"] if content is ARTIFACT else ["verify-blob-attestation", "--type", SIGN_PREDICATE]
    lib.run(peers.cosign3, *kind, "--bundle", work / "bundle", "--trusted-root", work / "root", *who, work / "artifact")


def test_openssl_accepts_timestamp(work, instance):
    bundle = instance.bundle(ARTIFACT, entries=[], stamps=1)
    stamp = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"]
    (work / "stamp").write_bytes(from_b64(stamp))
    (work / "signature").write_bytes(from_b64(bundle["messageSignature"]["signature"]))
    (work / "ca").write_bytes(to_pem(instance.tsa.root))
    done = subprocess.run(["openssl", "ts", "-verify", "-in", work / "stamp", "-data", work / "signature", "-CAfile", work / "ca"],
                          capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout, done


def test_openssl_accepts_chain(work, instance):
    (work / "leaf").write_bytes(to_pem(instance.certificate()))
    (work / "root").write_bytes(to_pem(instance.fulcio.root))
    (work / "intermediate").write_bytes(to_pem(instance.fulcio.intermediate))
    lib.run("openssl", "verify", "-attime", "1748779200", "-CAfile", work / "root", "-untrusted", work / "intermediate", work / "leaf")
