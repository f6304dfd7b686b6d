"""A miniature Sigstore: everything that signs, and bundles with it, so that tests can have any valid bundle and, by changing one thing
before or after it is signed, any invalid one. Nothing here verifies. Specification: github.com/sigstore/protobuf-specs (bundle and trusted
root), RFC 6962, RFC 3161, Fulcio's oid-info.md, the DSSE protocol, c2sp.org/signed-note and tlog-checkpoint."""

import base64
import copy
import hashlib
import json

from cryptography import x509

import minisigstore.der as der
import minisigstore.rekor as rekor
from minisigstore.authority import OTHER_NAME, YEAR, CtLog, Fulcio, TimestampAuthority, to_der, to_pem
from minisigstore.keys import Key, moment
from minisigstore.rekor import Log, b64

ARTIFACT = b"an artifact\n"
NOW = 1748779200  # 2025-06-01T12:00:00Z: when everything here is signed
START = NOW - YEAR
ISSUER = "https://issuer.example"
IDENTITY = "https://forge.example/team/app/.ci/release.yml@refs/heads/main"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
OLD_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle+json;version="
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def uri(text: str = IDENTITY) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def email(text: str) -> x509.GeneralName:
    return x509.RFC822Name(text)


def other_name(text: str, number: str = OTHER_NAME) -> x509.GeneralName:
    return x509.OtherName(x509.ObjectIdentifier(number), der.utf8(text))


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def rfc3339(seconds: int) -> str:
    return moment(seconds).isoformat() + "Z"


def statement_for(digest_hex: str, **changes) -> dict:
    """What cosign 3 signs for an image; `changes` replace members."""
    return {"_type": STATEMENT, "subject": [{"digest": {"sha256": digest_hex}}], "predicateType": SIGN_PREDICATE, "predicate": {}, **changes}


class Sigstore:
    """One instance. Attributes are its services and may be replaced; signer is the key of who signs."""

    def __init__(self, signer: str = "P-256"):
        self.fulcio = Fulcio(START)
        self.ct = CtLog()
        self.tsa = TimestampAuthority(START)
        self.rekor1 = Log(1, "rekor1.example")
        self.rekor2 = Log(2, "rekor2.example")
        self.signer = Key(signer)

    def but(self, **services) -> "Sigstore":
        """The same instance with other services."""
        other = copy.copy(self)
        for name, value in services.items():
            setattr(other, name, value)
        return other

    # ---- what is trusted

    def trusted_root(self) -> dict:
        valid = {"start": rfc3339(START)}
        chain = lambda items: {"certificates": [{"rawBytes": b64(to_der(item))} for item in items]}  # noqa: E731
        log = lambda host, key, number: {  # noqa: E731
            "baseUrl": f"https://{host}", "hashAlgorithm": "SHA2_256",
            "publicKey": {"rawBytes": b64(key.der), "keyDetails": key.details, "validFor": dict(valid)}, "logId": {"keyId": b64(number)}}
        subject = {"organization": "mini", "commonName": "mini"}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(item.host, item.key, item.id) for item in (self.rekor1, self.rekor2)],
            "certificateAuthorities": [{"subject": subject, "uri": "https://fulcio.example", "certChain": chain(self.fulcio.chain),
                                        "validFor": dict(valid)}],
            "ctlogs": [log("ct.example", self.ct.key, self.ct.key.id)],
            "timestampAuthorities": [{"subject": subject, "uri": "https://tsa.example", "certChain": chain(self.tsa.chain),
                                      "validFor": dict(valid)}]}

    # ---- what is issued and signed

    def certificate(self, twist=None) -> x509.Certificate:
        """A leaf of the signer with one SCT, as Fulcio makes them."""
        options = {"public": self.signer.public, "san": uri(), "issuer": ISSUER, "start": NOW - 60,
                   "scts": [lambda tbs, issuer: self.ct.sct(tbs, issuer, NOW - 60)]}
        return self.fulcio.issue(**(twist("leaf", options) if twist else options))

    def bundle(self, content: bytes | dict, *, keyless: bool = True, version: str = "0.3", entries=("hashedrekord",), stamps: int = 0,
               twists: dict | None = None) -> dict:
        """A bundle over an artifact (bytes) or a statement (dict, in a DSSE envelope).
        keyless: with a certificate, else with the signer's public key. version: "0.1", "0.2", "0.3", or a whole media type.
        entries: any of "hashedrekord", "dsse", "intoto" (Rekor v1) and "v2". stamps: how many RFC 3161 timestamps.
        twists: stage → callable(value) that returns another value, at that place of the work; see twist() for who calls it."""
        def twist(stage, value):
            change = (twists or {}).get(stage)
            return change(value) if change else value

        leaf = twist("certificate", self.certificate(twist)) if keyless else None
        pem = to_pem(leaf) if keyless else self.signer.pem
        raw = {"rawBytes": b64(to_der(leaf) if keyless else self.signer.der)}
        document, signed, signature = self._sign(content, twist)
        envelope = document.get("dsseEnvelope")
        material = {}
        if not keyless:
            material["publicKey"] = {"hint": b64(self.signer.id)}
        elif version in ("0.1", "0.2"):
            material["x509CertificateChain"] = {"certificates": [raw]}
        else:
            material["certificate"] = raw
        logged = []
        for kind in entries:
            if kind == "v2":
                log, made = self.rekor2, rekor.hashedrekord_v2(
                    signature, {"x509Certificate" if keyless else "publicKey": raw}, self.signer.details, signed, self.signer.hash)
            elif kind == "hashedrekord":
                log, made = self.rekor1, rekor.hashedrekord(signature, pem, signed, self.signer.hash)
            else:
                log, made = self.rekor1, {"dsse": rekor.dsse, "intoto": rekor.intoto}[kind](envelope, pem)
            logged.append(log.entry(*made, NOW, twist))
        if version == "0.1":
            for entry in logged:
                entry.pop("inclusionProof")
        if logged:
            material["tlogEntries"] = logged
        if stamps:
            options = twist("stamp", {"data": signature, "seconds": NOW + 5})
            material["timestampVerificationData"] = {"rfc3161Timestamps": [
                {"signedTimestamp": b64(twist("stamp-bytes", self.tsa.stamp(**options)))} for _ in range(stamps)]}
        media = {"0.1": OLD_MEDIA_TYPE + "0.1", "0.2": OLD_MEDIA_TYPE + "0.2", "0.3": MEDIA_TYPE}.get(version, version)
        return twist("bundle", {"mediaType": media, "verificationMaterial": material, **document})

    def _sign(self, content, twist):
        """(the content's members, the signed bytes, the signature)"""
        if isinstance(content, bytes):
            signature = twist("signature", self.signer.sign(content))
            digest = {"algorithm": "SHA2_" + self.signer.hash[3:], "digest": b64(hashlib.new(self.signer.hash, content).digest())}
            return {"messageSignature": {"messageDigest": digest, "signature": b64(signature)}}, content, signature
        payload = twist("payload", json.dumps(twist("statement", content)).encode())
        kind = twist("payload-type", PAYLOAD_TYPE)
        signed = twist("pae", pae(kind, payload))
        signature = twist("signature", self.signer.sign(signed))
        envelope = {"payload": b64(payload), "payloadType": kind, "signatures": [{"sig": b64(signature)}]}
        return {"dsseEnvelope": twist("envelope", envelope)}, signed, signature


def to_bytes(document: dict) -> bytes:
    return json.dumps(document).encode()


def from_b64(text: str) -> bytes:
    return base64.b64decode(text)
