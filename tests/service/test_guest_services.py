"""The puller's client functions against the Go servers."""

import json
import os
import subprocess
import sys
import threading

import pytest

from conftest import BUILD

CALL = BUILD / "tests/service/guest_services"
POLICY = '{"default":[{"type":"reject"}]}'


@pytest.fixture
def hub(service):
    folder = service.directory / "resources/default/policy"
    folder.mkdir(parents=True)
    (folder / "prod").write_text(POLICY)
    (folder / "empty").write_text("")
    service.start_hub(f"-resources={service.directory}/resources", f"-event-log={service.directory}/events")
    return service.upstream_socket


def ask(socket, what, deadline=2000, limit=1 << 20, kind="resource"):
    return subprocess.run([CALL, kind, str(socket), what, str(deadline), str(limit)], capture_output=True, text=True, timeout=30)


def test_a_resource(hub):
    run = ask(f"unix://{hub}", "kbs:///default/policy/prod")
    assert (run.returncode, run.stdout, run.stderr) == (0, POLICY, "")
    assert ask(hub, "kbs:///default/policy/empty").stdout == ""
    assert ask(hub, "kbs:///default/policy/prod", limit=len(POLICY)).stdout == POLICY


@pytest.mark.parametrize("uri, limit, status, words", [
    ("kbs:///default/policy/none", 1000, 13, "key: kbs:///default/policy/none: api.GetResourceService/GetResource at "),
    ("kbs:///default/policy/none", 1000, 13, "status 13: [CDH] [ERROR]: Get Resource failed: default/policy/none"),
    ("kbs:///default/policy/slow", 1000, 13, "key: kbs:///default/policy/slow: "),
    ("kbs:///default/policy/slow", 1000, 13, "no answer in time"),
    ("kbs:///default/policy/huge", 1000, 10, "limit: kbs:///default/policy/huge: "),
    ("kbs:///default/policy/prod", len(POLICY) - 1, 10, "limit: kbs:///default/policy/prod: "),
    ("kbs:default/policy/prod", 1000, 2, "not the URI of a KBS resource"),
    ("kbs:///", 1000, 2, "not the URI of a KBS resource"),
    ("kbs:///a b", 1000, 2, "not the URI of a KBS resource"),
    ("http://x/a", 1000, 2, "not the URI of a KBS resource"),
])
def test_a_resource_that_is_refused_is_named(hub, uri, limit, status, words):
    run = ask(hub, uri, deadline=500, limit=limit)
    assert (run.returncode, words in run.stderr) == (status, True), run.stderr
    assert run.stdout == ""


def test_nobody_there(service):
    run = ask(service.upstream_socket, "kbs:///default/policy/prod")
    assert run.returncode == 13
    assert "key: kbs:///default/policy/prod: " in run.stderr and "cannot connect: No such file or directory" in run.stderr


def test_a_service_that_is_not_ttrpc(service):
    import socket
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(service.upstream_socket))
        server.listen(8)

        def answer():
            for _ in range(8):
                client = server.accept()[0]
                client.recv(1000)
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                client.close()
        thread = threading.Thread(target=answer)
        thread.start()
        run = ask(service.upstream_socket, "kbs:///default/policy/prod")
        thread.join()
    assert run.returncode == 13 and "a frame of type" in run.stderr


def test_an_impostor_is_not_asked(service):
    """A server of another user: SO_PEERCRED says so."""
    service.directory.chmod(0o777)
    path = service.directory / "impostor.sock"
    server = subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c",
                               "import socket,sys,os\ns=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)\n"
                               "os.chmod(sys.argv[1], 0o777)\nwhile True: s.accept()[0].close()", str(path)])
    service.started.append(server)
    from conftest import answers, wait_for
    wait_for(lambda: answers(path), "the impostor listens")
    run = ask(path, "kbs:///default/policy/prod")
    assert run.returncode == 13 and "the server runs as user 65534, neither root nor ourselves" in run.stderr


def test_unwrap_key(hub):
    run = ask(hub, '{"op":"keyunwrap"}', kind="unwrap")
    assert (run.returncode, run.stdout) == (0, '{"op":"keyunwrap"}')  # the test server gives back what it gets


def test_through_the_service_as_well(service, hub):
    service.start()
    assert ask(service.socket, "kbs:///default/policy/prod").stdout == POLICY


def test_measurement(service, hub):
    content = '{"digest":"sha256:aa","image":"example.com/a:1"}'
    run = subprocess.run([CALL, "extend", hub, "PullImage", content], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr
    assert json.loads((service.directory / "events").read_text()) == ["github.com/confidential-containers", "PullImage", content]


@pytest.mark.parametrize("answer, status, out", [(1, 0, "1\n"), (2, 0, "2\n"), (7, 9, ""), (-1, 9, "")])
def test_measurement_answers(service, answer, status, out):
    service.start_hub(f"-extend-result={answer}")
    run = subprocess.run([CALL, "extend", service.upstream_socket, "PullImage", "{}"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (status, out), run.stderr


def test_an_event_of_two_lines_is_refused(hub):
    run = subprocess.run([CALL, "extend", hub, "PullImage", "a\nb"], capture_output=True, text=True)
    assert run.returncode == 2 and "a measured event is one line" in run.stderr
    assert not os.path.exists(hub.parent / "events")
