"""Token authentication as the distribution project describes it: a token server of ours, docker-registry that trusts it, and a front that changes what the registry says."""

import base64
import datetime
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from registry import Http, Registry, make_certificates

LEEWAY = 60  # seconds for which docker-registry still takes a token that has expired


class TokenServer:
    """Gives out JSON Web Tokens (RFC 7515) that docker-registry trusts by the certificate in them. asked: (method, query or form, whether who asks is known).
    refresh: the identity token that is known, besides the user with the password. key: under which name the answer has the token. lifetime: what the answer says;
    lasts: how long the registry takes it. tls: over https, with the CA in `ca`."""

    def __init__(self, folder, password="secret", refresh="refresh me", key="token", lifetime: int | None = 300, lasts: float = 300, tls=False):
        self.asked, self.key, self.ca = [], ec.generate_private_key(ec.SECP256R1()), None
        self.lasts = lasts
        self.certificate_path, self.certificate = self.make_certificate(folder)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                given = self.headers.get("Authorization", "")
                right = given == "Basic " + base64.b64encode(f"user:{password}".encode()).decode()
                self.answer(urllib.parse.urlsplit(self.path).query, right, bool(given))

            def do_POST(self):
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = dict(urllib.parse.parse_qsl(text))
                right = form.get("grant_type") == "refresh_token" and form.get("refresh_token") == refresh and "Authorization" not in self.headers
                self.answer(text, right, True)

            def answer(self, text, right, known):
                query = dict(urllib.parse.parse_qsl(text))
                outer.asked.append((self.command, query, right))
                token = outer.token(query, right)
                names = ["token", "access_token"] if key == "both" else [key]
                body = json.dumps({**({"expires_in": lifetime} if lifetime else {}), **{name: token for name in names},
                                   **({"token": None} if key == "access_token" else {})}).encode()
                self.send_response(200 if right or not known else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.ca, cert, private = make_certificates(os.path.join(os.fspath(folder), "token-certificates"))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, private)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_address[1]}/token"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def make_certificate(self, folder):
        now = datetime.datetime.now(datetime.timezone.utc)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        made = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=self.key.public_key(), serial_number=1,
                                       not_valid_before=now - datetime.timedelta(days=1), not_valid_after=now + datetime.timedelta(days=1)
                                       ).sign(self.key, hashes.SHA256())
        path = os.path.join(os.fspath(folder), "tokens.pem")
        with open(path, "wb") as out:
            out.write(made.public_bytes(serialization.Encoding.PEM))
        return path, made.public_bytes(serialization.Encoding.DER)

    def token(self, query, right):
        kind, name, actions = (query.get("scope", "::").split(":") + ["", ""])[:3]
        now = time.time()
        expires = now + self.lasts - LEEWAY if self.lasts < LEEWAY else now + self.lasts
        claims = {"iss": "tokens", "sub": "user", "aud": query.get("service"), "exp": round(expires), "nbf": int(now) - 10, "iat": int(now) - 10,
                  "jti": "1", "access": [{"type": kind, "name": name, "actions": actions.split(",")}] if right else []}
        encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")  # noqa: E731
        text = b".".join(encode(json.dumps(part).encode()) for part in (
            {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(self.certificate).decode()]}, claims))
        r, s = utils.decode_dss_signature(self.key.sign(text, ec.ECDSA(hashes.SHA256())))
        return (text + b"." + encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class TokenRegistry(Registry):
    """docker-registry that sends whoever asks to a TokenServer."""

    def __init__(self, folder, tokens, **more):
        self.tokens = tokens
        super().__init__(folder, **more)

    def _start(self, cert, key):
        config = {"version": "0.1", "log": {"level": "warn"}, "http": {"addr": self.host},
                  "storage": {"filesystem": {"rootdirectory": os.path.join(self.folder, "data")}},
                  "auth": {"token": {"realm": self.tokens.url, "service": "our registry", "issuer": "tokens",
                                     "rootcertbundle": self.tokens.certificate_path}}}
        if cert:
            config["http"]["tls"] = {"certificate": cert, "key": key}
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


class Front(Http):
    """Stands before a registry and passes requests on. challenge: the WWW-Authenticate fields to send with a 401 instead of its own. pace: bytes a second of each
    answer's body. cut: the connection ends after so many bytes of the first answer that is longer. seen: (path, status, Range, Authorization) of each request."""

    def __init__(self, upstream, challenge=None, pace: float | None = None, cut: int | None = None):
        self.seen, self.cut = [], cut
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                wanted = {name: self.headers[name] for name in ("Authorization", "Range", "Accept") if name in self.headers}
                connection = http.client.HTTPConnection(upstream.host, timeout=30)
                connection.request("GET", self.path, headers=wanted)
                answer = connection.getresponse()
                front.seen.append((self.path, answer.status, wanted.get("Range"), wanted.get("Authorization")))
                self.send_response(answer.status)
                replace = answer.status == 401 and challenge is not None
                for name, value in answer.getheaders():
                    if not (replace and name.lower() == "www-authenticate"):
                        self.send_header(name, value)
                for value in challenge if replace else []:
                    self.send_header("WWW-Authenticate", value)
                self.end_headers()
                self.copy(answer)
                connection.close()

            def copy(self, answer):
                sent, start = 0, time.monotonic()
                while piece := answer.read(16384):
                    if front.cut and sent + len(piece) > front.cut:
                        front.cut, self.close_connection = None, True
                        return
                    self.wfile.write(piece)
                    sent += len(piece)
                    time.sleep(max(0, start + sent / pace - time.monotonic()) if pace else 0)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
