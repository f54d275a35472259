"""Tables of what is true of a simulated movie, from the same sightings that its frames show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stemkin.materials import COMPLEX
from stemkin.simulation.bad_frames import statuses
from stemkin.simulation.columns import turned
from stemkin.simulation.crystal import BOND, BOUND
from stemkin.simulation.damage import area_fractions, has_damage
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.rates import CAUSES
from stemkin.simulation.scene import area_and_time, sightings, sojourns
from stemkin.simulation.settings import Settings


def defects_table(movie: str, settings: Settings, start: int, stop: int) -> pd.DataFrame:
    """Return the defects in sight in frames `start` to `stop` (excluded), ordered by frame, y, x.

    Returns
    -------
    Columns `movie`, `frame`, `kind`, `orientation`, `site`, `particle`, `y`, `x` [px, raw frame],
    `y_nm`, `x_nm` [drift-corrected]; see `Truth.defects_between`.
    """
    seen = sightings(settings, start, stop)
    pixel = settings.instrument.pixel_size_nm
    columns = {
        "movie": _repeated(movie, len(seen)),
        "frame": seen["frame"].astype(np.int32),
        "kind": _named(settings.material.kinds, seen["kind"]),
        "orientation": seen["orientation"],
        "site": seen["site"],
        "particle": seen["particle"],
        "y": seen["y"],
        "x": seen["x"],
        "y_nm": seen["sample_y"] * pixel,
        "x_nm": seen["sample_x"] * pixel,
    }
    return pd.DataFrame(columns)


def partners_table(movie: str, settings: Settings, start: int, stop: int) -> pd.DataFrame:
    """Return where the vacancies of the complexes are in frames `start` to `stop` (excluded).

    Returns
    -------
    Columns `movie`, `frame`, `particle` (of the complex), `y`, `x` [px, raw frame].
    """
    # A complex lies at its dopant, so one whose vacancy is in sight may itself be out of sight.
    margin_px = settings.material.a_nm / settings.instrument.pixel_size_nm
    seen = sightings(settings, start, stop, margin_px=margin_px)
    seen = seen[seen["kind"] == COMPLEX]
    offset = turned(settings, BOUND[seen["orientation"]] + BOND, seen["turn"])
    columns = {
        "movie": _repeated(movie, len(seen)),
        "frame": seen["frame"].astype(np.int32),
        "particle": seen["particle"],
        "y": seen["y"] - seen["off_y"] + offset[:, 0],
        "x": seen["x"] - seen["off_x"] + offset[:, 1],
    }
    return pd.DataFrame(columns)


def frames_table(movie: str, settings: Settings, start: int, stop: int) -> pd.DataFrame:
    """Return what is true of frames `start` to `stop` (excluded); see `Truth.frames_between`."""
    frames = np.arange(start, stop)
    shifts = shifts_px(settings, frames)
    n_defects = np.bincount(
        sightings(settings, start, stop)["frame"] - start, minlength=len(frames)
    )
    broken = _broken_fractions(settings, frames, shifts)
    columns = {
        "movie": _repeated(movie, len(frames)),
        "frame": frames.astype(np.int32),
        "time_s": frames * settings.instrument.frame_time_s,
        "status": pd.Series(statuses(settings, start, stop), dtype="str"),
        "shift_y": shifts[:, 0],
        "shift_x": shifts[:, 1],
        "n_defects": n_defects,
        "vacuum": broken[:, 0],
        "moved": broken[:, 1],
    }
    return pd.DataFrame(columns)


def _broken_fractions(settings: Settings, frames: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the (n, 2) area fractions of vacuum and of the moved fragment in each frame."""
    fractions = np.zeros((len(frames), 2))
    if has_damage(settings):
        for n, frame in enumerate(frames.tolist()):
            area, time_s = area_and_time(settings, frame)
            fractions[n] = area_fractions(settings, area, time_s, shifts[n])
    return fractions


def sojourns_table(movie: str, settings: Settings, area: int) -> pd.DataFrame:
    """Return every state of every defect of one area; see `Truth.sojourns_of`."""
    rows = sojourns(settings, area)
    start_s = area * settings.kinetics.area_frames * settings.instrument.frame_time_s
    columns = {
        "movie": _repeated(movie, len(rows)),
        "area": np.full(len(rows), area, np.int32),
        "particle": rows["particle"],
        "kind": _named(settings.material.kinds, rows["kind"]),
        "orientation": rows["orientation"],
        "start_s": rows["start_s"] + start_s,
        "end_s": rows["end_s"] + start_s,
        "cause": _named(CAUSES, rows["cause"]),
        "fate": _named(CAUSES, rows["fate"]),
    }
    return pd.DataFrame(columns)


def events_table(sojourns: pd.DataFrame) -> pd.DataFrame:
    """Return every change at its exact time, from the table of sojourns.

    Returns
    -------
    Columns `movie`, `time_s`, `event`, `particle`, `kind` and `orientation` (those before it),
    ordered by time.
    """
    ended = sojourns[sojourns["fate"] != "end"].rename(columns={"end_s": "time_s", "fate": "event"})
    columns = ["movie", "time_s", "event", "particle", "kind", "orientation"]
    return ended[columns].sort_values("time_s", kind="stable", ignore_index=True)


def transition_counts_table(
    defects: pd.DataFrame, kinds: Sequence[str], lag_frames: int
) -> pd.DataFrame:
    """Return how often a defect of one kind (rows) was of another (columns) `lag_frames` later."""
    before = defects[["particle", "frame", "kind"]]
    after = before.assign(frame=before["frame"] - lag_frames)
    pairs = before.merge(after, on=["particle", "frame"], suffixes=("", "_after"))
    counts = pd.crosstab(pairs["kind"], pairs["kind_after"])
    return counts.reindex(index=list(kinds), columns=list(kinds), fill_value=0)


def _repeated(movie: str, n_rows: int) -> pd.Series:
    return pd.Series(movie, index=range(n_rows), dtype="str")


def _named(names: Sequence[str], numbers: np.ndarray) -> pd.Series:
    """Return the word that each of `numbers` (m,) stands for."""
    return pd.Series(np.asarray(names, dtype=object)[numbers], dtype="str")
