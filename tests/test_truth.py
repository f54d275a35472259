"""Intervals hold the truth about as often as they say: quick versions of
`benchmarks/bench_kinetics.py`.

Each draws data sets with a known answer and counts how often the 95 % interval holds it. The bounds
are wide enough for the number of data sets (a fair interval fails one such test in several
hundred), and seeds are fixed.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import linalg

from stemkin import kinetics
from stemkin.controls import immobile, shuffled
from stemkin.diffusion import fit_diffusion, gaussianity, hop_rates
from stemkin.kernels.chains.counting import neighbour_counts
from stemkin.kernels.chains.generator import fit_generator
from stemkin.kernels.chains.markov import transition_probabilities
from stemkin.kernels.motion.brownian import most_likely
from stemkin.kernels.motion.evidence import Evidence
from stemkin.kernels.motion.likelihood import likelihood_numbers
from stemkin.kernels.motion.walks import Walks

Q = np.array([[-0.03, 0.02, 0.01], [0.02, -0.04, 0.02], [0.01, 0.02, -0.03]])
CONFUSION = np.full((3, 3), 0.025) + np.eye(3) * 0.925


def walks(n_tracks, n_frames, rng, *, D=0.0, sigma=0.0, hops=0.0, a=1.0):
    """Positions (n_tracks, n_frames, 2): Brownian steps, hops in six directions, and localisation
    error."""
    steps = rng.normal(0, np.sqrt(2 * D), (n_tracks, n_frames - 1, 2))
    n_hops = rng.poisson(hops, (n_tracks, n_frames - 1))
    for k in range(n_hops.max(initial=0)):
        angle = rng.integers(6, size=n_hops.shape) * np.pi / 3
        steps += a * np.stack([np.cos(angle), np.sin(angle)], axis=-1) * (n_hops > k)[..., None]
    start = np.zeros((n_tracks, 1, 2))
    return np.concatenate([start, steps.cumsum(axis=1)], axis=1) + rng.normal(
        0, sigma, (n_tracks, n_frames, 2)
    )


def as_rows(places, names=None):
    n_tracks, n_frames = places.shape[:2]
    rows = {
        "particle": np.repeat(np.arange(n_tracks), n_frames),
        "frame": np.tile(np.arange(n_frames), n_tracks),
    }
    rows |= {"y_nm": places[..., 0].ravel(), "x_nm": places[..., 1].ravel()}
    return pd.DataFrame(rows if names is None else rows | {"class_id": names.ravel()})


def chains(n_tracks, n_frames, rng, *, confusion=None):
    """Names (n_tracks, n_frames) along tracks of the generator Q."""
    bounds = linalg.expm(Q).cumsum(axis=1)
    state = np.zeros((n_tracks, n_frames), dtype=int)
    state[:, 0] = rng.integers(3, size=n_tracks)
    for i in range(1, n_frames):
        state[:, i] = (rng.random(n_tracks)[:, None] > bounds[state[:, i - 1]]).sum(axis=1)
    return (
        state
        if confusion is None
        else (rng.random(state.shape)[..., None] > confusion.cumsum(axis=1)[state]).sum(axis=-1)
    )


@pytest.mark.parametrize(
    ("D", "hops", "sigma"), [(1.0, 0.0, 1.0), (1.0, 0.0, 0.3), (0.0, 0.2, 0.1)]
)
def test_the_likelihood_interval_of_d_holds_the_truth_for_spreading_and_for_hops(D, hops, sigma):
    n_sets, n_tracks, n_frames = 150, 25, 21
    places = walks(
        n_sets * n_tracks, n_frames, np.random.default_rng(1), D=D, sigma=sigma, hops=hops
    )
    track = np.repeat(np.arange(len(places)), n_frames)
    frame = np.tile(np.arange(n_frames), len(places))
    each = likelihood_numbers(
        Walks.of(track, frame, places[..., 0].ravel(), places[..., 1].ravel())
    )
    fits = [
        most_likely(Evidence(sums, 1.0)) for sums in each.reshape(n_sets, n_tracks, -1).sum(axis=1)
    ]
    truth = D + hops / 4
    assert np.mean([fit.low <= truth <= fit.high for fit in fits]) > 0.88
    assert np.mean([fit.D for fit in fits]) == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("known", [False, True])
def test_one_short_track_at_low_signal_has_an_interval_that_holds_and_ends(known):
    n_sets, sigma = 500, 2.0
    places = walks(n_sets, 11, np.random.default_rng(5), D=1.0, sigma=sigma)
    rows = as_rows(places)
    words = {"frame_time_s": 1.0, "by": "movie", "sigma_nm": sigma if known else None}
    found = fit_diffusion(rows.assign(movie=rows["particle"].astype(str)), **words).query(
        "movie != '*'"
    )
    assert 0.93 < ((found["low"] <= 1) & (found["high"] >= 1)).mean() < 0.985
    assert (found["high"] < 40).mean() > 0.98
    spread = found["D_nm2_per_s"].std()
    assert (
        0.65 < spread < 0.95 if known else 0.85 < spread < 1.1
    )  # Cramer-Rao: 0.81 if it is known, 0.97 if not


def test_the_hop_rate_is_as_sure_as_the_number_of_hops():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(30):
        rows = as_rows(walks(20, 31, rng, hops=0.1, sigma=0.05))
        found.append(hop_rates(rows, hop_length_nm=1.0, frame_time_s=2.0, by="pooled").iloc[0])
    rates = np.array([f["hop_rate_per_s"] for f in found])
    assert np.mean([f["low"] <= 0.05 <= f["high"] for f in found]) > 0.86
    assert rates.std() / 0.05 == pytest.approx(1 / np.sqrt(20 * 30 * 0.1), rel=0.3)


def test_rates_and_probabilities_hold_the_truth_also_with_gaps():
    rng = np.random.default_rng(3)
    P = linalg.expm(Q)
    inside_q, inside_p = [], []
    for _ in range(120):
        seen = rng.random((60, 30)) > 0.15
        track, frame = np.nonzero(seen)
        gaps, counts = neighbour_counts(track, frame, chains(60, 30, rng)[seen], n_states=3)
        fit = fit_generator(counts, gaps.astype(float))
        inside_q.append((fit.low <= Q) & (fit.high >= Q))
        _, low, high = transition_probabilities(counts[0])
        inside_p.append((low <= P) & (high >= P))
    assert 0.92 < np.mean(inside_q) < 0.98
    assert 0.92 < np.mean(inside_p) < 0.98


def test_five_per_cent_of_wrong_names_no_longer_bias_the_rates():
    off = ~np.eye(3, dtype=bool)
    totals, inside = [], []
    for seed in range(3):
        rows = as_rows(
            np.zeros((400, 40, 2)),
            chains(400, 40, np.random.default_rng(seed), confusion=CONFUSION),
        )
        raw = kinetics.transitions(rows, frame_time_s=1.0).rates.to_numpy()
        assert (raw[off] > 2 * Q[off]).all()
        corrected = kinetics.hidden_transitions(rows, confusion=CONFUSION, frame_time_s=1.0)
        low, high = (corrected.matrix(c).to_numpy()[off] for c in ("rate_low", "rate_high"))
        totals.append(corrected.rates.to_numpy()[off].sum() / Q[off].sum())
        inside.append((low <= Q[off]) & (high >= Q[off]))
    assert np.mean(totals) == pytest.approx(1, abs=0.05)
    assert np.mean(inside) > 0.85


def test_few_tracks_with_many_wrong_names_have_rates_that_are_not_too_sure_of_being_small():
    """A small rate found by chance has a small variance: its upper end must not believe it (it lay
    too low in 6 of 100 once)."""
    confusion, off = np.full((3, 3), 0.05) + np.eye(3) * 0.85, ~np.eye(3, dtype=bool)
    inside, above = [], []
    for seed in range(40):
        rows = as_rows(
            np.zeros((60, 30, 2)), chains(60, 30, np.random.default_rng(seed), confusion=confusion)
        )
        words = {"confusion": confusion, "errors": "independent", "frame_time_s": 1.0}
        found = kinetics.hidden_transitions(rows, **words)
        low, high = (found.matrix(c).to_numpy()[off] for c in ("rate_low", "rate_high"))
        inside.append((low <= Q[off]) & (Q[off] <= high))
        above.append(Q[off] > high)
    assert 0.92 < np.mean(inside) < 0.98
    assert np.mean(above) < 0.04


def test_nothing_moves_and_nothing_changes_in_the_controls():
    zero_d, zero_static = [], []
    for seed in range(40):
        rng = np.random.default_rng(100 + seed)
        rows = as_rows(walks(15, 20, rng, D=0.05, sigma=0.2))
        words = {"method": "cve", "frame_time_s": 1.0, "by": "pooled"}
        for control, found in (
            (shuffled(rows, seed=seed), zero_d),
            (immobile(rows, sigma_nm=0.1, seed=seed), zero_static),
        ):
            fit = fit_diffusion(control, **words).iloc[0]
            found.append(fit["low"] <= 0 <= fit["high"])
    assert np.mean(zero_d) > 0.85
    assert np.mean(zero_static) > 0.85
    rows = as_rows(
        np.zeros((300, 30, 2)),
        np.random.default_rng(5).integers(3, size=(300, 1)).repeat(30, axis=1),
    )
    misnamed = immobile(rows, sigma_nm=0.1, confusion=CONFUSION, seed=1)
    still = kinetics.hidden_transitions(misnamed, confusion=CONFUSION, frame_time_s=1.0)
    off = ~np.eye(3, dtype=bool)
    assert (still.matrix("rate_low").to_numpy()[off] == 0).all()
    assert (still.matrix("rate_high").to_numpy()[off] < 0.004).all()


def test_hops_are_not_taken_for_brownian_motion():
    rng = np.random.default_rng(6)
    hopping = gaussianity(
        as_rows(walks(30, 30, rng, hops=0.1, sigma=0.05)), frame_time_s=1.0, by="pooled"
    ).iloc[0]
    spreading = gaussianity(
        as_rows(walks(30, 30, rng, D=0.1, sigma=0.2)), frame_time_s=1.0, by="pooled"
    ).iloc[0]
    assert not hopping["gaussian"]
    assert spreading["gaussian"]


def test_chain_tests_pass_for_a_chain_and_fail_for_wrong_names():
    rng = np.random.default_rng(7)
    place = np.zeros((800, 60, 2))
    true = kinetics.transitions(
        as_rows(place, chains(800, 60, rng)), lag_frames=(1, 2, 4), frame_time_s=1.0
    )
    wrong = kinetics.transitions(
        as_rows(place, chains(800, 60, rng, confusion=CONFUSION)),
        lag_frames=(1, 2, 4),
        frame_time_s=1.0,
    )
    assert kinetics.chapman_kolmogorov(true)["agrees"].mean() > 0.8
    assert kinetics.chapman_kolmogorov(wrong)["agrees"].mean() < 0.5
    times = kinetics.implied_timescales(true)
    slowest = times[times["rank"] == 1]
    expected = -1 / np.sort(np.linalg.eigvals(Q).real)[-2]
    assert ((slowest["low"] < expected) & (expected < slowest["high"])).sum() >= 2
    assert kinetics.reversibility(true)["degrees_of_freedom"].item() == 1


def test_a_long_movie_gives_its_numbers_back_from_its_pixels(tmp_path):
    """A small version of `benchmarks/bench_truth.py`: D, rates, numbers and the cross-section, from
    the pixels, beside the truth."""
    from benchmarks.bench_truth import compare

    found = (
        compare(40, 160, 1, 5, str(tmp_path)).set_index(["table", "quantity", "what"]).sort_index()
    )
    assert found.loc[("diffusion", "D_nm2_per_s", "V_S (hop)"), "inside"]
    judged = found.loc[found["inside"].notna() & (found["true"] > 0), "inside"].astype(bool)
    assert len(judged) >= 8
    assert judged.mean() >= 0.85
