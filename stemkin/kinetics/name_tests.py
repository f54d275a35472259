"""Do wrong names last? The fits that say yes and no are compared, and what follows is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.kinetics.baum_welch import NO_LASTING, BaumWelch
from stemkin.tables import POOLED

NONE, INDEPENDENT, LASTING = "none", "independent", "lasting"
"""What a row of ``hidden_transitions`` takes the errors of names for."""

UNLIKELY = 0.01
"""Names last where as much as was gained by letting them would be gained by chance with less than
this probability."""

NEGLIGIBLE = 0.02
"""Names are taken as they are where wrong ones make a smaller share of all changes than this."""

WORTH_SAYING = 0.1
"""A run says so where wrong names alone make a larger share of the changes of class."""


def tested_names(
    fits: Mapping[str, BaumWelch], confidence: float, *, n_changes: int
) -> dict[str, Any]:
    """Return a row of ``name_errors``, and which of the `fits` is to be used.

    `n_changes` is how often a name changed; where none did, nothing is due to wrong ones.
    """
    fit = fits.get(LASTING, fits.get(INDEPENDENT))
    if fit is None:  # of a single class: it has no other to be taken for
        lasting = ("kept", "kept_low", "kept_high", "wrong_frames")
        numbers = ("wrong_share", *lasting, "false_changes", "statistic", "p_value")
        return {**dict.fromkeys(numbers, np.nan), "recommended": NONE, "used": NONE}
    statistic, p = np.nan, np.nan
    used = next(iter(fits))
    if len(fits) == 2:
        gain = fits[LASTING].looked.log_likelihood - fits[INDEPENDENT].looked.log_likelihood
        statistic = max(2 * gain, 0.0)
        p = 1.0
        if statistic > 0:
            p = 0.5 * float(special.chdtrc(1, statistic))
        used = INDEPENDENT
        if p < UNLIKELY:
            used = LASTING
    low, high = np.nan, np.nan
    if LASTING in fits:
        low, high = fits[LASTING].kept_interval(confidence)
        if len(fits) == 2 and special.chdtr(1, statistic) < confidence:
            low = 0.0  # names may as well not last: the curvature at the maximum does not know
    kept, recommended, wrong = fit.at.kept, used, fits[used].wrong_share()
    if wrong < NO_LASTING * UNLIKELY:  # no name is wrong, so none lasts
        kept, low, high = np.nan, np.nan, np.nan
    false = np.nan
    if n_changes:
        false = fits[used].share_of_changes()
    if not false >= NEGLIGIBLE:
        recommended = NONE
    return {
        "wrong_share": wrong,
        "kept": kept,
        "kept_low": low,
        "kept_high": high,
        "wrong_frames": 1 / (1 - kept),
        "false_changes": false,
        "statistic": statistic,
        "p_value": p,
        "recommended": recommended,
        "used": used,
    }


def said_of_names(errors: pd.DataFrame) -> list[str]:
    """Return a sentence where wrong names make many of the changes of class that were counted.

    Parameters
    ----------
    errors
        Table ``name_errors``.
    """
    said = []
    for row in errors[errors["false_changes"] >= WORTH_SAYING].itertuples():
        how = "each for a frame"
        if row.recommended == "lasting":
            how = f"for {row.wrong_frames:.1f} frames on average"
        where = f"names in {row.movie} blink"
        if row.movie == POOLED:
            where = "names blink"
        said.append(
            f"{where}: {row.wrong_share:.1%} of them are wrong, {how}, which makes "
            f"{row.false_changes:.0%} of the changes of class that were counted; quote the rates "
            "with names corrected"
        )
    return said
