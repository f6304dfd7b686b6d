"""Key pairs, and signatures with them, of every kind that signers and logs use."""

import datetime
import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

CURVES = {"P-256": (ec.SECP256R1, "sha256"), "P-384": (ec.SECP384R1, "sha384"), "P-521": (ec.SECP521R1, "sha512")}
HASHES = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}


class Key:
    """A key pair. kind: "P-256", "P-384", "P-521", "RSA-2048" (any size) or "Ed25519".
    Attributes: kind, private, public, der and pem (of the public key), hash (its own, by name)."""

    def __init__(self, kind: str = "P-256"):
        self.kind, self.hash = kind, "sha256"
        if kind in CURVES:
            curve, self.hash = CURVES[kind]
            self.private = ec.generate_private_key(curve())
        elif kind == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(65537, int(kind.split("-")[1]))
        self.public = self.private.public_key()
        self.der = self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.pem = self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def id(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo: a log's id, a bundle's key hint."""
        return hashlib.sha256(self.der).digest()

    @property
    def details(self) -> str:
        """The name in Sigstore's PublicKeyDetails."""
        return {"P-256": "PKIX_ECDSA_P256_SHA_256", "P-384": "PKIX_ECDSA_P384_SHA_384", "P-521": "PKIX_ECDSA_P521_SHA_512",
                "Ed25519": "PKIX_ED25519"}.get(self.kind) or f"PKIX_RSA_PKCS1V15_{self.kind[4:]}_SHA256"

    def sign(self, data: bytes, digest: str | None = None) -> bytes:
        """A signature over `data` with the key's own hash, or with `digest`."""
        algorithm = HASHES[digest or self.hash]()
        if self.kind in CURVES:
            return self.private.sign(data, ec.ECDSA(algorithm))
        if self.kind == "Ed25519":
            return self.private.sign(data)
        return self.private.sign(data, padding.PKCS1v15(), algorithm)

    def private_pem(self) -> bytes:
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def moment(seconds: int) -> datetime.datetime:
    """Seconds since 1970 as what python3-cryptography wants."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)
