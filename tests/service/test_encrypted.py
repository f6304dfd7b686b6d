"""Encrypted images through the service: the key comes from a hub behind it, by way of the file that kata writes for CDH."""

import json
import os

import pytest

import lib
from conftest import BUILD, BOTH_WAYS
from encryption import KeyHub, Keys, encrypt
from settings import write_config

pytestmark = pytest.mark.quick
ACCEPT = [{"type": "insecureAcceptAnything"}]


@BOTH_WAYS
def test_key_from_the_hub_behind_the_service(service, work, registry):
    keys, content = Keys(work / "keys"), os.urandom(5000)
    layer = encrypt(lib.Layer([lib.File("secret", content)]), keys)
    image = lib.Image([lib.Layer([lib.File("public", b"p")]), layer])
    name = image.push(registry, work.repository(), "v1")
    # What kata writes: the socket of the agent's own hub, which is ours; the call is relayed to the one behind.
    kata = work / "ocicrypt_config.json"
    kata.write_text(json.dumps({"key-providers": {"attestation-agent": {"ttrpc": f"unix://{service.socket}"}}}))
    config = write_config(work / "cdh.toml", {"work_dir": str(work.store)}, {
        "allow_unencrypted_store": True, "plain_http": [registry.host], "measurement": "off", "runtime_dir": str(work / "run"),
        "policy": lib.write_policy(work / "policy.json", {registry.host: ACCEPT})})
    with KeyHub(service.upstream_socket, keys) as hub:
        service.start("-c", config, program=BUILD / "bin/guest-pull", environment={"OCICRYPT_KEYPROVIDER_CONFIG": str(kata)})
        bundle = service.bundle("c1")
        answer = service.pull(name, bundle)
        assert answer["code"] == 0 and answer["digest"] == image.digest, answer
        assert (bundle / "rootfs/secret").read_bytes() == content and hub.unwrapped == 1
        hub.keys = Keys(work / "other-keys")
        refused = service.pull(name, service.bundle("c2"))
        assert refused["code"] == 13 and "Failed to pull image" in refused["message"]
        assert "Failed to decrypt the image layer, please ensure that the decryption key is placed and correct" in refused["message"]
        assert not (service.bundles / "c2/rootfs").exists()
        lib.unmount_below(service.bundles)
