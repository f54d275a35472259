"""What the code of a run says where nothing happens: controls that stand beside its numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from stemkin.config import KineticsSection
from stemkin.controls import immobile, shuffled
from stemkin.kinetics import dwell_times, transitions
from stemkin.pipeline.motion import meetings_of, motion_of
from stemkin.pipeline.switching import Confusion, transition_table
from stemkin.tables import Experiment, empty

NULLS = (
    "null_transitions",
    "null_dwell_times",
    "null_diffusion",
    "null_static_transitions",
    "null_meetings",
)
"""The same tracks with each one's frames in random order (for hops: with each particle at rest);
and static defects that are misnamed as often as the model misnames, which change and meet by naming
errors alone."""
NULL_HOPS = ("null_hop_rates",)


def null_tables(
    tracks: Any,
    whole: Any,
    experiment: Experiment,
    settings: KineticsSection,
    hop_length_nm: float | None,
    measured: pd.DataFrame,
    confusion: Confusion,
) -> dict[str, pd.DataFrame]:
    """Return the null controls; `measured` diffusion tells how well a particle at rest is seen,
    `whole` tracks how sure names are."""
    chance = shuffled(tracks)
    spread = [m for m in ("mle", "cve") if m in settings.diffusion_methods]
    at_random = motion_of(chance, experiment, settings, spread, None)
    found = {
        "null_transitions": transition_table(chance, experiment, settings),
        "null_dwell_times": dwell_times(
            chance, by="movie", experiment=experiment, confidence=settings.confidence
        ),
        "null_diffusion": at_random.diffusion,
        **_static(whole, experiment, settings, confusion, hop_length_nm),
    }
    if hop_length_nm is None:
        return found
    sigma_nm = float(measured["sigma_nm"].where(measured["sigma_nm"] > 0).median())
    if not sigma_nm > 0:
        return found | {"null_hop_rates": at_random.hop_rates}  # without a lattice: no rows
    at_rest = motion_of(
        immobile(tracks, sigma_nm=sigma_nm), experiment, settings, ("hop",), hop_length_nm
    )
    both = pd.concat([found["null_diffusion"], at_rest.diffusion], ignore_index=True)
    return found | {"null_diffusion": both, "null_hop_rates": at_rest.hop_rates}


def _static(
    tracks: Any,
    experiment: Experiment,
    settings: KineticsSection,
    confusion: Confusion,
    hop_length_nm: float | None,
) -> dict[str, pd.DataFrame]:
    """Return the transitions and meetings that naming errors alone would show, of defects that keep
    their class."""
    errors = confusion.for_all(tracks)
    if errors is None:
        return {"null_static_transitions": empty("transitions"), "null_meetings": empty("meetings")}
    at_rest = immobile(tracks, sigma_nm=0.0, confusion=errors, seed=1)
    words: dict[str, Any] = {"lag_frames": settings.lag_frames, "confidence": settings.confidence}
    return {
        "null_static_transitions": transitions(at_rest, experiment=experiment, **words).table,
        "null_meetings": meetings_of(at_rest, settings, hop_length_nm),
    }
