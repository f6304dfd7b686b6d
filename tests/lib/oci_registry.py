"""A registry in memory that conforms to distribution-spec 1.1, as that specification's own test suite finds (test_referrers_registries.py); Debian's docker-registry
has no referrers API. Real cosign pushes to it."""

import hashlib
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


def is_digest_of(digest: str, data: bytes) -> bool:
    algorithm, _, name = digest.partition(":")
    return algorithm in ("sha256", "sha512") and hashlib.new(algorithm, data).hexdigest() == name


class OciRegistry(Http):
    """Use as a context manager. page: entries of a page of referrers (None: one page). typed: whether the list says what its entries are.
    delay: seconds before each answer, which is how far away it is. seen: every request as "METHOD /path?query". blobs, manifests, tags: what it holds, to be changed by tests."""

    has_referrers = True

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

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

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
        for pattern, handler in ((NAME + r"/blobs/uploads/?(.*)", self._upload), (NAME + r"/blobs/(.+)", self._blob), (NAME + r"/tags/(list)", self._tags),
                                 (NAME + r"/manifests/(.+)", self._manifest), (NAME + r"/referrers/(.+)", self._referrers)):
            if found := re.fullmatch(pattern, path):
                return handler(method, found[1], found[2], query, headers, body)
        return self._no("UNSUPPORTED")

    @staticmethod
    def _no(code: str, status: int = 404):
        return status, {"Content-Type": "application/json"}, json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()

    def _upload(self, method, repository, upload, query, headers, body):
        place = f"/v2/{repository}/blobs/uploads/"
        if method == "POST":
            if query.get("mount") in self.blobs:
                return self._stored(repository, query["mount"])
            if "digest" in query:
                return self._store(repository, query["digest"], body)
            upload = uuid.uuid4().hex
            self.uploads[upload] = b""
            return 202, {"Location": place + upload}, b""
        if upload not in self.uploads:
            return self._no("BLOB_UPLOAD_UNKNOWN")
        data = self.uploads[upload]
        if method == "DELETE":
            del self.uploads[upload]
            return 204, {}, b""
        part = headers.get("Content-Range")
        if part and part != f"{len(data)}-{len(data) + len(body) - 1}":
            return self._no("BLOB_UPLOAD_INVALID", 416)
        data += body
        if method == "PUT":
            del self.uploads[upload]
            return self._store(repository, query.get("digest", ""), data)
        self.uploads[upload] = data
        return 202 if method == "PATCH" else 204, {"Location": place + upload, "Range": f"0-{max(len(data) - 1, 0)}"}, b""

    def _store(self, repository, digest, data):
        if not is_digest_of(digest, data):
            return self._no("DIGEST_INVALID", 400)
        self.blobs[digest] = data
        return self._stored(repository, digest)

    @staticmethod
    def _stored(repository, digest):
        return 201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}, b""

    def _blob(self, method, repository, digest, query, headers, body):
        if digest not in self.blobs:
            return self._no("BLOB_UNKNOWN")
        if method == "DELETE":
            del self.blobs[digest]
            return 202, {}, b""
        blob, fields = self.blobs[digest], {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        if not (wanted := re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", headers.get("Range", ""))):
            return 200, fields, blob
        start, end = int(wanted[1]), min(int(wanted[2] or len(blob) - 1), len(blob) - 1)
        if start > end:
            return 416, {"Content-Range": f"bytes */{len(blob)}"}, b""
        return 206, {**fields, "Content-Range": f"bytes {start}-{end}/{len(blob)}"}, blob[start:end + 1]

    def _tags(self, method, repository, _, query, headers, body):
        names = sorted(tag for place, tag in self.tags if place == repository and tag > query.get("last", ""))
        if not any(place == repository for place, _ in self.manifests):
            return self._no("NAME_UNKNOWN")
        some = names[:int(query["n"])] if "n" in query else names
        more = {"Link": f'</v2/{repository}/tags/list?n={len(some)}&last={some[-1]}>; rel="next"'} if 0 < len(some) < len(names) else {}
        return 200, {"Content-Type": "application/json", **more}, json.dumps({"name": repository, "tags": some}).encode()

    def _manifest(self, method, repository, name, query, headers, body):
        if method == "PUT":
            return self._put_manifest(repository, name, headers, body)
        digest = self.tags.get((repository, name), name)
        if (repository, digest) not in self.manifests:
            return self._no("MANIFEST_UNKNOWN")
        if method == "DELETE":
            for place, tag in [key for key, value in self.tags.items() if key == (repository, name) or (key[0] == repository and value == name)]:
                del self.tags[place, tag]
            if name == digest:
                del self.manifests[repository, digest]
            return 202, {}, b""
        kind, data = self.manifests[repository, digest]
        return 200, {"Content-Type": kind, "Docker-Content-Digest": digest}, data

    def _put_manifest(self, repository, name, headers, body):
        digest = name if ":" in name else digest_of(body)
        try:
            subject = json.loads(body).get("subject")
        except ValueError:
            return self._no("MANIFEST_INVALID", 400)
        if not is_digest_of(digest, body):
            return self._no("DIGEST_INVALID", 400)
        self.manifests[repository, digest] = (headers["Content-Type"], body)
        if name != digest:
            self.tags[repository, name] = digest
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
                entry["artifactType"] = document.get("artifactType") or document.get("config", {}).get("mediaType", "")
                entry["annotations"] = document.get("annotations", {})
            entries.append(entry)
        more = {}
        if self.typed and "artifactType" in query:
            entries = [entry for entry in entries if entry["artifactType"] == query["artifactType"]]
            more = {"OCI-Filters-Applied": "artifactType"}
        first = int(query.get("first", 0))
        some = entries[first:first + self.page] if self.page else entries
        if self.page and first + self.page < len(entries):
            more["Link"] = f'</v2/{repository}/referrers/{digest}?first={first + self.page}>; rel="next"'
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
    if not registry.has_referrers:
        tag = digest.replace(":", "-")
        old = registry.get_manifest(repository, tag)
        entries = json.loads(old)["manifests"] if old else []
        entries.append({"mediaType": MANIFEST, "digest": own, "size": len(data), **({"artifactType": listed} if listed else {})})
        registry.put_manifest(repository, tag, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX)
    return own
