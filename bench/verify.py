#!/usr/bin/python3
"""verify.py: CPU time of one verification for each kind of signature, and the requests of one pull by the way its signature is found.
`make bench-verify` runs it."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/integration")]
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))

import minisigstore as mini  # noqa: E402
from image import File, Image, Layer, digest_of  # noqa: E402
from lib import FakeRegistry, guest_pull  # noqa: E402
from oci_registry import OciRegistry, attach_bundle  # noqa: E402
from signing import CosignKey, GpgKey, cosign_payload, cosign_sign, simple_payload, write_lookaside, write_policy, write_registries_d  # noqa: E402

REFERENCE, DIGEST = "registry.example/app:1", "sha256:" + "1" * 64


def evidence(folder: pathlib.Path):
    """(what, kind, files) for each kind of signature."""
    def put(name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        return str(folder / name)
    instance, key, gpg = mini.Sigstore(), CosignKey(folder), GpgKey()
    root, artifact = put("root", mini.to_bytes(instance.trusted_root())), put("artifact", mini.ARTIFACT)
    bundles = {"keyed bundle (Rekor v1)": {"keyless": False}, "keyless, Rekor v1": {}, "keyless, Rekor v2 and timestamp": {"entries": ["v2"], "stamps": 1},
               "keyless, both logs and two timestamps": {"entries": ["hashedrekord", "v2"], "stamps": 2}}
    try:
        payload = cosign_payload(DIGEST, REFERENCE)
        yield "cosign, key", "cosign", [put("payload", payload), put("signature", mini.b64(key.sign(payload)).encode()), key.public]
        for number, (what, options) in enumerate(bundles.items()):
            files = [put(f"bundle{number}", mini.to_bytes(instance.bundle(mini.ARTIFACT, **options))), root, artifact]
            yield what, "bundle", files + ([put("pem", instance.signer.pem)] if not options.get("keyless", True) else [])
        yield "GPG (gpg's processes included)", "gpg", [put("blob", gpg.sign(simple_payload(DIGEST, REFERENCE))), gpg.public]
    finally:
        gpg.stop()


class Uploads(FakeRegistry):
    """A registry of ours that keeps what is uploaded too."""

    def put_blob(self, repository, blob, digest=None):
        digest = digest or digest_of(blob)
        self.answers[f"/v2/{repository}/blobs/{digest}"] = blob
        return digest

    def get_manifest(self, repository, reference):
        return None

    def put_manifest(self, repository, reference, manifest, media_type):
        self.answers[f"/v2/{repository}/manifests/{reference}"] = (200, {"Content-Type": media_type}, manifest)
        return digest_of(manifest)


def requests(folder: pathlib.Path):
    """The requests of one verification, by kind of signature; the registry is asked by digest, as kata asks."""
    image, gpg, key, instance = Image([Layer([File("a", "b")])]), GpgKey(), CosignKey(folder / "keys"), mini.Sigstore()
    try:
        for what in ("nothing is demanded", "cosign, key, by tag", "cosign 3's bundle, referrers API", "cosign 3's bundle, fallback tag",
                     "GPG, lookaside in a directory"):
            with (OciRegistry if "API" in what else Uploads)() as registry:
                image.push(registry, "app", "1") if "API" in what else registry.add(image, "app")
                name = f"{registry.host}/app@{image.digest}"
                requirement = {"type": "insecureAcceptAnything"}
                if "cosign" in what:
                    cosign_sign(registry, "app", image.digest, key)
                    requirement = {"type": "sigstoreSigned", "keyPath": key.public}
                if "bundle" in what:
                    signed = instance.bundle(mini.statement_for(image.digest.split(":")[1]), keyless=False, entries=[])
                    attach_bundle(registry, "app", image.digest, signed)
                    (folder / "signer.pub").write_bytes(instance.signer.pem)
                    requirement = {"type": "sigstoreSigned", "keyPath": str(folder / "signer.pub")}
                if "GPG" in what:
                    write_lookaside(folder / "lookaside", "app", image.digest, gpg.sign(simple_payload(image.digest, f"{registry.host}/app:1")))
                    requirement = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": gpg.public, "signedIdentity": {"type": "matchRepository"}}
                del registry.seen[:]
                guest_pull("verify", name, "--plain-http", registry.host, "--policy", write_policy(folder / "policy.json", {registry.host: [requirement]}),
                           "--registries-d", write_registries_d(folder / "registries.d", folder / "lookaside"))
                yield what, registry.seen if "API" in what else registry.paths()
    finally:
        gpg.stop()


def main():
    with tempfile.TemporaryDirectory(prefix="gp-bench-") as folder:
        folder = pathlib.Path(folder)
        for what, kind, files in evidence(folder):
            done = subprocess.run([BUILD / "bench/verify", kind, "2", *files], check=True, stdout=subprocess.PIPE, text=True)
            print(f"{what:42s} {int(done.stdout):8d} us CPU", flush=True)
        for what, asked in requests(folder):
            print(f"requests of one verification, {what}: {len(asked)}")
            for line in asked:
                print("   ", re.sub("([0-9a-f]{8})[0-9a-f]{56}", r"\1…", line))


if __name__ == "__main__":
    main()
