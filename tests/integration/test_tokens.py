"""Tokens of a token server for a real docker-registry: by password and by identity token, renewed inside a long pull, under challenges as registries write them;
and where no credential goes."""

import json
import os
import random
import shutil

import pytest

from lib import *
from tokens import Front, TokenRegistry, TokenServer

PASSWORD = ("GET", {"service": "our registry", "scope": "repository:our/image:pull", "account": "user"}, True)
IDENTITY = ("POST", {"grant_type": "refresh_token", "client_id": "guest-pull", "service": "our registry", "scope": "repository:our/image:pull",
                     "refresh_token": "refresh me"}, True)


@pytest.fixture(scope="module")
def stored(session_folder):
    """An image of three layers of 400 kB, pushed to a registry's storage: (image, folder)."""
    image, folder = Image([Layer([File(f"data{i}", random.Random(i).randbytes(400_000))], "none") for i in range(3)]), session_folder / "guarded"
    with Registry(folder) as open_registry:
        image.push(open_registry, "our/image", "one")
    return image, folder


@pytest.fixture
def guarded(work, stored):
    """A function that makes a token server (as told) and a registry with the image behind it: (registry, tokens)."""
    started = []

    def make(tls=False, **more):
        tokens = TokenServer(work, tls=tls, **more)
        started.append(tokens)
        shutil.copytree(stored[1] / "data", work / "guarded/data")
        started.append(TokenRegistry(work / "guarded", tokens, tls=tls))
        return started[-1], tokens
    yield make
    for server in reversed(started):
        server.stop()


@pytest.fixture(scope="module")
def shared(session_folder, stored):
    """The usual pair, once for all tests that want nothing else."""
    shutil.copytree(stored[1] / "data", session_folder / "shared-tokens/guarded/data")
    with TokenServer(session_folder / "shared-tokens") as tokens, TokenRegistry(session_folder / "shared-tokens/guarded", tokens) as closed:
        yield closed, tokens


@pytest.fixture
def usual(shared):
    shared[1].asked.clear()
    return shared


def identity(path, host, token="refresh me") -> str:
    path.write_text(json.dumps({"auths": {host: {"identitytoken": token}}}))
    return os.fspath(path)


def pull(work, place, *more, authfile=None, check=0):
    """From `place`, a registry or what stands before it."""
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    return work.pull(f"{place.host}/our/image:one", "--max-parallel", "1", *more, policy=policy, registry=place, authfile=authfile, check=check)


def test_a_password_and_one_token_for_the_whole_pull(work, usual, stored):
    closed, tokens = usual
    done = pull(work, closed, authfile=closed.authfile(work / "auth.json", ("user", "secret")))
    assert done.json["manifestDigest"] == stored[0].digest
    assert tokens.asked == [PASSWORD]  # with what the challenge says


def test_an_identity_token_is_exchanged_by_post(work, usual, stored):
    closed, tokens = usual
    done = pull(work, closed, "--verbose", authfile=identity(work / "auth.json", closed.host))
    assert done.json["manifestDigest"] == stored[0].digest and tokens.asked == [IDENTITY]
    assert f"POST {tokens.url}: 200" in done.stderr and "refresh me" not in done.stderr + done.stdout


@pytest.mark.parametrize("auth", [None, ("user", "wrong"), "wrong"])
def test_no_token_for_strangers(auth, work, usual):
    closed, tokens = usual
    authfile = identity(work / "auth.json", closed.host, auth) if isinstance(auth, str) else closed.authfile(work / "auth.json", auth) if auth else None
    done = pull(work, closed, authfile=authfile, check=AUTH)
    assert ("the token server" if auth else "not authorized") in done.message and len(tokens.asked) == 1 and not tokens.asked[0][2]


@pytest.mark.parametrize("how", ["password", "identity"])
@pytest.mark.parametrize("key", ["access_token", "both"])
def test_names_of_the_token(key, how, work, guarded, stored):
    closed, tokens = guarded(key=key)
    authfile = identity(work / "auth.json", closed.host) if how == "identity" else closed.authfile(work / "auth.json", ("user", "secret"))
    assert pull(work, closed, authfile=authfile).json["manifestDigest"] == stored[0].digest and len(tokens.asked) == 1


def test_over_tls_from_registry_to_token_server(work, guarded, stored):
    closed, tokens = guarded(tls=True)
    trusted = closed.certs_d(work / "certs.d")
    shutil.copy(tokens.ca, os.path.join(trusted, "tokens.crt"))
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    for authfile in (closed.authfile(work / "auth.json", ("user", "secret")), identity(work / "identity.json", closed.host)):
        done = work.verify(f"{closed.host}/our/image:one", policy=policy, cert_dir=trusted, authfile=authfile)
        assert done.json["manifestDigest"] == stored[0].digest
    assert tokens.asked == [PASSWORD, IDENTITY]


# ---- time passes

@pytest.mark.parametrize("how", ["password", "identity"])
@pytest.mark.parametrize("said", [300, 6, None], ids=["the-registry-says-so", "the-answer-says-so", "nobody-says"])
def test_a_token_is_renewed_inside_a_pull(said, how, work, guarded, stored):
    """Tokens last a second, the pull three. A lifetime of which 5 seconds are left is as good as over; what is not said is 60."""
    closed, tokens = guarded(lifetime=said, lasts=1)
    with Front(closed, pace=400_000) as front:
        authfile = identity(work / "auth.json", front.host) if how == "identity" else front.authfile(work / "auth.json", ("user", "secret"))
        assert pull(work, front, authfile=authfile).json["manifestDigest"] == stored[0].digest
        refused = [path for path, status, _, _ in front.seen if status == 401]
    assert len(tokens.asked) >= 2 and set(map(str, tokens.asked)) == {str(IDENTITY if how == "identity" else PASSWORD)}
    assert len(refused) == len(tokens.asked) and any("/blobs/" in path for path in refused)


def test_a_token_is_renewed_in_the_middle_of_a_blob(work, guarded, stored):
    """The connection is cut when the token has expired: the rest is asked for, refused, and asked for with a new token."""
    closed, tokens = guarded(lasts=1)
    with Front(closed, pace=200_000, cut=300_000) as front:
        assert pull(work, front, authfile=front.authfile(work / "auth.json", ("user", "secret"))).json["manifestDigest"] == stored[0].digest
        rest = [(status, wanted) for _, status, wanted, _ in front.seen if wanted]
    assert [status for status, _ in rest] == [401, 206] and rest[0] == (401, rest[1][1]) and len(tokens.asked) >= 2


# ---- challenges as they are written

CHALLENGES = {
    "Basic before Bearer in one field": ['Basic realm="a, b", Bearer realm="{realm}",service="our registry",scope="repository:our/image:pull"'],
    "Bearer before Basic in one field": ['Bearer realm="{realm}",service="our registry", Basic realm="x"'],
    "a field for each": ['Negotiate', 'Basic realm="x"', 'Bearer realm="{realm}",service="our registry"'],
    "an unknown scheme with a token of its own": ['NTLM TlRMTVNTUAAC==, Bearer realm="{realm}",service="our registry"'],
    "an unknown scheme with parameters": ['Digest realm="Bearer realm=evil", nonce="a,b=c", Bearer realm="{realm}",service="our registry"'],
    "in capitals": ['BEARER REALM="{realm}",SERVICE="our registry",SCOPE="repository:our/image:pull"'],
    "with blanks": ['  bearer   realm = "{realm}" ,   service = "our registry" , '],
    "with escapes": ['Bearer realm="{realm}",service="our\\ \\registry"'],
    "with a scope for more": ['Bearer realm="{realm}",service="our registry",scope="repository:our/image:pull,push repository:other:pull"'],
    "with what nobody knows": ['Bearer realm="{realm}",service="our registry",error="invalid_token",charset=UTF-8,x="y \\" z"'],
}


@pytest.mark.parametrize("how", ["password", "identity"])
@pytest.mark.parametrize("fields", CHALLENGES.values(), ids=[name.replace(" ", "-") for name in CHALLENGES])
def test_challenges(fields, how, work, usual, stored):
    closed, tokens = usual
    with Front(closed, challenge=[field.format(realm=tokens.url) for field in fields]) as front:
        authfile = identity(work / "auth.json", front.host) if how == "identity" else front.authfile(work / "auth.json", ("user", "secret"))
        assert pull(work, front, authfile=authfile).json["manifestDigest"] == stored[0].digest
    assert tokens.asked == [IDENTITY if how == "identity" else PASSWORD]  # and never for more than a pull needs


@pytest.mark.parametrize("fields, status, words", [
    (['Negotiate', 'Digest realm="x"'], AUTH, "neither Basic nor Bearer"),
    (['Bearer service="our registry"'], AUTH, "neither Basic nor Bearer"),
    (['Bearer realm="{realm}",realm="http://evil.example/"'], AUTH, "occurs twice"),
    (['Bearer realm="{realm}" service="x"'], AUTH, "without a comma"),
    (['Bearer realm="{realm}'], AUTH, "without a proper value"),
    (['Bearer realm="ftp://127.0.0.1/"'], AUTH, "no URL"),
    (['Basic realm="x"'], AUTH, "")])
def test_challenges_that_cannot_be_answered(fields, status, words, work, usual):
    """An identity token is no password: Basic has no use for it."""
    closed, tokens = usual
    with Front(closed, challenge=[field.format(realm=tokens.url) for field in fields]) as front:
        done = pull(work, front, authfile=identity(work / "auth.json", front.host), check=status)
        assert words in done.message and not tokens.asked and all(not authorization for *_, authorization in front.seen)


# ---- where credentials go

def test_a_token_stays_with_its_registry(work, fake_registry):
    """A blob elsewhere is asked for without it, and so is the next blob at home with it."""
    image = Image([Layer([File("a", "a")]), Layer([File("b", "b")])])
    with TokenServer(work) as tokens, FakeRegistry() as other:
        fake_registry.add(image, "our/image", "one")
        first = image.layers[0].digest
        other.answers["/data"] = image.layers[0].blob
        fake_registry.answers[f"/v2/our/image/blobs/{first}"] = (307, {"Location": f"http://{other.host}/data?signed=1"}, b"")
        for path, answer in list(fake_registry.answers.items()):
            if path != "/v2/":
                fake_registry.answers[path] = only_with_token(tokens, answer)
        pull(work, fake_registry, "--plain-http", other.host, authfile=identity(work / "auth.json", fake_registry.host))
        assert len(other.seen) == 1 and "Authorization" not in other.seen[0][2]
        sent = [fields.get("Authorization", "") for _, _, fields in fake_registry.seen]
        assert sent[0] == "" and all(value.startswith("Bearer ") for value in sent[1:]) and len(tokens.asked) == 1


def only_with_token(tokens, answer):
    def check(handler):
        status, headers, body = (200, {}, answer) if isinstance(answer, bytes) else answer
        if not handler.headers.get("Authorization", "").startswith("Bearer "):
            status, headers, body = 401, {"WWW-Authenticate": f'Bearer realm="{tokens.url}",service="our registry"'}, b""
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
    return check


def test_two_repositories_do_not_share_a_token(work, usual, stored):
    """Nor does one pull's token serve the next pull: nothing of it outlives the worker."""
    closed, tokens = usual
    authfile = closed.authfile(work / "auth.json", ("user", "secret"))
    for number in range(2):
        policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
        work.verify(f"{closed.host}/our/image:one", policy=policy, registry=closed, authfile=authfile)
    done = work.verify(f"{closed.host}/our/other:one", policy=policy, registry=closed, authfile=authfile, check=None)
    assert done.status == NOT_FOUND and [query["scope"] for _, query, _ in tokens.asked] == ["repository:our/image:pull"] * 2 + ["repository:our/other:pull"]
