"""Many containers, bad frames by the thousand, kills at random: the service stays up and small."""

import os
import random
import signal
import time

from conftest import mounts_below, wait_for


def resources(service):
    folder = service.directory / "resources/default/key"
    folder.mkdir(parents=True)
    (folder / "one").write_text("the resource\n")
    return f"-resources={service.directory}/resources"


def test_idle_memory(service):
    service.start()
    service.assert_small()


def test_a_hundred_containers_eight_at_once_with_relayed_calls_between(service):
    service.start_hub(resources(service))
    service.start()
    before = service.descriptors()
    result = service.peer("agent", f"-bundles={service.bundles}", "-image=example.com/ok", "-count=100", "-relay")
    assert result["failures"] is None and result["succeeded"] == 100
    wait_for(lambda: service.descriptors() == before, "descriptors are back")
    service.nothing_left()
    assert os.listdir(service.bundles) == []
    service.assert_small()


def test_ten_thousand_bad_frames(service):
    service.start_hub(resources(service))
    service.start()
    service.peer("flood", "-count=2000", timeout=300)
    before = service.memory()
    result = service.peer("flood", "-count=10000", "-seed=2", timeout=300)
    assert result["sent"] == 10000
    wait_for(lambda: service.status()["server"]["connections"] == 0, "connections are gone")
    service.assert_small(before + 256)
    service.assert_small()
    assert service.pull("example.com/ok", service.bundle())["code"] == 0
    assert service.status()["server"]["malformed"] > 5000


def test_bad_frames_close_only_their_own_connection(service):
    service.start()
    client = service.peer_start("pull", "example.com/slow", service.bundle())
    service.peer("flood", "-count=300")
    assert '"code":0' in client.communicate(timeout=30)[0]


def test_kill_9_at_random_moments(service):
    hub = service.start_hub(resources(service))
    service.start()
    random.seed(5)
    before = service.descriptors()
    agent = service.peer_start("agent", f"-bundles={service.bundles}", "-image=example.com/slow", "-count=200",
                               "-parallel=8", "-relay")
    killed = 0
    while agent.poll() is None:
        time.sleep(random.uniform(0.05, 0.5))
        pulls = [pull for pull in service.status()["pulls"]["inFlight"] if pull["pid"] > 0]
        if pulls and random.random() < 0.7:
            try:
                os.kill(random.choice(pulls)["pid"], signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        elif random.random() < 0.3:
            hub.kill()
            hub.wait()
            hub = service.start_hub(resources_again(service))
        if killed >= 40:
            agent.kill()
            agent.wait()
    assert killed >= 10
    wait_for(lambda: not service.status()["pulls"]["inFlight"], "all pulls end", 20)
    wait_for(lambda: not service.children(), "all pullers end")
    leftover = mounts_below(service.bundles)  # what had been answered when the agent was killed is the agent's
    assert len(leftover) <= 8
    wait_for(lambda: service.descriptors() == before, "descriptors are back")
    assert service.pull("example.com/ok", service.bundle())["code"] == 0
    service.assert_small()


def resources_again(service):
    return f"-resources={service.directory}/resources"
