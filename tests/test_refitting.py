"""Classes that were learned from a sample are fitted to all detections of an archive."""

import json
from dataclasses import replace

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin.learning import learn
from stemkin.learning.edits import edited
from stemkin.learning.refitting import refit_numbers, refitted
from stemkin.model import scaled
from stemkin.tables import descriptor_columns


@pytest.fixture(scope="module")
def model(paper_movie):
    return learn(paper_movie, n_frames=6, seed=1)


@pytest.fixture(scope="module")
def archive(model):
    """A thousand rows like those of the sample, and 60 of a kind that it did not hold."""
    generator = np.random.default_rng(5)
    rows = model.sample.rows
    like = rows[generator.integers(0, len(rows), 1000)].astype(float)
    strange = np.tile(like[np.round(like[:, 0]) == 0][:1], (60, 1))
    strange[:, 1:8] = [-0.3, 0.25, -0.3, 0.25, 0.2, -0.2, 0.2]
    values = np.concatenate([like, strange])
    values[:, 1:8] += generator.normal(0, 0.003, (len(values), 7))
    table = pd.DataFrame(values.astype(np.float32), columns=descriptor_columns(model.n_descriptors))
    table.loc[3, "d01"] = np.nan  # beyond the lattice nothing is described
    return table.assign(movie="m", frame=np.arange(len(table)) // 20)


def test_what_the_sample_did_not_hold_becomes_a_class_and_the_others_keep_their_names(
    model, archive
):
    grown = sk.refit(model, archive)
    known = model.classes["name"].tolist()
    assert grown.classes["name"].tolist() == [*known, f"class {len(known)}"]
    given_now, _ = grown.taxonomy.assign(
        scaled(archive.to_numpy()[:, :17].astype(float), model.scale)
    )
    assert (given_now[1000:] == len(known)).mean() > 0.95
    given_before, _ = model.taxonomy.assign(
        scaled(archive.to_numpy()[:, :17].astype(float), model.scale)
    )
    named = given_before[:1000] >= 0
    assert (given_now[:1000] == given_before[:1000])[named].mean() > 0.98
    counts = grown.classes["n_detections"]
    assert counts.iloc[-1] == pytest.approx(60, abs=2)
    assert counts.sum() <= len(archive)
    assert grown.report["refitted"]["n_new"] == 1


def test_a_few_strange_neighbourhoods_are_no_class(model, archive):
    few = archive.iloc[:1006]
    assert sk.refit(model, few).classes["name"].tolist() == model.classes["name"].tolist()


@settings(max_examples=4)
@given(st.integers(1, 9), st.sampled_from(["synchronous", "threads"]))
def test_partitions_and_schedulers_do_not_change_a_bit(model, archive, n_partitions, scheduler):
    whole = refit_numbers(model, archive)
    with dask.config.set(scheduler=scheduler):
        assert refit_numbers(model, dd.from_pandas(archive, npartitions=n_partitions)) == whole


def test_processes_agree(model, archive, two_processes):
    from distributed import Client

    with Client(two_processes):
        assert refit_numbers(model, dd.from_pandas(archive, npartitions=3)) == refit_numbers(
            model, archive
        )


def test_it_is_an_edit_that_json_keeps_before_all_others(model, archive):
    told = json.loads(json.dumps(refit_numbers(model, archive)))
    new = f"class {len(model.classes)}"
    after = edited(model, {"refit": told, "rename": {new: "C_ad"}})
    assert after.classes["name"].iloc[-1] == "C_ad"
    np.testing.assert_array_equal(
        after.taxonomy.mixture.means, sk.refit(model, archive).taxonomy.mixture.means
    )


def test_what_does_not_fit_is_refused_in_a_sentence(model, archive):
    with pytest.raises(
        ValueError, match=r"have no column 'd04', a descriptor .*; detect with this"
    ):
        sk.refit(model, archive.drop(columns="d04"))
    told = refit_numbers(model, archive)
    other = replace(model, classes=model.classes, taxonomy=sk.refit(model, archive).taxonomy)
    with pytest.raises(ValueError, match=r"fitted again for another model .*; fit them once more"):
        refitted(other, {**told, "class_ids": told["class_ids"][::-1]})
    with pytest.raises(ValueError, match=r"cannot be read .*; fit them once more"):
        edited(model, {"refit": {**told, "means": [["a"]]}})
    with pytest.raises(ValueError, match="stands for numbers, as `stemkin classes --refit` found"):
        edited(model, {"refit": {"means": 3}})
    assert refitted(model, {}) is model
