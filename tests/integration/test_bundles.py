"""Sigstore bundles of every valid kind, and several hundred that are wrong in one thing: each is refused for that thing.
The table is tests/lib/minisigstore/cases*.py; verdicts come from the real `guest-pull verify-bundle`, and from cosign 3.1 if it is there."""

import collections
import concurrent.futures
import os
import re

import pytest

import lib
from minisigstore import SIGN_PREDICATE, cases, cases_trust

GROUPS = {group.__name__: group for group in (
    cases.format_cases, cases.signature_cases, cases.body_cases, cases.log_cases, cases.checkpoint_cases, cases_trust.certificate_cases,
    cases_trust.sct_cases, cases_trust.identity_cases, cases_trust.timestamp_cases, cases_trust.root_cases)}


@pytest.fixture(scope="module")
def tables():
    """name of the group, or "accepted" → its cases"""
    maker = cases.Maker()
    return {"accepted": list(cases.accepted(maker)), **{name: list(group(maker)) for name, group in GROUPS.items()}}


def run_all(function, items) -> list:
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


def write(work, case) -> dict:
    """The case's files, and the options that ask for its verification."""
    folder = work / re.sub(r"[^A-Za-z0-9]", "_", case.name)
    folder.mkdir()
    files = {name: folder / name for name in ("bundle", "root", "artifact", "key")}
    for name, data in (("bundle", case.bundle), ("root", case.root), ("artifact", case.artifact), ("key", case.key or b"")):
        files[name].write_bytes(data)
    who = ["--key", files["key"]] if case.key else ["--certificate-identity", case.identity, "--certificate-oidc-issuer", case.issuer]
    return {**files, "options": ["--bundle", files["bundle"], *who, "--trusted-root", files["root"]]}


def verify(work, case) -> lib.Result:
    files = write(work, case)
    return lib.guest_pull("verify-bundle", *files["options"], files["artifact"], check=None)


def test_accepted(work, tables):
    table = tables["accepted"]
    refused = [f"{case.name}: {done.stderr}" for case, done in zip(table, run_all(lambda case: verify(work, case), table)) if done.status != 0]
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize("group", GROUPS)
def test_refused(work, tables, group):
    table = tables[group]
    wrong = []
    for case, done in zip(table, run_all(lambda case: verify(work, case), table)):
        if done.status != 1 or not re.search(rf"\b({case.reason}): ", done.stderr):
            wrong.append(f"{case.name}: status {done.status}, expected {case.reason}: {done.stderr.strip()}")
    assert not wrong, f"{len(wrong)} of {len(table)}:\n" + "\n".join(wrong)


def test_table_is_large_and_unambiguous(tables):
    table = [case for group in GROUPS for case in tables[group]]
    assert len(table) >= 450 and all(case.reason for case in table)
    assert [name for name, count in collections.Counter(case.name for case in table).items() if count > 1] == []
    good = [dict(vars(case), name="", reason="") for case in tables["accepted"]]
    assert [case.name for case in table if dict(vars(case), name="", reason="") in good] == []


# ---- cosign 3.1's view of the same table

# What it takes and we do not, by the beginning of the case's name (docs/sigstore.md says why).
STRICTER = re.compile(
    "too long|33 timestamps|statement: another type|statement: type absent|dsse: logged with another two signatures|.*: entry called another|"
    "v2: log's key|.*: proof: size changed|v2: proof: (root changed|index)|hashedrekord: checkpoint: (another name|of another size)|"
    ".*: checkpoint: size with a zero|one of its times too late|no code signing|for any use|a CA as signer|not for signatures|"
    "certificate: issuers disagree .v1|certificate: issuer v2 of another string type|stamped: timestamp|one of two timestamps bad|"
    "v2: timestamp (bound to another|version 2)")
# What we take and it does not: it verifies keys of the larger curves with SHA-256 only; it wants the log's own time.
LAXER = {"key P-384", "key P-521", "timestamp for a promise"}


def cosign(program, work, case) -> lib.Result:
    files = write(work, case)
    kind = ["verify-blob-attestation", "--type", SIGN_PREDICATE] if b'"dsseEnvelope"' in case.bundle else ["verify-blob"]
    return lib.run(program, *kind, *files["options"], files["artifact"], check=None)


def test_cosign_agrees(work, tables, peers):
    """A part of the table; all of it with GUEST_PULL_ORACLE set, as for skopeo."""
    if not peers.cosign3:
        pytest.skip("no cosign 3 to be had")
    step = 1 if os.environ.get("GUEST_PULL_ORACLE") else 8
    good = tables["accepted"][::step]
    bad = [case for group in GROUPS for case in tables[group]][::step]
    for case, done in zip(good, run_all(lambda case: cosign(peers.cosign3, work, case), good)):
        assert (done.status == 0) == (case.name not in LAXER), f"{case.name}\n{done}"
    for case, done in zip(bad, run_all(lambda case: cosign(peers.cosign3, work, case), bad)):
        assert (done.status == 0) == bool(STRICTER.match(case.name)), f"{case.name}\n{done}"
