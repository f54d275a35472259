"""Kinetics and truth: each against a closed form, with a tolerance that follows from the counts."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import expm

from stemkin.simulation import PRESETS, Settings, simulate_archive, simulate_movie, truth_of
from stemkin.simulation.crystal import BOUND, NEIGHBOURS, Patch, crystal_of
from stemkin.simulation.damage import damage_plan
from stemkin.simulation.kinetics import simulate_area
from stemkin.simulation.rates import Rates
from tests.strategies import assert_same_rows, time_chunkings

SILENT = {
    "hop_rate_per_s": 0.0, "rotation_rate_per_s": 0.0, "detach_rate_per_s": 0.0, "split_rate_per_s": 0.0, "cross_section_barn": 0.0,
    "healing_rate_per_s": 0.0, "complex_healing_rate_per_s": 0.0, "dopant_fraction": 0.0, "vacancy_fraction": 0.0,
}  # fmt: skip
"""Nothing happens; each test wakes what it looks at."""


def truth(n_frames=2000, shape=(200, 200), seed=0, **rates):
    return truth_of(
        simulate_movie(
            "paper",
            n_frames=n_frames,
            shape=shape,
            seed=seed,
            area_frames=n_frames,
            **{**SILENT, **rates},
        )
    )


def within(count, expected, sigmas=4.0):
    """A Poisson count is where it should be."""
    return abs(count - expected) <= sigmas * math.sqrt(expected) + 1


def exits_and_time(rows, fates, kinds):
    some = rows[rows["kind"].isin(kinds)]
    return some["fate"].isin(fates).sum(), (some["end_s"] - some["start_s"]).sum()


# -- closed forms


def test_the_squared_displacement_of_true_hops_grows_as_four_d_t():
    known = truth(
        vacancy_fraction=0.004, hop_rate_per_s=0.2, shape=(512, 512), n_frames=600, seed=3
    )
    assert known.D_nm2_per_s == pytest.approx(0.2 * 0.3153**2 / 4)
    a2, tau = 0.3153**2, 2.25
    rows = known.defects[known.defects["kind"] == "V_S"].sort_values(["particle", "frame"])
    for lag in (1, 3):
        kept = rows[rows["frame"] % lag == 0]  # displacements that do not overlap
        ahead = kept.shift(-1)
        central = kept[["y", "x"]].min(axis=1).gt(100) & kept[["y", "x"]].max(axis=1).lt(
            412
        )  # too far in to leave
        same = (
            (ahead["particle"] == kept["particle"])
            & (ahead["frame"] == kept["frame"] + lag)
            & central
        )
        r2 = ((ahead["y_nm"] - kept["y_nm"]) ** 2 + (ahead["x_nm"] - kept["x_nm"]) ** 2)[same]
        hops = 0.2 * lag * tau
        sd = (
            a2 * math.sqrt(hops + hops**2) / math.sqrt(len(r2))
        )  # var r2 = a4 (m + m2) for Poisson(m) hops
        assert len(r2) > 400
        assert abs(r2.mean() - 4 * known.D_nm2_per_s * lag * tau) < 4 * sd


def test_hops_go_to_all_six_neighbours_alike():
    patch = crystal_of(PRESETS["null"]).patch
    quiet = Settings().with_values(**{**SILENT, "vacancy_fraction": 0.003, "hop_rate_per_s": 1.0})
    rows = simulate_area(quiet, patch, duration_s=1500.0, rng=np.random.default_rng(0))
    rows = rows[np.lexsort((rows["start_s"], rows["particle"]))]
    same = (np.diff(rows["particle"]) == 0) & (rows["cause"][1:] == 2)
    steps = np.stack([np.diff(rows["u"]), np.diff(rows["v"])], axis=1)[same]
    counts = np.array([(steps == step).all(axis=1).sum() for step in NEIGHBOURS])
    assert counts.sum() == len(steps) > 2000
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(
    ("rates", "kind", "fates", "rate"),
    [
        ({"vacancy_fraction": 0.003, "hop_rate_per_s": 0.2}, "V_S", ("hop", "pair"), 0.2),
        ({"vacancy_fraction": 0.2, "healing_rate_per_s": 0.01}, "V_S", ("heal",), 0.01),
        ({"vacancy_fraction": 0.4, "cross_section_barn": 1.0, "cross_section_at_dopant": 1.0}, "V_S", ("create",), 1.6e-4),
        ({"dopant_fraction": 0.03, "complex_fraction": 1.0, "rotation_rate_per_s": 0.1}, "Mo_W+V_S", ("rotate",), 0.1),
        ({"dopant_fraction": 0.03, "complex_fraction": 1.0, "complex_healing_rate_per_s": 0.01}, "Mo_W+V_S", ("heal",), 0.01),
        ({"dopant_fraction": 0.03, "complex_fraction": 1.0, "detach_rate_per_s": 0.01}, "Mo_W+V_S", ("detach",), 0.01),
        ({"adatom_fraction": 0.01, "adatom_hop_rate_per_s": 0.2, "adatom_desorption_rate_per_s": 0.0}, "W_ad", ("hop",), 0.2),
    ],
)  # fmt: skip
def test_each_step_happens_at_its_rate(rates, kind, fates, rate):
    n, time_s = exits_and_time(
        truth(n_frames=1000, shape=(420, 420), **rates).sojourns, fates, [kind]
    )
    assert n > 80
    assert within(n, rate * time_s)


def test_waiting_times_are_exponential():
    rows = truth(
        dopant_fraction=0.03, complex_fraction=1.0, rotation_rate_per_s=0.2, n_frames=3000
    ).sojourns
    rows = rows[
        (rows["kind"] == "Mo_W+V_S") & (rows["start_s"] < 3000 * 2.25 - 100)
    ]  # e-20 of the stays outlast the movie
    assert stats.kstest(rows["end_s"] - rows["start_s"], "expon", args=(0, 5.0)).pvalue > 1e-4
    assert len(rows) > 1000


def test_the_beam_makes_vacancies_at_its_cross_section():
    known = truth(n_frames=400, cross_section_barn=1.0)
    c = crystal_of(known.settings).patch.n_cells
    made = known.sojourns[(known.sojourns["cause"] == "create") & (known.sojourns["kind"] == "V_S")]
    rate = 1.0 * 1e-10 * 1.6e6  # barn in nm2, times electrons per nm2 and s
    assert known.rates.set_index("step").loc["create", "rate_per_s"].iloc[0] == pytest.approx(rate)
    intact = (
        c - made["start_s"].lt(450).sum() / 2
    )  # columns that lost an atom can only pair; a mean over the movie
    expected = 2 * rate * 900 * c * (1 - rate * 900)  # d(c0)/dt = -2 r c0, to second order
    assert within(len(made), expected, 5)
    assert 0 < intact < c


def test_the_generator_of_a_dopant_is_exact_without_free_vacancies():
    known = truth(
        dopant_fraction=0.03, complex_fraction=0.5, rotation_rate_per_s=0.1, complex_healing_rate_per_s=0.02,
        cross_section_barn=1e-6, cross_section_at_dopant=6e7, n_frames=1500,
    )  # fmt: skip
    rows, Q = known.sojourns, known.generator
    rows = rows[rows["kind"].isin(["Mo_W", "Mo_W+V_S"])].sort_values(["particle", "start_s"])
    state = np.where(rows["kind"] == "Mo_W", 0, rows["orientation"] + 1)
    time_in = np.bincount(state, weights=rows["end_s"] - rows["start_s"], minlength=4)
    same = rows["particle"].to_numpy()[1:] == rows["particle"].to_numpy()[:-1]
    counts = np.zeros((4, 4))
    np.add.at(counts, (state[:-1][same], state[1:][same]), 1)
    assert np.allclose(Q.sum(axis=1), 0)
    for i in range(4):
        for j in range(4):
            if i != j:
                assert within(counts[i, j], Q.to_numpy()[i, j] * time_in[i]), (i, j)
    frames = known.defects[known.defects["kind"].isin(["Mo_W", "Mo_W+V_S"])].sort_values(
        ["particle", "frame"]
    )
    state = np.where(frames["kind"] == "Mo_W", 0, frames["orientation"] + 1)
    same = (np.diff(frames["particle"]) == 0) & (np.diff(frames["frame"]) == 1)
    seen = np.zeros((4, 4))
    np.add.at(seen, (state[:-1][same], state[1:][same]), 1)
    P = known.transition_probabilities().to_numpy()
    np.testing.assert_allclose(P, expm(Q.to_numpy() * 2.25))
    expected = seen.sum(axis=1, keepdims=True) * P
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), 12) > 1e-4


def test_attachment_happens_as_often_as_a_mean_field_of_vacancies_says():
    known = truth(
        n_frames=3000, dopant_fraction=0.02, complex_fraction=0.0, vacancy_fraction=0.01, hop_rate_per_s=0.3, healing_rate_per_s=0.01,
        complex_healing_rate_per_s=0.2, cross_section_barn=0.4, cross_section_at_dopant=0.0,
    )  # fmt: skip
    attached, bare_s = exits_and_time(known.sojourns, ("attach",), ["Mo_W"])
    _, free_s = exits_and_time(known.sojourns, (), ["V_S"])
    n_cells, duration_s = crystal_of(known.settings).patch.n_cells, 3000 * 2.25
    c = free_s / duration_s / n_cells
    rate = attached / bare_s
    assert attached > 100
    # three columns, four outer neighbours, hop/6 each; the neighbourhood of a sink is thinner than
    # the mean field
    assert 0.5 < rate / (12 * c * 0.3 / 6) < 1.1
    assert known.generator.loc["Mo_W", "Mo_W+V_S/0"] == pytest.approx(4 / 6 * 0.3 * c, rel=0.2)


def test_warmth_speeds_up_moving_by_arrhenius_law():
    warm = Rates.of(Settings().with_values(temperature_K=320.0))
    factor = math.exp(0.6 / 8.617333262e-5 * (1 / 300 - 1 / 320))
    assert warm.hop == pytest.approx(0.12 * factor)
    assert warm.heal == Rates.of(Settings()).heal


# -- what must hold in every state


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**31),
    angle=st.floats(-180, 180),
    material=st.sampled_from(["WS2", "graphene"]),
)
def test_no_column_is_used_twice_and_no_rule_is_broken(seed, angle, material):
    wild = simulate_movie(
        "paper", n_frames=30, shape=(96, 96), seed=seed, rotation_deg=angle, material=material, vacancy_fraction=0.08, dopant_fraction=0.04,
        hop_rate_per_s=1.0, split_rate_per_s=0.3, cross_section_barn=10.0, adatom_fraction=0.0, metal_cross_section_barn=5.0,
    )  # fmt: skip
    known = truth_of(wild)
    rows = known.defects
    assert not rows.duplicated(["frame", "site"]).any()
    assert not rows.duplicated(["frame", "particle"]).any()
    assert rows["y"].between(-0.5, 95.5).all()
    assert rows["x"].between(-0.5, 95.5).all()
    kinds = known.settings.material.kinds
    assert ((rows["orientation"] >= 0) == (rows["kind"] == kinds[3])).all()
    patch = crystal_of(known.settings).patch
    vacancies = rows[rows["kind"].isin(kinds[:2]) & (rows["site"] % 2 == 1)]
    bound = rows[rows["kind"] == kinds[3]]
    held = patch.index(patch.cells[bound["site"] // 2] + BOUND[bound["orientation"]])
    free = set(zip(vacancies["frame"], vacancies["site"] // 2, strict=True))
    assert not free & set(zip(bound["frame"], held, strict=True))
    if material == "graphene":
        assert not (rows["kind"] == "V_C2").any()


def test_a_sojourn_begins_where_the_last_one_ended():
    rows = truth_of(simulate_movie("paper", n_frames=60, shape=(128, 128))).sojourns.sort_values(
        ["particle", "start_s"]
    )
    same = rows["particle"].to_numpy()[1:] == rows["particle"].to_numpy()[:-1]
    assert (rows["start_s"].to_numpy()[1:][same] == rows["end_s"].to_numpy()[:-1][same]).all()
    assert (rows["cause"].to_numpy()[1:][same] == rows["fate"].to_numpy()[:-1][same]).all()
    assert (rows["end_s"] >= rows["start_s"]).all()


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(22, 200),
    width=st.integers(22, 200),
    angle=st.floats(0, 60),
)
def test_a_patch_covers_the_frame_once(seed, height, width, angle):
    movie = simulate_movie(
        "null", shape=(height, width), seed=seed, rotation_deg=angle
    ).reader.settings
    c = crystal_of(movie)
    assert (
        len(np.unique(c.patch.index(c.patch.cells)))
        == c.patch.n_cells
        == abs(round(np.linalg.det(c.patch.periods)))
    )
    _, uv = c.patch.nearest_image(
        c.patch.cells.astype(float), c.coordinates(np.array([height, width]) / 2)
    )
    points = c.position(uv)
    low, high = np.array([0, 0]), np.array([height, width])
    inside = ((points > low) & (points < high)).all(axis=1)
    wanted = np.stack(np.meshgrid(*[np.arange(-60, 61)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    whole = c.position(wanted + np.rint(c.coordinates(high / 2)))
    assert inside.sum() == ((whole > low) & (whole < high)).all(axis=1).sum()


def test_cells_a_period_apart_are_the_same():
    patch = Patch(np.array([[7, 2], [-3, 5]]))
    cells = np.array([[0, 0], [3, 1], [-4, 11]])
    assert (patch.index(cells) == patch.index(cells + patch.periods[:, 0])).all()
    assert (patch.index(cells) == patch.index(cells - 2 * patch.periods[:, 1])).all()
    assert patch.n_cells == 41


# -- tables of the truth


def test_the_perfect_crystal_has_no_defects():
    known = truth_of(simulate_movie("null", n_frames=20, shape=(200, 200)))
    assert known.defects.empty
    assert (
        known.defects.columns.tolist()
        == truth_of(simulate_movie("paper", n_frames=1, shape=(64, 64))).defects.columns.tolist()
    )
    assert (known.frames["n_defects"] == 0).all()
    assert known.sojourns.empty
    assert known.events.empty


def test_frozen_defects_stay_and_drift_is_recovered_exactly():
    known = truth_of(simulate_movie("frozen", n_frames=50, shape=(200, 200), jump_probability=0.1))
    rows = known.defects.merge(known.drift, on="frame")
    static = rows.assign(y0=rows["y"] - rows["shift_y"], x0=rows["x"] - rows["shift_x"]).groupby(
        "particle"
    )
    assert static[["y0", "x0", "y_nm", "x_nm"]].agg(np.ptp).to_numpy().max() < 1e-9
    assert (static["kind"].nunique() == 1).all()
    assert (rows["y_nm"] / 0.03 - (rows["y"] - rows["shift_y"])).abs().max() < 1e-9
    assert known.drift.loc[0, ["shift_y", "shift_x"]].tolist() == [0.0, 0.0]
    assert known.drift["shift_y"].diff().abs().max() > 1.0


def test_drift_is_steady_plus_wandering_of_the_size_that_was_asked_for():
    still = simulate_movie(
        "paper", n_frames=40_000, wander_nm=0.3, wander_frames=50.0, drift_y_nm_per_frame=0.001
    )
    from stemkin.simulation.drift import shifts_px

    frames = np.arange(0, 40_000, 40)
    y = shifts_px(still.reader.settings, frames)[:, 0] * 0.03 - 0.001 * frames
    assert y.std() == pytest.approx(0.3, rel=0.35)  # few waves: their number sets the spread
    assert np.polyfit(frames, y, 1)[0] == pytest.approx(0, abs=1e-4)
    assert (shifts_px(still.reader.settings, np.array([10**9])) != 0).all()


@given(chunks=time_chunkings(n_frames=12))
def test_truth_does_not_depend_on_how_it_is_cut(paper_truth, chunks):
    edges = np.cumsum([0, *chunks])
    for table in ("defects", "frames", "partners"):
        between = getattr(paper_truth, f"{table}_between")
        parts = [between(a, b) for a, b in pairwise(edges.tolist())]
        assert_same_rows(pd.concat(parts), between(0, 12))


def test_a_particle_moves_from_frame_to_frame_by_lattice_steps(paper_truth):
    rows = paper_truth.defects.sort_values(["particle", "frame"])
    same = (rows["particle"].diff() == 0) & (rows["frame"].diff() == 1)
    steps = np.hypot(rows["y_nm"].diff(), rows["x_nm"].diff())[same & (rows["kind"] == "V_S")]
    rings = 0.3153 * np.array([0, 1, np.sqrt(3), 2, np.sqrt(7), 3])
    assert np.abs(steps.to_numpy()[:, None] - rings).min(axis=1).max() < 1e-6
    assert (
        rows.loc[rows["kind"] != "V_S"]
        .groupby("particle")[["y_nm", "x_nm"]]
        .agg(np.ptp)
        .to_numpy()
        .max()
        < 1e-6
    )


def test_the_vacancy_of_a_complex_is_a_bond_away_from_its_dopant():
    known = truth_of(simulate_movie("frozen", n_frames=3, shape=(256, 256)))
    both = known.partners_between(0, 3).merge(
        known.defects, on=["frame", "particle"], suffixes=("_v", "")
    )
    bond = np.hypot(both["y_v"] - both["y"], both["x_v"] - both["x"]) * 0.03
    assert len(both) > 20
    np.testing.assert_allclose(bond, 0.3153 / np.sqrt(3))
    for k in range(3):
        own = both[both["orientation"] == k]
        assert len(own) > 0
        angle = np.degrees(np.arctan2(own["y_v"] - own["y"], own["x_v"] - own["x"])) % 360
        np.testing.assert_allclose(angle, 30 + 120 * k, atol=1e-6)


def test_the_paper_preset_has_as_many_defects_as_the_paper():
    counts = np.array(
        [truth_of(simulate_movie("paper", seed=s)).frames["n_defects"] for s in range(4)]
    )
    first, last = counts[:, :5].mean(), counts[:, -5:].mean()
    assert 45 < first < 70  # the paper: 53 to 118 in a frame
    assert 95 < last < 135
    assert truth_of(simulate_movie("paper")).hop_rate_per_s * 2.25 == pytest.approx(
        0.27
    )  # the paper: 0.08 to 0.5 per frame


# -- holes and fragments


def test_holes_are_as_large_as_they_should_be_and_hold_no_defects():
    movie = simulate_movie(
        "late-stage", n_frames=90, seed=5, n_holes=1, hole_start_s=0.0, hole_speed_nm_per_s=0.02, hole_largest_nm=3.0,
        fragment_radius_nm=0.0, wander_nm=0.0, drift_y_nm_per_frame=0.0, drift_x_nm_per_frame=0.0,
    )  # fmt: skip
    known = truth_of(movie)
    centre = damage_plan(known.settings, 0).hole_centres[0]
    radius_px = np.minimum(known.frames["time_s"] * 0.02, 3.0) / 0.03
    area = np.pi * radius_px**2 / 512**2
    late = radius_px > 40
    # whole columns come and go: the boundary of N ~ 2 pi r / a of them is uncertain, and E[(1 +
    # 0.12 u)2] = 1 + 0.12**2 / 3
    error = 4 * np.sqrt(2 * np.pi * radius_px / 10.5) / (512**2 / 95.6)
    assert ((known.frames["vacuum"] - area * 1.0048).abs()[late] < error[late]).all()
    rows = known.defects.merge(known.frames[["frame", "time_s"]], on="frame")
    away = np.hypot(rows["y"] - centre[0], rows["x"] - centre[1])
    assert (away > 0.88 * np.minimum(rows["time_s"] * 0.02, 3.0) / 0.03).all()
    last, first = movie.reader.read(89, 90)[0], movie.reader.read(0, 1)[0]
    y, x = np.rint(centre).astype(int)
    assert (
        last[y - 30 : y + 30, x - 30 : x + 30].mean()
        < 0.6 * first[y - 30 : y + 30, x - 30 : x + 30].mean()
    )


def test_a_fragment_moves_as_a_rigid_body_and_takes_its_defects_along():
    movie = simulate_movie(
        "late-stage", n_frames=100, seed=1, n_holes=0, fragment_radius_nm=4.0, fragment_start_s=20.0, hop_rate_per_s=0.0,
        drift_y_nm_per_frame=0.0, drift_x_nm_per_frame=0.0, wander_nm=0.0,
    )  # fmt: skip
    known = truth_of(movie)
    plan, s = damage_plan(known.settings, 0), known.settings
    rows = known.defects
    rows = rows[rows["kind"].isin(["Mo_W", "Mo_W+V_S"])]
    moved = rows.groupby("particle")["y"].agg(np.ptp)
    travellers = rows[rows["particle"].isin(moved.index[moved > 1e-6])]
    assert travellers["particle"].nunique() > 3
    angle, shift = math.radians(20.0), 0.5 / 0.03 * plan.fragment_direction
    for _, own in travellers.groupby("particle"):
        before = own[["y", "x"]].iloc[0] - plan.fragment_centre
        after = own[["y", "x"]].iloc[-1] - plan.fragment_centre - shift
        if own["frame"].iloc[0] > 5 or own["frame"].iloc[-1] < 99:
            continue
        turn = math.atan2(after["y"], after["x"]) - math.atan2(before["y"], before["x"])
        assert np.hypot(*before) == pytest.approx(np.hypot(*after))
        assert (turn - angle + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0, abs=1e-9)
    assert known.frames["moved"].iloc[-1] == pytest.approx(
        np.pi * (4.0 / 0.03) ** 2 / 512**2, rel=0.3
    )
    assert s.damage.fragment_largest_turn_deg == 20.0


# -- presets, archives, bad settings


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_makes_frames_and_truth(preset):
    movie = simulate_movie(preset, n_frames=3, shape=(96, 96))
    assert movie.reader.read(0, 3).std() > 0
    assert len(truth_of(movie).frames) == 3
    assert movie.name == f"{preset}-0"


def test_an_archive_differs_in_rotation_dose_and_temperature_and_grows_without_change():
    small, large = (
        simulate_archive(n_movies=2, n_frames=2, shape=(64, 64)),
        simulate_archive(n_movies=4, n_frames=2, shape=(64, 64)),
    )
    settings = [movie.reader.settings for movie in large]
    assert [m.reader.settings for m in small] == settings[:2]
    assert len({s.instrument.rotation_deg for s in settings}) == 4
    assert len({s.instrument.dose_rate_e_per_nm2_s for s in settings}) == 4
    assert len({s.kinetics.temperature_K for s in settings}) == 4
    assert [m.name for m in large] == [f"archive-0-{n:03d}" for n in range(4)]
    fixed = simulate_archive(n_movies=2, n_frames=2, shape=(64, 64), rotation_deg=5.0)
    assert {m.reader.settings.instrument.rotation_deg for m in fixed} == {5.0}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hop_rate_per_s": -1.0}, "hop_rate_per_s = -1.0 is not physical: it cannot be negative"),
        ({"hop_rate_per_s": 1e5}, "over 1000 steps per frame"),
        ({"rotation_rate_per_s": float("nan")}, "use a finite number"),
        ({"dose_rate_e_per_nm2_s": -5.0}, "dose_rate_e_per_nm2_s = -5.0"),
        ({"pixel_size_nm": 0.2}, "Nyquist.*below 0.1365"),
        ({"shape": (12, 12)}, "smaller than two lattice cells; use a shape of at least"),
        ({"dopant_fraction": 0.3}, "dopants keep apart"),
        ({"vacancy_fraction": 1.5}, "a fraction lies between 0 and 1"),
        ({"n_frames": 0}, "at least one frame"),
        ({"dtype": "int64"}, "use uint8, uint16 or float32"),
        ({"gain": 0.0}, "it must be above zero"),
        ({"colour": "blue"}, "has no setting 'colour'; the settings are"),
        ({"material": "gold"}, "the material 'gold' is not known; give one of"),
        ({"seed": -1}, "seed = -1"),
        ({"shape": (64,)}, "give .height, width. in pixels"),
    ],
)
def test_what_no_experiment_could_have_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        simulate_movie("paper", **values)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="no preset is called 'papre'; choose from"):
        simulate_movie("papre")


def test_a_movie_that_was_not_simulated_has_no_truth():
    from stemkin.movie import Movie

    with pytest.raises(ValueError, match="not from simulate_movie; its truth is not known"):
        truth_of(Movie.from_array(np.zeros((2, 8, 8))))
