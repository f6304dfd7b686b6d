"""Registries with the referrers API: one that is not ours, and ours held to the distribution-spec's own tests; and the same signed image through every kind of registry."""

import contextlib
import json
import os
import re
import shutil
import subprocess

import pytest

import minisigstore as mini
from lib import *
from oci_registry import INDEX, OciRegistry, attach_bundle
from tokens import TokenRegistry, TokenServer


def make_image() -> Image:
    return Image([Layer([File("hello", "hi")]), Layer([File("data", os.urandom(300_000))], "zstd")])


@pytest.fixture
def real(go_registries):
    if not go_registries.registry:
        pytest.skip("go-containerregistry cannot be built here")
    with GoRegistry(go_registries.registry) as server:
        yield server


def test_ours_passes_the_specifications_own_tests(work, go_registries):
    """Pull, push, content discovery and management; what is switched off in the suite is what 1.1 does not demand."""
    if not go_registries.conformance:
        pytest.skip("the distribution-spec's tests cannot be built here")
    with OciRegistry() as server:
        done = run(go_registries.conformance, env={**os.environ, "OCI_REGISTRY": server.host, "OCI_TLS": "disabled", "OCI_VERSION": "1.1", "OCI_LOG": "error",
                                                   "OCI_RESULTS_DIR": os.fspath(work / "results")}, check=None)
    counts = {name.strip("."): int(number) for name, number in re.findall(r"^  (\S+): +([0-9]+)$", done.stdout, re.M)}
    assert done.status == 0 and counts["FAIL"] == counts["Error"] == 0 and counts["Pass"] > 800, done


def test_referrers_of_a_real_registry(work, real):
    """A bundle among other things that refer to the image; and of none that refers to another image."""
    instance, image = mini.Sigstore(), make_image()
    (work / "signer.pub").write_bytes(instance.signer.pem)
    policy = write_policy(work / "policy.json", {real.host: sigstore_signed(str(work / "signer.pub"))})
    bundle = instance.bundle(mini.statement_for(image.digest.split(":")[1]), keyless=False, entries=[])
    name = image.push(real, work.repository(), "latest")
    other = make_image()
    other.push(real, work.repository(), "other")
    attach_bundle(real, work.repository(), other.digest, bundle)
    manifest = json.dumps({"schemaVersion": 2, "mediaType": image.media_type, "artifactType": "application/vnd.example", "config": json.loads(image.manifest)["config"],
                           "layers": [], "subject": {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}}).encode()
    real.put_manifest(work.repository(), digest_of(manifest), manifest, image.media_type)
    listed = json.loads(real.request("GET", f"/v2/{work.repository()}/referrers/{image.digest}")[2])["manifests"]
    assert [entry["digest"] for entry in listed] == [digest_of(manifest)]  # as what, it says in its own way: by the configuration's type
    assert "no-signature" in work.pull(name, policy=policy, registry=real, check=SIGNATURE).message
    attach_bundle(real, work.repository(), image.digest, bundle)
    assert work.pull(name, policy=policy, registry=real).json["manifestDigest"] == image.digest


@pytest.mark.parametrize("bundles", [True, False], ids=["bundle", "legacy"])
def test_cosign_through_a_real_registry(bundles, work, real, peers):
    """cosign 3 signs what lies there, and finds what it signed; so do we."""
    if not peers.cosign3:
        pytest.skip("no cosign 3 to be had")
    environment, image = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(work)}, make_image()
    name = image.push(real, work.repository(), "latest")
    for key in ("right", "wrong"):
        run(peers.cosign3, "generate-key-pair", "--output-key-prefix", work / key, env=environment)
    target = f"{real.host}/{work.repository()}@{image.digest}"
    run(peers.cosign3, "sign", "--key", work / "right.key", "--tlog-upload=false", "--allow-http-registry", "-y", "--use-signing-config=false",
        *([] if bundles else ["--new-bundle-format=false"]), target, env=environment)
    listed = json.loads(real.request("GET", f"/v2/{work.repository()}/referrers/{image.digest}")[2])
    assert listed["mediaType"] == INDEX and len(listed["manifests"]) == int(bundles)
    for key, status in (("right", OK), ("wrong", SIGNATURE)):
        policy = write_policy(work / f"{key}.json", {real.host: sigstore_signed(str(work / f"{key}.pub"))})
        done = work.pull(name, "--verbose", policy=policy, registry=real, check=status)
        assert status == OK or "bad-signature" in done.message
    assert f"/referrers/{image.digest}: 200" in done.stderr


# ---- the same image through each

@contextlib.contextmanager
def with_password(work, fill):
    with Registry(work / "registry", auth=("user", "secret")) as server:
        fill(server)
        yield server, {"authfile": True}


@contextlib.contextmanager
def with_tokens(work, fill):
    with Registry(work / "registry") as server:
        fill(server)
    with TokenServer(work) as tokens, TokenRegistry(work / "registry", tokens) as server:
        yield server, {"authfile": server.authfile(work / "auth.json", ("user", "secret"))}


@contextlib.contextmanager
def over_tls(work, fill):
    with Registry(work / "registry", tls=True) as server:
        fill(server)
        yield server, {}


@contextlib.contextmanager
def with_client_certificates(work, fill):
    key, cert = work / "client.key", work / "client.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=client", "-keyout", key,
                    "-out", cert, "-addext", "extendedKeyUsage=clientAuth"], check=True, stderr=subprocess.DEVNULL)
    with Registry(work / "registry", tls=True, client=(str(cert), str(key))) as server:
        fill(server)
        yield server, {}
        stranger = os.path.join(work, "stranger")
        os.mkdir(stranger)
        shutil.copy(server.ca, os.path.join(stranger, "ca.crt"))
        policy = write_policy(work / "any.json", default={"type": "insecureAcceptAnything"})
        refused = work.verify(f"{server.host}/{work.repository()}:latest", policy=policy, cert_dir=stranger, check=NETWORK)
        # TLS 1.3 asks after the handshake: whoever has sent a request by then may see the connection's end before the reason for it.
        assert re.search("certificate|Connection reset by peer", refused.message), refused.message


@contextlib.contextmanager
def as_a_cache(work, fill):
    with Registry(work / "upstream") as upstream:
        fill(upstream)
        with Registry(work / "cache", upstream=f"http://{upstream.host}") as server:
            yield server, {}


@contextlib.contextmanager
def with_referrers(work, fill):
    with OciRegistry() as server:
        fill(server)
        yield server, {}


@pytest.mark.parametrize("kind", [with_password, with_tokens, over_tls, with_client_certificates, as_a_cache, with_referrers, "real referrers"],
                         ids=lambda kind: getattr(kind, "__name__", kind).replace(" ", "_"))
def test_the_same_image_through_each(kind, work, cosign_key, request):
    """Signed once, for a name that none of them has: pushed to each, signature and all."""
    image, logical = make_image(), "registry.example/our/image"

    def fill(server):
        image.push(server, work.repository(), "latest")
        cosign_sign(server, work.repository(), image.digest, cosign_key, reference=logical)

    with contextlib.ExitStack() as stack:
        if kind == "real referrers":
            server, more = request.getfixturevalue("real"), {}
            fill(server)
        else:
            server, more = stack.enter_context(kind(work, fill))
        requirement = sigstore_signed(cosign_key, {"type": "exactRepository", "dockerRepository": logical})
        policy = write_policy(work / "policy.json", {server.host: requirement})
        done = work.pull(f"{server.host}/{work.repository()}:latest", policy=policy, registry=server, **more)
        assert done.json["manifestDigest"] == image.digest and done.json["verdict"]["requirements"][0]["accepted"]
        assert (work.rootfs / "hello").read_text() == "hi"
