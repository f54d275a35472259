"""What `stemkin plan` foresaw of the demo's experiment, beside what the run of it then gave.

    stemkin demo -o demo && python benchmarks/plan_beside_run.py demo/results

The plan knows dose, frames, field and about how many defects there are and how fast they are, as
one knows them from a paper, and nothing of the movies. "foreseen" and "found" are halves of the
95 % interval over the value. Takes half a minute beside the demo.
"""

import argparse

import stemkin as sk
from stemkin.results.store import Store
from stemkin.tables import POOLED

DENSITIES = {"V_S": 0.2, "Mo_W": 0.08, "Mo_W+V_S": 0.05}
"""Per nm², about those of a WS2 with a tenth of molybdenum."""
RATES = {"Mo_W->Mo_W+V_S": 0.01, "Mo_W+V_S->Mo_W": 0.015}


def foreseen(store, n_runs):
    """Return the plan of the experiment in a results folder, from its settings alone."""
    movies = store.read_json("run.json")["movies"]
    first = movies[0]
    return sk.plan(
        dose_e_per_nm2=first["dose_rate_e_per_nm2_s"] * first["frame_time_s"],
        n_frames=first["n_frames"],
        field_nm=first["height_px"] * first["pixel_size_nm"],
        pixel_size_nm=first["pixel_size_nm"],
        frame_time_s=first["frame_time_s"],
        n_movies=len(movies),
        defects_per_nm2=DENSITIES,
        hop_rate_per_s=0.12,
        rates_per_s=RATES,
        n_runs=n_runs,
    )


def found(store):
    """Return number → (value, half of its interval over it) of a run, in the words of a plan."""
    names = store.read_table("classes.parquet").set_index("class_id")["name"].to_dict()
    pooled = {
        name: rows[rows["movie"] == POOLED]
        for name in ("diffusion", "abundances", "transitions", "hidden_transitions")
        for rows in [store.read_table(f"{name}.parquet")]
    }
    numbers = {}
    quoted = pooled["diffusion"][pooled["diffusion"]["recommended"]]
    for row in quoted.to_dict("records"):
        numbers[f"D of {names.get(row['class_id'])} (nm2/s)"] = _value(row, "D_nm2_per_s")
    for row in pooled["abundances"].to_dict("records"):
        words = ("corrected_number", "corrected_low", "corrected_high")
        numbers[f"{names.get(row['class_id'])} per frame"] = _value(row, *words)
    for table, ends in (("transitions", " (1/s)"), ("hidden_transitions", ", names corrected")):
        rows = pooled[table]
        if "recommended" in rows.columns:
            rows = rows[rows["recommended"]]
        for row in rows[rows["lag_frames"] == 1].to_dict("records"):
            change = f"rate {names.get(row['from_id'])} -> {names.get(row['to_id'])}{ends}"
            numbers[change] = _value(row, "rate_per_s", "rate_low", "rate_high")
    return numbers


def _value(row, value, low="low", high="high"):
    half = float("nan")
    if row[value] > 0:
        half = (row[high] - row[low]) / 2 / row[value]
    return row[value], half


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="folder of the demo's run")
    parser.add_argument("--runs", type=int, default=60)
    asked = parser.parse_args()
    store = Store.at(asked.results)
    plan, run = foreseen(store, asked.runs), found(store)
    print(plan.describe())
    print(f"\n{'number':34}{'planned':>10}{'found':>10}{'foreseen':>10}{'found':>8}")
    for row in plan.numbers.to_dict("records"):
        value, half = run.get(row["number"], (float("nan"),) * 2)
        print(
            f"{row['number']:34}{row['value']:10.3g}{value:10.3g}"
            f"{100 * row['half_width']:8.0f} %{100 * half:6.0f} %"
        )


if __name__ == "__main__":
    main()
