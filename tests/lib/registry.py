"""Registries on 127.0.0.1 with free ports: the real docker-registry, and one of our own that misbehaves as told."""

import base64
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

from image import digest_of


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificates(folder) -> tuple[str, str, str]:
    """A CA of our own and a server certificate for 127.0.0.1 and localhost: paths of (CA, certificate, key), all PEM."""
    folder = os.fspath(folder)
    os.makedirs(folder, exist_ok=True)
    ca, ca_key, cert, key, request, extensions = (
        os.path.join(folder, name) for name in ("ca.crt", "ca.key", "server.crt", "server.key", "server.csr", "ext"))
    with open(extensions, "w") as out:
        out.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for command in (
        ["req", "-x509", *new_key, "-days", "30", "-subj", "/CN=guest-pull test CA", "-keyout", ca_key, "-out", ca,
         "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        ["req", "-new", *new_key, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "20", "-extfile", extensions,
         "-out", cert],
    ):
        subprocess.run(["openssl", *command], check=True, stderr=subprocess.DEVNULL)
    return ca, cert, key


class Http:
    """What both registries share: where they are, and a client that uploads and asks."""

    host: str  # "127.0.0.1:port"
    ca: str | None = None
    auth: tuple[str, str] | None = None
    client: tuple[str, str] | None = None  # certificate and key to show, PEM
    has_referrers = False

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict | None = None):
        """Returns (status, headers, body). Credentials are sent if the registry has any."""
        if self.ca:
            context = ssl.create_default_context(cafile=self.ca)
            if self.client:
                context.load_cert_chain(*self.client)
            connection = http.client.HTTPSConnection(self.host, timeout=30, context=context)
        else:
            connection = http.client.HTTPConnection(self.host, timeout=30)
        headers = dict(headers or {})
        if self.auth:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.auth).encode()).decode()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def put_blob(self, repository: str, blob: bytes, digest: str | None = None) -> str:
        digest = digest or digest_of(blob)
        status, headers, body = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert status == 202, (status, body)
        location = re.sub(r"^https?://[^/]*", "", headers["Location"])
        location += ("&" if "?" in location else "?") + "digest=" + digest
        status, headers, body = self.request("PUT", location, blob, {"Content-Type": "application/octet-stream"})
        assert status == 201, (status, body)
        return digest

    def put_manifest(self, repository: str, reference: str, manifest: bytes, media_type: str) -> str:
        """Returns the digest."""
        status, _, body = self.request("PUT", f"/v2/{repository}/manifests/{reference}", manifest, {"Content-Type": media_type})
        assert status == 201, (status, body)
        return digest_of(manifest)

    def get_manifest(self, repository: str, reference: str) -> bytes | None:
        accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, " \
                 "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
        status, _, body = self.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": accept})
        return body if status == 200 else None

    def certs_d(self, folder) -> str:
        """A directory for --cert-dir (ours and skopeo's) that trusts this registry's CA: folder/host:port with a ca.crt, and with the client's pair. Returns it."""
        place = os.path.join(os.fspath(folder), self.host)
        os.makedirs(place, exist_ok=True)
        if self.ca:
            with open(self.ca) as source, open(os.path.join(place, "ca.crt"), "w") as out:
                out.write(source.read())
        for name, path in zip(("client.cert", "client.key"), self.client or ()):
            shutil.copy(path, os.path.join(place, name))
        return place

    def authfile(self, path, auth: tuple[str, str] | None = None) -> str:
        """An auth.json with this registry's (or the given) user and password. Returns `path`."""
        text = base64.b64encode(":".join(auth or self.auth).encode()).decode()
        with open(path, "w") as out:
            json.dump({"auths": {self.host: {"auth": text}}}, out)
        return os.fspath(path)


class Registry(Http):
    """Debian's docker-registry as a child process, storing below `folder`. `auth`: (user, password) for basic authentication.
    `upstream`: URL of a registry that it is a pull-through mirror of. `client`: certificate and key that whoever asks must show, over TLS. Use as a context manager,
    or call stop()."""

    def __init__(self, folder, auth: tuple[str, str] | None = None, tls: bool = False, upstream: str | None = None,
                 client: tuple[str, str] | None = None):
        self.folder, self.auth, self.upstream, self.client = os.path.abspath(folder), auth, upstream, client
        os.makedirs(os.path.join(self.folder, "data"), exist_ok=True)
        cert = key = None
        if tls:
            self.ca, cert, key = make_certificates(os.path.join(self.folder, "certificates"))
        for _ in range(5):  # another process may take the free port before the registry does
            self.host = f"127.0.0.1:{free_port()}"
            self._start(cert, key)
            if self._wait():
                return
            self.stop()
        raise RuntimeError(f"docker-registry does not start: see {self.folder}/log")

    def _start(self, cert, key):
        config = {"version": "0.1", "log": {"level": "warn"},
                  "storage": {"filesystem": {"rootdirectory": os.path.join(self.folder, "data")}, "delete": {"enabled": True},
                              "maintenance": {"uploadpurging": {"enabled": False}}},
                  "http": {"addr": self.host}}
        if self.upstream:
            config["proxy"] = {"remoteurl": self.upstream}
        if cert:
            config["http"]["tls"] = {"certificate": cert, "key": key, **({"clientcas": [self.client[0]]} if self.client else {})}
        if self.auth:
            users = os.path.join(self.folder, "htpasswd")
            line = subprocess.run(["htpasswd", "-niBC", "4", self.auth[0]], input=self.auth[1].encode(), stdout=subprocess.PIPE,
                                  check=True).stdout
            with open(users, "wb") as out:
                out.write(line)
            config["auth"] = {"htpasswd": {"realm": "test", "path": users}}
        path = os.path.join(self.folder, "config.yml")
        with open(path, "w") as out:
            json.dump(config, out)  # JSON is YAML
        self._log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(["docker-registry", "serve", path], stdout=self._log, stderr=self._log,
                                        stdin=subprocess.DEVNULL, start_new_session=True)

    def _wait(self) -> bool:
        for _ in range(200):
            if self.process.poll() is not None:
                return False
            try:
                if self.request("GET", "/v2/")[0] == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.05)
        return False

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def requests(self) -> list[str]:
        """All requests so far as "GET /v2/… 200", in order, our own uploads among them. See mark() and since()."""
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            found = [re.search(r'"([A-Z]+ \S+) HTTP/[0-9.]+" ([0-9]+)', line) for line in log]
        return [f"{m.group(1)} {m.group(2)}" for m in found if m]

    def mark(self) -> int:
        """A position for since()."""
        return len(self.requests())

    def since(self, mark: int) -> list[str]:
        """The requests after mark(). The log line is written when the answer has been sent: waits a moment for it."""
        time.sleep(0.1)
        return self.requests()[mark:]

    def blob_path(self, digest: str) -> str:
        """Where the registry keeps a blob or manifest: a test may change or remove it behind the registry's back."""
        algorithm, name = digest.split(":")
        return os.path.join(self.folder, "data/docker/registry/v2/blobs", algorithm, name[:2], name, "data")


class GoRegistry(Http):
    """The registry of go-containerregistry in memory, which has the referrers API: `program` is what tests/tools/registries.sh built. Context manager."""

    has_referrers = True

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
        self.host = self.process.stdout.readline().strip()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class FakeRegistry(Http):
    """A registry in a thread of ours that answers what it is told. `answers` maps a path (no query) to one of
       bytes                              200 with this body
       (status, headers, bytes)           exactly this
       a function(handler) -> None        writes the answer itself (a http.server handler: send_response, wfile, …)
    and everything else is 404. "/v2/" is there. All requests are recorded in `seen` as (method, path, headers).
    add(image, repository, tag) makes an Image or Index available. Context manager."""

    def __init__(self, folder=None, tls: bool = False, address: str = "127.0.0.1"):
        self.answers: dict = {"/v2/": (200, {"Content-Type": "application/json"}, b"{}")}
        self.seen: list = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                fake.seen.append((self.command, self.path, dict(self.headers)))
                answer = fake.answers.get(self.path.split("?")[0], (404, {}, b'{"errors":[{"code":"NOT_FOUND"}]}'))
                if callable(answer):
                    answer(self)
                    return
                status, headers, body = (200, {}, answer) if isinstance(answer, bytes) else answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_PUT = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

            def handle_error(self, *_):  # a client that hangs up is what many tests are about
                pass

        self.server = Server((address, 0), Handler)
        if tls:
            self.ca, cert, key = make_certificates(os.path.join(os.fspath(folder), "fake-certificates"))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"[{address}]" if ":" in address else address
        self.host += f":{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def add(self, image, repository: str, tag: str | None = None) -> str:
        for child in getattr(image, "images", []):
            self.add(child, repository)
        answer = (200, {"Content-Type": image.media_type, "Docker-Content-Digest": image.digest}, image.manifest)
        self.answers[f"/v2/{repository}/manifests/{image.digest}"] = answer
        if tag:
            self.answers[f"/v2/{repository}/manifests/{tag}"] = answer
        for digest, blob in (image.blobs() if hasattr(image, "blobs") else {}).items():
            self.answers[f"/v2/{repository}/blobs/{digest}"] = blob
        return f"{self.host}/{repository}" + (f":{tag}" if tag else f"@{image.digest}")

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.seen]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
