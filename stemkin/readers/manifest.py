"""Manifests: a CSV or TOML file that names an archive's movies and completes their metadata."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping
from typing import Any

from stemkin.readers.base import CALIBRATED, Calibration, Options
from stemkin.readers.listing import Listed
from stemkin.readers.place import Place, place_of

CHOSEN = ("dataset", "channel", "time_axis")
KNOWN = ("path", "name", *CALIBRATED, *CHOSEN)
MAX_BYTES = 2**26


def read_manifest(place: Place) -> list[Listed]:
    """Return the movies that a ``.csv`` or ``.toml`` manifest names, in its order.

    Raises
    ------
    ValueError
        If it is no table, has an unknown column, a movie without path, or a value that is no
        positive number; the line is named.
    """
    if place.size() > MAX_BYTES:
        msg = f"{place} is larger than {MAX_BYTES >> 20} MiB, which no manifest is; give a folder or a pattern"
        raise ValueError(msg)
    try:
        text = place.read(0, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"the manifest {place} is not UTF-8 text ({error}); save it as UTF-8"
        raise ValueError(msg) from error
    read_rows = _rows_of_toml if place.ends_with(".toml") else _rows_of_csv
    rows = read_rows(text, place)
    if not rows:
        msg = f"the manifest {place} names no movies; give one a line, below a line that says path"
        raise ValueError(msg)
    return [_source_of(row, where, place) for where, row in rows]


def _rows_of_csv(text: str, place: Place) -> list[tuple[str, dict[str, Any]]]:
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        msg = f"the manifest {place} is no valid CSV ({error}); save it again as CSV"
        raise ValueError(msg) from error
    if not lines or not any(lines[0]):
        return []
    header = [column.strip() for column in lines[0]]
    _check_keys(header, f"line 1 of {place}")
    if len(set(header)) < len(header) or "path" not in header:
        msg = f"the manifest {place} needs one column 'path', and each column once; it has {header}"
        raise ValueError(msg)
    rows = []
    for n, values in enumerate(lines[1:], 2):
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            msg = (
                f"line {n} of {place} has {len(values)} values for {len(header)} columns; give one "
                "for each, empty where it is not known"
            )
            raise ValueError(msg)
        stripped = [value.strip() for value in values]
        row = {key: value for key, value in zip(header, stripped, strict=True) if value}
        rows.append((f"line {n} of {place}", row))
    return rows


def _rows_of_toml(text: str, place: Place) -> list[tuple[str, dict[str, Any]]]:
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        msg = (
            f"the manifest {place} is no valid TOML ({error}); write one [[movie]] table per movie"
        )
        raise ValueError(msg) from error
    movies = content.pop("movie", [])
    _check_keys(content, str(place), known=(*CALIBRATED, *CHOSEN))
    if not isinstance(movies, list) or not all(isinstance(movie, dict) for movie in movies):
        msg = f"the manifest {place} needs one [[movie]] table per movie"
        raise ValueError(msg)
    rows = [(f"movie {n} of {place}", {**content, **movie}) for n, movie in enumerate(movies, 1)]
    for where, row in rows:
        _check_keys(row, where)
    return rows


def _check_keys(keys: Any, where: str, *, known: tuple[str, ...] = KNOWN) -> None:
    unknown = [key for key in keys if key not in known]
    if unknown:
        msg = f"{where}: {unknown[0]!r} is not known; known are {', '.join(known)}"
        raise ValueError(msg)


def _source_of(row: Mapping[str, Any], where: str, manifest: Place) -> Listed:
    path = row.get("path")
    if not isinstance(path, str) or not path or "\0" in path:
        msg = f"{where}: each movie needs a path, but this one has {path!r}"
        raise ValueError(msg)
    values = {name: _number(row[name], name, where) for name in CALIBRATED if name in row}
    try:
        calibration = Calibration.of(values, dict.fromkeys(values, "manifest"))
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error
    name, dataset = (_text(row.get(key), key, where) for key in ("name", "dataset"))
    time_axis = row.get("time_axis")
    if isinstance(time_axis, int) and not isinstance(time_axis, bool):
        time_axis = str(time_axis)  # its number
    time_axis = _text(time_axis, "time_axis", where)
    channel = None
    if "channel" in row:
        channel = int(_number(row["channel"], "channel", where))
    place = _beside(manifest, path)
    return Listed(
        place,
        path.replace("\\", "/"),
        name,
        calibration,
        Options(dataset, channel, time_axis),
        is_elsewhere=place.is_remote and _server_of(place) != _server_of(manifest),
    )


def _server_of(place: Place) -> str:
    """Return the protocol and server or bucket of a URL."""
    return "/".join(place.source.split("/")[:3])


def _beside(manifest: Place, path: str) -> Place:
    """Return `path` as seen from the manifest's folder."""
    if "://" in path or path.startswith("/") or path[1:3] in (":\\", ":/"):
        return place_of(path)
    folder, slash, _ = manifest.source.replace("\\", "/").rpartition("/")
    return place_of(f"{folder}{slash}{path}")


def _number(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool):
        value = str(value)  # TOML's true is no number
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{where}: {name} must be a number, but is {value!r}"
        raise ValueError(msg) from error


def _text(value: Any, name: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    msg = f"{where}: {name} must be text, but is {value!r}"
    raise ValueError(msg)
