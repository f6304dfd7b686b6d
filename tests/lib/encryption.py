"""Encrypted layers as ocicrypt makes them, and the key provider that opens them. Layers of our own making (openssl does the AES), for
everything that skopeo would not write; layers that skopeo 1.22 encrypts, with `Keys` as its key provider program.

    keys = Keys(work / "keys"); hub = KeyHub(socket, keys)
    layer = encrypt(Layer([File("a", "b")]), keys); skopeo_encrypt(peers.skopeo, layout, target, keys)
"""

import base64
import hashlib
import hmac
import json
import os
import stat
import subprocess

from image import Layer, digest_of, to_json
from ttrpc import Hub, Refusal, field, fields

PUBLIC = "org.opencontainers.image.enc.pubopts"
PROVIDER = "org.opencontainers.image.enc.keys.provider."
CIPHER = "AES_256_CTR_HMAC_SHA256"

# Run by skopeo for "cmd" providers: wraps what ocicrypt hands over under the key in the file beside it.
PROGRAM = """#!/usr/bin/python3
import base64, json, sys
sys.path.insert(0, {here!r})
from encryption import Keys
request = json.load(sys.stdin)
packet = Keys({folder!r}).wrap(base64.b64decode(request["keywrapparams"]["optsdata"]))
print(json.dumps({{"keywrapresults": {{"annotation": packet}}}}))
"""


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Keys:
    """One wrapping key, kept in `folder`. A packet is base64 of a nonce, a tag and what is wrapped, masked by a hash stream."""

    def __init__(self, folder):
        self.folder = os.fspath(folder)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "kek")
        if not os.path.exists(path):
            with open(path, "wb") as out:
                out.write(os.urandom(32))
        with open(path, "rb") as file:
            self.kek = file.read()

    def _mask(self, nonce: bytes, data: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(data, hashlib.shake_256(self.kek + nonce).digest(len(data))))

    def wrap(self, data: bytes) -> str:
        nonce = os.urandom(16)
        masked = self._mask(nonce, data)
        return b64(nonce + hmac.digest(self.kek, nonce + masked, "sha256") + masked)

    def unwrap(self, packet: str) -> bytes | None:
        raw = base64.b64decode(packet)
        nonce, tag, masked = raw[:16], raw[16:48], raw[48:]
        good = hmac.compare_digest(tag, hmac.digest(self.kek, nonce + masked, "sha256"))
        return self._mask(nonce, masked) if good else None

    def provider_config(self, name: str = "attestation-agent") -> str:
        """Path of an OCICRYPT_KEYPROVIDER_CONFIG for skopeo."""
        program, config = os.path.join(self.folder, "provider"), os.path.join(self.folder, "ocicrypt.json")
        with open(program, "w") as out:
            out.write(PROGRAM.format(here=os.path.dirname(__file__), folder=self.folder))
        os.chmod(program, stat.S_IRWXU)
        with open(config, "w") as out:
            json.dump({"key-providers": {name: {"cmd": {"path": program, "args": []}}}}, out)
        return config


class KeyHub(Hub):
    """A confidential-data-hub that unwraps with `keys`. answer: options -> the value of "optsdata"; by default the list of numbers of
    the real one. unwrapped: how many packets it was asked for."""

    def __init__(self, path, keys: Keys, answer=list):
        self.keys, self.answer, self.unwrapped = keys, answer, 0
        super().__init__(path)
        self.methods[("keyprovider.KeyProviderService", "UnWrapKey")] = self._unwrap

    def _unwrap(self, payload: bytes) -> bytes:
        request = json.loads(fields(payload)[1])
        assert request["op"] == "keyunwrap" and request["keywrapparams"] == {}
        self.unwrapped += 1
        options = self.keys.unwrap(request["keyunwrapparams"]["annotation"])
        if options is None:
            raise Refusal(13, "[CDH] [ERROR]: Unwrap key failed: no such key")
        return field(1, to_json({"keyunwrapresults": {"optsdata": self.answer(options)}}))


def aes_ctr(data: bytes, key: bytes, nonce: bytes) -> bytes:
    return subprocess.run(["openssl", "enc", "-aes-256-ctr", "-K", key.hex(), "-iv", nonce.hex()], input=data, stdout=subprocess.PIPE,
                          check=True).stdout


def private_options(layer: Layer, key: bytes, nonce: bytes) -> bytes:
    return to_json({"symkey": b64(key), "digest": layer.digest, "cipheroptions": {"nonce": b64(nonce)}})


def encrypt(layer: Layer, keys: Keys | list[Keys], *, provider: str = "attestation-agent", edit_public=None, edit_private=None,
            edit_blob=None) -> Layer:
    """`layer` encrypted; several `keys`: a packet for each. edit_*: get the options as a dict, or the ciphertext, and return another."""
    key, nonce = os.urandom(32), os.urandom(16)
    blob = aes_ctr(layer.blob, key, nonce)
    public = {"cipher": CIPHER, "hmac": b64(hmac.digest(key, blob, "sha256")), "cipheroptions": {}}
    private = private_options(layer, key, nonce)
    if edit_private:
        private = to_json(edit_private(json.loads(private)))
    public = edit_public(public) if edit_public else public
    packets = [k.wrap(private) for k in (keys if isinstance(keys, list) else [keys])]
    encrypted = Layer(layer.tar, media_type=layer.media_type + "+encrypted",
                      annotations={PUBLIC: b64(to_json(public)), PROVIDER + provider: ",".join(packets)})
    encrypted.blob = edit_blob(blob) if edit_blob else blob
    encrypted.digest, encrypted.compression = digest_of(encrypted.blob), layer.compression
    return encrypted


def skopeo_encrypt(program, source: str, target: str, keys: Keys, *more: str, provider: str = "attestation-agent") -> str:
    """Copies the image `source` to `target`, encrypted. Returns `target`."""
    subprocess.run([program, "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", *more, "--encryption-key",
                    f"provider:{provider}:test", source, target], check=True, capture_output=True,
                   env={**os.environ, "OCICRYPT_KEYPROVIDER_CONFIG": keys.provider_config(provider)})
    return target
