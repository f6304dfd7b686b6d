"""Policy, sigstore configuration, credentials and keys from the KBS, over the confidential-data-hub's ttrpc and over REST: the real
program against servers that are written from the wire format (tests/lib/ttrpc.py)."""

import concurrent.futures
import json
import socket
import threading
import time

import pytest

from lib import *
from settings import write_config
from ttrpc import Agent, Hub, NOT_ENABLED, NOT_SUPPORTED, Refusal, Rest, Silence, kbs, slow

POLICY_NAME, SIGSTORE_NAME, AUTH_NAME, KEY_NAME = \
    "default/security-policy/test", "default/sigstore-config/test", "default/credential/test", "default/cosign-public-key/test"


def small_image(**more) -> Image:
    return Image([Layer([File("hello", "hi", mode=0o644)])], config={"Cmd": ["/hello"]}, **more)


def policy_text(docker: dict, default="reject") -> bytes:
    return json.dumps({"default": [{"type": default}], "transports": {"docker": docker}}).encode()


def kata_policy(scope: str, key: str = KEY_NAME) -> bytes:
    """As kata's end-to-end tests write it."""
    return policy_text({scope: [{"type": "sigstoreSigned", "keyPath": kbs(key)}]})


def accept(scope: str) -> bytes:
    return policy_text({scope: [{"type": "insecureAcceptAnything"}]})


class Guest:
    """A guest's configuration: pull() runs guest-pull with nothing but --config. way: "ttrpc" or "rest"."""

    def __init__(self, work, registry, way="ttrpc"):
        self.work, self.registry, self.way = work, registry, way
        self.image = {"work_dir": str(work.store)}
        self.socket, self.agent_socket = work / "cdh.sock", work / "aa.sock"
        self.own = {"allow_unencrypted_store": True, "runtime_dir": str(work / "run"), "plain_http": [registry.host],
                    "cdh_socket": str(self.socket), "attestation_agent_socket": str(self.agent_socket),
                    "resource_endpoint": "http://127.0.0.1:9"}
        self.resources = {}
        self.server = None

    def serve(self):
        if self.way == "ttrpc":
            self.server = Hub(self.socket, self.resources)
        else:
            self.server = Rest(self.resources)
            self.own["resource_endpoint"] = self.server.endpoint
        return self.server

    def asked(self) -> list[str]:
        return [name.removeprefix("/cdh/resource/") for name in self.server.asked]

    def config(self) -> str:
        return write_config(self.work / "cdh.toml", self.image, self.own)

    def run(self, command: str, name: str, *more, check=0, env=None, timeout=120):
        return guest_pull(command, name, "--json", "--config", self.config(), *more, check=check, env=env, timeout=timeout)

    def pull(self, name: str, *more, bundle=None, **options):
        return self.run("pull", name, "--bundle", bundle or self.work.bundle, *more, **options)

    def nothing_mounted(self) -> bool:
        return not mounts_below(self.work) and not self.work.rootfs.exists()

    def receipts(self) -> list:
        return guest_pull("images", "--receipts", "--json", "--config", self.config()).json["receipts"]


@pytest.fixture(params=["ttrpc", "rest"])
def guest(request, work, registry):
    guest = Guest(work, registry, request.param)
    yield guest
    if guest.server:
        guest.server.stop()


@pytest.fixture
def hub_guest(work, registry):
    guest = Guest(work, registry)
    guest.serve()
    yield guest
    guest.server.stop()


def signed_image(guest, key) -> tuple[str, Image]:
    image = small_image()
    name = image.push(guest.registry, guest.work.repository(), "latest")
    cosign_sign(guest.registry, guest.work.repository(), image.digest, key)
    return name, image


def public(key) -> bytes:
    with open(key.public, "rb") as file:
        return file.read()


# ---- what works

def test_kata_policy_and_key_from_the_kbs(guest, cosign_key):
    name, image = signed_image(guest, cosign_key)
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    guest.resources |= {POLICY_NAME: kata_policy(guest.registry.host), KEY_NAME: public(cosign_key)}
    guest.serve()
    done = guest.pull(name)
    assert done.json["manifestDigest"] == image.digest
    assert (guest.work.rootfs / "hello").read_text() == "hi"
    assert guest.asked() == [POLICY_NAME, KEY_NAME]


def test_wrong_key_is_refused(guest, cosign_key, other_cosign_key):
    name, _ = signed_image(guest, cosign_key)
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    guest.resources |= {POLICY_NAME: kata_policy(guest.registry.host), KEY_NAME: public(other_cosign_key)}
    guest.serve()
    refused = guest.pull(name, check=SIGNATURE)
    assert "none of 1 signature is accepted" in refused.message
    assert guest.nothing_mounted() and guest.receipts() == []


def test_reject_by_default_asks_for_no_key(guest, cosign_key):
    name, _ = signed_image(guest, cosign_key)
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    guest.resources |= {POLICY_NAME: kata_policy("ghcr.io/confidential-containers/test-container-image-rs")}
    guest.serve()
    refused = guest.pull(name, check=POLICY)
    assert "denied by policy (scope default)" in refused.message
    assert guest.asked() == [POLICY_NAME]


def test_every_document_from_the_kbs(guest, gpg_key, registry_auth):
    """GPG key, sigstore configuration and credentials: the registry wants a password."""
    guest.registry, guest.own["plain_http"] = registry_auth, [registry_auth.host]
    image, repository = small_image(), guest.work.repository()
    name = image.push(registry_auth, repository, "latest")
    sigs = guest.work / "sigs"
    write_lookaside(sigs, repository, image.digest, gpg_key.sign(simple_payload(image.digest, name)))
    with open(gpg_key.public, "rb") as key, open(registry_auth.authfile(guest.work / "auth.json"), "rb") as auth:
        guest.resources |= {
            POLICY_NAME: policy_text({registry_auth.host: [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": kbs("a/gpg/1")}]}),
            SIGSTORE_NAME: f"default-docker:\n  sigstore: file://{sigs}\n".encode(), AUTH_NAME: auth.read(), "a/gpg/1": key.read()}
    guest.image |= {"image_security_policy_uri": kbs(POLICY_NAME), "sigstore_config_uri": kbs(SIGSTORE_NAME),
                    "authenticated_registry_credentials_uri": kbs(AUTH_NAME)}
    guest.serve()
    guest.pull(name)
    assert (guest.work.rootfs / "hello").exists()
    assert sorted(guest.asked()[:3]) == [AUTH_NAME, POLICY_NAME, SIGSTORE_NAME] and guest.asked()[3:] == ["a/gpg/1"]


def test_wrong_credentials(guest, registry_auth):
    guest.registry, guest.own["plain_http"] = registry_auth, [registry_auth.host]
    name = small_image().push(registry_auth, guest.work.repository(), "latest")
    with open(registry_auth.authfile(guest.work / "auth.json", ("user", "wrong")), "rb") as auth:
        guest.resources |= {POLICY_NAME: accept(registry_auth.host), AUTH_NAME: auth.read()}
    guest.image |= {"image_security_policy_uri": kbs(POLICY_NAME), "authenticated_registry_credentials_uri": kbs(AUTH_NAME)}
    guest.serve()
    refused = guest.pull(name, check=AUTH)
    assert "wrong" not in refused.stdout + refused.stderr
    assert guest.nothing_mounted()


def test_documents_are_fetched_freshly_and_at_the_same_time(guest):
    name = small_image().push(guest.registry, guest.work.repository(), "latest")
    meeting = threading.Barrier(3, timeout=20)  # breaks unless all three are asked for before the first is answered

    def meet(value):
        def answer():
            meeting.wait()
            return value
        return answer
    guest.resources |= {POLICY_NAME: meet(accept(guest.registry.host)), SIGSTORE_NAME: meet(b""), AUTH_NAME: meet(b'{"auths":{}}')}
    guest.image |= {"image_security_policy_uri": kbs(POLICY_NAME), "sigstore_config_uri": kbs(SIGSTORE_NAME),
                    "authenticated_registry_credentials_uri": kbs(AUTH_NAME)}
    guest.serve()
    guest.pull(name)
    guest.server.resources[POLICY_NAME] = meet(policy_text({}))
    refused = guest.pull(name, bundle=guest.work.new_bundle("second"), check=POLICY)
    assert "denied by policy" in refused.message
    assert len(guest.asked()) == 6


def test_keys_of_a_scope_are_fetched_at_the_same_time_and_once(hub_guest, cosign_key, other_cosign_key):
    name, _ = signed_image(hub_guest, cosign_key)
    meeting = threading.Barrier(2, timeout=20)

    def meet(key):
        def answer():
            meeting.wait()
            return public(key)
        return answer
    hub_guest.server.resources |= {
        POLICY_NAME: policy_text({hub_guest.registry.host: [
            {"type": "sigstoreSigned", "keyPaths": [kbs("k/k/1"), kbs("k/k/2")]}, {"type": "sigstoreSigned", "keyPath": kbs("k/k/2")}]}),
        "k/k/1": meet(other_cosign_key), "k/k/2": meet(cosign_key)}
    hub_guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    hub_guest.pull(name)
    assert sorted(hub_guest.server.asked) == [POLICY_NAME, "k/k/1", "k/k/2"]


def test_options_take_uris(guest, cosign_key):
    name, _ = signed_image(guest, cosign_key)
    guest.resources |= {POLICY_NAME: kata_policy(guest.registry.host), KEY_NAME: public(cosign_key), AUTH_NAME: b'{"auths":{}}'}
    guest.serve()
    guest.pull(name, "--policy", kbs(POLICY_NAME), "--authfile", kbs(AUTH_NAME))
    assert (guest.work.rootfs / "hello").exists()


def test_a_local_policy_with_a_key_of_the_kbs(guest, cosign_key):
    name, _ = signed_image(guest, cosign_key)
    policy = guest.work / "policy.json"
    policy.write_bytes(kata_policy(guest.registry.host))
    guest.resources[KEY_NAME] = public(cosign_key)
    guest.serve()
    guest.image["image_security_policy_uri"] = f"file://{policy}"
    guest.pull(name)
    assert guest.asked() == [KEY_NAME]


def test_inline_policy_and_sigstore_config(work, registry, gpg_key):
    guest = Guest(work, registry)
    image, repository = small_image(), work.repository()
    name = image.push(registry, repository, "latest")
    write_lookaside(work / "sigs", repository, image.digest, gpg_key.sign(simple_payload(image.digest, name)))
    guest.image |= {"image_security_policy": policy_text({registry.host: [signed_by(gpg_key)]}).decode(),
                    "sigstore_config": f"docker:\n  {registry.host}:\n    lookaside: file://{work}/sigs\n"}
    done = guest.pull(name)
    assert done.json["verdict"]["requirements"][0]["by"].startswith("GPG key")
    assert guest.receipts()[0]["policy"] == "(inline)"


def test_socket_of_the_environment(work, registry):
    """guest-pulld tells its pullers where the real confidential-data-hub is."""
    guest = Guest(work, registry)
    name = small_image().push(registry, work.repository(), "latest")
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    with Hub(work / "other.sock", {POLICY_NAME: accept(registry.host)}):
        guest.pull(name, env={"GUEST_PULL_CDH_SOCKET": f"unix://{work}/other.sock"})
    assert work.rootfs.exists()


def test_policy_commands_use_the_configured_policy(guest):
    guest.resources[POLICY_NAME] = accept("registry.example/app")
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    guest.serve()
    assert guest.run("policy", "explain", "registry.example/app:1").json["scope"] == "docker: registry.example/app"
    assert guest.run("policy", "check", kbs(POLICY_NAME)).json["valid"]


@pytest.mark.parametrize("part", ["manifest", "blob"])
def test_a_registry_cannot_send_us_to_the_kbs(part, work, fake_registry):
    """The registry's worker may not ask the REST service, though the puller has another one that may."""
    with Rest({POLICY_NAME: accept(fake_registry.host), "a/b/c": b"secret"}) as rest:
        guest = Guest(work, fake_registry)
        guest.own["resource_endpoint"] = rest.endpoint
        guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
        image = small_image()
        name = fake_registry.add(image, "app", "1")
        there = rest.endpoint + "/cdh/resource/a/b/c"
        path = "/v2/app/manifests/1" if part == "manifest" else f"/v2/app/blobs/{image.layers[0].digest}"
        assert path in fake_registry.answers
        fake_registry.answers[path] = (307, {"Location": there}, b"")
        refused = guest.pull(name, check=None)
        assert refused.status != OK and "plain http is not allowed" in refused.message, refused
        assert rest.asked == ["/cdh/resource/" + POLICY_NAME]


# ---- what does not: each names the resource and its purpose

BROKEN = {
    "missing": (None, KEY, "Get Resource failed"),
    "huge": (b"x" * (1 << 20) + b"y", LIMIT, ""),
    "malformed": (b"\xff\xfe{[:", INVALID, ""),
    "empty": (b"", INVALID, ""),
}
DOCUMENTS = {
    "policy": ("image_security_policy_uri", POLICY_NAME, "policy"),
    "sigstore": ("sigstore_config_uri", SIGSTORE_NAME, "sigstore configuration"),
    "credentials": ("authenticated_registry_credentials_uri", AUTH_NAME, "credentials"),
    "key": (None, KEY_NAME, "key"),
}


def complete(guest, cosign_key) -> str:
    """A guest with which a pull would succeed."""
    name, _ = signed_image(guest, cosign_key)
    guest.resources |= {POLICY_NAME: kata_policy(guest.registry.host), SIGSTORE_NAME: b"docker: {}\n", AUTH_NAME: b'{"auths":{}}',
                        KEY_NAME: public(cosign_key)}
    guest.image |= {key: kbs(resource) for key, resource, _ in DOCUMENTS.values() if key}
    return name


def test_the_complete_guest_works(guest, cosign_key):
    name = complete(guest, cosign_key)
    guest.serve()
    guest.pull(name)


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_broken_resource_is_refused_by_name(document, fault, guest, cosign_key):
    name = complete(guest, cosign_key)
    _, resource, purpose = DOCUMENTS[document]
    value, status, words = BROKEN[fault]
    if value is None:
        del guest.resources[resource]
    else:
        guest.resources[resource] = value
    if document == "policy" and fault == "missing":
        status = POLICY
    if document == "key" and status == INVALID:
        status = KEY
    if document == "sigstore" and fault == "empty":
        status = OK  # an empty registries.d file is a configuration without scopes
    guest.serve()
    refused = guest.pull(name, check=status)
    if status == OK:
        return
    assert kbs(resource) in refused.message, refused
    assert purpose in refused.message or (fault in ("malformed", "empty") and document != "key"), refused
    if guest.way == "ttrpc":
        assert words in refused.message
    assert guest.nothing_mounted() and guest.receipts() == []


@pytest.mark.parametrize("status", [403, 404])
def test_rest_says_no(status, work, registry):
    guest = Guest(work, registry, "rest")
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    guest.resources[POLICY_NAME] = (status, b"no")
    with guest.serve() as rest:
        refused = guest.pull(f"{registry.host}/app:1", check=POLICY)
        assert f"policy: {kbs(POLICY_NAME)}: from {rest.endpoint}: " in refused.message
        assert f"the server answers {status}" in refused.message
        assert rest.asked == ["/cdh/resource/" + POLICY_NAME]


@pytest.mark.parametrize("uri", ["kbs+plugin:///a/b/c", "kbs:///a/b", "kbs:///a/b/c/d", "kbs:///a/../c", "kbs:///a/b/c?x=1", "kbs:///a/b/%2e"])
def test_what_rest_does_not_have(uri, work, registry):
    guest = Guest(work, registry, "rest")
    guest.image["image_security_policy_uri"] = uri
    with guest.serve() as rest:
        refused = guest.pull(f"{registry.host}/app:1", check=USAGE)
        assert f"{uri}: not to be had over REST" in refused.message
        assert rest.asked == []


def test_nobody_there(work, registry):
    guest = Guest(work, registry)
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    refused = guest.pull(f"{registry.host}/app:1", check=POLICY)
    assert f"policy: {kbs(POLICY_NAME)}: from http://127.0.0.1:9: " in refused.message
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(guest.socket))  # and its file stays: somebody died
    refused = guest.pull(f"{registry.host}/app:1", check=POLICY)
    assert f"policy: {kbs(POLICY_NAME)}: " in refused.message and "cannot connect" in refused.message


def test_not_ttrpc(hub_guest):
    hub_guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    hub_guest.server.raw = b"HTTP/1.0 200 OK\r\n\r\n"
    refused = hub_guest.pull(f"{hub_guest.registry.host}/app:1", check=POLICY)
    assert f"policy: {kbs(POLICY_NAME)}: " in refused.message


def test_slow_resources(work, registry, cosign_key):
    """Three guests at once, because each waits for half a minute."""
    def attempt(which):
        folder = Work(work / which)
        folder.mkdir()
        guest = Guest(folder, registry, "rest" if which == "rest" else "ttrpc")
        name = complete(guest, cosign_key)
        resource = KEY_NAME if which == "key" else POLICY_NAME
        guest.resources[resource] = slow(40)
        with guest.serve():
            before = time.monotonic()
            refused = guest.pull(name, check=KEY if which == "key" else POLICY)
            assert 28 < time.monotonic() - before < 38
            assert kbs(resource) in refused.message and which.replace("rest", "policy") in refused.message, refused
            assert guest.nothing_mounted()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(attempt, ["policy", "key", "rest"]))


@pytest.mark.parametrize("way", ["ttrpc", "rest"])
def test_the_deadline_of_the_pull_ends_the_wait(way, work, registry):
    guest = Guest(work, registry, way)
    guest.image["image_security_policy_uri"] = kbs(POLICY_NAME)
    guest.resources[POLICY_NAME] = slow(60)
    with guest.serve():
        before = time.monotonic()
        refused = guest.pull(f"{registry.host}/app:1", "--timeout", "2", check=CANCELLED)
        assert time.monotonic() - before < 30 and "not done within 2 seconds" in refused.message


# ---- measurement

@pytest.fixture
def measured(work, registry):
    """A guest with a policy and an image's name; with_agent(answer) starts the agent."""
    guest = Guest(work, registry)
    guest.image["image_security_policy"] = accept(registry.host).decode()
    guest.image_object = small_image()
    guest.name = guest.image_object.push(registry, work.repository(), "latest")
    return guest


def test_the_event(measured):
    with Agent(measured.agent_socket) as agent:
        done = measured.pull("docker://" + measured.name)
        event = f'{{"digest":"{measured.image_object.digest}","image":"{measured.name}"}}'
        assert agent.events == [("github.com/confidential-containers", "PullImage", event)]
        assert done.json["measurement"] == "extended" and measured.receipts()[0]["measurement"] == "extended"
        measured.run("verify", measured.name)
        assert len(agent.events) == 1, "a verification is no pull"


@pytest.mark.parametrize("mode, answer, status, outcome", [
    ("required", 0, OK, "extended"),
    ("required", NOT_ENABLED, UNSUPPORTED, 'the attestation agent answers "not-enabled"'),
    ("required", NOT_SUPPORTED, UNSUPPORTED, 'the attestation agent answers "not-supported"'),
    ("required", Refusal(13, "no register"), INTERNAL, "no register"),
    ("required", None, NETWORK, "cannot connect"),
    ("best-effort", 0, OK, "extended"),
    ("best-effort", NOT_ENABLED, OK, "not-enabled"),
    ("best-effort", Refusal(13, "no register"), OK, "failed: measuring the image: "),
    ("best-effort", None, OK, "failed: measuring the image: "),
    ("off", Refusal(13, "no register"), OK, "off"),
    ("off", None, OK, "off"),
    (None, 0, OK, "extended"),
    (None, NOT_ENABLED, OK, "not-enabled"),
    (None, Refusal(13, "no register"), INTERNAL, "no register"),
    (None, 7, INVALID, "none of OK, NOT_SUPPORTED, NOT_ENABLED"),
    (None, None, OK, "no-agent"),
])
def test_measurement(mode, answer, status, outcome, measured):
    if mode:
        measured.own["measurement"] = mode
    agent = Agent(measured.agent_socket, answer) if answer is not None else None
    done = measured.pull(measured.name, check=status)
    if agent:
        agent.stop()
        assert len(agent.events) == (0 if mode == "off" else 1)
    if status == OK:
        assert done.json["measurement"].startswith(outcome)
        assert measured.work.rootfs.exists()
    else:
        assert "measuring the image: " in done.message and outcome in done.message
        assert measured.nothing_mounted() and measured.receipts() == []


def test_a_silent_agent(work, registry):
    """required and best-effort at once: each waits ten seconds."""
    def attempt(mode):
        folder = Work(work / mode)
        folder.mkdir()
        guest = Guest(folder, registry)
        guest.image["image_security_policy"] = accept(registry.host).decode()
        guest.own["measurement"] = mode
        name = small_image().push(registry, folder.repository(), "latest")
        with Agent(guest.agent_socket, Silence()):
            before = time.monotonic()
            done = guest.pull(name, check=NETWORK if mode == "required" else OK)
            assert 9 < time.monotonic() - before < 20
        if mode == "required":
            assert "measuring the image: " in done.message and guest.nothing_mounted()
        else:
            assert done.json["measurement"].startswith("failed: ") and folder.rootfs.exists()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(attempt, ["required", "best-effort"]))


# ---- receipts

def test_a_receipt(measured):
    done = measured.pull(measured.name, env={"GUEST_PULL_REQUEST_ID": "r-17.2"})
    [receipt] = measured.receipts()
    image = measured.image_object
    assert receipt["file"] == done.json["receipt"]
    for key, value in {"image": done.json["image"], "manifestDigest": image.digest, "configDigest": done.json["configDigest"],
                       "bundle": str(measured.work.bundle), "requestId": "r-17.2", "asked": measured.name,
                       "measurement": "no-agent", "policyDigest": digest_of(accept(measured.registry.host))}.items():
        assert receipt[key] == value, key
    assert [layer["digest"] for layer in receipt["layers"]] == [layer.digest for layer in image.layers]
    assert receipt["verdict"]["accepted"] is True
    assert receipt["started"] <= receipt["finished"] and receipt["started"].endswith("Z")
    file = measured.work / "run/receipts"
    assert file.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in file.iterdir()] == [0o600]
    text = guest_pull("images", "--receipts", "--config", measured.config()).stdout
    assert image.digest in text and measured.name in text


def test_an_odd_request_id_is_no_part_of_a_receipt(measured):
    measured.pull(measured.name, env={"GUEST_PULL_REQUEST_ID": "a b\n"})
    assert "requestId" not in measured.receipts()[0]


def test_receipts_are_bounded_and_the_oldest_go(measured):
    folder = measured.work / "run/receipts"
    folder.mkdir(parents=True)
    for number in range(1005):
        (folder / f"20200101T000000.{number:06}Z-1.json").write_text(json.dumps({"image": f"old {number}"}))
    (folder / "20200101T000000.999999Z-1.json").write_text("{")
    measured.pull(measured.name)
    receipts = measured.receipts()
    assert len(receipts) == 1000
    assert receipts[0]["image"] == "old 7"
    assert "error" in receipts[-2] and receipts[-2]["file"].endswith("999999Z-1.json")
    assert receipts[-1]["manifestDigest"] == measured.image_object.digest


def test_a_receipt_that_cannot_be_written_leaves_nothing_mounted(measured):
    (measured.work / "run").mkdir()
    (measured.work / "run/receipts").write_text("in the way")
    refused = measured.pull(measured.name, check=INTERNAL)
    assert "receipts" in refused.message
    assert measured.nothing_mounted()


def test_no_receipts_yet(measured):
    assert measured.receipts() == []
