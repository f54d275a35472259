"""A paragraph of methods and references to paste, of what this very run did."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from stemkin.plot import summaries
from stemkin.plot.numerals import plain
from stemkin.report.learned import expected_false
from stemkin.report.provenance import confidence_level
from stemkin.report.results import Results, mapping_in, number
from stemkin.report.words import number_of

REFERENCES = {
    "Jaqaman2008": (
        "article",
        "Jaqaman, Khuloud and others",
        "Robust single-particle tracking in live-cell time-lapse sequences",
        {"journal": "Nature Methods", "volume": "5", "pages": "695--702", "year": "2008"},
    ),
    "Kaplan1958": (
        "article",
        "Kaplan, E. L. and Meier, Paul",
        "Nonparametric estimation from incomplete observations",
        {
            "journal": "Journal of the American Statistical Association",
            "volume": "53",
            "pages": "457--481",
            "year": "1958",
        },
    ),
    "Baum1966": (
        "article",
        "Baum, Leonard E. and Petrie, Ted",
        "Statistical inference for probabilistic functions of finite state {M}arkov chains",
        {
            "journal": "The Annals of Mathematical Statistics",
            "volume": "37",
            "pages": "1554--1563",
            "year": "1966",
        },
    ),
    "Berglund2010": (
        "article",
        "Berglund, Andrew J.",
        "Statistics of camera-based single-particle tracking",
        {"journal": "Physical Review E", "volume": "82", "pages": "011917", "year": "2010"},
    ),
    "Vestergaard2014": (
        "article",
        "Vestergaard, Christian L. and Blainey, Paul C. and Flyvbjerg, Henrik",
        "Optimal estimation of diffusion coefficients from single-particle trajectories",
        {"journal": "Physical Review E", "volume": "89", "pages": "022726", "year": "2014"},
    ),
}
"""Key → kind, authors, title and the rest of an entry."""
OF_METHODS = {"mle": "Berglund2010", "cve": "Vestergaard2014"}
"""Estimator of D → whose it is."""


def methods_section(results: Results) -> dict[str, str]:
    """Return a paragraph for a paper, and the BibTeX of what it cites."""
    cited: list[str] = []
    sentences = [_looked_at(results), _found(results)]
    sentences += [_linked(results, cited), _counted(results, cited), _moved(results, cited)]
    entries = [_own_entry(results), *(_entry(key) for key in cited)]
    return {"text": " ".join(s for s in sentences if s), "bibtex": "\n\n".join(entries)}


def _version(results: Results) -> str:
    return str(results.run.get("version") or "").strip()


def _looked_at(results: Results) -> str:
    movies = results.movies[results.movies["status"] != "failed"]
    n_frames = int(movies["n_frames"].fillna(0).sum())
    looked = f"{number_of(len(movies), 'movie')} ({number_of(n_frames, 'frame')}"
    looked += _spread(movies["pixel_size_nm"] * 1000, "pm per pixel")
    looked += _spread(movies["frame_time_s"], "s per frame")
    return f"{looked}) were analysed with stemkin {_version(results)}".rstrip() + "."


def _spread(values: pd.Series, unit: str) -> str:
    """Return a value with its unit, or the range of several; nothing where none is known."""
    known = values.dropna()
    if known.empty:
        return ""
    low, high = plain(known.min(), 3), plain(known.max(), 3)
    if low == high:
        return f", {low} {unit}"
    return f", {low} to {high} {unit}"


def _found(results: Results) -> str:
    config = mapping_in(results.run, "config")
    asked = number(mapping_in(config, "detect").get("false_positives_per_frame"))
    kind = str(mapping_in(results.model, "detector").get("kind") or "")
    found = "Defects were detected"
    if kind == "FourierDetector":
        found = "Defects were detected as deviations from the periodic lattice"
    if math.isfinite(asked):
        found += f" at a threshold of about {plain(asked)} false detections per frame"
    expected = expected_false(results)
    if len(expected):
        found += f" (noise alone explains {plain(float(expected.mean()), 2)} of them)"
    classes = results.found["classes"]
    n_classes = int((classes["n_detections"] > 0).sum())
    if n_classes:
        found += f", and sorted into {number_of(n_classes, 'class', 'classes')} by their images"
    return f"{found}."


def _linked(results: Results, cited: list[str]) -> str:
    if not results.found["transitions"]["count"].sum() and results.found["diffusion"].empty:
        return ""
    cited.append("Jaqaman2008")
    link = mapping_in(mapping_in(results.run, "config"), "link")
    gap, step = number(link.get("max_gap_frames")), number(link.get("max_step_nm"))
    said = "Positions were corrected for drift, measured on the lattice, and linked by optimal"
    said += " assignment in two steps [Jaqaman2008]"
    if math.isfinite(step):
        said += f" with steps of at most {plain(step)} nm"
    if math.isfinite(gap):
        said += f", gaps of up to {number_of(int(gap), 'frame')} closed"
    return f"{said}."


def _counted(results: Results, cited: list[str]) -> str:
    if not results.found["transitions"]["count"].sum():
        return ""
    level = confidence_level(results)
    said = "Transition rates are of counts of the same tracks, pooled over movies before division,"
    said += f" with {level} intervals"
    if len(results.found["hidden_transitions"]):
        cited.append("Baum1966")
        said += "; wrong names were allowed for by a hidden Markov model [Baum1966]"
    if len(results.found["survival"]):
        cited.append("Kaplan1958")
        said += "; survival in a class was estimated with censoring [Kaplan1958]"
    if "transitions" in results.nulls:
        said += "; the null control is the same analysis of the same tracks in random order"
    return f"{said}."


def _moved(results: Results, cited: list[str]) -> str:
    rows, _ = summaries.pooled(results.found["diffusion"])
    rows = rows[rows["D_nm2_per_s"].notna()]
    if rows.empty:
        return ""
    methods = [str(method) for method in dict.fromkeys(rows["method"])]
    named = []
    for method in methods:
        name = summaries.method_name(method)
        if method in OF_METHODS:
            cited.append(OF_METHODS[method])
            name += f" [{OF_METHODS[method]}]"
        named.append(name)
    return f"Diffusion coefficients were estimated by {', '.join(named)}."


def _own_entry(results: Results) -> str:
    version = _version(results)
    year = str(results.run.get("finished") or results.run.get("created") or "")[:4]
    lines = {
        "author": "{The stemkin developers}",
        "title": "stemkin: from {STEM} movies to kinetics",
    }
    if version:
        lines["version"] = version
    if year.isdigit():
        lines["year"] = year
    return _bibtex("software", "stemkin", lines)


def _entry(key: str) -> str:
    kind, authors, title, rest = REFERENCES[key]
    return _bibtex(kind, key, {"author": authors, "title": title, **rest})


def _bibtex(kind: str, key: str, fields: dict[str, Any]) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}\n}}"
