"""Keys and signatures of the two kinds that registries carry: GPG "simple signing" and cosign's, plus the policies that want them."""

import base64
import json
import os
import shutil
import subprocess
import tempfile

from image import CONFIG, MANIFEST, digest_of, to_json

COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
COSIGN_SIGNATURE = "dev.cosignproject.cosign/signature"


class GpgKey:
    """A key in a home of its own below /tmp (an agent's socket needs a short path). stop() ends its agent and removes it.
    Attributes: home, fingerprint, public (path of the exported key, binary)."""

    def __init__(self, name: str = "guest-pull test", algorithm: str = "rsa2048", expires: str = "never"):
        self.home = tempfile.mkdtemp(prefix="gp-gpg-", dir="/tmp")
        self.user = f"{name} <test@example.invalid>"
        self.gpg("--quick-generate-key", self.user, algorithm, "sign", expires)
        listing = self.gpg("--with-colons", "--list-keys").decode()
        self.fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        self.public = os.path.join(self.home, "public.gpg")
        self.gpg("--output", self.public, "--export", self.fingerprint)

    def gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", self.home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]
        return subprocess.run([*command, *arguments], input=data, check=True, capture_output=True).stdout

    def sign(self, payload: bytes, *options: str) -> bytes:
        """An OpenPGP message that contains `payload` and its signature."""
        return self.gpg(*options, "--local-user", self.fingerprint, "--sign", "--output", "-", data=payload)

    def environment(self) -> dict[str, str]:
        """For skopeo --sign-by."""
        return {**os.environ, "GNUPGHOME": self.home}

    def stop(self):
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], capture_output=True, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def simple_payload(digest: str, reference: str, **changes) -> bytes:
    """What a GPG signature of an image says; `changes` replace top-level members."""
    return to_json({"critical": {"type": "atomic container signature", "image": {"docker-manifest-digest": digest},
                                 "identity": {"docker-reference": reference}},
                    "optional": {"creator": "guest-pull tests", "timestamp": 1700000000}, **changes})


def write_lookaside(folder, repository: str, digest: str, signature: bytes) -> str:
    """Adds `signature` as the next signature-N of repository@digest (repository without the host). Returns its path."""
    place = os.path.join(os.fspath(folder), f"{repository}@{digest.replace(':', '=')}")
    os.makedirs(place, exist_ok=True)
    number = 1
    while os.path.exists(os.path.join(place, f"signature-{number}")):
        number += 1
    path = os.path.join(place, f"signature-{number}")
    with open(path, "wb") as out:
        out.write(signature)
    return path


def write_registries_d(folder, lookaside, scope: str | None = None, **options) -> str:
    """A registries.d whose `scope` (default: all of docker) reads and writes signatures at file://`lookaside`. Returns `folder`.
    options: more members of the scope, e.g. **{"use-sigstore-attachments": True}. lookaside None: only the options."""
    os.makedirs(folder, exist_ok=True)
    members = dict(options)
    if lookaside is not None:
        url = f"file://{os.fspath(lookaside)}"
        members |= {"lookaside": url, "lookaside-staging": url}
    document = {"docker": {scope: members}} if scope else {"default-docker": members}
    with open(os.path.join(os.fspath(folder), "test.yaml"), "w") as out:
        json.dump(document, out)
    return os.fspath(folder)


class CosignKey:
    """An ECDSA P-256 key pair in files: private, public (PEM, as cosign's cosign.pub)."""

    def __init__(self, folder, name: str = "cosign", curve: str = "P-256"):
        os.makedirs(folder, exist_ok=True)
        self.private = os.path.join(os.fspath(folder), name + ".key")
        self.public = os.path.join(os.fspath(folder), name + ".pub")
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", self.private],
                       check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", self.private, "-pubout", "-out", self.public], check=True, capture_output=True)

    @classmethod
    def from_file(cls, private: str) -> "CosignKey":
        """A key that exists already, for signing."""
        key = cls.__new__(cls)
        key.private, key.public = private, None
        return key

    def sign(self, payload: bytes, digest: str = "sha256") -> bytes:
        """The DER signature."""
        return subprocess.run(["openssl", "dgst", f"-{digest}", "-sign", self.private], input=payload, check=True,
                              capture_output=True).stdout


def cosign_payload(digest: str, reference: str, **changes) -> bytes:
    return to_json({"critical": {"identity": {"docker-reference": reference}, "image": {"docker-manifest-digest": digest},
                                 "type": "cosign container image signature"}, "optional": None, **changes})


def cosign_tag(digest: str) -> str:
    return digest.replace(":", "-") + ".sig"


def cosign_sign(registry, repository: str, digest: str, key: CosignKey, *, reference: str | None = None,
                payload: bytes | None = None, signature: bytes | None = None, annotations: dict | None = None,
                media_type: str = COSIGN_LAYER, tag: str | None = None) -> str:
    """Adds a signature of `digest` to the image's .sig tag as cosign does (name-only reference "host/repository" unless one is given).
    payload, signature, annotations and media_type replace what would be made. Returns the tag."""
    tag = tag or cosign_tag(digest)
    if payload is None:
        payload = cosign_payload(digest, reference or f"{registry.host}/{repository}")
    if signature is None:
        signature = key.sign(payload)
    if annotations is None:
        annotations = {COSIGN_SIGNATURE: base64.b64encode(signature).decode()}
    layer = {"mediaType": media_type, "digest": registry.put_blob(repository, payload), "size": len(payload),
             "annotations": annotations}
    old = registry.get_manifest(repository, tag)
    layers = [*(json.loads(old)["layers"] if old else []), layer]
    config = to_json({"architecture": "", "os": "", "created": "0001-01-01T00:00:00Z", "config": {},
                      "rootfs": {"type": "layers", "diff_ids": [item["digest"] for item in layers]}, "history": []})
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": registry.put_blob(repository, config), "size": len(config)},
                "layers": layers}
    registry.put_manifest(repository, tag, to_json(manifest), MANIFEST)
    return tag


REJECT = {"type": "reject"}
ACCEPT_ANYTHING = {"type": "insecureAcceptAnything"}


def signed_by(key: GpgKey | str, identity: dict | str | None = None, **more) -> dict:
    """A signedBy requirement. identity: "matchRepository" or a whole signedIdentity object."""
    return _requirement({"type": "signedBy", "keyType": "GPGKeys", "keyPath": getattr(key, "public", key)}, identity, more)


def sigstore_signed(key: CosignKey | str, identity: dict | str | None = None, **more) -> dict:
    return _requirement({"type": "sigstoreSigned", "keyPath": getattr(key, "public", key)}, identity, more)


def _requirement(requirement: dict, identity, more: dict) -> dict:
    if identity is not None:
        requirement["signedIdentity"] = {"type": identity} if isinstance(identity, str) else identity
    return {**requirement, **more}


def write_policy(path, docker: dict[str, list | dict] | None = None, default: list | dict | None = None, **transports) -> str:
    """A policy.json: scope → requirement or list of them for docker references, reject by default. Returns `path`."""
    as_list = lambda value: value if isinstance(value, list) else [value]  # noqa: E731
    document = {"default": as_list(default or REJECT),
                "transports": {name: {scope: as_list(rule) for scope, rule in scopes.items()}
                               for name, scopes in {"docker": docker or {}, **transports}.items() if scopes}}
    with open(path, "w") as out:
        json.dump(document, out, indent=2)
    return os.fspath(path)
