"""How the stage moves: the shift of any frame, from its number alone.

shift(k) = steady k + wander(k) - wander(0) + jumps: the wandering is a sum of waves with random
periods and phases (so frame 10**9 costs as much as frame 1); sudden jumps happen at random frames,
and between two jumps the stage keeps one random displacement. A static point at y in frame 0 is
seen at y + shift_y in frame k.
"""

from __future__ import annotations

import numpy as np

from stemkin.simulation.settings import Settings

N_WAVES = 12
SPAN = 256
"""Frames per stretch of the jump sequence, which is drawn stretch by stretch."""


def shifts_px(settings: Settings, frames: np.ndarray) -> np.ndarray:
    """Return the (m, 2) cumulative shifts (y, x) [px] of frames (m,), relative to frame 0."""
    i = settings.instrument
    frames = np.asarray(frames, dtype=np.int64)
    steady = frames[:, None] * np.array([i.drift_y_nm_per_frame, i.drift_x_nm_per_frame])
    moved = steady + _wander_nm(settings, frames) - _wander_nm(settings, np.zeros(1, np.int64))
    if i.jump_probability > 0:
        moved = moved + _jumps_nm(settings, frames) - _jumps_nm(settings, np.zeros(1, np.int64))
    return np.asarray(moved / i.pixel_size_nm)


def _wander_nm(settings: Settings, frames: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(1,)))
    frequency = rng.standard_normal((N_WAVES, 2)) / settings.instrument.wander_frames
    phase = rng.random((N_WAVES, 2)) * 2 * np.pi
    waves = np.cos(frames[:, None, None] * frequency + phase)
    return np.asarray(settings.instrument.wander_nm * np.sqrt(2 / N_WAVES) * waves.sum(axis=1))


def _jumps_nm(settings: Settings, frames: np.ndarray) -> np.ndarray:
    """Return the (m, 2) displacement [nm] that each frame's last jump has led to."""
    found = np.empty((len(frames), 2))
    stretches, which = np.unique(frames // SPAN, return_inverse=True)
    for n, stretch in enumerate(stretches.tolist()):
        rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(2, stretch)))
        jumps = rng.random(SPAN) < settings.instrument.jump_probability
        jumps[0] = True  # each stretch begins at a place of its own
        places = rng.standard_normal((SPAN, 2)) * settings.instrument.jump_nm
        last = np.maximum.accumulate(np.where(jumps, np.arange(SPAN), 0))
        mine = which == n
        found[mine] = places[last[frames[mine] - stretch * SPAN]]
    return found
