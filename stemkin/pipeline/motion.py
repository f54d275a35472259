"""How defects move, by every method that a run was asked for, and where they meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from stemkin.config import KineticsSection
from stemkin.diffusion import Motion, measure_motion
from stemkin.linking import MEETING_LATTICES, meetings
from stemkin.tables import Experiment, empty


def motion_of(
    tracks: Any,
    experiment: Experiment,
    settings: KineticsSection,
    methods: Sequence[Any],
    hop_length_nm: float | None,
) -> Motion:
    """Return D by every method that is asked for; the first row of a class is the one to quote."""
    words: dict[str, Any] = {"experiment": experiment, "confidence": settings.confidence}
    return measure_motion(tracks, methods=methods, hop_length_nm=hop_length_nm, **words)


def meetings_of(
    tracks: Any, settings: KineticsSection, hop_length_nm: float | None
) -> pd.DataFrame:
    """Return where tracks merge and split within the reach that was asked for, or one hop; none
    where neither is known."""
    if settings.meeting_reach_nm is None and hop_length_nm is None:
        return empty("meetings")
    return meetings(
        tracks, reach_nm=settings.meeting_reach_nm or MEETING_LATTICES * float(hop_length_nm or 0)
    )
