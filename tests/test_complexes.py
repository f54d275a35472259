"""Several tracked atoms as one: a trimer that flips is a system of two states."""

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import stemkin as sk
from stemkin import plot
from stemkin.kernels.chains.shapes import kinds_of_shapes, shape_features
from stemkin.tables import COLUMNS, Experiment

FLIPS = [0] * 5 + [1] * 10 + [0] * 3 + [1] * 9
"""27 frames of a trimer: 6 stays and 2 flips from one orientation, 17 stays and 1 flip from the
other, as published for silicon in graphene."""


def a_trimer(states, rng, *, at=(2.0, 2.0), first=1, noise_nm=0.01, movie="m"):
    """Rows of three atoms, 0.15 nm from their centre, turned by 60 degrees in state 1."""
    turns = np.asarray(states) * 60.0
    angle = np.radians(turns[:, None] + [90, 210, 330])
    drift = 0.01 * np.arange(len(turns))[:, None]
    y = at[0] + drift + 0.15 * np.sin(angle) + rng.normal(0, noise_nm, angle.shape)
    x = at[1] + 0.15 * np.cos(angle) + rng.normal(0, noise_nm, angle.shape)
    return pd.DataFrame(
        {
            "movie": movie,
            "frame": np.repeat(np.arange(len(turns)), 3),
            "particle": np.tile(first + np.arange(3), len(turns)),
            "class_id": 0,
            "y_nm": y.ravel(),
            "x_nm": x.ravel(),
        }
    )


def one_who_passes_by(n_frames, particle=90):
    """A lone atom that comes near for two frames."""
    x = 2.0 + 0.3 * (np.arange(n_frames) - 8)
    return pd.DataFrame(
        {
            "movie": "m",
            "frame": np.arange(n_frames),
            "particle": particle,
            "class_id": 0,
            "y_nm": 2.0,
            "x_nm": x,
        }
    )


def test_the_published_trimer_is_counted():
    rng = np.random.default_rng(0)
    rows = pd.concat([a_trimer(FLIPS, rng), one_who_passes_by(27)], ignore_index=True)
    found = sk.complexes(rows, reach_nm=0.4, frame_time_s=1.0)
    assert found.transitions.counts.to_numpy().tolist() == [[6, 2], [1, 17]]
    assert found.table["class_id"].tolist() == FLIPS
    assert list(found.table.columns) == list(COLUMNS["complexes"])
    assert found.transitions.probabilities.to_numpy()[1, 0] == pytest.approx(1 / 18)
    rates = found.transitions.table.query("from_id != to_id")
    assert (rates["rate_low"] < rates["rate_per_s"]).all()
    assert len(found.shapes) == 6
    np.testing.assert_allclose(
        np.hypot(found.shapes["y_nm"], found.shapes["x_nm"]), 0.15, atol=0.02
    )


def test_three_tracks_whose_names_are_exchanged_are_the_same_trimer():
    rng = np.random.default_rng(1)
    rows = a_trimer(FLIPS, rng)
    exchanged = rows.assign(
        particle=np.concatenate([rng.permutation([1, 2, 3]) for _ in range(27)])
    )
    found = sk.complexes(exchanged, reach_nm=0.4)
    assert found.transitions.counts.to_numpy().tolist() == [[6, 2], [1, 17]]


def test_in_its_own_frame_a_trimer_that_turns_does_not_change():
    found = sk.complexes(a_trimer(FLIPS, np.random.default_rng(2)), reach_nm=0.4, own_frame=True)
    assert found.transitions.counts.to_numpy().tolist() == [[26]]


def test_a_frame_without_one_of_the_atoms_is_a_gap():
    rows = a_trimer(FLIPS, np.random.default_rng(3))
    rows = rows[~((rows["frame"] == 8) & (rows["particle"] == 2))]
    counts = sk.complexes(rows, reach_nm=0.4).transitions.counts.to_numpy()
    assert counts.tolist() == [[6, 2], [1, 15]]


def test_groups_of_other_sizes_and_strangers_are_left_alone():
    rng = np.random.default_rng(4)
    pair = a_trimer([0] * 20, rng, at=(5.0, 5.0), first=10).query("particle != 12")
    nobody = sk.complexes(pd.concat([pair, one_who_passes_by(20)]), reach_nm=0.4)
    assert nobody.table.empty
    assert nobody.transitions.table.empty
    assert sk.complexes(pair, reach_nm=0.4, n_atoms=2).table["n_atoms"].tolist() == [2] * 20


def test_complexes_of_movies_are_the_same_however_the_tracks_are_spread():
    rng = np.random.default_rng(5)
    parts = [
        a_trimer(rng.permutation(FLIPS), rng, at=(2.0, 2.0 + 3 * i), first=10 * i, movie=movie)
        for movie in ("a", "b")
        for i in range(2)
    ]
    rows = pd.concat(parts, ignore_index=True)
    movies = pd.DataFrame({"movie": ["a", "b"], "n_frames": 27, "frame_time_s": [1.0, 2.0]})
    words = {"reach_nm": 0.4, "by": "movie", "experiment": Experiment(movies)}
    whole = sk.complexes(rows, **words)
    spread = rows["particle"] % 4  # the atoms of a trimer lie in different partitions
    pieces = [own for _, own in rows.groupby(spread)]
    cut = dd.from_map(lambda i: pieces[i], range(4), meta=rows.iloc[:0])
    again = sk.complexes(cut, **words)
    pd.testing.assert_frame_equal(again.table, whole.table, check_exact=True)
    pd.testing.assert_frame_equal(
        again.transitions.table, whole.transitions.table, check_exact=True
    )
    assert whole.table.groupby("movie")["particle"].nunique().tolist() == [2, 2]


def test_shapes_without_a_second_kind_are_one_kind():
    corners = np.array([[0, 0.1], [0.1, -0.1], [-0.1, 0]])
    places = corners + np.random.default_rng(6).normal(0, 0.01, (60, 3, 2))
    assert set(kinds_of_shapes(shape_features(places))) == {0}
    assert len(set(kinds_of_shapes(shape_features(places), 2))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"reach_nm": 0.0}, "reach_nm must be a positive number"),
        ({"reach_nm": 0.4, "n_atoms": 1}, "a complex has 2 atoms or more"),
        ({"reach_nm": 0.4, "n_shapes": 0}, "a complex has 2 atoms or more"),
    ],
)
def test_complexes_that_cannot_be_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        sk.complexes(a_trimer(FLIPS, np.random.default_rng(0)), **words)


def test_a_place_that_is_no_number_is_refused():
    rows = a_trimer(FLIPS, np.random.default_rng(0))
    rows.loc[4, "y_nm"] = np.nan
    with pytest.raises(ValueError, match="every row needs a place, but it is no number in 1 rows"):
        sk.complexes(rows, reach_nm=0.4)


def test_the_shapes_of_a_complex_are_drawn_side_by_side_in_their_own_size():
    found = sk.complexes(a_trimer(FLIPS, np.random.default_rng(0)), reach_nm=0.4)
    axes = plot.draw_shapes(Figure().add_subplot(), found.shapes)
    outlines = [line.get_xydata() for line in axes.lines[:2]]
    for line, sign in zip(outlines, (-1, 1), strict=True):
        sides = np.hypot(*np.diff(line, axis=0).T)
        assert sides == pytest.approx(0.15 * np.sqrt(3), abs=0.01)
        assert (np.sign(line[0, 1]) == sign) != (np.sign(line[1, 1]) == sign)
    assert [text.get_text() for text in axes.texts[:2]] == [
        f"shape {i}\nseen {n} times" for i, n in enumerate((8, 19))
    ]
    with pytest.raises(ValueError, match="there are no shapes to draw"):
        plot.draw_shapes(Figure().add_subplot(), found.shapes.iloc[:0])
