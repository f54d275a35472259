"""Hundreds of broken files: each opens, or is refused in one sentence; none hangs, none takes
memory that it does not fill.

The same ones every time; `benchmarks/bench_fuzz.py` asks thousands of others. `N_INPUTS` mutated
inputs are spread over every parser of the project's own, the libraries
that it opens files with, and the manifests. Mutations hit headers more than pixels: cuts, flipped
and overwritten bytes, numbers at their extremes, repeated pieces.
"""

import json
import os
import signal
import struct
import tracemalloc
from contextlib import contextmanager

import bench_fuzz
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemkin.archive import open_archive
from stemkin.kernels.images.quality import frame_status
from stemkin.readers import MovieError, open_reader
from stemkin.readers.errors import ALWAYS_PLAUSIBLE_BYTES
from stemkin.readers.headers import Headers
from stemkin.readers.manifest import read_manifest
from stemkin.readers.place import place_of
from stemkin.readers.wrappers import TolerantReader
from tests import movie_files as files

N_INPUTS = int(os.environ.get("STEMKIN_FUZZ_INPUTS", "400"))
"""More of them are drawn, and other ones each time, where the variable asks for it."""
MAX_SECONDS = 30
MAX_BYTES = ALWAYS_PLAUSIBLE_BYTES + 2**26

BINARY = {
    "a.npy": files.write_npy,
    "a.npz": files.write_npz,
    "compressed.npz": files.write_npz_compressed,
    "a.mrc": files.write_mrc,
    "a.ser": files.write_ser,
    "old.ser": lambda path, frames: files.write_ser(path, frames, version=0x210),
    "a.dm3": files.write_dm,
    "a.dm4": lambda path, frames: files.write_dm(path, frames, version=4),
    "imagej.tif": files.write_imagej,
    "pages.tif": files.write_tiff_pages,
    "compressed.tif": files.write_tiff_compressed,
    "a.ome.tif": files.write_ome_tiff,
    "a.h5": files.write_hdf5,
    "a.emd": files.write_berkeley_emd,
    "a.hspy": files.write_hspy,
    "a.gif": lambda path, frames: files.write_animation(path, frames.astype("u1")),
    "a.apng": lambda path, frames: files.write_animation(path, frames.astype("u1"), format="PNG"),
    "a.webp": lambda path, frames: files.write_animation(path, frames.astype("u1")),
    "shuffled.h5": files.write_hdf5_shuffled,
    "virtual.h5": files.write_hdf5_virtual,
    "contiguous.h5": files.write_hdf5_contiguous,
    "a.nxs": files.write_nexus,
    "velox.emd": files.write_velox,
    "zipped.zarr.zip": files.write_zarr_zipped,
    "missing.npy": files.write_npy_missing,
}
CSV = (
    'path,name,pixel_size_nm,frame_time_s,channel\na.npy,one,0.03,2.25,0\nb c.npy,"two, '
    'three",1e-2,,\n'
)
TOML = (
    'pixel_size_nm = 0.03\n[[movie]]\npath = "a.npy"\nname = "one"\nframe_time_s = '
    '2.25\n[[movie]]\npath = "b.npy"\nchannel = 0\n'
)

EXTREMES = [0, 1, -1, 2**7, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1]
mutations = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 2**16), st.integers(0, 7)),
        st.tuples(st.just("byte"), st.integers(0, 600), st.integers(0, 255)),
        st.tuples(st.just("number"), st.integers(0, 600), st.sampled_from(EXTREMES)),
        st.tuples(st.just("big-endian number"), st.integers(0, 600), st.sampled_from(EXTREMES)),
        st.tuples(
            st.just("double"),
            st.integers(0, 600),
            st.sampled_from([float("nan"), float("inf"), -1.0, 1e300]),
        ),
        st.tuples(st.just("cut"), st.integers(0, 2**14), st.just(0)),
        st.tuples(st.just("insert"), st.integers(0, 600), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("repeat"), st.integers(0, 600), st.integers(1, 64)),
    ),
    min_size=1,
    max_size=6,
)


def mutated(content, changes):
    """Return `content` with `changes`."""
    raw = bytearray(content)
    for kind, where, what in changes:
        at = where % max(1, len(raw))
        if kind == "flip" and raw:
            raw[at] ^= 1 << what
        elif kind == "byte" and raw:
            raw[at] = what
        elif kind in ("number", "big-endian number"):
            form, size = ("q", 8) if abs(what) >= 2**32 else ("i", 4)
            packed = struct.pack(
                ("<" if kind == "number" else ">") + form,
                what if size == 8 else (what + 2**31) % 2**32 - 2**31,
            )
            raw[at : at + size] = packed
        elif kind == "double":
            raw[at : at + 8] = struct.pack("<d", what)
        elif kind == "cut":
            del raw[at:]
        elif kind == "insert":
            raw[at:at] = what
        elif kind == "repeat":
            raw[at:at] = raw[at : at + what]
    return bytes(raw)


@contextmanager
def bounded():
    """Fail if what happens inside takes too long, or more memory than frames that are there could
    fill."""

    def stop(*_):
        pytest.fail(f"it took over {MAX_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MAX_SECONDS)
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
        assert peak < MAX_BYTES, f"it took {peak / 2**20:.0f} MiB"
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_opens_or_says_why(path):
    """Open a movie and read its ends; a refusal must be one sentence that names the file."""
    with bounded():
        refused = None
        try:
            reader = open_reader(str(path))
        except MovieError as error:
            refused = str(error)
        if refused is not None:
            assert "\n" not in refused
            assert path.name in refused
            return
        n, height, width = reader.shape
        assert n > 0
        assert reader.calibration.known().keys() == reader.calibration.origin.keys()
        for start in {0, n // 2, n - 1}:
            frames = TolerantReader(reader).read(start, start + 1)
            assert frames.shape == (1, height, width)
            assert frames.dtype == reader.dtype
            frame_status(frames)


def fuzz(share):
    """Settings of a test that takes `share` of all inputs; the same inputs every time."""
    return settings(
        deadline=None,
        max_examples=round(N_INPUTS * share),
        derandomize="STEMKIN_FUZZ_INPUTS" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.filterwarnings("ignore")
def test_a_broken_file_is_one_sentence_or_a_movie(tmp_path, name):
    BINARY[name](tmp_path / name, files.pixels(n=3, height=8, width=12))
    content = (tmp_path / name).read_bytes()
    check_opens_or_says_why(tmp_path / name)  # as it was

    @fuzz(0.04)
    @given(changes=mutations)
    def broken(changes):
        (tmp_path / name).write_bytes(mutated(content, changes))
        check_opens_or_says_why(tmp_path / name)

    broken()


@pytest.mark.parametrize("name", ["v2.zarr", "v3.zarr", "ome5.zarr", "zlib.zarr", "gzip.zarr"])
@pytest.mark.filterwarnings("ignore")
def test_a_broken_store_is_one_sentence_or_a_movie(tmp_path, name):
    write = {
        "v2.zarr": files.write_zarr2,
        "v3.zarr": files.write_zarr3,
        "ome5.zarr": files.write_ome_zarr5,
        "zlib.zarr": files.write_zarr2_zlib,
        "gzip.zarr": files.write_zarr3_gzip,
    }[name]
    write(str(tmp_path / name), files.pixels(n=3, height=8, width=12))
    share = 0.05
    if name in ("zlib.zarr", "gzip.zarr"):  # zarr-python reads them, slowly
        share = 0.01
    contents = {p: p.read_bytes() for p in sorted((tmp_path / name).rglob("*")) if p.is_file()}

    @fuzz(share)
    @given(which=st.sampled_from(sorted(contents)), changes=mutations)
    def broken(which, changes):
        for path, content in contents.items():
            path.write_bytes(mutated(content, changes) if path == which else content)
        check_opens_or_says_why(tmp_path / name)

    broken()


numbers = st.sampled_from([0, 1, -1, 2**31, 2**62, 1e300, None, "x", [], {}, True])


@pytest.mark.filterwarnings("ignore")
def test_a_store_with_wrong_metadata_is_one_sentence_or_a_movie(tmp_path):
    files.write_ome_zarr5(str(tmp_path / "a.zarr"), files.pixels(n=3, height=8, width=12))
    group, array = tmp_path / "a.zarr" / "zarr.json", tmp_path / "a.zarr" / "0" / "zarr.json"
    contents = {path: json.loads(path.read_text()) for path in (group, array)}

    def places(node, path=()):
        items = (
            node.items()
            if isinstance(node, dict)
            else enumerate(node)
            if isinstance(node, list)
            else ()
        )
        for key, value in items:
            yield (*path, key)
            yield from places(value, (*path, key))

    @fuzz(0.06)
    @given(data=st.data())
    def broken(data):
        which = data.draw(st.sampled_from([group, array]))
        changed = json.loads(json.dumps(contents[which]))
        *above, key = data.draw(st.sampled_from(list(places(changed))))
        node = changed
        for step in above:
            node = node[step]
        node[key] = data.draw(numbers)
        for path, content in contents.items():
            path.write_text(json.dumps(changed if path == which else content))
        check_opens_or_says_why(tmp_path / "a.zarr")

    broken()


@pytest.mark.parametrize(("name", "text"), [("m.csv", CSV), ("m.toml", TOML)])
def test_a_broken_manifest_is_one_sentence_or_a_list(tmp_path, name, text):
    @fuzz(0.075)
    @given(changes=mutations)
    def broken(changes):
        (tmp_path / name).write_bytes(mutated(text.encode(), changes))
        with bounded():
            sources = refused = None
            try:
                sources = read_manifest(place_of(tmp_path / name))
                open_archive(tmp_path / name)
            except ValueError as error:
                refused = error
            assert sources is not None or type(refused) is ValueError
            assert refused is None or name in str(refused) or "not unique" in str(refused)

    broken()


def test_broken_remembered_headers_are_forgotten(tmp_path):
    np.save(tmp_path / "a.npy", files.pixels(n=3, height=8, width=12))
    open_archive(tmp_path, cache=tmp_path / "cache.json")
    content = (tmp_path / "cache.json").read_bytes()

    @fuzz(0.05)
    @given(changes=mutations)
    def broken(changes):
        (tmp_path / "cache.json").write_bytes(mutated(content, changes))
        with bounded():
            Headers.load(str(tmp_path / "cache.json"))
            archive = open_archive(tmp_path, cache=tmp_path / "cache.json")
            assert len(archive) + len(archive.problems) == 1

    broken()


def test_the_inputs_are_as_many_as_promised():
    shares = 0.04 * len(BINARY) + 3 * 0.05 + 0.06 + 2 * 0.075 + 0.05
    assert shares * N_INPUTS >= 500
    assert bench_fuzz.N_INPUTS * shares >= 20_000
