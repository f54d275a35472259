"""How the detector was trained, as far as the model's record tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stemkin.report.figures import training_figure
from stemkin.report.results import Results, mapping_in

MAX_CURVES = 3


def training_section(results: Results) -> dict[str, Any] | None:
    """Return the training curves that the model's record holds, None where it has none."""
    found = training_curves(results.model)
    if found is None:
        return None
    curves, x_name, x = found
    return {"figure": training_figure(curves, x_name, x), "names": list(curves)}


def training_curves(
    model: Mapping[str, Any],
) -> tuple[dict[str, list[float]], str, list[float]] | None:
    """Return curves of losses, and the name and values of their axis; None where none is recorded.

    Parameters
    ----------
    model
        Content of ``model/model.json``.
    """
    columns = _recorded_columns(model)
    x_names = [name for name in ("epoch", "step", "epochs", "steps") if name in columns]
    if x_names:
        x_name, x = x_names[0], columns.pop(x_names[0])
    else:
        longest = max((len(values) for values in columns.values()), default=0)
        x_name, x = "epoch", [float(i + 1) for i in range(longest)]
    curves = {name: values for name, values in columns.items() if len(values) == len(x)}
    if not curves:
        return None
    chosen = dict(list(curves.items())[:MAX_CURVES])
    return chosen, x_name, x


def _recorded_columns(model: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the lists of at least two numbers in the record of training, by name."""
    record = model.get("training", mapping_in(model, "report").get("training"))
    if not isinstance(record, Mapping):
        return {}
    for key in ("curve", "history", "curves"):
        if isinstance(record.get(key), Mapping):
            record = record[key]
            break
    return {str(name): _numbers(values) for name, values in record.items() if _numbers(values)}


def _numbers(values: Any) -> list[float]:
    """Return `values` as finite numbers, empty where they are not two or more of them."""
    if not isinstance(values, list) or len(values) < 2:
        return []
    if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
        return []
    return [float(v) for v in values]
