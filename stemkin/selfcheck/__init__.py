"""How right the numbers of an experiment can be: it is done again, hundreds of times, as tables.

    a run's own numbers ──▶ TrackWorld ──▶ tracks × 150 ──▶ the run's estimators ──▶ bias, coverage
    plan: dose, frames, ... ──▶

The world (`stemkin.simulation.track_tables`) has the experiment's own rates, motion, densities,
errors of place, missed, false and misnamed rows, wrong links, frames and fields. What the estimators say of its
tracks is compared with what was put in: the bias of each number, and how often its interval holds
the truth *for this very experiment* (the parametric bootstrap; Efron & Tibshirani, An Introduction
to the Bootstrap (1993), ch. 6). `plan` asks the same before there is a movie.

>>> movies = pd.DataFrame(
...     {"movie": ["m"], "n_frames": 30, "height_px": 300, "width_px": 300}
... ).assign(pixel_size_nm=0.03, frame_time_s=1.0)
>>> world = TrackWorld(densities_per_nm2=(0.2,), D_nm2_per_s=(0.005,), sigma_nm=0.02)
>>> found = self_check(world, movies, asked=Asked(methods=("cve",)), n_runs=20)
>>> found[["quantity", "method", "n_runs"]].to_numpy().tolist(), bool(found["coverage"][0] > 0.7)
([['diffusion', 'cve', 20]], True)

A drift that was not taken out, of which every class has its share, is there as well. What the world
leaves out (defects that meet, defects that are not alike) the check does not know: it tells what is
wrong with numbers even where all assumptions hold.
"""

import pandas as pd  # noqa: F401 - for the example above

from stemkin.selfcheck.replicas import Asked, self_check
from stemkin.selfcheck.verdicts import is_biased, is_undercovered, verdict_words
from stemkin.selfcheck.worlds import RunNumbers, world_of_run
from stemkin.simulation.track_worlds import TrackWorld

__all__ = [
    "Asked",
    "RunNumbers",
    "TrackWorld",
    "is_biased",
    "is_undercovered",
    "self_check",
    "verdict_words",
    "world_of_run",
]
