"""One vocabulary: what the keywords of the verbs mean, and what is refused, the same in every verb.

A keyword means the same wherever it stands, so it is checked here, by its name, before a verb does
anything: `checked` goes through the arguments of a call. What only the rows themselves can tell
(frames that are no whole numbers, class numbers that no table holds) is said by `whole_numbers`,
the moment they are read.

    tracks, detections   a pandas or Dask DataFrame, each column once
    experiment           what a table of stemkin's remembers of its movies
    confidence           a number between 0 and 1; 0.95 is 95 %
    lag_frames           whole numbers of frames, 1 or more
    prior                of rates: "none", or "jeffreys" for rare events
    max_gap_frames       a whole number of frames, 0 or more
    frame_time_s         a positive number of seconds, of all movies
    exposure_fraction    a number from 0 to 1: part of the frame time that frames are exposed
    class_name(s), class_ids   the classes that are asked for; by default all
    shuffle              True, False or None: whether cut tracks are gathered (`rows.whole`)

>>> @checked
... def rate(tracks, *, frame_time_s=None):
...     return 1 / frame_time_s
>>> rate(pd.DataFrame(), frame_time_s="2.25")
Traceback (most recent call last):
ValueError: frame_time_s must be a positive number of seconds, but it is '2.25'
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from stemkin.tables import NOT_NAMED, Experiment

Words = ParamSpec("Words")
Answer = TypeVar("Answer")

CLASS_NUMBERS = range(-(2**15), 2**15)
"""Class numbers that the tables hold (`stemkin.tables.COLUMNS`)."""

MOST: Mapping[str, tuple[int, str]] = {
    "frame": (31, "count the frames of each movie from 0"),
    "class_id": (
        15,
        "number the classes anew: stemkin.from_table(rows) does, and keeps their names",
    ),
}
"""Column → bits that its numbers have in the tables, and the cure where they need more."""

TIMES_TO_FRAMES = "stemkin.from_table(rows, time_unit='s', frame_time_s=...)"
"""What makes frames of times and dates."""

_NUMBERED = ("frame", "particle", "class_id")
"""Columns of whole numbers."""


def checked(verb: Callable[Words, Answer]) -> Callable[Words, Answer]:
    """Return `verb` as it was, but refusing what its keywords cannot mean.

    Parameters
    ----------
    verb
        Any verb; its arguments are checked by their names.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    def ask(*args: Words.args, **words: Words.kwargs) -> Answer:
        for name, value in signature.bind(*args, **words).arguments.items():
            CHECKS.get(name, _anything)(value)
        return verb(*args, **words)

    return ask


def _anything(_: Any) -> None:
    """Refuse nothing."""


# --- tables


def check_table(rows: Any, *, dates: bool = False) -> None:
    """Refuse what is no table, or one that says something twice, or frames that are dates.

    Parameters
    ----------
    rows
        Should be a pandas or Dask DataFrame.
    dates
        Whether dates may stand for numbers here.

    Raises
    ------
    ValueError
        If it is another kind of table or none, has a column twice, or dates for numbers.
    """
    if not isinstance(rows, pd.DataFrame) and not _is_dask_table(rows):
        cure = "pass pandas.DataFrame(rows)"
        if hasattr(rows, "to_pandas"):
            cure = "pass rows.to_pandas()"
        kind = type(rows)
        msg = (
            "rows must be a pandas or Dask DataFrame, but these are a "
            f"{kind.__module__.split('.')[0]}.{kind.__qualname__}; {cure}"
        )
        raise ValueError(msg.replace("builtins.", ""))
    names = list(rows.columns)
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        msg = (
            f"each column must be there once, but {twice[0]!r} is there twice; keep one: "
            "rows.loc[:, ~rows.columns.duplicated()]"
        )
        raise ValueError(msg)
    for column in _NUMBERED:
        if column in names and not dates:
            refuse_dates(column, rows.dtypes[column])


def check_small_table(rows: Any) -> None:
    """Refuse what is no pandas table, or one with a column twice; see `check_table`."""
    if _is_dask_table(rows):
        msg = (
            f"rows must be a pandas DataFrame here, but these are a Dask {type(rows).__name__}; "
            "pass rows.compute()"
        )
        raise ValueError(msg)
    check_table(rows)


def check_answer(found: Any) -> None:
    """Refuse what is no answer of `stemkin.transitions`.

    Raises
    ------
    ValueError
        If it has no matrices.
    """
    if not hasattr(found, "matrix"):
        kind = type(found)
        name = f"{kind.__module__.split('.')[0]}.{kind.__qualname__}".removeprefix("builtins.")
        msg = (
            f"found must be what transitions(...) returns, but these are a {name}; pass "
            "transitions(tracks)"
        )
        raise ValueError(msg)


def _is_dask_table(rows: Any) -> bool:
    return hasattr(rows, "to_delayed") and hasattr(rows, "columns")


def refuse_dates(column: str, dtype: Any) -> None:
    """Refuse dates and times where whole numbers belong.

    Raises
    ------
    ValueError
        If `dtype` is that of dates or of times.
    """
    if getattr(dtype, "kind", "O") in "mM":
        msg = (
            f"the column {column!r} must hold whole numbers, but it holds {dtype}; turn times into "
            f"frames: {TIMES_TO_FRAMES}"
        )
        raise ValueError(msg)


def whole_numbers(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as whole numbers, in its own type where it has one.

    Parameters
    ----------
    rows
        Any table.
    column
        One of its columns.

    Raises
    ------
    ValueError
        If a value is missing, has a fraction, is no number, or is a class number that no table
        holds.
    """
    values = rows[column].to_numpy()
    refuse_dates(column, values.dtype)
    if values.dtype.kind not in "iu":
        values = _rounded(values, column)
    if values.dtype.kind == "u":
        values = values.astype(np.int64)
    if column in MOST and len(values):
        _refuse_numbers_beyond(column, int(values.min()), int(values.max()))
    return values


def _refuse_numbers_beyond(column: str, least: int, most: int) -> None:
    """Refuse frames and class numbers that no table holds."""
    bits, cure = MOST[column]
    for value in (least, most):
        if not -(2**bits) <= value < 2**bits:
            msg = (
                f"the column {column!r} must hold numbers below {2**bits}, but it holds {value}; "
                f"{cure}"
            )
            raise ValueError(msg)


def _rounded(values: np.ndarray, column: str) -> np.ndarray:
    """Return whole numbers that stand as floats or objects."""
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):  # something is no number: it is named below
        numbers = np.full(1, np.nan)
    if (np.abs(numbers) < 2.0**63).all() and (numbers == np.rint(numbers)).all():
        return numbers.astype(np.int64)
    cure = "drop or number these rows"
    if column == "class_id":
        cure = f"use {NOT_NAMED} for rows without a class"
    odd = [value for value in values.tolist() if not _reads_as_whole(value)]
    odd = odd or [np.abs(numbers).max()]
    if column == "frame" and _is_number(odd[0]) and np.isfinite(odd[0]):
        cure = f"count frames, or turn times into frames: {TIMES_TO_FRAMES}"
    msg = f"the column {column!r} must hold whole numbers, but it holds {odd[0]!r}; {cure}"
    raise ValueError(msg)


def refuse_negative_frames(movie: str, first: int) -> None:
    """Refuse rows of frames before the first, where frames are counted from the movie's start.

    Parameters
    ----------
    movie
        Its name.
    first
        Least frame of its rows.

    Raises
    ------
    ValueError
        If it is negative.
    """
    if first < 0:
        msg = (
            f"movie {movie!r} begins with frame 0, but rows say frame {first}; give these rows "
            "another movie, or count its frames from 0"
        )
        raise ValueError(msg)


# --- keywords


def check_confidence(confidence: Any) -> None:
    """Refuse what is no probability strictly between 0 and 1.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not (_is_number(confidence) and 0 < confidence < 1):
        msg = f"confidence must be between 0 and 1 (0.95 is 95 %), but it is {confidence!r}"
        raise ValueError(msg)


def check_frame_time(frame_time_s: Any) -> None:
    """Refuse what is no positive number of seconds; None is what the movies say.

    Raises
    ------
    ValueError
        If it is none.
    """
    check_seconds(frame_time_s, name="frame_time_s")


def _check_positive(value: Any, name: str, unit: str) -> None:
    """Refuse what is no positive number of some unit, but for None."""
    if value is not None and not (_is_number(value) and np.isfinite(value) and value > 0):
        msg = f"{name} must be a positive number of {unit}, but it is {value!r}"
        raise ValueError(msg)


def check_seconds(value: Any, *, name: str) -> None:
    """Refuse what is no positive number of seconds; None is not known, or no bound.

    Parameters
    ----------
    value
        The number.
    name
        The keyword.

    Raises
    ------
    ValueError
        If it is none.
    """
    _check_positive(value, name, "seconds")


def check_exposure(exposure_fraction: Any) -> None:
    """Refuse what is no part of a frame time; None is what the movies say.

    Raises
    ------
    ValueError
        If it is none.
    """
    if exposure_fraction is None:
        return
    if not (_is_number(exposure_fraction) and 0 <= exposure_fraction <= 1):
        msg = (
            "exposure_fraction must be a part of the frame time, from 0 (a scanned probe) to 1 (a "
            f"camera that never closes), but it is {exposure_fraction!r}"
        )
        raise ValueError(msg)


def check_length(value: Any, *, name: str) -> None:
    """Refuse what is no positive number of nanometres; None is not known.

    Parameters
    ----------
    value
        The number.
    name
        The keyword.

    Raises
    ------
    ValueError
        If it is none.
    """
    _check_positive(value, name, "nanometres")


def check_frames(value: Any, *, name: str, least: int = 0) -> None:
    """Refuse what is no whole number of frames.

    Parameters
    ----------
    value
        The number; None is the default of the verb.
    name
        The keyword.
    least
        Smallest number that has a meaning.

    Raises
    ------
    ValueError
        If it is none.
    """
    if value is not None and not (_is_whole(value) and value >= least):
        msg = f"{name} must be a number of frames, whole and {least} or more, but it is {value!r}"
        raise ValueError(msg)


def check_partitions(n_partitions: Any) -> None:
    """Refuse what is no number of partitions; None is as many as there are.

    Raises
    ------
    ValueError
        If it is none.
    """
    if n_partitions is not None and not (_is_whole(n_partitions) and n_partitions >= 1):
        msg = f"n_partitions must be a whole number, 1 or more, but it is {n_partitions!r}"
        raise ValueError(msg)


def check_prior(prior: Any) -> None:
    """Refuse what is no prior of rates.

    Parameters
    ----------
    prior
        Should be "none" or "jeffreys".

    Raises
    ------
    ValueError
        If it is neither.
    """
    if prior not in ("none", "jeffreys"):
        msg = f"prior must be 'none' or 'jeffreys', but it is {prior!r}"
        raise ValueError(msg)


def check_lags(lag_frames: Any) -> None:
    """Refuse lags that are no whole numbers of frames; one, several, or None for the default.

    Raises
    ------
    ValueError
        If one is none, or there is no lag at all.
    """
    several = lag_frames
    if lag_frames is None or isinstance(lag_frames, str) or not isinstance(lag_frames, Iterable):
        several = [lag_frames]
    lags = list(several)
    odd = [lag for lag in lags if lag is not None and not (_is_whole(lag) and lag >= 1)]
    if odd or not lags:
        met = odd[0] if odd else lag_frames
        msg = f"lag_frames must be a number of frames, whole and 1 or more, but it is {met!r}"
        raise ValueError(msg)


def check_shuffle(shuffle: Any) -> None:
    """Refuse what is neither True, False nor None.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if shuffle is not None and not isinstance(shuffle, bool):
        msg = f"shuffle must be True, False or None (where it is needed), but it is {shuffle!r}"
        raise ValueError(msg)


def check_experiment(experiment: Any) -> None:
    """Refuse what says nothing of movies.

    Raises
    ------
    ValueError
        If it is neither an `Experiment` nor None.
    """
    if experiment is not None and not isinstance(experiment, Experiment):
        msg = (
            f"experiment must be what a table remembers of its movies, but it is a "
            f"{type(experiment).__name__}; pass experiment=detections.experiment"
        )
        raise ValueError(msg)


def check_class_ids(class_ids: Any) -> None:
    """Refuse class numbers that are none; one, several, or None for all.

    Raises
    ------
    ValueError
        If one is no whole number that a table holds.
    """
    for number in _one_or_several(class_ids):
        if not (_is_whole(number) and int(number) in CLASS_NUMBERS):
            msg = (
                f"class_ids must be whole numbers between {CLASS_NUMBERS[0]} and "
                f"{CLASS_NUMBERS[-1]}, but one is {number!r}"
            )
            raise ValueError(msg)


def chosen_classes(
    experiment: Experiment | None,
    *,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
) -> tuple[int, ...] | None:
    """Return the numbers of the classes that a verb is asked for, ascending; None for all.

    Parameters
    ----------
    experiment
        Tells which number a name has.
    class_name, class_names, class_ids
        One name, several names, or numbers: at most one of these.

    Raises
    ------
    ValueError
        If more than one is given, or a name cannot be looked up.
    """
    given = {"class_name": class_name, "class_names": class_names, "class_ids": class_ids}
    said = {name: value for name, value in given.items() if value is not None}
    if len(said) > 1:
        msg = f"classes are chosen by one keyword, but {' and '.join(said)} are given; drop all but one"
        raise ValueError(msg)
    check_class_ids(class_ids)
    names = [*_one_or_several(class_name), *_one_or_several(class_names)]
    if not said:
        return None
    if names and experiment is None:
        msg = (
            f"the class {names[0]!r} cannot be looked up without experiment=...; give its number "
            "as class_ids=..."
        )
        raise ValueError(msg)
    numbers = [int(number) for number in _one_or_several(class_ids)]
    if experiment is not None:
        numbers += [experiment.class_id(name) for name in names]
    return tuple(sorted(set(numbers)))


def of_classes(table: pd.DataFrame, wanted: tuple[int, ...] | None) -> pd.DataFrame:
    """Return the rows of an answer that are of the `wanted` classes; None: all of them."""
    if wanted is None:
        return table
    return table[table["class_id"].isin(wanted)].reset_index(drop=True)


def _one_or_several(value: Any) -> list[Any]:
    """Return a word or a number as a list of one, and None as none."""
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _reads_as_whole(value: Any) -> bool:
    """Tell whether `value` is a whole number, or text that says one (Dask turns objects to text)."""
    try:
        return _is_whole(float(value))
    except (TypeError, ValueError):
        return False


def _is_whole(value: Any) -> bool:
    return _is_number(value) and bool(np.isfinite(value)) and value == int(value)


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "tracks": check_table,
    "detections": check_table,
    "rows": check_table,
    "diffusion": check_small_table,
    "injected": check_small_table,
    "found": check_answer,
    "experiment": check_experiment,
    "confidence": check_confidence,
    "frame_time_s": check_frame_time,
    "exposure_fraction": check_exposure,
    "lag_frames": check_lags,
    "prior": check_prior,
    "class_ids": check_class_ids,
    "shuffle": check_shuffle,
    "n_partitions": check_partitions,
    "pixel_size_nm": partial(check_length, name="pixel_size_nm"),
    "max_lag_frames": partial(check_frames, name="max_lag_frames", least=1),
    "max_gap_frames": partial(check_frames, name="max_gap_frames"),
    "max_blind_frames": partial(check_frames, name="max_blind_frames"),
    "frames_per_block": partial(check_frames, name="frames_per_block", least=1),
    "look_every_s": partial(check_seconds, name="look_every_s"),
    "quiet_s": partial(check_seconds, name="quiet_s"),
    "until_idle_s": partial(check_seconds, name="until_idle_s"),
}
"""Keyword → what refuses a value that it cannot have, in any verb."""
