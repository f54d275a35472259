"""Diffusion: how far defects go, and how fast, with errors.

    tracks ──▶ msd             mean squared displacement against lag    ──▶ look at it
           ├─▶ fit_diffusion   D, its interval, localisation error      ──▶ quote it
           ├─▶ gaussianity     are steps as Brownian motion has them?   ──▶ if not, quote hops
           ├─▶ mobilities      are all equally mobile?                 ──▶ if not, share and D of each
           └─▶ hop_rates       hops per second on a known lattice

    D of many movies ──▶ compare_diffusion   by dose, temperature, ...; arrhenius: the activation energy

Displacements count within a *segment*: rows of one track and one class; frames without a detection are
gaps inside it. With ``class_of="track"`` a whole track counts for the class it is named most often.

>>> rng = np.random.default_rng(2)
>>> steps = rng.normal(0, 0.1, (200, 2))
>>> rows = pd.DataFrame({"particle": 0, "frame": range(200), "y_nm": steps[:, 0].cumsum(), "x_nm": steps[:, 1].cumsum()})
>>> fit = fit_diffusion(rows, frame_time_s=1.0, method="mle").iloc[0]
>>> bool(fit["low"] < 0.1**2 / 2 < fit["high"])
True

Known traps. (1) Localisation error adds a constant to every MSD: its first point over 4t is no D.
(2) MSD points at
different lags share displacements: a straight line through them has errors that least squares
cannot know; quote `fit_diffusion`. (3) Hops on a lattice are not Gaussian: see `method="hop"`. (4)
Long steps near the border leave the field unseen; `fit_diffusion` makes up for them where the
experiment says how large the frames are, `msd` does not.
"""

import numpy as np  # noqa: F401 - for the example above
import pandas as pd  # noqa: F401

from stemkin.diffusion.comparison import arrhenius, compare_diffusion
from stemkin.diffusion.displacements import msd
from stemkin.diffusion.estimates import fit_diffusion
from stemkin.diffusion.hops import hop_rates
from stemkin.diffusion.mobilities import mobilities
from stemkin.diffusion.normality import gaussianity

__all__ = [
    "arrhenius",
    "compare_diffusion",
    "fit_diffusion",
    "gaussianity",
    "hop_rates",
    "mobilities",
    "msd",
]
