"""Names and numbers of other programs for tracks and classes, as whole numbers that tables hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stemkin.tables import NOT_NAMED
from stemkin.vocabulary import CLASS_NUMBERS, whole_numbers


def numbered_labels(values: pd.Series) -> np.ndarray:
    """Return the number of each row's track: its own where it has one, else in order of the names.

    Parameters
    ----------
    values
        (n,) numbers or words.

    Returns
    -------
    (n,) int64.

    Raises
    ------
    ValueError
        If a value is missing, or a number has a fraction.
    """
    if getattr(values.dtype, "kind", "O") in "iuf" or _reads_as_numbers(values):
        numbers = whole_numbers(pd.DataFrame({"particle": values}), "particle")
        return numbers.astype(np.int64)
    code, _ = pd.factorize(values, sort=True)
    if (code < 0).any():
        msg = f"{int((code < 0).sum())} rows have no track; drop or number them"
        raise ValueError(msg)
    return code.astype(np.int64)


def labels_in_order(values: pd.Series) -> tuple[Any, ...] | None:
    """Return the classes in sorted order, None where they are numbers that tables hold as they are.

    Parameters
    ----------
    values
        (n,) numbers or words; missing ones are not named.
    """
    known = values.dropna()
    if getattr(known.dtype, "kind", "O") in "iufb" and known.dtype != bool:
        numbers = known.to_numpy(np.float64)
        if (numbers != np.rint(numbers)).any():
            odd = numbers[numbers != np.rint(numbers)][0]
            msg = f"the column 'class_id' must hold whole numbers or words, but it holds {odd}"
            raise ValueError(msg)
        if len(numbers) == 0 or (
            numbers.min() >= CLASS_NUMBERS[0] and numbers.max() <= CLASS_NUMBERS[-1]
        ):
            return None
        known = known[numbers != NOT_NAMED].astype(np.int64)
    else:
        known = known.astype(str)
    names = tuple(sorted(known.unique().tolist()))
    if len(names) > CLASS_NUMBERS[-1]:
        msg = f"a table holds {CLASS_NUMBERS[-1]} classes, but these rows have {len(names)}"
        raise ValueError(msg)
    return names


def class_numbers(values: pd.Series, names: tuple[Any, ...] | None) -> np.ndarray:
    """Return the class of each row as a number, -1 where it has none.

    Parameters
    ----------
    values
        (n,) numbers or words.
    names
        The classes in the order of their numbers; None: `values` are numbers that stay.

    Returns
    -------
    (n,) int16.

    Raises
    ------
    ValueError
        If a class is none of `names`.
    """
    if names is None:
        kept = values.astype("float64").fillna(NOT_NAMED)
        numbers = whole_numbers(pd.DataFrame({"class_id": kept}), "class_id")
        return numbers.astype(np.int16)
    # both the label itself and its words lead to its number: a table of text may hold "7" for 7
    number = {str(name): i for i, name in enumerate(names)}
    code, met = pd.factorize(values)
    own = np.full(len(met) + 1, NOT_NAMED, np.int16)  # the last one is that of missing values
    for i, label in enumerate(met.tolist()):
        if str(label) in number:
            own[i] = number[str(label)]
        elif label != NOT_NAMED:
            msg = f"the class {label!r} is none of class_names={list(names)}; add it"
            raise ValueError(msg)
    return own[code]


def _reads_as_numbers(values: pd.Series) -> bool:
    """Tell whether all values are numbers that stand as objects or text."""
    return bool(pd.to_numeric(values, errors="coerce").notna().all()) and len(values) > 0
