"""XML of TrackMate, read from beginning to end: no entity is expanded, no other file is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import pandas as pd


@dataclass
class Document:
    """What a file of TrackMate says.

    Attributes
    ----------
    spots
        Table ``id``, ``frame``, ``y``, ``x``, ``z``, ``quality``, and ``track_id`` where the file
        gives it.
    edges
        Table ``source``, ``target`` (ids of spots), ``track_id``; None where there are none.
    length_unit, time_unit
        As the file words them.
    pixel
        Width and height of a pixel, in the unit of length; 0 where it is not known.
    frame_interval
        In the unit of time; 0 where it is not known.
    shape
        Frames, height and width of the movie, empty where it is not known.
    """

    spots: pd.DataFrame
    edges: pd.DataFrame | None = None
    length_unit: str = "pixel"
    time_unit: str = "frame"
    pixel: tuple[float, float] = (0.0, 0.0)
    frame_interval: float = 0.0
    shape: tuple[int, ...] = ()


@dataclass
class _Elements:
    """What the elements say, collected as they begin."""

    spots: list[tuple[float, ...]] = field(default_factory=list)
    edges: list[tuple[int, int, int]] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    root: str = ""
    unit: Mapping[str, str] = field(default_factory=dict)
    image: Mapping[str, str] = field(default_factory=dict)
    track: int = -1
    n_particles: int = 0

    def begin(self, name: str, words: Mapping[str, str]) -> None:
        """Take in an element with its attributes."""
        if not self.root:
            self.root = name
            self.unit = words
        action: Callable[[Mapping[str, str]], None] | None = {
            "Model": self._model,
            "Spot": self._spot,
            "Track": self._track,
            "Edge": self._edge,
            "TrackID": self._track_shown,
            "ImageData": self._image,
            "particle": self._particle,
            "detection": self._detection,
        }.get(name)
        if action is not None:
            action(words)

    def _model(self, words: Mapping[str, str]) -> None:
        self.unit = words

    def _image(self, words: Mapping[str, str]) -> None:
        self.image = words

    def _spot(self, words: Mapping[str, str]) -> None:
        place = [float(words[f"POSITION_{axis}"]) for axis in "YXZ"]
        quality = float(words.get("QUALITY", "nan"))
        self.spots.append((int(words["ID"]), float(words["FRAME"]), *place, quality))

    def _track(self, words: Mapping[str, str]) -> None:
        self.track = int(words["TRACK_ID"])

    def _edge(self, words: Mapping[str, str]) -> None:
        self.edges.append((int(words["SPOT_SOURCE_ID"]), int(words["SPOT_TARGET_ID"]), self.track))

    def _track_shown(self, words: Mapping[str, str]) -> None:
        self.shown.add(int(words["TRACK_ID"]))

    def _particle(self, _: Mapping[str, str]) -> None:
        self.n_particles += 1

    def _detection(self, words: Mapping[str, str]) -> None:
        place = [float(words[axis]) for axis in "yx"] + [float(words.get("z", "0"))]
        track = self.n_particles - 1
        self.spots.append((len(self.spots), float(words["t"]), *place, float("nan"), track))


def read_xml(path: str) -> Document:
    """Return what an XML file of TrackMate says, saved by it or exported from its tracks.

    Raises
    ------
    ValueError
        If it is no such file, or is damaged.
    """
    elements = _Elements()
    parser = expat.ParserCreate()
    parser.StartElementHandler = elements.begin
    parser.EntityDeclHandler = _no_entities
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        msg = f"{path} is no whole XML file ({error}); save it again from TrackMate"
        raise ValueError(msg) from error
    except (KeyError, TypeError) as error:
        msg = f"{path} is damaged: an element has no {error}; save it again from TrackMate"
        raise ValueError(msg) from error
    except LookupError as error:  # Python's own word for an encoding that it does not know
        msg = f"{path} is damaged: {error}; save it again from TrackMate"
        raise ValueError(msg) from error
    if elements.root == "Tracks":
        return _exported(elements)
    if elements.root != "TrackMate":
        msg = (
            f"{path} is no file of TrackMate: it begins with <{elements.root}>, not with "
            "<TrackMate> or <Tracks>"
        )
        raise ValueError(msg)
    return _saved(elements)


def _no_entities(*_: Any) -> None:
    msg = "the XML defines entities, which no file of TrackMate does; it is not read"
    raise ValueError(msg)


def _exported(elements: _Elements) -> Document:
    """Return what "export tracks to XML" wrote: whole tracks without branches or ids."""
    names = ["id", "frame", "y", "x", "z", "quality", "track_id"]
    spots = pd.DataFrame(elements.spots, columns=names)
    words = elements.unit
    return Document(
        spots,
        None,
        words.get("spaceUnits", "pixel"),
        words.get("timeUnits", "frame"),
        frame_interval=float(words.get("frameInterval", "0")),
    )


def _saved(elements: _Elements) -> Document:
    """Return what TrackMate saved; tracks that it does not show are left out."""
    spots = pd.DataFrame(elements.spots, columns=["id", "frame", "y", "x", "z", "quality"])
    edges = pd.DataFrame(elements.edges, columns=["source", "target", "track_id"])
    edges = edges[edges["track_id"].isin(elements.shown)]
    image = elements.image
    shape: tuple[int, ...] = ()
    if {"nframes", "height", "width"} <= set(image):
        shape = tuple(int(float(image[word])) for word in ("nframes", "height", "width"))
    return Document(
        spots,
        edges,
        elements.unit.get("spatialunits", "pixel"),
        elements.unit.get("timeunits", "frame"),
        (float(image.get("pixelwidth", "0")), float(image.get("pixelheight", "0"))),
        float(image.get("timeinterval", "0")),
        shape,
    )
