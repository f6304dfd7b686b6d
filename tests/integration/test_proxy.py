"""Proxies: http and https through an HTTP proxy and through SOCKS, no_proxy, and what a proxy gets to see."""

import os
import select
import socket
import socketserver
import struct
import threading

import pytest

from lib import *
from settings import write_config


class Proxy:
    """Answers GET of absolute URLs, CONNECT, and SOCKS5 on one port; `seen` has what it was told. `refuse`: an answer to everything."""

    def __init__(self, refuse: bytes | None = None):
        self.seen: list[str] = []
        self.heads: list[bytes] = []
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                first = self.request.recv(1, socket.MSG_PEEK)
                if first == b"\x05":
                    proxy.socks(self.request)
                elif first:
                    proxy.http(self.request, refuse)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def http(self, client, refuse):
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(65536)
            if not more:
                return
            head += more
        self.heads.append(head)
        method, target = head.split(b" ")[:2]
        self.seen.append(f"{method.decode()} {target.decode()}")
        if refuse:
            client.sendall(refuse)
            return
        if method == b"CONNECT":
            host, port = target.decode().rsplit(":", 1)
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
                relay(client, server)
            return
        host, path = target.decode().removeprefix("http://").split("/", 1)
        with socket.create_connection((host.split(":")[0], int(host.split(":")[1]))) as server:
            server.sendall(head.replace(target, b"/" + path.encode(), 1).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            relay(client, server)

    def socks(self, client):
        client.recv(1 + 1 + 255)
        client.sendall(b"\x05\x00")
        request = client.recv(300)
        if request[3] == 1:
            host, rest = socket.inet_ntoa(request[4:8]), request[8:]
        else:
            host, rest = request[5:5 + request[4]].decode(), request[5 + request[4]:]
        port = struct.unpack(">H", rest[:2])[0]
        self.seen.append(f"SOCKS {host}:{port}")
        with socket.create_connection((host, port)) as server:
            client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            relay(client, server)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def relay(a, b):
    while True:
        ready, _, _ = select.select([a, b], [], [], 30)
        if not ready:
            return
        for here in ready:
            data = here.recv(65536)
            if not data:
                return
            (b if here is a else a).sendall(data)


def pull(work, name, server, *, check: int | None = 0, **own):
    config = write_config(work / "config.toml", {}, own)
    policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
    return work.pull(name, "--config", config, policy=policy, registry=server, check=check)


def image() -> Image:
    return Image([Layer([File("hello", "hi"), File("noise", os.urandom(100_000))])])


def test_http(work, fake_registry):
    name = fake_registry.add(image(), "app", "1")
    with Proxy() as proxy:
        pull(work, name, fake_registry, http_proxy=f"http://{proxy.place}")
        assert len(proxy.seen) == len(fake_registry.seen) >= 3 and proxy.seen[0] == f"GET http://{fake_registry.host}/v2/app/manifests/1"


def test_https_is_tunnelled_and_the_proxy_sees_no_credentials(work, registry_tls):
    repository = work.repository()
    name = image().push(registry_tls, repository, "1")
    with Proxy() as proxy:
        pull(work, name, registry_tls, https_proxy=f"http://u:secret@{proxy.place}", http_proxy="http://127.0.0.1:1")
        assert set(proxy.seen) == {f"CONNECT {registry_tls.host}"}
        assert all(b"Proxy-Authorization: Basic dTpzZWNyZXQ=" in head and b"\r\nAuthorization" not in head for head in proxy.heads)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks(scheme, work, registry_tls):
    name = image().push(registry_tls, work.repository(), "1")
    with Proxy() as proxy:
        pull(work, name, registry_tls, https_proxy=f"{scheme}://{proxy.place}")
        assert set(proxy.seen) == {f"SOCKS {registry_tls.host}"}


@pytest.mark.parametrize("except_", ["127.0.0.1", "other.example,127.0.0.0/8", "*"])
def test_no_proxy(except_, work, fake_registry):
    name = fake_registry.add(image(), "app", "1")
    with Proxy() as proxy:
        pull(work, name, fake_registry, http_proxy=f"http://{proxy.place}", no_proxy=except_)
        assert proxy.seen == []


def test_the_environment_names_no_proxy(work, fake_registry):
    name = fake_registry.add(image(), "app", "1")
    with Proxy() as proxy:
        policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
        work.pull(name, policy=policy, registry=fake_registry, env={"http_proxy": f"http://{proxy.place}", "ALL_PROXY": f"http://{proxy.place}"})
        assert proxy.seen == []


def test_keys_of_the_confidential_data_hub(work, fake_registry):
    name = fake_registry.add(image(), "app", "1")
    with Proxy() as proxy:
        config = write_config(work / "cdh.toml", {"image_pull_proxy": {"http_proxy": f"http://u:secret@{proxy.place}", "https_proxy": ""}}, {})
        policy = write_policy(work / "policy.json", default={"type": "insecureAcceptAnything"})
        work.pull(name, "--config", config, policy=policy, registry=fake_registry)
        assert proxy.seen and all(b"Proxy-Authorization" in head for head in proxy.heads)
        shown = guest_pull("config", "show", "--config", config).stdout
        assert "secret" not in shown and f"http://***@{proxy.place}" in shown


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
                                    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b"nonsense\r\n\r\n"])
def test_a_proxy_that_refuses(answer, work, registry_tls):
    name = image().push(registry_tls, work.repository(), "1")
    with Proxy(refuse=answer) as proxy:
        refused = pull(work, name, registry_tls, https_proxy=f"http://{proxy.place}", check=NETWORK)
        assert proxy.seen and registry_tls.host in refused.message and not mounts_below(work)


@pytest.mark.parametrize("url", ["https://proxy:443", "ftp://proxy", "", "http://a b", "http://proxy?x"])
def test_what_is_no_proxy(url, work):
    config = write_config(work / "config.toml", {}, {"https_proxy": url})
    refused = guest_pull("config", "show", "--json", "--config", config, check=USAGE)
    assert "https_proxy: must be" in refused.message
