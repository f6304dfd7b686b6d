"""Layers that need not lie in the registry (Docker's foreign, OCI's nondistributable): refused unless the configuration allows them; then asked for
where they may be, and nobody who is named by a manifest alone sees who asks."""

import json
import ssl

import pytest

from cryptography import x509
from lib import *
from settings import write_config
from test_hostile_tls import Authority, server_context, tls_registry

DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_FOREIGN = LAYER.replace("layer.v1", "layer.nondistributable.v1")
PASSWORD = "b3NjYXI6c2VjcmV0"


class Elsewhere:
    """A registry that wants a password and lacks the layer, and another server that has it."""

    def __init__(self, work, registry, other):
        self.work, self.registry, self.other = work, registry, other
        registry.answers["/v2/"] = (401, {"WWW-Authenticate": 'Basic realm="r"'}, b"")
        self.config = write_config(work / "config.toml", None, {"allow_foreign_layers": True, "runtime_dir": f"{work}/run"})
        (work / "auth.json").write_text(json.dumps({"auths": {host: {"auth": PASSWORD} for host in (registry.host, other.host)}}))

    def push(self, *urls, media_type=DOCKER_FOREIGN, compression="gzip", keep=False):
        def add_urls(manifest):
            manifest["layers"][1] |= {"mediaType": media_type, **({"urls": list(urls)} if urls else {})}
            return manifest
        self.layer = Layer([File("far", "away")], compression)
        self.image = Image([Layer([File("hello", "hi")]), self.layer], edit_manifest=add_urls)
        self.name = self.registry.add(self.image, "app", "1")
        if not keep:
            del self.registry.answers[self.path]
        self.want_password()
        self.other.answers["/layer"] = self.layer.blob
        return self

    def want_password(self):
        for path, answer in list(self.registry.answers.items()):
            if path != "/v2/":
                self.registry.answers[path] = lambda handler, answer=answer: self.answer(handler, answer)

    def answer(self, handler, answer):
        status, headers, body = (200, {}, answer) if isinstance(answer, bytes) else answer
        if handler.headers.get("Authorization") != f"Basic {PASSWORD}":
            status, headers, body = 401, {"WWW-Authenticate": 'Basic realm="r"'}, b""
        handler.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    @property
    def path(self):
        return f"/v2/app/blobs/{self.layer.digest}"

    @property
    def url(self):
        return f"http://{self.other.host}/layer"

    def pull(self, check=OK, config=True, plain=True, **options):
        policy = write_policy(self.work / "policy.json", {self.registry.host: ACCEPT_ANYTHING})
        hosts = ["--plain-http", self.registry.host] + (["--plain-http", self.other.host] if plain else [])
        return self.work.pull(self.name, "--json", *(["--config", self.config] if config else []), *hosts, policy=policy,
                              authfile=self.work / "auth.json", check=check, **options)

    def is_there(self):
        assert (self.work.rootfs / "far").read_text() == "away" and (self.work.rootfs / "hello").read_text() == "hi"
        run(GUEST_PULL, "umount", self.work.bundle, "--config", self.config)

    def nothing_is_left(self):
        assert not mounts_below(self.work.bundle) and not list(self.work.store.glob("layers/*")) and not list(self.work.store.glob("staging/*"))


@pytest.fixture
def elsewhere(work, fake_registry):
    with FakeRegistry() as other:
        yield Elsewhere(work, fake_registry, other)


def test_refused_unless_allowed(elsewhere):
    elsewhere.push(elsewhere.url)
    refused = elsewhere.pull(UNSUPPORTED, config=False)
    assert "$.layers[1]" in refused.message and "outside the registry" in refused.message and "allow_foreign_layers" in refused.json["error"]["detail"]
    assert not elsewhere.other.seen and not [path for path in elsewhere.registry.paths() if "/blobs/" in path]
    elsewhere.nothing_is_left()


@pytest.mark.parametrize("media_type, compression", [
    (DOCKER_FOREIGN, "gzip"), (DOCKER_FOREIGN.removesuffix(".gzip"), "none"), (OCI_FOREIGN, "none"), (OCI_FOREIGN + "+gzip", "gzip"),
    (OCI_FOREIGN + "+zstd", "zstd")])
def test_fetched_from_its_url_by_nobody_in_particular(elsewhere, media_type, compression):
    elsewhere.push(elsewhere.url, media_type=media_type, compression=compression)
    done = elsewhere.pull()
    assert done.json["layers"][1]["from"] == elsewhere.url and not done.json["warnings"]
    assert [(method, path) for method, path, _ in elsewhere.other.seen] == [("GET", "/layer")]
    assert {name.lower() for name in elsewhere.other.seen[0][2]} <= {"host", "user-agent", "accept"}
    # The registry was asked first, and with the password.
    assert [headers.get("Authorization") for _, path, headers in elsewhere.registry.seen if path == elsewhere.path] == [f"Basic {PASSWORD}"]
    elsewhere.is_there()


def test_the_registry_may_have_it(elsewhere):
    elsewhere.push(elsewhere.url, keep=True)
    assert elsewhere.pull().json["layers"][1]["from"] == f"registry {elsewhere.registry.host}/app"
    assert not elsewhere.other.seen
    elsewhere.is_there()


def test_one_url_after_the_other(elsewhere):
    elsewhere.push(f"http://{elsewhere.other.host}/missing?token=a", f"http://{elsewhere.other.host}/wrong", elsewhere.url)
    elsewhere.other.answers["/wrong"] = bytes(len(elsewhere.layer.blob))
    done = elsewhere.pull()
    assert done.json["layers"][1]["from"] == elsewhere.url
    said = " ".join(done.json["warnings"])
    assert "/missing" in said and "404" in said and "/wrong" in said and "sha256:" in said and "token" not in said
    elsewhere.is_there()


def test_a_registry_that_is_out_of_order_is_no_reason_to_give_up(elsewhere):
    elsewhere.push(elsewhere.url)
    elsewhere.registry.answers[elsewhere.path] = (403, {}, b"{}")
    done = elsewhere.pull()
    assert "403" in " ".join(done.json["warnings"])
    elsewhere.is_there()


@pytest.mark.parametrize("case, status, reason", [
    ("other bytes", DIGEST, "sha256:"), ("more bytes", INVALID, "the server announces"), ("fewer bytes", INVALID, "the server announces"),
    ("credentials wanted", AUTH, "only registries are given any"), ("no such scheme", INVALID, "not a proper http or https URL"),
    ("plain http", INVALID, "plain http is not allowed"), ("a user in it", INVALID, "not a proper"), ("no URL", NOT_FOUND, "404")])
def test_refused_with_its_reason(elsewhere, case, status, reason):
    other = elsewhere.other
    urls = {"no such scheme": ["ftp://127.0.0.1/layer"], "a user in it": [f"http://anna:secret@{other.host}/layer"], "no URL": []}.get(
        case, [elsewhere.url])
    elsewhere.push(*urls)
    blob = elsewhere.layer.blob
    other.answers["/layer"] = {"other bytes": bytes(len(blob)), "more bytes": blob + b"x", "fewer bytes": blob[:-1],
                               "credentials wanted": (401, {"WWW-Authenticate": 'Basic realm="r"'}, b"")}.get(case, blob)
    done = elsewhere.pull(status, plain=case != "plain http")
    assert reason in done.message and "secret" not in done.stdout, done
    assert not any("Authorization" in headers for _, _, headers in other.seen)
    elsewhere.nothing_is_left()


def test_no_client_certificate_is_shown(work):
    """The registry wants one and gets it; the server of the URL, of the same CA, would take one and gets none."""
    (work / "trusted").mkdir()
    authority = Authority()
    (work / "trusted/ca.crt").write_bytes(authority.pem)
    pair = authority.make(work)
    authority.make(work / "trusted", "client.example", usage=x509.ExtendedKeyUsageOID.CLIENT_AUTH, stem="client")
    contexts = [server_context(pair), server_context(pair)]
    for context, mode in zip(contexts, (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL)):
        context.load_verify_locations(work / "trusted/ca.crt")
        context.verify_mode = mode
    shown = []

    def note(handler):
        shown.append(handler.connection.getpeercert())
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(layer.blob)))
        handler.end_headers()
        handler.wfile.write(layer.blob)
    layer = Layer([File("far", "away")])
    with tls_registry(contexts[1], Image([layer])) as other:
        image = Image([layer], edit_manifest=lambda document: document | {"layers": [
            document["layers"][0] | {"mediaType": DOCKER_FOREIGN, "urls": [f"https://{other.host}/layer"]}]})
        other.answers["/layer"] = note
        with tls_registry(contexts[0], image) as registry:
            name = registry.add(image, "app", "1")
            del registry.answers[f"/v2/app/blobs/{layer.digest}"]
            config = write_config(work / "config.toml", None, {"allow_foreign_layers": True})
            work.pull(name, "--config", config, "--cert-dir", work / "trusted", policy=write_policy(work / "policy.json", {registry.host: ACCEPT_ANYTHING}))
    assert shown == [{}] or shown == [None]
    work.umount()
