"""The test library itself, without guest-pull: what it builds is checked with other people's tools."""

import io
import json
import subprocess
import tarfile

import pytest

from lib import *  # noqa: F403
import lib


def small_image(**more) -> lib.Image:
    base = lib.Layer([lib.Dir("bin"), lib.File("bin/tool", b"#!/bin/sh\n", mode=0o4755, uid=5, gid=6, mtime="12.123456789"),
                      lib.File("etc/gone", "x"), lib.Hardlink("bin/alias", "bin/tool")])
    top = lib.Layer([lib.Whiteout("etc/gone"), lib.Symlink("bin/link", "tool"), lib.Opaque("var")], compression="zstd")
    return lib.Image([base, top], config={"Cmd": ["/bin/tool"]}, **more)


def test_images_are_the_same_every_time():
    assert small_image().digest == small_image().digest


def test_tar_carries_every_attribute():
    data = lib.make_tar([lib.File("f", b"data", mode=0o6711, uid=3000000, gid=7, mtime="1.000000001",
                                  xattrs={"user.a": b"\x00\xff", "security.capability": b"\x01"}),
                         lib.Device("null", 1, 3), lib.Fifo("fifo"), lib.File(b"latin-\xe9", b"")])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    assert [m.type for m in members] == [tarfile.REGTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.REGTYPE]
    first = members[0]
    assert (first.mode, first.uid, first.gid) == (0o6711, 3000000, 7)
    assert first.pax_headers["mtime"] == "1.000000001"
    assert first.pax_headers["SCHILY.xattr.user.a"].encode("utf-8", "surrogateescape") == b"\x00\xff"
    assert (members[1].devmajor, members[1].devminor) == (1, 3)
    assert members[3].name.encode("utf-8", "surrogateescape") == b"latin-\xe9"


def test_layout_is_read_by_umoci(work):
    small_image().write_layout(work / "layout", "one")
    lib.Image([lib.Layer([lib.File("a")])]).write_layout(work / "layout", "two")
    listed = lib.run("umoci", "list", "--layout", work / "layout").stdout.split()
    assert sorted(listed) == ["one", "two"]
    single = lib.Image([lib.Layer([lib.Dir("d"), lib.File("d/f", "text", mode=0o640)])])
    single.write_layout(work / "layout", "three")
    lib.run("umoci", "unpack", "--image", f"{work / 'layout'}:three", work / "unpacked")
    assert (work / "unpacked/rootfs/d/f").read_text() == "text"


@pytest.mark.parametrize("docker", [False, True])
def test_pushed_image_is_read_by_skopeo(work, registry, docker):
    image = lib.Image([lib.Layer([lib.File("f", "1")]), lib.Layer([lib.File("f", "2")])], docker=docker)
    name = image.push(registry, work.repository(), "v1")
    seen = json.loads(lib.skopeo("inspect", "--tls-verify=false", "docker://" + name).stdout)
    assert seen["Digest"] == image.digest
    lib.skopeo("copy", "--src-tls-verify=false", "docker://" + name, f"dir:{work / 'copy'}")
    assert (work / "copy/manifest.json").read_bytes() == image.manifest


def test_index_is_read_by_skopeo(work, registry):
    ours, other = small_image(), small_image(architecture="arm64", variant="v8")
    index = lib.Index([ours, other])
    name = index.push(registry, work.repository(), "multi")
    raw = lib.skopeo("inspect", "--raw", "--tls-verify=false", "docker://" + name).stdout
    assert raw.encode() == index.manifest
    lib.skopeo("--override-arch", "arm64", "--override-variant", "v8", "copy", "--src-tls-verify=false", "docker://" + name,
               f"dir:{work / 'copy'}")
    assert (work / "copy/manifest.json").read_bytes() == other.manifest


def test_registry_with_password(work, registry_auth):
    name = small_image().push(registry_auth, work.repository(), "v1")
    lib.skopeo("inspect", "--tls-verify=false", "--no-creds", "docker://" + name, check=1)
    authfile = registry_auth.authfile(work / "auth.json")
    lib.skopeo("inspect", "--tls-verify=false", "--authfile", authfile, "docker://" + name)


def test_registry_with_certificate(work, registry_tls):
    name = small_image().push(registry_tls, work.repository(), "v1")
    lib.skopeo("inspect", "docker://" + name, check=1)
    certs = registry_tls.certs_d(work / "certs.d")
    lib.skopeo("inspect", "--cert-dir", certs, "docker://" + name)


def test_registry_records_requests(work, registry):
    image = small_image()
    image.push(registry, work.repository(), "v1")
    mark = registry.mark()
    assert registry.get_manifest(work.repository(), "v1") == image.manifest
    assert registry.since(mark) == [f"GET /v2/{work.repository()}/manifests/v1 200"]
    with open(registry.blob_path(image.layers[0].digest), "rb") as blob:
        assert blob.read() == image.layers[0].blob


@pytest.mark.parametrize("fixture", ["fake_registry", "fake_registry_tls"])
def test_fake_registry_serves_and_records(work, fixture, request):
    fake = request.getfixturevalue(fixture)
    image = small_image()
    name = fake.add(image, "some/app", "v1")
    tls = ["--src-cert-dir", fake.certs_d(work / "certs.d")] if fake.ca else ["--src-tls-verify=false"]
    lib.skopeo("copy", *tls, "docker://" + name, f"dir:{work / 'copy'}")
    assert (work / "copy/manifest.json").read_bytes() == image.manifest
    assert "GET /v2/some/app/manifests/v1" in fake.paths()
    fake.answers["/v2/some/app/manifests/v1"] = (429, {"Retry-After": "1"}, b"")
    assert fake.request("GET", "/v2/some/app/manifests/v1")[0] == 429


def test_gpg_signature_is_accepted_by_skopeo(work, registry, gpg_key, other_gpg_key):
    image = small_image()
    layout = image.write_layout(work / "layout", "v1")
    registries_d = lib.write_registries_d(work / "registries.d", work / "lookaside")
    name = lib.skopeo_push_signed(layout, registry, work.repository(), "v1", gpg_key, registries_d)
    assert (work / "lookaside" / f"{work.repository()}@{image.digest.replace(':', '=')}" / "signature-1").exists()

    def copy(key, check):
        policy = lib.write_policy(work / "policy.json", {registry.host: lib.signed_by(key)})
        lib.run("skopeo", "--policy", policy, "--registries.d", registries_d, "copy", "--remove-signatures", "--src-tls-verify=false",
                "docker://" + name, f"dir:{work / 'copy'}", check=check)

    copy(gpg_key, 0)
    copy(other_gpg_key, 1)


def test_own_gpg_signature_is_accepted_by_skopeo(work, registry, gpg_key):
    image = small_image()
    name = image.push(registry, work.repository(), "v1")
    signature = gpg_key.sign(lib.simple_payload(image.digest, name))
    lib.write_lookaside(work / "lookaside", work.repository(), image.digest, signature)
    registries_d = lib.write_registries_d(work / "registries.d", work / "lookaside")
    policy = lib.write_policy(work / "policy.json", {registry.host: lib.signed_by(gpg_key)})
    lib.run("skopeo", "--policy", policy, "--registries.d", registries_d, "copy", "--remove-signatures", "--src-tls-verify=false",
            "docker://" + name, f"dir:{work / 'copy'}")


def test_cosign_signatures_add_up(work, registry, cosign_key, other_cosign_key):
    image = small_image()
    image.push(registry, work.repository(), "v1")
    tag = lib.cosign_sign(registry, work.repository(), image.digest, cosign_key)
    lib.cosign_sign(registry, work.repository(), image.digest, other_cosign_key)
    layers = json.loads(registry.get_manifest(work.repository(), tag))["layers"]
    assert len(layers) == 2
    payload = registry.request("GET", f"/v2/{work.repository()}/blobs/{layers[0]['digest']}")[2]
    signature = work / "signature"
    signature.write_bytes(lib.base64.b64decode(layers[0]["annotations"][lib.COSIGN_SIGNATURE]))
    verify = ["openssl", "dgst", "-sha256", "-signature", signature, "-verify"]
    lib.run(*verify, cosign_key.public, input=payload)
    lib.run(*verify, other_cosign_key.public, input=payload, check=1)


def test_cosign_signature_is_accepted_by_cosign(work, registry, cosign_key, other_cosign_key, peers):
    if not peers.cosign2:
        pytest.skip("no cosign 2")
    image = small_image()
    image.push(registry, work.repository(), "v1")
    lib.cosign_sign(registry, work.repository(), image.digest, cosign_key)
    name = f"{registry.host}/{work.repository()}@{image.digest}"
    for key, status in ((cosign_key, 0), (other_cosign_key, None)):
        done = lib.run(peers.cosign2, "verify", "--insecure-ignore-tlog=true", "--allow-http-registry", "--key", key.public, name,
                       check=status, env={"HOME": str(work), "PATH": "/usr/bin:/bin"})
        assert (done.status == 0) == (key is cosign_key)


def test_mounts_below_are_found_and_undone(work):
    point = work / "a folder"
    point.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", point], check=False, capture_output=True).returncode:
        pytest.skip("not allowed to mount")
    assert lib.mounts_below(work) == [str(point)]
    lib.unmount_below(work)
    assert lib.mounts_below(work) == []


def test_failed_expectation_shows_everything():
    with pytest.raises(AssertionError, match="(?s)exit status 3.*out.*err"):
        lib.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert lib.run("sh", "-c", "echo '{\"error\":{\"code\":\"policy\"}}'; exit 3", check=lib.POLICY).error["code"] == "policy"
