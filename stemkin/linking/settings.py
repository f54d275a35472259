"""What makes a link: the settings of a linker, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

MAX_STEP_LATTICES = 2.2
"""The default of `max_step_nm`, in lattice constants: room for two hops in a frame time, to the
sites 1.73 and 2 lattice constants away. With room for one hop alone (1.3) D comes out 16 % too low
at 0.3 hops per frame (`stemkin demo`)."""

MAX_GAP_FRAMES = 1
"""The default of `max_gap_frames`, in a run (`stemkin.config.LinkSection`) too. A defect that is
missed now and then would otherwise be many short tracks: with 5 % missed, closing gaps of one frame
brings the share of its track that is kept whole from 0.53 to 0.80 (defects 6 steps apart) and from
0.40 to 0.55 (2 steps); two frames add 0.002 to 0.008. Where next to nothing is missed there is next
to nothing to close: what is joined then are mostly false detections, of which two frames join a
quarter to two thirds more (`benchmarks/bench_association.py`)."""

Cost = Literal["likelihood", "distance"]


@dataclass(frozen=True)
class LinkSettings:
    """What makes a link.

    Attributes
    ----------
    max_step_nm
        Largest step between neighbouring frames [nm]; None: `MAX_STEP_LATTICES` times the movie's
        own lattice constant.
    max_gap_frames
        Good frames in a row that a defect may be missed.
    max_blind_frames
        A track ends where more frames than this in a row are bad.
    cost
        ``"likelihood"`` or ``"distance"``; see `stemkin.linking.link`.
    class_penalty_nm
        A pair of different classes counts as this much farther apart, in quadrature [nm].
    brightness_penalty_nm
        Likewise for each factor e between the scores.
    lattice
        Link site to site only: steps are lattice vectors.
    """

    max_step_nm: float | None
    max_gap_frames: int = MAX_GAP_FRAMES
    max_blind_frames: int = 5
    cost: Cost = "likelihood"
    class_penalty_nm: float = 0.0
    brightness_penalty_nm: float = 0.0
    lattice: bool = False

    def __post_init__(self) -> None:
        """Check every number.

        Raises
        ------
        ValueError
            If a number is out of its range, or the cost is none of the two.
        """
        step = self.max_step_nm
        if step is not None and not (np.isfinite(step) and step > 0):
            msg = f"max_step_nm must be a positive number of nanometres, but is {step}"
            raise ValueError(msg)
        for name in (
            "max_gap_frames",
            "max_blind_frames",
            "class_penalty_nm",
            "brightness_penalty_nm",
        ):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                msg = f"{name} must be a number that is not negative, but is {value}"
                raise ValueError(msg)
        if self.cost not in ("likelihood", "distance"):
            msg = f'cost must be "likelihood" or "distance", but is {self.cost!r}'
            raise ValueError(msg)

    @property
    def by_odds(self) -> bool:
        """Whether links are chosen by their likelihood."""
        return self.cost == "likelihood"

    @property
    def need_odds(self) -> bool:
        """Whether steps must be counted at all: for links by likelihood, or to close gaps."""
        return self.by_odds or self.max_gap_frames > 0
