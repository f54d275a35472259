"""Whether files are read right: several hundred of them, of every format, against their truth.

The corpus of the tests (`tests/corpus.py`), with more of each and larger: all axis orders x units x
types x compressions x one and many images x with and without calibration, written by hand or by the
format's own library. A file is right (shape, type, calibration, every pixel), refused in one
sentence, or wrong, which none may be. "compared" counts files that RosettaSciIO, tifffile, ncempy
or mrcfile read too, to the same pixels.

    python benchmarks/bench_corpus.py --scale 4 -o benchmarks/results/corpus.json
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from keeping import keep

sys.path.insert(0, str(Path(__file__).parents[1]))

from stemkin.results.journal import machine
from tests.corpus import every_case, judged, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, default=4, help="factor of frames and of pixels")
    parser.add_argument("-o", "--out", type=Path, help="JSON file for the table")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(json.dumps(machine()))
    start = time.perf_counter()
    verdicts = []
    for case in every_case(asked.scale):
        with tempfile.TemporaryDirectory() as folder:
            verdict = judged(case, Path(folder))
        verdicts.append((case, verdict))
        if not verdict.fits(case):
            print(f"{case}: {verdict.what}, but must be {case.must}: {verdict.why}")
    rows = table(verdicts)
    print(pd.DataFrame(rows).to_string(index=False))
    unfit = sum(not verdict.fits(case) for case, verdict in verdicts)
    seconds = round(time.perf_counter() - start, 1)
    print(f"{unfit} of {len(verdicts)} are not what they must be; {seconds} s")
    result = {
        "scale": asked.scale, "seconds": seconds, "unfit": unfit,
        "table": rows,
    }  # fmt: skip
    keep(result, asked.out)
    raise SystemExit(int(unfit > 0))


if __name__ == "__main__":
    main()
