"""Published videos: AVI, MP4 and whatever else FFmpeg decodes, through PyAV.

A video stores colours and a *playback* rate. Colours become intensity by their luminance (which a
false-colour map such as "fire" raises monotonically), said in a log line; the playback rate is not
how fast the microscope scanned, so the frame time stays unknown until it is given. Lossy
compression smears shot noise: positions survive it better than intensities.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from stemkin.extras import needed
from stemkin.readers.base import FileReader, Options
from stemkin.readers.choice import Candidate, chosen
from stemkin.readers.errors import DamagedDataError, MovieError, opening
from stemkin.readers.place import Place

log = logging.getLogger(__name__)

MAX_PIXELS = 2**26
COLOURED = 8
"""Red, green and blue further apart than this (of 255) somewhere make a frame coloured, beyond what
compression does."""


def open_video(place: Place, options: Options) -> FileReader:
    """Open a video. Lazy: its packets are counted, and its first frame is decoded.

    Raises
    ------
    MovieError
        If FFmpeg finds no video in it, or several and `options.dataset` names none.
    """
    with _container(place) as container:
        found = chosen(_candidates(container, place), place, options)
        stream = int(found.candidate.what)
        first = _first_frame(container, stream, place)
        rgb = first.to_ndarray(format="rgb24").astype(np.int16)
        bits = max((component.bits for component in first.format.components), default=8)
    stamps, _ = _index(place, stream, place.identity())
    notes = tuple(filter(None, [found.note]))
    if int(np.ptp(rgb, axis=-1).max()) > COLOURED:
        notes = (*notes, "false colours are read as their luminance")
        log.info("%s is in colour; its intensities are the luminance of the colours", place)
    dtype: np.dtype = np.dtype("u1")
    if bits > 8:
        dtype = np.dtype("u2")
    return VideoReader(
        place=place,
        shape=(len(stamps), first.height, first.width),
        dtype=dtype,
        frames_per_chunk=1,
        format=f"video ({first.format.name})",
        notes=notes,
        stream=stream,
    )


def _candidates(container: Any, place: Place) -> list[Candidate]:
    """Return the streams of pictures; a cover is none of them.

    Raises
    ------
    MovieError
        If there is none.
    """
    import av

    found = [
        Candidate(str(i), (max(2, stream.frames), stream.height, stream.width), "", i)
        for i, stream in enumerate(container.streams.video)
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not found:
        msg = f"{place} holds no video"
        raise MovieError(msg)
    return found


def _first_frame(container: Any, number: int, place: Place) -> Any:
    stream = container.streams.video[number]
    if stream.width * stream.height > MAX_PIXELS:
        msg = (
            f"{place} promises video frames of {stream.width} x {stream.height} pixels; its "
            "header is broken"
        )
        raise MovieError(msg)
    first = next(container.decode(stream), None)
    if first is None:
        msg = f"{place} holds no video frame that can be decoded"
        raise MovieError(msg)
    return first


@dataclass(frozen=True, eq=False, kw_only=True)
class VideoReader(FileReader):
    """Frames of a video by number: decoded from the key frame before them on.

    Attributes
    ----------
    stream
        Number of the stream of pictures in the file.
    """

    stream: int = 0

    def _frames(self, start: int, stop: int) -> Any:
        stamps, keys = _index(self.place, self.stream, self.place.identity())
        pixel_format = {1: "gray", 2: "gray16le"}[self.dtype.itemsize]
        frames = np.empty((stop - start, *self.shape[1:]), self.dtype)
        number = {stamp: i for i, stamp in enumerate(stamps)}
        found = np.zeros(stop - start, bool)
        with _container(self.place) as container:
            stream = container.streams.video[self.stream]
            stream.thread_type = "AUTO"
            earlier = [stamp for stamp in keys if stamp <= stamps[start]]
            if start and earlier:
                container.seek(max(earlier), stream=stream, backward=True)
            # the frame of a key stamp comes first, not the one asked for; `i` counts from `start`
            # and is negative until then. A frame without a known stamp follows the one before it
            counted = 0
            for frame in container.decode(stream):
                i = number.get(frame.pts, counted) - start
                counted = i + start + 1
                if 0 <= i < len(frames):
                    frames[i] = frame.to_ndarray(format=pixel_format)
                    found[i] = True
                if found.all() or i >= len(frames) + 64:
                    break
        if not found.all():
            msg = f"frame {start + int(np.argmin(found))} of {self.place} could not be decoded"
            raise DamagedDataError(msg)
        return frames


@contextmanager
def _container(place: Place) -> Iterator[Any]:
    av: Any = needed("av", extra="video", wanted_for=f"{place} is a video, which")
    if place.is_remote:
        with place.opened() as file:
            with opening(place):
                container = av.open(file)
            with container:
                yield container
    else:
        with opening(place):
            container = av.open(place.path)
        with container:
            yield container


# `identity` is part of the cache's key: a changed file is indexed anew
@lru_cache(maxsize=16)
def _index(place: Place, stream: int, identity: str) -> tuple[list[int], list[int]]:  # noqa: ARG001
    """Return the time stamps of all frames and of key frames, sorted; packets are not decoded."""
    with _container(place) as container:
        demuxed = container.demux(container.streams.video[stream])
        packets = [p for p in demuxed if p.size and not p.is_discard]
    stamps = [_stamp(packet) for packet in packets]
    if None in stamps or len(set(stamps)) < len(stamps):
        return list(range(len(stamps))), []
    keys = [stamp for stamp, p in zip(stamps, packets, strict=True) if p.is_keyframe]
    return sorted(stamps), sorted(keys)


def _stamp(packet: Any) -> Any:
    """Return when a packet is shown, or, if it does not say so, when it is decoded."""
    if packet.pts is None:
        return packet.dts
    return packet.pts
