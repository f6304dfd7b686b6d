"""Real servers on loopback: nginx in front of docker-registry with HTTP/2 and redirects; and a server that cuts each connection after 10 MB."""

import os
import random
import shutil
import socket
import subprocess
import time

import pytest
from hostile_registry import head, raw
from lib import ACCEPT_ANYTHING, FakeRegistry, File, Image, Index, Layer, free_port, make_certificates, write_policy

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


# ---- an image that was built twice

def test_of_two_builds_the_one_that_says_zstd(work, registry):
    """As podman pushes them with --add-compression zstd: the same platform, the second one annotated."""
    images = [Image([Layer([File("hello", "hi")], how)]) for how in ("gzip", "zstd")]

    def annotate(document):
        document["manifests"][1]["annotations"] = {"io.github.containers.compression.zstd": "true"}

    name = Index(images, edit=annotate).push(registry, work.repository(), "twice")
    policy = write_policy(work / "policy.json", {registry.host: ACCEPT_ANYTHING})
    assert work.pull(name, policy=policy, registry=registry).json["manifestDigest"] == images[1].digest


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
