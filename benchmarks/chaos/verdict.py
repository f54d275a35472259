"""Whether a disturbed run came to the tables of the calm one, and the table of all runs."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pandas as pd


def compare(found: dict[str, pd.DataFrame], calm: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Return how many rows are lost or doubled, and whether every table of both is the same."""
    lost = doubled = 0
    for name, rows in calm.items():
        mine = found.get(name, rows.iloc[:0])
        if "/tracks/" in name or "/detections/" in name:
            there, here = (
                pd.MultiIndex.from_frame(rows[["frame", "y", "x"]]),
                pd.MultiIndex.from_frame(mine[["frame", "y", "x"]]),
            )
            lost += int((~there.isin(here)).sum())
            doubled += int(here.duplicated().sum() - there.duplicated().sum())
    return {"rows_lost": lost, "rows_doubled": doubled, "equal": digest(found) == digest(calm)}


def digest(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Return a hash of each table's rows."""
    return {name: hashlib.sha256(_bytes(rows)).hexdigest() for name, rows in tables.items()}


def _bytes(rows: pd.DataFrame) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table by kind of fault."""
    table = pd.DataFrame(rows)
    lines = ["| fault | runs | ended at once | resumed | blocks kept on resuming | slowest end "
             "after the fault [s] | rows lost | rows doubled | equal tables |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for fault, own in table.groupby("fault", sort=False):
        once = own["exit_codes"].map(len).eq(1)
        again = own[~once]
        kept = f"{again['blocks_kept'].sum()} of {again['blocks'].sum()}" if len(again) else "-"
        lines.append(
            f"| {fault} | {len(own)} | {once.sum()} | {len(again)} | {kept} | "
            f"{own['seconds_to_first_end'].max():.1f} | {own['rows_lost'].sum()} "
            f"| {own['rows_doubled'].sum()} | {own['equal'].sum()} of {len(own)} |"
        )
    return "\n".join(lines) + "\n"
