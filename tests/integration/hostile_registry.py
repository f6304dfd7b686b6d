"""Registries that misbehave, a function each: what they do, and how a pull of their image must end. See test_hostile_registry.py."""

import dataclasses
import email.utils
import json
import socket
import struct
import time
import typing

from lib import *  # noqa: F403
from lib import AUTH, CANCELLED, DIGEST, INVALID, LIMIT, NETWORK, NOT_FOUND, OK

SIZE = 204_800  # of the layer, twenty of tar's records
HALF = SIZE // 2
JSON = {"Content-Type": "application/json"}
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclasses.dataclass
class Case:
    """script(world) tells the registry how to behave. status and words: how the pull must end, within `seconds`."""

    name: str
    script: typing.Callable
    status: int
    words: str
    timeout: int = 8
    seconds: float = 20
    options: list = dataclasses.field(default_factory=list)
    after: typing.Callable | None = None
    by_digest: bool = False


CASES: list[Case] = []


def case(name, status, words="", **more):
    """Decorates a script."""
    def note(script):
        CASES.append(Case(name, script, status, words, **more))
        return script
    return note


# ---- answers (functions of http.server's handler)

def reset(handler):
    """RST instead of FIN."""
    handler.close_connection = True
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def raw(*parts, then=None):
    """Writes bytes as they are, then hangs up, or does `then`."""
    def answer(handler):
        handler.close_connection = True
        for part in parts:
            handler.wfile.write(part)
        handler.wfile.flush()
        if then:
            then(handler)
    return answer


def head(status=200, length=None, **fields):
    lines = [f"HTTP/1.1 {status} X"] + [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def forever(first, again, pause=0.0):
    def answer(handler):
        handler.close_connection = True
        handler.wfile.write(first)
        end = time.monotonic() + 30
        while time.monotonic() < end:  # until the client hangs up, which is an exception here
            handler.wfile.write(again)
            handler.wfile.flush()
            time.sleep(pause)
    return answer


def stall(seconds):
    def wait(handler):
        handler.connection.settimeout(seconds)
        try:
            handler.connection.recv(1)  # the client hangs up
        except OSError:
            pass
    return wait


def plain(status, headers, body):
    """As FakeRegistry answers a tuple."""
    def answer(handler):
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
    return answer


def in_turn(*answers):
    """The first request gets the first answer …; the last one goes on for ever."""
    asked = []

    def answer(handler):
        asked.append(handler.path)
        answers[min(len(asked), len(answers)) - 1](handler)
    return answer


def ranges(blob):
    """A server that knows ranges."""
    def answer(handler):
        wanted = handler.headers.get("Range")
        if not wanted:
            plain(200, {}, blob)(handler)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        plain(206, {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"}, blob[start:])(handler)
    return answer


class World:
    """What a script works on: the registry (a FakeRegistry), its image, and paths of the three documents."""

    def __init__(self, fake, image, repository):
        self.fake, self.image, self.repository = fake, image, repository
        self.layer = image.layers[0].blob
        self.others = []
        self.options = []
        self.name = fake.add(image, repository, "latest")
        self.M = f"/v2/{repository}/manifests/latest"
        self.D = f"/v2/{repository}/manifests/{image.digest}"
        self.C = f"/v2/{repository}/blobs/{image.config_digest}"
        self.L = f"/v2/{repository}/blobs/{image.layers[0].digest}"
        self.good = {self.M: plain(200, {"Content-Type": image.media_type}, image.manifest), self.C: plain(200, {}, image.config),
                     self.L: plain(200, {}, self.layer)}

    def __setitem__(self, path, answer):
        self.fake.answers[path] = answer

    def other(self):
        """A second server, to which plain http is allowed."""
        server = FakeRegistry()
        self.others.append(server)
        self.options += ["--plain-http", server.host]
        return server

    def stop(self):
        for server in self.others:
            server.stop()


# ---- the manifest

def manifest(name, status, words, make, **more):
    def script(world):
        world[world.M] = make(world)
        world[world.D] = make(world)
    case("manifest " + name, status, words, **more)(script)


def typed(world, body, kind=None):
    return plain(200, {"Content-Type": kind or world.image.media_type}, body)


def changed(world, **members):
    return json.dumps({**json.loads(world.image.manifest), **members}).encode()


manifest("chunks without end", LIMIT, "more than", lambda w: forever(
    head(Content_Type=w.image.media_type, Transfer_Encoding="chunked"), b"10000\r\n" + b"{" * 65536 + b"\r\n"))
manifest("too long by its length", LIMIT, "more than", lambda w: forever(head(length=1 << 40, Content_Type=w.image.media_type), b" " * 65536))
manifest("always cut", NETWORK, "tried 4 times", lambda w: raw(head(length=len(w.image.manifest), Content_Type=w.image.media_type), w.image.manifest[:50]))
manifest("cut once", OK, "", lambda w: in_turn(
    raw(head(length=len(w.image.manifest), Content_Type=w.image.media_type), w.image.manifest[:50]), w.good[w.M]))
manifest("empty", INVALID, "manifest", lambda w: typed(w, b""))
manifest("a page of HTML", INVALID, "manifest: line 1", lambda w: typed(w, b"<html>sign in</html>", "text/html"))
manifest("typed as an index", INVALID, "", lambda w: typed(w, w.image.manifest, INDEX))
manifest("without a type", OK, "", lambda w: plain(200, {}, w.image.manifest))
manifest("of other bytes than its digest", DIGEST, "", lambda w: typed(w, changed(w, annotations={"a": "b"})), by_digest=True)
manifest("with a digest field that lies", OK, "", lambda w: plain(
    200, {"Content-Type": w.image.media_type, "Docker-Content-Digest": "sha256:" + "0" * 64}, w.image.manifest))
manifest("not JSON", INVALID, "", lambda w: typed(w, b"{" + b"x" * 100))
manifest("that is an index too", INVALID, "", lambda w: typed(w, changed(w, manifests=[])))
for name, unit in (("empty objects", b"{},"), ("empty arrays", b"[],"), ("numbers", b"0,"), ("texts", b'"",')):
    manifest(f"of a million {name}", LIMIT, "JSON of more than 32768 values", lambda w, unit=unit: typed(
        w, b'{"x":[' + unit * ((4 << 20) // len(unit) - 10) + b"0]}"))
manifest("of 300000 keys", LIMIT, "JSON of more than 32768 values", lambda w: typed(
    w, b'{"schemaVersion":2' + b"".join(b',"%x":0' % i for i in range(300_000)) + b"}"))
manifest("of one long text", INVALID, "missing", lambda w: typed(w, b'{"x":"' + b"y" * ((4 << 20) - 10) + b'"}'))
manifest("encoded", INVALID, "encoded answer", lambda w: plain(
    200, {"Content-Type": w.image.media_type, "Content-Encoding": "gzip"}, w.image.manifest))
manifest("in part", INVALID, "a part although all of it was asked for", lambda w: plain(
    206, {"Content-Type": w.image.media_type, "Content-Range": "bytes 0-9/10"}, w.image.manifest[:10]))
manifest("reset before the answer", NETWORK, "tried 4 times", lambda w: reset)
manifest("hung up on", NETWORK, "tried 4 times", lambda w: raw())
manifest("reset in the header", NETWORK, "tried 4 times", lambda w: raw(b"HTTP/1.1 200 OK\r\nContent-", then=reset))
manifest("reset once", OK, "", lambda w: in_turn(reset, w.good[w.M]))
manifest("that stalls", CANCELLED, "3 seconds", lambda w: raw(head(length=100), then=stall(20)), timeout=3, seconds=8)
manifest("that drips", CANCELLED, "3 seconds", lambda w: forever(head(length=4000), b" ", 0.1), timeout=3, seconds=8)
manifest("after a header that drips", CANCELLED, "3 seconds", lambda w: forever(b"HTTP/1.1 200 OK\r\nX: ", b"y", 0.1), timeout=3, seconds=8)

# ---- statuses

for code, end, said in ((204, INVALID, "answers 204"), (400, INVALID, "answers 400"), (403, AUTH, "answers 403"), (404, NOT_FOUND, "answers 404"),
                        (410, NOT_FOUND, "answers 410"), (418, INVALID, "answers 418"), (451, INVALID, "answers 451"), (501, NETWORK, "answers 501")):
    manifest(f"status {code}", end, said, lambda w, code=code: raw(head(code, None if code == 204 else 0)))
for code in (429, 500, 502, 503, 504):
    manifest(f"status {code} for ever", NETWORK, f"answers {code} (tried 4 times)", lambda w, code=code: plain(code, {}, b""))
manifest("429 until a second has passed", OK, "", lambda w: in_turn(plain(429, {"Retry-After": "1"}, b""), w.good[w.M]), seconds=10)
manifest("429 until a date", OK, "", lambda w: in_turn(
    lambda h: plain(429, {"Retry-After": email.utils.formatdate(time.time() + 2, usegmt=True)}, b"")(h), w.good[w.M]))
manifest("503 until a second has passed", OK, "", lambda w: in_turn(plain(503, {"Retry-After": "1"}, b""), w.good[w.M]))
manifest("503 until a date", OK, "", lambda w: in_turn(
    lambda h: plain(503, {"Retry-After": email.utils.formatdate(time.time() + 2, usegmt=True)}, b"")(h), w.good[w.M]))
manifest("429 until tomorrow", NETWORK, "no time is left to try again", lambda w: plain(429, {"Retry-After": "86400"}, b""), seconds=5)
manifest("503 until next year", NETWORK, "no time is left to try again", lambda w: plain(
    503, {"Retry-After": "Wed, 24 Nov 2199 00:00:00 GMT"}, b""), seconds=5)
manifest("503 until nonsense", OK, "", lambda w: in_turn(plain(503, {"Retry-After": "-1, soon"}, b""), w.good[w.M]))

# ---- the header

manifest("behind a flood of fields", LIMIT, "", lambda w: forever(b"HTTP/1.1 200 OK\r\n", b"X-Flood: " + b"y" * 1000 + b"\r\n"))
manifest("behind a field without end", LIMIT, "", lambda w: forever(b"HTTP/1.1 200 OK\r\nX-Long: ", b"y" * 10000))
manifest("behind interim answers without end", LIMIT, "", lambda w: forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100))
manifest("of two types", INVALID, "two different", lambda w: raw(
    b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 0\r\n\r\n"))
manifest("of a negative length", INVALID, "", lambda w: raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", w.image.manifest))
manifest("not HTTP", INVALID, "", lambda w: raw(b"SSH-2.0-OpenSSH_9.2\r\n" * 10))

# ---- the layer

def layer(name, status, words, make, **more):
    def script(world):
        world[world.L] = make(world)
    case("layer " + name, status, words, **more)(script)


def first_half(world):
    return raw(head(length=SIZE), world.layer[:HALF])


layer("cut at the same place for ever, no ranges", NETWORK, "tried 4 times", lambda w: first_half(w))
layer("cut once, ranges", OK, "", lambda w: in_turn(first_half(w), ranges(w.layer)))
layer("cut once, no ranges", OK, "", lambda w: in_turn(first_half(w), w.good[w.L]))
layer("reset once, ranges", OK, "", lambda w: in_turn(raw(head(length=SIZE), w.layer[:HALF], then=reset), ranges(w.layer)))
layer("reset once, no ranges", OK, "", lambda w: in_turn(raw(head(length=SIZE), w.layer[:HALF], then=reset), w.good[w.L]))
layer("reset before each answer", NETWORK, "tried 4 times", lambda w: reset)
layer("reset in each header", NETWORK, "tried 4 times", lambda w: raw(b"HTTP/1.1 200", then=reset))
layer("reset in the header of the rest", NETWORK, "tried 4 times", lambda w: in_turn(first_half(w), raw(b"HTTP/1.1 206 X\r\n", then=reset)))
layer("without end", INVALID, "sends more than the", lambda w: forever(head(Transfer_Encoding="chunked"), b"10000\r\n" + b"z" * 65536 + b"\r\n"))
layer("without length and too long", INVALID, "sends more than the", lambda w: raw(head(), w.layer, b"more"))
layer("without length and too short", NETWORK, "ends too early", lambda w: raw(head(), w.layer[:1000]))
layer("that announces more", INVALID, "announces", lambda w: plain(200, {}, w.layer + b"x"))
layer("that announces less", INVALID, "announces", lambda w: plain(200, {}, w.layer[:-1]))
layer("of other bytes", DIGEST, "", lambda w: plain(200, {}, b"x" + w.layer[1:]))
layer("of zeros", DIGEST, "", lambda w: plain(200, {}, bytes(SIZE)))
layer("in bad chunks", NETWORK, "", lambda w: raw(head(Transfer_Encoding="chunked"), b"zzz\r\n" + w.layer))
layer("in chunks that stop", NETWORK, "tried 4 times", lambda w: raw(head(Transfer_Encoding="chunked"), b"3e8\r\n" + w.layer[:1000] + b"\r\n"))
layer("encoded", INVALID, "encoded answer", lambda w: plain(200, {"Content-Encoding": "gzip"}, w.layer))
layer("that is not there", NOT_FOUND, "answers 404", lambda w: plain(404, {}, b""))
layer("that drips", CANCELLED, "3 seconds", lambda w: forever(head(length=SIZE), b"x", 0.1), timeout=3, seconds=8)
layer("that stalls", CANCELLED, "3 seconds", lambda w: raw(head(length=SIZE), w.layer[:HALF], then=stall(20)), timeout=3, seconds=8)
layer("that stalls once", OK, "", lambda w: in_turn(raw(head(length=SIZE), w.layer[:HALF], then=stall(60)), ranges(w.layer)), timeout=50, seconds=50)
layer("with a config of other bytes", DIGEST, "", lambda w: w.fake.answers.update({w.C: bytes(len(w.image.config))}) or w.good[w.L])

# ---- the rest of a layer whose first half came

END = SIZE - 1
RANGE = f"bytes {HALF}-{END}/{SIZE}"
for what, fields, end, said in (
        ("one byte later", {"Content-Range": f"bytes {HALF + 1}-{END}/{SIZE}"}, INVALID, "the server sends bytes"),
        ("one byte earlier", {"Content-Range": f"bytes {HALF - 1}-{END}/{SIZE}"}, INVALID, "the server sends bytes"),
        ("from the start", {"Content-Range": f"bytes 0-{END}/{SIZE}"}, INVALID, "the server sends bytes"),
        ("not to the end", {"Content-Range": f"bytes {HALF}-{END - 1}/{SIZE}"}, INVALID, "the server sends bytes"),
        ("beyond the end", {"Content-Range": f"bytes {HALF}-{END + 1}/{SIZE}"}, INVALID, "does not say properly"),
        ("of something longer", {"Content-Range": f"bytes {HALF}-{END}/{SIZE + 1}"}, INVALID, "the server sends bytes"),
        ("of something longer, to its end", {"Content-Range": f"bytes {HALF}-{END + 1}/{SIZE + 1}"}, INVALID, "the server sends bytes"),
        ("of something of unknown length", {"Content-Range": f"bytes {HALF}-{END}/*"}, INVALID, "does not say properly"),
        ("unsatisfied", {"Content-Range": f"bytes */{SIZE}"}, INVALID, "does not say properly"),
        ("nobody knows which", {}, INVALID, "does not say properly"),
        ("in other units", {"Content-Range": f"items {HALF}-{END}/{SIZE}"}, INVALID, "does not say properly"),
        ("in several parts", {"Content-Type": "multipart/byteranges; boundary=x"}, INVALID, "does not say properly"),
        ("backwards", {"Content-Range": f"bytes {END}-{HALF}/{SIZE}"}, INVALID, "does not say properly"),
        ("of negative numbers", {"Content-Range": f"bytes -{HALF}-{END}/{SIZE}"}, INVALID, "does not say properly"),
        ("of huge numbers", {"Content-Range": f"bytes {HALF}-18446744073709551615/18446744073709551616"}, INVALID, "does not say properly"),
        ("in words", {"Content-Range": "bytes the second half"}, INVALID, "does not say properly"),
        ("announced longer than it is", {"Content-Range": RANGE, "Content-Length": str(SIZE)}, INVALID, "announces"),
        ("encoded", {"Content-Range": RANGE, "Content-Encoding": "gzip"}, INVALID, "encoded answer"),
        ("as asked", {"Content-Range": RANGE}, OK, "")):
    layer("rest " + what, end, said, lambda w, fields=fields: in_turn(first_half(w), plain(206, fields, w.layer[HALF:])))
layer("rest said to be two parts", INVALID, "two different", lambda w: in_turn(first_half(w), raw(
    f"HTTP/1.1 206 X\r\nContent-Range: {RANGE}\r\nContent-Range: bytes 0-1/2\r\nContent-Length: {HALF}\r\n\r\n".encode(), w.layer[HALF:])))
layer("rest of other bytes", DIGEST, "", lambda w: in_turn(first_half(w), plain(206, {"Content-Range": RANGE}, bytes(HALF))))
layer("rest too long", INVALID, "sends more than the", lambda w: in_turn(first_half(w), raw(
    head(206, Content_Range=RANGE, Transfer_Encoding="chunked"), b"%x\r\n" % (HALF + 1) + w.layer[HALF:] + b"x\r\n0\r\n\r\n")))
layer("rest cut again, then whole", OK, "", lambda w: in_turn(
    first_half(w), raw(head(206, HALF, Content_Range=RANGE), w.layer[HALF:HALF + 50_000]), ranges(w.layer)))
layer("rest whole but other bytes", DIGEST, "", lambda w: in_turn(first_half(w), plain(200, {}, bytes(HALF) + w.layer[HALF:][::-1])))
layer("rest refused as no range", OK, "", lambda w: in_turn(first_half(w), plain(416, {"Content-Range": f"bytes */{SIZE}"}, b""), w.good[w.L]))

# ---- authentication

def auth(name, status, words, challenge, token=None, **more):
    """Every request is answered with 401 and `challenge`; token(world) answers at /token of another server, {} in the challenge."""
    def script(world):
        where = ""
        if token:
            other = world.other()
            where = other.host
            other.answers["/token"] = token(world)
        field = challenge.replace("{}", where)
        world[world.M] = plain(401, {"WWW-Authenticate": field} if field else {}, b"")
    case("auth " + name, status, words, **more)(script)


BEARER = 'Bearer realm="http://{}/token",service="s"'
auth("without a challenge", AUTH, "neither Basic nor Bearer", "")
auth("by an unknown scheme", AUTH, "neither Basic nor Bearer", 'Negotiate realm="x"')
auth("by a challenge that is none", AUTH, "", 'Bearer realm="http://x')
auth("Basic, and there are no credentials", AUTH, "a user name and a password", 'Basic realm="x"')
auth("tokens that are never enough", AUTH, "not authorized", BEARER, lambda w: plain(200, JSON, b'{"token":"t","expires_in":300}'))
auth("a token of a wrong type", INVALID, "$.token: must be a string", BEARER, lambda w: plain(200, JSON, b'{"token":17}'))
auth("an empty token", AUTH, "no usable token", BEARER, lambda w: plain(200, JSON, b'{"token":""}'))
auth("a token that ends the field", AUTH, "no usable token", BEARER, lambda w: plain(200, JSON, b'{"token":"t\\r\\nX: y"}'))
auth("a token that is a page", INVALID, "token: line 1", BEARER, lambda w: plain(200, {}, b"<html>"))
auth("a token without end", LIMIT, "more than", BEARER, lambda w: forever(head(), b" " * 65536))
auth("a token server that says no", AUTH, "answers 403", BEARER, lambda w: plain(403, {}, b""))
auth("a token server that fails", NETWORK, "answers 500 (tried 4 times)", BEARER, lambda w: plain(500, {}, b""))
auth("a token server that redirects", AUTH, "answers 302", BEARER, lambda w: plain(302, {"Location": "/token"}, b""))
auth("a token server that hangs up", NETWORK, "tried 4 times", BEARER, lambda w: raw())
auth("a token server that stalls", CANCELLED, "3 seconds", BEARER, lambda w: raw(then=stall(20)), timeout=3, seconds=8)
auth("a token server that is not there", NETWORK, "tried 4 times", f'Bearer realm="http://127.0.0.1:{free_port()}/token"')
auth("a token server that is a file", AUTH, "no URL", 'Bearer realm="file:///etc/passwd"')
auth("a token server with a password in its name", AUTH, "no URL", 'Bearer realm="http://u:p@127.0.0.1/token"')


def no_credentials(server):
    """Nobody sent any there."""
    def check(world):
        seen = [fields for _, _, fields in server(world).seen]
        assert seen and not any(name.lower() in ("authorization", "cookie") for fields in seen for name in fields), seen
    return check


def with_credentials(world):
    """Basic authentication at the registry; a pull gets an auth.json with the right password."""
    world.fake.auth = ("user", "secret")
    for path, answer in world.good.items():
        world[path] = guarded(answer)


def guarded(answer):
    def check(handler):
        (answer if handler.headers.get("Authorization") else plain(401, {"WWW-Authenticate": 'Basic realm="x"'}, b""))(handler)
    return check


@case("auth wrong password for ever", AUTH, "not authorized")
def _(world):
    with_credentials(world)
    world[world.M] = plain(401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")


@case("credentials do not follow a redirect to another host", OK, after=no_credentials(lambda w: w.others[0]))
def _(world):
    with_credentials(world)
    other = world.other()
    other.answers["/data"] = world.layer
    world[world.L] = guarded(plain(307, {"Location": f"http://{other.host}/data?signed=1"}, b""))


@case("credentials do not go to a redirect that asks for them", AUTH, "which are not for it", after=no_credentials(lambda w: w.others[0]))
def _(world):
    with_credentials(world)
    other = world.other()
    other.answers["/data"] = (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
    world[world.L] = guarded(plain(307, {"Location": f"http://{other.host}/data"}, b""))


@case("credentials do not follow a manifest either", OK, after=no_credentials(lambda w: w.others[0]))
def _(world):
    with_credentials(world)
    other = world.other()
    other.answers["/m"] = (200, {"Content-Type": world.image.media_type}, world.image.manifest)
    world[world.M] = guarded(plain(302, {"Location": f"http://{other.host}/m"}, b""))


# ---- redirects

def redirect(name, status, words, location, code=302, **more):
    def script(world):
        world[world.L] = plain(code, {"Location": location(world)} if location else {}, b"")
    case("redirect " + name, status, words, **more)(script)


redirect("to itself", INVALID, "in a circle", lambda w: w.L)
redirect("without a place", INVALID, "no http or https URL", None)
redirect("to a file", INVALID, "no http or https URL", lambda w: "file:///etc/passwd")
redirect("to gopher", INVALID, "no http or https URL", lambda w: "gopher://127.0.0.1/")
redirect("with a password in it", INVALID, "no http or https URL", lambda w: "http://u:p@127.0.0.1/")
redirect("to a host that is not to be talked to without TLS", INVALID, "plain http is not allowed", lambda w: "http://127.0.0.2:1/x")
redirect("to nobody", NETWORK, "tried 4 times", lambda w: f"https://127.0.0.1:{free_port()}/x", code=307)
redirect("300, of many choices", INVALID, "answers 300", lambda w: w.L, code=300)


@case("redirect in a circle of two", INVALID, "in a circle")
def _(world):
    world[world.L] = plain(302, {"Location": "/there"}, b"")
    world["/there"] = plain(302, {"Location": world.L}, b"")


@case("redirect on and on", LIMIT, "more than 10 redirects")
def _(world):
    for i in range(30):
        world[f"/hop{i}"] = plain(302, {"Location": f"/hop{i + 1}"}, b"")
    world[world.L] = plain(302, {"Location": "/hop0"}, b"")


@case("redirect to what is cut, and again", OK)
def _(world):
    world[world.L] = plain(302, {"Location": "/data"}, b"")
    world["/data"] = in_turn(first_half(world), ranges(world.layer))
