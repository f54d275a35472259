"""Compiles what all processes of the tests need, once, before they start.

A loop that nobody has called since stemkin was installed is compiled where it is called first, and
kept beside its file. Three processes that begin at once would each compile the same fifty loops.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIXELS = ["-m", "tests.used_once"]
"""Learns and searches a small movie: most of the loops."""
TRACKS = ["-m", "tests.loops"]
"""Fits rates and steps to a small table of tracks."""
ASSERTIONS = ["-m", "pytest", "-n", "0", "--collect-only", "-p", "no:cacheprovider"]
"""Looks for the tests, which writes their files again so that a failure shows its numbers."""


def make_ready() -> None:
    """Compile loops and rewrite test files, on two cores; who is broken is told by the tests.

    Where loops were compiled before, what has changed since is compiled by who needs it.
    """
    if any((ROOT / "stemkin" / "kernels").rglob("*.nbi")):
        return
    pixels = _start(PIXELS)
    for words in (TRACKS, ASSERTIONS):
        _start(words).wait()
    pixels.wait()


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=quiet, stderr=quiet)


def fit_tracks() -> None:
    """Call each loop that numbers of tracks need."""
    import numpy as np
    import pandas as pd

    import stemkin as sk

    generator = np.random.default_rng(1)
    steps = generator.integers(-1, 2, (40, 30, 2)).cumsum(axis=1) * 0.3
    rows = pd.DataFrame(
        {
            "movie": "once",
            "particle": np.repeat(np.arange(40), 30),
            "frame": np.tile(np.arange(30), 40),
            "class_id": generator.integers(0, 2, 1200).cumsum() // 9 % 2,
            "y_nm": steps[..., 0].ravel(),
            "x_nm": steps[..., 1].ravel(),
        }
    )
    sk.transitions(rows, frame_time_s=1.0)
    sk.fit_diffusion(rows, frame_time_s=1.0)


if __name__ == "__main__":
    fit_tracks()
