"""Runs unit test programs (GTest, TAP) and counts: prints what failed, what was skipped and why, and one closing line.

GUEST_PULL_WRAPPER, if set, is a command put in front of each program (valgrind).
"""

import os
import re
import shlex
import subprocess
import sys


def main(programs: list[str]) -> int:
    wrapper = shlex.split(os.environ.get("GUEST_PULL_WRAPPER", ""))
    passed = failed = skipped = 0
    for program in programs:
        try:
            run = subprocess.run([*wrapper, program, "--tap"], capture_output=True, text=True, errors="replace", timeout=600)
        except subprocess.TimeoutExpired:
            failed += 1
            print(f"not ok {program}: no end after 600 s")
            continue
        name = "/".join(program.split("/")[-2:])
        seen = bad = 0
        for line in run.stdout.splitlines():
            match = re.match(r"(not )?ok \d+ ?(.*)", line)
            if not match:
                continue
            seen += 1
            if match.group(1):
                bad += 1
                print(f"not ok {name}: {match.group(2)}")
            elif "# SKIP" in line:
                skipped += 1
                print(f"skipped {name}: {match.group(2)}")
            else:
                passed += 1
        if run.returncode != 0 and not bad or not seen:
            bad += 1
            print(f"not ok {name}: exit status {run.returncode} after {seen} tests")
        if bad:
            failed += bad
            print("\n".join("    " + line for line in (run.stdout + run.stderr).splitlines()[-40:]))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
