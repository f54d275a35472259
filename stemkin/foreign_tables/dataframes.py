"""Any kind of table as one of pandas or Dask: polars, Arrow, dictionaries, records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stemkin.vocabulary import check_table


def as_dataframe(rows: Any) -> Any:
    """Return `rows` as a pandas or Dask DataFrame, without a copy of the columns where that goes.

    Parameters
    ----------
    rows
        pandas, Dask or polars DataFrame, Arrow table, anything else that speaks the Arrow C stream
        or the dataframe interchange protocol, a dictionary of columns, or NumPy records.

    Raises
    ------
    ValueError
        If it is none of these, or has a column twice.
    """
    table = _converted(rows)
    check_table(table, dates=True)
    return table


def _converted(rows: Any) -> Any:
    """Return `rows` as pandas where they are another kind of table, else as they are."""
    if isinstance(rows, pd.DataFrame) or hasattr(rows, "to_delayed"):
        return rows
    if hasattr(rows, "collect") and not hasattr(rows, "__dataframe__"):
        msg = f"these rows are a {_kind(rows)}, which is not computed yet; pass rows.collect()"
        raise ValueError(msg)
    if hasattr(rows, "__arrow_c_stream__"):
        return _arrow(rows).to_pandas()
    if hasattr(rows, "__dataframe__"):
        from pyarrow import interchange

        return interchange.from_dataframe(rows).to_pandas()
    if isinstance(rows, np.ndarray) and rows.dtype.names:
        return pd.DataFrame({name: rows[name] for name in rows.dtype.names})
    if isinstance(rows, Mapping):
        return _of_columns(rows)
    return rows


def _arrow(rows: Any) -> Any:
    """Return what speaks the Arrow C stream as an Arrow table whose columns each have a name."""
    import pyarrow as pa

    table = pa.table(rows)
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"each column must be there once, but {twice[0]!r} is there twice; keep one"
        raise ValueError(msg)
    return table


def _of_columns(rows: Mapping[Any, Any]) -> pd.DataFrame:
    lengths = {name: np.size(column) for name, column in rows.items()}
    if len(set(lengths.values())) > 1:
        msg = f"the columns of a table have one length, but these have {lengths}"
        raise ValueError(msg)
    return pd.DataFrame({name: np.asarray(column) for name, column in rows.items()})


def _kind(rows: Any) -> str:
    kind = type(rows)
    return f"{kind.__module__.split('.')[0]}.{kind.__qualname__}"
