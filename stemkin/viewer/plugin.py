"""What napari finds of stemkin by its manifest: readers, and the widgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stemkin.detection.detectors import FourierDetector
from stemkin.learning.by_hand import HandEdit, hand_edits_of
from stemkin.results.reading import results_folder
from stemkin.results.store import RUN_FILE
from stemkin.viewer import corrections
from stemkin.viewer.layers import (
    DETECTIONS,
    Layer,
    class_names,
    movie_layer,
    result_layers,
)

TRIED = "tried"
"""Name of the layer with what a detector finds in the frame in view."""

ReadLayers = Callable[[Any], list[Layer]]


def results_reader(path: str | Sequence[str]) -> ReadLayers | None:
    """Return what reads a results folder, None for anything else."""
    if isinstance(path, str) and (Path(path) / RUN_FILE).is_file():
        return lambda folder: result_layers(folder)
    return None


def movie_reader(path: str | Sequence[str]) -> ReadLayers | None:
    """Return what reads a movie, None for what stemkin does not open."""
    from stemkin.movie import open_movie

    if not isinstance(path, str):
        return None
    try:
        movie = open_movie(path)
    except (OSError, ValueError):
        return None
    return lambda _: [movie_layer(movie)]


def tried_points(
    frame: np.ndarray, number: int, false_positives_per_frame: float, snr: float
) -> np.ndarray:
    """Return what a detector finds in one frame.

    Parameters
    ----------
    frame
        (y, x) pixels.
    number
        Of the frame.
    false_positives_per_frame
        As of `FourierDetector`.
    snr
        As of `FourierDetector`; 0 lets the threshold follow from the false positives.

    Returns
    -------
    (n, 3) frame, y, x.
    """
    detector = FourierDetector(false_positives_per_frame, snr=snr if snr > 0 else None)
    found = detector(frame[None], first_frame=number)
    return np.column_stack([found[name].astype(float) for name in ("frame", "y", "x")])


def detector_widget() -> Any:
    """Return the widget that tries settings of the detector on the frame in view."""
    from magicgui import magicgui

    @magicgui(  # type: ignore[untyped-decorator]
        call_button="try on this frame",
        false_positives_per_frame={"min": 0.001, "max": 100.0, "step": 0.1},
        snr={"min": 0.0, "max": 50.0, "step": 0.5, "label": "snr (0: from false positives)"},
    )
    def try_detector(
        image: "napari.layers.Image",  # type: ignore[name-defined] # noqa: F821, UP037 - found by magicgui
        viewer: "napari.Viewer",  # type: ignore[name-defined] # noqa: F821, UP037 - likewise
        false_positives_per_frame: float = 1.0,
        snr: float = 0.0,
    ) -> str:
        """Draw what the detector finds, and say how much that is."""
        number = int(viewer.dims.current_step[0])
        points = tried_points(
            np.asarray(image.data[number]), number, false_positives_per_frame, snr
        )
        if TRIED in viewer.layers:
            viewer.layers.remove(TRIED)
        words = {"scale": image.scale, "units": image.units, "border_color": "yellow"}
        viewer.add_points(points, name=TRIED, face_color="transparent", size=12, **words)
        said = f"{len(points)} detections in frame {number}"
        viewer.status = said
        return said

    return try_detector


def corrections_widget() -> Any:
    """Return the widget that renames, cuts, joins, and saves what was corrected."""
    from magicgui import widgets

    panel = HandPanel()
    names = widgets.LineEdit(label="class", value="")
    rename = widgets.PushButton(text="rename the selected")
    cut = widgets.PushButton(text="cut the track here")
    join = widgets.PushButton(text="join two tracks")
    save = widgets.PushButton(text="save")
    said = widgets.Label(value="select detections; delete and add them with napari's own tools")

    def told(call: Callable[[], str]) -> None:
        try:
            said.value = call()
        except ValueError as error:
            said.value = str(error)

    rename.changed.connect(lambda: told(lambda: panel.rename(names.value)))
    cut.changed.connect(lambda: told(panel.cut))
    join.changed.connect(lambda: told(panel.join))
    save.changed.connect(lambda: told(panel.save))
    return widgets.Container(widgets=[names, rename, cut, join, save, said])


class HandPanel:
    """What was corrected in the viewer that is open, until it is saved."""

    def __init__(self, layer: Any = None) -> None:
        """Correct a layer of points; None for the one of the viewer that is open."""
        self._given = layer
        self._of_tracks: list[HandEdit] = []
        self._before: list[HandEdit] | None = None

    def _layer(self) -> Any:
        """Return the layer with the detections of a results folder."""
        if self._given is not None:
            return self._given
        import napari

        viewer = napari.current_viewer()
        if viewer is None or DETECTIONS not in viewer.layers:
            msg = "no results are open: drop a results folder onto the window"
            raise ValueError(msg)
        return viewer.layers[DETECTIONS]

    def rename(self, name: str) -> str:
        """Give the selected detections a class; return what was done."""
        layer = self._layer()
        known = [n for n in class_names(results_folder(layer.metadata["results"])).values() if n]
        if name and name not in known:
            msg = f"no class is called {name!r}; there are {known}"
            raise ValueError(msg)
        features = pd.DataFrame(layer.features).copy()
        chosen = sorted(layer.selected_data)
        features.loc[chosen, "class"] = name
        layer.features = features
        return f"{len(chosen)} renamed"

    def cut(self) -> str:
        """Cut the track at the selected detection; return what was done."""
        layer = self._layer()
        movie, points = layer.metadata["movie"], corrections.selected_points(layer)
        self._of_tracks.append(corrections.cut_at(movie, points))
        return f"{len(self._of_tracks)} cuts and joins to save"

    def join(self) -> str:
        """Join the tracks of the two selected detections; return what was done."""
        layer = self._layer()
        movie, points = layer.metadata["movie"], corrections.selected_points(layer)
        self._of_tracks.append(corrections.joined_at(movie, points))
        return f"{len(self._of_tracks)} cuts and joins to save"

    def save(self) -> str:
        """Write all corrections into the results folder; return what is to be done next.

        Saved again, a session's corrections take the place of those that it saved before.
        """
        layer = self._layer()
        folder, movie = results_folder(layer.metadata["results"]), layer.metadata["movie"]
        if self._before is None:
            self._before = hand_edits_of(folder.store)
        features, names = pd.DataFrame(layer.features), class_names(folder)
        points, found = np.asarray(layer.data), layer.metadata["found"]
        edits = corrections.edits_of_points(movie, found, points, features, names)
        every = [*edits, *self._of_tracks]
        return corrections.keep_corrections(folder.store, self._before, every)
