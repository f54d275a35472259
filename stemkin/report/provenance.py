"""Where the numbers come from: version, inputs, settings, machine, time, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from stemkin.kinetics.name_tests import said_of_names
from stemkin.plot.numerals import plain
from stemkin.report.results import Results, mapping_in, number
from stemkin.report.words import duration, number_of

MAX_LISTED = 100
EXPERIMENT = {
    "sample": ("sample", ""),
    "operator": ("operator", ""),
    "voltage_kv": ("voltage", "kV"),
    "temperature_k": ("temperature", "K"),
    "notes": ("notes", ""),
}
"""Settings of [report] that stand at its head → what they are called there, and their unit."""
MACHINE = {"memory_gib": "memory (GiB)", "python": "Python"}
ENDS = {
    0: ("good", "complete"),
    3: ("warn", "complete, but not everything worked"),
    130: ("warn", "interrupted"),
}


def run_status(results: Results) -> tuple[str, str]:
    """Return how the run ended: its tone and a few words."""
    if not results.run:
        return "warn", "no record of the run"
    code = results.run.get("exit_code")
    if code is None:
        return "warn", "not finished"
    if isinstance(code, int) and code in ENDS:
        return ENDS[code]
    return "warn", f"ended with exit code {code}"


def confidence_level(results: Results) -> str:
    """Return the confidence of the run's intervals, such as "95 %"."""
    return f"{100 * confidence_of(results):g}\N{NO-BREAK SPACE}%"


def confidence_of(results: Results) -> float:
    """Return the confidence of the run's intervals, 0.95 where its settings do not say."""
    confidence = number(mapping_in(mapping_in(results.run, "config"), "kinetics").get("confidence"))
    if not 0 < confidence < 1:
        return 0.95
    return confidence


def run_summary(results: Results) -> list[str]:
    """Return what was looked at, in a few counts."""
    movies, frames, classes = results.movies, results.frames, results.found["classes"]
    failed = int((movies["status"] == "failed").sum())
    n_frames = int(movies["n_frames"].fillna(0).sum()) or len(frames)
    words = [number_of(len(movies) - failed, "movie"), number_of(n_frames, "frame")]
    if not results.n_movies_unread and len(frames):
        words.append(number_of(int(frames["n_detections"].sum()), "detection"))
    elif len(classes):
        words.append(number_of(int(classes["n_detections"].sum()), "detection"))
    return words


def run_title(results: Results) -> str:
    """Return what the user calls this, or else what was looked at."""
    title = mapping_in(mapping_in(results.run, "config"), "report").get("title")
    return str(title or ", ".join(run_summary(results)))


def experiment_facts(results: Results) -> list[tuple[str, str]]:
    """Return what the user says of the experiment, as pairs of what and value."""
    said = mapping_in(mapping_in(results.run, "config"), "report")
    facts = []
    for key, (name, unit) in EXPERIMENT.items():
        if said.get(key) not in (None, ""):
            facts.append((name, f"{said[key]} {unit}".strip()))
    if said.get("title"):
        facts.append(("looked at", ", ".join(run_summary(results))))
    return facts


def run_problems(results: Results) -> list[str]:
    """Return one sentence for everything that failed."""
    movies = results.movies[results.movies["status"] == "failed"]
    found = [_failed_movie(row) for _, row in movies.iterrows()]
    found += [_failed_block(block) for block in _failed_blocks(results.run)]
    for name, why in results.absent.items():
        if "cannot be read" in why and name != "gallery":
            found.append(why)
    return found


def _failed_movie(row: Any) -> str:
    what, why = row["movie"] or row["source"], row["reason"] or "no reason is recorded"
    return f"{what} was not analysed: {why}"


def _failed_blocks(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = mapping_in(run, "blocks").get("failed")
    if not isinstance(listed, list):
        return []
    return [block for block in listed if isinstance(block, Mapping)]


def _failed_block(block: Mapping[str, Any]) -> str:
    last, stop = "?", number(block.get("stop"))
    if math.isfinite(stop):
        last = plain(stop - 1)
    start, movie = block.get("start", "?"), block.get("movie", "?")
    return f"frames {start} to {last} of {movie} failed: {_last_line(block.get('error'))}"


def run_warnings(results: Results) -> list[str]:
    """Return the warnings of the run, but what is said of its names: that has a box of its own."""
    found = results.run.get("warnings")
    if not isinstance(found, list):
        return []
    said = {sentence.rstrip(".") for sentence in said_of_names(results.found["name_errors"])}
    return [str(warning) for warning in found if str(warning).rstrip(".") not in said]


def provenance_section(results: Results) -> dict[str, Any]:
    """Return the tables of the last section."""
    movies, config = results.movies, mapping_in(results.run, "config")
    return {
        "facts": [(name, value) for name, value in _facts(results) if value],
        "stages": _stages(results.run),
        "movies": [_movie(row) for _, row in movies.head(MAX_LISTED).iterrows()],
        "n_hidden": max(0, len(movies) - MAX_LISTED),
        "settings": [(str(name), _pairs(section)) for name, section in config.items()],
        "model": list(_scalars(results.model)),
        "blocks": _block_counts(results.run),
    }


def _block_counts(run: Mapping[str, Any]) -> dict[str, str]:
    blocks, counts = mapping_in(run, "blocks"), {}
    for name in ("total", "done", "reused"):
        count = number(blocks.get(name))
        if math.isfinite(count):
            counts[name] = f"{int(count):,}"
    return counts


def _facts(results: Results) -> list[tuple[str, str]]:
    run, listed = results.run, ""
    inputs = run.get("inputs")
    if isinstance(inputs, list):
        listed = "\n".join(str(source) for source in inputs[:20])
    facts = [
        ("stemkin", str(run.get("version") or "")),
        ("started", moment(run.get("created"))),
        ("finished", moment(run.get("finished"))),
        ("command", str(run.get("command") or "")),
        ("input", listed),
    ]
    learned = mapping_in(mapping_in(run, "stages"), "learn").get("sensitivity")
    if isinstance(learned, list):
        facts.append(("what was learned", ". ".join(map(str, learned))))
    for key, value in mapping_in(run, "machine").items():
        name = MACHINE.get(str(key), str(key).replace("_", " "))
        facts.append((name, _short(value)))
    return facts


def moment(time: Any) -> str:
    """Return an ISO time as people write it, anything else as it is.

    >>> moment("2026-11-23T21:04:05+00:00"), moment(None)
    ('2026-11-23 21:04 UTC', '')
    """
    if time is None:
        return ""
    try:
        known = datetime.fromisoformat(str(time))
    except ValueError:
        return str(time)
    return f"{known:%Y-%m-%d %H:%M} {known.tzname() or ''}".strip()


def _stages(run: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return name, status and duration of each stage that the run recorded."""
    stages = []
    for name, stage in mapping_in(run, "stages").items():
        if isinstance(stage, Mapping):
            status, time = str(stage.get("status") or ""), duration(number(stage.get("seconds")))
            stages.append({"name": str(name), "status": status, "time": time})
    return stages


def _movie(row: Any) -> dict[str, str]:
    size = "–"
    if math.isfinite(row["height_px"]):
        size = f"{plain(row['height_px'], 9)} × {plain(row['width_px'], 9)}"
    return {
        "movie": row["movie"] or row["source"],
        "source": row["source"],
        "status": row["status"],
        "reason": row["reason"],
        "frames": plain(row["n_frames"], 9),
        "size": size,
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
    """Return a setting in words, whatever it is."""
    if value is None:
        return "not set"
    if value is True:
        return "yes"
    if value is False:
        return "no"
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_short(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    return str(value)


def _last_line(text: Any) -> str:
    """Return the last line of a traceback: the error itself."""
    lines = [line for line in str(text or "no error is recorded").splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1].strip()
