"""Broken files by the ten thousand: every parser opens them or refuses them in one sentence.

What tests/test_fuzz_readers.py asks of hundreds of inputs, the same ones every time, is asked here
of many more, and of other ones each time. An input that fails is printed as Hypothesis shrank it.

    python benchmarks/bench_fuzz.py                    # a quarter of an hour on two cores
    python benchmarks/bench_fuzz.py --inputs 200000
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
N_INPUTS = 24_000
"""Mutated inputs, all parsers together."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=N_INPUTS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    command = [sys.executable, "-m", "pytest", "tests/test_fuzz_readers.py"]
    command += ["-n", str(asked.processes), "--dist", "worksteal"]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "STEMKIN_FUZZ_INPUTS": str(asked.inputs)}, check=False
    )
    print(f"{asked.inputs} broken inputs in {time.monotonic() - began:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
