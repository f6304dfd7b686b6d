"""The man pages and completions say what the programs can: both directions are compared, so neither can fall behind. The error table of
docs/operations.md and guest-pull(1) is that of base/error.c."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest
from lib import BUILD, ROOT, Dir, File, Image, Layer, write_policy

POLICY_PAGE = "guest-pull-policy.5"
PROGRAMS = {"guest-pull": "guest-pull.1", "guest-pulld": "guest-pulld.8"}
BASH = ROOT / "packaging/completion/guest-pull.bash"
ZSH = ROOT / "packaging/completion/_guest-pull"


def help_of(program):
    return subprocess.run([BUILD / "bin" / program, "--help"], capture_output=True, text=True, check=True).stdout


def help_options(program):
    """{"--policy": takes a value, …}; short names are keys of their own."""
    found = {}
    for short, name, value in re.findall(r"^  (?:(-\w), )?(--[\w-]+)(=?)", help_of(program), re.M):
        found[name] = bool(value)
        if short:
            found[short] = bool(value)
    assert "--help" in found and "--version" in found
    return found


def help_commands():
    section = help_of("guest-pull").split("Commands:\n")[1].split("\n\n")[0]
    names = [re.match(r"  ([a-z-]+(?: [a-z]+)?)(?= [A-Z\[]| {2,})", line).group(1) for line in section.splitlines()]
    assert "pull" in names and "policy check" in names
    return names


def man_source(program):
    return (ROOT / "docs/man" / PROGRAMS[program]).read_text()


def man_section(program, title):
    return man_source(program).split(f".Sh {title}\n")[1].split("\n.Sh ")[0]


def error_table():
    """The rows of base/error.c: (name, exit status, retryable)."""
    rows = re.findall(r'\[GP_ERROR_\w+\] = \{"([\w-]+)", (\d+), \d+, (TRUE|FALSE)\}', (ROOT / "base/error.c").read_text())
    assert len(rows) == 15
    return [(name, int(status), retry == "TRUE") for name, status, retry in rows]


# ---- man pages

@pytest.mark.parametrize("program", PROGRAMS)
def test_man_page_has_the_options_of_help_and_no_others(program):
    documented = {}
    for line in re.findall(r"^\.It (Fl .*)$", man_section(program, "OPTIONS"), re.M):
        takes_value = " Ns = Ns " in line or bool(re.search(r"Fl \w+ Ar ", line))
        for name in re.findall(r"Fl (-?[\w-]+)", line):
            documented["-" + name] = takes_value
    assert documented == help_options(program)


def test_man_page_has_the_commands_of_help_and_no_others():
    assert re.findall(r"^\.It Cm ([a-z-]+(?: [a-z]+)?)", man_section("guest-pull", "COMMANDS"), re.M) == help_commands()
    synopsis = man_section("guest-pull", "SYNOPSIS")
    assert re.findall(r"^\.Cm ([a-z -]+)$", synopsis, re.M) == help_commands()


def test_exit_statuses_are_those_of_the_error_table():
    rows = re.findall(r"^\.It (\d+) Ta ([\w-]*) ?Ta (\w*) ?Ta .+$", man_section("guest-pull", "EXIT STATUS"), re.M)
    assert rows[0] == ("0", "", "")
    assert [(name, int(status), retry == "yes") for status, name, retry in rows[1:]] == error_table()


def test_man_pages_have_every_environment_variable_of_ours():
    """Read, or given to the puller."""
    sources = [path for folder in ("base", "policy", "sigstore", "storage", "puller", "service", "cli") for path in (ROOT / folder).glob("*.c")]
    used = {name for path in sources for name in re.findall(r'"(GUEST_PULL_[A-Z_]+)"', path.read_text())}
    documented = {name for program in PROGRAMS for name in re.findall(r"^\.It Ev (GUEST_PULL_[A-Z_]+)", man_source(program), re.M)}
    assert len(used) > 2 and used == documented


def test_operations_manual_explains_every_error():
    text = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| (\d+) `([\w-]+)`( \(retry\))? \|", text, re.M)
    assert [(name, int(status), bool(retry)) for status, name, retry in rows] == error_table()


def test_service_man_page_has_every_metric():
    text = man_source("guest-pulld")
    metrics = set(re.findall(r'add_(?:metric|labelled)\(text, "(\w+)"', (ROOT / "service/status.c").read_text()))
    assert metrics
    assert {name for name in metrics if f"guest_pull_{name}" not in text} == set()


@pytest.mark.parametrize("page", [*PROGRAMS.values(), POLICY_PAGE])
def test_man_page_is_sound(page):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint", ROOT / "docs/man" / page], capture_output=True, text=True, check=False)
    problems = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line and "makewhatis" not in line]
    assert problems == []
    shown = subprocess.run(["mandoc", "-T", "utf8", ROOT / "docs/man" / page], capture_output=True, text=True, check=True)
    assert max(len(re.sub(".\b", "", line)) for line in shown.stdout.splitlines()) <= 80


def test_operations_manual_has_the_words_that_kata_looks_for():
    code = (ROOT / "service/pull_report.c").read_text().split("known_words(")[1].split("\n}\n")[0]
    words = re.findall(r'"([A-Z][^"]*: )"', re.sub(r'"\s+"', "", code))
    assert len(words) == 3
    text = (ROOT / "docs/operations.md").read_text()
    assert [word for word in words if f"`{word}`" not in text] == []


# ---- policies

def policy_words():
    """Types, keys and identity rules of a policy, as the parser has them."""
    requirement = (ROOT / "policy/requirement.c").read_text()
    types = re.findall(r'\[GP_REQUIREMENT_\w+\] = \{"([\w/-]+)"', requirement)
    keys = re.findall(r'"([\w/-]+)"', requirement.split("keys[] = {")[1].split("}")[0])
    rules = re.findall(r'\[GP_IDENTITY_\w+\] = "(\w+)"', (ROOT / "policy/identity_rule.c").read_text())
    signers = re.findall(r'\{"(\w+)", GP_SUBJECT', (ROOT / "policy/signer_rule.c").read_text())
    assert len(types) == 9 and len(keys) > 20 and len(rules) == 6 and len(signers) == 5
    return {*types, *keys, *rules, *signers} - {"type", "keyDatas", "baseLayerIdentity"}


def test_policy_manuals_have_every_word_of_the_parser():
    reference, page = (ROOT / "docs/policy.md").read_text(), (ROOT / "docs/man" / POLICY_PAGE).read_text()
    for word in policy_words():
        written = "`…" + word.removeprefix("rekorPublicKey") + "`" if word.startswith("rekorPublicKey") else word
        assert written in reference or word in reference, word
        assert word in page, word


def test_examples_of_the_policy_manual_are_policies(work):
    blocks = re.findall(r"^```json\n(.*?)^```", (ROOT / "docs/policy.md").read_text(), re.M | re.S)
    assert len(blocks) >= 10
    for block in blocks:
        (work / "policy.json").write_text(block if '"default"' in block else '{"default": [%s]}' % block)
        done = subprocess.run([BUILD / "bin/guest-pull", "policy", "check", work / "policy.json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (block, done.stderr)


# ---- completion

def complete(line, cwd=ROOT, setup=""):
    """What bash offers at the end of `line`, as the completion function sees it."""
    script = f'''
source {BASH}
{setup}
COMP_LINE=$1 COMP_POINT=${{#1}}
{"_guest_pulld" if line.startswith("guest-pulld") else "_guest_pull"}
printf '%s\\n' "${{COMPREPLY[@]}}"'''
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", line], capture_output=True, text=True, cwd=cwd, check=False,
                          env={**os.environ, "PATH": f"{BUILD}/bin:{os.environ['PATH']}"})
    assert done.stderr == ""
    return sorted(word for word in done.stdout.splitlines() if word)


@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_offers_the_options_of_help_and_no_others(program):
    expected = sorted(name + "=" * value for name, value in help_options(program).items() if name.startswith("--"))
    assert complete(f"{program} -") == expected


@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_knows_which_options_take_a_value(program, work):
    """Behind one that does, the next word is its value: nothing that a command begins with."""
    for name, takes_value in help_options(program).items():
        offered = complete(f"{program} {name} umou", cwd=work)
        assert offered == ([] if takes_value or program == "guest-pulld" else ["umount"]), name
        if program == "guest-pull":
            assert complete(f"{program} {name} x umou", cwd=work) == (["umount"] if takes_value else []), name


def test_bash_offers_the_commands_of_help():
    first = sorted({name.split()[0] for name in help_commands()})
    assert complete("guest-pull ") == first
    for group in {name.split()[0] for name in help_commands() if " " in name}:
        assert complete(f"guest-pull {group} ") == sorted(name.split()[1] for name in help_commands() if name.startswith(group + " "))


def own_options():
    """Of verify-bundle, which reads its arguments itself."""
    text = subprocess.run([BUILD / "bin/guest-pull", "verify-bundle", "--help"], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(--[a-z-]+=?)", text.split("Options:", 1)[1])))


def test_own_options_of_verify_bundle():
    assert complete("guest-pull verify-bundle -") == own_options()
    text = man_section("guest-pull", "COMMANDS").split(".It Cm verify-bundle")[1].split(".It Cm ")[0]
    assert {name.rstrip("=") for name in own_options()} - {"--" + name for name in re.findall(r"Fl -([a-z-]+)", text)} == {"--help", "--json"}
    function = re.search(r"^_guest-pull-sigstore-bundle\(\) \{\n(.*?)^\}", ZSH.read_text(), re.S | re.M).group(1)
    assert sorted(re.findall(r"'(--[a-z-]+=?)\[", function) + ["--help"]) == own_options()


def test_bash_completes_values(work):
    (work / "store").mkdir()
    (work / "story.json").touch()
    (work / "a b").mkdir()
    for line, offered in {
        "guest-pull --policy sto": ["store", "story.json"],
        "guest-pull --policy=sto": ["store", "story.json"],
        "guest-pull --store sto": ["store"],
        "guest-pull --store=sto": ["store"],
        "guest-pull -b sto": ["store"],
        "guest-pull --json --timeout 3 ver": ["verify", "verify-bundle"],
        "guest-pull --store=store ver": ["verify", "verify-bundle"],
        "guest-pull verify-bundle --bundle sto": ["store", "story.json"],
        "guest-pull verify-bundle --key=sto": ["store", "story.json"],
        "guest-pull verify-bundle --certificate-identity sto": [],
        "guest-pull verify-bundle --bundle b sto": ["store", "story.json"],
        "guest-pull verify oci:sto": ["store"],
        "guest-pull pull d": ["dir:", "docker://"],
        "guest-pull umount a\\ ": ["a b"],
        "guest-pull policy check sto": ["store", "story.json"],
        "guest-pull images sto": [],
        "guest-pull --platform linux/a": ["linux/amd64", "linux/arm64"],
        "guest-pulld --log-format=j": ["journald", "json"],
        "guest-pulld --upstream ": ["none", "unix:"],
        "guest-pulld --upstream=n": ["none"],
        "guest-pulld --exec-upstream sto": ["store", "story.json"],
        "guest-pulld -c sto": ["store", "story.json"],
    }.items():
        assert complete(line, cwd=work) == offered, line


def test_bash_offers_stored_images_to_rm(work, registry):
    name = Image([Layer([Dir("etc"), File("etc/motd", "hi")])]).push(registry, work.repository(), "one")
    policy = write_policy(work / "policy.json", {registry.host: {"type": "insecureAcceptAnything"}})
    (work / "config.toml").write_text(f'[guest_pull]\nruntime_dir = "{work}/run"\n')
    digest = work.pull(name, "--config", work / "config.toml", policy=policy, registry=registry).json["manifestDigest"]
    keep = "COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=]}"
    assert complete(f"guest-pull --store={work.store} rm ", setup=keep) == sorted([digest, name])
    assert complete(f"guest-pull rm --store {work.store} {digest[:9]}", setup=keep) == [digest]
    assert complete(f"guest-pull --store {work.store} rm {digest[:9]}") == [digest.removeprefix("sha256:")]
    assert complete("guest-pull --store /nowhere rm ") == []


def test_what_a_stored_image_is_called_is_not_expanded(work):
    """A name is data: completing it must not run it."""
    setup = f"_guest_pull_images() {{ printf '%s\\n' '$(touch {work}/ran)' '`touch {work}/ran`'; }}"
    assert complete("guest-pull rm ", setup=setup) == sorted([f"$(touch {work}/ran)", f"`touch {work}/ran`"])
    assert not (work / "ran").exists()


class Terminal:
    """An interactive shell on a terminal, with `start` typed first, which prints "ready"."""

    def __init__(self, cwd, command, start):
        environment = {"PATH": f"{BUILD}/bin:{os.environ['PATH']}", "PS1": "", "TERM": "dumb", "HOME": str(cwd), "INPUTRC": "/dev/null"}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, environment)
        os.write(self.fd, start.encode())
        self.read_until("ready")

    def read_until(self, wanted, seconds=20):
        seen, end = "", time.monotonic() + seconds
        while wanted not in seen and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.2)[0]:
                seen += os.read(self.fd, 4096).decode(errors="replace")
        assert wanted in seen, seen
        return seen

    def tab(self, line, wanted):
        """Types `line` and a tab until the terminal shows `wanted`, then drops the line."""
        os.write(self.fd, line.encode() + b"\t")
        self.read_until(wanted)
        os.write(self.fd, b"\x15")

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def test_bash_on_a_terminal(work):
    """bash itself decides what it keeps of a word with ":" and "=": the whole line must come out right."""
    (work / "store").mkdir()
    start = f"PS1= PS2=; source {BASH}; bind 'set enable-bracketed-paste off'; echo re''ady\n"
    terminal = Terminal(work, ["bash", "--norc", "--noprofile", "-i"], start)
    try:
        terminal.tab("guest-pull pol", "guest-pull policy ")
        terminal.tab("guest-pull --store=sto", "guest-pull --store=store/")
        terminal.tab("guest-pull verify oci:sto", "guest-pull verify oci:store/")
        terminal.tab("guest-pull pull doc", "guest-pull pull docker://")
        terminal.tab("guest-pulld --upstream=no", "guest-pulld --upstream=none")
    finally:
        terminal.close()


def test_zsh_has_the_options_and_commands_of_help():
    text = ZSH.read_text()
    for program, part in {"guest-pull": "puller", "guest-pulld": "service"}.items():
        function = re.search(rf"^_guest-pull-{part}\(\) \{{\n(.*?)^\}}", text, re.S | re.M).group(1)
        offered = {}
        for line in re.findall(r"""^ {8}["'(](.*)$""", function, re.M):
            for name, value in re.findall(r"(?:^|[{,*])\*?(-{1,2}[\w-]+)([+=]?)(?=[\[,}+=])", line.split("[")[0] + "["):
                offered[name] = bool(value)
        assert offered == help_options(program)
    verbs = re.findall(r"""^ +["']([a-z-]+):""", text, re.M)
    for name in help_commands():
        words = name.split()
        assert words[0] in verbs and (len(words) == 1 or words[1] in verbs or re.search(rf"compadd -- .*\b{words[1]}\b", text)), name


def test_zsh_on_a_terminal(work):
    """The second program of the file too, and after the first: what it defines must not take its own place."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    (work / "store").mkdir()
    start = f"PS1= PS2= RPS1=; fpath=({ZSH.parent} $fpath); autoload -Uz compinit; compinit -u -D; echo re''ady\n"
    terminal = Terminal(work, ["zsh", "-f", "-i"], start)
    try:
        terminal.tab("guest-pull pol", "guest-pull policy ")
        terminal.tab("guest-pull verify oci:sto", "guest-pull verify oci:store/")
        terminal.tab("guest-pull --store=sto", "guest-pull --store=store/")
        terminal.tab("guest-pulld --upstream=no", "guest-pulld --upstream=none")
    finally:
        terminal.close()
