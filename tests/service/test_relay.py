"""Everything that is not an image pull goes to the real confidential-data-hub and back, unchanged."""

import os
import subprocess
import time

import pytest

from conftest import wait_for

UNSEAL = ("api.SealedSecretService", "UnsealSecret", b"sealed.abc")
SECRET = b"a-plaintext-that-no-log-may-hold"


def test_a_relayed_call(service):
    service.start_hub()
    service.start()
    answer = service.call(*UNSEAL)
    assert (answer["code"], bytes.fromhex(answer["reply"])) == (0, b"cba.delaes")


def test_the_upstreams_own_errors_come_through(service):
    service.start_hub()
    service.start()
    answer = service.call("api.GetResourceService", "GetResource", b"kbs:///default/no/thing")
    assert (answer["code"], answer["message"]) == (13, "[CDH] [ERROR]: Get Resource failed: default/no/thing")
    assert service.call("api.NoSuchService", "Nothing")["code"] != 0


def test_image_pulls_never_reach_the_upstream(service):
    service.start_hub()
    service.start()
    assert service.pull("example.com/policy", service.bundle())["code"] == 13
    answer = service.call("api.ImagePullService", "PullOther")
    assert (answer["code"], answer["message"]) == (12, "guest-pulld: /api.ImagePullService/PullOther is not served here")


def test_without_an_upstream_other_services_are_unknown(service):
    service.start(upstream=False)
    answer = service.call(*UNSEAL)
    assert (answer["code"], answer["message"]) == (
        3, "guest-pulld: /api.SealedSecretService/UnsealSecret is not served here")


def test_upstream_down_is_unavailable_and_tried_again_with_the_next_request(service):
    service.start()
    answer = service.call(*UNSEAL)
    assert answer["code"] == 14
    assert f"the confidential-data-hub at {service.upstream_socket} cannot be reached: No such file" in answer["message"]
    hub = service.start_hub()
    assert service.call(*UNSEAL)["code"] == 0
    hub.kill()
    hub.wait()
    assert service.call(*UNSEAL)["code"] == 14
    service.start_hub()
    assert service.call(*UNSEAL)["code"] == 0


def test_upstream_killed_with_requests_in_flight(service):
    hub = service.start_hub()
    service.start()
    client = service.peer_start("call", "api.GetResourceService", "GetResource", b"kbs:///default/slow/slow".hex())
    wait_for(lambda: service.status()["server"]["relayed"] == 1, "the request is relayed")
    time.sleep(0.2)
    hub.kill()
    out, _ = client.communicate(timeout=5)
    assert '"code":14' in out and "the other side closed the connection" in out


def test_an_upstream_that_hangs_is_a_deadline(service):
    service.start_hub()
    service.start()
    answer = service.peer("call", "-timeout=2s", "api.GetResourceService", "GetResource",
                          b"kbs:///default/slow/slow".hex())
    assert answer["seconds"] < 3  # the client's own limit, or ours: both say 4
    assert answer["code"] in (2, 4)


def test_a_resource_of_four_megabytes(service):
    service.start_hub()
    service.start()
    answer = service.call("api.GetResourceService", "GetResource", b"kbs:///default/a/huge")
    assert (answer["code"], len(answer["reply"]) // 2) == (0, (4 << 20) - 64)


@pytest.mark.skipif("asan" in os.environ.get("BUILD", ""), reason="a sanitizer keeps what is freed")
def test_secrets_are_in_no_log_and_not_in_memory_afterwards(service):
    service.start_hub()
    service.start("--verbose")
    assert bytes.fromhex(service.call("api.SealedSecretService", "UnsealSecret", SECRET[::-1])["reply"]) == SECRET
    time.sleep(0.2)
    assert SECRET.decode() not in service.log_text()
    needles = (SECRET, SECRET[::-1])
    with open(f"/proc/{service.process.pid}/maps") as maps, open(f"/proc/{service.process.pid}/mem", "rb") as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "rw" not in line.split()[1] or "[v" in line:
                continue
            memory.seek(start)
            content = memory.read(end - start)
            assert not any(needle in content for needle in needles), line


def test_exec_upstream_moves_the_socket_and_takes_image_out(service):
    config = service.directory / "cdh.toml"
    config.write_text('socket = "unix:///run/wrong.sock"\n[kbc]\nname = "cc_kbc"\nurl = "http://kbs"\n'
                      '[image]\nimage_security_policy = """\n[kbc]\n"""\n[guest_pull]\nmax = 1\n[[credentials]]\npath = "/x"\n')
    service.start("-c", config, f"--exec-upstream={make_hub(service)}")
    assert service.call(*UNSEAL)["code"] == 0
    copy = service.directory / "upstream.sock.toml"
    assert copy.read_text() == (f'socket = "unix://{service.upstream_socket}"\n[kbc]\nname = "cc_kbc"\nurl = "http://kbs"\n'
                                '[[credentials]]\npath = "/x"\n')
    assert copy.stat().st_mode & 0o777 == 0o600
    service.stop()
    assert not copy.exists() and not service.upstream_socket.exists()


def make_hub(service):
    """The hub as a program of its own, that logs its start."""
    program = service.directory / "confidential-data-hub"
    peer = os.path.abspath(f"{os.environ['BUILD']}/tests/service/peer")
    program.write_text(f'#!/bin/sh\necho "$$" >> {service.directory}/starts\nexec {peer} hub "$@"\n')
    program.chmod(0o755)
    return program


def test_exec_upstream_without_a_file_asks_for_what_the_hub_would_have_found(service):
    service.start("-c", f"{service.directory}/absent.toml", f"--exec-upstream={make_hub(service)}", "--",
                  f"-resources={service.directory}", environment={"AA_KBC_PARAMS": "cc_kbc::http://10.0.0.1:8080"})
    assert service.call(*UNSEAL)["code"] == 0
    assert (service.directory / "upstream.sock.toml").read_text() == (
        f'socket = "unix://{service.upstream_socket}"\n[kbc]\nname = "cc_kbc"\nurl = "http://10.0.0.1:8080"\n')
    # what stands behind -- is its own
    (service.directory / "d/k").mkdir(parents=True)
    (service.directory / "d/k/one").write_text("1")
    assert service.call("api.GetResourceService", "GetResource", b"kbs:///d/k/one")["reply"] == b"1".hex()


def test_exec_upstream_starts_it_again_when_it_dies(service):
    service.start(f"--exec-upstream={make_hub(service)}")
    assert service.call(*UNSEAL)["code"] == 0
    for starts in (2, 3):
        os.kill(service.status()["upstream"]["pid"], 9)
        assert service.call(*UNSEAL)["code"] == 0  # waits for the new one
        assert service.status()["upstream"]["starts"] == starts
    assert "is started again in 0.1 s" in service.log_text() and "is started again in 0.2 s" in service.log_text()


@pytest.mark.parametrize("text, words", [
    ('"im\\u0061ge".x = 1\n', "line 1: a key with escapes, which is not understood here"),
    ('a = 1\nb = "x\n', "line 2: a string without an end"),
    ("[kbc\n", "line 1: a [table] that is not closed"),
])
def test_exec_upstream_refuses_a_configuration_that_it_does_not_understand(service, text, words):
    config = service.directory / "cdh.toml"
    config.write_text(text)
    service.start("-c", config, f"--exec-upstream={make_hub(service)}", wait=False)
    assert service.process.wait(5) == 2
    assert words in service.log_text().replace('\\"', '"')
    assert not (service.directory / "starts").exists()


def test_exec_upstream_that_does_not_exist(service):
    service.start("--exec-upstream=/nonexistent/hub", wait=False)
    assert service.process.wait(5) == 7
    assert "starting /nonexistent/hub: no such program" in service.log_text()
    assert not service.socket.exists()


def test_in_the_place_of_the_confidential_data_hub(service):
    real = make_hub(service)
    (service.directory / "agents").mkdir()
    link = service.directory / "agents/confidential-data-hub"
    link.symlink_to(f"{os.environ['BUILD']}/bin/guest-pulld")
    config = service.directory / "cdh.toml"
    config.write_text('[kbc]\nname = "cc_kbc"\n')
    service.start("-c", config, command=link, environment={"GUEST_PULL_LIBEXEC": str(real.parent)})
    assert service.call(*UNSEAL)["code"] == 0
    assert (service.directory / "starts").exists()
