"""Real servers on loopback: the same image through docker-registry with token authentication, nginx in front with HTTP/2 and redirects; and a server that
cuts each connection after 10 MB."""

import base64
import datetime
import http.server
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hostile_registry import head, raw
from lib import ACCEPT_ANYTHING, AUTH, FakeRegistry, File, Image, Layer, Registry, free_port, make_certificates, write_policy

MB = 1_000_000


def small_image():
    return Image([Layer([File("hello", "hi")]), Layer([File("data", random.Random(2).randbytes(300_000))])], {"Cmd": ["/hello"]})


# ---- nginx in front

NGINX = """
daemon off; pid %(folder)s/pid; error_log %(folder)s/errors;
events {}
http {
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/f; uwsgi_temp_path %(folder)s/u; scgi_temp_path %(folder)s/s;
  log_format short '$server_protocol $status $request_uri $bytes_sent';
  access_log %(folder)s/access short;
  server {
    listen 127.0.0.1:%(port)d ssl http2;
    ssl_certificate %(cert)s; ssl_certificate_key %(key)s;
    location ~ ^/v2/(.*)/blobs/(.*)$ { return 307 https://127.0.0.1:%(port)d/store/$1/$2?signature=secret; }
    location ~ ^/store/(.*)/(.*)$ { proxy_pass http://%(upstream)s/v2/$1/blobs/$2; }
    location / { proxy_pass http://%(upstream)s; }
  }
}
"""


@pytest.fixture
def nginx(work, registry):
    """nginx with HTTP/2 over TLS, redirecting blobs, in front of docker-registry: (host, CA's folder, lines of its log)."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if not program:
        pytest.skip("nginx is not installed: HTTP/2 of a real server is not tried")
    folder = work / "nginx"
    folder.mkdir()
    ca, cert, key = make_certificates(folder)
    (work / "trusted").mkdir()
    shutil.copy(ca, work / "trusted/ca.crt")
    port = free_port()
    (folder / "conf").write_text(NGINX % {"folder": folder, "port": port, "cert": cert, "key": key, "upstream": registry.host})
    child = subprocess.Popen([program, "-e", folder / "errors", "-p", folder, "-c", folder / "conf", "-g", f"user {os.environ.get('USER', 'root')};"])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}", work / "trusted", lambda: (folder / "access").read_text().splitlines()
    finally:
        child.terminate()
        child.wait(10)


def test_nginx_with_http2_and_redirects(work, registry, nginx):
    host, trusted, log = nginx
    image = small_image()
    image.push(registry, work.repository(), "one")
    policy = write_policy(work / "policy.json", {host: ACCEPT_ANYTHING})
    done = work.pull(f"{host}/{work.repository()}:one", "--cert-dir", trusted, "--verbose", policy=policy)
    assert done.json["manifestDigest"] == image.digest
    assert (work.rootfs / "hello").read_text() == "hi"
    lines = log()
    assert all(line.startswith("HTTP/2.0 ") for line in lines), lines
    assert len([line for line in lines if " 307 /v2/" in line]) == 3  # config and two layers
    # The request log says what was asked, and shows no secret of a URL.
    shown = [line for line in done.stderr.splitlines() if line.startswith("fetch: ")]
    assert len(shown) == len(lines) and "signature" not in done.stderr, done.stderr
    assert any(f"GET https://{host}/v2/{work.repository()}/manifests/one: 200, {len(image.manifest)} bytes, " in line for line in shown), shown


# ---- connections that are cut

# "make check-network" has the size that a real image has, and the pace of a bad line.
MEGABYTES = int(os.environ.get("GUEST_PULL_NETWORK_MB", "40"))
PACE = int(os.environ.get("GUEST_PULL_NETWORK_MBIT", "0"))
DELAY = 0.1 if PACE else 0


def paced(handler, part):
    """Each answer begins after DELAY; then so many megabits a second, 64 KiB at a time."""
    time.sleep(DELAY)
    start = time.monotonic()
    for i in range(0, len(part), 65536):
        handler.wfile.write(part[i:i + 65536])
        due = i * 8 / (PACE * 1e6) if PACE else 0
        time.sleep(max(0, due - (time.monotonic() - start)))


def test_connections_cut_each_ten_megabytes(work):
    """All of it arrives, and hardly a byte of it twice."""
    content = random.Random(3).randbytes(MEGABYTES * MB)
    image = Image([Layer([File("data", content)], "none")])
    blob, sent, requests = image.layers[0].blob, [], []

    def cut(handler):
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        requests.append(start)
        part = blob[start:start + 10 * MB]
        sent.append(len(part))
        fields = {"Content_Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"} if start else {}
        raw(head(206 if start else 200, len(blob) - start, **fields), then=lambda handler: paced(handler, part))(handler)
    with FakeRegistry() as fake:
        name = fake.add(image, "test/big", "one")
        fake.answers[f"/v2/test/big/blobs/{image.layers[0].digest}"] = cut
        policy = write_policy(work / "policy.json", {fake.host: ACCEPT_ANYTHING})
        start = time.monotonic()
        assert work.pull(name, policy=policy, registry=fake).json["manifestDigest"] == image.digest
        print(f"{len(blob) / 1e6:.0f} MB in {time.monotonic() - start:.0f} s over {len(requests)} connections, {sum(sent) / len(blob):.3f} times the bytes")
    assert (work.rootfs / "data").read_bytes() == content
    assert len(requests) > MEGABYTES // 10 and sum(sent) <= 1.1 * len(blob), (requests, sum(sent))


# ---- tokens

class TokenServer:
    """Gives out JSON Web Tokens (RFC 7515) that docker-registry trusts by the certificate in them. asked: queries and whether a password came."""

    def __init__(self, folder, password="secret", lifetime=300):
        self.asked, self.key = [], ec.generate_private_key(ec.SECP256R1())
        _, self.certificate = self.make_certificate(folder)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
                given = self.headers.get("Authorization", "")
                right = given == "Basic " + base64.b64encode(f"user:{password}".encode()).decode()
                outer.asked.append((query, right))
                body = json.dumps({"token": outer.token(query, right), "expires_in": lifetime}).encode()
                self.send_response(200 if right or not given else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/token"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def make_certificate(self, folder):
        now = datetime.datetime.now(datetime.timezone.utc)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        made = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=self.key.public_key(), serial_number=1,
                                       not_valid_before=now - datetime.timedelta(days=1), not_valid_after=now + datetime.timedelta(days=1)
                                       ).sign(self.key, hashes.SHA256())
        path = folder / "tokens.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path, made.public_bytes(serialization.Encoding.DER)

    def token(self, query, right):
        kind, name, actions = (query.get("scope", "::").split(":") + ["", ""])[:3]
        now = int(time.time())
        claims = {"iss": "tokens", "sub": "user", "aud": query.get("service"), "exp": now + 300, "nbf": now - 10, "iat": now - 10, "jti": "1",
                  "access": [{"type": kind, "name": name, "actions": actions.split(",")}] if right else []}
        encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")  # noqa: E731
        text = b".".join(encode(json.dumps(part).encode()) for part in (
            {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(self.certificate).decode()]}, claims))
        r, s = utils.decode_dss_signature(self.key.sign(text, ec.ECDSA(hashes.SHA256())))
        return (text + b"." + encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class TokenRegistry(Registry):
    """docker-registry that sends whoever asks to a TokenServer."""

    def __init__(self, folder, tokens):
        self.tokens = tokens
        super().__init__(folder)

    def _start(self, cert, key):
        config = {"version": "0.1", "log": {"level": "warn"}, "http": {"addr": self.host},
                  "storage": {"filesystem": {"rootdirectory": os.path.join(self.folder, "data")}},
                  "auth": {"token": {"realm": self.tokens.url, "service": "our registry", "issuer": "tokens",
                                     "rootcertbundle": os.path.join(os.path.dirname(self.folder), "tokens.pem")}}}
        path = os.path.join(self.folder, "config.yml")
        with open(path, "w") as out:
            json.dump(config, out)
        self._log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(["docker-registry", "serve", path], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
                                        start_new_session=True)

    def _wait(self):
        for _ in range(200):
            with socket.socket() as probe:
                if self.process.poll() is None and probe.connect_ex(("127.0.0.1", int(self.host.split(":")[1]))) == 0:
                    return True
            time.sleep(0.05)
        return False


@pytest.fixture
def guarded(work):
    """A registry with token authentication over the storage of an image that was pushed before: (registry, tokens, image)."""
    image, folder = small_image(), work / "guarded"
    with Registry(folder) as open_registry:
        image.push(open_registry, "our/image", "one")
    tokens = TokenServer(work)
    try:
        with TokenRegistry(folder, tokens) as closed:
            yield closed, tokens, image
    finally:
        tokens.stop()


def test_tokens(work, guarded):
    closed, tokens, image = guarded
    policy = write_policy(work / "policy.json", {closed.host: ACCEPT_ANYTHING})
    authfile = closed.authfile(work / "auth.json", ("user", "secret"))
    done = work.pull(f"{closed.host}/our/image:one", "--max-parallel", "1", policy=policy, registry=closed, authfile=authfile)
    assert done.json["manifestDigest"] == image.digest
    # One token for all requests of the pull, and asked for with what the challenge says.
    assert tokens.asked == [({"service": "our registry", "scope": "repository:our/image:pull", "account": "user"}, True)]


@pytest.mark.parametrize("auth", [None, ("user", "wrong")])
def test_no_token_without_the_password(auth, work, guarded):
    closed, tokens, _ = guarded
    policy = write_policy(work / "policy.json", {closed.host: ACCEPT_ANYTHING})
    authfile = closed.authfile(work / "auth.json", auth) if auth else None
    done = work.pull(f"{closed.host}/our/image:one", policy=policy, registry=closed, authfile=authfile, check=AUTH)
    assert ("the token server" if auth else "not authorized") in done.message and tokens.asked
