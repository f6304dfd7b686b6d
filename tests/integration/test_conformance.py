"""The public cases of sigstore-conformance (GUEST_PULL_VECTORS), each with the artifact and with its digest; and for those that must fail,
why they do."""

import hashlib
import os
import pathlib

import pytest

from lib import guest_pull

VECTORS = pathlib.Path(os.environ["GUEST_PULL_VECTORS"]) / "sigstore-conformance" if "GUEST_PULL_VECTORS" in os.environ else None
CASES = sorted(path.name for path in VECTORS.iterdir() if path.is_dir()) if VECTORS else []
IDENTITY = ("https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/"
            "extremely-dangerous-oidc-beacon.yml@refs/heads/main")
ISSUER = "https://token.actions.githubusercontent.com"
REASONS = {
    "bundle-empty-certificate-chain_fail": "bundle-format",
    "bundle-invalid-base64-signature_fail": "bundle-format",
    "bundle-negative-log-index_fail": "bundle-format",
    "bundle-with-root-cert_fail": "bundle-format",
    "checkpoint-bad-keyhint_fail": "checkpoint-signature",
    "dsse-invalid-sig_fail": "bad-signature",
    "dsse-mismatch-sig_fail": "log-entry-not-bound",
    "inclusion-proof-corrupted-hash_fail": "inclusion-proof",
    "integrated-time-in-future_fail": "certificate-expired-at-time",
    "intoto-log-entry-mismatch_fail": "log-entry-not-bound",
    "intoto-set-outside-signing-cert-validity_fail": "certificate-expired-at-time",
    "invalid-ct-key_fail": "sct-missing",
    "managed-key-no-key_fail": "no-certificate",
    "message-digest-mismatch_fail": "digest-mismatch",
    "rekor2-checkpoint-missing-log-signature_fail": "checkpoint-signature",
    "rekor2-checkpoint-missing-root-hash_fail": "checkpoint-format",
    "rekor2-dsse-invalid-sig_fail": "bad-signature",
    "rekor2-dsse-mismatch-sig_fail": "log-entry-not-bound",
    "rekor2-no-inclusion-proof_fail": "bundle-format",
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": "timestamp-authority-expired",
    "rekor2-timestamp-payload-mismatch_fail": "timestamp-mismatch",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": "timestamp-untrusted",
    "signature-mismatch_fail": "bad-signature",
    "wrong-hashedrekord-artifact_fail": "log-entry-not-bound",
    "wrong-hashedrekord-entry_fail": "log-entry-not-bound",
}


@pytest.fixture(autouse=True)
def vectors():
    if not VECTORS:
        pytest.skip("GUEST_PULL_VECTORS is not set: the conformance cases are not run")


def text_of(path: pathlib.Path, default: str) -> str:
    return path.read_text().strip() if path.exists() else default


@pytest.mark.parametrize("form", ["file", "digest"])
@pytest.mark.parametrize("case", CASES or ["none"])
def test_case(case, form):
    folder = VECTORS / case
    artifact = folder / "artifact" if (folder / "artifact").exists() else VECTORS / "a.txt"
    root = folder / "trusted_root.json" if (folder / "trusted_root.json").exists() else VECTORS / "production_trusted_root.json"
    who = ["--key", folder / "key.pub"] if (folder / "key.pub").exists() else [
        "--certificate-identity", text_of(folder / "identity", IDENTITY), "--certificate-oidc-issuer", text_of(folder / "issuer", ISSUER)]
    name = artifact if form == "file" else "sha256:" + hashlib.sha256(artifact.read_bytes()).hexdigest()
    result = guest_pull("verify-bundle", "--json", "--bundle", folder / "bundle.sigstore.json", "--trusted-root", root, *who, name, check=None)
    if not case.endswith("_fail"):
        assert result.status == 0 and result.json["accepted"], result
        return
    assert result.status == 1, result
    assert result.message.startswith(REASONS[case] + ": "), result
