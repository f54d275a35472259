"""An experiment done again as tables tells which of its numbers are right, and which are not."""

from dataclasses import replace

import dask
import numpy as np
import pandas as pd
import pytest

from stemkin import tables
from stemkin.linking import LinkSettings
from stemkin.selfcheck import (
    Asked,
    RunNumbers,
    TrackWorld,
    is_biased,
    is_undercovered,
    replicas,
    self_check,
    verdicts,
    world_of_run,
)
from stemkin.selfcheck.wrong_links import wrong_links

MOVIES = pd.DataFrame(
    {
        "movie": ["m"],
        "n_frames": 40,
        "height_px": 400,
        "width_px": 400,
        "pixel_size_nm": 0.03,
        "frame_time_s": 1.0,
    }
)
WALKERS = TrackWorld(densities_per_nm2=(0.2,), D_nm2_per_s=(0.005,), sigma_nm=0.02)
MISNAMED = TrackWorld(
    densities_per_nm2=(0.2, 0.2),
    rates_per_s=((0, 0.004), (0.004, 0)),
    confusion=((0.98, 0.02), (0.02, 0.98)),
    sigma_nm=0.02,
)


def of(found, quantity, method=None):
    """The only row of a quantity, or of one method of it."""
    rows = found[found["quantity"] == quantity]
    if method is not None:
        rows = rows[rows["method"] == method]
    return rows.iloc[0]


def test_bias_and_coverage_are_those_of_the_estimates_by_hand():
    estimates = pd.DataFrame(
        {
            "quantity": "diffusion",
            "class_id": 0,
            "to_id": -1,
            "method": "mle",
            "estimate": [1.0, 1.2, 1.4, 0.8, np.nan],
            "low": [0.9, 1.1, 1.0, 0.7, np.nan],
            "high": [1.1, 1.3, np.inf, 0.9, np.nan],
        }
    )
    truths, n_asked = {("diffusion", 0, -1): 1.0}, {"diffusion": 6}  # one had no row at all
    row = verdicts.judged_estimates(estimates, truths, n_asked=n_asked, share=0.5).iloc[0]
    assert row["mean_estimate"] == pytest.approx(1.1)
    assert row["bias"] == pytest.approx(0.1)
    assert row["bias_error"] == pytest.approx(np.sqrt(0.2 / 3) / 2)
    assert row["coverage"] == pytest.approx(1 / 2)
    assert row["coverage_low"] < 1 / 2 < row["coverage_high"]
    assert (row["n_runs"], row["n_asked"], row["share"]) == (4, 6, 0.5)


@pytest.fixture(scope="module")
def walked():
    return self_check(WALKERS, MOVIES, asked=Asked(methods=("mle", "cve")), n_runs=60)


def test_an_estimator_whose_assumptions_hold_is_found_right(walked):
    for method in ("mle", "cve"):
        row = of(walked, "diffusion", method)
        assert row["n_runs"] == 60
        assert row["truth"] == 0.005
        assert not is_biased(row)
        assert not is_undercovered(row)
        assert row["coverage_high"] > 0.94


def test_an_exposure_that_the_estimator_does_not_know_of_is_found_out():
    blurred = TrackWorld(**vars(WALKERS) | {"exposure": 1.0})
    row = of(self_check(blurred, MOVIES, asked=Asked(methods=("mle",)), n_runs=40), "diffusion")
    assert is_biased(row)
    assert is_undercovered(row)
    assert row["bias"] < -0.1


def test_names_that_are_wrong_make_counted_rates_wrong_and_corrected_ones_right():
    found = self_check(MISNAMED, MOVIES, asked=Asked(methods=(), corrected=True), n_runs=81)
    counted, corrected = of(found, "rate"), of(found, "corrected_rate")
    assert counted["bias"] > 2
    assert is_biased(counted)
    assert is_undercovered(counted)
    assert not is_biased(corrected)
    assert corrected["n_runs"] == 3


def test_numbers_per_frame_are_those_that_the_world_holds_on_average():
    """Also where classes are not in balance: all become the second."""
    world = TrackWorld(densities_per_nm2=(0.2, 0.1), rates_per_s=((0, 0.1), (0, 0)))
    found = self_check(world, MOVIES, asked=Asked(methods=(), numbers=True), n_runs=30)
    rows = found[found["quantity"] == "number"]
    assert rows["truth"].sum() == pytest.approx(0.3 * (399 * 0.03) ** 2)
    assert rows["truth"].iloc[0] < 0.06 * (399 * 0.03) ** 2
    assert (rows["bias"].abs() < 4 * rows["bias_error"] + 0.01).all()


@pytest.mark.equality
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_the_same_check_gives_the_same_bits(scheduler, walked):
    with dask.config.set(scheduler=scheduler):
        again = self_check(WALKERS, MOVIES, asked=Asked(methods=("mle", "cve")), n_runs=60)
    pd.testing.assert_frame_equal(again, walked, check_exact=True)


def test_another_seed_draws_other_replicas(walked):
    other = self_check(WALKERS, MOVIES, asked=Asked(methods=("cve",)), n_runs=20, seed=5)
    assert (
        of(other, "diffusion")["mean_estimate"] != of(walked, "diffusion", "cve")["mean_estimate"]
    )


def test_of_a_large_experiment_each_replica_holds_a_part():
    many = pd.concat([MOVIES.assign(movie=f"m{i}", n_frames=10_000) for i in range(50)])
    kept, share = replicas._part_of(WALKERS, many, 200)
    rows = replicas.rows_expected(WALKERS, kept)
    assert rows <= 2.2 * replicas.MOST_ROWS / 200
    assert share == pytest.approx(rows / replicas.rows_expected(WALKERS, many))
    few, whole = replicas._part_of(WALKERS, MOVIES, 200)
    assert (len(few), whole) == (1, 1.0)


def test_a_larger_experiment_is_done_less_often_before_it_is_cut():
    most, fewest = replicas.MOST_ROWS, replicas.FEWEST_RUNS
    assert replicas._affordable(most / 400, 200) == 200
    assert replicas._affordable(most / 117, 200) == 117
    assert replicas._affordable(most, 200) == fewest
    assert replicas._affordable(most, 5) == 5


def test_no_replica_or_no_movie_is_an_empty_table_and_a_negative_number_refused():
    assert self_check(WALKERS, MOVIES, n_runs=0).empty
    assert self_check(WALKERS, MOVIES.iloc[:0]).columns.tolist() == list(
        tables.COLUMNS["self_check"]
    )
    with pytest.raises(ValueError, match="n_runs must be a number from 0 on"):
        self_check(WALKERS, MOVIES, n_runs=-1)


def numbers_of(**changes):
    """What a run of two classes found: the first hops, the second stands."""
    found = {
        "abundances": pd.DataFrame(
            {
                "movie": "*", "class_id": [0, 2, -1], "mean_number": [20.0, 10.0, 1.0],
                "corrected_number": [22.0, np.nan, 1.0], "efficiency": [0.9, np.nan, 1.0],
                "false_per_frame": [0.5, np.nan, 0.0], "n_tracks": [60, 15, 40],
            }
        ),
        "diffusion": pd.DataFrame(
            {
                "movie": "*", "class_id": [0, 0, 2], "method": ["hop", "mle", "mle"],
                "D_nm2_per_s": [0.003, 0.0031, 1e-6], "low": [0.0028, 0.0028, 0.0],
                "high": [0.0032, 0.0034, 1e-5], "sigma_nm": [0.015, 0.02, 0.016],
            }
        ),
        "transitions": pd.DataFrame(
            {
                "movie": "*", "lag_frames": 1, "from_id": [0, 0, 2, 2], "to_id": [0, 2, 0, 2],
                "rate_per_s": [-0.02, 0.02, np.nan, 0.0],
            }
        ),
    }  # fmt: skip
    words = {"hop_length_nm": 0.3153, "confusion": np.eye(3) * 0.7 + 0.1, "border_px": 10.0}
    return RunNumbers(found, MOVIES, **words | changes)


def test_the_world_of_a_run_has_its_numbers():
    world, ids = world_of_run(numbers_of())
    assert ids == [0, 2]
    area = ((399 - 20) * 0.03) ** 2
    assert world.densities_per_nm2 == pytest.approx((22 / area, 10 / area))
    assert world.diffusion_nm2_per_s == pytest.approx([0.003, 0.0])
    assert world.generator[0].tolist() == [-0.02, 0.02]
    assert world.efficiency == (0.9, 1.0)
    assert np.array(world.confusion) == pytest.approx(np.array([[8, 1], [1, 8]]) / 9)
    assert world.sigma_nm == pytest.approx(0.0155)
    assert world.loss_rates_per_s == ()


def test_tracks_that_end_for_no_other_reason_are_losses():
    given = numbers_of(confusion=None)
    few = given.tables["abundances"].assign(n_tracks=[400, 100, 40])
    many, _ = world_of_run(RunNumbers(given.tables | {"abundances": few}, MOVIES, 0.3153))
    assert len(many.loss_rates_per_s) == 2
    assert 0.05 < many.loss_rates_per_s[0] < 0.5


def test_links_are_as_often_wrong_as_where_such_tracks_are_linked_again():
    settings, shares = LinkSettings(0.7), []
    for hops in (0.0, 0.1, 0.3, 1.0):
        world = TrackWorld((1.0,), hop_rates_per_s=(hops,), hop_length_nm=0.3153, sigma_nm=0.015)
        shares.append(wrong_links(world, MOVIES, settings))
    assert shares[0] < 0.002, "who stands is not mistaken"
    assert shares == sorted(shares)
    assert 0.02 < shares[-1] < 0.2
    assert wrong_links(replace(world, densities_per_nm2=(0.01,)), MOVIES, settings) == 0
    given = numbers_of()
    crowd = given.tables["abundances"].assign(corrected_number=[150.0, np.nan, np.nan])
    dense, _ = world_of_run(replace(given, tables=given.tables | {"abundances": crowd}))
    assert dense.wrong_links > 0.002


def test_a_run_that_saw_nothing_has_no_world():
    given = numbers_of()
    nothing = given.tables["abundances"].assign(mean_number=0.0)
    assert world_of_run(RunNumbers(given.tables | {"abundances": nothing}, MOVIES)) is None
    assert world_of_run(RunNumbers(given.tables, MOVIES.iloc[:0])) is None


def test_a_border_that_takes_all_leaves_no_world():
    assert world_of_run(numbers_of(border_px=MOVIES["height_px"].max() / 2)) is None


def test_misses_that_last_are_in_the_world_where_the_run_found_that_they_do():
    given = numbers_of()
    again = 0.1 + 0.9 * 0.4  # by chance as often as any, and else as in the frame before
    found = given.tables["abundances"].assign(missed_again=[again, np.nan, np.nan])
    world, _ = world_of_run(replace(given, tables=given.tables | {"abundances": found}))
    assert world.missing_memory == pytest.approx(0.4)
    assert world_of_run(given)[0].missing_memory == 0


def test_names_that_last_are_in_the_world_where_the_run_found_that_they_do():
    found = numbers_of().tables
    tested = pd.DataFrame(
        {
            "movie": ["*"],
            "wrong_share": [0.04],
            "kept": [0.7],
            "kept_low": [0.5],
            "kept_high": [0.8],
        }
    )
    lasting, _ = world_of_run(RunNumbers(found | {"name_errors": tested}, MOVIES, 0.3153))
    assert lasting.naming_memory == 0.7
    assert np.array(lasting.confusion) == pytest.approx(np.array([[0.96, 0.04], [0.04, 0.96]]))
    chance = tested.assign(kept_low=0.0)
    blinking, _ = world_of_run(RunNumbers(found | {"name_errors": chance}, MOVIES, 0.3153))
    assert blinking.naming_memory == 0.0


def test_an_exposure_that_the_movies_state_is_in_the_world_and_told_to_the_estimators():
    told = MOVIES.assign(exposure_fraction=1.0)
    world, _ = world_of_run(RunNumbers(numbers_of().tables, told, 0.3153))
    assert world.exposure == 1.0
    blurred = TrackWorld(**vars(WALKERS) | {"exposure": 1.0})
    row = of(self_check(blurred, told, asked=Asked(methods=("mle",)), n_runs=40), "diffusion")
    assert not is_biased(row)
    assert not is_undercovered(row)


def test_the_estimate_that_a_run_recommends_is_put_in():
    found = numbers_of().tables
    quoted = found["diffusion"].assign(recommended=[False, True, True])
    world, _ = world_of_run(RunNumbers(found | {"diffusion": quoted}, MOVIES, 0.3153))
    assert world.D_nm2_per_s[0] == 0.0031
    assert world.hop_rates_per_s[0] == 0.0


def test_what_no_class_of_a_crystal_rests_from_is_a_drift_that_all_share():
    given = numbers_of()
    rests, _ = world_of_run(given)
    assert rests.drift_step_nm == 0
    wandering = given.tables["diffusion"].assign(low=[0.0028, 0.0028, 1e-5])
    wandering.loc[2, "D_nm2_per_s"] = 5e-5
    world, _ = world_of_run(replace(given, tables=given.tables | {"diffusion": wandering}))
    assert world.drift_step_nm == pytest.approx(np.sqrt(2 * 5e-5))
    assert world.diffusion_nm2_per_s == pytest.approx([0.003, 0.0])
    elsewhere, _ = world_of_run(
        replace(given, tables=given.tables | {"diffusion": wandering}, hop_length_nm=None)
    )
    assert elsewhere.drift_step_nm == 0, "without a lattice nothing is known to stand"
