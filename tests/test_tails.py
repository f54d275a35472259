"""Heavy tails of noise are measured on the frame: as many false ones as asked, and defects are kept."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from stemkin.kernels.crystal import peaks
from stemkin.kernels.crystal.lattice import METAL
from stemkin.kernels.detection import tails

ALLOWED = 1.0


def noise(rng, *, counts):
    """A map of unit scatter made of so many counts per pixel, each of its own size; None: normal."""
    raw = rng.normal(size=(256, 256))
    if counts is not None:
        raw = np.where(rng.random(raw.shape) < counts, rng.exponential(1.0, raw.shape), 0.0)
    smooth = gaussian_filter(raw, 2.0)
    smooth = smooth - np.median(smooth)
    return (smooth / (1.4826 * np.median(np.abs(smooth)))).astype(np.float32)


def heights_of(snr):
    _, _, score = peaks.extrema(snr, threshold=0.5, border_px=2)
    return score[score > 0]


def test_the_tail_of_normal_noise_is_not_heavy():
    rng = np.random.default_rng(0)
    for _ in range(10):
        assert tails.level_of_heavy_tail(noise(rng, counts=None), ALLOWED, border_px=2) is None


@pytest.mark.parametrize("counts", [0.02, 0.05])
def test_few_counts_make_about_as_many_false_ones_as_asked(counts):
    rng = np.random.default_rng(1)
    maps = [noise(rng, counts=counts) for _ in range(20)]
    levels = [tails.level_of_heavy_tail(snr, ALLOWED, border_px=2) for snr in maps]
    assert None not in levels
    false = [int((heights_of(snr) > level).sum()) for snr, level in zip(maps, levels, strict=True)]
    normal = [int((heights_of(snr) > 4.4).sum()) for snr in maps]
    assert 0.5 * ALLOWED < np.mean(false) < 1.5 * ALLOWED
    assert np.mean(normal) > 10 * ALLOWED, "a threshold for normal noise lets them pass"


def test_defects_do_not_raise_the_level_much():
    snr = noise(np.random.default_rng(2), counts=0.05)
    level = tails.level_of_heavy_tail(snr, ALLOWED, border_px=2)
    spot = np.zeros_like(snr)
    spot[40:220:90, 40:220:90] = 1.0
    spot = gaussian_filter(spot, 2.0)
    with_defects = snr + 40 * (spot / spot.max()).astype(np.float32)
    raised = tails.level_of_heavy_tail(with_defects, ALLOWED, border_px=2)
    assert raised == pytest.approx(level, rel=0.15)
    assert (heights_of(with_defects) > raised).sum() in (4, 5), "the defects, and what was asked"


def test_bright_sites_are_judged_by_their_own_tail_and_dark_ones_as_before():
    rng = np.random.default_rng(3)
    signal = rng.normal(size=4000)
    heavy = np.where(signal > 0, rng.exponential(1.2, 4000), signal)
    kinds, least = np.full(4000, METAL, np.int8), np.full(4000, 3.4)
    raised = tails.above_heavy_tails(least, kinds, heavy, {METAL: 1.0})
    assert (raised[heavy <= 0] == 3.4).all()
    assert (heavy > 3.4).sum() > 50
    assert ((heavy > raised) & (heavy > 0)).sum() <= 4
