"""What the service says about its pulls while they run, and what it takes from the configuration."""

import json
import subprocess
import threading
import time

import pytest

from conftest import BOTH_WAYS, BUILD, wait_for


def guest_pull_status(service, *options):
    return subprocess.run([BUILD / "bin/guest-pull", "status", f"unix:{service.status_socket}", *options], capture_output=True,
                          text=True)


@BOTH_WAYS
def test_bytes_and_layers_of_a_pull_at_work(service):
    service.start()
    client = service.peer_start("pull", "example.com/progress", service.bundle())
    pull = wait_for(lambda: next((pull for pull in service.status()["pulls"]["inFlight"] if pull.get("phase")), None),
                    "the puller says something")
    assert (pull["phase"], pull["bytes"]) == ("layers", {"fetched": 424, "size": 1024})
    assert pull["layers"] == [{"digest": "aaaa", "state": "pulling", "size": 1000, "fetched": 400},
                              {"digest": "bbbb", "state": "verified", "size": 24, "fetched": 24}]
    assert pull["pid"] > 0
    time.sleep(0.3)  # the second message has a state that is none
    assert service.status()["pulls"]["inFlight"][0]["phase"] == "layers"
    text = guest_pull_status(service, "--verbose").stdout
    assert "1 pulls in flight" in text and f"{pull['request']}  pulling, layers  424 B of 1.0 kB in 2 layers" in text
    assert f"example.com/progress\n    into {service.bundles}/c1\n" in text
    assert "aaaa         pulling      400 B of    1.0 kB\n" in text
    assert '"code":0' in client.communicate(timeout=20)[0]
    assert service.status()["pulls"]["totals"]["fetchedBytes"] == 424
    assert "totals: 1 asked, 1 succeeded, 0 failed (0 timed out, 0 cancelled), 0 refused, 424 B fetched" in guest_pull_status(
        service).stdout


def test_status_as_json_and_without_a_service(service):
    service.start()
    answer = json.loads(guest_pull_status(service, "--json").stdout)
    assert answer["pulls"]["inFlight"] == [] and answer["versions"]["guest-pull"] == answer["versions"]["guest-pulld"]
    service.stop()
    run = guest_pull_status(service)
    assert run.returncode == 8 and "Is the service running?" in run.stderr


@BOTH_WAYS
def test_a_puller_that_floods_the_channel_costs_little(service):
    service.start()
    service.peer_start("pull", "example.com/flood", service.bundle())
    wait_for(lambda: any(pull.get("phase") for pull in service.status()["pulls"]["inFlight"]), "the flood is on")
    before = sum(map(int, open(f"/proc/{service.process.pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))
    time.sleep(1)
    after = sum(map(int, open(f"/proc/{service.process.pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))
    assert after - before <= 10  # hundredths of a second
    assert service.pull("example.com/ok", service.bundle("c2"))["code"] == 0
    service.assert_small(8 * 1024)


def settings(**values):
    return json.dumps({"settings": [{"name": name, "value": value, "origin": "file"} for name, value in values.items()]})


@BOTH_WAYS
def test_the_configuration_names_bundle_roots_and_limits(service):
    roots = service.directory / "roots"
    bundle = roots / "b"
    bundle.mkdir(parents=True)
    service.start(roots=False, environment={
        "FAKE_CONFIG": settings(bundle_roots=["/run/absent", str(roots)], timeout=1, policy=None)})
    assert service.pull("example.com/ok", bundle)["code"] == 0
    subprocess.run(["umount", bundle / "rootfs"], check=True)
    assert f"is not below an allowed directory (/run/absent, {roots})" in service.pull(
        "example.com/ok", service.bundle())["message"]
    (roots / "c").mkdir()
    assert "not done within 1.0 seconds" in service.pull("example.com/hang", roots / "c")["message"]


def test_options_win_over_the_configuration(service):
    service.start("--timeout=20", environment={"FAKE_CONFIG": settings(bundle_roots=["/run/absent"], timeout=1)})
    assert service.pull("example.com/slow", service.bundle())["code"] == 0


@pytest.mark.parametrize("value, status, words", [
    (True, 0, "the encrypted volume is open"),
    (True, 7, "the encrypted volume could not be opened: exit status 7"),
    (False, 0, ""),
])
def test_an_eager_volume_is_opened_at_the_start(service, value, status, words):
    service.start(environment={"FAKE_CONFIG": settings(**{"volume.eager": value}), "FAKE_VOLUME_STATUS": str(status)})
    assert service.pull("example.com/ok", service.bundle())["code"] == 0
    end = time.monotonic() + 10
    while words not in service.log_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert words in service.log_text()
    assert ("fake volume: volume open" in service.log_text()) == value


@pytest.mark.parametrize("text, status, words", [
    ('{"error":{"code":"usage","message":"cdh.toml: [guest_pull] polcy: unknown key"}}', 2, "cdh.toml: [guest_pull] polcy"),
    ("{}", 0, "settings"), ("", 1, "exit status 1"),
])
def test_a_configuration_that_makes_no_sense_is_loud_but_the_relay_works(service, text, status, words):
    service.start_hub()
    service.start(environment={"FAKE_CONFIG": text or "x", "FAKE_CONFIG_STATUS": str(status)})
    assert words in service.log_text()
    assert service.call("api.SealedSecretService", "UnsealSecret", b"sealed.abc")["code"] == 0
    refused = service.pull("example.com/ok", service.bundle())
    assert refused["code"] != 0 and "the configuration: " in refused["message"] and words in refused["message"]


@pytest.mark.quick
@BOTH_WAYS
def test_no_pull_starts_before_the_configuration_is_known(service):
    """It may be narrower than the defaults. Who cannot be asked now may be asked later: the agent never starts us again."""
    answer = service.directory / "answer"
    answer.write_text("sleep 100\n")
    service.start_hub()
    service.start(roots=False, environment={"FAKE_CONFIG_SCRIPT": str(answer)})
    assert "guest-pull config show does not answer within 3.0 seconds" in service.log_text()
    assert service.call("api.SealedSecretService", "UnsealSecret", b"sealed.abc")["code"] == 0
    bundle = service.bundle()
    refused = service.pull("example.com/ok", bundle)
    assert refused["code"] != 0 and not (bundle / "rootfs").exists()
    assert "the configuration: guest-pull config show does not answer within 3.0 seconds (cancelled)" in refused["message"]
    answer.write_text("""echo '{"error":{"code":"usage","message":"cdh.toml: odd"}}'; exit 2\n""")
    assert "the configuration: cdh.toml: odd (usage)" in service.pull("example.com/ok", bundle)["message"]
    answer.write_text(f"echo '{settings(bundle_roots=[str(service.bundles)], timeout=1)}'\n")
    assert service.pull("example.com/ok", bundle)["code"] == 0
    assert "not done within 1.0 seconds" in service.pull("example.com/hang", service.bundle("c2"))["message"]


def test_status_answers_while_many_ask(service):
    service.start()
    threads = [threading.Thread(target=service.status) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join(5) for thread in threads]
    assert not any(thread.is_alive() for thread in threads)


def test_the_request_id_is_in_the_pullers_report():
    environment = {"GUEST_PULL_REQUEST_ID": "0a-7", "PATH": "/usr/bin:/bin"}
    command = [BUILD / "bin/guest-pull", "verify", "no such image"]
    run = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment)
    assert json.loads(run.stdout)["requestId"] == "0a-7"
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.stderr.startswith("guest-pull: [0a-7] ")
    run = subprocess.run(command, capture_output=True, text=True, env={**environment, "GUEST_PULL_REQUEST_ID": "a\n[b"})
    assert run.stderr.startswith("guest-pull: ") and "[b" not in run.stderr
