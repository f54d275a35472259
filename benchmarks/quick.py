"""Ratios to a yardstick of the same run, in less than a minute: has anything become twice as slow?

Each ratio is how often the work could be done in the time of its yardstick, by processor time on
one thread, the least of repeats in turn: machines differ, and what else they do; ratios within one
run much less. `results/quick.json` keeps them; one that falls to less than half of what is kept
fails, and is measured once more before it does. What cannot be measured says why.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
from keeping import RESULTS, keep, kept_in
from scipy import fft

KEPT = RESULTS / "quick.json"
FALLS_BY = 2.0
"""A ratio that falls by more is a fault."""
REPEATS, ENOUGH_S = 4, 0.02
"""Every repeat takes so long at least: what is faster is done several times."""


@dataclass(frozen=True)
class Ratio:
    """What is measured, and in what.

    Attributes
    ----------
    work, yardstick
        Called again and again.
    per
        How many yardsticks a unit of the work is held against, so that ratios are near one another.
    """

    work: Callable[[], Any]
    yardstick: Callable[[], Any]
    per: float = 1.0


def measured(one: Ratio) -> float:
    """Return how often the work is done while the yardstick is."""
    calls = {work: _calls(work) for work in (one.work, one.yardstick)}
    least = dict.fromkeys(calls, np.inf)
    for _ in range(REPEATS):
        for work, n in calls.items():
            began = time.process_time()
            for _ in range(n):
                work()
            least[work] = min(least[work], (time.process_time() - began) / n)
    return float(one.per * least[one.yardstick] / least[one.work])


def _calls(work: Callable[[], Any]) -> int:
    """Return how often something is called in a repeat; the first call compiles, and does not count."""
    work()
    began = time.process_time()
    work()
    return 1 + int(ENOUGH_S / max(time.process_time() - began, 1e-6))


def fallen(found: Mapping[str, float], kept: Mapping[str, float]) -> list[str]:
    """Return the names of ratios that have fallen by more than `FALLS_BY`.

    >>> fallen({"frame": 0.4, "linking": 0.6, "new": 0.1}, {"frame": 1.0, "linking": 1.0, "gone": 1})
    ['frame']
    """
    return [name for name, ratio in found.items() if FALLS_BY * ratio < kept.get(name, 0.0)]


def judged_ratios(names: list[str] | None = None, *, keep_them: bool = False) -> int:
    """Measure ratios, print them beside those that are kept; return 1 if one fell, else 0.

    Parameters
    ----------
    names
        Which ones, by default all.
    keep_them
        Whether they are kept from now on.
    """
    from quick_ratios import RATIOS

    unknown = set(names or []) - set(RATIOS)
    if unknown:
        print(f"there is no quick ratio {min(unknown)!r}; there are {', '.join(sorted(RATIOS))}")
        return 2
    kept = kept_in(KEPT).get("ratios", {})
    found: dict[str, float] = {}
    missing: dict[str, str] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(), _silence():
        warnings.simplefilter("ignore")
        for name in names or RATIOS:
            make = partial(RATIOS[name], Path(scratch))
            try:
                found[name] = _unless_fallen(make, kept.get(name, 0.0))
            except ImportError as error:  # a peer that is not there is a row that says so
                missing[name] = f"not measured: {error}"
            print(_line(name, found, kept, missing), flush=True)
            if keep_them:  # one by one, so that who stops it loses none
                kept |= {key: round(ratio, 4) for key, ratio in found.items()}
                keep({"ratios": kept}, KEPT)
    print(f"{len(found)} ratios in {time.monotonic() - began:.0f} s")
    return int(bool(fallen(found, kept)))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep logs back: what a few frames cannot tell is known."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _unless_fallen(make: Callable[[], Ratio], kept: float) -> float:
    """Return a ratio; the larger of two where the first one fell, as a machine may hiccup."""
    with dask.config.set(scheduler="synchronous"):
        ratio = measured(make())
        if fallen({"it": ratio}, {"it": kept}):
            ratio = max(ratio, measured(make()))
    return ratio


def _line(
    name: str, found: Mapping[str, float], kept: Mapping[str, float], missing: Mapping[str, str]
) -> str:
    if name in missing:
        return f"{name:14s} {missing[name]}"
    before = kept.get(name)
    said = "new"
    if before is not None:
        said = f"{found[name] / before:5.2f} of the kept {before:.4g}"
    if fallen({name: found[name]}, kept):
        said += "  FELL"
    return f"{name:14s} {found[name]:9.4g}  {said}"


def pair(edge: int) -> Callable[[], Any]:
    """Return what transforms a frame and back: the yardstick of what looks at pixels."""
    frame = np.random.default_rng(0).normal(size=(edge, edge)).astype(np.float32)
    return lambda: fft.irfftn(fft.rfftn(frame), s=frame.shape)


def sorting(n_rows: int) -> Callable[[], Any]:
    """Return what sorts rows by two columns: the yardstick of what looks at rows."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 1000, n_rows), rng.integers(0, 1000, n_rows)
    return lambda: np.lexsort((first, second))
