"""Traces of sites from pixels: one number for each site, whatever the drift and the chunks."""

from dataclasses import replace

import numpy as np
import pytest

import stemkin as sk
from stemkin.detection.detectors import FourierDetector
from stemkin.simulation import simulate_movie, truth_of

DETECTOR = FourierDetector()


@pytest.fixture(scope="module")
def movie():
    """Six frames that drift by two lattice constants in all; frame 2 is blank, nothing hops."""
    return simulate_movie(
        "frozen", n_frames=6, shape=(128, 128), seed=3, drift_y_nm_per_frame=0.1,
        drift_x_nm_per_frame=-0.05, blank_frames=(2,), wander_nm=0.0,
        vacancy_fraction=0.04, dopant_fraction=0.04, complex_fraction=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def frames(movie):
    return sk.detect(movie, DETECTOR).experiment.frames.compute()


@pytest.fixture(scope="module")
def traces(movie, frames):
    lazy = sk.site_traces(movie, DETECTOR, frames=frames)
    return replace(lazy, values=lazy.values.persist())


def sites_of(movie, traces, kind):
    """The number of the site of each defect of a kind in each frame, by its true place."""
    truth = truth_of(movie)
    shift = truth.frames[["shift_y", "shift_x"]].to_numpy()
    own = truth.defects[truth.defects["kind"] == kind]
    frame = own["frame"].to_numpy()
    at = own[["y", "x"]].to_numpy() - shift[frame] + shift[0]
    places = traces.sites[["y_nm", "x_nm"]].to_numpy() / movie.pixel_size_nm
    away = np.hypot(*(at[:, None] - places).transpose(2, 0, 1))
    return frame, away.argmin(axis=1), away.min(axis=1)


def test_a_vacancy_that_stays_has_one_trace_through_the_drift(movie, traces):
    frame, site, away = sites_of(movie, traces, "V_S")
    assert away.max() < 1.0  # px; sites of one kind are 10 px apart
    values = traces.values.compute()
    seen = values[frame, site]
    judged = np.isfinite(seen)
    assert judged.sum() >= 5
    assert (seen[judged] < -3).all()
    for one in np.unique(site):
        shown = values[:, one][np.isfinite(values[:, one])]
        assert (shown < -3).all(), "a site that has lost its number shows the crystal"


def test_a_bad_frame_is_not_judged_and_the_numbers_last(traces):
    values = traces.values.compute()
    assert np.isnan(values[2]).all()
    assert np.isfinite(values[[0, 1, 3, 4, 5]]).any(axis=1).all()
    assert traces.stretches == (0,)
    assert values.dtype == np.float32


def test_traces_are_the_same_bits_for_every_chunking(movie, frames, traces):
    whole = traces.values.compute()
    for size in (1, 4):
        cut = sk.site_traces(movie, DETECTOR, frames=frames, frames_per_block=size)
        assert len(cut.values.chunks[0]) > 1
        np.testing.assert_array_equal(cut.values.compute(), whole)


def test_sites_are_numbered_once_and_know_their_places(traces):
    own = traces.sites
    assert not own.duplicated(["sublattice", "u", "v"]).any()
    assert set(own["sublattice"]) == {"metal", "chalcogen"}
    assert traces.lattice_nm == pytest.approx(0.3153, rel=0.02)


def test_dopants_are_found_by_what_they_show_all_the_time(movie, traces):
    marked, dopants = sk.dopants_of(traces)
    frame, site, _ = sites_of(movie, traces, "Mo_W")
    held = set(map(tuple, traces.cells[site[frame == 0]].tolist()))
    found = set(map(tuple, dopants[["u", "v"]].to_numpy().tolist()))
    assert len(held & found) >= len(held) - 1
    beside = dopants[["site_0", "site_1", "site_2"]].to_numpy().ravel()
    assert marked.column("beside_dopant")[beside].all()
    centre = (dopants[["u", "v"]].to_numpy()).repeat(3, axis=0)
    steps = marked.cells[beside] - centre
    assert set(map(tuple, steps.tolist())) <= {(0, 0), (-1, 0), (0, -1)}


def test_a_step_that_nobody_knows_begins_a_stretch(movie, frames):
    cut = frames.assign(stretch=(frames["frame"] >= 4).astype("int32"))
    two = sk.site_traces(movie, DETECTOR, frames=cut)
    assert two.stretches == (0, 4)
    assert two.stretch(1).n_frames == 2
    # how far the specimen moved before is not known, and whatever stands for it is as good
    moved = cut.assign(shift_y=cut["shift_y"] + np.where(cut["frame"] >= 4, 4.5, 0.0))
    assert np.isfinite(sk.site_traces(movie, DETECTOR, frames=moved).values[4:].compute()).any()
    with pytest.raises(ValueError, match="correlate one at a time"):
        sk.lattice_correlation(two)
    with pytest.raises(ValueError, match="there is none of number 2"):
        two.stretch(2)


def test_a_drift_that_does_not_fit_is_not_believed(movie, frames):
    half = frames.assign(shift_y=frames["shift_y"] + np.where(frames["frame"] == 5, 4.5, 0.0))
    values = sk.site_traces(movie, DETECTOR, frames=half).values.compute()
    assert np.isnan(values[5]).all()


def test_bad_input_gets_one_sentence(movie, frames, traces):
    def said(call, *given, **words):
        with pytest.raises(ValueError) as refused:
            call(*given, **words)
        return str(refused.value)

    plain = said(sk.site_traces, movie, lambda frames, first_frame=0: None, frames=frames)
    assert plain.startswith("site traces need a detector that judges the sites of a lattice")
    assert "has 3 rows of movie" in said(sk.site_traces, movie, DETECTOR, frames=frames[:3])
    bad = frames.assign(status="blank")
    assert "shows the lattice" in said(sk.site_traces, movie, DETECTOR, frames=bad)
    said_of = said(sk.site_traces, movie, DETECTOR, frames=frames, frames_per_block=0)
    assert said_of.startswith("frames_per_block must be")
    is_metal = (traces.sites["sublattice"] == "metal").to_numpy()
    without = sk.SiteTraces.of(traces.values[:, ~is_metal], traces.sites[~is_metal], movie="m")
    assert said(sk.dopants_of, without).startswith("the traces of movie 'm' hold no metal sites")


def test_a_grain_boundary_is_refused_unless_the_largest_crystal_is_meant(
    movie, frames, monkeypatch
):
    """Two grains, as the division of a broken frame gives them."""
    before = FourierDetector.remainder

    def broken(self, frame):
        rest = before(self, frame)
        if not rest.grains:
            return rest
        left = np.zeros(frame.shape, dtype=np.float32)
        left[:, :80] = 1.0
        grain = rest.grains[0]
        return replace(rest, grains=[replace(grain, mask=left), replace(grain, mask=1 - left)])

    monkeypatch.setattr(FourierDetector, "remainder", broken)
    with pytest.raises(ValueError, match="shows a grain boundary: a second crystal has 60 %"):
        sk.site_traces(movie, DETECTOR, frames=frames)
    one = sk.site_traces(movie, DETECTOR, frames=frames, largest_grain=True)
    values, sites = one.values[0].compute(), one.sites
    inside = sites["x_nm"] / movie.pixel_size_nm < 78
    assert np.isnan(values[sites["x_nm"] / movie.pixel_size_nm > 82]).all()
    assert np.isfinite(values[inside]).mean() > 0.8


def test_a_crystal_that_is_turned_is_of_another_grain(movie, frames):
    from stemkin.kernels.crystal.lattice import honeycomb
    from stemkin.sites.numbering import Numbering

    first = honeycomb(10.0, metal=(64.0, 64.0))
    numbering = Numbering.of([(0, first)], frames.set_index("frame"), (128, 128))
    cells = np.array([[0, 0], [3, 1]])
    assert (numbering.columns(0, cells, first, 0) >= 0).all()
    turned = honeycomb(10.0, angle_deg=12.0, metal=(64.0, 64.0))
    assert (numbering.columns(0, cells, turned, 0) == -1).all()
