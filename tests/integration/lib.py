"""What the integration tests share. Everything of tests/lib (images, registries, signatures, policies) is here too:

    from lib import *
    def test_x(work, registry, cosign_key):
        image = Image([Layer([File("hello", "hi")])], config={"Cmd": ["/hello"]})
        name = image.push(registry, work.repository(), "latest")
        cosign_sign(registry, work.repository(), image.digest, cosign_key)
        policy = write_policy(work / "policy.json", {registry.host: sigstore_signed(cosign_key, "matchRepository")})
        done = work.pull(name, policy=policy, registry=registry)
        assert done.json["manifestDigest"] == image.digest
        assert (work.rootfs / "hello").read_text() == "hi"

Fixtures are in conftest.py. BUILD names the build directory (default build/ of this tree). No test needs a fixed port or path, so that
several runs may go on at once; whatever a test mounts below its directory is unmounted when it ends, however it ends."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))

from image import *  # noqa: E402,F401,F403
from registry import *  # noqa: E402,F401,F403
from signing import *  # noqa: E402,F401,F403

BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build")).resolve()
GUEST_PULL = BUILD / "bin" / "guest-pull"
# Built by make check-asan: then the memory, the system calls and the tracer of the sanitizers are there too.
ASAN = b"__asan_init" in (BUILD / "lib/base.a").read_bytes()

# Exit statuses of guest-pull (design contract of the command line).
OK, INTERNAL, USAGE, POLICY, SIGNATURE, DIGEST, AUTH, NOT_FOUND, NETWORK, INVALID, LIMIT, SPACE, UNSUPPORTED, KEY, SANDBOX, CANCELLED = \
    range(16)


@dataclasses.dataclass
class Result:
    """How a run ended. json: standard output parsed (only if it is JSON, else None). error: json["error"] or {}."""

    command: list[str]
    status: int
    stdout: str
    stderr: str

    @property
    def json(self):
        try:
            return json.loads(self.stdout)
        except ValueError:
            return None

    @property
    def error(self) -> dict:
        return self.json.get("error", {}) if isinstance(self.json, dict) else {}

    @property
    def message(self) -> str:
        """The error's text, wherever it was printed."""
        return self.error.get("message") or self.stderr

    def __str__(self):
        return f"{' '.join(self.command)}\nexit status {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def run(*command, check: int | None = 0, timeout: float = 300, env: dict | None = None, input: bytes | None = None, cwd=None) -> Result:
    """Runs any command. `check`: the exit status that must come out, None for any; otherwise AssertionError with all output."""
    command = [os.fspath(part) for part in command]
    done = subprocess.run(command, capture_output=True, timeout=timeout, env=env, input=input, cwd=cwd, check=False,
                          **({} if input is not None else {"stdin": subprocess.DEVNULL}))
    result = Result(command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    assert check is None or result.status == check, f"expected exit status {check}\n{result}"
    return result


def guest_pull(*arguments, check: int | None = 0, env: dict | None = None, **more) -> Result:
    """Runs guest-pull. env: variables *added* to the environment. GUEST_PULL_WRAPPER, if set, is put in front (strace, valgrind)."""
    wrapper = os.environ.get("GUEST_PULL_WRAPPER", "").split()
    return run(*wrapper, GUEST_PULL, *arguments, check=check, env={**os.environ, **(env or {})}, **more)


def skopeo(*arguments, env: dict | None = None, program: str | os.PathLike = "skopeo", **more) -> Result:
    """Debian's skopeo (or a newer one: program=peers.skopeo), without a policy of the machine."""
    return run(program, "--insecure-policy", *arguments, env=env, **more)


def skopeo_push_signed(layout: str, registry, repository: str, tag: str, key, registries_d, program="skopeo") -> str:
    """Copies an "oci:DIR:TAG" layout to a registry and lets skopeo sign it with a GpgKey. Returns the name with tag."""
    name = f"{registry.host}/{repository}:{tag}"
    options = ["--dest-tls-verify=false"] if not registry.ca else [f"--dest-cert-dir={os.path.dirname(registry.ca)}"]
    if registry.auth:
        options.append("--dest-creds=" + ":".join(registry.auth))
    run(program, "--insecure-policy", "--registries.d", registries_d, "copy", "--quiet", *options, "--sign-by", key.fingerprint,
        layout, "docker://" + name, env=key.environment())
    return name


def crun(bundle, name: str, check: int | None = 0) -> Result:
    """Runs a bundle's config.json as it is. crun refuses machines whose cgroups are half v1 and half v2; there it gets a private mount
    namespace without the second half."""
    unified = "/sys/fs/cgroup/unified"
    command = ["crun", "run", "--bundle", bundle, name]
    if os.path.ismount(unified):
        command = ["unshare", "--mount", "sh", "-c", f'umount {unified}; exec "$@"', "sh", *command]
    return run(*command, check=check)


def mounts_below(folder) -> list[str]:
    """Mount points at or below `folder`, in the order in which they were mounted."""
    prefix = os.path.realpath(folder)
    found = []
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        for line in lines:
            point = line.split()[4].encode(errors="surrogateescape").decode("unicode_escape")
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return found


def unmount_below(folder) -> None:
    for point in reversed(mounts_below(folder)):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


class Work(type(pathlib.Path())):
    """A test's own directory (a pathlib.Path) with what a pull needs in it. Made by the fixture `work`.
    bundle: an existing empty directory; rootfs: bundle/rootfs; store: a path where guest-pull makes its store."""

    @property
    def bundle(self) -> pathlib.Path:
        path = self / "bundle"
        path.mkdir(exist_ok=True)
        return path

    @property
    def rootfs(self) -> pathlib.Path:
        return self / "bundle" / "rootfs"

    @property
    def store(self) -> pathlib.Path:
        return self / "store"

    def new_bundle(self, name: str) -> pathlib.Path:
        path = self / name
        path.mkdir()
        return path

    def repository(self) -> str:
        """A repository name that no other test uses; always the same within one test."""
        note = self / ".repository"
        if not note.exists():
            note.write_text("test/" + uuid.uuid4().hex[:16])
        return note.read_text()

    def options(self, *, policy=None, registry=None, registries_d=None, authfile=None, cert_dir=None) -> list[str]:
        """Global options for guest-pull. registry: trusts it (--plain-http, or --cert-dir with its CA). authfile: True makes one of
        the registry's own credentials. What an option names may be None: then it is not given."""
        options = ["--json"]
        if registry is not None:
            if registry.ca and cert_dir is None:
                cert_dir = registry.certs_d(self / "certs.d")
            elif not registry.ca:
                options += ["--plain-http", registry.host]
        if authfile is True:
            authfile = registry.authfile(self / "auth.json")
        for name, value in {"policy": policy, "registries-d": registries_d, "authfile": authfile, "cert-dir": cert_dir}.items():
            if value is not None:
                options += [f"--{name}", os.fspath(value)]
        return options

    def pull(self, image: str, *more, bundle=None, store=None, check: int | None = 0, env: dict | None = None, timeout: float = 300,
             **options) -> Result:
        """guest-pull pull with this directory's store and bundle. options: see options(); more: further arguments."""
        return guest_pull("pull", image, "--bundle", bundle or self.bundle, "--store", store or self.store,
                          "--allow-unencrypted-store", *self.options(**options), *more, check=check, env=env, timeout=timeout)

    def verify(self, image: str, *more, check: int | None = 0, env: dict | None = None, **options) -> Result:
        return guest_pull("verify", image, *self.options(**options), *more, check=check, env=env)

    def umount(self, bundle=None, check: int | None = 0) -> Result:
        return guest_pull("umount", bundle or self.bundle, check=check)
