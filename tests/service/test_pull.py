"""PullImage: outcomes, texts, and nothing left behind."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import BOTH_WAYS, mounts_below, wait_for

pytestmark = BOTH_WAYS

DIGEST = f"sha256:{7:064d}"
FAILED = "[CDH] [ERROR]: Image Pull error: Failed to pull image "


def test_a_pull_answers_with_the_manifest_digest_and_leaves_one_mount(service):
    service.start()
    bundle = service.bundle()
    answer = service.pull("example.com/ok:1", bundle)
    assert (answer["code"], answer["digest"]) == (0, DIGEST)
    assert mounts_below(service.bundles) == [f"{bundle}/rootfs"]


def test_what_the_puller_is_given(service):
    service.start("--puller-option=--store=/x", "--timeout=77")
    answer = service.pull("docker://example.com/arguments", service.bundle())
    message = answer["message"]
    assert message.startswith(FAILED + "example.com/arguments: pull --json --quiet --timeout=")
    assert f"--store=/x --bundle={service.bundles}/c1 docker://example.com/arguments (internal). " in message
    # the hint is GUEST_PULL_REQUEST_ID, the same that the log has
    assert f'"request": "{message.rsplit(" ", 1)[1]}"' in service.log_text().replace('":"', '": "')


def may_lower() -> bool:
    """CAP_SYS_RESOURCE: of a machine's root, but not of every container's."""
    status = pathlib.Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) & 1 << 24)


def test_when_memory_runs_out_the_puller_is_ended_first(service):
    service.start()
    ours = int(pathlib.Path("/proc/self/oom_score_adj").read_text())
    assert ": score 500 (internal)" in service.pull("example.com/oom", service.bundle())["message"]
    # guest-pulld itself, whose memory is small but counts, after everybody; where it may say so.
    assert int(pathlib.Path(f"/proc/{service.process.pid}/oom_score_adj").read_text()) == (-900 if may_lower() else ours)


@pytest.mark.parametrize("image, words", [
    ("policy", "Image policy rejected: Denied by policy: the policy rejects (policy). Sign it."),
    ("signature", "Image policy rejected: Denied by policy: no signature was accepted (signature)"),
    ("auth", "Not authorized: the registry refused us (auth)"),
    ("decrypt", "Failed to decrypt the image layer, please ensure that the decryption key is placed and correct: "),
    ("crash", "the puller was killed by signal 11 (Segmentation fault) (sandbox)"),
    ("lies", "0 mounts on "),
    ("twice", "2 mounts on "),
    ("garbage", "the puller was killed by signal 9 (Killed) (sandbox)"),
    ("silent", "the puller ended with exit status 0 and no report that can be read"),
])
def test_a_failure_keeps_katas_words_and_leaves_nothing(service, image, words):
    service.start()
    answer = service.pull(f"example.com/{image}", service.bundle())
    assert answer["code"] == 13
    assert answer["message"].startswith(f"{FAILED}example.com/{image}: ")
    assert words in answer["message"]
    service.nothing_left()
    assert os.listdir(service.bundles / "c1") == []


def test_a_config_json_that_was_there_before_survives_a_failure(service):
    service.start()
    bundle = service.bundle()
    (bundle / "config.json").write_text("the agent's")
    assert service.pull("example.com/crash", bundle)["code"] == 13
    assert os.listdir(bundle) == ["config.json"]


@pytest.mark.parametrize("image", ["", "a b", "line\nfeed", "x" * 5000])
def test_an_image_that_is_no_reference_is_refused(service, image):
    service.start()
    answer = service.pull(image, service.bundle())
    assert answer["code"] == 3
    assert "is no image reference (invalid)" in answer["message"]


@pytest.mark.parametrize("image", ["dir:/etc", "--help", "oci:/tmp/x"])
def test_a_local_image_or_an_option_is_only_ever_a_reference(service, image):
    service.start()
    answer = service.pull(image + "/arguments", service.bundle())
    assert f" docker://{image}/arguments (internal)" in answer["message"]


def test_a_missing_puller_is_an_error_of_the_request(service):
    service.start(program="/nonexistent/guest-pull")
    answer = service.pull("example.com/ok", service.bundle())
    assert answer["code"] == 5
    assert "starting /nonexistent/guest-pull: no such program (not-found)" in answer["message"]
    assert service.process.poll() is None


@pytest.mark.parametrize("timeout, limit", [("1s", "0.9"), ("15s", None)])
def test_the_clients_limit_ends_the_whole_group_and_undoes_the_mount(service, timeout, limit):
    service.start("--timeout=2")
    start = time.monotonic()
    answer = service.pull("example.com/hang", service.bundle(), timeout=timeout)
    if limit is None:  # our own ceiling of two seconds, and two more of grace because the fake ignores SIGTERM
        assert answer["code"] == 4
        assert "not done within 2.0 seconds (cancelled)" in answer["message"]
        assert time.monotonic() - start < 6
    else:
        wait_for(lambda: not mounts_below(service.bundles), "the mount goes")
        assert f"not done within {limit} seconds" in wait_for(
            lambda: service.log_text() if "not done" in service.log_text() else None, "the log says so")
    wait_for(lambda: not service.children(), "the group goes")
    service.nothing_left()


def test_a_closed_connection_cancels(service):
    service.start()
    client = service.peer_start("pull", "example.com/hang", service.bundle())
    wait_for(lambda: mounts_below(service.bundles), "the pull is at work")
    client.kill()
    wait_for(lambda: not mounts_below(service.bundles), "the mount goes")
    wait_for(lambda: not service.children(), "the group goes")
    service.nothing_left()
    assert service.status()["pulls"]["totals"]["cancelled"] == 1


def test_the_end_of_the_service_ends_its_pulls(service):
    service.start()
    service.peer_start("pull", "example.com/hang", service.bundle())
    wait_for(lambda: mounts_below(service.bundles), "the pull is at work")
    assert service.stop() == 0
    service.nothing_left()
    assert not service.socket.exists() and not service.status_socket.exists()


def test_kill_9_of_the_puller_is_an_error_of_one_request(service):
    service.start()
    client = service.peer_start("pull", "example.com/hang", service.bundle())
    wait_for(lambda: mounts_below(service.bundles), "the pull is at work")
    pid = service.status()["pulls"]["inFlight"][0]["pid"]
    os.kill(pid, signal.SIGKILL)
    out, _ = client.communicate(timeout=10)
    assert "the puller was killed by signal 9 (Killed) (sandbox)" in out
    service.nothing_left()
    assert service.pull("example.com/ok", service.bundle("c2"))["code"] == 0


def test_two_requests_for_one_bundle(service):
    service.start()
    bundle = service.bundle()
    first = service.peer_start("pull", "example.com/slow", bundle)
    wait_for(lambda: service.status()["pulls"]["inFlight"], "the first is at work")
    second = service.pull("example.com/other/ok", bundle)
    assert second["code"] == 3
    assert f"bundle {bundle} is in use: another request is pulling into it" in second["message"]
    assert '"code":0' in first.communicate(timeout=10)[0]
    # and a replay for another image, once the first has its rootfs
    third = service.pull("example.com/other/ok", bundle)
    assert third["code"] == 3
    assert f"{bundle}/rootfs is there already: the bundle is in use" in third["message"]
    assert mounts_below(service.bundles) == [f"{bundle}/rootfs"]


def test_only_so_many_pulls_at_once(service):
    service.start("--max-parallel=2")
    clients = [service.peer_start("pull", "example.com/slow", service.bundle(f"p{i}")) for i in range(6)]
    wait_for(lambda: len(service.status()["pulls"]["inFlight"]) == 6, "all are asked for")
    most = 0
    while any(client.poll() is None for client in clients):
        states = [pull["state"] for pull in service.status()["pulls"]["inFlight"]]
        most = max(most, states.count("pulling"))
        time.sleep(0.05)
    assert most == 2
    assert all('"code":0' in client.communicate()[0] for client in clients)


def test_waiting_counts_against_the_limit(service):
    service.start("--max-parallel=1")
    service.peer_start("pull", "example.com/hang", service.bundle("first"))
    wait_for(lambda: mounts_below(service.bundles), "the first is at work")
    client = service.peer_start("pull", "-timeout=20s", "example.com/ok", service.bundle("second"))
    client.terminate()
    wait_for(lambda: len(service.status()["pulls"]["inFlight"]) == 1, "the waiting one is gone")
    service.pull("example.com/ok", service.bundle("third"), timeout="1s")
    assert "all of them spent waiting for other pulls" in wait_for(
        lambda: service.log_text() if "spent waiting" in service.log_text() else None, "the log says so")
    assert not (service.bundles / "third/rootfs").exists()


def bundle_paths(service):
    outside = service.directory / "outside"
    outside.mkdir()
    real = service.bundle("real")
    (service.bundles / "link").symlink_to(real)
    (service.bundles / "away").symlink_to(outside)
    (outside / "b").mkdir()
    file = service.bundles / "file"
    file.write_text("")
    foreign = service.bundle("foreign")
    subprocess.run(["mount", "-t", "tmpfs", "none", foreign], check=True)
    (foreign / "b").mkdir()
    top = service.bundles
    return {
        "": "is not absolute", "bundles/real": "is not absolute", f"{top}/real/": "has an empty component",
        f"{top}//real": "has an empty component", f"{top}/../bundles/real": 'has a "." or ".." component',
        f"{top}/./real": 'has a "." or ".." component', f"{top}/re al": "has characters that no bundle path has",
        f"{top}/re\\al": "has characters that no bundle path has", f"{outside}/b": "is not below an allowed directory",
        f"{top}": "is not below an allowed directory", f"{top}2/real": "is not below an allowed directory",
        f"{top}/link": "goes through a symbolic link", f"{top}/away/b": "goes through a symbolic link",
        f"{top}/file": "is not a directory", f"{top}/foreign/b": "goes through a foreign mount",
        f"{top}/foreign": "goes through a foreign mount", f"/{'x' * 5000}": "is too long",
    }


def test_bundle_paths_that_are_refused(service):
    service.start()
    for path, words in bundle_paths(service).items():
        answer = service.pull("example.com/ok", path)
        assert (answer["code"], words in answer["message"]) == (3, True), (path, answer)
    answer = service.pull("example.com/ok", f"{service.bundles}/absent")
    assert (answer["code"], answer["message"].endswith("absent does not exist (not-found)")) == (5, True)
    assert mounts_below(service.bundles) == [f"{service.bundles}/foreign"]
