"""Families of the corpus: pictures, videos, and folders with one file per frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from tests import movie_files as files
from tests.corpus import (
    SIZE,
    Case,
    film,
    larger,
)


def pictures(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    frames = film("u1", shape)
    for suffix, more in {
        ".gif": {}, ".apng": {"format": "PNG"}, ".png": {}, ".webp": {"lossless": True},
    }.items():  # fmt: skip
        for duration in (20, 500):
            write = partial(files.write_animation, frames=frames, duration=duration, **more)
            yield Case("picture", f"{suffix} {duration} ms", suffix, write, frames)
    for dtype in ("u1", "u2", "?"):
        write = partial(files.write_animation, frames=film(dtype, shape)[:1])
        factor = 255 if dtype == "?" else 1
        single = film(dtype, shape)[:1].astype("u2" if dtype == "u2" else "u1") * factor
        yield Case(
            "picture", f"one PNG {dtype}", ".png", write, single.astype(f"u{1 + (dtype == 'u2')}")
        )
    # an RGB picture of grey, as screen recorders write it
    rgb = np.repeat(frames[..., None], 3, -1)
    for suffix, more in {".png": {}, ".webp": {"lossless": True}}.items():
        yield Case("picture", f"grey in colours {suffix}", suffix,
                   partial(files.write_animation, frames=rgb, **more), frames)  # fmt: skip


def video(scale: int) -> Iterator[Case]:
    n, height, width = larger(scale)
    for suffix, gop in itertools.product((".mkv", ".avi"), (1, 4)):
        frames = film("u1", (n + 4, height * 4, width * 4))
        write = partial(files.write_video, frames=frames, gop=gop)
        yield Case("video", f"{suffix} {gop}", suffix, write, frames)


def sequence(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    frames = film("u2", shape)
    writers = {
        ".tif": files.write_tiff_pages, ".npy": files.write_npy, ".mrc": files.write_mrc,
        ".ser": files.write_ser, ".dm3": files.write_dm,
        ".dm4": partial(files.write_dm, version=4),
        ".png": files.write_animation,
    }  # fmt: skip
    names = {"padded": "f_{:04}", "plain": "f{}", "in steps of 10": "f_{}0", "from 8 on": "f{}"}
    for (suffix, write), (label, name) in itertools.product(writers.items(), names.items()):
        first = 8 if label == "from 8 on" else 0
        says = SIZE if suffix in (".mrc", ".ser", ".dm3", ".dm4") else {}
        if suffix in (".dm3", ".dm4"):
            says = {**SIZE, "frame_time_s": 2.25}
        yield Case("sequence", f"{suffix} {label}", "",
                   partial(_numbered, frames, write, name + suffix, first), frames, says)  # fmt: skip
    unlike = [*frames[:3], *film("u2", (2, 9, 13))]
    yield Case("sequence", "of unlike shapes", "",
               partial(_numbered, unlike, files.write_npy, "f{}.npy", 0), frames, must="refuse")  # fmt: skip


def _numbered(frames, write, name, first, path):
    path.mkdir()
    for i, frame in enumerate(frames, first):
        write(path / name.format(i), frame[None])


FAMILIES = (pictures, video, sequence)
