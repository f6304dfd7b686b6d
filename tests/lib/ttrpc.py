"""The guest's other services for tests, written from the wire format alone: a ttrpc server as the confidential-data-hub and the
attestation agent answer, and a REST server as api-server-rest does."""

import http.server
import os
import socket
import struct
import threading
import time

OK, NOT_SUPPORTED, NOT_ENABLED = range(3)  # ExtendRuntimeMeasurement's results


class Refusal(Exception):
    """What a handler raises to answer with a status."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class Silence(Exception):
    """What a handler raises to answer nothing at all."""


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message: bytes) -> dict:
    """Field number -> value, the last one if there are several."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
    while at < len(message):
        tag = number()
        if tag & 7 == 0:
            found[tag >> 3] = number()
        else:
            assert tag & 7 == 2, "only varints and bytes are used"
            length = number()
            found[tag >> 3] = message[at:at + length]
            at += length
    return found


class Server:
    """A ttrpc server at `path`, or with None on a free TCP port of the loopback (port), for guests; `methods`: (service, method) ->
    function from payload to payload, which may raise Refusal or Silence.
    calls: (service, method, payload) in the order of arrival. raw: bytes that are sent instead of any answer."""

    def __init__(self, path, methods: dict):
        self.path, self.methods, self.calls, self.raw = path and os.fspath(path), methods, [], None
        self.ended = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.listener.bind(self.path or ("127.0.0.1", 0))
        self.port = None if path else self.listener.getsockname()[1]
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            self._talk(client)
        except (BrokenPipeError, ConnectionResetError):  # a client that hangs up is what many tests are about
            pass

    def _talk(self, client):
        with client, client.makefile("rwb") as stream:
            while (header := stream.read(10)) and len(header) == 10:
                length, stream_id, kind, _ = struct.unpack(">IIBB", header)
                request = fields(stream.read(length))
                assert kind == 1 and stream_id % 2 == 1
                call = (request[1].decode(), request[2].decode(), request.get(3, b""))
                self.calls.append(call)
                try:
                    if self.raw is not None:
                        stream.write(self.raw)
                        return
                    answer = self._answer(*call)
                    stream.write(struct.pack(">IIBB", len(answer), stream_id, 2, 0) + answer)
                    stream.flush()
                except Silence:
                    self.ended.wait(60)
                    return

    def _answer(self, service, method, payload) -> bytes:
        function = self.methods.get((service, method))
        try:
            if function is None:
                raise Refusal(12, f"/{service}/{method} is not supported")
            return field(2, function(payload))
        except Refusal as refusal:
            return field(1, field(1, refusal.code) + field(2, refusal.message.encode()))

    def stop(self):
        self.ended.set()
        self.listener.shutdown(socket.SHUT_RDWR)  # closing alone does not end accept()
        self.listener.close()
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Client:
    """A ttrpc client of the service at `address`: a path, or (host, port) where something carries it there."""

    def __init__(self, address, timeout: float = 60):
        if isinstance(address, tuple):
            self.socket = socket.create_connection(address, timeout)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(os.fspath(address))
        self.stream, self.next_id = self.socket.makefile("rwb"), 1

    def call(self, service: str, method: str, payload: bytes = b"", timeout: float | None = None) -> bytes:
        """The answer's payload; raises Refusal with the status that came instead."""
        request = field(1, service.encode()) + field(2, method.encode()) + field(3, payload)
        if timeout:
            request += field(4, int(timeout * 1e9))
        stream_id, self.next_id = self.next_id, self.next_id + 2
        self.stream.write(struct.pack(">IIBB", len(request), stream_id, 1, 0) + request)
        self.stream.flush()
        header = self.stream.read(10)
        if len(header) < 10:
            raise ConnectionError("the service hung up")
        length, answered, kind, _ = struct.unpack(">IIBB", header)
        assert (answered, kind) == (stream_id, 2), (answered, kind)
        answer = fields(self.stream.read(length))
        status = fields(answer.get(1, b""))
        if status.get(1, OK) != OK:
            raise Refusal(status[1], status.get(2, b"").decode(errors="replace"))
        return answer.get(2, b"")

    def close(self):
        self.stream.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def kbs(path: str) -> str:
    """The URI of a resource "repository/type/tag"."""
    return "kbs:///" + path


class Hub(Server):
    """A confidential-data-hub. resources: "repository/type/tag" -> bytes, or a function that makes them (or sleeps, or raises).
    asked: the resources asked for, in that order."""

    def __init__(self, path, resources: dict | None = None):
        self.resources, self.asked = dict(resources or {}), []
        super().__init__(path, {("api.GetResourceService", "GetResource"): self._resource,
                                ("api.SealedSecretService", "UnsealSecret"): lambda payload: field(1, b"secret"),
                                ("keyprovider.KeyProviderService", "UnWrapKey"): lambda payload: payload})

    def _resource(self, payload: bytes) -> bytes:
        uri = fields(payload)[1].decode()
        name = uri.removeprefix("kbs:///")
        self.asked.append(name)
        value = self.resources.get(name)
        if value is None:
            raise Refusal(13, f"[CDH] [ERROR]: Get Resource failed: {name}")
        return field(1, value() if callable(value) else value)


class Agent(Server):
    """An attestation agent. answer: a result number, or an exception to raise. events: (domain, operation, content)."""

    def __init__(self, path, answer=OK):
        self.answer, self.events = answer, []
        super().__init__(path, {("attestation_agent.AttestationAgentService", "ExtendRuntimeMeasurement"): self._extend})

    def _extend(self, payload: bytes) -> bytes:
        request = fields(payload)
        assert set(request) == {1, 2, 3}
        self.events.append(tuple(request[number].decode() for number in (1, 2, 3)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return field(1, self.answer)


class Rest:
    """api-server-rest on a free loopback port. resources as in Hub; a value may also be (status, bytes). endpoint: its base URL.
    asked: the paths asked for."""

    def __init__(self, resources: dict | None = None):
        rest = self
        self.resources, self.asked = dict(resources or {}), []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                rest.asked.append(self.path)
                value = rest.resources.get(self.path.removeprefix("/cdh/resource/"), (500, b"Get Resource failed"))
                status, body = value if isinstance(value, tuple) else (200, value() if callable(value) else value)
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/octet-stream")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def slow(seconds: float = 60):
    """A resource that takes its time."""
    def wait():
        time.sleep(seconds)
        return b"too late"
    return wait
