"""The arrows of the house, checked by the includes: base <- {policy, sigstore, storage} <- puller <- {service, cli}.

Prints every include that goes against them and exits 1; prints nothing and exits 0 when all is well.
"""

import pathlib
import re
import sys

MAY_INCLUDE = {
    "base": {"base"},
    "policy": {"base", "policy"},
    "sigstore": {"base", "sigstore"},
    "storage": {"base", "storage"},
    "puller": {"base", "policy", "sigstore", "storage", "puller"},
    "service": {"base", "policy", "sigstore", "storage", "puller", "service"},
    "cli": {"base", "policy", "sigstore", "storage", "puller", "cli"},
}


def main() -> int:
    top = pathlib.Path(__file__).resolve().parent.parent
    bad = 0
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted([*(top / folder).glob("*.c"), *(top / folder).glob("*.h")]):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not match:
                    continue
                target = match.group(1).split("/")[0]
                if "/" not in match.group(1) or target not in allowed:
                    print(f"{path.relative_to(top)}:{number}: {folder}/ may not include {match.group(1)}")
                    bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
