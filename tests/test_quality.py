"""A frame's status by hand, on every array library, and never by its neighbours."""

import itertools

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings

from stemkin.kernels.images.quality import damaged, frame_quality, frame_status, is_damaged
from stemkin.tables import STATUSES
from tests.strategies import time_chunkings


def good(n=6, height=64, width=64, dtype="u2", mean=20):
    return np.random.default_rng(1).poisson(mean, (n, height, width)).astype(dtype)


def one_of_each():
    """Frames whose statuses are known: ok, blank, saturated, truncated at the end, truncated at the
    start, corrupt lines."""
    frames = good()
    frames[1] = 7
    frames[2, :20] = 4095
    frames[3, 40:] = 0
    frames[4, :12] = 99
    frames[5, 20:24] = 0
    return frames, ["ok", "blank", "saturated", "truncated", "truncated", "corrupt"]


def test_each_status_by_hand():
    frames, statuses = one_of_each()
    assert frame_status(frames).tolist() == statuses
    reasons = [quality.reason for quality in frame_quality(frames)]
    assert reasons[0] == ""
    assert reasons[1] == "all pixels hold one value, 7"
    assert reasons[2] == "31% of the pixels are at full scale, 4095"
    assert reasons[3] == "the last 24 of 64 lines hold one value, 0"
    assert reasons[4] == "the first 12 of 64 lines hold one value, 99"
    assert reasons[5] == "4 of 64 lines hold one value each"


@given(chunks=time_chunkings(n_frames=6))
@settings(deadline=None, max_examples=15)
def test_a_status_does_not_depend_on_the_block(chunks):
    frames, statuses = one_of_each()
    edges = np.cumsum([0, *chunks])
    found = [s for a, b in itertools.pairwise(edges) for s in frame_status(frames[a:b])]
    assert found == statuses


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("library", ["strict", "torch"])
def test_every_array_library_agrees(library, dtype):
    frames, _ = one_of_each()
    frames = np.concatenate(
        [np.minimum(frames, 255).astype(dtype), damaged(1, 64, 64, np.dtype(dtype))]
    )
    if library == "torch":
        torch = pytest.importorskip("torch")
        theirs = torch.as_tensor(frames)
    else:
        theirs = array_api_strict.asarray(frames)
    assert frame_quality(theirs) == frame_quality(frames)
    assert frame_status(frames)[-1] == "corrupt"


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (7, 5), (64, 65)])
def test_damaged_frames_are_corrupt_in_every_type_and_shape(dtype, shape):
    frames = damaged(3, *shape, np.dtype(dtype))
    assert is_damaged(frames).all()
    if shape[0] * shape[1] > 2:
        assert frame_status(frames).tolist() == ["corrupt"] * 3
    assert not is_damaged(good(2, 8, 8, "f4")).any()


def test_not_finite_pixels_are_corrupt():
    frames = good(dtype="f4")
    frames[0, 3, 3], frames[1], frames[2, 0, 0] = np.nan, np.nan, np.inf
    assert [q.reason for q in frame_quality(frames)[:3]] == [
        "1 of 4096 pixels are not finite",
        "all pixels are not finite",
        "1 of 4096 pixels are not finite",
    ]


@pytest.mark.parametrize("mean", [0.02, 0.1, 1, 20, 1000])
def test_shot_noise_at_any_dose_is_ok(mean):
    assert set(frame_status(good(4, 256, 256, mean=mean))) == {"ok"}


def test_a_frame_of_a_few_counts_with_empty_lines_is_not_truncated():
    frame = np.zeros((1, 16, 16), "u2")
    frame[0, 3, 4] = frame[0, 8, 8] = 1
    assert frame_status(frame).tolist() == ["ok"]


def test_bright_columns_and_hot_pixels_are_not_saturation():
    frames = good()
    frames[:, ::8, ::8] = 65535
    assert set(frame_status(frames)) == {"ok"}


def test_clipped_floats_are_saturated():
    frames = np.minimum(good(dtype="f4"), 22)
    assert frame_status(frames).tolist() == ["saturated"] * 6


def test_edges_of_the_room():
    assert frame_status(np.zeros((0, 4, 4))).tolist() == []
    assert frame_status(np.zeros((2, 0, 4))).tolist() == ["corrupt"] * 2
    assert frame_status(np.zeros((1, 1, 1))).tolist() == ["blank"]
    assert set(frame_status(np.zeros((2, 4, 4)))) <= set(STATUSES)
    with pytest.raises(ValueError, match="use frames"):
        frame_quality(np.zeros((4, 4)))
