"""What was seen: frames with their detections, the classes, how many there are in time, drift,
phases, training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report import figures, images, summaries
from stemkin.report.intervals import interval_table
from stemkin.report.lookups import interval_row, label_of, legend, ordered, sentence
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Picture, Results, number
from stemkin.report.words import Quantity, class_label, counted, plain
from stemkin.tables import NOT_NAMED, OK, STATUSES

MAX_CURVES = 6
MAX_CLASSES = 24
SAME_AREA = 0.005
"""Area fractions that change by less than this need no figure."""


def pictures(results: Results) -> dict[str, Any]:
    """Return the example frames with what was found in them."""
    nothing = None if results.pictures else sentence(results.why("gallery", "no frame was kept"))
    return {
        "nothing": nothing,
        "frames": [_picture(results, picture) for picture in results.pictures],
    }


def _picture(results: Results, picture: Picture) -> dict[str, Any]:
    small, n = images.shrunk(picture.frame)
    height, width = picture.frame.shape
    ids = sorted({int(i) for i in picture.class_id}, key=lambda i: (i == NOT_NAMED, i))
    known = math.isfinite(picture.pixel_size_nm) and picture.pixel_size_nm > 0
    bar_nm = images.scale_bar_nm(width * picture.pixel_size_nm) if known else None
    frame_time_s = results.calibration(picture.movie, "frame_time_s")
    return {
        "movie": picture.movie,
        "frame_number": picture.frame_number,
        "time": f"{plain(picture.frame_number * frame_time_s)} s" if math.isfinite(frame_time_s) else "",
        "image": images.data_uri(images.grey_levels(small)),
        "height": height, "width": width, "image_height": small.shape[0] * n, "image_width": small.shape[1] * n,
        "bar_nm": None if bar_nm is None else plain(bar_nm), "bar_px": 0 if bar_nm is None else bar_nm / picture.pixel_size_nm,
        "mark_px": max(4.0, min(height, width) / 62),
        "legend": [{**entry, "n": int(np.sum(picture.class_id == i))} for i, entry in zip(ids, legend(results, ids), strict=True)],
        "marks": [
            {"y": round(float(y), 2), "x": round(float(x), 2), "role": role_of(int(i)), "mark": mark_of(int(i)),
             "says": f"{results.class_names.get(int(i), i)}, signal-to-noise {score:.1f}, y "
                     f"{y:.1f}, x {x:.1f} px"}
            for y, x, i, score in zip(picture.y, picture.x, picture.class_id, picture.score, strict=True)
        ],
    }  # fmt: skip


def classes(results: Results) -> dict[str, Any]:
    """Return the classes with their mean images, all in one scale of grey."""
    rows = results.found["classes"]
    if rows.empty:
        return {
            "nothing": sentence(results.why("classes", "nothing was named")),
            "cards": [],
            "unseen": [],
        }
    rows = rows.sort_values("class_id", key=lambda ids: ids.mask(ids == NOT_NAMED, 32767))
    unseen = [label_of(results, int(i)) for i in rows.loc[rows["n_detections"] == 0, "class_id"]]
    rows = rows[rows["n_detections"] > 0]
    patches = [images.as_patch(value) for value in rows["mean_patch"].head(MAX_CLASSES)]
    values = np.concatenate(
        [p[np.isfinite(p)] for p in patches if p is not None] or [np.array([0.0, 1.0])]
    )
    low, high = float(values.min()), float(values.max())
    total, density = max(1, int(rows["n_detections"].sum())), _frame_area_nm2(results)
    cards = []
    for patch, (_, row) in zip(patches, rows.iterrows(), strict=False):
        class_id, n = int(row["class_id"]), int(row["n_detections"])
        cards.append(
            {
                "role": role_of(class_id), "mark": mark_of(class_id), "label": label_of(results, class_id), "class_id": class_id,
                "image": None if patch is None else images.data_uri(images.grey_levels(patch, low=low, high=high)),
                "match": _match(row), "n": counted(n, "detection"), "share": f"{100 * n / total:.0f}\N{NO-BREAK SPACE}% of the named",
                "density": f"{plain(100 * n / density, 2)} per 100 nm²" if density else "",
            }
        )  # fmt: skip
    nothing = None if cards else "No detection was named."
    return {
        "nothing": nothing,
        "cards": cards,
        "unseen": unseen,
        "hidden": max(0, len(rows) - MAX_CLASSES),
    }


def _frame_area_nm2(results: Results) -> float:
    """Return the area of all good frames together [nm²], 0 where it is not known of every movie."""
    if results.n_movies_unread or results.frames.empty:
        return 0.0
    good = results.frames.loc[results.frames["status"] == OK, "movie"].value_counts()
    movies = results.movies.drop_duplicates("movie").set_index("movie")
    area = movies["height_px"] * movies["width_px"] * movies["pixel_size_nm"] ** 2
    total = float((good * area.reindex(good.index)).sum(skipna=False))
    return total if math.isfinite(total) else 0.0


def populations(results: Results) -> dict[str, Any]:
    """Return the number of defects per class against time."""
    rows = results.found["populations"]
    if rows.empty:
        return {"nothing": sentence(results.why("populations", "no defect was found in any frame"))}
    read = set(results.frames["movie"])
    rows = rows[rows["movie"].isin(read)] if read & set(rows["movie"]) else rows
    means = summaries.mean_populations(rows, results.frames)
    seen = rows.groupby("class_id")["n"].sum()
    ids = sorted((int(i) for i in seen.index[seen > 0]), key=lambda i: (i == NOT_NAMED, i))
    if not ids:
        return {"nothing": "No defect was found in any frame."}
    in_frames = not summaries.has_times(rows)
    if means["bin"].nunique() < 2:
        return {"nothing": None, "figure": None, "counts": _single_counts(results, means, ids)}
    figure = figures.populations(means, ids, in_frames=in_frames)
    return {
        "nothing": None,
        "figure": figure,
        "legend": legend(results, ids),
        "n_movies": rows["movie"].nunique(),
    }


def numbers(results: Results) -> dict[str, Any]:
    """Return the mean numbers per frame, as seen and corrected, and the vacancies that the beam
    made."""
    rows, _ = summaries.pooled(results.found["abundances"])
    rows = rows[rows["n_detections"] > 0]
    table = []
    for class_id in ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        seen, better = summaries.number_quantities(row)
        known, judged = math.isfinite(row["efficiency"]), math.isfinite(row["false_per_frame"])
        share = (
            f"{100 * row['efficiency']:.1f} ({100 * row['efficiency_low']:.1f} – "
            f"{100 * row['efficiency_high']:.1f})"
            if known
            else "–"
        )
        by_chance = f"{row['false_per_frame']:.3g}" if judged else "–"
        corrected = f"{better.text} ({better.interval})" if known and judged else "–"
        cells = (by_chance, share, corrected, f"{int(row['n_tracks']):,}")
        table.append(interval_row(results, class_id, seen, None, cells))
    headings = ("by chance", "efficiency (%)", "corrected", "tracks")
    made, _ = summaries.pooled(results.found["creation"])
    return {
        "table": interval_table("seen", "per frame", table, headings) if table else None,
        "creation": None if made.empty else _made(made.iloc[0]),
    }


def _made(row: pd.Series) -> dict[str, Any]:
    """Return the numbers of a row of ``creation``."""
    rate = Quantity(
        float(row["rate_per_site_s"]),
        float(row["rate_low"]),
        float(row["rate_high"]),
        "per atom and s",
    )
    barn = summaries.barn_quantity(row)
    return {
        "rate": rate, "barn": barn if barn.is_known else None, "n_created": counted(int(row["n_created"]), "vacancy", "vacancies"),
        "n_at_dopants": f"{int(row['n_at_dopants']):,}", "n_healed": f"{int(row['n_healed']):,}",
        "n_sites": f"{row['n_sites']:,.0f}", "dose": plain(row["dose_e_per_nm2"], 3),
    }  # fmt: skip


def _single_counts(results: Results, means: pd.DataFrame, ids: list[int]) -> list[dict[str, Any]]:
    """Return the counts of movies that are one frame long: no curve, but numbers."""
    by_class = means.set_index("class_id")
    return [
        {**entry, "n": plain(by_class.loc[i, "mean"], 3)}
        for i, entry in zip(ids, legend(results, ids), strict=True)
    ]


def phases(results: Results) -> dict[str, Any]:
    """Return the area fractions against time."""
    fractions = summaries.mean_fractions(results.frames)
    if len(fractions) < 2:
        return {"nothing": "The order of the lattice was not measured in this run."}
    in_frames = not summaries.has_times(results.frames)
    first, last = fractions.iloc[0], fractions.iloc[-1]
    if (
        float(np.ptp(fractions[["ordered", "disordered", "vacuum"]].to_numpy(), axis=0).max())
        < SAME_AREA
    ):
        mean = 100 * fractions.mean()
        return {
            "nothing": f"The lattice did not change: {mean['ordered']:.1f} % of the area ordered, "
            f"{mean['disordered']:.1f} % "
            f"disordered and {mean['vacuum']:.1f} % vacuum, from the first frame to the last."
        }
    changes = [
        (name, 100 * float(first[name]), 100 * float(last[name]))
        for name in ("ordered", "disordered", "vacuum")
    ]
    return {
        "nothing": None,
        "figure": figures.phase_fractions(fractions, in_frames=in_frames),
        "changes": changes,
    }


def drift(results: Results) -> dict[str, Any]:
    """Return drift and the status of frames, movie by movie."""
    frames = results.frames
    if frames.empty:
        return {"nothing": sentence(results.why("frames", "no frame was looked at"))}
    shown = list(dict.fromkeys(frames["movie"]))
    statuses = frames["status"].value_counts()
    return {
        "nothing": None,
        "curves": [_drift_of(results, movie, i) for i, movie in enumerate(shown[:MAX_CURVES])],
        "n_hidden": len(shown) - min(len(shown), MAX_CURVES),
        "statuses": [
            {"role": s, "n": f"{int(statuses.get(s, 0)):,}"} for s in STATUSES if statuses.get(s, 0)
        ],
    }


def _drift_of(results: Results, movie: str, number: int) -> dict[str, Any]:
    rows = results.frames[results.frames["movie"] == movie]
    pixel_size_nm = results.calibration(movie, "pixel_size_nm")
    bad = int((rows["status"] != OK).sum())
    if len(rows) < 2:
        return {"movie": movie, "figure": None, "note": "one frame"}
    figure = figures.drift(
        rows,
        pixel_size_nm=pixel_size_nm,
        in_frames=not summaries.has_times(rows),
        name=f"drift{number}",
    )
    return {
        "movie": movie,
        "figure": figure,
        "note": f"{counted(len(rows), 'frame')}, {bad:,} set aside"
        if bad
        else counted(len(rows), "frame"),
    }


def training(results: Results) -> dict[str, Any] | None:
    """Return the training curve that the model's record holds, None where it has none."""
    record = results.model.get("training", _mapping(results.model.get("report")).get("training"))
    if not isinstance(record, Mapping):
        return None
    nested = next(
        (record[k] for k in ("curve", "history", "curves") if isinstance(record.get(k), Mapping)),
        record,
    )
    columns = {str(k): _numbers(v) for k, v in nested.items()}
    columns = {k: v for k, v in columns.items() if v is not None}
    x_name = next((k for k in ("epoch", "step", "epochs", "steps") if k in columns), None)
    length = (
        len(columns[x_name] or ())
        if x_name
        else max((len(v) for v in columns.values() if v), default=0)
    )
    curves = {
        k: v for k, v in columns.items() if k != x_name and v is not None and len(v) == length
    }
    if length < 2 or not curves:
        return None
    x = columns[x_name] if x_name else [float(i + 1) for i in range(length)]
    chosen = dict(list(curves.items())[:3])
    return {"figure": figures.training(chosen, x_name or "epoch", x or []), "names": list(chosen)}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _match(row: pd.Series) -> Markup:
    """Return how well a class resembles the motif it is named after; empty where it was not
    compared."""
    score, second = number(row.get("match_score")), number(row.get("runner_up_score"))
    if not math.isfinite(score):
        return Markup("")
    rival = (
        Markup(", next {} {:.2f}").format(class_label(row["runner_up"]), second)
        if math.isfinite(second)
        else ""
    )
    return Markup("likeness {:.2f}{}").format(score, rival)


def _numbers(values: Any) -> list[float] | None:
    if not isinstance(values, list) or len(values) < 2:
        return None
    good = all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
    return [float(v) for v in values] if good else None
