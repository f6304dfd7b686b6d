"""TLS and HTTP/2 that are wrong: certificates of other names, times and CAs, downgrades to plain HTTP, streams and connections that the server gives up.
`guest-pull verify` asks for a manifest and nothing else; the policy accepts anything, so that only the transport decides."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lib import ACCEPT_ANYTHING, AUTH, CANCELLED, INVALID, NETWORK, OK, FakeRegistry, File, Image, Layer, write_policy

REPOSITORY = "tls/image"


@pytest.fixture(scope="module")
def image():
    return Image([Layer([File("a", "a")], "none")])


# ---- certificates

def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A CA whose certificates are wrong in what `make` is told."""

    def __init__(self, name="CA"):
        self.name, self.key = name_of(name), ec.generate_private_key(ec.SECP256R1())
        self.pem = self.sign(name, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=None))

    def sign(self, name, public_key, *extensions, days=(-1, 10)):
        now = datetime.datetime.now(datetime.timezone.utc)
        start, end = (now + datetime.timedelta(days=day) for day in days)
        builder = x509.CertificateBuilder(issuer_name=self.name, subject_name=name_of(name), public_key=public_key,
                                          serial_number=x509.random_serial_number(), not_valid_before=start, not_valid_after=end)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def make(self, folder, name="127.0.0.1", days=(-1, 10), usage=x509.ExtendedKeyUsageOID.SERVER_AUTH, stem="server"):
        """Paths of certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            general = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            general = x509.DNSName(name)
        pem = self.sign("127.0.0.1", key.public_key(), x509.SubjectAlternativeName([general]), x509.ExtendedKeyUsage([usage]), days=days)
        (folder / f"{stem}.cert").write_bytes(pem)
        (folder / f"{stem}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return folder / f"{stem}.cert", folder / f"{stem}.key"


@pytest.fixture
def authority(work):
    (work / "trusted").mkdir()
    made = Authority()
    (work / "trusted/ca.crt").write_bytes(made.pem)
    return made


@contextlib.contextmanager
def tls_registry(context, image):
    with FakeRegistry() as fake:
        plain, fake.server.socket = fake.server.socket, context.wrap_socket(fake.server.socket, server_side=True)
        assert plain.fileno() == -1  # detached
        fake.add(image, REPOSITORY, "latest")
        yield fake


def server_context(pair, alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def ask(work, host, status, words, *more, seconds=8):
    policy = write_policy(work / "policy.json", {host: ACCEPT_ANYTHING})
    done = work.verify(f"{host}/{REPOSITORY}:latest", "--cert-dir", work / "trusted", "--timeout", str(seconds), *more, policy=policy, check=None)
    assert done.status == status and words in done.message, done
    return done


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("case, status, words", [
    ("right", OK, ""), ("another name", NETWORK, "127.0.0.1"), ("expired", NETWORK, "certificate has expired"), ("of tomorrow", NETWORK, "not yet valid"),
    ("unknown CA", NETWORK, "unable to get local issuer"), ("for clients", NETWORK, "certificate purpose"), ("old TLS", NETWORK, "protocol")])
def test_server_certificate(case, status, words, work, authority, image):
    signer = Authority("another CA") if case == "unknown CA" else authority
    options = {"another name": {"name": "other.example"}, "expired": {"days": (-3, -1)}, "of tomorrow": {"days": (1, 3)},
               "for clients": {"usage": x509.ExtendedKeyUsageOID.CLIENT_AUTH}}.get(case, {})
    context = server_context(signer.make(work, **options))
    if case == "old TLS":
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with tls_registry(context, image) as fake:
        ask(work, fake.host, status, words)
        assert bool(fake.seen) == (status == OK)  # nobody who is not known is asked anything


@pytest.mark.parametrize("shown, status", [("none", NETWORK), ("right", OK), ("of another CA", NETWORK)])
def test_client_certificate(shown, status, work, authority, image):
    context = server_context(authority.make(work))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(work / "trusted/ca.crt")
    if shown != "none":
        signer = authority if shown == "right" else Authority("another CA")
        signer.make(work / "trusted", "client.example", usage=x509.ExtendedKeyUsageOID.CLIENT_AUTH, stem="client")
    with tls_registry(context, image) as fake:
        ask(work, fake.host, status, "")


def test_plain_http_where_tls_is_expected(work, authority, image):
    with FakeRegistry() as fake:
        fake.add(image, REPOSITORY, "latest")
        assert "--plain-http HOST" in ask(work, fake.host, NETWORK, "SSL", "--json").json["error"]["detail"]
        assert not fake.seen


@pytest.mark.parametrize("place, status, words", [
    ("redirect", INVALID, "from https to plain http"), ("token", AUTH, "over plain http")])
def test_no_way_down_from_https(place, status, words, work, authority, image):
    """Not even to a host to which plain http is allowed."""
    with tls_registry(server_context(authority.make(work)), image) as fake, FakeRegistry() as other:
        path = f"/v2/{REPOSITORY}/manifests/latest"
        fake.answers[path] = (302, {"Location": f"http://{other.host}/m"}, b"") if place == "redirect" else (
            401, {"WWW-Authenticate": f'Bearer realm="http://{other.host}/token"'}, b"")
        ask(work, fake.host, status, words, "--plain-http", other.host)
        assert not other.seen


# ---- HTTP/2 (RFC 9113), as much as it takes to misbehave

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4


class Http2Server:
    """answer(server, connection, stream, number) is called for each request, counted from 0 over all connections."""

    def __init__(self, pair, answer):
        self.answer, self.asked = answer, 0
        self.context = server_context(pair, ["h2"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, plain):
        with contextlib.suppress(OSError, EOFError), self.context.wrap_socket(plain, server_side=True) as connection:
            assert connection.selected_alpn_protocol() == "h2"
            connection.settimeout(20)
            stream = connection.makefile("rb")
            assert stream.read(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            self.send(connection, SETTINGS, 0, 0)
            while frame := stream.read(9):
                length, kind, flags, number = int.from_bytes(frame[:3], "big"), frame[3], frame[4], int.from_bytes(frame[5:9], "big")
                stream.read(length)
                if kind == SETTINGS and not flags & ACK:
                    self.send(connection, SETTINGS, ACK, 0)
                if kind == HEADERS:
                    self.asked += 1
                    if self.answer(self, connection, number, self.asked - 1) == "hang up":
                        return

    @staticmethod
    def send(connection, kind, flags, stream, payload=b""):
        connection.sendall(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)

    def headers(self, connection, stream, fields, flags=END_HEADERS):
        """HPACK (RFC 7541): status 200 of the static table, literals that are not indexed."""
        block = b"\x88" + b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields.items())
        self.send(connection, HEADERS, flags, stream, block)

    def good(self, connection, stream, image):
        self.headers(connection, stream, {b"content-type": image.media_type.encode()})
        self.send(connection, DATA, END_STREAM, stream, image.manifest)

    def stop(self):
        self.listener.close()


def reset(server, connection, stream, image):
    server.send(connection, RST, 0, stream, struct.pack(">I", 2))


def refuse_stream(server, connection, stream, image):
    server.send(connection, RST, 0, stream, struct.pack(">I", 7))


def go_away(server, connection, stream, image):
    server.send(connection, GOAWAY, 0, 0, struct.pack(">II", 0, 0))
    return "hang up"


def hang_up(server, connection, stream, image):
    return "hang up"


def reset_in_body(server, connection, stream, image):
    server.headers(connection, stream, {b"content-type": image.media_type.encode()})
    server.send(connection, DATA, 0, stream, image.manifest[:20])
    server.send(connection, RST, 0, stream, struct.pack(">I", 2))


def cut_in_body(server, connection, stream, image):
    server.headers(connection, stream, {b"content-type": image.media_type.encode()})
    server.send(connection, DATA, 0, stream, image.manifest[:20])
    return "hang up"


def shorter_than_said(server, connection, stream, image):
    server.headers(connection, stream, {b"content-length": str(len(image.manifest)).encode()})
    server.send(connection, DATA, END_STREAM, stream, image.manifest[:20])


def pings(server, connection, stream, image):
    while True:
        server.send(connection, PING, 0, 0, b"12345678" * 1)
        threading.Event().wait(0.01)


def continuations(server, connection, stream, image):
    """CVE-2024-28182: a header that goes on and on."""
    server.headers(connection, stream, {}, 0)
    while True:
        server.send(connection, CONTINUATION, 0, stream, (b"\x00\x01x\x7f\x01" + b"y" * 128) * 100)


def garbage(server, connection, stream, image):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 10)
    return "hang up"


@pytest.mark.parametrize("fault, for_ever", [
    (reset, NETWORK), (refuse_stream, NETWORK), (go_away, NETWORK), (hang_up, NETWORK), (reset_in_body, NETWORK), (cut_in_body, NETWORK),
    (shorter_than_said, NETWORK), (garbage, NETWORK)], ids=lambda value: getattr(value, "__name__", ""))
def test_http2_faults(fault, for_ever, work, authority, image):
    """Once: the next try brings the manifest. For ever: the pull gives up."""
    pair = authority.make(work)
    for times, status in ((0, OK), (1, OK), (1000, for_ever)):
        server = Http2Server(pair, lambda s, c, stream, n, times=times: fault(s, c, stream, image) if n < times else s.good(c, stream, image))
        try:
            ask(work, server.host, status, "")
        finally:
            server.stop()
        assert server.asked == 1 if times == 0 else server.asked >= 2


@pytest.mark.parametrize("fault, statuses", [(pings, {CANCELLED, NETWORK}), (continuations, {NETWORK})], ids=["pings", "continuations"])
def test_http2_floods_end(fault, statuses, work, authority, image):
    server = Http2Server(authority.make(work), lambda s, c, stream, n: fault(s, c, stream, image))
    policy = write_policy(work / "policy.json", {server.host: ACCEPT_ANYTHING})
    try:
        done = work.verify(f"{server.host}/{REPOSITORY}:latest", "--cert-dir", work / "trusted", "--timeout", "3", policy=policy, check=None)
    finally:
        server.stop()
    assert done.status in statuses, done
