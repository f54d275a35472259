"""One vocabulary: the same bad value gets the same sentence, or the right number, from every verb."""

import inspect
import tracemalloc

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import stemkin as sk
from stemkin.tables import ATOM_COLUMNS, Experiment, conform, empty

MOVIES = pd.DataFrame(
    {
        "movie": ["m"],
        "n_frames": [60],
        "frame_time_s": [1.0],
        "height_px": [256],
        "width_px": [256],
        "pixel_size_nm": [0.03],
        "dose_rate_e_per_nm2_s": [1e6],
    }
)
CLASSES = pd.DataFrame(
    {"class_id": [0, 1], "name": ["V_S", "Mo_W"], "n_detections": 1, "mean_patch": None}
)
KNOWN = Experiment(MOVIES, None, CLASSES)

NEEDED = {
    "complexes": {"reach_nm": 1.0, "n_atoms": 2},
    "creation": {"sites_per_nm2": 22.0, "reach_nm": 0.69},
    "hop_rates": {"hop_length_nm": 0.3},
    "immobile": {"sigma_nm": 0.01},
    "link": {"max_step_nm": 0.4},
    "meetings": {"reach_nm": 0.4},
    "orientations": {"bound": "Mo_W", "alone": "V_S"},
    "bootstrap": {"value": "D_nm2_per_s", "n_resamples": 2},
}
"""What a verb cannot do without."""

OF_MOVIES = {
    "Archive", "check_results", "connect", "convert", "describe", "detect", "follow_acquisition", "FourierDetector", "inject", "learn", "Movie", "NetworkDetector",
    "export", "open_archive", "open_movie", "open_results", "phases", "plan", "read_detections", "read_frames", "read_table", "read_tracks", "run", "RunConfig", "simulate_archive", "simulate_movie", "simulate_traces",
}  # fmt: skip
"""Names that begin with pixels, files or settings, and take no table."""

OF_ANSWERS = {
    "arrhenius", "chain_states", "chapman_kolmogorov", "compare_diffusion", "efficiencies", "implied_timescales", "reversibility",
    "stationary",
}  # fmt: skip
"""Verbs that go on from the answer of another."""

OF_TRACES = {
    "dopant_chains",
    "dopants_of",
    "hopping",
    "lattice_correlation",
    "occupancy",
    "site_traces",
}
"""Verbs of the signals of sites, and of what follows from them."""

NO_VERBS = {
    "answers",
    "Bins",
    "GaussianMixture",
    "Model",
    "Question",
    "SiteTraces",
    "StoppedError",
    "cluster",
    "refit",
    "score",
    "truth_of",
}
"""Types; what asks the questions of verbs; what works on descriptors; and what compares with a simulation, whose truth is no table."""

FOREIGN = {name for name in sk.__all__ if name.startswith("from_")}
"""What makes our tables of others', whose columns are not ours yet."""

INTO_OTHERS = {name for name in sk.__all__ if name.startswith("to_")}
"""What makes others' tables of ours."""

NO_CLASSES = {"shuffled", "complexes"}
"""Verbs that do not look at classes."""

NO_FRAMES = {"crystallography"}
"""Verbs that do not look at frames."""

OF_TABLES = sorted(
    set(sk.__all__) - OF_MOVIES - OF_ANSWERS - OF_TRACES - NO_VERBS - FOREIGN - INTO_OTHERS
)


@pytest.fixture
def rows():
    """Two particles that stay about where they are, with every column of detections and tracks."""
    frame = [*range(10, 22)] * 2
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "movie": "m",
            "particle": np.repeat([1, 2], 12),
            "frame": frame,
            "y": 120.0 + np.repeat([0, 40], 12) + rng.normal(0, 1, 24),
            "x": 130.0 + rng.normal(0, 1, 24),
            "score": 9.0,
            "position_error": 0.3,
            "at_edge": False,
            "class_id": [0, 0, 1, 1, 0, 0] * 4,
            "probability": 0.9,
            "orientation": -1,
        }
    )
    table = table.assign(y_nm=table["y"] * 0.03, x_nm=table["x"] * 0.03)
    neighbours = dict.fromkeys(ATOM_COLUMNS, np.float32(0.0))
    return conform(table, "tracks").assign(d00=np.float32(0.0), **neighbours)


class PolarsFrame:
    """Stands in for a table of polars, which the tests do not need."""

    def __init__(self, rows):
        self.rows, self.columns = rows, list(rows.columns)

    def to_pandas(self):
        return self.rows


PolarsFrame.__module__, PolarsFrame.__qualname__ = "polars.dataframe.frame", "DataFrame"


def ask(verb, rows, **words):
    """Ask `verb` of `rows`, with what it cannot do without, and compute what is lazy."""
    call = getattr(sk, verb)
    words = {**NEEDED.get(verb, {}), **words}
    if "experiment" in inspect.signature(call).parameters:
        words = {"experiment": KNOWN, **words}
    if verb == "bootstrap":
        return call(sk.fit_diffusion, rows, experiment=KNOWN, **words)
    found = call(rows, **words)
    return found.compute() if isinstance(found, dd.DataFrame) else found


def sentence(verb, rows, **words):
    """What `verb` says when it refuses."""
    with pytest.raises(ValueError) as refused:
        ask(verb, rows, **words)
    return str(refused.value)


def taking(*keywords):
    """Verbs of tables that take one of the `keywords`."""
    return [
        verb
        for verb in OF_TABLES
        if set(keywords) & set(inspect.signature(getattr(sk, verb)).parameters)
    ]


def test_every_public_name_is_a_verb_of_tables_or_stands_in_a_list():
    assert set(sk.__all__) == {
        *OF_TABLES,
        *OF_MOVIES,
        *OF_ANSWERS,
        *OF_TRACES,
        *NO_VERBS,
        *FOREIGN,
        *INTO_OTHERS,
    }
    for verb in OF_TABLES:
        first = next(iter(inspect.signature(getattr(sk, verb)).parameters))
        assert first in ("tracks", "detections") or verb == "bootstrap", verb


def test_the_good_rows_are_understood_by_every_verb(rows):
    for verb in OF_TABLES:
        ask(verb, rows)


@pytest.mark.parametrize("verb", OF_TABLES)
def test_only_a_pandas_or_dask_table_is_a_table(rows, verb):
    assert sentence(verb, rows.to_dict("list")) == (
        "rows must be a pandas or Dask DataFrame, but these are a dict; pass pandas.DataFrame(rows)"
    )
    assert sentence(verb, pa.Table.from_pandas(rows)) == (
        "rows must be a pandas or Dask DataFrame, but these are a pyarrow.Table; "
        "pass rows.to_pandas()"
    )
    assert sentence(verb, PolarsFrame(rows)) == (
        "rows must be a pandas or Dask DataFrame, but these are a polars.DataFrame; "
        "pass rows.to_pandas()"
    )


@pytest.mark.parametrize("verb", OF_TABLES)
def test_a_column_is_there_once(rows, verb):
    twice = pd.concat([rows, rows[["class_id"]]], axis=1)
    assert sentence(verb, twice) == (
        "each column must be there once, but 'class_id' is there twice; keep one: "
        "rows.loc[:, ~rows.columns.duplicated()]"
    )


@pytest.mark.parametrize("verb", OF_TABLES)
def test_frames_are_no_dates_and_no_times(rows, verb):
    for kind in ("datetime64", "timedelta64"):
        dates = rows.assign(frame=rows["frame"].to_numpy().astype(f"{kind}[s]"))
        assert sentence(verb, dates) == (
            f"the column 'frame' must hold whole numbers, but it holds {kind}[s]; turn times into "
            "frames: stemkin.from_table(rows, time_unit='s', frame_time_s=...)"
        )
        assert sentence(verb, dd.from_pandas(dates, npartitions=1)) == sentence(verb, dates)


@pytest.mark.parametrize("verb", sorted(set(OF_TABLES) - NO_FRAMES))
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.astype(float).where(f != 13), "whole numbers, but it holds nan; drop or number these rows"),
        (lambda f: f * 0.25, "whole numbers, but it holds 2.5; count frames, or turn times into frames: stemkin.from_table(rows, time_unit='s', frame_time_s=...)"),
        (lambda f: f.astype(object).where(f != 13, "13a"), "whole numbers, but it holds '13a'; drop or number these rows"),
        (lambda f: f.astype("int64") + 2**31, "numbers below 2147483648, but it holds 2147483658; count the frames of each movie from 0"),
    ],
)  # fmt: skip
def test_frames_are_whole_numbers_that_a_table_holds(rows, verb, spoil, said):
    spoilt = rows.assign(frame=spoil(rows["frame"]))
    assert sentence(verb, spoilt) == f"the column 'frame' must hold {said}"


@pytest.mark.parametrize("verb", sorted(set(OF_TABLES) - NO_FRAMES))
def test_negative_frames_are_refused_where_frames_are_counted_and_do_not_matter_elsewhere(
    rows, verb
):
    before = rows.assign(frame=rows["frame"] - 12)
    if verb in ("populations", "abundances", "link"):
        assert sentence(verb, before) == (
            "movie 'm' begins with frame 0, but rows say frame -2; give these rows another movie, "
            "or count its frames from 0"
        )
        return
    for kept in _tables(ask(verb, before)):
        if verb not in (
            "shuffled",
            "immobile",
            "gather_tracks",
            "creation",
            "bootstrap",
            "survival",
        ):
            pd.testing.assert_frame_equal(kept, next(_tables(ask(verb, rows))))
        break


def _tables(answer):
    """Yield the tables of an answer."""
    if isinstance(answer, pd.DataFrame):
        yield answer
        return
    for value in vars(answer).values():
        if isinstance(value, pd.DataFrame):
            yield value


@pytest.mark.parametrize("verb", sorted(set(OF_TABLES) - NO_CLASSES))
def test_class_numbers_are_those_that_a_table_holds(rows, verb):
    far = rows.assign(class_id=rows["class_id"].astype("int64") * 10**9)
    assert sentence(verb, far) == (
        "the column 'class_id' must hold numbers below 32768, but it holds 1000000000; number the "
        "classes anew: stemkin.from_table(rows) does, and keeps their names"
    )


@pytest.mark.parametrize("verb", OF_TABLES)
def test_a_large_class_number_says_what_a_small_one_does_and_costs_no_memory(rows, verb):
    far = rows.assign(class_id=(rows["class_id"].astype("int64") * 32_766 + 1).astype("int16"))
    near = rows.assign(class_id=rows["class_id"] + 1)
    words = {"experiment": Experiment(MOVIES)} if verb in taking("experiment") else {}
    if verb == "creation":
        words["vacancies"] = {1: 1}
    if verb == "orientations":
        words |= {"bound": None, "alone": None}
    expected = next(_tables(ask(verb, near, **words)))
    tracemalloc.start()
    found = next(_tables(ask(verb, far, **words)))
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    renamed = found.assign(
        **{
            c: found[c].where(found[c] != 32_767, 2)
            for c in ("class_id", "from_id", "to_id", "other_id")
            if c in found.columns
        }
    )
    pd.testing.assert_frame_equal(renamed, expected, check_dtype=False)


# --- keywords


@pytest.mark.parametrize("verb", taking("confidence"))
@pytest.mark.parametrize("bad", [95, 0, 1, -0.5, float("nan"), "0.95", True])
def test_confidence_is_a_probability(rows, verb, bad):
    assert sentence(verb, rows, confidence=bad) == (
        f"confidence must be between 0 and 1 (0.95 is 95 %), but it is {bad!r}"
    )


@pytest.mark.parametrize("verb", taking("frame_time_s"))
@pytest.mark.parametrize("bad", ["2.25", 0, -1.0, float("nan"), float("inf"), True])
def test_a_frame_time_is_a_positive_number_of_seconds(rows, verb, bad):
    assert sentence(verb, rows, frame_time_s=bad) == (
        f"frame_time_s must be a positive number of seconds, but it is {bad!r}"
    )


FRAMES = {"lag_frames": 1, "max_lag_frames": 1, "max_gap_frames": 0, "max_blind_frames": 0}


@pytest.mark.parametrize(
    ("verb", "word"), [(verb, word) for word in FRAMES for verb in taking(word)]
)
@pytest.mark.parametrize("bad", [1.9, -1, "2", float("nan"), True])
def test_a_number_of_frames_is_whole(rows, verb, word, bad):
    assert sentence(verb, rows, **{word: bad}) == (
        f"{word} must be a number of frames, whole and {FRAMES[word]} or more, but it is {bad!r}"
    )


@pytest.mark.parametrize("verb", taking("by"))
@pytest.mark.parametrize("bad", ["count", 7, ["movie", "count"], None])
def test_groups_are_words_bins_or_columns_that_are_there(rows, verb, bad):
    met = {"count": "'count'", "7": "7", "None": "None"}.get(str(bad), "'count'")
    said = sentence(verb, rows, by=bad)
    assert said.startswith(
        f"by must be 'pooled', 'movie', Bins or a column, but there is no column {met}; there are ["
    )


@pytest.mark.parametrize("verb", taking("by"))
def test_a_group_does_not_take_the_place_of_a_column_of_the_answer(rows, verb):
    assert sentence(verb, rows.assign(count=1), by="count") == (
        "by must not be a column of the answers, but it is 'count'; rename that column of the rows"
    )


@pytest.mark.parametrize("verb", taking("experiment"))
def test_an_experiment_is_one(rows, verb):
    assert sentence(verb, rows, experiment=MOVIES) == (
        "experiment must be what a table remembers of its movies, but it is a DataFrame; pass "
        "experiment=detections.experiment"
    )


@pytest.mark.parametrize("verb", taking("class_names"))
def test_classes_are_chosen_by_one_keyword_and_by_names_or_numbers_alike(rows, verb):
    one, *others = (
        next(_tables(ask(verb, rows, **words)))
        for words in ({"class_name": "V_S"}, {"class_names": ["V_S"]}, {"class_ids": 0}, {"class_ids": [0]})
    )  # fmt: skip
    for other in others:
        pd.testing.assert_frame_equal(one, other)
    column = "class_id" if "class_id" in one.columns else "from_id"
    assert set(one[column]) == {0}
    assert sentence(verb, rows, class_name="V_S", class_ids=[0]) == (
        "classes are chosen by one keyword, but class_name and class_ids are given; drop all but one"
    )
    assert sentence(verb, rows, class_ids=0.5).startswith("class_ids must be whole numbers between")
    assert sentence(verb, rows, class_ids=10**9).startswith(
        "class_ids must be whole numbers between"
    )


def test_every_verb_of_kinetics_and_diffusion_selects_classes_by_the_same_words():
    by = set(taking("by")) | {"populations"}
    # which count vacancies in all classes, name two classes that belong together, or look at none
    assert set(taking("class_names")) == by - {"creation", "orientations", "complexes"}
    for word in ("class_name", "class_names", "class_ids"):
        assert set(taking(word)) == set(taking("class_names"))


DEFAULTS = {"shuffle": None, "by": "pooled", "confidence": 0.95, "frame_time_s": None, "experiment": None, "lag_frames": 1}  # fmt: skip


@pytest.mark.parametrize("word", DEFAULTS)
def test_a_keyword_has_one_default(word):
    for verb in taking(word):
        assert inspect.signature(getattr(sk, verb)).parameters[word].default == DEFAULTS[word], verb


# --- verbs that go on from the answer of another


@pytest.fixture
def answers(rows):
    found = sk.transitions(rows, experiment=KNOWN, lag_frames=(1, 2))
    diffusion = sk.fit_diffusion(rows, experiment=KNOWN, by="movie")
    own = {
        "arrhenius": (diffusion, {"temperature_k": {"m": 300.0}}),
        "compare_diffusion": (diffusion, {"groups": {"m": 1}}),
        "efficiencies": (empty("injected"), {}),
    }
    others = sorted(OF_ANSWERS - set(own))
    return own | dict.fromkeys(others, (found, {}))


@pytest.mark.parametrize("verb", sorted(OF_ANSWERS))
def test_a_small_answer_is_a_table_and_is_refused_in_the_same_words(answers, verb):
    call = getattr(sk, verb)
    given, words = answers[verb]
    assert isinstance(call(given, **words), pd.DataFrame)
    for word, bad, said in (
        ("confidence", 95, "confidence must be between 0 and 1 (0.95 is 95 %), but it is 95"),
        ("lag_frames", 1.9, "lag_frames must be a number of frames, whole and 1 or more, but it is 1.9"),
    ):  # fmt: skip
        if word in inspect.signature(call).parameters:
            with pytest.raises(ValueError, match="must be") as refused:
                call(given, **{**words, word: bad})
            assert str(refused.value) == said
    with pytest.raises(ValueError, match="these are a dict"):
        call({}, **words)


def test_a_table_of_transitions_knows_its_frame_time(rows):
    two = sk.transitions(rows, experiment=KNOWN, frame_time_s=2.0, lag_frames=(1, 2))
    one = sk.transitions(rows, experiment=KNOWN, lag_frames=(1, 2))
    np.testing.assert_allclose(
        sk.implied_timescales(two)["timescale_s"], 2 * sk.implied_timescales(one)["timescale_s"]
    )
    unknown = sk.transitions(rows)
    with pytest.raises(ValueError, match="the time between frames is not known; pass frame_time_s"):
        sk.implied_timescales(unknown)
