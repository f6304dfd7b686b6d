"""The outside contract: commands, exit statuses, JSON, errors with a next step."""

import json
import os
import pathlib
import re
import subprocess
import time

import pytest
from lib import *

ANYTHING = {"type": "insecureAcceptAnything"}


@pytest.fixture
def pulled(work, registry):
    image = Image([Layer([File("a", "1")]), Layer([File("b", "22")])])
    name = image.push(registry, work.repository(), "latest")
    policy = write_policy(work / "policy.json", {registry.host: ANYTHING})
    work.pull(name, policy=policy, registry=registry)
    return image, name


# ---- usage

@pytest.mark.parametrize("arguments, words", [
    ([], "which command"),
    (["nonsense"], "no such command: nonsense"),
    (["pull"], "usage: guest-pull pull IMAGE"),
    (["pull", "a", "b", "--bundle", "/x"], "usage: guest-pull pull"),
    (["pull", "a"], "--bundle"),
    (["verify", "a", "--nonsense"], "--nonsense"),
    (["verify", "a", "--timeout", "-1"], "positive"),
    (["verify", "a", "--timeout", "0"], "positive"),
    (["verify", "a", "--max-parallel", "0"], "positive"),
    (["verify", "a", "--timeout", "x"], "x"),
    (["pull", "a", "--bundle", "/x", "--rw-size", "lots"], "lots"),
    (["verify", "docker.io/a", "--as", "b", "--policy", "/dev/null"], "--as"),
])
def test_usage_errors(arguments, words):
    done = guest_pull(*arguments, check=USAGE)
    assert words in done.stderr and done.stdout == ""
    as_json = guest_pull(*arguments, "--json", check=USAGE)
    assert as_json.error["code"] == "usage" and set(as_json.error) == {"code", "message", "retryable", "detail"}


def test_help_fits_a_screen_and_names_every_command():
    text = guest_pull("--help").stdout
    assert len(text.splitlines()) <= 60
    assert all(len(line) <= 80 for line in text.splitlines())
    for command in ("pull", "verify", "umount", "ref", "policy check", "policy explain", "policy match", "images", "layers", "rm", "prune", "fsck"):
        assert f"  {command} " in text, command


def test_json_log_has_one_object_a_line(pulled, work, registry):
    _, name = pulled
    guest_pull("umount", work.bundle)
    options = [*work.options(policy=work / "policy.json", registry=registry), "--store", work.store, "--bundle", work.bundle,
               "--allow-unencrypted-store", "--log-format=json"]
    options.remove("--json")
    done = guest_pull("pull", name, *options, env={"GUEST_PULL_REQUEST_ID": "r-1"})
    assert done.stdout.startswith("sha256:")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(line["program"] == "guest-pull" and line["level"] == "info" and line["request"] == "r-1" for line in lines)
    assert any(line["message"].startswith("layer ") for line in lines), lines
    guest_pull("umount", work.bundle)
    # A failure, with its hint; with --json it stays on standard output alone.
    (work / "policy.json").write_text('{"default":[{"type":"reject"}]}')
    refused = guest_pull("pull", name, *options, check=POLICY)
    (line,) = [line for line in map(json.loads, refused.stderr.splitlines()) if line["level"] == "error"]
    assert "denied by policy" in line["message"] and "\n" not in line["message"] and "request" not in line
    refused = guest_pull("pull", name, "--json", "--quiet", *options, check=POLICY)
    assert refused.stderr == "" and refused.error["code"] == "policy"
    quiet = guest_pull("pull", name, "--quiet", *options, check=POLICY)
    assert len(quiet.stderr.splitlines()) == 1 and json.loads(quiet.stderr)["level"] == "error"


def test_log_format_is_one_that_there_is():
    refused = guest_pull("images", "--log-format", "xml\x1b[1m", check=USAGE)
    assert "--log-format xml" in refused.stderr and "not one of text, json, journald" in refused.stderr and "\x1b" not in refused.stderr


def test_version():
    assert guest_pull("--version").stdout.startswith("guest-pull 0.")


def test_no_option_skips_verification():
    text = guest_pull("--help").stdout.lower()
    assert "insecure" not in text and "skip" not in text and "no-verify" not in text


def test_a_closed_standard_output_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([GUEST_PULL, "ref", "busybox"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == SPACE


# ---- ref and policy: no network

@pytest.mark.parametrize("given, canonical", [
    ("busybox", "docker.io/library/busybox:latest"),
    ("docker://busybox:1.36", "docker.io/library/busybox:1.36"),
    ("index.docker.io/user/app", "docker.io/user/app:latest"),
    ("localhost:5000/x", "localhost:5000/x:latest"),
    ("ghcr.io/a/b@sha256:" + "0" * 64, "ghcr.io/a/b@sha256:" + "0" * 64),
])
def test_ref(given, canonical):
    report = guest_pull("ref", given, "--json").json
    assert report["canonical"] == canonical
    assert set(report) == {"domain", "path", "tag", "digest", "canonical", "scopes"}
    assert canonical in guest_pull("ref", given).stdout


@pytest.mark.parametrize("bad", ["", "UPPER", "a//b", "a:b:c", "a@sha256:short", "../etc/passwd", "a b", "x\x1b[2J"])
def test_bad_references_are_invalid_and_escaped(bad):
    done = guest_pull("ref", bad, "--json", check=INVALID)
    assert done.error["code"] == "invalid" and "\x1b" not in done.stdout
    assert "\x1b" not in guest_pull("ref", bad, check=INVALID).stderr


def test_policy_check(work):
    good = write_policy(work / "good.json", {"docker.io": ANYTHING})
    assert guest_pull("policy", "check", good, "--json").json["valid"] is True
    (work / "bad.json").write_text('{"default":[{"type":"reject"}],"transports":{"docker":{"x":[{"type":"signedBy","keytype":"GPGKeys"}]}}}')
    bad = guest_pull("policy", "check", work / "bad.json", "--json", check=INVALID)
    assert '$.transports.docker.x[0].keytype' in bad.message and "keyType" in bad.message
    (work / "syntax.json").write_text('{"default":\n [{"type":"reject"},]}')
    assert "line 2" in guest_pull("policy", "check", work / "syntax.json", "--json", check=INVALID).message


def test_policy_explain(work):
    policy = write_policy(work / "policy.json", {"docker.io/library": signed_by("/key.gpg"), "docker.io": ANYTHING})
    report = guest_pull("policy", "explain", "busybox:1", "--policy", policy, "--json").json
    assert report["scope"] == "docker: docker.io/library"
    assert report["scopes"] == ["docker.io/library/busybox:1", "docker.io/library/busybox", "docker.io/library", "docker.io", "*.io", "",
                                "default"]
    assert report["requirements"][0]["type"] == "signedBy" and report["requirements"][0]["keys"] == ["/key.gpg"]


@pytest.mark.parametrize("identity, intended, signed, expected", [
    ({"type": "matchRepository"}, "busybox:1", "docker.io/library/busybox:2", OK),
    ({"type": "matchRepository"}, "busybox:1", "docker.io/library/other:1", POLICY),
    ({"type": "matchExact"}, "busybox:1", "docker.io/library/busybox:1", OK),
    ({"type": "matchExact"}, "busybox:1", "docker.io/library/busybox", POLICY),
    ({"type": "exactRepository", "dockerRepository": "quay.io/a/b"}, "busybox", "quay.io/a/b:9", OK),
    ({"type": "remapIdentity", "prefix": "mirror.local", "signedPrefix": "docker.io"}, "mirror.local/library/busybox:1", "busybox:1", OK),
    ({"type": "nonsense"}, "busybox", "busybox", INVALID),
])
def test_policy_match(identity, intended, signed, expected):
    guest_pull("policy", "match", "--identity", json.dumps(identity), intended, signed, check=expected)


# ---- the store

def test_images_layers_and_rm(work, pulled):
    image, name = pulled
    listed = guest_pull("images", "--store", work.store, "--json").json["images"]
    assert [entry["manifestDigest"] for entry in listed] == [image.digest] and listed[0]["image"] == name
    layers = guest_pull("layers", "--store", work.store, "--json").json["layers"]
    assert {layer["digest"] for layer in layers} == {layer.digest for layer in image.layers}
    assert {layer["diffId"] for layer in layers} == {layer.diff_id for layer in image.layers}
    assert sum(layer["bytes"] for layer in layers) == 3 and all(layer["images"] == 1 for layer in layers)
    assert image.digest in guest_pull("images", "--store", work.store).stdout
    work.umount()
    assert guest_pull("rm", image.digest, "--store", work.store, "--json").json["removed"] == image.digest
    again = guest_pull("rm", image.digest, "--store", work.store, "--json", check=NOT_FOUND)
    assert "no such image" in again.message
    assert guest_pull("layers", "--store", work.store, "--json").json == {"layers": []}


def test_prune_removes_what_no_image_uses(work, registry):
    """Layers that a pull finished before its time ran out stay for the next try, until somebody prunes."""
    image = Image([Layer([File("a", "1")]), Layer([File("b", "2")])])
    policy_of = lambda host: write_policy(work / "policy.json", {host: ANYTHING})  # noqa: E731
    with FakeRegistry() as fake:
        name = fake.add(image, "x/y", "1")

        def stall(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(image.layers[1].blob)))
            handler.end_headers()
            handler.wfile.flush()
            time.sleep(10)
        fake.answers[f"/v2/x/y/blobs/{image.layers[1].digest}"] = stall
        work.pull(name, "--timeout", "2", policy=policy_of(fake.host), registry=fake, check=CANCELLED)
    kept = guest_pull("layers", "--store", work.store, "--json").json["layers"]
    assert [(layer["digest"], layer["images"]) for layer in kept] == [(image.layers[0].digest, 0)]
    assert guest_pull("prune", "--store", work.store, "--json").json | {"free": 0} == {"images": 0, "layers": 1, "bytes": 1, "free": 0}
    assert guest_pull("layers", "--store", work.store, "--json").json == {"layers": []}


def test_empty_store_is_not_found(work):
    for command in (["images"], ["layers"], ["fsck"], ["prune"], ["rm", "busybox"]):
        done = guest_pull(*command, "--store", work / "absent", "--json", check=NOT_FOUND)
        assert "absent" in done.message


def test_fsck_names_damage(work, pulled):
    image, _ = pulled
    clean = guest_pull("fsck", "--store", work.store, "--json").json
    assert clean["clean"] is True and clean["problems"] == [] and clean["checked"] >= 4
    victim = next(work.store.glob("layers/*/root/b"))
    times = victim.stat()
    victim.write_bytes(b"23")
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    damaged = guest_pull("fsck", "--store", work.store, "--json", check=DIGEST).json
    assert damaged["clean"] is False
    assert any(image.layers[1].digest in line and "b: its content differs" in line for line in damaged["problems"])


def test_umount_of_nothing_is_not_found(work):
    assert guest_pull("umount", work.bundle, "--json", check=NOT_FOUND).error["code"] == "not-found"


# ---- local images

def test_oci_layout(work, cosign_key):
    image = Image([Layer([File("hello", "hi")])])
    layout = image.write_layout(work / "layout")
    policy = write_policy(work / "policy.json", oci={str(work / "layout"): [ANYTHING]})
    done = work.pull(layout, policy=policy)
    assert done.json["manifestDigest"] == image.digest and (work.rootfs / "hello").read_text() == "hi"
    work.verify(f"oci:{work / 'layout'}", policy=policy)
    assert "nothing" in work.verify(f"oci:{work / 'layout'}:nothing", policy=policy, check=NOT_FOUND).message
    elsewhere = write_policy(work / "elsewhere.json", oci={"/somewhere/else": [ANYTHING]})
    work.verify(layout, policy=elsewhere, check=POLICY)


def test_local_image_takes_its_identity_from_as(work, gpg_key):
    folder = work / "image"
    folder.mkdir()
    image = Image([Layer([File("hello", "hi")])])
    (folder / "manifest.json").write_bytes(image.manifest)
    (folder / "signature-1").write_bytes(gpg_key.sign(simple_payload(image.digest, "example.com/app:1")))
    policy = write_policy(work / "policy.json", {"example.com": signed_by(gpg_key)})
    assert work.verify(f"dir:{folder}", "--as", "example.com/app:1", policy=policy).json["verdict"]["accepted"]
    wrong = work.verify(f"dir:{folder}", "--as", "example.com/other:1", policy=policy, check=SIGNATURE)
    assert "identity-mismatch" in wrong.message
    nameless = write_policy(work / "nameless.json", dir={str(folder): [signed_by(gpg_key)]})
    refused = work.verify(f"dir:{folder}", policy=nameless, check=SIGNATURE)
    assert "--as" in refused.error["message"] + str(refused.error["detail"]) + str(refused.json["verdict"])


VECTORS = os.environ.get("GUEST_PULL_VECTORS")
FIXTURES = pathlib.Path(VECTORS or "/nonexistent") / "containers-image"


@pytest.mark.skipif(not VECTORS, reason="GUEST_PULL_VECTORS is not set: public vectors are not checked")
@pytest.mark.parametrize("folder, key, expected", [
    ("dir-img-valid", "public-key.gpg", OK),
    ("dir-img-mixed", "public-key.gpg", OK),
    ("dir-img-unsigned", "public-key.gpg", SIGNATURE),
    ("dir-img-modified-manifest", "public-key.gpg", SIGNATURE),
    ("dir-img-cosign-valid", "cosign.pub", OK),
    ("dir-img-cosign-valid", "cosign2.pub", SIGNATURE),
    ("dir-img-cosign-modified-manifest", "cosign.pub", SIGNATURE),
])
def test_public_vectors(work, folder, key, expected):
    """The reference implementation's own fixtures through the real program."""
    make = sigstore_signed if key.endswith(".pub") else signed_by
    policy = write_policy(work / "policy.json", {"docker.io": make(str(FIXTURES / key), "matchRepository")})
    name = "192.168.64.2:5000/cosign-signed-single-sample" if key.endswith(".pub") else "testing/manifest:latest"
    scope = "192.168.64.2:5000" if key.endswith(".pub") else "docker.io"
    policy = write_policy(work / "policy.json", {scope: make(str(FIXTURES / key), "matchRepository")})
    work.verify(f"dir:{FIXTURES / folder}", "--as", name, policy=policy, check=expected)


def test_without_libostree_only_the_store_is_missing(work, registry):
    """It is loaded when a store is opened; a guest that lacks it can verify."""
    library = re.search(r"=> (/\S+/libostree-1\.so\.1)$", run("/sbin/ldconfig", "-p").stdout, re.M)[1]
    name = Image([Layer([File("a", "a")])]).push(registry, work.repository(), "1")
    options = [*map(str, work.options(policy=write_policy(work / "policy.json", {registry.host: ACCEPT_ANYTHING}), registry=registry))]

    def without(*arguments):
        script = f'mount --bind /dev/null {library} && exec "$@"'
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", GUEST_PULL, *map(str, arguments)], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    assert without("verify", name, *options)[0] == OK
    status, said = without("pull", name, "--bundle", work.bundle, "--store", work.store, "--allow-unencrypted-store", *options)
    assert status == INTERNAL and "libostree cannot be loaded" in said and "needs the package libostree-1-1" in said
    assert not mounts_below(work.bundle)
