"""Fixtures of the guest tests: kernels, root filesystem, machines, a registry and keys on the host."""

import dataclasses
import importlib.util
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import warnings

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import machine as machines  # noqa: E402
from guest import Guest  # noqa: E402
from kernels import find_kernels  # noqa: E402
from scenario import World  # noqa: E402

# The registries and keys of the integration tests serve here too.
_spec = importlib.util.spec_from_file_location("integration_conftest", HERE.parent / "integration/conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
session_folder, registry, cosign_key, other_cosign_key, gpg_key = (
    _fixtures.session_folder, _fixtures.registry, _fixtures.cosign_key, _fixtures.other_cosign_key, _fixtures.gpg_key)

BUILD = pathlib.Path(os.environ.get("BUILD", HERE.parents[1] / "build")).resolve()
ROUNDS = float(os.environ.get("GUEST_ROUNDS", "1"))


def rounds(count: int) -> int:
    """How often a test that is about chance does it: `count` times GUEST_ROUNDS."""
    return max(2, round(count * ROUNDS))


@dataclasses.dataclass
class Machine:
    """A kernel and the initramfs with our programs for it."""

    kernel: object
    folder: pathlib.Path

    def __post_init__(self):
        self.initrd = self.folder / f"initrd-{self.kernel.release}"
        with tempfile.TemporaryDirectory(prefix="root-", dir=self.folder) as root:
            machines.make_root(pathlib.Path(root), BUILD, self.kernel.modules)
            machines.pack(pathlib.Path(root), self.initrd)

    def __str__(self):
        return self.kernel.release


def pytest_report_header():
    return [f"guest: {os.environ.get('GUEST_ACCEL', 'tcg')}, rounds x{ROUNDS:g}"]


def pytest_terminal_summary(terminalreporter):
    """How long it takes depends on what else the machine does; how much it computes does not."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    terminalreporter.write_line(f"guests and registries took {used.ru_utime + used.ru_stime:.0f} s of processor time; "
                                f"the machine's load was {os.getloadavg()[2]:.1f} at the end")


@pytest.fixture(scope="session")
def kernels():
    """All kernels that can be had, the newest first. Skips, aloud, when there is none or no QEMU."""
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("no qemu-system-x86_64: the guest is not tested")
    if os.uname().machine != "x86_64":
        pytest.skip("the guest is x86_64 with this machine's own programs in it")
    found, missing = find_kernels()
    for line in missing:
        warnings.warn(f"not tested with this kernel: {line}", stacklevel=1)
    if not found:
        pytest.skip("no kernel for the guest: " + "; ".join(missing))
    return found


@pytest.fixture(scope="session")
def machine_of(kernels):
    """machine_of("newest") or machine_of("stable"): a Machine, made once."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gp-guest-"))
    made = {}

    def get(which: str) -> Machine:
        kernel = kernels[0] if which == "newest" else kernels[-1]
        if which == "stable" and len(kernels) == 1:
            pytest.skip("there is one kernel only, and it is tested as the newest")
        if kernel.release not in made:
            made[kernel.release] = Machine(kernel, folder)
        return made[kernel.release]
    yield get
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def machine(machine_of):
    return machine_of("newest")


@pytest.fixture
def new_guest(machine):
    """new_guest(disks=…, cpus=…, machine=…): a machine that is switched off, and removed when the test ends. Call boot()."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gp-guest-", dir=os.environ.get("GUEST_DISKS", "/var/tmp")))
    guests = []

    def make(machine=machine, **options) -> Guest:
        guests.append(Guest(machine, folder / str(len(guests)), **options))
        return guests[-1]
    yield make
    for guest in guests:
        guest.kill()
    if os.environ.get("GUEST_KEEP"):
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def world(session_folder, registry, cosign_key):
    """A scenario.World."""
    made = World(session_folder, registry, cosign_key)
    yield made
    made.stop()
