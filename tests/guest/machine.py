"""The guest's memory-only root filesystem: busybox, our programs as "make install" leaves them, and the programs that they and the
tests run, each with the libraries that it is linked with on this machine."""

import os
import pathlib
import re
import shutil
import stat
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# What guest-pull starts (gpg, mkfs), what stands around it in a guest (crun, kmod) and what tests look and spoil with.
PROGRAMS = ("gpg", "gpgconf", "mkfs.ext4", "e2fsck", "mkfs.xfs", "crun", "modprobe", "socat", "findmnt", "cryptsetup", "dmsetup", "ostree")
FILES = ("/etc/mke2fs.conf", "/usr/lib/locale/C.utf8", "/etc/ssl/openssl.cnf", "/etc/protocols", "/etc/services", "/etc/crypto-policies")


def _find(program: str) -> str:
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        raise FileNotFoundError(program)
    return path


def _libraries(program) -> set[str]:
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", text, re.M))


def _copy(source: str, root: pathlib.Path) -> None:
    """To the same place below `root`; Debian's /lib and /bin are links into /usr."""
    target = root / os.path.realpath(os.path.dirname(source)).lstrip("/") / os.path.basename(source)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target)
    else:
        shutil.copy2(os.path.realpath(source), target)


def _loaded_by_name() -> list[str]:
    """Libraries that are opened at run time: threads' unwinding, libostree, OpenSSL's providers."""
    text = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"=> (/\S+(?:/libgcc_s\.so\.1|/libnss_files\.so\.2|libostree-1\.so\.1))$", text, re.M) + [
        str(path) for path in pathlib.Path("/usr/lib").glob("*/ossl-modules/*.so")]


def make_root(folder: pathlib.Path, build: pathlib.Path, modules: pathlib.Path) -> None:
    """Fills the empty directory `folder`."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to("usr/" + name)
    for name in ("etc", "root", "run", "var/lib", "dev", "proc", "sys", "tmp", "mnt"):
        (folder / name).mkdir(parents=True)
    os.mknod(folder / "dev/console", stat.S_IFCHR | 0o600, os.makedev(5, 1))
    shutil.copy2("/bin/busybox", folder / "usr/bin/busybox")
    (folder / "usr/bin/sh").symlink_to("busybox")
    # As make itself was called: the compiler's lists of headers name objects by this path, and else they would not count.
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"DESTDIR={folder}", "PREFIX=/usr", f"BUILD={os.path.relpath(build, ROOT)}"],
                   check=True, stdout=subprocess.DEVNULL)
    for name in ("share/man", "share/doc", "share/bash-completion", "share/zsh", "lib/systemd"):
        shutil.rmtree(folder / "usr" / name, ignore_errors=True)
    wanted = [_find(name) for name in PROGRAMS] + _loaded_by_name() + [path for path in FILES if os.path.exists(path)]
    ours = [*(folder / "usr/bin").glob("guest-pull*"), *(folder / "usr/libexec/guest-pull").iterdir()]
    for path in wanted:
        _copy(path, folder)
    for program in [*wanted, *ours, "/bin/busybox"]:
        if not os.path.isdir(program):
            for library in _libraries(program):
                _copy(library, folder)
    for program in ours:
        subprocess.run(["strip", "--strip-debug", program], check=True)
    shutil.copytree(modules / "lib/modules", folder / "usr/lib/modules")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (folder / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (folder / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    (folder / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")
    shutil.copy2(HERE / "init", folder / "init")
    shutil.copy2(HERE / "guest-agent", folder / "usr/sbin/guest-agent")


def pack(folder: pathlib.Path, archive: pathlib.Path) -> None:
    """An initramfs, not compressed: emulated processors decompress slowly."""
    with open(archive, "wb") as out:
        find = subprocess.Popen(["find", ".", "-print0"], cwd=folder, stdout=subprocess.PIPE)
        subprocess.run(["cpio", "--quiet", "--null", "-o", "-H", "newc", "-R", "0:0"], cwd=folder, stdin=find.stdout, stdout=out, check=True)
        assert find.wait() == 0
