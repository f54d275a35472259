"""Linear algebra has one thread wherever stemkin computes, so that no bit depends on the cores."""

import ast
import contextlib
import io
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import stemkin
from stemkin.blas import on_one_thread, one_thread
from stemkin.schedulers.streams import results
from tests.sources import PACKAGE, below_package, mentioning, nodes_of


def n_threads(_: object = None, *, api: str = "") -> int:
    """The largest number of threads that a library (of one kind) has now, seen from here."""
    return max(
        library["num_threads"] for library in threadpool_info() if api in library["user_api"]
    )


def many_threads() -> dict[str, str]:
    """The environment of a program on a machine of four cores."""
    path = {"PYTHONPATH": str(PACKAGE.parent), "PATH": os.environ["PATH"]}
    return {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", **path}


@pytest.fixture(autouse=True)
def _many_threads():
    """As on an ordinary machine, whatever the environment says."""
    import scipy.linalg  # noqa: F401

    with threadpool_limits(3):
        assert n_threads() == 3
        yield


def test_there_is_one_thread_inside_and_as_many_as_before_outside():
    with one_thread:
        assert n_threads() == 1
        with one_thread:
            assert n_threads() == 1
        assert n_threads() == 1
    assert n_threads() == 3


def test_an_error_inside_puts_the_threads_back():
    with pytest.raises(RuntimeError), one_thread:
        raise RuntimeError
    assert n_threads() == 3


def test_a_thread_that_leaves_early_takes_the_bound_from_nobody():
    came, go, seen = threading.Event(), threading.Event(), []

    def stay():
        with one_thread:
            came.set()
            go.wait(10)
            seen.append(n_threads(api="blas"))

    thread = threading.Thread(target=stay)
    thread.start()
    came.wait(10)
    with one_thread:
        pass
    assert n_threads(api="blas") == 1, "the other thread is still inside"
    go.set()
    thread.join()
    assert seen == [1]
    assert n_threads(api="blas") == 3


def test_every_thread_may_be_the_one_that_sets_and_the_one_that_puts_back():
    with one_thread:  # from now on threadpoolctl believes that this thread alone may set it
        pass
    seen = []

    def enter():
        seen.append(n_threads(api="blas"))
        with one_thread:
            seen.append(n_threads(api="blas"))
        seen.append(n_threads(api="blas"))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [3, 1, 3]


def test_a_library_that_is_loaded_inside_is_bounded_at_the_next_entry():
    program = """
from stemkin.blas import one_thread
with one_thread:
    import sklearn.cluster, threadpoolctl
    with one_thread:
        found = threadpoolctl.threadpool_info()
        assert any(library["user_api"] == "openmp" for library in found), found
        assert {library["num_threads"] for library in found} == {1}, found
"""
    subprocess.run([sys.executable, "-c", program], env=many_threads(), check=True)


def test_a_constant_that_is_computed_on_import_has_the_bits_of_one_thread():
    program = """
import numpy as np
from numpy.polynomial import chebyshev
from stemkin.blas import one_thread
from stemkin.kernels.motion import likelihood as kernel
with one_thread:
    fine = chebyshev.chebvander(np.linspace(-1, 1, len(kernel.FINE)), kernel.N_NODES - 1)
    assert np.array_equal(fine @ kernel.TO_COEFFICIENTS, kernel.FINE_FROM_NODES)
"""
    subprocess.run([sys.executable, "-c", program], env=many_threads(), check=True)


def test_the_bound_travels_by_name():
    assert pickle.loads(pickle.dumps(one_thread)) is one_thread
    bounded = one_thread(lambda x: (x, n_threads()))
    assert cloudpickle.loads(cloudpickle.dumps(bounded))(2) == (2, 1)
    assert on_one_thread(n_threads) == 1


def test_bits_are_those_of_one_thread():
    a = np.random.default_rng(0).standard_normal((300, 300))
    with threadpool_limits(1):
        alone = (a @ a, np.linalg.inv(a), a.ravel() @ a.ravel())
    with one_thread:
        bounded = (a @ a, np.linalg.inv(a), a.ravel() @ a.ravel())
    assert all(np.array_equal(x, y) for x, y in zip(alone, bounded, strict=True))


def test_tasks_of_a_stream_have_one_thread():
    assert [n for _, n in results(n_threads, range(4))] == [1] * 4


LAZY = {"connect", "detect", "link", "shuffled", "immobile", "phases", "truth_of", "describe",
        "open_archive", "open_movie", "simulate_archive", "simulate_movie", "convert", "open_results",
        "read_detections", "read_frames", "read_table", "read_tracks"}  # fmt: skip
"""Verbs that lay out work, open or copy files: their tasks are bounded, they themselves compute
nothing that has a bit to lose."""


def test_every_verb_that_computes_is_bounded():
    verbs = {n for n in stemkin.__all__ if n.islower() and callable(getattr(stemkin, n))} - LAZY
    free = {name for name in verbs if not hasattr(getattr(stemkin, name), "__wrapped__")}
    assert not free, f"put @one_thread above {sorted(free)}, or say why it is lazy"


HANDED_OUT = {"delayed": 0, "map_blocks": 0, "map_partitions": 0}
"""How functions become tasks, and which argument of the call they are."""
HARMLESS = {
    "list": "a list",
    "pd.concat": "rows put together",
    "added": "sums of a few numbers, without a product",
    "_together": "`added`, question by question",
    "_detections_of": "part of what a bounded task found",
    "_frames_of": "sums along a column, without a product",
    "on_one_thread": "the bound itself",
}


def handed_out(path: Path) -> set[str]:
    """The functions that a file makes tasks of, as they are written there."""
    found, bound = set(), {}
    for node in nodes_of(path):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            # work = partial(function, ...): who hands `work` out hands the function out
            name = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(node.value.func) == "partial":
                bound.setdefault(ast.unparse(name), set()).add(ast.unparse(node.value.args[0]))
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if called in HANDED_OUT and isinstance(node.args[0], (ast.Name, ast.Attribute)):
            found.add(ast.unparse(node.args[0]))
    return set().union(*(bound.get(name, {name}) for name in found))


def bounded_in(path: Path) -> set[str]:
    """The functions that a file defines with the bound on them."""
    return {
        node.name
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef)
        and any("one_thread" in ast.unparse(d) for d in node.decorator_list)
    }


def bounded_elsewhere(path: Path) -> set[str]:
    """The functions with the bound on them that a file takes from others of its package."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("stemkin."):
            source = PACKAGE.parent.joinpath(*str(node.module).split(".")).with_suffix(".py")
            if source.exists():
                found |= bounded_in(source) & {name.name for name in node.names}
    return found


def test_every_task_is_bounded():
    free = []
    for path in mentioning(*HANDED_OUT):
        bounded = bounded_in(path) | bounded_elsewhere(path)
        free += [
            f"{below_package(path)}: {name}" for name in handed_out(path) - bounded - set(HARMLESS)
        ]
    assert not free, f"these tasks have as many threads as the machine: {free}"


WHOLE_CHAIN = """
import hashlib
import numpy as np
import pandas as pd
import stemkin as sk

movie = sk.simulate_movie("paper", n_frames=6, shape=(160, 160), seed=3)

def told(name, found):
    if isinstance(found, pd.DataFrame):
        found = pd.util.hash_pandas_object(found.select_dtypes("number"), index=False).to_numpy()
    print(name, hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest())

told("frames", movie.frames.compute())
model = sk.learn(movie, n_frames=3)
told("model", model.taxonomy.mixture.covariances)
# found once: what follows asks about the same rows
tracks = sk.link(sk.detect(movie, model), max_step_nm=0.7).persist()
told("tracks", tracks.compute())
told("transitions", sk.transitions(tracks).probabilities)
told("diffusion", sk.fit_diffusion(tracks))
told("hops", sk.hop_rates(tracks, hop_length_nm=0.3153))
told("hidden", sk.hidden_transitions(tracks).probabilities)
"""


def test_movies_models_tracks_and_rates_have_the_same_bits_with_one_and_with_many_threads():
    """With both itself, and therefore not called again by CI for each number of threads."""
    alone = subprocess.Popen(
        [sys.executable, "-c", WHOLE_CHAIN],
        env={**many_threads(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert n_threads() == 3
        exec(WHOLE_CHAIN, {"__name__": "whole_chain"})
    one, many = alone.communicate()[0].splitlines(), said.getvalue().splitlines()
    assert len(one) == 7, "all steps are done"
    assert one == many
