"""Rates as they came out in one movie, counted by an observer who sees everything at every moment.

All of them are sums over sojourns with exact times, over the whole patch, in sight or not. They
differ from the closed forms by the chance of this one movie, and by what no closed form knows:
moves that did not happen because a column was taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def counted_exit_rates(sojourns: pd.DataFrame) -> pd.DataFrame:
    """Return how often each kind became another or ended; hops and rotations are no exits.

    Parameters
    ----------
    sojourns
        Table of `Truth.sojourns`.

    Returns
    -------
    Columns `kind`, `n_exits`, `time_at_risk_s`, `exit_rate_per_s`.
    """
    stays = sojourns["fate"].isin(("hop", "rotate", "end"))
    table = pd.DataFrame(
        {"n_exits": (~stays).groupby(sojourns["kind"]).sum(), "time_at_risk_s": _time_s(sojourns)}
    )
    table["exit_rate_per_s"] = table["n_exits"] / table["time_at_risk_s"]
    return table.reset_index()


def counted_kind_rates(sojourns: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Return the rates [1/s] from kind (rows) to kind (columns).

    They are changes of the same defect over the time spent; a kind that was never there is a row
    of NaN.

    Parameters
    ----------
    sojourns
        Table of `Truth.sojourns`.
    kinds
        Names of the kinds, in the order of rows and columns.
    """
    rows = sojourns.sort_values(["area", "particle", "start_s"])
    # Ordered like this, the row below is the same defect's next state, or another defect's first.
    after = rows[["area", "particle", "kind"]].shift(-1)
    same_defect = (after["particle"] == rows["particle"]) & (after["area"] == rows["area"])
    changed = same_defect & (after["kind"] != rows["kind"])
    counts = pd.crosstab(rows["kind"][changed], after["kind"][changed])
    counts = counts.reindex(index=list(kinds), columns=list(kinds), fill_value=0)
    return counts.div(_time_s(rows).reindex(list(kinds)), axis=0)


def counted_diffusion(table: pd.DataFrame, sojourns: pd.DataFrame, a_nm: float) -> pd.DataFrame:
    """Return a table of kinds with D as the hops of this movie give it beside.

    Parameters
    ----------
    table
        One row per `kind`, as `closed_form.lone_diffusion` gives it.
    sojourns
        Table of `Truth.sojourns`.
    a_nm
        Lattice constant, the length of a hop.

    Returns
    -------
    `table` with `n_hops`, `time_at_risk_s` and `D_counted_nm2_per_s` = n_hops a2 / (4 time).
    """
    is_hop = sojourns["fate"] == "hop"
    hops = is_hop.groupby(sojourns["kind"]).sum().reindex(table["kind"], fill_value=0)
    time_s = _time_s(sojourns).reindex(table["kind"], fill_value=0.0)
    D = hops / time_s * a_nm**2 / 4
    return table.assign(
        n_hops=hops.to_numpy(), time_at_risk_s=time_s.to_numpy(), D_counted_nm2_per_s=D.to_numpy()
    )


def _time_s(sojourns: pd.DataFrame) -> pd.Series:
    """Return the time [s] that all defects of each kind spent as such."""
    return (sojourns["end_s"] - sojourns["start_s"]).groupby(sojourns["kind"]).sum()
