"""What every verb of kinetics says to rows that are not as they should be: one sentence, or a table
with its columns."""

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.kinetics import hidden_transitions
from stemkin.tables import COLUMNS, Experiment, empty

MOVIES = pd.DataFrame(
    {"movie": ["m"], "n_frames": [60], "frame_time_s": [1.0], "height_px": [256], "width_px": [256], "pixel_size_nm": [0.03], "dose_rate_e_per_nm2_s": [1e6]}
)  # fmt: skip
CLASSES = pd.DataFrame(
    {"class_id": [0, 1], "name": ["V_S", "Mo_W"], "n_detections": 1, "mean_patch": None}
)
KNOWN = Experiment(MOVIES, None, CLASSES)
NOT_CALIBRATED = Experiment(MOVIES.assign(frame_time_s=np.nan, pixel_size_nm=np.nan, dose_rate_e_per_nm2_s=np.nan), None, CLASSES)  # fmt: skip
BARN = ["movie", "from_id", "to_id", "count", "cross_section_barn", "low", "high"]
PLACED = {"sites_per_nm2": 22.0, "reach_nm": 0.69}

VERBS = {
    "transitions": (
        lambda rows, **words: sk.transitions(rows, **words).table,
        list(COLUMNS["transitions"]),
    ),
    "hidden_transitions": (
        lambda rows, **words: hidden_transitions(rows, **words).table,
        list(COLUMNS["hidden_transitions"]),
    ),
    "dwell_times": (sk.dwell_times, list(COLUMNS["dwell_times"])),
    "survival": (sk.survival, list(COLUMNS["survival"])),
    "populations": (sk.populations, list(COLUMNS["populations"])),
    "abundances": (sk.abundances, list(COLUMNS["abundances"])),
    "creation": (
        lambda rows, **words: sk.creation(rows, **PLACED, **words),
        list(COLUMNS["creation"]),
    ),
    "beam_cross_sections": (sk.beam_cross_sections, BARN),
}
BY_FRAME = {"populations", "abundances"}


@pytest.fixture
def rows():
    table = pd.DataFrame({"movie": "m", "particle": np.repeat([1, 2], 6), "frame": [*range(10, 16)] * 2, "y": 120.0, "x": 130.0, "probability": 0.9})  # fmt: skip
    return table.assign(
        y_nm=table["y"] * 0.03,
        x_nm=table["x"] * 0.03,
        class_id=[0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1],
    )


def spoilt(rows, column, value):
    return rows.assign(
        **{column: rows[column].astype(object).where(rows.index != 3, value)}
    ).infer_objects()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("spoil", "message", "but"),
    [
        (lambda t: spoilt(t, "class_id", np.nan), "'class_id' must hold whole numbers, but it holds nan; use -1", ()),
        (lambda t: spoilt(t, "class_id", 0.5), "'class_id' must hold whole numbers, but it holds 0.5", ()),
        (lambda t: t.assign(class_id="V_S"), "'class_id' must hold whole numbers, but it holds 'V_S'", ()),
        (lambda t: t.drop(columns="class_id"), "needs the columns", ()),
        (lambda t: spoilt(t, "frame", np.nan), "'frame' must hold whole numbers, but it holds nan", ()),
        (lambda t: pd.concat([t, t.iloc[:1]]), "particle 1 is twice in frame 10", ("populations",)),
        (lambda t: spoilt(t, "y_nm", np.nan), "'y_nm' is not a number in 1 rows", set(VERBS) - {"creation"}),
        (lambda t: spoilt(t, "x", np.inf), "'x' is not a number in 1 rows", set(VERBS) - {"creation"}),
        (lambda t: t.assign(probability=2.0), "from 0 to 1, but it holds 2", set(VERBS) - {"hidden_transitions"}),
        (lambda t: t.assign(frame=t["frame"] * 10**8), "has the frames 0 to", set(VERBS) - BY_FRAME),
        (lambda t: t.assign(frame=t["frame"] - 12), "rows say frame -2", set(VERBS) - BY_FRAME),
        (lambda t: t.assign(movie="z"), "movie 'z' has no (frame time|dose rate)", ("abundances",)),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_are_refused_in_one_sentence_or_do_not_matter(
    rows, verb, spoil, message, but
):
    run, columns = VERBS[verb]
    if verb in but:
        assert list(run(spoil(rows), experiment=KNOWN).columns) == columns
        return
    with pytest.raises(ValueError, match=message) as refused:
        run(spoil(rows), experiment=KNOWN)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("verb", VERBS)
def test_no_rows_and_too_few_give_tables_with_their_columns(rows, verb):
    run, columns = VERBS[verb]
    for some in (
        empty("tracks"),
        rows.iloc[:0],
        rows[rows["frame"] == 12],
        rows.assign(class_id=-1),
        rows.iloc[::-1],
    ):
        assert list(run(some, experiment=KNOWN).columns) == columns
    pd.testing.assert_frame_equal(
        run(rows.sample(frac=1, random_state=0), experiment=KNOWN), run(rows, experiment=KNOWN)
    )
    assert (
        list(run(empty("tracks"), experiment=Experiment(MOVIES.iloc[:0], None, CLASSES)).columns)
        == columns
    )


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_calibration_is_asked_for(rows, verb):
    run = VERBS[verb][0]
    if verb == "abundances":  # numbers per frame need none
        assert run(rows, experiment=NOT_CALIBRATED)["density_per_nm2"].isna().all()
        return
    with pytest.raises(ValueError, match=r"has no (frame time|dose rate); give"):
        run(rows, experiment=NOT_CALIBRATED)
    if verb != "transitions":  # probabilities need none
        with pytest.raises(ValueError, match="not known; pass"):
            run(rows)
    else:
        assert run(rows)["rate_per_s"].isna().all()


@pytest.mark.parametrize("verb", VERBS)
def test_a_class_that_one_movie_lacks_has_its_rows_all_the_same(rows, verb):
    movies = pd.concat([MOVIES, MOVIES.assign(movie="n")], ignore_index=True)
    both = pd.concat([rows, rows[rows["class_id"] == 0].assign(movie="n")], ignore_index=True)
    words = {} if verb == "populations" else {"by": "movie"}
    found = VERBS[verb][0](both, experiment=Experiment(movies, None, CLASSES), **words)
    if verb in (
        "survival",
        "creation",
    ):  # a curve of no stays has no points; what is made has no class
        assert set(found["movie"]) <= {"m", "n", "*"}
        return
    column = "from_id" if "from_id" in found.columns else "class_id"
    for _, own in found.groupby("movie"):
        assert set(own[column]) == {0, 1}
