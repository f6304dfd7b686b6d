"""Registries configuration, mirrors and blob directories, through the real program: who is asked in which order, whose word counts, and
what becomes of a place that serves something else."""

import concurrent.futures
import os
import socket
import time

import pytest

from lib import *
from settings import write_config

LOGICAL = "registry.invalid:5000"  # nobody: only mirrors can serve it (RFC 6761)


def write_registries(work, *tables: str) -> str:
    (work / "registries.conf").write_text("\n".join(tables) + "\n")
    return os.fspath(work / "registries.conf")


def table(prefix: str, *mirrors, location: str | None = None, more: str = "") -> str:
    """Each mirror "HOST/PATH", asked over plain http."""
    text = f'[[registry]]\nprefix = "{prefix}"\n{more}\n' + (f'location = "{location}"\n' if location else "")
    return text + "".join(f'[[registry.mirror]]\nlocation = "{mirror}"\ninsecure = true\n' for mirror in mirrors)


def small_image(text: str = "hi") -> Image:
    return Image([Layer([File("hello", text)]), Layer([File("big", os.urandom(200_000))])])


def accept_all(work) -> str:
    return write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})


def pull(work, image, *more, conf=None, **options):
    extra = ["--registries", conf] if conf else []
    return work.pull(image, *extra, *more, **options)


# ---- registries resolve

def test_resolve_shows_the_order_and_why(work):
    conf = write_registries(work, table("docker.io", "m1.example/hub", "m2.example"))
    shown = guest_pull("registries", "resolve", "--json", "--registries", conf, "debian:12").json
    assert shown["image"] == "docker.io/library/debian:12" and shown["prefix"] == "docker.io"
    assert [(row["location"], row["mirror"], row["insecure"]) for row in shown["locations"]] == [
        ("m1.example/hub/library/debian:12", True, True), ("m2.example/library/debian:12", True, True),
        ("docker.io/library/debian:12", False, False)]
    assert shown["locations"][0]["why"] == "mirror 1 of prefix docker.io"
    text = guest_pull("registries", "resolve", "--registries", conf, "debian:12").stdout.splitlines()
    assert text[1] == "mirror    m1.example/hub/library/debian:12 over plain http (mirror 1 of prefix docker.io)"


def test_resolve_of_a_blocked_name_and_of_a_short_one(work):
    conf = write_registries(work, 'unqualified-search-registries = ["quay.io"]', table("evil.example", more="blocked = true"))
    assert "blocks prefix evil.example" in guest_pull("registries", "resolve", "--registries", conf, "evil.example/a", check=POLICY).message
    assert "names no registry" in guest_pull("registries", "resolve", "--registries", conf, "debian", check=UNSUPPORTED).message


def test_a_directory_is_all_its_files_and_no_prefix_twice(work):
    (work / "d").mkdir()
    (work / "d/1.conf").write_text(table("a.example", location="x.example"))
    (work / "d/2.conf").write_text(table("b.example", location="y.example"))
    (work / "d/ignored.txt").write_text("nonsense")
    for name, expected in (("a.example/i:1", "x.example/i:1"), ("b.example/i:1", "y.example/i:1")):
        assert guest_pull("registries", "resolve", "--json", "--registries", work / "d", name).json["locations"][-1]["location"] == expected
    (work / "d/3.conf").write_text(table("a.example"))
    refused = guest_pull("registries", "resolve", "--json", "--registries", work / "d", "a.example/i", check=INVALID)
    assert "3.conf: prefix a.example is already in another file" in refused.message


def test_configuration_of_the_confidential_data_hub_the_inline_one_wins(work):
    (work / "uri.conf").write_text(table("a.example", location="uri.example"))
    config = write_config(work / "cdh.toml", {"registry_configuration_uri": f"file://{work}/uri.conf",
                                              "registry_config": table("a.example", location="inline.example")}, {})
    resolve = lambda *more: guest_pull("registries", "resolve", "--json", "--config", config, *more, "a.example/i:1").json["locations"][0]["location"]  # noqa: E731
    assert resolve() == "inline.example/i:1"
    assert resolve("--registries", work / "uri.conf") == "uri.example/i:1"


# ---- mirrors

def test_a_mirror_serves_what_the_registry_cannot(work, fake_registry):
    image = small_image()
    fake_registry.add(image, "hub/app", "1")
    conf = write_registries(work, table(LOGICAL, fake_registry.host + "/hub"))
    done = pull(work, f"{LOGICAL}/app:1", conf=conf, policy=accept_all(work))
    assert done.json["manifestDigest"] == image.digest and done.json["image"] == f"{LOGICAL}/app:1"
    assert done.json["location"] == f"mirror {fake_registry.host}/hub/app" and done.json["warnings"] == []
    assert {row["from"] for row in done.json["layers"]} == {f"mirror {fake_registry.host}/hub/app"}
    assert (work.rootfs / "hello").read_text() == "hi"


def test_mirrors_are_asked_in_order_and_the_original_last(work, fake_registry):
    image = small_image()
    with FakeRegistry() as first, FakeRegistry() as second:
        fake_registry.add(image, "app", "1")
        conf = write_registries(work, table(fake_registry.host, first.host + "/a", second.host + "/b"))
        done = pull(work, f"{fake_registry.host}/app:1", conf=conf, policy=accept_all(work), registry=fake_registry)
        assert done.json["location"] == f"registry {fake_registry.host}/app"
        assert [first.host in done.json["warnings"][0], second.host in done.json["warnings"][1]] == [True, True]
        assert first.paths() == ["GET /v2/a/app/manifests/1"] and second.paths() == ["GET /v2/b/app/manifests/1"]


def test_weakness_3_the_policy_is_asked_for_the_logical_name_not_the_mirrors(work, fake_registry):
    fake_registry.add(small_image(), "app", "1")
    conf = write_registries(work, table(LOGICAL, fake_registry.host))
    lax_mirror = write_policy(work / "lax.json", {fake_registry.host: {"type": "insecureAcceptAnything"}}, default={"type": "reject"})
    refused = pull(work, f"{LOGICAL}/app:1", conf=conf, policy=lax_mirror, check=POLICY)
    assert "scope default" in refused.message and fake_registry.seen == []
    lax_logical = write_policy(work / "lax2.json", {LOGICAL: {"type": "insecureAcceptAnything"}}, default={"type": "reject"})
    pull(work, f"{LOGICAL}/app:1", conf=conf, policy=lax_logical)


def test_weakness_4_a_prefix_in_the_middle_of_a_name_moves_nothing(work, fake_registry):
    image = small_image()
    with FakeRegistry() as stranger:
        fake_registry.add(image, "docker.io/app", "1")
        conf = write_registries(work, table("docker.io", stranger.host), table(fake_registry.host + "/docker", stranger.host))
        done = pull(work, f"{fake_registry.host}/docker.io/app:1", conf=conf, policy=accept_all(work), registry=fake_registry)
        assert done.json["location"] == f"registry {fake_registry.host}/docker.io/app" and stranger.seen == []


def test_a_signature_must_name_the_logical_image_and_comes_from_the_mirror(work, registry, cosign_key):
    image, repository = small_image(), work.repository()
    image.push(registry, repository, "1")
    logical = f"{LOGICAL}/{repository}"
    conf = write_registries(work, table(LOGICAL, registry.host))
    policy = write_policy(work / "policy.json", {LOGICAL: sigstore_signed(cosign_key, "matchRepository")}, default={"type": "reject"})
    cosign_sign(registry, repository, image.digest, cosign_key, reference=f"{registry.host}/{repository}")
    refused = pull(work, f"{logical}:1", conf=conf, policy=policy, check=None)
    assert refused.status != 0 and not mounts_below(work)
    assert any("identity-mismatch" in text or "does not" in text for text in [*refused.json["warnings"], refused.message])
    cosign_sign(registry, repository, image.digest, cosign_key, reference=logical)
    done = pull(work, f"{logical}:1", conf=conf, policy=policy)
    assert done.json["location"] == f"mirror {registry.host}/{repository}"


def test_an_image_that_the_mirror_altered_is_asked_for_elsewhere(work, registry, cosign_key, fake_registry):
    image, repository = small_image(), work.repository()
    name = image.push(registry, repository, "1")
    cosign_sign(registry, repository, image.digest, cosign_key)
    fake_registry.add(small_image("evil"), repository, "1")
    conf = write_registries(work, table(registry.host, fake_registry.host))
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key, "matchRepository")}, default={"type": "reject"})
    done = pull(work, name, conf=conf, policy=policy, registry=registry)
    assert done.json["manifestDigest"] == image.digest and (work.rootfs / "hello").read_text() == "hi"
    assert done.json["location"].startswith("registry ") and "no-signature" in done.json["warnings"][0]
    assert not [path for path in fake_registry.paths() if "/blobs/" in path]


@pytest.mark.parametrize("what", ["digest", "short", "long", "absent", "manifest"])
def test_wrong_bytes_of_a_mirror_are_not_kept_and_the_next_one_is_asked(what, work, fake_registry):
    image = small_image()
    name = fake_registry.add(image, "app", "1")
    with FakeRegistry() as mirror:
        mirror.add(image, "app", "1")
        path = [path for path in mirror.answers if "/blobs/" in path and len(mirror.answers[path]) > 100_000][0]
        right = mirror.answers[path]
        if what == "manifest":
            mirror.answers["/v2/app/manifests/1"] = (200, {"Content-Type": "text/html"}, b"<html>sign in</html>")
        else:
            mirror.answers[path] = {"digest": right[:-1] + bytes([right[-1] ^ 1]), "short": right[:-1], "long": right + b"x",
                                    "absent": (404, {}, b"{}")}[what]
        conf = write_registries(work, table(fake_registry.host, mirror.host))
        done = pull(work, name, conf=conf, policy=accept_all(work), registry=fake_registry)
        assert done.json["manifestDigest"] == image.digest and (work.rootfs / "hello").read_text() == "hi"
        assert len(done.json["warnings"]) == 1 and mirror.host in done.json["warnings"][0]
    assert guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store").status == 0
    assert os.listdir(work.store / "staging") == []


def test_when_no_place_has_it_right_the_originals_failure_is_told(work, fake_registry):
    image = small_image()
    name = fake_registry.add(image, "app", "1")
    path = [path for path in fake_registry.answers if "/blobs/" in path and len(fake_registry.answers[path]) > 100_000][0]
    right = fake_registry.answers[path]
    fake_registry.answers[path] = right[:-1] + bytes([right[-1] ^ 1])
    with FakeRegistry() as mirror:
        mirror.answers.update(fake_registry.answers)
        conf = write_registries(work, table(fake_registry.host, mirror.host))
        refused = pull(work, name, conf=conf, policy=accept_all(work), registry=fake_registry, check=DIGEST)
        assert "the blob" in refused.message and mirror.host in refused.json["warnings"][0]
    assert not mounts_below(work) and os.listdir(work.store / "staging") == [] and os.listdir(work.store / "layers") == []


def test_credentials_are_the_places_own(work, fake_registry):
    """Those of the logical name are never sent to its mirror."""
    fake_registry.add(small_image(), "app", "1")
    right = dict(fake_registry.answers)
    for path, answer in right.items():
        fake_registry.answers[path] = lambda handler, answer=answer: respond(handler, answer)

    def respond(handler, answer):
        status, headers, body = (200, {}, answer) if isinstance(answer, bytes) else answer
        if not handler.headers["Authorization"]:
            status, headers, body = 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        handler.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    conf = write_registries(work, table(LOGICAL, fake_registry.host))
    authfile = work / "auth.json"
    authfile.write_text('{"auths":{"%s":{"auth":"dTpsb2dpY2Fs"}}}' % LOGICAL)
    pull(work, f"{LOGICAL}/app:1", conf=conf, policy=accept_all(work), authfile=authfile, check=None)
    assert all("Authorization" not in headers for _, _, headers in fake_registry.seen)
    authfile.write_text('{"auths":{"%s":{"auth":"dTptaXJyb3I="}}}' % fake_registry.host)
    pull(work, f"{LOGICAL}/app:1", conf=conf, policy=accept_all(work), authfile=authfile)
    assert {headers.get("Authorization") for _, _, headers in fake_registry.seen} == {None, "Basic dTptaXJyb3I="}


def test_a_mirror_that_is_not_insecure_is_not_asked_over_http(work, fake_registry):
    fake_registry.add(small_image(), "app", "1")
    conf = write_registries(work, f'[[registry]]\nprefix="{LOGICAL}"\n[[registry.mirror]]\nlocation="{fake_registry.host}"\n')
    pull(work, f"{LOGICAL}/app:1", conf=conf, policy=accept_all(work), check=NETWORK)
    assert fake_registry.seen == []


def test_blocked(work, fake_registry):
    name = fake_registry.add(small_image(), "app", "1")
    conf = write_registries(work, table(fake_registry.host, more="blocked = true"))
    refused = pull(work, name, conf=conf, policy=accept_all(work), registry=fake_registry, check=POLICY)
    assert f"blocks prefix {fake_registry.host}" in refused.message and fake_registry.seen == []


# ---- blob directories

def with_directory(work, *directories) -> str:
    return write_config(work / "config.toml", {}, {"blob_directories": [os.fspath(each) for each in directories]})


def share(image, folder, below: str = ""):
    """An OCI layout, or the same blobs as in containerd's content store."""
    target = folder / below if below else folder
    target.mkdir(parents=True)
    image.write_layout(target, "latest")
    return target


@pytest.mark.parametrize("below", ["", "io.containerd.content.v1.content"])
def test_no_byte_of_a_layer_comes_from_the_registry(below, work, fake_registry):
    image = small_image()
    name = fake_registry.add(image, "app", "1")
    directory = share(image, work / "host", below)
    done = work.pull(name, "--config", with_directory(work, directory), policy=accept_all(work), registry=fake_registry)
    assert [path for path in fake_registry.paths() if "/blobs/" in path] == []
    assert done.json["bytes"]["downloaded"] == 0 and done.json["bytes"]["local"] > 200_000
    assert {row["from"] for row in done.json["layers"]} == {f"blob directory {directory}"} and done.json["warnings"] == []
    assert (work.rootfs / "hello").read_text() == "hi"


def biggest(directory):
    return max((directory / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_link(path):
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def replace_by_fifo(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_device(path):
    path.unlink()
    os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero


def replace_by_giant(path):
    os.truncate(path, 1 << 43)


def replace_by_socket(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def replace_by_directory(path):
    path.unlink()
    path.mkdir()


def link_the_folder(path):
    path.parent.rename(path.parent.with_name("real"))
    path.parent.symlink_to("real")


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("harm, reason, blobs", [
    (flip, "the blob", 1), (replace_by_link, "not a regular file", 1), (replace_by_fifo, "not a regular file", 1),
    (replace_by_device, "not a regular file", 1), (replace_by_giant, "its descriptor says", 1), (replace_by_socket, "not a regular file", 1),
    (replace_by_directory, "not a regular file", 1), (link_the_folder, "not followed", 3), (cut, "its descriptor says", 1)])
def test_what_is_wrong_in_the_directory_comes_from_the_registry(harm, reason, blobs, work, fake_registry):
    image = small_image()
    name = fake_registry.add(image, "app", "1")
    directory = share(image, work / "host")
    victim = biggest(directory)
    harm(victim)
    done = work.pull(name, "--config", with_directory(work, directory), policy=accept_all(work), registry=fake_registry)
    asked = [path for path in fake_registry.paths() if "/blobs/" in path]
    assert len(asked) == blobs and any(victim.name in path for path in asked)
    assert len(done.json["warnings"]) == blobs and all(reason in text and str(directory) in text for text in done.json["warnings"])
    assert done.json["manifestDigest"] == image.digest and (work.rootfs / "hello").read_text() == "hi"
    assert guest_pull("fsck", "--store", work.store, "--allow-unencrypted-store").status == 0


def test_a_directory_that_lacks_a_blob_or_is_not_there_is_no_matter(work, fake_registry):
    image = small_image()
    name = fake_registry.add(image, "app", "1")
    directory = share(image, work / "host")
    biggest(directory).unlink()
    done = work.pull(name, "--config", with_directory(work, work / "absent", directory), policy=accept_all(work), registry=fake_registry)
    assert len([path for path in fake_registry.paths() if "/blobs/" in path]) == 1
    assert done.json["bytes"]["downloaded"] > 200_000 > done.json["bytes"]["local"] > 0


def test_the_directory_has_no_say_in_what_runs(work, fake_registry):
    """Manifest and signatures are the registry's, and a scope that rejects is not asked past."""
    name = fake_registry.add(small_image(), "app", "1")
    directory = share(small_image("evil"), work / "host")
    done = work.pull(name, "--config", with_directory(work, directory), policy=accept_all(work), registry=fake_registry)
    assert (work.rootfs / "hello").read_text() == "hi" and done.json["bytes"]["local"] == 0


# ---- real registries, many pulls

def test_a_pull_through_mirror_of_another_registry(work, registry, cosign_key):
    image, repository = small_image(), work.repository()
    name = image.push(registry, repository, "1")
    cosign_sign(registry, repository, image.digest, cosign_key)
    policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key, "matchRepository")}, default={"type": "reject"})
    with Registry(work / "mirror", upstream=f"http://{registry.host}") as mirror:
        conf = write_registries(work, table(registry.host, mirror.host))
        for number in range(2):
            done = pull(work, name, conf=conf, policy=policy, bundle=work.new_bundle(f"b{number}"), store=work / f"store{number}")
            assert done.json["location"] == f"mirror {mirror.host}/{repository}" and done.json["warnings"] == []
        mirror.stop()  # and when it is gone the registry itself is asked
        done = pull(work, name, conf=conf, policy=policy, bundle=work.new_bundle("b2"), store=work / "store2", registry=registry)
        assert done.json["location"] == f"registry {registry.host}/{repository}" and mirror.host in done.json["warnings"][0]


def test_eight_pulls_at_once_fetch_each_shared_blob_once(work, fake_registry):
    shared = [Layer([File(f"shared{i}", os.urandom(300_000))]) for i in range(4)]
    images = [Image([*shared, Layer([File("own", f"{i}" * 1000)])]) for i in range(8)]
    names = [fake_registry.add(image, f"app{i}", "1") for i, image in enumerate(images)]
    for i, image in enumerate(images):  # so that all are at it when the first blob comes
        for layer in shared:
            path = f"/v2/app{i}/blobs/{layer.digest}"
            fake_registry.answers[path] = slowly(fake_registry.answers[path])
    policy = accept_all(work)
    bundles = [work.new_bundle(f"bundle{i}") for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda i: work.pull(names[i], policy=policy, registry=fake_registry, bundle=bundles[i]), range(8)))
    for layer in shared:
        assert len([path for path in fake_registry.paths() if layer.digest in path]) == 1
    assert sum(row["reused"] for each in done for row in each.json["layers"]) == 7 * 4
    assert [(bundles[i] / "rootfs/own").read_text() for i in range(8)] == [f"{i}" * 1000 for i in range(8)]


def slowly(body: bytes):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:1000])
        handler.wfile.flush()
        time.sleep(0.5)
        handler.wfile.write(body[1000:])
    return answer
