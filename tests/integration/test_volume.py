"""volume open, close, status, as far as a machine goes whose kernel may have no device-mapper: what is refused, and that nothing is
left. Everything else about volumes is in tests/guest."""

import json
import os
import pathlib
import subprocess

import pytest
from lib import BUILD

HAS_DM = pathlib.Path("/sys/class/misc/device-mapper").exists()


@pytest.fixture
def volume(tmp_path):
    """Runs "guest-pull volume VERB" with [guest_pull.volume] as given."""
    def run(verb, *options, **settings):
        lines = [f'[guest_pull]\nruntime_dir = "{tmp_path}/run"\ncdh_socket = "{tmp_path}/no.sock"\n[guest_pull.volume]']
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        config = tmp_path / "c.toml"
        config.write_text("\n".join(lines) if settings else lines[0].split("[guest_pull.volume]")[0])
        done = subprocess.run([BUILD / "bin/guest-pull", f"--config={config}", f"--store={tmp_path}/store", "--json", "volume", verb, *options],
                              capture_output=True, text=True, timeout=60, check=False)
        answer = json.loads(done.stdout)
        return done.returncode, answer.get("error", {}).get("message", ""), answer
    return run


def loops():
    return {path for path in pathlib.Path("/sys/class/block").glob("loop*") if (path / "loop/backing_file").exists()}


def test_nothing_is_open(volume):
    assert volume("status")[2] == {"open": False}
    assert volume("close")[2] == {"open": False}


def test_no_volume_is_configured(volume):
    status, message, _ = volume("open")
    assert (status, message) == (2, "[guest_pull.volume]: no device is set, so there is no volume")


@pytest.mark.parametrize("settings, status, words", [
    ({"device": "/dev/no-such-disk"}, 7, "volume /dev/no-such-disk: no such device"),
    ({"device": "PARTLABEL=no such label"}, 7, "volume: no partition is labelled no such label"),
    ({"device": "/dev/null"}, 2, "volume /dev/null: neither a block device nor a file"),
    ({"device": "/dev/no-such-disk", "mode": "persistent", "key": "/no/such/key"}, 13, "volume key: "),
    ({"device": "/dev/no-such-disk", "mode": "persistent", "key": "kbs:///a/b/c"}, 13, "volume key: "),
])
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_cannot_be_opened(volume, settings, status, words):
    got, message, _ = volume("open", **settings)
    assert (got, words in message) == (status, True), message
    assert volume("status")[2] == {"open": False}


def test_an_empty_key_is_none(volume, tmp_path):
    (tmp_path / "key").write_bytes(b"")
    got, message, _ = volume("open", device=str(tmp_path / "disk"), size="1G", mode="persistent", key=str(tmp_path / "key"))
    assert got in (13, 1) and ("the key is empty" in message or "loop device" in message)


@pytest.mark.skipif(not os.path.exists("/dev/loop-control"), reason="no loop devices here")
def test_a_file_that_is_too_small_leaves_no_loop_device(volume, tmp_path):
    before = loops()
    got, message, _ = volume("open", device=str(tmp_path / "disk"), size="8M")
    assert got == 10 and "8388608 bytes, at least 67108864 are needed" in message
    assert loops() == before


@pytest.mark.skipif(HAS_DM or not os.path.exists("/dev/loop-control"), reason="a kernel with device-mapper, or without loop devices")
@pytest.mark.parametrize("integrity", ["aes-gcm", "xts-hmac-sha256", "none"])
def test_a_kernel_without_device_mapper(volume, tmp_path, integrity):
    before = loops()
    got, message, answer = volume("open", device=str(tmp_path / "disk"), size="1G", integrity=integrity)
    assert got == 12 and message.startswith("volume: ")
    assert "This kernel shows no dm_mod, dm_crypt, dm_integrity" in answer["error"]["detail"]
    assert loops() == before
    assert not (tmp_path / "store").exists()
