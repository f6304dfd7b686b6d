"""Runs the fuzz targets of BUILD/tests/fuzz over their kept inputs (tests/fuzz/corpus/NAME), two at once, and fails on a finding.

--seconds N  each; new inputs go to BUILD/corpus/NAME, what breaks a target to BUILD/findings/NAME-*
--keep       instead: adds the new inputs that reach new code to the kept ones
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
AT_ONCE = 2
# A target that needs more than this for one input is a finding, too.
ONE_INPUT_SECONDS, MEMORY_MB, INPUT_BYTES = 20, 2048, 65536


def fuzz(build: pathlib.Path, name: str, seconds: int) -> tuple[str, bool, str]:
    """(name, good, what to print)"""
    kept, found, findings = HERE / "corpus" / name, build / "corpus" / name, build / "findings"
    if not kept.is_dir() or not any(kept.iterdir()):
        return name, False, f"no kept inputs: put some into {kept}"
    found.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in findings.iterdir()}
    command = [build / "tests/fuzz" / name, f"-max_total_time={seconds}", f"-timeout={ONE_INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MB}",
               f"-max_len={INPUT_BYTES}", f"-artifact_prefix={findings}/{name}-", "-print_final_stats=1", "-use_value_profile=1"]
    words = HERE / f"{name}.dict"
    if words.exists():
        command.append(f"-dict={words}")
    start = time.monotonic()
    try:
        run = subprocess.run([*map(str, command), str(found), str(kept)], capture_output=True, text=True, errors="replace",
                             env=os.environ | {"UBSAN_OPTIONS": "print_stacktrace=1", "G_SLICE": "always-malloc"}, timeout=seconds + 300)
        status, output = run.returncode, run.stderr
    except subprocess.TimeoutExpired as late:
        status, output = -1, f"no end {seconds + 300} s after its start\n{(late.stderr or b'').decode(errors='replace')}"
    new = sorted(path.name for path in findings.glob(f"{name}-*") if path.name not in before)
    if status or new:
        where = "".join(f"\n  reproducer: {findings / path}\n  again with: {command[0]} {findings / path}" for path in new)
        return name, False, f"exit status {status}{where}\n" + "\n".join("    " + line for line in output.splitlines()[-60:])
    runs = re.search(r"number_of_executed_units:\s*(\d+)", output)
    edges = re.findall(r"cov: (\d+)", output)
    return name, True, (f"{runs[1] if runs else '?'} runs in {time.monotonic() - start:.0f} s, {edges[-1] if edges else '?'} edges, "
                        f"{sum(1 for _ in kept.iterdir())} kept inputs, {sum(1 for _ in found.iterdir())} found")


def keep(build: pathlib.Path, name: str) -> None:
    kept = HERE / "corpus" / name
    before = {path.name for path in kept.iterdir()}
    subprocess.run([build / "tests/fuzz" / name, "-merge=1", f"-max_len={INPUT_BYTES}", kept, build / "corpus" / name], check=True,
                   stderr=subprocess.DEVNULL)
    print(f"{name}: {len({path.name for path in kept.iterdir()} - before)} inputs added to {len(before)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("names", nargs="+")
    args = parser.parse_args()
    if args.keep:
        for name in args.names:
            keep(args.build, name)
        return 0
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for work in concurrent.futures.as_completed([pool.submit(fuzz, args.build.resolve(), name, args.seconds) for name in args.names]):
            name, good, text = work.result()
            bad += not good
            print(f"{'ok' if good else 'FAILED'} fuzz {name}: {text}", flush=True)
    print(f"{len(args.names) - bad} fuzz targets without a finding, {bad} with")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
