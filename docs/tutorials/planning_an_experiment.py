"""# Tutorial: planning an experiment

Before a dose is spent: which D and rates could a movie measure, and how well?
"""

# %%
# The experiment is simulated as tables, here a few times; take 100 for a plan to rely on.
import stemkin as sk

short = sk.plan(n_frames=20, field_nm=8.0, hop_rate_per_s={"V_S": 0.05}, n_runs=4, seed=1)
print(short.describe())

# %%
# Five times the frames at a fifth of the dose each: more hops are followed, fewer vacancies are seen.
long = sk.plan(
    n_frames=100,
    dose_e_per_nm2=3.6e6 / 5,
    field_nm=8.0,
    hop_rate_per_s={"V_S": 0.05},
    n_runs=4,
    seed=1,
)
print(long.describe())
