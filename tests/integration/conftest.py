"""Fixtures of the integration tests. What costs time is made once a run and shared: registries, keys, peers. Tests get repositories
of their own from work.repository(), so that they do not meet in the shared registry."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
import warnings

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import lib  # noqa: E402


@pytest.fixture(scope="session")
def session_folder():
    """A directory of this run."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gp-integration-"))
    yield folder
    lib.unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def work():
    """A lib.Work: this test's directory, with everything below it unmounted and removed at the end."""
    folder = lib.Work(tempfile.mkdtemp(prefix="gp-test-"))
    yield folder
    lib.unmount_below(folder)
    left = lib.mounts_below(folder)
    # A tree with a mount in it is never removed recursively: that would delete the store through the mount.
    assert not left, f"still mounted: {left}"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def registry(session_folder):
    """A lib.Registry: plain HTTP, no credentials."""
    with lib.Registry(session_folder / "registry") as server:
        yield server


@pytest.fixture(scope="session")
def registry_auth(session_folder):
    """The same with basic authentication: registry_auth.auth is (user, password)."""
    with lib.Registry(session_folder / "registry-auth", auth=("user", "pass:word")) as server:
        yield server


@pytest.fixture(scope="session")
def registry_tls(session_folder):
    """The same over TLS, with a CA of its own: registry_tls.ca."""
    with lib.Registry(session_folder / "registry-tls", tls=True) as server:
        yield server


@pytest.fixture
def fake_registry():
    """A lib.FakeRegistry over plain HTTP."""
    with lib.FakeRegistry() as server:
        yield server


@pytest.fixture
def fake_registry_tls(work):
    with lib.FakeRegistry(work, tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def gpg_key():
    """A lib.GpgKey."""
    key = lib.GpgKey()
    yield key
    key.stop()


@pytest.fixture(scope="session")
def other_gpg_key():
    key = lib.GpgKey("somebody else")
    yield key
    key.stop()


@pytest.fixture(scope="session")
def cosign_key(session_folder):
    """A lib.CosignKey."""
    return lib.CosignKey(session_folder / "keys", "cosign")


@pytest.fixture(scope="session")
def other_cosign_key(session_folder):
    return lib.CosignKey(session_folder / "keys", "other")


@pytest.fixture(scope="session")
def peers():
    """Newer peers than Debian 12 has: peers.skopeo (1.22), peers.cosign2, peers.cosign3, each a path or None. Kept in
    GUEST_PULL_PEERS (default /var/cache/guest-pull-peers). Skips, aloud, when none can be had."""
    folder = pathlib.Path(os.environ.get("GUEST_PULL_PEERS", "/var/cache/guest-pull-peers"))
    try:
        done = subprocess.run([lib.ROOT / "tests/tools/peers.sh", folder], capture_output=True, text=True, timeout=600, check=False)
        reason = done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as failure:
        reason = str(failure)
    found = types.SimpleNamespace(
        **{name: path if os.access(path := folder / "bin" / name, os.X_OK) else None for name in ("skopeo", "cosign2", "cosign3")})
    if not any(vars(found).values()):
        warnings.warn(f"no peers to compare with: {reason}", stacklevel=1)
        pytest.skip(f"no peers to compare with: {reason}")
    return found


@pytest.fixture(scope="session")
def go_registries():
    """What tests/tools/registries.sh builds: go_registries.registry (with the referrers API) and go_registries.conformance (the distribution-spec's tests), each a
    path or None. Kept in GUEST_PULL_REGISTRIES (default /var/cache/guest-pull-registries). Skips, aloud, when neither can be had."""
    folder = pathlib.Path(os.environ.get("GUEST_PULL_REGISTRIES", "/var/cache/guest-pull-registries"))
    try:
        done = subprocess.run([lib.ROOT / "tests/tools/registries.sh", folder], capture_output=True, text=True, timeout=600, check=False)
        reason = done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as failure:
        reason = str(failure)
    path = lambda name: found if os.access(found := folder / "bin" / name, os.X_OK) else None  # noqa: E731
    found = types.SimpleNamespace(registry=path("referrers-registry"), conformance=path("conformance"))
    if not any(vars(found).values()):
        warnings.warn(f"no registry with the referrers API but ours: {reason}", stacklevel=1)
        pytest.skip(f"no registry with the referrers API but ours: {reason}")
    return found
