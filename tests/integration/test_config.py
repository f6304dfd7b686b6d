"""Configuration files, as guest-pull reads them: config show, and what pulls make of them. The grammar's every row is in
tests/unit/puller/test_config.c."""

import json

import pytest

from lib import *
from settings import write_config

ACCEPT = '{"default":[{"type":"insecureAcceptAnything"}]}'
REJECT_ALL = '{"default":[{"type":"reject"}]}'


def show(config, *more, env=None) -> dict:
    """config show --json with rows by name."""
    shown = guest_pull("config", "show", "--json", "--config", config, *more, env=env).json
    return {**shown, "rows": {row["name"]: (row["value"], row["origin"]) for row in shown["settings"]}}


def test_origins(work):
    config = write_config(work / "cdh.toml", {"work_dir": "/run/image", "image_security_policy_uri": "kbs:///a/b/c", "future": 1},
                          {"max_parallel": 7, "plain_http": ["r.example:80"]}, text="[kbc]\nname = 'cc_kbc'\n")
    shown = show(config, "--timeout", "33", "--max-parallel", "2", env={"GUEST_PULL_CDH_SOCKET": "unix:///s"})
    assert shown["file"] == config and shown["ignored"] == ["[image] future"]
    for name, expected in {
            "policy": ("kbs:///a/b/c", f"{config}: [image] image_security_policy_uri"),
            "store": ("/run/image", f"{config}: [image] work_dir"),
            "plain_http": (["r.example:80"], f"{config}: [guest_pull] plain_http"),
            "max_parallel": (2, "command line: --max-parallel"),
            "timeout": (33, "command line: --timeout"),
            "cdh_socket": ("/s", "environment: GUEST_PULL_CDH_SOCKET"),
            "rw_size": ("50%", "default"),
            "authfile": (None, "default")}.items():
        assert shown["rows"][name] == expected, name


def test_for_people(work):
    config = write_config(work / "cdh.toml", {"work_dir": "/run/image", "future": 1, "image_pull_proxy": {"http_proxy": "x"}}, {"timeout": 5})
    text = guest_pull("config", "show", "--config", config).stdout
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["store"].endswith(f"/run/image  ({config}: [image] work_dir)")
    assert lines["timeout"].endswith(f"5  ({config}: [guest_pull] timeout)")
    assert lines["ignored"].endswith("[image] future")
    assert lines["http_proxy"].endswith(f"x  ({config}: [image.image_pull_proxy] http_proxy)")


def test_json_file(work):
    for name, blank in (("c.json", ""), ("c.conf", " \n")):
        (work / name).write_text(blank + json.dumps({"image": {"work_dir": "/x"}, "guest_pull": {"timeout": 9}}))
        assert show(work / name)["rows"]["timeout"][0] == 9
    (work / "c.json").write_text('{"guest_pull": {}, "guest_pull": {}}')
    refused = guest_pull("config", "show", "--json", "--config", work / "c.json", check=USAGE)
    assert "duplicate" in refused.message


def test_secrets_are_not_shown(work):
    config = write_config(work / "cdh.toml", {
        "image_security_policy": ACCEPT, "image_pull_proxy": {"https_proxy": "http://user:pass@proxy"},
        "extra_root_certificates": ["-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n"]})
    for arguments in (["--json"], []):
        text = guest_pull("config", "show", "--config", config, *arguments).stdout
        assert "pass" not in text and "Zm9v" not in text and "insecureAccept" not in text
        assert "(1 certificate)" in text and f"(inline, {len(ACCEPT)} bytes, {digest_of(ACCEPT.encode())})" in text


@pytest.mark.parametrize("text, words", [
    ("[guest_pull]\npolicyy = '/p'\n", 'guest_pull.policyy: unknown key (did you mean "policy"?)'),
    ("[guest_pull]\ntimeout = 1\ntimeout = 2\n", "line 3"),
    ("[guest_pull", "line 1"),
    ("[guest_pull]\ntimeout = '5'\n", "[guest_pull] timeout: must be a whole number from 1 to 86400"),
    ("guest_pull = 1\n", "image and guest_pull must be sections"),
])
def test_a_broken_file_stops_everything(text, words, work):
    config = work / "cdh.toml"
    config.write_text(text)
    for command in (["config", "show"], ["pull", "r.example/a", "--bundle", work.bundle], ["images"]):
        refused = guest_pull(*command, "--json", "--config", config, check=USAGE)
        assert words in refused.message and str(config) in refused.message
    assert guest_pull("ref", "--config", config, "a").status == OK, "which needs no configuration"


def test_a_named_file_must_exist(work):
    refused = guest_pull("config", "show", "--json", "--config", work / "none.toml", check=USAGE)
    assert f"{work}/none.toml" in refused.message


def test_a_huge_file(work):
    (work / "cdh.toml").write_text("#" * (1 << 20) + "\n")
    refused = guest_pull("config", "show", "--json", "--config", work / "cdh.toml", check=LIMIT)
    assert "cdh.toml" in refused.message or "configuration" in refused.message


@pytest.mark.parametrize("dots", ["a" + ".a" * 200000 + " = 1\n", "[a" + ".a" * 200000 + "]\n", "a = " + "[" * 400000],
                         ids=["keys", "header", "arrays"])
def test_a_deep_file_is_an_error_and_no_crash(dots, work):
    (work / "cdh.toml").write_text(dots)
    refused = guest_pull("config", "show", "--json", "--config", work / "cdh.toml", check=None)
    assert refused.status in (LIMIT, USAGE), refused
    assert "cdh.toml" in refused.message


def image_and_options(work, registry, image: dict, own: dict) -> tuple[str, list]:
    name = Image([Layer([File("hello", "hi")])]).push(registry, work.repository(), "latest")
    config = write_config(work / "cdh.toml", {"work_dir": str(work.store), "image_security_policy": ACCEPT, **image},
                          {"allow_unencrypted_store": True, "runtime_dir": str(work / "run"),
                           **({} if registry.ca else {"plain_http": [registry.host]}), **own})
    return name, ["--json", "--config", config, "--bundle", work.bundle]


@pytest.mark.parametrize("key, value", [("registry_config", ""), ("image_pull_proxy", {"https_proxy": "", "no_proxy": ""})])
def test_what_is_empty_is_not_set(key, value, work, registry):
    name, options = image_and_options(work, registry, {key: value}, {})
    guest_pull("pull", name, *options)


def test_the_command_line_wins(work, registry):
    name, options = image_and_options(work, registry, {"image_security_policy": REJECT_ALL}, {"measurement": "off"})
    guest_pull("verify", name, *options, check=POLICY)
    (work / "policy.json").write_text(ACCEPT)
    done = guest_pull("pull", name, *options, "--policy", work / "policy.json", "--store", work / "other")
    assert done.json["measurement"] == "off" and (work / "other").exists() and not work.store.exists()


def test_our_section_wins_over_image(work, registry):
    (work / "policy.json").write_text(REJECT_ALL)
    name, options = image_and_options(work, registry, {}, {"policy": str(work / "policy.json")})
    refused = guest_pull("pull", name, *options, check=POLICY)
    assert "denied by policy" in refused.message


def test_extra_root_certificates(work, registry_tls):
    with open(registry_tls.ca) as ca:
        pem = ca.read()
    name, options = image_and_options(work, registry_tls, {"extra_root_certificates": [pem]}, {})
    guest_pull("pull", name, *options)
    assert (work.rootfs / "hello").exists()
    name, options = image_and_options(work, registry_tls, {}, {})
    refused = guest_pull("verify", name, *options, check=NETWORK)
    assert "certificate" in refused.message
    damaged = pem.replace("MII", "!!!", 1)
    name, options = image_and_options(work, registry_tls, {"extra_root_certificates": [damaged]}, {})
    refused = guest_pull("verify", name, *options, check=USAGE)
    assert "extra_root_certificates" in refused.message


def test_bundle_roots(work, registry):
    (work / "allowed").mkdir()
    name, options = image_and_options(work, registry, {}, {"bundle_roots": [str(work / "allowed")]})
    refused = guest_pull("pull", name, *options, check=USAGE)
    assert f"bundle {work.bundle}: not below any of bundle_roots" in refused.message
    (work / "allowed/link").symlink_to(work.bundle)
    options[-1] = work / "allowed/link"
    guest_pull("pull", name, *options, check=USAGE)
    (work / "allowed/b").mkdir()
    options[-1] = work / "allowed/b"
    guest_pull("pull", name, *options)


def test_runtime_dir(work, registry):
    name, options = image_and_options(work, registry, {}, {})
    guest_pull("pull", name, *options)
    assert (work / "run/mounts").is_dir() and (work / "run/receipts").is_dir()
    refused = guest_pull("rm", name, "--json", "--config", work / "cdh.toml", check=INVALID)
    assert "is mounted in" in refused.message
    # From another store with the same runtime directory the image may go.
    other = ["--config", work / "cdh.toml", "--store", work / "other"]
    (work / "second").mkdir()
    guest_pull("pull", name, "--json", "--bundle", work / "second", *other)
    guest_pull("umount", work / "second", *other)
    guest_pull("rm", name, *other)
    guest_pull("umount", work.bundle, "--config", work / "cdh.toml")
    guest_pull("rm", name, "--config", work / "cdh.toml")
