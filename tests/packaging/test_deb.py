"""The Debian package: the same bytes from two checkouts; installs, upgrades, goes and is purged in a Debian of its own, with nothing but
its dependencies, and works there. Run by "make check-deb" as root; needs mmdebstrap and Debian's archive."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from lib import Dir, File, GpgKey, Image, Layer, Registry, signed_by, simple_payload, write_lookaside, write_policy, \
    write_registries_d  # noqa: E402

EPOCH = 1790000000
UNITS = ["guest-pulld.service", "guest-pulld.socket"]


def run(*command, check=True, **more):
    done = subprocess.run([os.fspath(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="gp-deb-"))
    yield path
    assert str(path) not in pathlib.Path("/proc/self/mounts").read_text()
    shutil.rmtree(path)


def checkout(target):
    """What git knows or would add here, without the history."""
    names = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, names)):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def build(tree, build_directory, environment, umask, jobs):
    run("make", f"-j{jobs}", f"BUILD={build_directory}", "deb", cwd=tree, umask=umask,
        env={key: value for key, value in os.environ.items() if key not in ("BUILD", "MAKEFLAGS", "SOURCE_DATE_EPOCH")} | environment)
    package, = (tree / build_directory).glob("*.deb")
    return package


@pytest.fixture(scope="module")
def packages(folder):
    """Two builds that have nothing in common but the sources: place, build directory, umask, zone, language, jobs, file times; and one
    takes its time from a commit, the other from the environment."""
    first, second = folder / "a", folder / "some/where/else/much/longer"
    checkout(first)
    stamp = {"GIT_AUTHOR_DATE": f"{EPOCH} +0000", "GIT_COMMITTER_DATE": f"{EPOCH} +0000", "HOME": str(folder)}
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "test"]):
        run(*git, *command, cwd=first, env=os.environ | stamp)
    checkout(second)
    for path in second.rglob("*.c"):
        os.utime(path, (EPOCH - 1000, EPOCH - 1000))
    return [build(first, "build", {}, 0o022, 2),
            build(second, "other-build", {"SOURCE_DATE_EPOCH": str(EPOCH), "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "LANG": "de_DE.UTF-8"}, 0o077, 1)]


def test_two_checkouts_give_the_same_bytes(packages):
    assert [package.name for package in packages] == [packages[0].name] * 2
    assert re.fullmatch(r"guest-pull_[\d.]+_[a-z0-9]+\.deb", packages[0].name)
    sums = {hashlib.sha256(package.read_bytes()).hexdigest() for package in packages}
    assert len(sums) == 1


def test_nothing_in_it_is_from_the_place_of_its_build(packages, folder):
    run("dpkg-deb", "-R", packages[0], folder / "unpacked")
    for path in (folder / "unpacked").rglob("*"):
        if path.is_file():
            assert str(folder).encode() not in path.read_bytes(), path


def test_owners_modes_and_times(packages):
    listing = run("dpkg-deb", "-c", packages[0], env=os.environ | {"TZ": "UTC"}).splitlines()
    assert len(listing) > 20
    for line in listing:
        mode, owner, _, day, time, name = line.split(maxsplit=5)
        program = re.search(r"/(bin|libexec/guest-pull)/.|/install-in-place$", name)
        assert mode == ("drwxr-xr-x" if name.endswith("/") else "-rwxr-xr-x" if program else "-rw-r--r--"), line
        assert owner == "root/root" and (day, time) == ("2026-09-21", "14:13"), line


def test_no_source_asks_the_compiler_for_the_time():
    for path in ROOT.glob("*/*.c*"):
        assert not re.search(r"__(DATE|TIME|TIMESTAMP)__", path.read_text()), path


# ---- in a Debian of its own

class Guest:
    """A Debian in a folder, without our package but with what it depends on."""

    def __init__(self, root, package):
        self.root = root
        depends = run("dpkg-deb", "-f", package, "Depends").strip()
        names = [re.sub(r"\s*\(.*?\)", "", name).strip() for name in depends.split(",")]
        suite = re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M).group(1)
        sources = [path for path in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list") if os.path.exists(path)]
        run("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", f"--include={','.join(['systemd', *names])}", suite, root, *sources[:1])

    def __call__(self, *command, check=True, env=None):
        """Runs a command there, with /proc, in a mount namespace of its own."""
        inner = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={self.root}/proc", "chroot", self.root, *command]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(env or {})}
        return run(*inner, check=check, env=environment)

    def install(self, package):
        shutil.copy(package, self.root / "package.deb")
        try:
            return self("dpkg", "-i", "/package.deb")
        finally:
            (self.root / "package.deb").unlink()

    def files(self):
        """Every path and mode, but for what dpkg, ldconfig and logs keep for themselves."""
        own = re.compile(r"/(proc|sys|var/lib/dpkg|var/log|var/cache|var/lib/systemd)(/|$)")
        found = set()
        for path in self.root.rglob("*"):
            name = "/" + str(path.relative_to(self.root))
            if not own.match(name):
                found.add((name, oct(path.lstat().st_mode)))
        return found


@pytest.fixture(scope="module")
def guest(packages, folder):
    return Guest(folder / "guest", packages[0])


@pytest.fixture
def installed(guest, packages):
    """The guest with the package in it; purged at the end, whatever happened."""
    guest.install(packages[0])
    yield guest
    guest("dpkg", "--purge", "guest-pull", check=False)
    for left in ("var/lib/guest-pull", "etc/guest-pull", "run/guest-pull"):
        shutil.rmtree(guest.root / left, ignore_errors=True)


def version(guest):
    return guest("dpkg-query", "-W", "-f", "${Version}", "guest-pull")


@pytest.fixture(scope="module")
def newer(packages, folder):
    """The same package with a higher version."""
    run("dpkg-deb", "-R", packages[0], folder / "newer")
    control = folder / "newer/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 99.0", control.read_text(), flags=re.M))
    run("dpkg-deb", "--root-owner-group", "-b", folder / "newer", folder / "newer.deb")
    return folder / "newer.deb"


def test_installed_it_is_whole_and_enables_nothing(installed, packages):
    said = version(installed)
    assert said in packages[0].name
    assert installed("guest-pull", "--version") == f"guest-pull {said}\n"
    assert installed("guest-pulld", "--version") == f"guest-pulld {said}\n"
    assert installed("dpkg", "-V", "guest-pull") == ""
    for unit in UNITS:
        assert installed("systemctl", "is-enabled", unit, check=False).strip() == "disabled"
    for directory, mode in {"var/lib/guest-pull": 0o700, "run/guest-pull": 0o700, "run/confidential-containers": 0o755}.items():
        assert (installed.root / directory).stat().st_mode & 0o7777 == mode
    for name in ("man/man1/guest-pull.1.gz", "man/man5/guest-pull-policy.5.gz", "man/man8/guest-pulld.8.gz", "bash-completion/completions/guest-pulld",
                 "zsh/vendor-completions/_guest-pull"):
        assert (installed.root / "usr/share" / name).is_file()
    for unit in (installed.root / "usr/lib/systemd/system").glob("guest-pull*"):
        for program in re.findall(r"^ExecStart=(\S+)", unit.read_text(), re.M):
            assert os.access(f"{installed.root}{program}", os.X_OK)


def test_installed_it_pulls_a_signed_image(installed, folder):
    """With nothing but its dependencies: both workers, GnuPG, the mount."""
    image = Image([Layer([Dir("etc"), File("etc/motd", "hello from the package")])], config={"Cmd": ["/x"]})
    work = installed.root / "work"
    work.mkdir()
    key = GpgKey()
    try:
        with Registry(folder / "registry") as registry:
            name = image.push(registry, "app", "1")
            write_lookaside(work / "sigs", "app", image.digest, key.sign(simple_payload(image.digest, f"{registry.host}/app:1")))
            write_registries_d(work / "registries.d", "/work/sigs")
            shutil.copy(key.public, work / "key.gpg")
            write_policy(work / "policy.json", {registry.host: signed_by("/work/key.gpg")})
            options = f"--plain-http {registry.host} --policy /work/policy.json --registries-d /work/registries.d"
            script = f"mount -t tmpfs store /var/lib/guest-pull && chmod 700 /var/lib/guest-pull && mkdir /work/b && " \
                f"guest-pull {options} --quiet --allow-unencrypted-store pull {name} -b /work/b && cat /work/b/rootfs/etc/motd && " \
                f"guest-pull --quiet umount /work/b"
            assert installed("sh", "-c", script) == f"{image.digest}\nhello from the package"
    finally:
        key.stop()
        shutil.rmtree(work)


def test_upgrade_keeps_what_was_enabled_configured_and_pulled(installed, newer):
    installed("systemctl", "--quiet", "enable", *UNITS)
    for name in ("etc/guest-pull/config.toml", "var/lib/guest-pull/image", "run/guest-pull/status"):
        (installed.root / name).parent.mkdir(exist_ok=True)
        (installed.root / name).write_text("kept")
    installed.install(newer)
    assert version(installed) == "99.0"
    for unit in UNITS:
        assert installed("systemctl", "is-enabled", unit, check=False).strip() == "enabled"
    for name in ("etc/guest-pull/config.toml", "var/lib/guest-pull/image", "run/guest-pull/status"):
        assert (installed.root / name).read_text() == "kept"


def test_remove_disables_and_keeps_data(installed):
    installed("systemctl", "--quiet", "enable", *UNITS)
    for name in ("etc/guest-pull/config.toml", "var/lib/guest-pull/image"):
        (installed.root / name).parent.mkdir(exist_ok=True)
        (installed.root / name).write_text("kept")
    installed("dpkg", "--remove", "guest-pull")
    assert not (installed.root / "usr/bin/guest-pull").exists()
    assert [path for path in (installed.root / "etc/systemd").rglob("*") if "guest-pull" in path.name] == []
    for name in ("etc/guest-pull/config.toml", "var/lib/guest-pull/image"):
        assert (installed.root / name).read_text() == "kept"


def test_purge_leaves_nothing(guest, packages):
    (guest.root / "run/confidential-containers").mkdir(mode=0o755, exist_ok=True)  # is not ours alone: left
    before = guest.files()
    guest.install(packages[0])
    (guest.root / "etc/guest-pull").mkdir()
    (guest.root / "etc/guest-pull/config.toml").write_text("x")
    (guest.root / "run/guest-pull/receipts").mkdir()
    (guest.root / "run/guest-pull/receipts/x").touch()
    assert "is left" not in guest("dpkg", "--purge", "guest-pull")
    after = guest.files()
    assert after - before == set() and before - after == set()


def test_purge_spares_images_and_what_others_put_there_and_says_so(installed):
    (installed.root / "etc/guest-pull").mkdir()
    for name in ("etc/guest-pull/policy.json", "etc/guest-pull/config.toml", "var/lib/guest-pull/image"):
        (installed.root / name).touch()
    said = installed("dpkg", "--purge", "guest-pull")
    assert "/etc/guest-pull is not empty" in said and "/var/lib/guest-pull is not empty" in said
    assert (installed.root / "etc/guest-pull/policy.json").exists() and (installed.root / "var/lib/guest-pull/image").exists()
    assert not (installed.root / "etc/guest-pull/config.toml").exists()


def test_purge_spares_what_is_mounted(installed):
    """An empty mounted store, and a mount below the runtime directory."""
    inside = "mount -t tmpfs x /var/lib/guest-pull && mkdir /run/guest-pull/m && mount -t tmpfs x /run/guest-pull/m && " \
        "touch /run/guest-pull/m/precious && dpkg --purge guest-pull && ls /run/guest-pull/m && " \
        "mountpoint /var/lib/guest-pull"
    said = installed("sh", "-c", inside)
    assert "/var/lib/guest-pull is not empty, or a mount" in said and "/run/guest-pull is not empty, or a mount" in said
    assert "precious" in said.splitlines() and "is a mountpoint" in said


def test_purge_works_without_systemd(installed):
    with contextlib.ExitStack() as undo:
        for name in ("systemctl", "systemd-tmpfiles"):
            program = next(path for path in (installed.root / "usr/bin" / name, installed.root / "bin" / name) if path.exists())
            hidden = program.with_name(name + ".hidden")
            program.rename(hidden)
            undo.callback(hidden.rename, program)
        installed("dpkg", "--purge", "guest-pull")
