"""Where atoms are said to stand: as seen, drawn towards their sites, and with which error."""

import numpy as np
import pytest

from stemkin.kernels.crystal.lattice import METAL, honeycomb, sites
from stemkin.kernels.detection import defects, placing, site_scatter
from stemkin.kernels.images import filters

SD, SPACING, HEIGHTS = 1.8, 11.0, (30.0, 12.0)
SHAPE = (220, 220)
LATTICE = honeycomb(SPACING, metal=(9.0, 8.0), angle_deg=13.0)


def column(at, height):
    """A column seen through its own filter."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return height * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (4 * SD**2))


def noise(rng):
    ones = np.ones(SHAPE, np.float32)
    return filters.matched_snr(rng.normal(size=SHAPE).astype(np.float32), ones, SD)


def dopants_at(rng, off_px, left, n=12):
    """Some metal columns of which the share `left` stands there, `off_px` off the site, in noise."""
    inner = sites(LATTICE, SHAPE, METAL)
    inner = inner[((inner > 15) & (inner < np.array(SHAPE) - 16)).all(axis=1)]
    # none is a neighbour of another
    chosen = []
    for point in inner[rng.permutation(len(inner))]:
        if all(np.hypot(*(point - other)) > 2.5 * SPACING for other in chosen):
            chosen.append(point)
    site = np.array(chosen[:n])
    angle = rng.uniform(0, 2 * np.pi, len(site))
    true = site + off_px * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    snr = noise(rng).astype(float)
    for gone, there in zip(site, true, strict=True):
        snr += column(there, left * HEIGHTS[METAL]) - column(gone, HEIGHTS[METAL])
    return snr, site, true


def found_in(snr):
    return defects.on_lattices(
        snr,
        [(LATTICE, None)],
        false_positives=4.0,
        relaxation=0.0,
        filter_sd_px=SD,
        heights=HEIGHTS,
    )


def beside(found, true):
    """The number of the detection of each true place."""
    apart = np.hypot(found.y[:, None] - true[:, 0], found.x[:, None] - true[:, 1])
    assert (apart.min(axis=0) < 3).all()
    return apart.argmin(axis=0)


@pytest.mark.parametrize("off_px", [0.0, 0.12, 0.7])
@pytest.mark.parametrize("left", [0.8, 1.8])
def test_the_error_of_a_dopant_holds_at_its_site_and_off_it(off_px, left):
    """At 27 pm a pixel the offsets are 0, 3 and 19 pm: the atom is fitted, not what it differs by."""
    rng, frames = np.random.default_rng(1), []
    for _ in range(12):
        snr, _, true = dopants_at(rng, off_px, left)
        found = found_in(snr)
        frames.append((found.only(beside(found, true)), true))
    away = [placing.away_from_sites(found, found.y, found.x, SPACING) for found, _ in frames]
    known = site_scatter.pooled_scatter(away, [(None, SPACING)] * len(frames), off_site=0.02)
    pulls, misses = [], []
    for found, true in frames:
        y, x, error = placing.towards_sites(
            found, found.y, found.x, spacing_px=SPACING, off_site=0.02, known=known
        )
        miss = np.stack([y, x], axis=1) - true
        pulls.append(miss / np.maximum(error, 0.01)[:, None])
        misses.append(miss)
    assert np.sqrt((np.concatenate(misses) ** 2).mean()) < 0.32
    if off_px > 0:
        assert np.sqrt((np.concatenate(pulls) ** 2).mean()) == pytest.approx(1.0, abs=0.35)


def test_a_dip_moves_the_other_way_than_its_atom():
    snr, site, true = dopants_at(np.random.default_rng(2), 0.7, 0.4)
    found = found_in(snr)
    own = found.only(beside(found, site))
    told = ((np.stack([own.y, own.x], axis=1) - site) * (true - site)).sum(axis=1) / 0.7**2
    assert told.mean() == pytest.approx(1.0, abs=0.35)
    plain = defects.on_lattices(
        snr, [(LATTICE, None)], false_positives=0.1, relaxation=0.0, filter_sd_px=SD
    )
    plain = plain.only(beside(plain, site))
    dip = ((np.stack([plain.y, plain.x], axis=1) - site) * (true - site)).sum(axis=1)
    assert dip.mean() < 0, "what is seen without the height of the columns"


def test_dark_and_bright_defects_of_either_kind_of_site_scatter_by_themselves():
    rng, n = np.random.default_rng(3), 400
    group = np.repeat(np.arange(4), n)
    spreads = np.array([0.04, 0.01, 0.0, 0.02])
    variance = np.full(4 * n, 0.02**2)
    away = rng.normal(size=(4 * n, 2)) * np.sqrt(spreads[group] ** 2 + variance)[:, None]
    lean = np.zeros((4 * n, 2))
    lean[:100, 0] = 1.0
    away[:100, 0] += 0.1
    known = site_scatter.pooled_scatter(
        [(away, variance, lean, group)], [(None, 9.0)], off_site=0.02
    )
    assert known.pull == pytest.approx(0.1, abs=0.01)
    assert known.spreads == pytest.approx(spreads.tolist(), abs=0.007)
    assert site_scatter.pooled_scatter([], [], off_site=0.02) is None


def test_what_the_scan_does_in_every_frame_alike_is_no_error():
    rng, still = np.random.default_rng(4), rng_walk(200)
    scans = []
    for _ in range(9):
        rows = still + rng.normal(0, 0.05, (200, 2))
        scans.append(((rows, still), 10.0))
    nothing = (np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), np.zeros(0, int))
    known = site_scatter.pooled_scatter([nothing] * 9, scans, off_site=0.02)
    assert known.scan == pytest.approx(0.005, rel=0.1)


def rng_walk(n):
    return np.cumsum(np.random.default_rng(5).normal(0, 0.1, (n, 2)), axis=0)
