"""The requests of a pull in its report: what each was, how it ended and how long it took, without secrets, also when the pull failed."""

import json
import os
import re

import pytest

from lib import *

KEYS = {"what", "method", "url", "status", "bytes", "start", "ms", "by"}
SECRET = "s3cr3t-s1gnature"


def anything(work) -> str:
    return write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})


def small_image() -> Image:
    return Image([Layer([File("hello", "hi")]), Layer([File("big", os.urandom(200_000))])])


def requests_of(done) -> list[dict]:
    """The rows, after a look at the form of each."""
    timings = done.json["timings"]
    rows = timings["requests"]
    for row in rows:
        assert set(row) - {"error"} == (KEYS if row["by"] == "fetch worker" else KEYS - {"bytes"}), row
        assert row["start"] >= 0 and row["ms"] >= 0 and row["start"] + row["ms"] <= timings["total"] * 1000 + 100, (row, timings)
    assert [row["start"] for row in rows] == sorted(row["start"] for row in rows)
    return rows


def brief(rows, *keys) -> list[tuple]:
    return [tuple(row[key] for key in keys) for row in rows]


# ---- real registries

def test_requests_are_those_that_the_registry_saw(work, registry, cosign_key):
    image, repository = small_image(), work.repository()
    name = image.push(registry, repository, "1")
    cosign_sign(registry, repository, image.digest, cosign_key)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key, "matchRepository")}, default={"type": "reject"})
    for command, what in (("verify", ["manifest", "manifest", "referrers"]), ("pull", ["manifest", "manifest", "referrers"] + 3 * ["blob"])):
        mark = registry.mark()
        done = getattr(work, command)(name, policy=policy, registry=registry)
        rows = requests_of(done)
        assert sorted(f"{row['method']} {row['url'].removeprefix('http://' + registry.host)} {row['status']}" for row in rows) == \
            sorted(registry.since(mark))
        assert sorted(row["what"] for row in rows) == sorted(what) and {row["by"] for row in rows} == {"fetch worker"}
    sizes = {layer.digest: len(layer.blob) for layer in image.layers}
    assert {digest: row["bytes"] for digest in sizes for row in rows if digest in row["url"]} == sizes
    assert {"resolve", "manifest", "verify", "layers", "total"} <= set(done.json["timings"]) and "requestsLeftOut" not in done.json["timings"]


def test_a_local_image_took_none(work):
    small_image().write_layout(work / "layout", "1")
    policy = write_policy(work / "policy.json", oci={"": ACCEPT_ANYTHING})
    assert "requests" not in work.verify(f"oci:{work}/layout:1", policy=policy).json["timings"]


def test_a_failed_pull_tells_its_requests_too(work, registry):
    name = small_image().push(registry, work.repository(), "1")
    refused = work.verify(name + "x", policy=anything(work), registry=registry, check=NOT_FOUND)
    assert brief(requests_of(refused), "what", "status") == [("manifest", 404)] and set(refused.error) == {"code", "message", "retryable", "detail"}
    assert refused.json["timings"]["manifest"] > 0


def test_credentials_are_asked_for_and_not_shown(work, registry_auth):
    name = small_image().push(registry_auth, work.repository(), "1")
    done = work.verify(name, policy=anything(work), registry=registry_auth, authfile=True)
    assert brief(requests_of(done), "what", "status") == [("manifest", 401), ("manifest", 200)]
    assert "pass:word" not in done.stdout and "dXNlcj" not in done.stdout


# ---- what happens on the way

def test_tokens_redirects_and_retries(work, fake_registry):
    """Each exchange has its row, and no row has a query: a token server's names the user, a redirect's is signed."""
    image = small_image()
    name = fake_registry.add(image, "app", "1")
    failures = [503]
    with FakeRegistry() as cdn:
        layer = image.layers[1]
        cdn.answers["/signed"] = layer.blob
        blob = f"/v2/app/blobs/{layer.digest}"
        fake_registry.answers[blob] = (307, {"Location": f"http://{cdn.host}/signed?X-Signature={SECRET}"}, b"")
        manifest = fake_registry.answers["/v2/app/manifests/1"]
        fake_registry.answers["/token"] = json.dumps({"token": SECRET}).encode()

        def guarded(handler):
            status, headers, body = manifest
            if handler.headers["Authorization"] != f"Bearer {SECRET}":
                status, body = 401, b""
                headers = {"WWW-Authenticate": f'Bearer realm="http://{fake_registry.host}/token",service="s"'}
            elif failures:
                status, headers, body = failures.pop(), {}, b""
            handler.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                handler.send_header(key, value)
            handler.end_headers()
            handler.wfile.write(body)

        fake_registry.answers["/v2/app/manifests/1"] = guarded
        authfile = fake_registry.authfile(work / "auth.json", ("anna", SECRET))
        done = work.pull(name, "--plain-http", cdn.host, policy=anything(work), registry=fake_registry, authfile=authfile)
        rows = requests_of(done)
        assert brief(rows, "what", "status")[:4] == [("manifest", 401), ("token", 200), ("manifest", 503), ("manifest", 200)]
        assert rows[1]["url"] == f"http://{fake_registry.host}/token"
        blobs = [(row["url"], row["status"], row["bytes"]) for row in rows if row["what"] == "blob" and (cdn.host in row["url"] or layer.digest in row["url"])]
        assert blobs == [(f"http://{fake_registry.host}{blob}", 307, 0), (f"http://{cdn.host}/signed", 200, len(layer.blob))]
        assert SECRET not in done.stdout and "anna" not in done.stdout


def test_a_lookaside_is_a_url(work, fake_registry, gpg_key):
    name = fake_registry.add(small_image(), "app", "1")
    (work / "registries.d").mkdir()
    (work / "registries.d/x.yaml").write_text(f"docker:\n  {fake_registry.host}:\n    lookaside: http://{fake_registry.host}/sigs\n")
    policy = write_policy(work / "policy.json", {fake_registry.host: signed_by(gpg_key)}, default={"type": "reject"})
    refused = work.verify(name, policy=policy, registry=fake_registry, registries_d=work / "registries.d", check=SIGNATURE)
    rows = requests_of(refused)
    assert brief(rows, "what", "status") == [("manifest", 200), ("url", 404)] and "/sigs/app@sha256" in rows[1]["url"]


def test_an_answer_that_never_comes_is_the_pullers_word(work, fake_registry):
    import threading
    gate = threading.Event()
    name = fake_registry.add(small_image(), "app", "1")
    fake_registry.answers["/v2/app/manifests/1"] = lambda handler: gate.wait(30)
    try:
        refused = work.verify(name, "--timeout", "1", policy=anything(work), registry=fake_registry, check=CANCELLED)
    finally:
        gate.set()
    row, = requests_of(refused)
    assert row["by"] == "puller" and row["status"] == 0 and "not done within 1 seconds" in row["error"] and row["ms"] > 900
    assert row["url"] == f"http://{fake_registry.host}/v2/app/manifests/1"


def test_a_broken_connection_says_what_broke(work, fake_registry):
    name = fake_registry.add(small_image(), "app", "1")

    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True

    fake_registry.answers["/v2/app/manifests/1"] = cut
    refused = work.verify(name, policy=anything(work), registry=fake_registry, check=NETWORK)
    rows = requests_of(refused)
    assert len(rows) == 4 and {row["error"] for row in rows} == {"Transferred a partial file"} and brief(rows, "status", "bytes") == 4 * [(200, 1)]


def test_words_of_a_server_are_escaped(work, fake_registry):
    name = fake_registry.add(small_image(), "app", "1")
    fake_registry.answers["/v2/app/manifests/1"] = (302, {"Location": "/caf\xe9/\xa0\\x\"y"}, b"")
    refused = work.verify(name, policy=anything(work), registry=fake_registry, check=None)
    assert refused.status != 0 and all(re.fullmatch(r"[\x21-\x7e]+", row["url"]) for row in requests_of(refused)), refused


# ---- bounds

def test_the_first_and_the_last_are_kept(work, fake_registry):
    """Of 302 requests the report has 256."""
    image = Image([Layer([File(f"f{i}", f"{i}" * 20)]) for i in range(300)])
    name = fake_registry.add(image, "app", "1")
    done = work.pull(name, policy=anything(work), registry=fake_registry)
    rows = requests_of(done)
    total = len(fake_registry.paths())
    assert total == 302 and len(rows) == 256 and done.json["timings"]["requestsLeftOut"] == total - 256
    assert [row["what"] for row in rows[:2]] == ["manifest", "blob"] and image.config_digest in rows[1]["url"]
    assert any(fake_registry.paths()[-1].split()[-1] in row["url"] for row in rows[-8:])


def test_one_request_tells_of_sixteen_exchanges(work, fake_registry):
    """A server that cuts off its answers, each time with progress enough to be asked again."""
    layer = Layer([File("big", os.urandom(2_000_000))], "none")
    image = Image([layer])
    name = fake_registry.add(image, "app", "1")

    def piecewise(handler):
        start = int(handler.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(layer.blob) - 1}/{len(layer.blob)}")
        handler.send_header("Content-Length", str(len(layer.blob) - start))
        handler.end_headers()
        handler.wfile.write(layer.blob[start:start + 100_000])
        handler.close_connection = True

    fake_registry.answers[f"/v2/app/blobs/{layer.digest}"] = piecewise
    done = work.pull(name, policy=anything(work), registry=fake_registry)
    rows = [row for row in requests_of(done) if layer.digest in row["url"]]
    asked = len([path for path in fake_registry.paths() if layer.digest in path])
    assert asked > 20 and len(rows) == 16 and done.json["timings"]["requestsLeftOut"] == asked - 16
    assert rows[0]["error"] == "Transferred a partial file" and rows[1]["status"] == 206
