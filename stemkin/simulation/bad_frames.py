"""Which frames of a simulated movie are bad, and in which way."""

from __future__ import annotations

import numpy as np

from stemkin.simulation.settings import Settings, chance
from stemkin.tables import BLANK, CORRUPT, OK, SATURATED, TRUNCATED

PART_BLANK, DOUBLED, TORN, ZOOMED = "part blank", "doubled", "torn", "zoomed"
"""Ways to be bad that the table ``frames`` has no word of their own for."""

STATUS = {PART_BLANK: TRUNCATED, DOUBLED: CORRUPT, TORN: CORRUPT, ZOOMED: CORRUPT}
"""What the table ``frames`` calls them."""


def ways_of(settings: Settings, start: int, stop: int) -> list[str]:
    """Return in which way each of frames `start` to `stop` (excluded) is bad, or "ok".

    Frames that the settings name come first; any other is bad by chance.
    """
    instrument, nuisances, bad = settings.instrument, settings.nuisances, {}
    for way, named in (
        (BLANK, instrument.blank_frames),
        (SATURATED, instrument.saturated_frames),
        (TRUNCATED, instrument.truncated_frames),
        (PART_BLANK, nuisances.part_blank_frames),
        (DOUBLED, nuisances.doubled_frames),
        (TORN, nuisances.torn_frames),
        (ZOOMED, nuisances.zoomed_frames),
    ):
        for frame in named:
            bad[frame % settings.n_frames] = way  # negative numbers count from the end
    return [bad.get(frame, _way_by_chance(settings, frame)) for frame in range(start, stop)]


def statuses(settings: Settings, start: int, stop: int) -> list[str]:
    """Return the status of frames `start` to `stop` (excluded), as in the table ``frames``."""
    return [STATUS.get(way, way) for way in ways_of(settings, start, stop)]


def _way_by_chance(settings: Settings, frame: int) -> str:
    probability = settings.instrument.bad_frame_probability
    if probability == 0:
        return OK
    ways = [BLANK, SATURATED, TRUNCATED]
    if settings.nuisances.mixed_bad_frames:
        ways += STATUS
    rng = chance(settings, 5, frame)
    if rng.random() < probability:
        return str(rng.choice(np.array(ways)))
    return OK
