"""The same numbers on a GPU as on the CPU; run with ``pytest -m gpu`` where there is one."""

import numpy as np
import pytest

from stemkin.detection.detectors import FourierDetector
from stemkin.devices import has_gpu, keep_freed_memory, to_device, to_host
from stemkin.kernels.crystal import residual, shifts
from stemkin.simulation import simulate_movie


def need_gpu(library):
    """Skip a test where there is no GPU for it; asked when it runs, as it takes seconds to ask."""
    if library == "cuda":
        if not has_gpu():
            pytest.skip("no CuPy with a GPU")
        return
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no torch with a GPU")


def frames_of(preset, **settings):
    return simulate_movie(
        preset, n_frames=2, shape=(256, 256), seed=6, rotation_deg=9.0, **settings
    ).reader.read(0, 2)


LIBRARIES = [pytest.param(name, marks=pytest.mark.gpu) for name in ("cuda", "torch")]


@pytest.mark.parametrize("device", LIBRARIES)
@pytest.mark.parametrize("preset", ["paper", "late-stage"])
def test_a_gpu_leaves_the_same_remainder(device, preset):
    need_gpu(device)
    frame = frames_of(preset)[0].astype(np.float32)
    wanted, found = (
        residual.remove_crystal(frame),
        residual.remove_crystal(to_device(frame, device)),
    )
    assert np.allclose(found.lattice.a1, wanted.lattice.a1, atol=1e-4)
    assert np.allclose(found.lattice.metal, wanted.lattice.metal, atol=1e-3)
    for name in ("noise_units", "snr"):
        assert np.abs(to_host(getattr(found, name)) - getattr(wanted, name)).max() < 0.01, name


@pytest.mark.parametrize("device", LIBRARIES)
def test_a_gpu_finds_the_same_defects(device):
    need_gpu(device)
    frames = frames_of("paper")
    wanted, found = FourierDetector(device="cpu")(frames), FourierDetector(device=device)(frames)
    assert len(wanted) == len(found) > 0
    for name in ("y", "x", "score"):
        assert np.allclose(found[name], wanted[name], atol=0.01)


@pytest.mark.parametrize("device", LIBRARIES)
def test_a_gpu_measures_the_same_step(device):
    need_gpu(device)
    survey = FourierDetector(device="cpu").survey(frames_of("paper"))
    on_device = [to_device(rest, device) for rest in survey.residuals]
    lattices = tuple(survey.lattices)
    wanted = shifts.frame_step(*survey.residuals, lattices=lattices)
    found = shifts.frame_step(*on_device, lattices=lattices)
    assert (found.y, found.x) == pytest.approx((wanted.y, wanted.x), abs=1e-3)
    assert found.quality == pytest.approx(wanted.quality, rel=1e-2)


def test_a_worker_without_a_gpu_refuses_cuda_and_says_what_to_do():
    if has_gpu():
        pytest.skip("there is a GPU")
    with pytest.raises(
        RuntimeError, match=r'no CuPy or no GPU; pip install "stemkin\[gpu\]" or use device="auto"'
    ):
        to_device(np.zeros(3), "cuda")


def test_auto_is_the_cpu_where_there_is_no_gpu():
    if has_gpu():
        pytest.skip("there is a GPU")
    block = np.zeros((2, 3))
    assert to_device(block, "auto") is block


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_any_array_comes_back_as_numpy(library):
    xp = pytest.importorskip(library)
    back = to_host(xp.asarray([[1.0, 2.0], [3.0, 4.0]]))
    assert isinstance(back, np.ndarray)
    assert back.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_memory_is_kept_once_and_without_complaint():
    assert keep_freed_memory() in (True, False)
    assert keep_freed_memory() == keep_freed_memory()
