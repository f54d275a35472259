"""Hashes: numbers that look random and are the same everywhere, since they follow from names."""

from __future__ import annotations

import numpy as np


def mixed(numbers: np.ndarray, seed: int = 0) -> np.ndarray:
    """Hash whole numbers to 64 bits (SplitMix64; Steele, Lea & Flood, OOPSLA 2014).

    Parameters
    ----------
    numbers
        (...) whole numbers.
    seed
        Another seed gives other hashes.

    Returns
    -------
    (...) uint64, evenly spread, that depend on `numbers` and `seed` alone.

    Examples
    --------
    >>> mixed(np.array([0, 1])).tolist()
    [16294208416658607535, 10451216379200822465]
    """
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
