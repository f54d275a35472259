"""Before the experiment: which numbers it could measure, how well, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.linking import LinkSettings
from stemkin.materials import VACANCY, material_named
from stemkin.progress import in_words
from stemkin.selfcheck.replicas import Asked, self_check
from stemkin.selfcheck.sight import Sight, sight_of
from stemkin.selfcheck.wrong_links import wrong_links
from stemkin.simulation.checks import check_physical
from stemkin.simulation.crystal import check_sampling
from stemkin.simulation.settings import Settings
from stemkin.simulation.track_worlds import TrackWorld

PerClass = float | Mapping[str, float]
"""One number, of the material's vacancy; or one for each class by its name."""

SCANNED = {
    "frames": "n_frames",
    "dose": "dose_e_per_nm2",
    "field": "field_nm",
    "pixel": "pixel_size_nm",
    "frame-time": "frame_time_s",
    "movies": "n_movies",
}
"""What may be scanned, by the words of the command line."""

GRADES = ((0.1, "well"), (0.35, "roughly"), (1.0, "a factor of two"))
"""Largest half width of the interval, relative to the value, and what such a measurement is
called; beyond them the answer is no."""


@dataclass(frozen=True, eq=False)
class ExperimentPlan:
    """What an experiment could measure.

    Attributes
    ----------
    settings
        What was asked: dose, frames, field and so on.
    cost
        `total_frames`, `time_s`, `dose_e_per_nm2` (all frames together), `electrons`.
    seen
        How well each class is seen; see `stemkin.selfcheck.sight.Sight`.
    numbers
        One row for each number: `number` (what it is), `method`, `value` (put in), `half_width`
        (typical half of the 95 % interval, relative to the value), `bias` (relative), `coverage`
        with `coverage_low`, `coverage_high`, `measured` ("well", "roughly", "a factor of two",
        "no").
    check
        Table ``self_check`` behind it.
    """

    settings: Mapping[str, Any]
    cost: Mapping[str, float]
    seen: pd.DataFrame
    numbers: pd.DataFrame
    check: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as ``--json`` writes them; what is not known is None."""
        return {
            "settings": dict(self.settings),
            "cost": dict(self.cost),
            "seen": _records(self.seen),
            "numbers": _records(self.numbers),
        }

    def describe(self) -> str:
        """Return the plan as the lines that ``stemkin plan`` prints."""
        s, cost = self.settings, self.cost
        lines = [
            f"{s['material']}, field {s['field_nm']:g} nm, pixel {1000 * s['pixel_size_nm']:g} pm, "
            f"{s['n_movies']} x {s['n_frames']} frames of {s['frame_time_s']:g} s at "
            f"{s['dose_e_per_nm2']:.3g} e/nm2",
            f"cost: {in_words(cost['time_s'])} of beam, {cost['dose_e_per_nm2']:.3g} e/nm2 on each "
            f"place, {cost['electrons']:.3g} electrons",
            "",
            "seen in one frame (one false positive per frame)",
        ]
        for row in self.seen.to_dict("records"):
            line = (
                f"  {row['name']:12} d' {row['d_prime']:5.1f}   found {100 * row['recall']:5.1f} %"
                f"   place +- {row['error_pm']:.0f} pm"
            )
            if row["taken_for"]:
                line += f"   taken for {row['taken_for']} {100 * row['misnamed']:.2g} %"
            lines.append(line)
        lines += ["", f"measured, by {s['n_runs']} simulated experiments of this kind"]
        heading = f"  {'number':34} {'value':>10} {'+-':>7} {'bias':>8} {'coverage':>9}   measured"
        lines.append(heading)
        records = cast("list[dict[str, Any]]", self.numbers.to_dict("records"))
        lines += [_line_of(row) for row in records]
        return "\n".join(lines)


@one_thread
def plan(
    *,
    dose_e_per_nm2: float = 3.6e6,
    n_frames: int = 100,
    field_nm: float = 15.0,
    pixel_size_nm: float = 0.03,
    frame_time_s: float = 2.25,
    n_movies: int = 1,
    material: str = "WS2",
    defects_per_nm2: PerClass = 0.09,
    hop_rate_per_s: PerClass | None = None,
    diffusion_nm2_per_s: PerClass | None = None,
    rates_per_s: Mapping[str, float] | None = None,
    total_dose_e_per_nm2: float | None = None,
    max_gap_frames: int = 1,
    n_runs: int = 100,
    seed: int = 0,
) -> ExperimentPlan:
    """Say which D and rates an experiment could measure, how well, at what cost. Computes once.

    Parameters
    ----------
    dose_e_per_nm2
        Electrons per nm² in one frame.
    n_frames, field_nm, pixel_size_nm, frame_time_s, n_movies
        Frames per movie, edge of the square field, edge of a pixel, time from frame to frame, and
        how many movies like that.
    material
        WS2, MoS2, WSe2, MoSe2, graphene, hBN; with a dopant if need be (``"MoS2:V"``).
    defects_per_nm2
        Density of the vacancies, or of each class by its name (``{"V_S": 0.09, "Mo_W": 0.13}``).
    hop_rate_per_s, diffusion_nm2_per_s
        How fast they move, by hops of a lattice constant (``D = a² rate / 4``) or as D, of which
        hops are made; by default the vacancies hop 0.12 times a second.
    rates_per_s
        Rates of changes of class, ``{"Mo_W->Mo_W+V_S": 0.01}``.
    total_dose_e_per_nm2
        Dose of all frames of a movie together, in place of `dose_e_per_nm2`: more frames then have
        less dose each.
    max_gap_frames
        Of the linker.
    n_runs
        Simulated experiments; coverage is known to about 0.5 / sqrt(n_runs).
    seed
        Equal seeds give equal plans.

    Returns
    -------
    `ExperimentPlan`; print its `describe()`.

    Raises
    ------
    ValueError
        If a number cannot be, a class is none of the material's, or a rate begins at a class whose
        density is not given.

    Notes
    -----
    What is seen follows from the simulator's contrast and the detectability of an ideal observer,
    of which stemkin's detector reaches `sight.OBSERVER_SHARE`; what is measured from a parametric
    bootstrap (`self_check`). Not foreseen: contamination, drift that is not found, defects that
    meet.
    """
    if total_dose_e_per_nm2 is not None:
        dose_e_per_nm2 = total_dose_e_per_nm2 / max(1, n_frames)
    asked = {
        "material": material,
        "dose_e_per_nm2": dose_e_per_nm2,
        "n_frames": n_frames,
        "field_nm": field_nm,
        "pixel_size_nm": pixel_size_nm,
        "frame_time_s": frame_time_s,
        "n_movies": n_movies,
        "n_runs": n_runs,
    }
    settings = _settings_of(asked)
    first = settings.material.kinds[VACANCY]
    densities = _by_class(defects_per_nm2, first, "defects_per_nm2", settings)
    hops = _hops(hop_rate_per_s, diffusion_nm2_per_s, first, settings)
    changes = _changes(rates_per_s or {}, densities, settings)
    named = {*densities, *hops, *(name for pair in changes for name in pair)}
    names = [kind for kind in dict.fromkeys(settings.material.kinds) if kind in named]
    sight = sight_of(settings, names)
    world = _world(names, densities, hops, changes, sight, settings, max_gap_frames)
    movies = _movies(settings, n_movies)
    mistaken = wrong_links(world, movies, LinkSettings(None, max_gap_frames))
    world = replace(world, wrong_links=mistaken)
    check = self_check(
        world,
        movies,
        asked=Asked(("auto",), settings.material.a_nm, corrected=bool(changes), numbers=True),
        n_runs=n_runs,
        seed=seed,
    )
    total = dose_e_per_nm2 * n_frames
    cost = {
        "total_frames": float(n_frames * n_movies),
        "time_s": float(n_frames * n_movies * frame_time_s),
        "dose_e_per_nm2": total,
        "electrons": total * field_nm**2 * n_movies,
    }
    return ExperimentPlan(asked, cost, sight.table, _numbers_of(check, names), check)


def scan_plans(scan: str, values: Sequence[float], **words: Any) -> pd.DataFrame:
    """Return what an experiment could measure for several values of one setting. Computes once.

    Parameters
    ----------
    scan
        What is scanned: ``frames``, ``dose``, ``field``, ``pixel``, ``frame-time`` or ``movies``.
    values
        Its values.
    words
        Of `plan`, for the rest.

    Returns
    -------
    One row for each value and number: `scan`, the columns of `ExperimentPlan.numbers`, and those
    of its `cost`.

    Raises
    ------
    ValueError
        If such a setting cannot be scanned, there are no values, or `plan` refuses them.
    """
    if scan not in SCANNED:
        msg = f"scan can be one of {', '.join(SCANNED)}, but is {scan!r}"
        raise ValueError(msg)
    if not len(values):
        msg = f"a scan needs values, as in {scan}=50,100,200"
        raise ValueError(msg)
    parts = []
    for value in values:
        number: Any = value
        if scan in ("frames", "movies"):
            number = _whole(scan, value)
        found = plan(**words | {SCANNED[scan]: number})
        parts.append(found.numbers.assign(**{scan: value}, **found.cost))
    rows = pd.concat(parts, ignore_index=True)
    return rows[[scan, *(c for c in rows.columns if c != scan)]]


def describe_scan(rows: pd.DataFrame) -> str:
    """Return a scan as lines: one for each value, the half widths of the numbers side by side."""
    scan = str(rows.columns[0])
    labels = (rows["number"] + " (" + rows["method"] + ")").unique().tolist()
    lines = ["half width of the 95 % interval, and coverage, by " + scan]
    lines += [f"  [{i}] {label}" for i, label in enumerate(labels, start=1)]
    numbered = "".join(f"{f'[{i}]':>16}" for i in range(1, len(labels) + 1))
    lines.append(f"  {scan:>10} {'beam':>9} {'e/nm2':>9}{numbered}")
    for value, own in rows.groupby(scan, sort=False):
        cells = ""
        by_label = dict(zip(own["number"] + " (" + own["method"] + ")", own.index, strict=True))
        for label in labels:
            cell = "-"
            if label in by_label:
                row = own.loc[by_label[label]]
                cell = f"{_percent(row['half_width'])}, {100 * row['coverage']:.0f} %"
            cells += f"{cell:>16}"
        cost = own.iloc[0]
        dose = f"{cost['dose_e_per_nm2']:.2g}"
        lines.append(f"  {value:>10g} {in_words(cost['time_s']):>9} {dose:>9}{cells}")
    return "\n".join(lines)


def _settings_of(asked: Mapping[str, Any]) -> Settings:
    """Return the settings of a simulated movie as `asked` for."""
    for name in ("dose_e_per_nm2", "field_nm", "pixel_size_nm", "frame_time_s"):
        if not (math.isfinite(asked[name]) and asked[name] > 0):
            msg = f"{name} must be a number above 0, but is {asked[name]}"
            raise ValueError(msg)
    for name in ("n_frames", "n_movies", "n_runs"):
        if asked[name] < 1 + (name == "n_frames"):
            msg = f"{name} must be at least {1 + (name == 'n_frames')}, but is {asked[name]}"
            raise ValueError(msg)
    material = material_named(asked["material"])
    least_nm = 2 * material.a_nm + 2 * BORDER_PX * asked["pixel_size_nm"]
    if asked["field_nm"] < least_nm:
        msg = (
            f"a field of {asked['field_nm']} nm holds less than two lattice cells of "
            f"{material.formula} inside its border; use at least {least_nm:.2f} nm"
        )
        raise ValueError(msg)
    edge = round(asked["field_nm"] / asked["pixel_size_nm"])
    settings = Settings(asked["n_frames"], (edge, edge)).with_values(
        material=material,
        dose_rate_e_per_nm2_s=asked["dose_e_per_nm2"] / asked["frame_time_s"],
        frame_time_s=asked["frame_time_s"],
        pixel_size_nm=asked["pixel_size_nm"],
        contamination=0.0,
    )
    check_physical(settings)
    check_sampling(settings)
    return settings


def _by_class(given: PerClass, first: str, what: str, settings: Settings) -> dict[str, float]:
    """Return class → number; a bare number is that of the class `first`."""
    found = dict(given) if isinstance(given, Mapping) else {first: given}
    for name, value in found.items():
        _known(name, settings)
        if not (math.isfinite(value) and value >= 0):
            msg = f"{what} of {name} must be a number from 0 on, but is {value}"
            raise ValueError(msg)
    return {name: float(value) for name, value in found.items()}


def _known(name: str, settings: Settings) -> str:
    """Return the name of a class, if the material has it.

    Raises
    ------
    ValueError
        Naming the classes that it has.
    """
    kinds = list(dict.fromkeys(settings.material.kinds))
    if name not in kinds:
        formula = settings.material.formula
        msg = f"{formula} has no defect called {name!r}; it has {', '.join(kinds)}"
        raise ValueError(msg)
    return name


def _hops(
    rate: PerClass | None, D: PerClass | None, first: str, settings: Settings
) -> dict[str, float]:
    """Return class → hops per second."""
    if rate is not None and D is not None:
        msg = "give hop_rate_per_s or diffusion_nm2_per_s, not both: D = a² rate / 4"
        raise ValueError(msg)
    if D is not None:
        given = _by_class(D, first, "diffusion_nm2_per_s", settings)
        return {name: 4 * value / settings.material.a_nm**2 for name, value in given.items()}
    if rate is None:
        rate = settings.kinetics.hop_rate_per_s
    return _by_class(rate, first, "hop_rate_per_s", settings)


def _changes(
    rates: Mapping[str, float], densities: Mapping[str, float], settings: Settings
) -> dict[tuple[str, str], float]:
    """Return (from, to) → rate of ``{"A->B": rate}``.

    Raises
    ------
    ValueError
        If a key is no such pair, or nothing is there that could change.
    """
    found = {}
    for words, rate in rates.items():
        ends = [part.strip() for part in words.split("->")]
        if len(ends) != 2 or ends[0] == ends[1]:
            msg = f"a rate is said like 'A->B=0.01' for two classes, but this is {words!r}"
            raise ValueError(msg)
        for name in ends:
            _known(name, settings)
        if not (math.isfinite(rate) and rate >= 0):
            msg = f"the rate of {words} must be a number from 0 on, but is {rate}"
            raise ValueError(msg)
        found[ends[0], ends[1]] = float(rate)
    arrived = {end for _, end in found}
    for start, end in found:
        if densities.get(start, 0.0) == 0 and start not in arrived:
            msg = (
                f"the rate {start}->{end} needs defects to begin with: give the density of {start} "
                f"too ({start}=0.1)"
            )
            raise ValueError(msg)
    return found


def _world(
    names: Sequence[str],
    densities: Mapping[str, float],
    hops: Mapping[str, float],
    changes: Mapping[tuple[str, str], float],
    sight: Sight,
    settings: Settings,
    max_gap_frames: int,
) -> TrackWorld:
    """Return what defects do and how they are seen, as tables are simulated of it."""
    rates = [[changes.get((a, b), 0.0) for b in names] for a in names]
    edge_nm = (settings.shape[0] - 1 - 2 * BORDER_PX) * settings.instrument.pixel_size_nm
    false = [0.0] * len(names)
    false[0] = 1.0 / edge_nm**2
    return TrackWorld(
        densities_per_nm2=tuple(densities.get(name, 0.0) for name in names),
        rates_per_s=tuple(tuple(row) for row in rates),
        hop_rates_per_s=tuple(hops.get(name, 0.0) for name in names),
        hop_length_nm=settings.material.a_nm,
        sigma_nm=sight.sigma_nm,
        efficiency=tuple(float(r) for r in sight.table["recall"]),
        false_per_nm2=tuple(false),
        confusion=tuple(tuple(float(p) for p in row) for row in sight.confusion),
        max_gap_frames=max_gap_frames,
        border_px=BORDER_PX,
    )


def _movies(settings: Settings, n_movies: int) -> pd.DataFrame:
    """Return the table ``movies`` of the experiment."""
    movies = pd.DataFrame({"movie": [f"movie {i + 1}" for i in range(n_movies)]})
    return movies.assign(
        n_frames=settings.n_frames,
        height_px=settings.shape[0],
        width_px=settings.shape[1],
        pixel_size_nm=settings.instrument.pixel_size_nm,
        frame_time_s=settings.instrument.frame_time_s,
    )


WHAT = {
    "diffusion": "D of {} (nm2/s)",
    "rate": "rate {} (1/s)",
    "corrected_rate": "rate {}, names corrected",
    "number": "{} per frame",
}
"""What the quantities of ``self_check`` are called in a plan; P says the same as the rate."""


def _numbers_of(check: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the numbers of a plan from the table ``self_check``."""
    rows = []
    for row in check.to_dict("records"):
        if row["quantity"] not in WHAT or not row["truth"] > 0:
            continue
        subject = names[row["class_id"]]
        if row["to_id"] >= 0:
            subject += f" -> {names[row['to_id']]}"
        half = row["half_width"] / row["truth"]
        rows.append(
            {
                "number": WHAT[row["quantity"]].format(subject),
                "method": row["method"],
                "value": row["truth"],
                "half_width": half,
                "bias": row["bias"],
                "bias_error": row["bias_error"],
                "coverage": row["coverage"],
                "coverage_low": row["coverage_low"],
                "coverage_high": row["coverage_high"],
                "measured": grade(half, row["bias"], row["n_runs"] / row["n_asked"]),
            }
        )
    columns = ["number", "method", "value", "half_width", "bias", "bias_error", "coverage"]
    return pd.DataFrame(rows, columns=[*columns, "coverage_low", "coverage_high", "measured"])


def grade(half_width: float, bias: float, answered: float) -> str:
    """Return what a measurement is called, by its relative half width and bias.

    >>> grade(0.07, 0.01, 1.0), grade(0.07, -0.5, 1.0), grade(3.0, 0.0, 1.0), grade(0.07, 0.0, 0.2)
    ('well', 'a factor of two', 'no', 'no')
    """
    off = half_width + abs(bias)
    if not np.isfinite(off) or answered < 0.5:
        return "no"
    for largest, word in GRADES:
        if off <= largest:
            return word
    return "no"


def _line_of(row: Mapping[str, Any]) -> str:
    bias = "-"
    if np.isfinite(row["bias"]):
        bias = f"{100 * row['bias']:+.0f} %"
    held = "-"
    if np.isfinite(row["coverage"]):
        held = f"{100 * row['coverage']:.0f} %"
    return (
        f"  {row['number']:34} {row['value']:>10.3g} {_percent(row['half_width']):>7} {bias:>8} "
        f"{held:>9}   {row['measured']}"
    )


def _percent(share: float) -> str:
    if not np.isfinite(share) or share > 9.99:
        return "> 10 x"
    return f"{100 * share:.0f} %"


def _whole(scan: str, value: float) -> int:
    if value != int(value):
        msg = f"{scan} are whole numbers, but one is {value}"
        raise ValueError(msg)
    return int(value)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain values; what is not finite is None, which JSON knows."""
    return [
        {
            str(k): None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in row.items()
        }
        for row in rows.to_dict("records")
    ]
