"""A registry in memory that conforms to distribution-spec 1.1 as far as clients push, pull and list referrers; Debian's docker-registry
has no referrers API. Real cosign and oras push to it."""

import http.server
import json
import re
import threading
import time
import urllib.parse
import uuid

from image import INDEX, MANIFEST, digest_of
from registry import Http

EMPTY = "application/vnd.oci.empty.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
NAME = r"/v2/([a-z0-9._/-]+)"


class OciRegistry(Http):
    """Use as a context manager. page: entries of a page of referrers (None: one page). typed: whether the list says what its entries are.
    delay: seconds before each answer, which is how far away it is. seen: every request as "METHOD /path?query". blobs, manifests, tags: what it holds, to be changed by tests."""

    def __init__(self, page: int | None = None, typed: bool = True):
        self.page, self.typed, self.delay = page, typed, 0.0
        self.seen: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}  # (repository, digest) → (type, bytes)
        self.tags: dict[tuple[str, str], str] = {}
        self.uploads: dict[str, bytes] = {}
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                size = int(self.headers.get("Content-Length") or 0)
                body = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(size)
                registry.seen.append(f"{self.command} {self.path}")
                time.sleep(registry.delay)
                status, headers, answer = registry.answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            def _chunks(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    # ---- answers: (status, headers, body)

    def answer(self, method: str, target: str, headers, body: bytes):
        path, _, query = target.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        if path.rstrip("/") == "/v2":
            return 200, {"Content-Type": "application/json"}, b"{}"
        for pattern, handler in ((NAME + r"/blobs/uploads/?(.*)", self._upload), (NAME + r"/blobs/(.+)", self._blob),
                                 (NAME + r"/manifests/(.+)", self._manifest), (NAME + r"/referrers/(.+)", self._referrers)):
            if found := re.fullmatch(pattern, path):
                return handler(method, found[1], found[2], query, headers, body)
        return self._nothing("UNSUPPORTED")

    @staticmethod
    def _nothing(code: str):
        return 404, {"Content-Type": "application/json"}, json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()

    def _upload(self, method, repository, upload, query, headers, body):
        place = f"/v2/{repository}/blobs/uploads/"
        if method == "POST" and "digest" not in query:
            upload = uuid.uuid4().hex
            self.uploads[upload] = b""
            return 202, {"Location": place + upload}, b""
        data = self.uploads.get(upload, b"") + body
        if method == "PATCH":
            self.uploads[upload] = data
            return 202, {"Location": place + upload, "Range": f"0-{len(data) - 1}"}, b""
        if digest_of(data) != query.get("digest"):
            return 400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}'
        self.blobs[query["digest"]] = data
        return 201, {"Location": f"/v2/{repository}/blobs/{query['digest']}", "Docker-Content-Digest": query["digest"]}, b""

    def _blob(self, method, repository, digest, query, headers, body):
        if digest not in self.blobs:
            return self._nothing("BLOB_UNKNOWN")
        return 200, {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}, self.blobs[digest]

    def _manifest(self, method, repository, name, query, headers, body):
        if method != "PUT":
            digest = self.tags.get((repository, name), name)
            if (repository, digest) not in self.manifests:
                return self._nothing("MANIFEST_UNKNOWN")
            kind, data = self.manifests[repository, digest]
            return 200, {"Content-Type": kind, "Docker-Content-Digest": digest}, data
        digest = digest_of(body)
        self.manifests[repository, digest] = (headers["Content-Type"], body)
        if name != digest:
            self.tags[repository, name] = digest
        subject = json.loads(body).get("subject")
        more = {"OCI-Subject": subject["digest"]} if subject else {}
        return 201, {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest, **more}, b""

    def _referrers(self, method, repository, digest, query, headers, body):
        entries = []
        for (place, name), (kind, data) in list(self.manifests.items()):
            document = json.loads(data)
            if place != repository or (document.get("subject") or {}).get("digest") != digest:
                continue
            entry = {"mediaType": kind, "digest": name, "size": len(data)}
            if self.typed:
                entry["artifactType"] = document.get("artifactType") or document["config"]["mediaType"]
                entry["annotations"] = document.get("annotations", {})
            entries.append(entry)
        first = int(query.get("first", 0))
        some = entries[first:first + self.page] if self.page else entries
        more = {}
        if self.page and first + self.page < len(entries):
            more = {"Link": f'</v2/{repository}/referrers/{digest}?first={first + self.page}>; rel="next"'}
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": some}
        return 200, {"Content-Type": INDEX, **more}, json.dumps(document).encode()

    # ---- for tests

    def mark(self) -> int:
        return len(self.seen)

    def since(self, mark: int) -> list[str]:
        return self.seen[mark:]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def attach_bundle(registry, repository: str, digest: str, bundle: dict | bytes, subject: str | None = None, listed: str | None = None) -> str:
    """Attaches a bundle as cosign 3 does: a referrer; in a registry without that API also an entry of the fallback tag, which says
    artifactType `listed`. Returns the digest of the referrer."""
    blob = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE_TYPE,
                "config": {"mediaType": EMPTY, "digest": registry.put_blob(repository, b"{}"), "size": 2},
                "layers": [{"mediaType": BUNDLE_TYPE, "digest": registry.put_blob(repository, blob), "size": len(blob)}],
                "subject": {"mediaType": MANIFEST, "digest": subject or digest, "size": 1},
                "annotations": {"dev.sigstore.bundle.content": "dsse-envelope"}}
    data = json.dumps(manifest).encode()
    own = registry.put_manifest(repository, digest_of(data), data, MANIFEST)
    if not isinstance(registry, OciRegistry):
        tag = digest.replace(":", "-")
        old = registry.get_manifest(repository, tag)
        entries = json.loads(old)["manifests"] if old else []
        entries.append({"mediaType": MANIFEST, "digest": own, "size": len(data), **({"artifactType": listed} if listed else {})})
        registry.put_manifest(repository, tag, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX)
    return own
