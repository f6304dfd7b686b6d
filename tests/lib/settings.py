"""Configuration files for tests."""

import json
import os


def write_config(path, image: dict | None = None, guest_pull: dict | None = None, text: str = "") -> str:
    """A TOML file with these two sections and `text` before them. Returns `path`. JSON's spelling of strings, numbers, booleans and lists
    is TOML's too; tables are written inline."""
    def value(what):
        if isinstance(what, dict):
            return "{" + ", ".join(f"{key} = {value(member)}" for key, member in what.items()) + "}"
        return json.dumps(what)
    lines = [text]
    for name, section in (("image", image), ("guest_pull", guest_pull)):
        if section is not None:
            lines += [f"[{name}]", *(f"{key} = {value(member)}" for key, member in section.items())]
    with open(path, "w") as out:
        out.write("\n".join(lines) + "\n")
    return os.fspath(path)
