"""Prints what "make coverage" found in BUILD: lines and functions that were reached, a row a folder, then the files that were reached least.

A header's lines count once, whichever program reached them. Files that no program was linked with count as not reached.
"""

import collections
import json
import pathlib
import subprocess
import sys

FOLDERS = ("base", "policy", "sigstore", "storage", "puller", "service", "cli")
LEAST = 15


def read(build: pathlib.Path) -> dict[str, tuple[dict, dict]]:
    """File → ({line: count}, {function: count}), added up over all objects that have it."""
    found = collections.defaultdict(lambda: (collections.Counter(), collections.Counter()))
    notes = sorted(path for folder in FOLDERS for path in (build / "obj" / folder).glob("*.gcno"))
    for start in range(0, len(notes), 50):
        gcov = subprocess.run(["gcov", "--json-format", "--stdout", *map(str, notes[start:start + 50])], capture_output=True, text=True, check=True)
        for text in gcov.stdout.splitlines():
            for file in json.loads(text)["files"]:
                lines, functions = found[file["file"].removeprefix("./")]
                for line in file["lines"]:
                    lines[line["line_number"]] += line["count"]
                for function in file["functions"]:
                    if not function["name"].startswith("glib_"):  # what G_DEFINE_AUTOPTR_CLEANUP_FUNC() makes
                        functions[function["name"]] += function["execution_count"]
    return {name: counts for name, counts in found.items() if name.split("/")[0] in FOLDERS}


def row(name: str, counts: list[tuple[dict, dict]]) -> str:
    cells = []
    for which in (0, 1):
        total = sum(len(count[which]) for count in counts)
        reached = sum(1 for count in counts for times in count[which].values() if times)
        cells.append(f"{reached:6} of {total:6}  {100 * reached / max(total, 1):5.1f} %")
    return f"{name:34} {cells[0]}   {cells[1]}"


def reached_part(count: tuple[dict, dict]) -> float:
    return sum(1 for times in count[0].values() if times) / max(len(count[0]), 1)


def main() -> int:
    files = read(pathlib.Path(sys.argv[1]))
    if not files:
        print(f"coverage: nothing in {sys.argv[1]}: run \"make coverage\"", file=sys.stderr)
        return 1
    print(f"{'':34} {'lines':26}   functions")
    for folder in FOLDERS:
        print(row(folder + "/", [count for name, count in files.items() if name.startswith(folder + "/")]))
    print(row("all", list(files.values())))
    print("\nreached least:")
    for name in sorted(files, key=lambda name: reached_part(files[name]))[:LEAST]:
        print(row(name, [files[name]]))
    never = sorted(f"{name}: {function}" for name, (_, functions) in files.items() for function, times in functions.items() if not times)
    print(f"\nfunctions that nothing called: {len(never)}")
    print("\n".join(f"  {text}" for text in never))
    return 0


if __name__ == "__main__":
    sys.exit(main())
