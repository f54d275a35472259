"""What was seen: example frames with their detections, and the classes with their mean images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.plot import images
from stemkin.plot.numerals import plain
from stemkin.plot.palette import marker_of, role_of
from stemkin.plot.summaries import in_class_order
from stemkin.report.lookups import label_of, legend, sentence
from stemkin.report.results import Picture, Results, number
from stemkin.report.words import class_label, number_of
from stemkin.tables import NOT_NAMED, OK

MAX_CLASSES = 24


def pictures_section(results: Results) -> dict[str, Any]:
    """Return the example frames with what was found in them."""
    nothing = None
    if not results.pictures:
        nothing = sentence(results.why("gallery", "no frame was kept"))
    frames = [_picture_panel(results, picture) for picture in results.pictures]
    return {"nothing": nothing, "frames": frames}


def _picture_panel(results: Results, picture: Picture) -> dict[str, Any]:
    small, n = images.shrunk(picture.frame)
    height, width = picture.frame.shape
    return {
        "movie": picture.movie,
        "frame_number": picture.frame_number,
        "time": _time(results, picture),
        "image": images.data_uri(images.grey_levels(small)),
        "height": height,
        "width": width,
        "image_height": small.shape[0] * n,
        "image_width": small.shape[1] * n,
        **_scale_bar(width, picture.pixel_size_nm),
        "mark_px": max(4.0, min(height, width) / 62),
        "legend": _counted_legend(results, picture),
        "marks": _marks(results, picture),
    }


def _time(results: Results, picture: Picture) -> str:
    """Return when the frame began, empty where its movie's frame time is not known."""
    frame_time_s = results.calibration(picture.movie, "frame_time_s")
    if not math.isfinite(frame_time_s):
        return ""
    return f"{plain(picture.frame_number * frame_time_s)} s"


def _scale_bar(width: int, pixel_size_nm: float) -> dict[str, Any]:
    """Return the label and length of a scale bar for a frame of `width` pixels."""
    if not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        return {"bar_nm": None, "bar_px": 0}
    bar_nm = images.scale_bar_nm(width * pixel_size_nm)
    return {"bar_nm": plain(bar_nm), "bar_px": bar_nm / pixel_size_nm}


def _counted_legend(results: Results, picture: Picture) -> list[dict[str, Any]]:
    ids = in_class_order(picture.class_id)
    entries = legend(results, ids)
    for class_id, entry in zip(ids, entries, strict=True):
        entry["n"] = int(np.sum(picture.class_id == class_id))
    return entries


def _marks(results: Results, picture: Picture) -> list[dict[str, Any]]:
    """Return place, look and words of the mark of each detection."""
    marks = []
    for y, x, i, score in zip(
        picture.y.tolist(),
        picture.x.tolist(),
        picture.class_id.tolist(),
        picture.score.tolist(),
        strict=True,
    ):
        says = f"{results.name_of(i)}, signal-to-noise {score:.1f}, y {y:.1f}, x {x:.1f} px"
        place = {"y": round(y, 2), "x": round(x, 2)}
        marks.append({**place, "role": role_of(i), "mark": marker_of(i), "says": says})
    return marks


def classes_section(results: Results) -> dict[str, Any]:
    """Return the classes with their mean images, all in one scale of grey."""
    rows = results.found["classes"]
    section: dict[str, Any] = {
        "nothing": None,
        "cards": [],
        "unseen": [],
        "seldom": [],
        "hidden": 0,
    }
    if rows.empty:
        section["nothing"] = sentence(results.why("classes", "nothing was named"))
        return section
    # not-named last: no class has so large a number
    rows = rows.sort_values("class_id", key=lambda ids: ids.mask(ids == NOT_NAMED, 32767))
    seen = rows[(rows["n_detections"] > 0) & ~rows["class_id"].isin(results.seldom)]
    unseen = rows.loc[rows["n_detections"] == 0, "class_id"]
    section["unseen"] = [label_of(results, int(i)) for i in unseen]
    section["seldom"] = [
        {"label": label_of(results, i), "n": number_of(n, "time")}
        for i, n in results.seldom.items()
    ]
    section["cards"] = _class_cards(results, seen)
    section["hidden"] = max(0, len(seen) - MAX_CLASSES)
    if not section["cards"]:
        section["nothing"] = "No detection was named."
    return section


def _class_cards(results: Results, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the cards of the first classes; `rows` are those of ``classes`` that were seen."""
    shown = rows.head(MAX_CLASSES)
    patches = [images.as_patch(value) for value in shown["mean_patch"]]
    low, high = _grey_range(patches)
    total, area_nm2 = max(1, int(rows["n_detections"].sum())), _frame_area_nm2(results)
    cards = []
    for patch, (_, row) in zip(patches, shown.iterrows(), strict=True):
        class_id, n, image, density = int(row["class_id"]), int(row["n_detections"]), None, ""
        if patch is not None:
            image = images.data_uri(images.grey_levels(patch, low=low, high=high))
        if area_nm2:
            density = f"{plain(100 * n / area_nm2, 2)} per 100 nm²"
        card = {
            "role": role_of(class_id),
            "mark": marker_of(class_id),
            "label": label_of(results, class_id),
            "class_id": class_id,
            "image": image,
            "match": _match(row),
            "n": number_of(n, "detection"),
            "share": f"{100 * n / total:.0f}\N{NO-BREAK SPACE}% of the named",
            "density": density,
        }
        cards.append(card)
    return cards


def _grey_range(patches: list[np.ndarray | None]) -> tuple[float, float]:
    """Return the smallest and largest value of all mean images."""
    values = [patch[np.isfinite(patch)] for patch in patches if patch is not None]
    if not values:
        return 0.0, 1.0
    return float(min(v.min() for v in values)), float(max(v.max() for v in values))


def _frame_area_nm2(results: Results) -> float:
    """Return the area of all good frames [nm²], 0 where it is not known of every movie."""
    if results.n_movies_unread or results.frames.empty:
        return 0.0
    good = results.frames.loc[results.frames["status"] == OK, "movie"].value_counts()
    movies = results.movies.drop_duplicates("movie").set_index("movie")
    area = movies["height_px"] * movies["width_px"] * movies["pixel_size_nm"] ** 2
    total = float((good * area.reindex(good.index)).sum(skipna=False))
    if not math.isfinite(total):
        return 0.0
    return total


def _match(row: pd.Series) -> Markup:
    """Return how well a class resembles the motif it is named after, empty if not compared."""
    score, second = number(row.get("match_score")), number(row.get("runner_up_score"))
    if not math.isfinite(score):
        return Markup("")
    match = Markup("similarity {:.2f}").format(score)
    if math.isfinite(second):
        match += Markup(", next {} {:.2f}").format(class_label(row["runner_up"]), second)
    return match
