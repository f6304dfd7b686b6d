"""skopeo as the oracle: the same policy, image and signatures through `skopeo copy --policy` and through `guest-pull verify`. Both accept or both
refuse, except where DIFFERENCES says otherwise and why; docs/policy.md tells people the same.

Every repository of the registry is one "world": one small image with one set of signatures. A case is a world, a list of requirements and a way to
name the image. `make check` draws some of the identity and combination cases and runs all others; GUEST_PULL_ORACLE=all (`make
check-policy-oracle`) runs all, GUEST_PULL_ORACLE=N draws with seed N."""

import base64
import concurrent.futures
import json
import os
import random
import re
import subprocess
import types

import pytest
from lib import *

THREADS = 3
DRAWN = 220
OTHER_DIGEST = "sha256:" + "ab" * 32

# Who wrote which case down as a difference: (name of the rule, who accepts it, why). A case may name one; it must then come out so.
DIFFERENCES = {
    "cosign-default-identity": ("ours", "cosign states no tag; without signedIdentity we take the repository (kata's policies have none)"),
    "index-signature": ("ours", "a signature of the index admits the instance that was chosen from exactly its bytes"),
    "tag-and-digest": ("ours", "skopeo refuses such references; here the digest decides which bytes run and which scope applies"),
    "empty-key-list": ("theirs", "signedBy with keyPaths [] is a requirement for nothing"),
    "empty-beside-key": ("theirs", "sigstoreSigned: an empty or null key source beside another counts as absent there"),
    "empty-rekor": ("theirs", "a Rekor key that is empty or null lets the requirement vanish there"),
    "key-data-numbers": ("theirs", "keyData as a list of numbers"),
    "unknown-transport": ("theirs", "a misspelt transport leaves its rules without effect there"),
    "dead-scope": ("theirs", "a scope that can never match protects nothing"),
    "exact-repository-tag": ("theirs", "a tag in exactRepository is ignored there"),
    "p384": ("ours", "P-384 keys sign with SHA-384; there only SHA-256 is tried"),
    "two-keys-in-a-file": ("theirs", "of two keys in one PEM file only the first counts there"),
}


# ---- worlds

class Worlds:
    """Makes the registry's content. names: world → repository."""

    def __init__(self, folder, registry, keys):
        self.registry, self.keys, self.names = registry, keys, {}
        self.lookaside = folder / "sigs"
        self.registries_d = write_registries_d(folder / "registries.d", self.lookaside, **{"use-sigstore-attachments": True})
        self.image = Image([Layer([File("hello", "oracle")])])
        self.other = Image([Layer([File("hello", "another")])])
        host = registry.host
        own = lambda repository: f"{host}/{repository}:1"  # noqa: E731
        payload, one, two = simple_payload, keys.gpg, keys.gpg2
        digest = self.image.digest
        gpg = {
            "good": lambda r: [one.sign(payload(digest, own(r)))],
            "stranger": lambda r: [two.sign(payload(digest, own(r)))],
            "other-tag": lambda r: [one.sign(payload(digest, own(r)[:-1] + "2"))],
            "other-repository": lambda r: [one.sign(payload(digest, f"{host}/oracle/elsewhere:1"))],
            "other-host": lambda r: [one.sign(payload(digest, f"registry.example/{r}:1"))],
            "other-digest": lambda r: [one.sign(payload(OTHER_DIGEST, own(r)))],
            "name-only": lambda r: [one.sign(payload(digest, own(r)[:-2]))],
            "by-digest": lambda r: [one.sign(payload(digest, f"{own(r)[:-2]}@{digest}"))],
            "both-keys": lambda r: [two.sign(payload(digest, own(r))), one.sign(payload(digest, own(r)))],
            "bad-then-good": lambda r: [one.sign(payload(OTHER_DIGEST, own(r))), one.sign(payload(digest, own(r)))],
            "damaged": lambda r: [damage(one.sign(payload(digest, own(r))))],
            "damaged-then-good": lambda r: [damage(one.sign(payload(digest, own(r)))), one.sign(payload(digest, own(r)))],
            "garbage": lambda r: [b"this is no signature"],
            "garbage-then-good": lambda r: [b"this is no signature", one.sign(payload(digest, own(r)))],
            "prefixed": lambda r: [b"\0simple-signing\n" + one.sign(payload(digest, own(r)))],
            "no-reference": lambda r: [one.sign(to_json({"critical": {"type": "atomic container signature", "image": {
                "docker-manifest-digest": digest}, "identity": {}}, "optional": {}}))],
            "bad-reference": lambda r: [one.sign(payload(digest, "UPPER/../case"))],
            "extra-key": lambda r: [one.sign(payload(digest, own(r), surplus=1))],
            "cosign-type": lambda r: [one.sign(cosign_payload(digest, own(r)))],
            "no-json": lambda r: [one.sign(b"hello")],
            "two-documents": lambda r: [one.sign(payload(digest, own(r)) + b"{}")],
            "unsigned": lambda r: [],
        }
        for name, make in gpg.items():
            repository = self.add(f"gpg-{name}")
            for signature in make(repository):
                write_lookaside(self.lookaside, repository, digest, signature)
        key, key2 = keys.cosign, keys.cosign2
        text = lambda r, **more: {"payload": cosign_payload(digest, f"{host}/{r}", **more)}  # noqa: E731
        cosign = {
            "good": lambda r: [(key, {})],
            "stranger": lambda r: [(key2, {})],
            "tagged": lambda r: [(key, {"reference": own(r)})],
            "other-tag": lambda r: [(key, {"reference": own(r)[:-1] + "2"})],
            "other-repository": lambda r: [(key, {"reference": f"{host}/oracle/elsewhere"})],
            "other-digest": lambda r: [(key, {"payload": cosign_payload(OTHER_DIGEST, f"{host}/{r}")})],
            "both-keys": lambda r: [(key2, {}), (key, {})],
            "damaged": lambda r: [(key, {"signature": damage(key.sign(cosign_payload(digest, f"{host}/{r}")))})],
            "damaged-then-good": lambda r: [(key, {"signature": b"nonsense"}), (key, {})],
            "no-annotation": lambda r: [(key, {"annotations": {"x": "y"}})],
            "annotation-no-base64": lambda r: [(key, {"annotations": {COSIGN_SIGNATURE: "%%%"}})],
            "simple-type": lambda r: [(key, {"payload": simple_payload(digest, f"{host}/{r}")})],
            "extra-key": lambda r: [(key, text(r, surplus=1))],
            "no-json": lambda r: [(key, {"payload": b"hello"})],
            "unsigned": lambda r: [],
        }
        for name, make in cosign.items():
            repository = self.add(f"cosign-{name}")
            for signer, options in make(repository):
                cosign_sign(registry, repository, digest, signer, **options)
        both = self.add("both")
        write_lookaside(self.lookaside, both, digest, one.sign(payload(digest, own(both))))
        cosign_sign(registry, both, digest, key, reference=own(both))
        p384 = self.add("p384")
        cosign_sign(registry, p384, digest, keys.p384, reference=own(p384),
                    signature=keys.p384.sign(cosign_payload(digest, own(p384)), "sha384"))
        self.add_index(one)

    def add(self, name: str) -> str:
        self.names[name] = f"oracle/{name}"
        self.image.push(self.registry, self.names[name], "1")
        return self.names[name]

    def add_index(self, key):
        """Two worlds with one index: signed is the index alone, or the instance alone."""
        index = Index([self.image, Image([Layer([File("hello", "arm")])], architecture="arm64")])
        for name, digest in (("index-signed", index.digest), ("instance-signed", self.image.digest), ("sibling-signed", index.images[1].digest)):
            repository = self.names[name] = f"oracle/{name}"
            index.push(self.registry, repository, "1")
            write_lookaside(self.lookaside, repository, digest, key.sign(simple_payload(digest, f"{self.registry.host}/{repository}:1")))


def damage(signature: bytes) -> bytes:
    middle = len(signature) // 2
    return signature[:middle] + bytes([signature[middle] ^ 1]) + signature[middle + 1:]


# ---- cases

class Case:
    """docker: scope → requirements; or document, a whole policy. difference: a key of DIFFERENCES."""

    def __init__(self, name, reference, docker=None, document=None, difference=None):
        self.name, self.reference, self.difference = name, reference, difference
        self.document = document or {"default": [REJECT], "transports": {"docker": docker}}


def identities(host, repository):
    """signedIdentity values that make a difference, by name; None: not written."""
    name = f"{host}/{repository}"
    return {
        "default": None,
        "exact": {"type": "matchExact"},
        "digest-or-exact": {"type": "matchRepoDigestOrExact"},
        "repository": {"type": "matchRepository"},
        "reference": {"type": "exactReference", "dockerReference": name + ":1"},
        "reference-2": {"type": "exactReference", "dockerReference": name + ":2"},
        "in-repository": {"type": "exactRepository", "dockerRepository": name},
        "elsewhere": {"type": "exactRepository", "dockerRepository": f"{host}/oracle/elsewhere"},
        "remap": {"type": "remapIdentity", "prefix": name, "signedPrefix": f"{host}/oracle/elsewhere"},
        "remap-not": {"type": "remapIdentity", "prefix": f"{host}/ora", "signedPrefix": f"{host}/other"},
    }


def cases_of_identities(worlds):
    """Every world by every identity rule, asked for by tag and by digest."""
    host = worlds.registry.host
    for world, repository in worlds.names.items():
        if not world.startswith(("gpg-", "cosign-")):
            continue
        make, key = (signed_by, worlds.keys.gpg) if world.startswith("gpg-") else (sigstore_signed, worlds.keys.cosign)
        for name, identity in identities(host, repository).items():
            for way, selector in (("tag", ":1"), ("digest", "@" + worlds.image.digest)):
                named = world in ("cosign-good", "cosign-both-keys", "cosign-damaged-then-good")
                difference = "cosign-default-identity" if name == "default" and named else None
                yield Case(f"{world}/{name}/{way}", f"{host}/{repository}{selector}", {host: [make(key, identity)]}, difference=difference)


def cases_of_combinations(worlds):
    """Several requirements, several keys, forms of keys."""
    keys, host = worlds.keys, worlds.registry.host
    repository = {"type": "matchRepository"}
    one, two = signed_by(keys.gpg), signed_by(keys.gpg2)
    cosign, cosign2 = sigstore_signed(keys.cosign, repository), sigstore_signed(keys.cosign2, repository)
    bare = {"type": "signedBy", "keyType": "GPGKeys"}
    sigstore = {"type": "sigstoreSigned", "signedIdentity": repository}
    lists = {
        "one": [one], "two": [two], "one+two": [one, two], "one+cosign": [one, cosign], "cosign": [cosign], "cosign+cosign2": [cosign, cosign2],
        "anything": [ACCEPT_ANYTHING], "anything+one": [ACCEPT_ANYTHING, one], "reject": [REJECT], "one+reject": [one, REJECT],
        "paths": [{**bare, "keyPaths": [keys.gpg2.public, keys.gpg.public]}], "data": [{**bare, "keyData": encoded(keys.gpg.public)}],
        "sigstore-paths": [{**sigstore, "keyPaths": [keys.cosign2.public, keys.cosign.public]}],
        "sigstore-data": [{**sigstore, "keyData": encoded(keys.cosign.public)}],
        "sigstore-datas": [{**sigstore, "keyDatas": [encoded(keys.cosign2.public), encoded(keys.cosign.public)]}],
        "gpg-key-for-sigstore": [{**sigstore, "keyPath": keys.gpg.public}], "x509": [{**bare, "keyType": "X509Certificates", "keyPath": "/k"}],
        "absent-key": [{**bare, "keyPath": "/nowhere/key.gpg"}],
        "base-layer": [{"type": "signedBaseLayer", "baseLayerIdentity": repository}],
    }
    for world in ("both", "gpg-good", "gpg-both-keys", "gpg-unsigned", "cosign-good", "cosign-both-keys"):
        for name, requirements in lists.items():
            yield Case(f"{world}/{name}", f"{host}/{worlds.names[world]}:1", {host: requirements})


def encoded(path) -> str:
    with open(path, "rb") as key:
        return base64.b64encode(key.read()).decode()


def cases_of_scopes(worlds):
    """Which scope decides: one accepts, all others reject."""
    host, repository = worlds.registry.host, worlds.names["gpg-good"]
    digest = worlds.image.digest
    scopes = [f"{host}/{repository}:1", f"{host}/{repository}@{digest}", f"{host}/{repository}", f"{host}/oracle", host, ""]
    strangers = [f"{host}/{repository}:2", f"{host}/{repository}x", f"{host}/{repository}/x", f"{host}/orac", "localhost", "127.0.0.1:1", "*.0.0.1",
                 "*.1", f"{host}/{repository}@{OTHER_DIGEST}"]
    for way in (":1", "@" + digest):
        for scope in scopes:
            docker = {other: [REJECT] for other in scopes + strangers if other != scope} | {scope: [ACCEPT_ANYTHING]}
            yield Case(f"scope/{scope}/{way[:2]}", f"{host}/{repository}{way}", docker)
            yield Case(f"scope-alone/{scope}/{way[:2]}", f"{host}/{repository}{way}", {scope: [ACCEPT_ANYTHING]})
        for scope in strangers:
            yield Case(f"stranger/{scope}/{way[:2]}", f"{host}/{repository}{way}", {scope: [ACCEPT_ANYTHING]})


def cases_of_grammar(worlds):
    """Whole documents, each with the good image: is the file taken at all?"""
    keys, host = worlds.keys, worlds.registry.host
    reference = f"{host}/{worlds.names['gpg-good']}:1"
    one = signed_by(keys.gpg)
    good = {"default": [REJECT], "transports": {"docker": {host: [one]}}}
    with_requirement = lambda requirement: {**good, "transports": {"docker": {host: [requirement]}}}  # noqa: E731
    documents = {
        "good": good, "default-alone": {"default": [one]}, "no-default": {"transports": good["transports"]}, "empty-default": {**good, "default": []},
        "null-default": {**good, "default": None}, "empty-scope-list": {**good, "transports": {"docker": {host: []}}},
        "extra-top": {**good, "extra": 1}, "extra-key": with_requirement({**one, "extra": 1}), "case-of-key": with_requirement({**one, "KeyPath": "/k"}),
        "reject-with-key": {**good, "default": [{"type": "reject", "x": 1}]}, "no-type": with_requirement({"keyType": "GPGKeys"}),
        "unknown-type": with_requirement({"type": "signedby"}), "no-key": with_requirement({"type": "signedBy", "keyType": "GPGKeys"}),
        "two-keys": with_requirement({**one, "keyData": "YQ=="}), "null-identity": with_requirement({**one, "signedIdentity": None}),
        "empty-identity": with_requirement({**one, "signedIdentity": {}}),
        "identity-extra": with_requirement({**one, "signedIdentity": {"type": "matchExact", "x": 1}}),
        "name-only-exact-reference": with_requirement({**one, "signedIdentity": {"type": "exactReference", "dockerReference": f"{host}/x"}}),
        "bad-remap": with_requirement({**one, "signedIdentity": {"type": "remapIdentity", "prefix": f"{host}/a:1", "signedPrefix": "b.example"}}),
        "half-remap": with_requirement({**one, "signedIdentity": {"type": "remapIdentity", "prefix": host}}),
        "data-no-base64": with_requirement({"type": "signedBy", "keyType": "GPGKeys", "keyData": "%%"}),
        "ours": with_requirement({"type": "guest-pull/digests", "digests": [OTHER_DIGEST]}),
        "fulcio-without-rekor": with_requirement({"type": "sigstoreSigned", "fulcio": {
            "caPath": "/ca", "oidcIssuer": "https://i.example", "subjectEmail": "a@b.example"}}),
        "pki-without-subject": with_requirement({"type": "sigstoreSigned", "pki": {"caRootsPath": "/ca"}}),
        "sigstore-two-keys": with_requirement({"type": "sigstoreSigned", "keyPath": "/k", "keyPaths": ["/l"]}),
        "sigstore-empty-list": with_requirement({"type": "sigstoreSigned", "keyPaths": []}),
        "sigstore-nobody": with_requirement({"type": "sigstoreSigned"}),
    }
    for name, document in documents.items():
        yield Case(f"grammar/{name}", reference, document=document)
    yield Case("grammar/trailing-data", reference, document=json.dumps(good) + "{}")
    yield Case("grammar/duplicate-key", reference, document=json.dumps(good)[:-1] + ', "default": [{"type": "insecureAcceptAnything"}]}')
    yield Case("grammar/duplicate-escaped", reference, document=json.dumps(good)[:-1] + ', "d\\u0065fault": [{"type": "insecureAcceptAnything"}]}')
    yield Case("grammar/no-json", reference, document="default: reject")
    yield Case("grammar/empty", reference, document="")


def cases_of_differences(worlds):
    """One case at least for every known difference that the other generators do not reach."""
    keys, host = worlds.keys, worlds.registry.host
    reference = f"{host}/{worlds.names['gpg-good']}:1"
    one = signed_by(keys.gpg)
    anything = {host: [ACCEPT_ANYTHING], "never.example/x": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": []}]}
    yield Case("difference/empty-key-list", reference, anything, difference="empty-key-list")
    beside = {"type": "signedBy", "keyType": "GPGKeys", "keyData": encoded(keys.gpg.public)}
    yield Case("beside/empty-path", reference, {host: [{**beside, "keyPath": ""}]})
    yield Case("beside/null-path", reference, {host: [{**beside, "keyPath": None}]})
    numbers = [*open(keys.gpg.public, "rb").read()]
    yield Case("difference/numbers", reference, {host: [{**beside, "keyData": numbers}]}, difference="key-data-numbers")
    tagged = f"{host}/{worlds.names['cosign-tagged']}:1"
    for name, value in (("Path", ""), ("Path", None), ("Data", None)):
        yield Case(f"difference/rekor{name}-{value}", tagged, {host: [sigstore_signed(keys.cosign, **{f"rekorPublicKey{name}": value})]},
                   difference="empty-rekor")
    yield Case("beside/empty-rekor-data", tagged, {host: [sigstore_signed(keys.cosign, rekorPublicKeyData="")]})
    for value in ("", None):
        sigstore = {"type": "sigstoreSigned", "keyPath": value, "keyData": encoded(keys.cosign.public)}
        yield Case(f"beside/sigstore-{value}", tagged, {host: [sigstore]}, difference="empty-beside-key")
    yield Case("difference/transport", reference, document={"default": [REJECT], "transports": {
        "dokcer": {"": [REJECT]}, "docker": {host: [one]}}}, difference="unknown-transport")
    yield Case("difference/dead-scope", reference, {host: [one], f"{host}/a:1@{OTHER_DIGEST}": [REJECT]}, difference="dead-scope")
    tag = {"type": "exactRepository", "dockerRepository": f"{host}/{worlds.names['gpg-good']}:7"}
    yield Case("difference/repository-tag", reference, {host: [signed_by(keys.gpg, tag)]}, difference="exact-repository-tag")
    yield Case("difference/tag-and-digest", f"{host}/{worlds.names['gpg-good']}:1@{worlds.image.digest}", {host: [ACCEPT_ANYTHING]},
               difference="tag-and-digest")
    yield Case("difference/index", f"{host}/{worlds.names['index-signed']}:1", {host: [one]}, difference="index-signature")
    yield Case("index/instance", f"{host}/{worlds.names['instance-signed']}:1", {host: [one]})
    yield Case("index/sibling", f"{host}/{worlds.names['sibling-signed']}:1", {host: [one]})
    yield Case("difference/p384", f"{host}/{worlds.names['p384']}:1", {host: [sigstore_signed(keys.p384)]}, difference="p384")
    yield Case("difference/two-keys", tagged, {host: [sigstore_signed(keys.two_in_a_file)]}, difference="two-keys-in-a-file")


# ---- running both

REFUSALS = re.compile("Source image rejected|[Ii]nvalid policy|in policy|[Uu]nknown (policy|key)|not supported|policy.json|Required |must be specified"
                      "|Unrecognized|loading trust policy")


class Both:
    def __init__(self, work, registry, skopeo, registries_d):
        self.work, self.registry, self.skopeo, self.registries_d = work, registry, skopeo, registries_d

    def run(self, numbered) -> str | None:
        """What is wrong with the case, or None."""
        number, case = numbered
        policy = self.work / f"{number}.json"
        policy.write_text(case.document if isinstance(case.document, str) else json.dumps(case.document))
        theirs = subprocess.run([self.skopeo, "--policy", policy, "--registries.d", self.registries_d, "copy", "--quiet", "--src-tls-verify=false",
                                 "--override-arch", "amd64", "docker://" + case.reference, f"dir:{self.work / str(number)}"],
                                capture_output=True, text=True, check=False)
        ours = self.work.verify(case.reference, "--platform", "linux/amd64", policy=policy, registry=self.registry,
                                registries_d=self.registries_d, check=None)
        if theirs.returncode and not REFUSALS.search(theirs.stderr):
            return f"{case.name}: skopeo failed otherwise: {theirs.stderr}"
        if ours.status not in (OK, POLICY, SIGNATURE, INVALID, UNSUPPORTED, KEY):
            return f"{case.name}: {ours}"
        verdicts = (not theirs.returncode, ours.status == OK)
        wanted = DIFFERENCES[case.difference][0] if case.difference else "same"
        if (wanted == "same" and verdicts[0] == verdicts[1]) or verdicts == {"ours": (False, True), "theirs": (True, False)}.get(wanted):
            return None
        return f"{case.name}: skopeo {verdicts[0]}, guest-pull {verdicts[1]}, expected {wanted}\n  {theirs.stderr.strip()}\n  {ours.message or 'accepted'}"


def choose(cases, count):
    """One of each kind of difference is always among the chosen."""
    how = os.environ.get("GUEST_PULL_ORACLE", "1")
    if how == "all":
        return cases
    drawn = random.Random(int(how)).sample(cases, count)
    return drawn + [case for case in cases if case.difference and case not in drawn]


@pytest.fixture(scope="module")
def keys(session_folder, gpg_key, other_gpg_key, cosign_key, other_cosign_key):
    found = types.SimpleNamespace(gpg=gpg_key, gpg2=other_gpg_key, cosign=cosign_key, cosign2=other_cosign_key,
                                  p384=CosignKey(session_folder / "keys", "p384", "P-384"), two_in_a_file=str(session_folder / "keys" / "two.pub"))
    with open(found.two_in_a_file, "w") as out:
        out.write(open(cosign_key.public).read() + open(other_cosign_key.public).read())
    return found


def test_same_verdict_as_skopeo(work, registry, peers, keys):
    if not peers.skopeo:
        pytest.skip("no newer skopeo to be had")
    worlds = Worlds(work, registry, keys)
    cases = choose([*cases_of_identities(worlds), *cases_of_combinations(worlds)], DRAWN)
    cases += [*cases_of_scopes(worlds), *cases_of_grammar(worlds), *cases_of_differences(worlds)]
    both = Both(work, registry, peers.skopeo, worlds.registries_d)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        wrong = [text for text in pool.map(both.run, enumerate(cases)) if text]
    print(f"{len(cases)} cases, {sum(case.difference is not None for case in cases)} of them known differences")
    assert len(cases) >= 300 and {case.difference for case in cases if case.difference} == set(DIFFERENCES)
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong[:40])
