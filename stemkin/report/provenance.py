"""Where the numbers come from: version, inputs, settings, machine, time, and all that did not go
well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from stemkin.report.results import Results, number
from stemkin.report.words import counted, plain, seconds

MAX_LISTED = 100
MACHINE = {"memory_gib": "memory (GiB)", "python": "Python"}
ENDS = {
    0: ("good", "complete"),
    3: ("warn", "complete, but not everything worked"),
    130: ("warn", "interrupted"),
}


def status(results: Results) -> tuple[str, str]:
    """Return how the run ended: its tone and a few words."""
    if not results.run:
        return "warn", "no record of the run"
    code = results.run.get("exit_code")
    if code is None:
        return "warn", "not finished"
    return (
        ENDS[code]
        if isinstance(code, int) and code in ENDS
        else ("warn", f"ended with exit code {code}")
    )


def level(results: Results) -> str:
    """Return the confidence of the run's intervals, such as "95 %"."""
    confidence = number(_of(_of(results.run, "config"), "kinetics").get("confidence"))
    percent = 100 * confidence if 0 < confidence < 1 else 95.0
    return f"{percent:g}\N{NO-BREAK SPACE}%"


def summary(results: Results) -> list[str]:
    """Return what was looked at, in a few counts."""
    movies, frames = results.movies, results.frames
    failed = int((movies["status"] == "failed").sum())
    n_frames = int(movies["n_frames"].fillna(0).sum()) or len(frames)
    words = [counted(len(movies) - failed, "movie"), counted(n_frames, "frame")]
    if not results.n_movies_unread and len(frames):
        words.append(counted(int(frames["n_detections"].sum()), "detection"))
    elif len(results.found["classes"]):
        words.append(counted(int(results.found["classes"]["n_detections"].sum()), "detection"))
    return words


def problems(results: Results) -> list[str]:
    """Return one sentence for everything that failed."""
    movies = results.movies[results.movies["status"] == "failed"]
    found = [
        f"{row['movie'] or row['source']} was not analysed: "
        f"{row['reason'] or 'no reason is recorded'}"
        for _, row in movies.iterrows()
    ]
    for block in _mappings(_of(results.run, "blocks").get("failed")):
        stop = number(block.get("stop"))
        last = plain(stop - 1) if math.isfinite(stop) else "?"
        found.append(
            f"frames {block.get('start', '?')} to {last} of {block.get('movie', '?')} failed: "
            f"{_first_line(block.get('error'))}"
        )
    unread = [
        why for name, why in results.absent.items() if "cannot be read" in why and name != "gallery"
    ]
    return found + unread


def warnings(results: Results) -> list[str]:
    """Return the warnings of the run."""
    found = results.run.get("warnings")
    return [str(w) for w in found] if isinstance(found, list) else []


def provenance(results: Results) -> dict[str, Any]:
    """Return the tables of the last section."""
    run = results.run
    blocks = _of(run, "blocks")
    return {
        "facts": [(k, v) for k, v in _facts(results) if v],
        "stages": [
            _stage(str(name), stage)
            for name, stage in _of(run, "stages").items()
            if isinstance(stage, Mapping)
        ],
        "movies": [_movie(row) for _, row in results.movies.head(MAX_LISTED).iterrows()],
        "n_hidden": max(0, len(results.movies) - MAX_LISTED),
        "settings": [(str(k), _pairs(v)) for k, v in _of(run, "config").items()],
        "model": list(_scalars(results.model)),
        "blocks": {
            k: f"{int(number(blocks[k])):,}"
            for k in ("total", "done", "reused")
            if math.isfinite(number(blocks.get(k)))
        },
    }


def _facts(results: Results) -> list[tuple[str, str]]:
    run = results.run
    machine = _of(run, "machine")
    inputs = run.get("inputs")
    return [
        ("stemkin", str(run.get("version") or "")),
        ("started", when(run.get("created"))),
        ("finished", when(run.get("finished"))),
        ("command", str(run.get("command") or "")),
        ("input", "\n".join(str(i) for i in inputs[:20]) if isinstance(inputs, list) else ""),
        *[(MACHINE.get(str(k), str(k).replace("_", " ")), _short(v)) for k, v in machine.items()],
    ]


def when(moment: Any) -> str:
    """Return an ISO time as people write it, anything else as it is.

    >>> when("2026-11-23T21:04:05+00:00"), when(None)
    ('2026-11-23 21:04 UTC', '')
    """
    try:
        time = datetime.fromisoformat(str(moment))
    except ValueError:
        return "" if moment is None else str(moment)
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or ''}".strip()


def _stage(name: str, stage: Mapping[str, Any]) -> dict[str, str]:
    other = [
        f"{str(k).replace('_', ' ')}: {_short(v)}"
        for k, v in stage.items()
        if k not in ("status", "seconds")
    ]
    return {
        "name": name,
        "status": str(stage.get("status") or ""),
        "time": seconds(number(stage.get("seconds"))),
        "more": ", ".join(other),
    }


def _movie(row: Any) -> dict[str, str]:
    return {
        "movie": row["movie"] or row["source"],
        "source": row["source"],
        "status": row["status"],
        "reason": row["reason"],
        "frames": plain(row["n_frames"], 9),
        "size": f"{plain(row['height_px'], 9)} × {plain(row['width_px'], 9)}"
        if math.isfinite(row["height_px"])
        else "–",
        "pixel_size": plain(1000 * row["pixel_size_nm"]),
        "frame_time": plain(row["frame_time_s"]),
        "dose_rate": plain(row["dose_rate_e_per_nm2_s"]),
    }


def _pairs(section: Any) -> list[tuple[str, str]]:
    if isinstance(section, Mapping):
        return [(str(k), _short(v)) for k, v in section.items()]
    return [("", _short(section))]


def _scalars(content: Mapping[str, Any], *, depth: int = 2) -> Iterator[tuple[str, str]]:
    """Yield the single values in `content` and in the mappings inside it."""
    for key, value in content.items():
        if isinstance(value, (str, int, float, bool)):
            yield str(key), _short(value)
        elif isinstance(value, Mapping) and depth > 1:
            yield from _scalars(value, depth=depth - 1)


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_short(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    return str(value)


def _of(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def _first_line(text: Any) -> str:
    lines = [line for line in str(text or "no error is recorded").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
