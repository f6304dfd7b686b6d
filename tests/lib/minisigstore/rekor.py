"""Miniature transparency logs: Rekor v1 (SET, ECDSA checkpoints) and v2 (Ed25519 checkpoints, rebuilt bodies)."""

import base64
import hashlib
import json

from minisigstore.keys import Key

EM_DASH = "\u2014"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def canonical(document) -> bytes:
    """JSON as RFC 8785 writes it, for documents of ASCII strings and small integers."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def tree_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, of leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(tree_root(leaves[:k]), tree_root(leaves[k:]))


def tree_path(leaves: list[bytes], index: int) -> list[bytes]:
    """RFC 6962 §2.1.1, from the leaf up."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*tree_path(leaves[:k], index), tree_root(leaves[k:])]
    return [*tree_path(leaves[k:], index - k), tree_root(leaves[:k])]


class Log:
    """A log whose tree has `before` other entries before ours and `after` behind it. version 1 or 2."""

    def __init__(self, version: int, host: str, before: int = 2, after: int = 2, offset: int | None = None, key: Key | None = None):
        self.version, self.host, self.before, self.after = version, host, before, after
        self.offset = (1000 if version == 1 else 0) if offset is None else offset  # v1: the shard's first global index
        self.key = key or Key("P-256" if version == 1 else "Ed25519")

    @property
    def note_id(self) -> bytes:
        """What a signed note's key hint is the beginning of."""
        if self.key.kind == "Ed25519":
            return hashlib.sha256(self.host.encode() + b"\n\x01" + self.key.der[-32:]).digest()
        return self.key.id

    @property
    def id(self) -> bytes:
        return self.key.id if self.version == 1 else self.note_id

    @property
    def origin(self) -> str:
        return f"{self.host} - 4711" if self.version == 1 else self.host

    def note_line(self, text: str, signer: Key | None = None, name: str | None = None, hint: bytes | None = None) -> str:
        signature = (signer or self.key).sign(text.encode())
        return f"{EM_DASH} {name or self.host} {b64((hint or self.note_id[:4]) + signature)}\n"

    def entry(self, body: dict, kind: tuple[str, str], seconds: int, twist) -> dict:
        """A tlogEntry of a bundle for `body`. twist(stage, value) may replace what it is shown on the way: what is changed before something
        is signed is signed so."""
        raw = twist("body-bytes", canonical(twist("body", body)))
        leaves = [leaf_hash(b"somebody's entry %d" % number) for number in range(self.before)]
        index = len(leaves)
        leaves += [leaf_hash(raw), *(leaf_hash(b"a later entry %d" % number) for number in range(self.after))]
        text = twist("note", f"{self.origin}\n{len(leaves)}\n{b64(tree_root(leaves))}\n")
        note = text + "\n" + twist("note-lines", self.note_line(text))
        time, claimed, number = (twist(what, value) for what, value in
                                 (("time", seconds), ("set-id", self.id.hex()), ("number", self.offset + index)))
        entry = {
            "logIndex": str(number), "logId": {"keyId": b64(self.id)}, "kindVersion": {"kind": kind[0], "version": kind[1]},
            "inclusionProof": {"logIndex": str(index), "rootHash": b64(tree_root(leaves)), "treeSize": str(len(leaves)),
                               "hashes": [b64(item) for item in tree_path(leaves, index)], "checkpoint": {"envelope": note}},
            "canonicalizedBody": b64(raw)}
        if self.version == 1:
            signed = twist("set", {"body": b64(raw), "integratedTime": time, "logID": claimed, "logIndex": number})
            entry["integratedTime"] = str(time)
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64(self.key.sign(canonical(signed)))}
        return twist("entry", entry)


def hash_of(data: bytes, name: str = "sha256") -> dict:
    return {"algorithm": name, "value": hashlib.new(name, data).hexdigest()}


def hashedrekord(signature: bytes, verifier_pem: bytes, data: bytes, digest: str = "sha256") -> tuple[dict, tuple]:
    """Rekor v1. verifier_pem: the public key or the certificate."""
    return {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": hash_of(data, digest)},
        "signature": {"content": b64(signature), "publicKey": {"content": b64(verifier_pem)}}}}, ("hashedrekord", "0.0.1")


def dsse(envelope: dict, verifier_pem: bytes) -> tuple[dict, tuple]:
    payload = base64.b64decode(envelope["payload"])
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {
        "envelopeHash": hash_of(canonical(envelope)), "payloadHash": hash_of(payload),
        "signatures": [{"signature": item["sig"], "verifier": b64(verifier_pem)} for item in envelope["signatures"]]}}, ("dsse", "0.0.1")


def intoto(envelope: dict, verifier_pem: bytes) -> tuple[dict, tuple]:
    payload = base64.b64decode(envelope["payload"])
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {
        "envelope": {"payloadType": envelope["payloadType"],
                     "signatures": [{"publicKey": b64(verifier_pem), "sig": b64(item["sig"].encode())} for item in envelope["signatures"]]},
        "hash": hash_of(canonical(envelope)), "payloadHash": hash_of(payload)}}}, ("intoto", "0.0.2")


def hashedrekord_v2(signature: bytes, verifier: dict, details: str, data: bytes, digest: str = "sha256") -> tuple[dict, tuple]:
    """Rekor v2. verifier: {"x509Certificate" or "publicKey": {"rawBytes"}}; data: the artifact, or the DSSE envelope's PAE."""
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
        "data": {"algorithm": "SHA2_" + digest[3:], "digest": b64(hashlib.new(digest, data).digest())},
        "signature": {"content": b64(signature), "verifier": {"keyDetails": details, **verifier}}}}}, ("hashedrekord", "0.0.2")
