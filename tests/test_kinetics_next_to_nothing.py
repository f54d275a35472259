"""Verbs of kinetics asked of next to nothing: a number with an honest interval, or a reason."""

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.tables import Experiment, conform

CLASSES = pd.DataFrame(
    {
        "class_id": [0, 1, 2],
        "name": ["Mo_W", "Mo_W+V_S", "V_S"],
        "n_detections": 1,
        "mean_patch": None,
    }
)


def movies(*names, times=(1.0,)):
    known = pd.DataFrame({"movie": list(names), "n_frames": 40, "frame_time_s": list(times)})
    known = known.assign(height_px=200, width_px=200, pixel_size_nm=0.03, dose_rate_e_per_nm2_s=1e6)
    return Experiment(known, None, CLASSES)


def tracks(*, n_tracks=4, n_frames=12, classes=(0, 1, 2), movie="m", seed=0):
    rng = np.random.default_rng(seed)
    n = n_tracks * n_frames
    rows = pd.DataFrame(
        {
            "movie": movie,
            "frame": np.tile(np.arange(n_frames), n_tracks),
            "particle": np.repeat(np.arange(n_tracks), n_frames),
            "y": 60.0 + 12 * np.repeat(np.arange(n_tracks), n_frames) + rng.normal(0, 0.5, n),
            "x": 100.0 + rng.normal(0, 0.5, n),
            "class_id": rng.choice(classes, n),
            "probability": 0.9,
            "at_edge": False,
            "orientation": rng.integers(3, size=n),
            "score": 9.0,
        }
    )
    return conform(rows.assign(y_nm=rows["y"] * 0.03, x_nm=rows["x"] * 0.03), "tracks")


WORLDS = {
    "one track": (tracks(n_tracks=1), movies("m")),
    "one step": (tracks(n_tracks=1, n_frames=2), movies("m")),
    "one row": (tracks(n_tracks=1, n_frames=1), movies("m")),
    "one class": (tracks(classes=(2,)), movies("m")),
    "a class that was never seen": (tracks(classes=(0, 2)), movies("m")),
    "unequal frame times": (
        pd.concat([tracks(), tracks(movie="n", seed=1)], ignore_index=True),
        movies("m", "n", times=(1.0, 3.7)),
    ),
    "a movie twice": (
        pd.concat([tracks(), tracks(movie="copy")], ignore_index=True),
        movies("m", "copy", times=(1.0, 1.0)),
    ),
}
VERBS = {
    "transitions": lambda rows, known: [sk.transitions(rows, experiment=known).table],
    "hidden_transitions": lambda rows, known: [sk.hidden_transitions(rows, experiment=known).table],
    "name_errors": lambda rows, known: [sk.name_errors(rows, experiment=known).table],
    "orientations": lambda rows, known: list(
        vars(sk.orientations(rows, experiment=known)).values()
    ),
    "complexes": lambda rows, known: [
        sk.complexes(rows, experiment=known, reach_nm=0.5).transitions.table
    ],
    "dwell_times": lambda rows, known: [sk.dwell_times(rows, experiment=known)],
    "survival": lambda rows, known: [sk.survival(rows, experiment=known, begun="any")],
    "abundances": lambda rows, known: [sk.abundances(rows, experiment=known)],
    "beam_cross_sections": lambda rows, known: [sk.beam_cross_sections(rows, experiment=known)],
    "creation": lambda rows, known: [
        sk.creation(rows, experiment=known, sites_per_nm2=22.0, reach_nm=0.5)
    ],
}
INTERVALS = (
    ("probability", "low", "high"),
    ("rate_per_s", "rate_low", "rate_high"),
    ("exit_rate_per_s", "low", "high"),
    ("mean_number", "low", "high"),
    ("efficiency", "efficiency_low", "efficiency_high"),
    ("cross_section_barn", "low", "high"),
    ("survival", "low", "high"),
    ("kept", "kept_low", "kept_high"),
)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("verb", VERBS)
def test_next_to_nothing_gives_an_honest_interval_or_a_reason(verb, world):
    for table in VERBS[verb](*WORLDS[world]):
        numbers = table.select_dtypes("number").to_numpy(float)
        assert (np.abs(numbers[np.isfinite(numbers)]) < 1e15).all(), "a guard value is no number"
        for value, low, high in INTERVALS:
            if not {value, low, high} <= set(table.columns):
                continue
            known = table[table[value].notna() & table[low].notna() & table[high].notna()]
            least, most = known[low] - 1e-9, known[high] + 1e-9
            assert ((least <= known[value]) & (known[value] <= most)).all(), (value, known)


def test_a_movie_that_is_there_twice_does_not_make_rates_other_than_they_are():
    once, twice = WORLDS["one track"][0], WORLDS["a movie twice"]
    alone = sk.transitions(tracks(), experiment=movies("m")).rates.to_numpy()
    both = sk.transitions(twice[0], experiment=twice[1]).rates.to_numpy()
    np.testing.assert_allclose(both, alone, rtol=1e-3)
    assert len(once) == 12
