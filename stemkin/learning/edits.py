"""Classes by hand: rename, merge, split or dissolve them in a file; no pixel is looked at again.

    [split]
    "class 2" = 2                        # by its descriptors into "class 2 (1)", "class 2 (2)"
    [merge]
    "Mo_W+S" = ["Mo_W+V_S", "Mo_W+V_S2"]
    [rename]
    "class 3" = "C_ad"
    "class 4" = "-"                      # dissolved: class_id -1

Splitting comes first, then merging, then renaming, so a later line may speak of what an earlier one
made. JSON says the same. In a results folder, `stemkin classes RESULTS --edit FILE` names the
detections again from their descriptors. What `--refit` found (`stemkin.learning.refitting`) is an
edit as well, before all others: the section ``refit``, of numbers.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.classes.mixture import Mixture
from stemkin.model import PRIOR_ROWS, REGULARISATION, Model, scaled, without_measured

SECTIONS = ("refit", "split", "merge", "rename")
"""The first is of numbers that `--refit` found; the others are said by hand."""

MEANING = {
    "refit": "word stands for numbers, as `stemkin classes --refit` found them",
    "split": "class name stands for a number of parts",
    "merge": "class name stands for a list of names",
    "rename": "class name stands for a new name",
}
"""What stands in each section."""

Edits = Mapping[str, Mapping[str, Any]]
"""Section → its pairs, as the module's docstring shows them."""


def edited(model: Model, edits: Edits | str | PathLike[str]) -> Model:
    """Return the model with its classes edited. Computes once.

    Parameters
    ----------
    model
        A learned model.
    edits
        ``{"split": ..., "merge": ..., "rename": ...}``, or a TOML or JSON file that says so; and
        ``"refit"``, as `refitting.refit_numbers` returns it.

    Returns
    -------
    A new model; the given one stays as it is.

    Raises
    ------
    ValueError
        If the file cannot be read, a section is not known, or a class is not there or cannot be
        split.
    """
    if not isinstance(edits, Mapping):
        edits = read_edits(edits)
    _check(edits)
    if edits.get("refit"):
        # the sorting of rows is loaded where classes are fitted again
        from stemkin.learning.refitting import refitted

        model = refitted(model, edits["refit"])
    for name, n in edits.get("split", {}).items():
        model = split(model, name, n)
    for name, parts in edits.get("merge", {}).items():
        model = model.rename(dict.fromkeys(parts, name))
    if edits.get("rename"):
        model = model.rename(edits["rename"])
    return model


def read_edits(path: str | PathLike[str]) -> dict[str, dict[str, Any]]:
    """Read what a TOML or JSON file says of the classes.

    Parameters
    ----------
    path
        File; JSON if its name ends in ``.json``, else TOML.

    Returns
    -------
    Section → its pairs.

    Raises
    ------
    ValueError
        If there is no such file, or it is neither.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        said = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        msg = (
            f"the classes file {file} cannot be read: {error}; it is TOML (or JSON) with tables "
            "[split], [merge], [rename]"
        )
        raise ValueError(msg) from None
    _check(said)
    return dict(said)


def split(model: Model, name: str, n: int) -> Model:
    """Split a class by a mixture of the sample's descriptors. Computes once.

    The parts are called ``"name (1)"`` ..., the largest first.

    Parameters
    ----------
    model
        A learned model.
    name
        Of the class.
    n
        Number of parts, at least two.

    Returns
    -------
    A new model with n - 1 more classes.

    Raises
    ------
    ValueError
        If there is no such class, or the sample holds too few of its detections.
    """
    # scikit-learn is loaded where a class is split, and not by each worker of a run
    from stemkin.learning.gaussian_mixture import GaussianMixture

    names, mixture = model.classes["name"].tolist(), model.taxonomy.mixture
    if name not in names:
        msg = f"no class is called {name!r}; the classes are {names}"
        raise ValueError(msg)
    class_id = names.index(name)
    sample = np.empty((0, model.n_descriptors))
    if model.sample is not None:
        sample = model.sample.rows
    rows = scaled(sample, model.scale)
    own = np.flatnonzero(model.taxonomy.assign(rows)[0] == class_id)
    divisible = isinstance(n, int) and n >= 2 and len(own) >= 2 * n
    if not divisible or mixture is None or mixture.covariance == "tied":
        msg = (
            f"{name!r} cannot be split into {n!r}: its sample holds {len(own)} detections, and "
            "each part needs two"
        )
        raise ValueError(msg)
    fit = GaussianMixture(
        n,
        covariance_type=mixture.covariance,
        n_init=4,
        reg_covar=REGULARISATION,
        prior_rows=PRIOR_ROWS,
        random_state=0,
    ).fit(rows[own])
    # the parts take the place of all components of the class, and share their weight: the largest
    # keeps the number of the class, the others get new ones at the end
    order = np.argsort(-fit.weights_, kind="stable")
    other = model.taxonomy.class_ids != class_id
    weight = mixture.weights[~other].sum()
    grown = Mixture(
        np.concatenate([mixture.weights[other], fit.weights_[order] * weight]),
        np.concatenate([mixture.means[other], fit.means_[order]]),
        np.concatenate([mixture.covariances[other], fit.covariances_[order]]),
        mixture.covariance,
    )
    ids = np.concatenate(
        [model.taxonomy.class_ids[other], [class_id], len(names) + np.arange(n - 1)]
    ).astype(np.int16)
    taxonomy = replace(model.taxonomy, mixture=grown, class_ids=ids)
    # order[i] is the component of part i, and its argsort the part of each component
    part = np.argsort(order)[fit.predict(rows[own])]
    return replace(
        model,
        taxonomy=taxonomy,
        classes=_split_rows(model, class_id, own, part, n),
        oriented=np.append(model.oriented, np.repeat(model.oriented[class_id], n - 1)),
        report=without_measured(model.report),
    )


def _split_rows(
    model: Model, class_id: int, own: np.ndarray, part: np.ndarray, n: int
) -> pd.DataFrame:
    """Return the table ``classes`` with the row of `class_id` in `n` parts.

    `part` (m,) are the parts of the sample's rows `own` (m,).
    """
    rows = model.classes.to_dict("records")
    whole = rows[class_id]
    pictures = np.empty((0, 0, 0))
    if model.sample is not None:
        pictures = model.sample.pictures
    parts = []
    for i in range(n):
        one = {**whole, "name": f"{whole['name']} ({i + 1})"}
        one["n_detections"] = round(whole["n_detections"] * float((part == i).mean()))
        # only the first rows of the sample have pictures; a part without any looks like the whole
        seen = own[(part == i) & (own < len(pictures))]
        one["mean_patch"] = np.asarray(whole["mean_patch"])
        if len(seen):
            one["mean_patch"] = pictures[seen].astype(np.float64).mean(axis=0)
        parts.append(one)
    rows = [*rows[:class_id], parts[0], *rows[class_id + 1 :], *parts[1:]]
    return tables.conform(pd.DataFrame(rows).assign(class_id=np.arange(len(rows))), "classes")


def _check(edits: Mapping[str, Any]) -> None:
    """Refuse edits with an unknown section, or whose values are of the wrong type."""
    unknown = [section for section in edits if section not in SECTIONS]
    if unknown:
        msg = f"classes can be edited by {list(SECTIONS[1:])}, not by {unknown[0]!r}"
        raise ValueError(msg)
    for section, pairs in edits.items():
        kind = {"refit": list, "split": int, "merge": list, "rename": str}[section]
        wrong = [pairs]
        if isinstance(pairs, Mapping):
            wrong = [value for value in pairs.values() if not isinstance(value, kind)]
        if wrong:
            msg = f"in [{section}] each {MEANING[section]}, not for {wrong[0]!r}"
            raise ValueError(msg)
