"""The way of a real guest: kata-agent's client asks guest-pulld, and policy, key and credentials come from the hub behind it (Debian's Go ttrpc
library), configured by cdh.toml alone. kata's end-to-end policies."""

import json

import pytest

import lib
from conftest import BUILD, BOTH_WAYS

pytestmark = pytest.mark.quick
REJECT = [{"type": "reject"}]


class Guest:
    """A service whose configuration names only KBS resources; resources are files that a test may change or remove."""

    def __init__(self, service, work, registry, requirement, credentials=None):
        self.service, self.work = service, work
        self.folder = service.directory / "resources/default"
        self.put("policy/prod", json.dumps({"default": REJECT, "transports": {"docker": {registry.host: [requirement]}}}))
        image = {"work_dir": str(work.store), "image_security_policy_uri": "kbs:///default/policy/prod"}
        if credentials:
            self.put("auth/registry", open(registry.authfile(work / "auth.json", credentials)).read())
            image["authenticated_registry_credentials_uri"] = "kbs:///default/auth/registry"
        self.events = service.directory / "events"
        service.start_hub(f"-resources={service.directory}/resources", f"-event-log={self.events}")
        own = {"allow_unencrypted_store": True, "plain_http": [registry.host], "measurement": "required",
               "attestation_agent_socket": f"unix://{service.upstream_socket}", "runtime_dir": str(work / "run"),
               "cdh_socket": f"unix://{service.upstream_socket}"}
        config = work / "cdh.toml"
        with open(config, "w") as out:
            for name, section in (("image", image), ("guest_pull", own)):
                out.write(f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items()))
        service.start("-c", str(config), program=BUILD / "bin/guest-pull")

    def put(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def remove(self, name):
        (self.folder / name).unlink()

    def pull(self, image, name="c1"):
        return self.service.pull(image, self.service.bundle(name))


def signed_image(work, registry, key):
    image = lib.Image([lib.Layer([lib.File("hello", work.repository())])])
    name = image.push(registry, work.repository(), "v1")
    lib.cosign_sign(registry, work.repository(), image.digest, key)
    return image, name


@BOTH_WAYS
def test_policy_and_key_from_the_kbs(service, work, registry, cosign_key, other_cosign_key):
    """kata's shape: sigstoreSigned by a kbs keyPath, no signedIdentity. Fetched freshly: another key is another verdict."""
    image, name = signed_image(work, registry, cosign_key)
    guest = Guest(service, work, registry, {"type": "sigstoreSigned", "keyPath": "kbs:///default/cosign-public-key/test"})
    guest.put("cosign-public-key/test", open(cosign_key.public).read())
    answer = guest.pull(name)
    assert answer["code"] == 0 and answer["digest"] == image.digest, answer
    event = guest.events.read_text()
    assert image.digest in event and name in event and "PullImage" in event
    receipts = list((work / "run/receipts").iterdir())
    assert len(receipts) == 1 and json.loads(receipts[0].read_text())["manifestDigest"] == image.digest
    guest.put("cosign-public-key/test", open(other_cosign_key.public).read())
    refused = guest.pull(name, "c2")
    assert refused["code"] == 13 and "Image policy rejected: Denied by policy" in refused["message"]
    assert "Failed to pull image" in refused["message"]


@pytest.mark.parametrize("resource, text, words", ids=["no policy", "broken policy", "huge policy", "no key", "broken key"], argvalues=[
    ("policy/prod", None, "kbs:///default/policy/prod"),
    ("policy/prod", "{", "kbs:///default/policy/prod"),
    ("policy/prod", '{"default":[{"type":"reject"}]}' + " " * (2 << 20), "kbs:///default/policy/prod"),
    ("cosign-public-key/test", None, "kbs:///default/cosign-public-key/test"),
    ("cosign-public-key/test", "no key", "kbs:///default/cosign-public-key/test"),
])
def test_a_bad_resource_refuses_and_is_named(service, work, registry, cosign_key, resource, text, words):
    _, name = signed_image(work, registry, cosign_key)
    guest = Guest(service, work, registry, {"type": "sigstoreSigned", "keyPath": "kbs:///default/cosign-public-key/test"})
    guest.put("cosign-public-key/test", open(cosign_key.public).read())
    if text is None:
        guest.remove(resource)
    else:
        guest.put(resource, text)
    answer = guest.pull(name)
    assert answer["code"] == 13 and "Failed to pull image" in answer["message"] and words in answer["message"], answer
    service.nothing_left()
    assert not guest.events.exists() or guest.events.read_text() == ""


def test_credentials_from_the_kbs(service, work, registry_auth):
    image = lib.Image([lib.Layer([lib.File("hello", "x")])])
    name = image.push(registry_auth, work.repository(), "v1")
    guest = Guest(service, work, registry_auth, {"type": "insecureAcceptAnything"}, credentials=registry_auth.auth)
    assert guest.pull(name)["digest"] == image.digest
    guest.put("auth/registry", open(registry_auth.authfile(work / "auth.json", ("user", "wrong"))).read())
    wrong = guest.pull(name, "c2")
    assert wrong["code"] == 13 and "Not authorized" in wrong["message"] and "Failed to pull image" in wrong["message"]
    guest.remove("auth/registry")
    missing = guest.pull(name, "c3")
    assert missing["code"] == 13 and "kbs:///default/auth/registry" in missing["message"]
