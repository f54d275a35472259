"""How defects move, by every method that a run was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stemkin.config import Kinetics
from stemkin.diffusion import Motion, measure_motion
from stemkin.tables import Experiment


def motion_of(
    tracks: Any, experiment: Experiment, settings: Kinetics, methods: Sequence[Any], hop_length_nm: float | None
) -> Motion:
    """Return D by every method that is asked for; the first row of a class is the one to quote."""
    words: dict[str, Any] = {"experiment": experiment, "confidence": settings.confidence}
    return measure_motion(tracks, methods=methods, hop_length_nm=hop_length_nm, **words)
