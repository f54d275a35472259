"""Before the experiment: how many frames should a given dose be shared by?

    python 07_plan_an_experiment.py

A specimen bears so many electrons per nm2 before its defects are those of the beam. Few bright frames show
each vacancy clearly and miss its hops; many dim ones follow the hops and miss the vacancy. `sk.plan` simulates
the experiment as tables, with what an observer sees at each dose, and says how well D comes out.
"""

import stemkin as sk

TOTAL_DOSE_E_PER_NM2 = 2e7
RUNS = 12
"""Simulated experiments for each plan; take 100 or more for a coverage to rely on."""


def main() -> None:
    """Plan the same dose for several numbers of frames."""
    print("frames  d'    found   D +-     coverage  measured")
    for n_frames in (10, 40, 160):
        found = sk.plan(
            total_dose_e_per_nm2=TOTAL_DOSE_E_PER_NM2,
            n_frames=n_frames,
            frame_time_s=90.0 / n_frames,
            field_nm=12.0,
            hop_rate_per_s=0.12,
            n_runs=RUNS,
        )
        seen, D = found.seen.iloc[0], found.numbers.set_index("number").loc["D of V_S (nm2/s)"]
        print(
            f"{n_frames:6d}  {seen['d_prime']:4.1f}  {100 * seen['recall']:4.0f} %"
            f"  {100 * D['half_width']:4.0f} %  {100 * D['coverage']:6.0f} %  {D['measured']}"
        )


if __name__ == "__main__":
    main()
