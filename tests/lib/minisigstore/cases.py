"""The table of bundles: every valid kind, and invalid ones that differ from a valid one in one thing. Each says why it must be refused."""

import dataclasses
import hashlib
import json
import typing

import minisigstore as mini
import minisigstore.rekor as rekor
from minisigstore import ARTIFACT, IDENTITY, ISSUER, NOW, START, b64, from_b64
from minisigstore.authority import to_der
from minisigstore.keys import Key

STATEMENT = mini.statement_for(hashlib.sha256(ARTIFACT).hexdigest())
OTHER = b"another artifact\n"
HOUR = 3600


@dataclasses.dataclass
class Case:
    """A bundle and how to ask for its verification. reason: the machine word of the refusal, "" if it must be accepted.
    key: PEM for --key; else identity and issuer are asked for."""

    name: str
    bundle: bytes
    root: bytes
    reason: str = ""
    artifact: bytes = ARTIFACT
    key: bytes | None = None
    identity: str = IDENTITY
    issuer: str = ISSUER


# What a bundle is made of: the signed content and options of Sigstore.bundle().
KINDS: dict[str, tuple[typing.Any, dict]] = {
    "hashedrekord": (ARTIFACT, {}),
    "dsse": (STATEMENT, {"entries": ["dsse"]}),
    "intoto": (STATEMENT, {"entries": ["intoto"]}),
    "v2": (ARTIFACT, {"entries": ["v2"], "stamps": 1}),
    "v2-dsse": (STATEMENT, {"entries": ["v2"], "stamps": 1}),
    "stamped": (ARTIFACT, {"stamps": 1}),
    "key": (ARTIFACT, {"keyless": False}),
    "key-v2": (ARTIFACT, {"keyless": False, "entries": ["v2"]}),
    "0.1": (ARTIFACT, {"version": "0.1"}),
    "0.2": (ARTIFACT, {"version": "0.2"}),
}


class Maker:
    """Makes cases out of one instance."""

    def __init__(self):
        self.base = mini.Sigstore()
        self.roots = json.dumps(self.base.trusted_root()).encode()

    def case(self, name: str, kind: str = "hashedrekord", reason: str = "", *, twists: dict | None = None, instance=None, root=None,
             content=None, trust=None, **changes) -> Case:
        """instance signs; trust (default: the base) says what is trusted; root(document) changes the trusted root's JSON."""
        instance = instance or self.base
        signed, options = KINDS[kind]
        options = {**options, **{item: changes.pop(item) for item in ("version", "entries", "stamps", "keyless") if item in changes}}
        bundle = instance.bundle(content if content is not None else signed, twists=twists, **options)
        document = (trust or self.base).trusted_root()
        if root:
            changed = root(document)
            document = document if changed is None else changed
        return Case(name, bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode(),
                    document if isinstance(document, bytes) else json.dumps(document).encode(), reason,
                    key=None if options.get("keyless", True) else instance.signer.pem, **changes)


# ---- small changes of one value

def flip(data: bytes, place: int = -1) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def flip64(text: str) -> str:
    """The same length, another value: the first byte's lowest bit (DER stays DER outwardly only where that does not matter)."""
    return b64(flip(from_b64(text)))


def edit(path: str, change) -> typing.Callable:
    """A twist that puts change(old value) at `path` ("a.b.0.c") of a document; change may be a plain value; `...` removes it."""
    def apply(document):
        *way, last = [int(item) if item.isdigit() else item for item in path.split(".")]
        document = place = document.copy()
        for item in way:
            place[item] = place[item].copy()
            place = place[item]
        old = place.get(last) if isinstance(place, dict) else place[last]
        new = change(old) if callable(change) else change
        if new is ...:
            del place[last]
        else:
            place[last] = new
        return document
    return apply


MATERIAL = "verificationMaterial."
ENTRY = MATERIAL + "tlogEntries.0."
PROOF = ENTRY + "inclusionProof."
NOTE = PROOF + "checkpoint.envelope"
STAMP = MATERIAL + "timestampVerificationData.rfc3161Timestamps.0.signedTimestamp"


def accepted(make: Maker):
    """Every valid kind."""
    for kind in KINDS:
        yield make.case(kind, kind)
    for media in (mini.MEDIA_TYPE, mini.OLD_MEDIA_TYPE + "0.3"):
        yield make.case("media-type " + media, version=media)
    for signer in ("P-384", "P-521", "RSA-2048"):
        instance = make.base.but(signer=Key(signer))
        for kind in ("hashedrekord", "dsse", "v2", "v2-dsse", "key"):
            yield make.case(f"{kind} {signer}", kind, instance=instance)
    yield make.case("dsse Ed25519", "dsse", instance=make.base.but(signer=Key("Ed25519")))
    yield make.case("email", twists={"leaf": edit("san", mini.email("me@team.example"))}, identity="me@team.example")
    yield make.case("other name", twists={"leaf": edit("san", mini.other_name("robot!team.example"))}, identity="robot!team.example")
    yield make.case("issuer v1 alone", twists={"leaf": edit("issuer_v2", False)})
    yield make.case("issuer v2 alone", twists={"leaf": edit("issuer_v1", False)})
    yield make.case("two logs", entries=["hashedrekord", "v2"], stamps=1)
    yield make.case("two timestamps", "v2", stamps=2)
    yield make.case("first of many", instance=make.base.but(rekor1=rekor.Log(1, "rekor1.example", 0, 70, key=make.base.rekor1.key)))
    yield make.case("last of many", instance=make.base.but(rekor1=rekor.Log(1, "rekor1.example", 70, 0, key=make.base.rekor1.key)))
    yield make.case("alone in its log", instance=make.base.but(rekor1=rekor.Log(1, "rekor1.example", 0, 0, key=make.base.rekor1.key)))
    yield make.case("witnesses", "v2", twists={"note-lines": lambda line: line + rekor.Log(2, "witness.example").note_line("x")})
    yield make.case("statement of two subjects", "dsse", twists={
        "statement": lambda old: {**old, "subject": [{"digest": {"sha256": "00" * 32}}, *old["subject"]]}})
    yield make.case("numbers as numbers", twists={"bundle": edit(ENTRY + "logIndex", int)})
    yield make.case("timestamp without certificate", "v2", twists={"stamp": lambda old: {**old, "embed": False}})
    yield make.case("timestamp for a promise", "stamped", twists={"entry": edit("inclusionPromise", ...)})
    yield make.case("log's last second", root=window("tlogs", 0, START, NOW))
    yield make.case("CT log's last second", root=window("ctlogs", 0, START, NOW - 60))


def window(service: str, number: int, start: int | None, end: int | None):
    """Sets a service's validFor."""
    valid = {name: mini.rfc3339(value) for name, value in (("start", start), ("end", end)) if value is not None}

    def apply(document):
        item = document[service][number]
        (item["publicKey"] if "publicKey" in item else item)["validFor"] = valid
    return apply


def format_cases(make: Maker):
    """The bundle as a document."""
    text = lambda change: {"bundle": lambda bundle: change(json.dumps(bundle)).encode()}  # noqa: E731
    yield make.case("not JSON", twists=text(lambda old: old.replace(":", "=", 1)), reason="bundle-format")
    yield make.case("cut", twists=text(lambda old: old[:-1]), reason="bundle-format")
    yield make.case("data behind it", twists=text(lambda old: old + "{}"), reason="bundle-format")
    yield make.case("empty", twists=text(lambda old: ""), reason="bundle-format")
    yield make.case("a list", twists=text(lambda old: f"[{old}]"), reason="bundle-format")
    yield make.case("a key twice", twists=text(lambda old: old.replace('{"mediaType"', '{"mediaType": "x", "mediaType"', 1)), reason="bundle-format")
    yield make.case("a log index twice", twists=text(lambda old: old.replace('"logIndex"', '"logIndex": "1", "logIndex"', 1)), reason="bundle-format")
    yield make.case("too deep", twists={"bundle": lambda old: {**old, "x": json.loads("[" * 40 + "]" * 40)}}, reason="bundle-format")
    yield make.case("too long (CVE-2024-29902)", twists=text(lambda old: old + " " * (1 << 20)), reason="bundle")
    simple = {
        "media type absent": ("mediaType", ...), "media type empty": ("mediaType", ""),
        "media type of the future": ("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"),
        "media type of version 0.30": ("mediaType", "application/vnd.dev.sigstore.bundle.v0.30+json"),
        "media type a number": ("mediaType", 3),
        "material absent": ("verificationMaterial", ...), "material null": ("verificationMaterial", None),
        "material a list": ("verificationMaterial", []), "certificate absent": (MATERIAL + "certificate", ...),
        "certificate null": (MATERIAL + "certificate", None), "certificate empty": (MATERIAL + "certificate", {}),
        "certificate not base64": (MATERIAL + "certificate.rawBytes", "!!!"), "certificate zero bytes": (MATERIAL + "certificate.rawBytes", ""),
        "certificate cut": (MATERIAL + "certificate.rawBytes", lambda old: b64(from_b64(old)[:-1])),
        "certificate and more": (MATERIAL + "certificate.rawBytes", lambda old: b64(from_b64(old) + b"\0")),
        "content absent": ("messageSignature", ...), "content null": ("messageSignature", None), "content empty": ("messageSignature", {}),
        "signature absent": ("messageSignature.signature", ...), "signature empty": ("messageSignature.signature", ""),
        "signature not base64": ("messageSignature.signature", lambda old: old[:-1] + "!"),
        "signature a number": ("messageSignature.signature", 1),
        "message digest of unknown kind": ("messageSignature.messageDigest.algorithm", "MD5"),
        "message digest too short": ("messageSignature.messageDigest.digest", lambda old: b64(from_b64(old)[:31])),
        "log index negative": (ENTRY + "logIndex", "-1"), "log index a fraction": (ENTRY + "logIndex", 1.5),
        "log index beyond 64 bits": (ENTRY + "logIndex", "18446744073709551617"), "log index a word": (ENTRY + "logIndex", "one"),
        "integrated time negative": (ENTRY + "integratedTime", "-1"), "log id absent": (ENTRY + "logId", ...),
        "log id empty": (ENTRY + "logId.keyId", ""),
        "kind absent": (ENTRY + "kindVersion", ...), "body absent": (ENTRY + "canonicalizedBody", ...),
        "body empty": (ENTRY + "canonicalizedBody", ""), "body not base64": (ENTRY + "canonicalizedBody", "{}"),
        "proof absent": (ENTRY + "inclusionProof", ...), "checkpoint absent": (PROOF + "checkpoint", ...),
        "checkpoint empty": (PROOF + "checkpoint.envelope", ""), "proof's index negative": (PROOF + "logIndex", "-1"),
        "proof's size zero": (PROOF + "treeSize", "0"), "proof's root empty": (PROOF + "rootHash", ""),
        "proof's hash of 31 bytes": (PROOF + "hashes.0", lambda old: b64(from_b64(old)[:31])),
        "entries an object": (MATERIAL + "tlogEntries", lambda old: old[0]), "entry null": (MATERIAL + "tlogEntries.0", None),
        "timestamps null inside": (MATERIAL + "timestampVerificationData", {"rfc3161Timestamps": [None]}),
        "timestamp not base64": (MATERIAL + "timestampVerificationData", {"rfc3161Timestamps": [{"signedTimestamp": "?"}]}),
    }
    for name, (path, value) in simple.items():
        yield make.case(name, twists={"bundle": edit(path, value)}, reason="bundle-format")
    dsse = {
        "envelope null": ("dsseEnvelope", None), "envelope without payload": ("dsseEnvelope.payload", ...),
        "envelope's payload not base64": ("dsseEnvelope.payload", "{}"),
        "envelope without signatures": ("dsseEnvelope.signatures", []), "envelope's signatures absent": ("dsseEnvelope.signatures", ...),
        "envelope of two signatures": ("dsseEnvelope.signatures", lambda old: old * 2),
        "envelope's signature empty": ("dsseEnvelope.signatures.0.sig", ""),
        "envelope without type": ("dsseEnvelope.payloadType", ...),
    }
    for name, (path, value) in dsse.items():
        yield make.case(name, "dsse", twists={"bundle": edit(path, value)}, reason="bundle-format")
    yield make.case("two contents", twists={"bundle": lambda old: {**old, "dsseEnvelope": make.base.bundle(STATEMENT)["dsseEnvelope"]}},
                    reason="bundle-format")
    yield make.case("certificate and public key", twists={"bundle": edit(MATERIAL + "publicKey", {"hint": "x"})}, reason="bundle-format")
    chain = lambda old: {**old, "x509CertificateChain": {"certificates": [old["certificate"]]}}  # noqa: E731
    yield make.case("certificate and chain", twists={"bundle": edit("verificationMaterial", chain)}, reason="bundle-format")
    yield make.case("chain in 0.3", "0.2", twists={"bundle": edit("mediaType", mini.MEDIA_TYPE)}, reason="bundle-format")
    yield make.case("chain empty", "0.2", twists={"bundle": edit(MATERIAL + "x509CertificateChain.certificates", [])}, reason="bundle-format")
    yield make.case("0.1 without promise", "0.1", twists={"bundle": edit(ENTRY + "inclusionPromise", ...)}, reason="bundle-format")
    yield make.case("0.2 without proof", "0.2", twists={"bundle": edit(ENTRY + "inclusionProof", ...)}, reason="bundle-format")
    yield make.case("33 entries", twists={"bundle": edit(MATERIAL + "tlogEntries", lambda old: old * 33)}, reason="limit")
    yield make.case("33 timestamps", "stamped", twists={
        "bundle": edit(MATERIAL + "timestampVerificationData.rfc3161Timestamps", lambda old: old * 33)}, reason="limit")
    yield make.case("65 hashes", twists={"bundle": edit(PROOF + "hashes", lambda old: old[:1] * 65)}, reason="limit")


def signature_cases(make: Maker):
    """What was signed, and by whom."""
    stranger = make.base.but(signer=Key())
    for kind in ("hashedrekord", "v2", "key", "key-v2", "0.1", "0.2"):
        yield make.case(f"{kind}: another artifact", kind, reason="digest-mismatch", artifact=OTHER)
        yield make.case(f"{kind}: signature changed", kind, reason="bad-signature",
                        twists={"bundle": edit("messageSignature.signature", flip64)})
        yield make.case(f"{kind}: signed with another key", kind, reason="bad-signature",
                        twists={"signature": lambda old: stranger.signer.sign(ARTIFACT)})
        yield make.case(f"{kind}: signature of something else", kind, reason="bad-signature",
                        twists={"signature": lambda old: make.base.signer.sign(OTHER)})
        yield make.case(f"{kind}: message digest of something else", kind, reason="digest-mismatch",
                        twists={"bundle": edit("messageSignature.messageDigest.digest", b64(hashlib.sha256(OTHER).digest()))})
    yield make.case("signature with bytes behind it", reason="bad-signature", twists={"signature": lambda old: old + b"\0"})
    for kind in ("dsse", "intoto", "v2-dsse"):
        yield make.case(f"{kind}: another artifact", kind, reason="digest-mismatch", artifact=OTHER)
        yield make.case(f"{kind}: signature changed", kind, reason="bad-signature", twists={"bundle": edit("dsseEnvelope.signatures.0.sig", flip64)})
        yield make.case(f"{kind}: signed with another key", kind, reason="bad-signature",
                        twists={"signature": lambda old: stranger.signer.sign(ARTIFACT)})
        yield make.case(f"{kind}: payload changed", kind, reason="bad-signature",
                        twists={"bundle": edit("dsseEnvelope.payload", lambda old: b64(from_b64(old) + b" "))})
        yield make.case(f"{kind}: payload type changed", kind, reason="bad-signature",
                        twists={"bundle": edit("dsseEnvelope.payloadType", lambda old: old + "x")})
        yield make.case(f"{kind}: the bare payload signed", kind, reason="bad-signature", twists={"pae": lambda old: json.dumps(STATEMENT).encode()})
        yield make.case(f"{kind}: payload of another type", kind, reason="statement", twists={"payload-type": lambda old: "text/plain"})
    statements = {
        "subject absent": lambda old: {**old, "subject": ...}, "no subject": lambda old: {**old, "subject": []},
        "subject without digest": lambda old: {**old, "subject": [{"name": "app"}]},
        "another type": lambda old: {**old, "_type": "https://in-toto.io/Statement/v9"}, "type absent": lambda old: {**old, "_type": ...},
        "predicate type absent": lambda old: {**old, "predicateType": ...},
    }
    for name, change in statements.items():
        def apply(old, change=change):
            return {item: value for item, value in change(old).items() if value is not ...}
        reason = "digest-mismatch" if name in ("no subject", "subject without digest") else "statement"
        yield make.case("statement: " + name, "dsse", reason=reason, twists={"statement": apply})
    yield make.case("statement: not JSON", "dsse", reason="statement", twists={"payload": lambda old: old[:-1]})
    yield make.case("statement: a key twice", "dsse", reason="statement",
                    twists={"payload": lambda old: old.replace(b'"subject"', b'"subject": [], "subject"', 1)})
    yield make.case("statement: digest under another name", "dsse", reason="digest-mismatch",
                    twists={"statement": lambda old: {**old, "subject": [{"digest": {"sha512": old["subject"][0]["digest"]["sha256"]}}]}})
    case = make.case("verified with another key", "key", reason="bad-signature")
    case.key = stranger.signer.pem
    yield case
    for kind in ("hashedrekord", "dsse", "v2"):
        case = make.case(f"{kind}: certificate, but a key is asked for", kind, reason="no-public-key")
        case.key = make.base.signer.pem
        yield case
    case = make.case("public key, but an identity is asked for", "key", reason="no-certificate")
    case.key = None
    yield case


def body_cases(make: Maker):
    """Entries that are in the log but are not about this signature (CVE-2022-36056, CVE-2023-..., CVE-2026-22703)."""
    other_pem, other_raw = b64(Key().pem), {"rawBytes": b64(Key().der)}
    other_leaf = b64(to_der(make.base.but(signer=Key()).certificate()))
    other_signature = b64(make.base.signer.sign(b"unrelated"))
    other_hash = hashlib.sha256(OTHER).hexdigest()
    v2 = "spec.hashedRekordV002."
    tables = {
        "hashedrekord": {"signature": ("spec.signature.content", other_signature), "key": ("spec.signature.publicKey.content", other_pem),
                         "hash": ("spec.data.hash.value", other_hash), "hash algorithm": ("spec.data.hash.algorithm", "sha512"),
                         "no key": ("spec.signature.publicKey", ...), "no hash": ("spec.data", ...), "no signature": ("spec.signature.content", "")},
        "dsse": {"signature": ("spec.signatures.0.signature", other_signature), "key": ("spec.signatures.0.verifier", other_pem),
                 "payload hash": ("spec.payloadHash.value", other_hash), "no signatures": ("spec.signatures", []),
                 "two signatures": ("spec.signatures", lambda old: old * 2), "no payload hash": ("spec.payloadHash", ...)},
        "intoto": {"signature": ("spec.content.envelope.signatures.0.sig", b64(other_signature.encode())),
                   "key": ("spec.content.envelope.signatures.0.publicKey", other_pem),
                   "payload hash": ("spec.content.payloadHash.value", other_hash),
                   "no signatures": ("spec.content.envelope.signatures", []),
                   "signature encoded once": ("spec.content.envelope.signatures.0.sig", lambda old: from_b64(old).decode())},
        "v2": {"signature": (v2 + "signature.content", other_signature), "key": (v2 + "signature.verifier.x509Certificate.rawBytes", other_leaf),
               "hash": (v2 + "data.digest", b64(bytes.fromhex(other_hash))), "hash algorithm": (v2 + "data.algorithm", "SHA2_512"),
               "verifier is a key": (v2 + "signature.verifier", {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": other_raw}),
               "key details": (v2 + "signature.verifier.keyDetails", "PKIX_ED25519"), "more": (v2 + "extra", "x")},
    }
    tables["key"] = {name: tables["hashedrekord"][name] for name in ("signature", "key", "hash")}
    tables["0.1"] = tables["key"]
    tables["v2-dsse"] = {name: tables["v2"][name] for name in ("signature", "key", "hash")}
    tables["key-v2"] = {"signature": tables["v2"]["signature"], "hash": tables["v2"]["hash"],
                        "key": (v2 + "signature.verifier.publicKey.rawBytes", other_raw["rawBytes"])}
    for kind, table in tables.items():
        for name, (path, value) in table.items():
            yield make.case(f"{kind}: logged with another {name} (CVE-2026-22703)", kind, reason="log-entry-not-bound",
                            twists={"body": edit(path, value)})
        for name, path, value in (("kind", "kind", "rekord"), ("version", "apiVersion", "0.0.9")):
            yield make.case(f"{kind}: body of another {name}", kind, reason="log-entry-not-bound", twists={"body": edit(path, value)})
        yield make.case(f"{kind}: body is no JSON", kind, reason="log-entry-not-bound", twists={"body-bytes": lambda old: old[:-1]})
    for kind in ("hashedrekord", "v2", "dsse"):
        yield make.case(f"{kind}: entry called another kind", kind, reason="log-entry-not-bound",
                        twists={"entry": edit("kindVersion.kind", "intoto")})
        yield make.case(f"{kind}: entry called another version", kind, reason="log-entry-not-bound",
                        twists={"entry": edit("kindVersion.version", "9.9.9")})
    yield make.case("v2: body not canonical", "v2", reason="log-entry-not-bound",
                    twists={"body-bytes": lambda old: json.dumps(json.loads(old)).encode()})
    lent = make.base.bundle(OTHER)
    yield make.case("entry of another artifact", reason="log-entry-not-bound", twists={
        "bundle": edit(MATERIAL + "tlogEntries", lent["verificationMaterial"]["tlogEntries"])})


def log_cases(make: Maker):
    """Whether the entry is in a log that is trusted, and when it came there."""
    stranger1, stranger2 = rekor.Log(1, "rekor1.example"), rekor.Log(2, "rekor2.example")
    for kind in ("hashedrekord", "dsse", "intoto", "key", "0.1", "0.2"):
        yield make.case(f"{kind}: promise changed", kind, reason="set-signature",
                        twists={"entry": edit("inclusionPromise.signedEntryTimestamp", flip64)})
        yield make.case(f"{kind}: time changed (CVE-2024-55655)", kind, reason="set-signature", twists={"entry": edit("integratedTime", str(NOW + 1))})
    for name, path, value in (("index", "logIndex", 1), ("body", "body", b64(b"{}")), ("log id", "logID", "00" * 32), ("time", "integratedTime", 1)):
        yield make.case(f"promise of another {name}", reason="set-signature", twists={"set": edit(path, value)})
    yield make.case("promise of the shard's index", reason="set-signature", twists={"set": edit("logIndex", 2)})
    yield make.case("promise absent (CVE-2024-55655)", reason="no-verified-time", twists={"entry": edit("inclusionPromise", ...)})
    for kind, log in (("hashedrekord", stranger1), ("v2", stranger2)):
        service = "rekor1" if kind == "hashedrekord" else "rekor2"
        yield make.case(f"{kind}: an unknown log", kind, reason="log-unknown", instance=make.base.but(**{service: log}))
        yield make.case(f"{kind}: log id changed", kind, reason="log-unknown", twists={"entry": edit("logId.keyId", flip64)})
        number = 0 if kind == "hashedrekord" else 1
        yield make.case(f"{kind}: log not trusted", kind, reason="log-unknown", root=lambda old, number=number: old["tlogs"].pop(number) and None)
        yield make.case(f"{kind}: log's key ended before", kind, reason="log-key-not-valid-then", root=window("tlogs", number, START, NOW - HOUR))
        yield make.case(f"{kind}: log's key began later", kind, reason="log-key-not-valid-then", root=window("tlogs", number, NOW + HOUR, None))
    yield make.case("one second after the log's key ended", reason="log-key-not-valid-then", root=window("tlogs", 0, START, NOW - 1))
    yield make.case("entered before the certificate", reason="certificate-expired-at-time", twists={"time": lambda old: NOW - HOUR})
    yield make.case("entered after the certificate", reason="certificate-expired-at-time", twists={"time": lambda old: NOW + HOUR})
    yield make.case("one entry twice", reason="duplicate-log-entry", twists={"bundle": edit(MATERIAL + "tlogEntries", lambda old: old * 2)})
    yield make.case("v2: one entry twice", "v2", reason="duplicate-log-entry", twists={"bundle": edit(MATERIAL + "tlogEntries", lambda old: old * 2)})
    yield make.case("second entry bad", entries=["hashedrekord", "v2"], stamps=1, reason="inclusion-proof",
                    twists={"bundle": edit(MATERIAL + "tlogEntries.1.inclusionProof.hashes.0", flip64)})
    yield make.case("no entries", entries=[], stamps=1, reason="log-entries-missing")
    yield make.case("v2 without a time", "v2", stamps=0, reason="no-verified-time")
    yield make.case("v2 with a time of its own", "v2", stamps=0, reason="no-verified-time",
                    twists={"entry": edit("integratedTime", lambda old: str(NOW))})
    for kind in ("hashedrekord", "v2", "dsse", "key"):
        for name, path, value in (
                ("hash changed", "hashes.0", flip64), ("hash left out", "hashes", lambda old: old[1:]),
                ("hash too many", "hashes", lambda old: [*old, old[0]]), ("no hash", "hashes", []),
                ("hashes swapped", "hashes", lambda old: old[::-1]),
                ("index of the next", "logIndex", "3"), ("index outside", "logIndex", "99")):
            yield make.case(f"{kind}: proof: {name}", kind, reason="inclusion-proof", twists={"entry": edit("inclusionProof." + path, value)})
        for name, path, value in (("root changed", "rootHash", flip64), ("size changed", "treeSize", "6")):
            yield make.case(f"{kind}: proof: {name}", kind, reason="checkpoint-mismatch", twists={"entry": edit("inclusionProof." + path, value)})
    yield make.case("v2: no proof", "v2", reason="bundle-format", twists={"entry": edit("inclusionProof", ...)})


def checkpoint_cases(make: Maker):
    """Signed notes."""
    for kind in ("hashedrekord", "v2"):
        log = make.base.rekor1 if kind == "hashedrekord" else make.base.rekor2
        other = Key(log.key.kind)
        note = lambda name, reason, change, kind=kind: make.case(  # noqa: E731
            f"{kind}: checkpoint: {name}", kind, reason=reason, twists={"entry": edit("inclusionProof.checkpoint.envelope", change)})
        lines = lambda name, reason, change, kind=kind: make.case(  # noqa: E731
            f"{kind}: checkpoint: {name}", kind, reason=reason, twists={"note-lines": change})
        text = lambda name, reason, change, kind=kind: make.case(  # noqa: E731
            f"{kind}: checkpoint: {name}", kind, reason=reason, twists={"note": change})
        hint = lambda change, log=log: lambda line: relabel(line, change)  # noqa: E731
        yield lines("signature changed", "checkpoint-signature", lambda line: f"{line.rsplit(' ', 1)[0]} {flip64(line.split()[-1])}\n")
        yield note("text changed", "checkpoint-signature", lambda old: old.replace("\n", " x\n", 1) if kind == "hashedrekord" else old.replace("\n\n", "\nmore\n\n", 1))
        yield lines("no signature", "checkpoint-signature", lambda line: "")
        yield lines("hint of another key", "checkpoint-signature", hint(lambda raw: flip(raw, 0)))
        yield lines("another name", "checkpoint-signature", lambda line, log=log: line.replace(log.host, "other.example", 1))
        yield note("signed with another key", "checkpoint-signature", lambda old, log=log, other=other: resign(old, log, other))
        yield lines("a witness alone", "checkpoint-signature", lambda line: rekor.Log(2, "witness.example").note_line("x"))
        yield text("of another tree", "checkpoint-mismatch", lambda old: "\n".join([*old.split("\n")[:2], b64(bytes(32)), ""]))
        yield text("of another size", "checkpoint-mismatch", lambda old: "\n".join([old.split("\n")[0], "77", *old.split("\n")[2:]]))
        yield text("size with a sign", "checkpoint-format", lambda old: old.replace("\n5\n", "\n+5\n"))
        yield text("size with a zero", "checkpoint-format", lambda old: old.replace("\n5\n", "\n05\n"))
        yield text("size absent", "checkpoint-format", lambda old: "\n".join([old.split("\n")[0], *old.split("\n")[2:]]))
        yield text("root absent", "checkpoint-format", lambda old: "\n".join([*old.split("\n")[:2], ""]))
        yield text("root not base64", "checkpoint-format", lambda old: "\n".join([*old.split("\n")[:2], "???", ""]))
        yield text("no origin", "checkpoint-format", lambda old: "\n" + old.split("\n", 1)[1])
        yield note("no empty line", "checkpoint-format", lambda old: old.replace("\n\n", "\n", 1))
        yield note("two empty lines", "checkpoint-format", lambda old: old.replace("\n\n", "\n\n\n", 1))
        yield note("no newline at the end", "checkpoint-format", lambda old: old[:-1])
        yield lines("a dash for the em dash", "checkpoint-format", lambda line: line.replace(rekor.EM_DASH, "-"))
        yield lines("signature not base64", "checkpoint-format", lambda line: line.rsplit(" ", 1)[0] + " ???\n")
        yield lines("signature shorter than a hint", "checkpoint-format", lambda line: line.rsplit(" ", 1)[0] + " AAA=\n")
    yield make.case("v2: checkpoint of another origin", "v2", reason="checkpoint-origin",
                    twists={"note": lambda old: old.replace("rekor2.example", "other.example", 1)})


def relabel(line: str, change) -> str:
    return f"{line.rsplit(' ', 1)[0]} {b64(change(from_b64(line.split()[-1])))}\n"


def resign(note: str, log: rekor.Log, key: Key) -> str:
    text = note.split("\n\n")[0] + "\n"
    return text + "\n" + log.note_line(text, signer=key)
