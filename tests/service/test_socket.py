"""The sockets: who may connect, what lies there already, systemd's activation, status and metrics."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from conftest import BUILD, FAKE, wait_for

pytestmark = pytest.mark.quick


def test_only_root_may_connect(service):
    service.start()
    assert service.socket.stat().st_mode & 0o777 == 0o600
    service.directory.chmod(0o755)
    service.socket.chmod(0o777)  # the mode is one lock, the peer's credentials are the other
    run = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c",
                          "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]);"
                          "print(s.recv(1))", service.socket], capture_output=True, text=True)
    assert run.stdout == "b''\n", run.stderr
    assert "turned away a connection of user 65534" in service.log_text()


def test_a_dead_socket_is_replaced(service):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(service.socket))
    stale.close()
    service.start()
    assert service.pull("example.com/ok", service.bundle())["code"] == 0


def test_a_socket_that_somebody_serves_is_not_taken(service):
    service.start()
    second = subprocess.run([BUILD / "bin/guest-pulld", f"--listen=unix:{service.socket}", "--log-format=text",
                             f"--status=unix:{service.directory}/s2"], capture_output=True, text=True)
    assert second.returncode == 2
    assert "another process serves this socket" in second.stderr
    assert service.pull("example.com/ok", service.bundle())["code"] == 0


def test_a_file_in_the_sockets_place_stays(service):
    service.socket.write_text("precious")
    service.start(wait=False)
    assert service.process.wait(5) == 2
    assert "there is something that is not a socket" in service.log_text()
    assert service.socket.read_text() == "precious"


def test_systemds_activation(service):
    script = ("import os,socket,sys\n"
              "a=socket.socket(socket.AF_UNIX); a.bind(sys.argv[1]); a.listen(8)\n"
              "b=socket.socket(socket.AF_UNIX); b.bind(sys.argv[2]); b.listen(8)\n"
              "os.dup2(b.fileno(), 10); os.dup2(a.fileno(), 11); os.dup2(10, 3); os.dup2(11, 4)\n"
              "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='status:cdh')\n"
              "os.execv(sys.argv[3], sys.argv[3:])")
    with open(service.log, "wb") as log:
        service.process = subprocess.Popen(
            [sys.executable, "-c", script, service.socket, service.status_socket, BUILD / "bin/guest-pulld",
             f"--guest-pull={FAKE}", f"--bundle-root={service.bundles}", "--upstream=none", "--log-format=json"],
            stderr=log)
    service.started.append(service.process)
    wait_for(lambda: "serves the supervisor's socket" in service.log_text(), "activation")
    assert service.pull("example.com/ok", service.bundle())["code"] == 0
    assert service.status()["pulls"]["totals"]["succeeded"] == 1
    service.stop()
    assert service.socket.exists()  # the supervisor's, not ours to remove


def test_sd_notify(service):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(service.directory / "notify"))
        supervisor.settimeout(5)
        service.start(environment={"NOTIFY_SOCKET": str(service.directory / "notify")})
        assert supervisor.recv(100) == b"READY=1"
        service.stop()
        assert supervisor.recv(100) == b"STOPPING=1"


def test_status(service):
    service.start()
    service.pull("example.com/policy", service.bundle("a"))
    service.peer_start("pull", "example.com/hang", service.bundle("b"))
    wait_for(lambda: service.status()["pulls"]["inFlight"], "the pull is at work")
    status = service.status()
    (pull,) = status["pulls"]["inFlight"]
    assert (pull["image"], pull["bundle"], pull["state"]) == ("example.com/hang", f"{service.bundles}/b", "pulling")
    assert 0 <= pull["ageSeconds"] < 5 and re.match(r"[0-9a-f]{8}-2$", pull["request"])
    assert status["pulls"]["totals"]["failedByCode"]["policy"] == 1
    assert (status["pulls"]["totals"]["asked"], status["pulls"]["totals"]["failed"]) == (2, 1)
    assert status["version"]


def test_prometheus_metrics(service):
    service.start()
    service.pull("example.com/policy", service.bundle())
    text = subprocess.run(["curl", "-s", "--unix-socket", service.status_socket, "http://x/metrics"], capture_output=True,
                          text=True, check=True).stdout
    assert 'guest_pull_pulls_total{result="failed"} 1\n' in text
    assert 'guest_pull_pull_failures_total{code="policy"} 1\n' in text
    assert "# TYPE guest_pull_pulls_in_flight gauge\nguest_pull_pulls_in_flight 0\n" in text


def test_a_client_that_only_reads_gets_the_status(service):
    service.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(service.status_socket))
        assert json.loads(b"".join(iter(lambda: client.recv(65536), b"")))["pulls"]["inFlight"] == []


def test_usage_errors(service):
    for option, words in {"--upstream=x": "not the address of a unix socket", "--max-parallel=99": "1 to 32", "--max-parallel=0": "1 to 32", "--timeout=0": "greater than 0",
                          "--bundle-root=x": "an absolute path", "--log-format=x": "not one of text, json, journald",
                          "stray": "only --exec-upstream takes arguments", "--nonsense": "Unknown option",
                          "--exec-upstream=x": "not an absolute path"}.items():
        run = subprocess.run([BUILD / "bin/guest-pulld", f"--listen=unix:{service.socket}", option], capture_output=True,
                             text=True)
        assert (run.returncode, words in run.stderr) == (2, True), run.stderr
    assert not service.socket.exists()
