"""Encrypted images (ocicrypt): what the right key opens equals the unencrypted twin, and nothing else opens anything."""

import base64
import json
import os

import pytest

from compare import differences, snapshot
from encryption import PROVIDER, PUBLIC, KeyHub, Keys, b64, encrypt, skopeo_encrypt
from lib import *
from settings import write_config

KEY, INVALID, UNSUPPORTED, LIMIT = 13, 9, 12, 10


class Guest:
    """A guest with a confidential-data-hub that has the key. pull() pulls `image` (an Image, or a name) into a bundle of its own."""

    def __init__(self, work, registry):
        self.work, self.registry = work, registry
        self.keys = Keys(work / "keys")
        self.hub = KeyHub(work / "cdh.sock", self.keys)
        self.policy = write_policy(work / "policy.json", {registry.host: [{"type": "insecureAcceptAnything"}]})
        self.config = {"cdh_socket": str(work / "cdh.sock"), "runtime_dir": str(work / "run"), "measurement": "off"}
        self.bundles = 0

    def options(self) -> list:
        return ["--config", write_config(self.work / "config.toml", {}, self.config)]

    def pull(self, image, check=0, store=None):
        name = image.push(self.registry, self.work.repository()) if isinstance(image, Image) else image
        self.bundles += 1
        bundle = self.work.new_bundle(f"bundle{self.bundles}")
        return self.work.pull(name, *self.options(), bundle=bundle, store=store, policy=self.policy, registry=self.registry, check=check)

    def rootfs(self):
        return self.work / f"bundle{self.bundles}" / "rootfs"

    def refused(self, image, status, *words):
        """It is refused with all of `words`, and the store has gained nothing."""
        before = self.layers()
        result = self.pull(image, check=status)
        for word in words:
            assert word in result.message, result
        assert self.layers() == before and not self.rootfs().exists()
        assert not mounts_below(self.work / f"bundle{self.bundles}")
        staging = self.work.store / "staging"
        assert not staging.exists() or not list(staging.iterdir())
        return result

    def layers(self) -> list:
        if not self.work.store.exists():
            return []
        return guest_pull("layers", "--json", "--store", self.work.store).json["layers"]


@pytest.fixture
def guest(work, registry):
    guest = Guest(work, registry)
    yield guest
    guest.hub.stop()


def secret_layer(name="secret", compression="gzip") -> Layer:
    """Different in every test: blobs of the shared registry are shared too."""
    return Layer([Dir("etc"), File("etc/" + name, os.urandom(20000), mtime="1.5")], compression=compression)


def image_of(*layers) -> Image:
    return Image(list(layers), config={"Cmd": ["/x"]})


def same_tree(work, guest, encrypted, plain):
    """Both are pulled, into stores of their own, and their trees are equal."""
    guest.pull(encrypted)
    left = snapshot(guest.rootfs())
    guest.pull(plain, store=work / "store-of-the-twin")
    assert differences(left, snapshot(guest.rootfs()), "decrypted", "twin") == []


# ---- skopeo encrypts

@pytest.fixture
def skopeo_peer(peers):
    if not peers.skopeo:
        pytest.skip("no newer skopeo to be had")
    return peers.skopeo


@pytest.mark.parametrize("how", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("which", ["all layers", "the last layer"])
def test_image_that_skopeo_encrypted_equals_its_twin(work, guest, skopeo_peer, how, which):
    plain = image_of(secret_layer("one", how), secret_layer("two", how))
    more = [] if which == "all layers" else ["--encrypt-layer", "-1"]
    if how == "none":
        more.append("--dest-decompress")
    target = f"{guest.registry.host}/{work.repository()}:encrypted"
    skopeo_encrypt(skopeo_peer, plain.write_layout(work / "layout"), "docker://" + target, guest.keys, *more)
    same_tree(work, guest, target, plain)
    count = 2 if which == "all layers" else 1
    assert guest.hub.unwrapped == count
    listed = guest_pull("images", "--json", "--store", work.store).json["images"][0]["encrypted"]
    assert [layer["providers"] for layer in listed] == [["attestation-agent"]] * count
    assert sum(layer["encrypted"] for layer in guest.layers()) == count


def test_image_that_skopeo_compressed_anew_while_encrypting(work, guest, skopeo_peer):
    """The digest in its private options is then the source's: nothing that could be compared."""
    plain = image_of(secret_layer())
    target = f"{guest.registry.host}/{work.repository()}:encrypted"
    skopeo_encrypt(skopeo_peer, plain.write_layout(work / "layout"), "docker://" + target, guest.keys, "--dest-compress-format", "zstd",
                   "--dest-force-compress-format")
    same_tree(work, guest, target, plain)


def test_wrong_key_for_an_image_of_skopeo(work, guest, skopeo_peer):
    plain = image_of(secret_layer())
    target = f"{guest.registry.host}/{work.repository()}:encrypted"
    skopeo_encrypt(skopeo_peer, plain.write_layout(work / "layout"), "docker://" + target, Keys(work / "other-keys"))
    guest.refused(target, KEY, "cannot decrypt the layer", "provider attestation-agent, key 1", "no such key")


# ---- keys in files, for debugging

@pytest.fixture(scope="module")
def key_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jwe")
    for name in ("one", "two"):
        run("openssl", "genrsa", "-out", folder / f"{name}.pem", "2048")
        run("openssl", "rsa", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub")
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "ec.pem")
    run("openssl", "ec", "-in", folder / "ec.pem", "-pubout", "-out", folder / "ec.pub")
    return folder


def jwe_image(work, guest, skopeo_peer, key_files, *names) -> tuple[str, Image]:
    plain = image_of(secret_layer())
    target = f"{guest.registry.host}/{work.repository()}:encrypted"
    keys = [word for name in names for word in ("--encryption-key", f"jwe:{key_files}/{name}.pub")]
    run(skopeo_peer, "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", *keys, plain.write_layout(work / "layout"),
        "docker://" + target)
    return target, plain


@pytest.mark.parametrize("names", [("one",), ("two", "one"), ("ec", "one")], ids=" and ".join)
def test_jwe_of_skopeo(work, guest, skopeo_peer, key_files, names):
    target, plain = jwe_image(work, guest, skopeo_peer, key_files, *names)
    work.pull(target, *guest.options(), "--decryption-key", key_files / "one.pem", policy=guest.policy, registry=guest.registry)
    left = snapshot(work.rootfs)
    guest.pull(plain, store=work / "store-of-the-twin")
    assert differences(left, snapshot(guest.rootfs()), "decrypted", "twin") == []
    assert guest.hub.unwrapped == 0


@pytest.mark.parametrize("names, key, reason", [
    (("two",), "one.pem", "for somebody else's key"), (("ec",), "one.pem", "only RSA-OAEP is known"),
    (("one",), "ec.pem", "must be an RSA private key"), (("one",), "one.pub", "must be an RSA private key"),
    (("one",), "none.pem", "none.pem"), (("one",), None, "wrapped for jwe"),
])
def test_jwe_refused(work, guest, skopeo_peer, key_files, names, key, reason):
    target, _ = jwe_image(work, guest, skopeo_peer, key_files, *names)
    option = ["--decryption-key", key_files / key] if key else []
    refused = work.pull(target, *guest.options(), *option, policy=guest.policy, registry=guest.registry, check=None)
    assert refused.status in (KEY, 7) and reason in refused.message, refused


# ---- forms that are accepted

@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_mixed_layers(work, guest, compression):
    base, secret = secret_layer("base", compression), secret_layer("secret", compression)
    same_tree(work, guest, image_of(base, encrypt(secret, guest.keys)), image_of(base, secret))


def test_nondistributable_layer(work, guest):
    plain = secret_layer()
    odd = Layer(plain.tar, media_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    same_tree(work, guest, image_of(encrypt(odd, guest.keys)), image_of(plain))


def test_options_in_base64_as_go_providers_answer(work, guest):
    guest.hub.answer = b64
    plain = secret_layer()
    same_tree(work, guest, image_of(encrypt(plain, guest.keys)), image_of(plain))


def test_several_packets_are_tried_in_order(work, guest):
    plain = secret_layer()
    others = [Keys(work / f"other{i}") for i in range(3)]
    same_tree(work, guest, image_of(encrypt(plain, [*others, guest.keys])), image_of(plain))
    assert guest.hub.unwrapped == 4


def test_annotation_reaches_the_provider_unread(work, guest):
    """Version 2 of the packets or anything else: what is between the commas is the provider's."""
    layer = encrypt(secret_layer(), guest.keys)
    packet = b64(b'{"version":"0.2.0","kid":"kbs:///a/b/c","wrapped_data":"..."}')
    layer.annotations[PROVIDER + "attestation-agent"] = packet + "," + layer.annotations[PROVIDER + "attestation-agent"]
    seen = []
    unwrap = guest.keys.unwrap
    guest.keys.unwrap = lambda given: seen.append(given) or (None if given == packet else unwrap(given))
    guest.pull(image_of(layer))
    assert seen[0] == packet and len(seen) == 2


def test_nonce_in_the_public_options(work, guest):
    nonce = {}

    def take(private):
        nonce.update(private.pop("cipheroptions"))
        return private

    plain = secret_layer()
    layer = encrypt(plain, guest.keys, edit_private=take)
    public = json.loads(base64.b64decode(layer.annotations[PUBLIC]))
    layer.annotations[PUBLIC] = b64(json.dumps({**public, "cipheroptions": nonce}).encode())
    same_tree(work, guest, image_of(layer), image_of(plain))


def test_provider_by_configuration(work, guest):
    """kata's own file names cdh.sock; here another hub has the key, and the configured one has not."""
    keys = Keys(work / "elsewhere")
    layer = encrypt(secret_layer(), keys, provider="vault")
    (work / "ocicrypt.json").write_text(json.dumps({"key-providers": {"vault": {"ttrpc": f"unix://{work}/vault.sock"}}}))
    name = image_of(layer).push(guest.registry, work.repository())
    guest.refused(name, KEY, "provider vault, key 1", "no such key")
    with KeyHub(work / "vault.sock", keys) as vault:
        guest.config["key_provider_config"] = str(work / "ocicrypt.json")
        guest.pull(name)
        assert vault.unwrapped == 1


def test_provider_configuration_from_the_environment(work, guest):
    (work / "ocicrypt.json").write_text('{"key-providers": {"attestation-agent": {"cmd": {"path": "/bin/true", "args": []}}}}')
    name = image_of(encrypt(secret_layer(), guest.keys)).push(guest.registry, work.repository())
    result = work.pull(name, *guest.options(), policy=guest.policy, registry=guest.registry, check=KEY,
                       env={**os.environ, "OCICRYPT_KEYPROVIDER_CONFIG": str(work / "ocicrypt.json")})
    assert 'provider attestation-agent, key 1: is configured by "cmd" or "grpc"' in result.message


# ---- what is refused

def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def edited(options: dict, **changes) -> dict:
    return {**options, **changes}


PUBLIC_EDITS = {
    "another cipher": (lambda o: edited(o, cipher="AES_256_GCM"), UNSUPPORTED, 'cipher "AES_256_GCM", only AES_256_CTR_HMAC_SHA256'),
    "no cipher": (lambda o: {k: v for k, v in o.items() if k != "cipher"}, INVALID, "cipher"),
    "short hmac": (lambda o: edited(o, hmac=b64(b"x" * 31)), INVALID, "the hmac must be 32 bytes"),
    "hmac of another length": (lambda o: edited(o, hmac=b64(b"x" * 33)), INVALID, "the hmac must be 32 bytes"),
    "tampered hmac": (lambda o: edited(o, hmac=b64(flip(base64.b64decode(o["hmac"]), 5))), KEY, "hmac-mismatch"),
    "unknown member": (lambda o: edited(o, extra=1), INVALID, "extra"),
    "unknown cipher option": (lambda o: edited(o, cipheroptions={"tweak": "AA=="}), INVALID, "tweak"),
    "two nonces": (lambda o: edited(o, cipheroptions={"nonce": b64(b"n" * 16)}), KEY, "cipheroptions"),
    "short nonce": (lambda o: edited(o, cipheroptions={"nonce": b64(b"n" * 12)}), INVALID, "the nonce must be 16 bytes"),
}
PRIVATE_EDITS = {
    "short key": (lambda o: edited(o, symkey=b64(b"k" * 16)), "symkey must be 32 bytes"),
    "key that is not base64": (lambda o: edited(o, symkey="!" * 44), "symkey must be 32 bytes"),
    "no key": (lambda o: {k: v for k, v in o.items() if k != "symkey"}, "must be {"),
    "digest that is none": (lambda o: edited(o, digest="sha256:00"), "digest is none"),
    "no digest": (lambda o: {k: v for k, v in o.items() if k != "digest"}, "must be {"),
    "unknown member": (lambda o: edited(o, extra=1), "must be {"),
    "no nonce": (lambda o: edited(o, cipheroptions={}), "no nonce"),
    "short nonce": (lambda o: edited(o, cipheroptions={"nonce": b64(b"n" * 8)}), "cipheroptions must be"),
    "another layer's key": (lambda o: edited(o, symkey=b64(b"k" * 32)), "hmac-mismatch"),
}


@pytest.mark.parametrize("case", PUBLIC_EDITS)
def test_public_options(guest, case):
    edit, status, reason = PUBLIC_EDITS[case]
    guest.refused(image_of(encrypt(secret_layer(), guest.keys, edit_public=edit)), status, reason)


@pytest.mark.parametrize("case", PRIVATE_EDITS)
def test_private_options(guest, case):
    edit, reason = PRIVATE_EDITS[case]
    result = guest.refused(image_of(encrypt(secret_layer(), guest.keys, edit_private=edit)), KEY, "cannot decrypt the layer", reason)
    assert b64(b"k" * 32) not in str(result)


def without(layer: Layer, name: str) -> Layer:
    del layer.annotations[name]
    return layer


def test_annotations_that_are_missing_or_none(guest):
    def layer():
        return encrypt(secret_layer(), guest.keys)
    guest.refused(image_of(without(layer(), PUBLIC)), INVALID, "without the annotation " + PUBLIC)
    guest.refused(image_of(without(layer(), PROVIDER + "attestation-agent")), KEY, "no-key-provider", "wrapped for nobody")
    jwe = without(layer(), PROVIDER + "attestation-agent")
    jwe.annotations["org.opencontainers.image.enc.keys.jwe"] = "e30="
    guest.refused(image_of(jwe), KEY, "no-key-provider", "wrapped for jwe")
    for packet, status, reason in (("", INVALID, "not base64"), ("a,,b", INVALID, "not base64"), ("a b", INVALID, "not base64"),
                                   (",".join(["AAAA"] * 17), LIMIT, "more than 16"), ("A" * 65540, LIMIT, "more than 65536")):
        odd = layer()
        odd.annotations[PROVIDER + "attestation-agent"] = packet
        guest.refused(image_of(odd), status, reason)
    for text in ("", "e30", "not base64!", b64(b"[]"), b64(b"{}"), b64(b'{"cipher":1}'), b64(b"x" * 5000)):
        odd = layer()
        odd.annotations[PUBLIC] = text
        guest.refused(image_of(odd), INVALID, "public options")
    assert guest.hub.unwrapped > 0


def test_answers_that_are_none(guest):
    image = image_of(encrypt(secret_layer(), guest.keys))
    for value in ([256], [-1], [1.5], ["a"], {}, None, True, "no base64!", "e30"):
        guest.hub.answer = lambda options, value=value: value
        guest.refused(image, KEY, "an answer that is not")
    for value in ([], [1, 2, 3], "", b64(b"not json")):
        guest.hub.answer = lambda options, value=value: value
        guest.refused(image, KEY, "not JSON")


def test_no_hub(guest):
    image = image_of(encrypt(secret_layer(), guest.keys))
    guest.config["cdh_socket"] = str(guest.work / "nobody.sock")
    guest.refused(image, KEY, "cannot decrypt the layer", "nobody.sock")


def test_tampered_ciphertext(work, guest):
    """The manifest names the changed bytes: their digest is right, the HMAC is not. And a blob that the registry changed."""
    for at in (0, 9000, -1):
        layer = encrypt(secret_layer(), guest.keys, edit_blob=lambda blob, at=at: flip(blob, at % len(blob)))
        guest.refused(image_of(layer), KEY, "hmac-mismatch")
    truncated = encrypt(secret_layer(), guest.keys, edit_blob=lambda blob: blob[:-7])
    guest.refused(image_of(truncated), KEY, "hmac-mismatch")
    extended = encrypt(secret_layer(), guest.keys, edit_blob=lambda blob: blob + b"more")
    guest.refused(image_of(extended), KEY, "hmac-mismatch")


def test_blob_that_the_registry_changed(work, guest):
    image = image_of(encrypt(secret_layer(), guest.keys))
    blob = image.layers[0].blob
    with FakeRegistry() as fake:
        fake.add(image, work.repository())
        guest.registry = fake
        guest.policy = write_policy(work / "fake.json", {fake.host: [{"type": "insecureAcceptAnything"}]})
        path = f"/v2/{work.repository()}/blobs/{image.layers[0].digest}"
        name = f"{fake.host}/{work.repository()}@{image.digest}"
        fake.answers[path] = (200, {}, flip(blob, 100))
        guest.refused(name, 5, f"expected {image.layers[0].digest}")
        fake.answers[path] = (200, {}, blob[:-1])
        guest.refused(name, INVALID, "the manifest leaves")


def test_swapped_annotations(guest):
    one, two = encrypt(secret_layer("one"), guest.keys), encrypt(secret_layer("two"), guest.keys)
    one.annotations, two.annotations = two.annotations, one.annotations
    guest.refused(image_of(one, two), KEY, "hmac-mismatch")
    one, two = encrypt(secret_layer("one"), guest.keys), encrypt(secret_layer("two"), guest.keys)
    name = PROVIDER + "attestation-agent"
    one.annotations[name], two.annotations[name] = two.annotations[name], one.annotations[name]
    guest.refused(image_of(one, two), KEY, "hmac-mismatch")


# ---- having a layer is no right to it

def test_layer_in_the_store_needs_its_key_again(work, guest):
    plain = secret_layer()
    layer = encrypt(plain, guest.keys)
    guest.pull(image_of(layer))
    again = guest.pull(image_of(layer, secret_layer("more")))
    assert [row["reused"] for row in again.json["layers"]] == [True, False] and guest.hub.unwrapped == 2
    # The same blob, named by an image of somebody without the key.
    stranger = Layer(plain.tar, media_type=layer.media_type, annotations=dict(layer.annotations))
    stranger.blob, stranger.digest = layer.blob, layer.digest
    stranger.annotations[PROVIDER + "attestation-agent"] = Keys(work / "other").wrap(b"{}")
    guest.refused(image_of(stranger), KEY, "key-not-released", "no such key")
    # …of somebody whose own key the broker releases: it is not the layer's.
    forged = encrypt(plain, guest.keys)
    stranger.annotations = forged.annotations
    guest.refused(image_of(stranger), KEY, "key-required", "another key")
    # …that calls it plain.
    stranger.annotations, stranger.media_type = None, plain.media_type
    guest.refused(image_of(stranger), KEY, "key-required", "without its key")
    # The key is taken away from the guest: not even the first image starts again.
    guest.hub.keys = Keys(work / "other")
    guest.refused(image_of(layer), KEY, "key-not-released")


def test_plain_layer_that_an_image_calls_encrypted(work, guest):
    plain = secret_layer()
    guest.pull(image_of(plain))
    pretender = encrypt(plain, guest.keys)
    pretender.blob, pretender.digest = plain.blob, plain.digest
    guest.refused(image_of(pretender), INVALID, "not-encrypted")


def test_policy_that_wants_every_layer_encrypted(work, guest):
    plain, secret = secret_layer("plain"), encrypt(secret_layer(), guest.keys)
    guest.policy = write_policy(work / "strict.json", {guest.registry.host: [{"type": "insecureAcceptAnything"},
                                                                             {"type": "guest-pull/encrypted"}]})
    guest.refused(image_of(plain, secret), POLICY, "not-encrypted")
    guest.refused(image_of(plain), POLICY, "not-encrypted")
    guest.pull(image_of(secret))


def test_no_key_is_left_anywhere(work, guest):
    """Neither in the store nor in the runtime directory, the receipts or the output, in the three usual spellings."""
    keys = []
    layer = encrypt(secret_layer(), guest.keys, edit_private=lambda o: keys.append(o["symkey"]) or o)
    result = guest.pull(image_of(layer))
    raw = base64.b64decode(keys[0])
    for spelling in (keys[0].encode(), raw, raw.hex().encode()):
        assert spelling.decode("latin-1") not in str(result)
        for folder, _, files in os.walk(work):
            for name in files:
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path) or "/rootfs/" in path:
                    continue
                with open(path, "rb") as file:
                    assert spelling not in file.read(), path


def test_verify_shows_who_has_the_keys(work, guest):
    layer = encrypt(secret_layer(), guest.keys)
    name = image_of(secret_layer(), layer).push(guest.registry, work.repository())
    report = work.verify(name, *guest.options(), policy=guest.policy, registry=guest.registry).json
    assert report["encrypted"] == [{"digest": layer.digest, "providers": ["attestation-agent"]}]
    assert guest.hub.unwrapped == 0
    text = guest_pull("verify", name, *guest.options(), "--policy", guest.policy, "--plain-http", guest.registry.host).stdout
    assert "encrypted" in text and "key by attestation-agent" in text
