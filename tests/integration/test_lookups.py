"""Where signatures are looked for: in all places that the policy can use, at the same time, and nowhere else; and how much memory the answers may take."""

import json
import os
import subprocess
import sys
import threading

import pytest

from lib import *

REFUSED = {OK, POLICY, SIGNATURE}
ANYTHING = {"type": "insecureAcceptAnything"}
DIGESTS = {"type": "guest-pull/digests", "digests": ["sha256:" + "0" * 64]}


def tell_apart(path: str) -> str:
    return "lookaside" if path.startswith("/sigs/") else "tag" if path.endswith(".sig") else "referrers" if "/referrers/" in path else \
        "fallback" if "/manifests/sha256-" in path else "manifest" if "/manifests/" in path else path


@pytest.fixture
def scene(work, fake_registry):
    """scene(policy): verifies an image of the registry; the paths that were asked for, told apart. A lookaside is configured."""
    image = Image([Layer([File("hello", "hi")])])
    name = fake_registry.add(image, "app", "1")
    (work / "registries.d").mkdir()
    (work / "registries.d/x.yaml").write_text(f"docker:\n  {fake_registry.host}:\n    lookaside: http://{fake_registry.host}/sigs\n")

    def verify(requirements, image_name=name, default=None):
        policy = write_policy(work / "policy.json", {fake_registry.host: requirements}, default=default)
        done = work.verify(image_name, policy=policy, registry=fake_registry, registries_d=work / "registries.d", check=None)
        assert done.status in REFUSED, done
        return sorted(tell_apart(path.split()[1]) for path in fake_registry.paths())

    verify.image = image
    return verify


@pytest.mark.parametrize("kind, expected", {
    "reject": [],
    "anything": ["manifest"],
    "digests": ["manifest"],
    "encrypted": ["manifest"],
    "signed by": ["lookaside", "manifest"],
    "sigstore": ["fallback", "manifest", "referrers", "tag"],
    "both": ["lookaside", "manifest", "referrers", "tag"],
    "threshold of GPG": ["lookaside", "manifest"],
    "threshold of keys": ["fallback", "manifest", "referrers", "tag"],
    "reject among others": [],
}.items())
def test_only_what_the_policy_can_use_is_asked_for(scene, gpg_key, cosign_key, other_cosign_key, other_gpg_key, kind, expected):
    gpg, sigstore = signed_by(gpg_key), sigstore_signed(cosign_key)
    threshold = lambda *children: {"type": "guest-pull/threshold", "threshold": 1, "of": list(children)}  # noqa: E731
    requirements = {"reject": REJECT, "anything": ANYTHING, "digests": DIGESTS, "encrypted": [ANYTHING, {"type": "guest-pull/encrypted"}], "signed by": gpg,
                    "sigstore": sigstore, "both": [gpg, sigstore], "threshold of GPG": threshold(gpg, signed_by(other_gpg_key)),
                    "threshold of keys": threshold(sigstore, sigstore_signed(other_cosign_key)),
                    "reject among others": [sigstore, gpg, REJECT]}[kind]
    asked = scene(requirements)
    # Where GPG has said no already, the answers of the others are not looked into any more.
    assert asked == expected or kind == "both" and asked == sorted([*expected, "fallback"])


def test_attachments_that_are_switched_off_are_not_asked_for(scene, work, fake_registry, cosign_key):
    (work / "registries.d/x.yaml").write_text(f"docker:\n  {fake_registry.host}:\n    use-sigstore-attachments: false\n")
    assert scene(sigstore_signed(cosign_key)) == ["manifest"]


def test_of_an_index_both_documents_are_asked_about(scene, fake_registry, gpg_key):
    name = fake_registry.add(Index([scene.image]), "many", "1")
    assert scene(signed_by(gpg_key), image_name=name) == ["lookaside", "lookaside", "manifest", "manifest"]


def test_all_places_are_asked_at_once(scene, fake_registry, gpg_key, cosign_key):
    """None of the three answers before all have been asked."""
    barrier, broken = threading.Barrier(3), []
    hexadecimal = scene.image.digest.removeprefix("sha256:")

    def answer(handler):
        try:
            barrier.wait(10)
        except threading.BrokenBarrierError:
            broken.append(handler.path)
        handler.send_response(404)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    for path in (f"/sigs/app@sha256={hexadecimal}/signature-1", f"/v2/app/manifests/sha256-{hexadecimal}.sig", f"/v2/app/referrers/{scene.image.digest}"):
        fake_registry.answers[path] = answer
    assert {"lookaside", "tag", "referrers"} <= set(scene([signed_by(gpg_key), sigstore_signed(cosign_key)]))
    assert broken == []


# ---- memory

MEASURE = """import os, sys
pid = os.fork()
if pid == 0:
    os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print()
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""
ENTRY = {"mediaType": MANIFEST, "size": 500, "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"}


def verify_measured(work, name, registry, requirements, **options) -> tuple[dict, int, int]:
    """The report, the exit status, and the most memory that the puller or a worker of its had (MiB)."""
    policy = write_policy(work / "policy.json", {registry.host: requirements})
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, GUEST_PULL, "verify", name, *work.options(policy=policy, registry=registry, **options)],
                          capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    status, memory = map(int, lines[-1].split())
    return json.loads(lines[0]), status, memory // 1024


def index_of(entries) -> tuple[int, dict, bytes]:
    return 200, {"Content-Type": INDEX}, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


@pytest.mark.parametrize("what", ["annotations", "other things", "types"])
@pytest.mark.skipif(ASAN, reason="AddressSanitizer's own memory")
def test_pages_of_referrers_take_little_memory(work, fake_registry, cosign_key, what):
    """Sixteen pages of almost four MiB each: of bundles with annotations, of other artifacts, or of documents that are no manifests."""
    image = Image([Layer([File("hello", "hi")])])
    name = fake_registry.add(image, "app", "1")
    entry = {**ENTRY, "annotations": {"a": "x" * 60_000}} if what == "annotations" else {**ENTRY, "mediaType": "x" * 4000} if what == "types" else \
        {**ENTRY, "artifactType": "application/vnd.example+" + "x" * 4000}
    count = 4 if what == "annotations" else 950

    def page(number):
        return [{**entry, "digest": f"sha256:{number * 1000 + i:064x}"} for i in range(count)]

    def answer(handler):
        number = int(handler.path.partition("?n=")[2] or 0)
        status, headers, body = index_of(page(number))
        body += b" " * ((4 << 20) - len(body))
        handler.send_response(status)
        if number < 15:
            headers["Link"] = f'<?n={number + 1}>; rel="next"'
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    fake_registry.answers[f"/v2/app/referrers/{image.digest}"] = answer
    report, status, memory = verify_measured(work, name, fake_registry, sigstore_signed(cosign_key))
    assert status == SIGNATURE and memory < 64, (report, memory)
    assert len([path for path in fake_registry.paths() if "/referrers/" in path]) == 16


def test_too_many_referrers_end_the_search_at_once(work, fake_registry, cosign_key):
    image = Image([Layer([File("hello", "hi")])])
    name = fake_registry.add(image, "app", "1")
    status, headers, body = index_of([{**ENTRY, "digest": f"sha256:{i:064x}"} for i in range(65)])
    fake_registry.answers[f"/v2/app/referrers/{image.digest}"] = (status, {**headers, "Link": '<?n=1>; rel="next"'}, body)
    policy = write_policy(work / "policy.json", {fake_registry.host: sigstore_signed(cosign_key)})
    refused = work.verify(name, policy=policy, registry=fake_registry, check=LIMIT)
    assert "more than 64 referrers" in refused.message
    assert len([path for path in fake_registry.paths() if "/referrers/" in path]) == 1


@pytest.mark.skipif(ASAN, reason="AddressSanitizer's own memory")
def test_eight_hostile_referrers_at_once_take_little_memory(work, fake_registry, cosign_key):
    """As large as they may be, full of what takes the most memory when it is parsed; and one byte more is not asked for."""
    image = Image([Layer([File("hello", "hi")])])
    name = fake_registry.add(image, "app", "1")
    bodies = [b'{"schemaVersion":2,"n":%d,"x":[' % i + b"{}," * 16000 + b"0]}" for i in range(63)]
    bodies = [body + b" " * ((256 << 10) - len(body)) for body in bodies]
    entries = [{**ENTRY, "digest": digest_of(body), "size": len(body)} for body in bodies]
    for body, entry in zip(bodies, entries):
        fake_registry.answers[f"/v2/app/manifests/{entry['digest']}"] = (200, {"Content-Type": MANIFEST}, body)
    large = {**ENTRY, "digest": "sha256:" + "f" * 64, "size": (256 << 10) + 1}
    fake_registry.answers[f"/v2/app/referrers/{image.digest}"] = index_of([*entries, large])
    report, status, memory = verify_measured(work, name, fake_registry, sigstore_signed(cosign_key))
    assert status == SIGNATURE and memory < 64, (report, memory)
    reasons = [attempt["reason"] for attempt in report["verdict"]["requirements"][0]["signatures"]]
    assert len(reasons) == 64 and sum("a manifest of 262145 bytes" in reason for reason in reasons) == 1
    assert not [path for path in fake_registry.paths() if "f" * 64 in path]


@pytest.mark.skipif(ASAN, reason="AddressSanitizer's own memory")
def test_large_signatures_in_all_places_take_little_memory(work, fake_registry, gpg_key, cosign_key):
    """As much as each of the three may give, of an image and of its index, all held at once."""
    image = Image([Layer([File("hello", "hi")])])
    index = Index([image])
    name = fake_registry.add(index, "app", "1")
    bundle_type, cosign_type = ENTRY["artifactType"], "application/vnd.dev.cosign.simplesigning.v1+json"

    def put(kind, body):
        digest = digest_of(body)
        fake_registry.answers[f"/v2/app/{kind}/{digest}"] = (200, {"Content-Type": MANIFEST}, body)
        return {"mediaType": MANIFEST, "digest": digest, "size": len(body)}

    def artifact(layers, **more):
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + "0" * 64, "size": 2}
        return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": layers, **more}).encode()

    for document in (image, index):
        hexadecimal = document.digest.removeprefix("sha256:")
        for number in (1, 2):
            fake_registry.answers[f"/sigs/app@sha256={hexadecimal}/signature-{number}"] = b"\x89" + os.urandom(3_000_000)
        payloads = [{**put("blobs", os.urandom(3_000_000)), "mediaType": cosign_type, "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}}
                    for _ in range(2)]
        fake_registry.answers[f"/v2/app/manifests/sha256-{hexadecimal}.sig"] = (200, {"Content-Type": MANIFEST}, artifact(payloads))
        entries = []
        for _ in range(5):
            bundle = {**put("blobs", b'{"x":"' + os.urandom(500_000).hex().encode() + b'"}'), "mediaType": bundle_type}
            subject = {"mediaType": MANIFEST, "digest": document.digest, "size": len(document.manifest)}
            entries.append({**ENTRY, **put("manifests", artifact([bundle], artifactType=bundle_type, subject=subject))})
        fake_registry.answers[f"/v2/app/referrers/{document.digest}"] = index_of(entries)
    (work / "registries.d").mkdir()
    (work / "registries.d/x.yaml").write_text(f"docker:\n  {fake_registry.host}:\n    lookaside: http://{fake_registry.host}/sigs\n")
    report, status, memory = verify_measured(work, name, fake_registry, [sigstore_signed(cosign_key), signed_by(gpg_key)],
                                             registries_d=work / "registries.d")
    assert status == SIGNATURE and memory < 64, (report, memory)
    assert [len(judged["signatures"]) for judged in report["verdict"]["requirements"]] == [14, 4]
