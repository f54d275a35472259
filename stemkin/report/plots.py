"""The figures of a report in your own axes, by name: what ``open_results(path).plot`` gives."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from stemkin import plot
from stemkin.plot import summaries
from stemkin.report.learned import COLUMNS
from stemkin.report.neighbourhoods import likeness_tree, rows_of_class
from stemkin.report.result_files import read_results
from stemkin.report.results import Reel, Results
from stemkin.report.training import training_curves
from stemkin.report.wandering import placed_tracks
from stemkin.results.store import Store


@dataclass(frozen=True)
class ResultPlots:
    """The figures of a results folder; each method draws one and returns its Matplotlib axes.

    Every method takes `axes` (None for new ones); those of one movie take its name, by default the
    first. What cannot be drawn is a `ValueError` of one sentence.

    Attributes
    ----------
    store
        The folder.
    """

    store: Store

    @cached_property
    def _results(self) -> Results:
        """What the report is made of; read once."""
        return read_results(self.store)

    @property
    def _names(self) -> Mapping[int, str]:
        return self._results.class_names

    def __repr__(self) -> str:
        """Say which figures there are."""
        names = [name for name in dir(type(self)) if not name.startswith("_") and name != "store"]
        return f"figures of {self.store.root}: {', '.join(names)}"

    def populations(self, axes: Any = None) -> Any:
        """Draw mean numbers of defects per frame against time, with 95 % bands."""
        rows, frames = self._rows("populations"), self._results.frames
        n_seen = rows.groupby("class_id")["n"].sum()
        ids = summaries.in_class_order(n_seen.index[n_seen > 0])
        return plot.draw_populations(axes, rows, frames=frames, class_ids=ids, classes=self._names)

    def order(self, axes: Any = None) -> Any:
        """Draw which share of the area is ordered, disordered and vacuum, against time."""
        return plot.draw_order(axes, self._results.frames)

    def survival(self, axes: Any = None) -> Any:
        """Draw how long stays in each class last, with the exponential law of its mean."""
        stays = self._results.found["dwell_times"]
        rows = self._rows("survival")
        return plot.draw_survival(axes, rows, dwell_times=stays, classes=self._names)

    def msd(self, axes: Any = None) -> Any:
        """Draw mean squared displacements, and the line of each class's D."""
        found = self._results.found
        lines = summaries.lines_of_diffusion(found["diffusion"], found["gaussianity"])
        return plot.draw_msd(axes, self._rows("msd"), lines=lines, classes=self._names)

    def states(self, axes: Any = None) -> Any:
        """Draw the graph of states, with the rates of the most counted changes."""
        hidden = self._results.found["hidden_transitions"]
        rates = summaries.rates_of_changes(self._rows("transitions"), hidden)
        return plot.draw_states(axes, rates, classes=self._names)

    def drift(self, axes: Any = None, *, movie: str | None = None) -> Any:
        """Draw the cumulative shift of a movie: x solid, y dashed."""
        name, rows = self._frames_of(movie)
        pixel_size_nm = self._results.calibration(name, "pixel_size_nm")
        return _with_legend(plot.draw_drift(axes, rows, pixel_size_nm=pixel_size_nm))

    def statuses(self, axes: Any = None, *, movie: str | None = None) -> Any:
        """Draw what became of each frame of a movie."""
        return _with_legend(plot.draw_statuses(axes, self._frames_of(movie)[1]))

    def frame(self, frame: int | None = None, axes: Any = None, *, movie: str | None = None) -> Any:
        """Draw a frame with its detections and tracks so far: the kept one nearest to `frame`."""
        from PIL import Image

        reel = self._reel_of(movie)
        numbers = reel.pictures["frame"].to_numpy()
        nearest = 0
        if frame is not None:
            nearest = int(np.abs(numbers - frame).argmin())
        kept = reel.pictures.iloc[nearest]
        number = int(kept["frame"])
        rows, pixel_size_nm = reel.tracks, self._results.calibration(reel.movie, "pixel_size_nm")
        return plot.draw_frame(
            axes,
            np.asarray(Image.open(io.BytesIO(kept["jpeg"])).convert("L")),
            pixel_size_nm=pixel_size_nm if pixel_size_nm > 0 else None,
            detections=rows[rows["frame"] == number],
            tracks=rows[(rows["frame"] <= number) & (rows["particle"] >= 0)],
            frame=number,
            size_px=(int(kept["height_px"]), int(kept["width_px"])),
            classes=self._names,
        )

    def broom(self, axes: Any = None, *, movie: str | None = None) -> Any:
        """Draw the longest tracks of a movie as lines in x, y and time."""
        reel = self._reel_of(movie)
        rows, size, unit = placed_tracks(self._results, reel)
        step = self._results.calibration(reel.movie, "frame_time_s")
        return plot.draw_broom(
            axes, rows, size=size, unit=unit, frame_time_s=step, classes=self._names
        )

    def occupancy(
        self, class_name: str | int, axes: Any = None, *, movie: str | None = None
    ) -> Any:
        """Draw in which share of the frames each place of a movie is taken by a class."""
        rows, size, unit = placed_tracks(self._results, self._reel_of(movie))
        return plot.draw_occupancy(axes, rows, self._class_id(class_name), size=size, unit=unit)

    def structure(self, class_name: str | int, axes: Any = None) -> Any:
        """Draw where the atoms around a class stand on the mean, with 95 % ellipses."""
        return plot.draw_structure(axes, self._around(class_name)[0])

    def mode(self, class_name: str | int, number: int = 0, axes: Any = None) -> Any:
        """Draw one standard deviation of a mode of the atoms around a class, both ways."""
        return plot.draw_mode(axes, *self._around(class_name), number)

    def regions(self, axes: Any = None) -> Any:
        """Draw the area of holes, disordered areas and fragments, of the movie with the largest."""
        rows = self._results.regions
        if rows.empty:
            raise ValueError(self._why("regions", "no hole, disordered area or fragment was seen"))
        return plot.draw_regions(axes, rows)

    def likeness(self, axes: Any = None) -> Any:
        """Draw Ward's tree of the classes' mean images."""
        found = likeness_tree(self._results.found["classes"])
        if found is None:
            raise ValueError(self._why("classes", "fewer than three classes have a mean image"))
        return plot.draw_ward(axes, *found)

    def signature(self, columns: str = "dimmer", axes: Any = None) -> Any:
        """Draw the look of a missing atom as the detector learned it."""
        return plot.draw_signature(axes, self._learned("signatures", columns))

    def noise(self, columns: str = "dimmer", axes: Any = None) -> Any:
        """Draw how alike noise is with distance as the detector learned it."""
        return plot.draw_noise(axes, self._learned("alike", columns))

    def training(self, axes: Any = None) -> Any:
        """Draw the losses of the detector's training."""
        found = training_curves(self._results.model)
        if found is None:
            raise ValueError(self._why("training", "the model's record holds no losses"))
        return _with_legend(plot.draw_training(axes, *found))

    # --- what is looked up

    def _rows(self, table: str) -> pd.DataFrame:
        rows = self._results.found[table]
        if rows.empty:
            raise ValueError(self._why(table, f"the table {table} has no rows"))
        return rows

    def _frames_of(self, movie: str | None) -> tuple[str, pd.DataFrame]:
        """Return the name of a movie, by default the first, and its frames."""
        frames = self._results.frames
        names = list(dict.fromkeys(frames["movie"]))
        name = self._one_of(names, movie)
        return name, frames[frames["movie"] == name]

    def _reel_of(self, movie: str | None) -> Reel:
        """Return what was kept to be shown of a movie, by default of the first."""
        reels = {reel.movie: reel for reel in self._results.reels}
        return reels[self._one_of(list(reels), movie)]

    def _one_of(self, names: list[str], movie: str | None) -> str:
        if movie is None and names:
            return names[0]
        if movie not in names or movie is None:
            msg = f"{self.store.root} has no movie {movie!r} to show; name one of {names[:5]}"
            raise ValueError(msg)
        return movie

    def _class_id(self, class_name: str | int) -> int:
        """Return the number of a class, said by its name or its number."""
        for number, name in self._names.items():
            if class_name in (number, name):
                return number
        msg = f"no class is called {class_name!r}; there are {list(self._names.values())}"
        raise ValueError(msg)

    def _around(self, class_name: str | int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the atoms and modes around a class, on the site where it is seen most."""
        class_id, found = self._class_id(class_name), self._results.found
        rows = found["strain"]
        rows = rows[rows["class_id"] == class_id]
        if rows.empty:
            raise ValueError(
                self._why("strain", f"{class_name!r} was not seen often enough on a lattice")
            )
        site = str(rows["site"].iloc[int(rows["n"].to_numpy().argmax())])
        atoms, modes = (
            rows_of_class(found[name], class_id, site) for name in ("structure", "modes")
        )
        return atoms, modes

    def _learned(self, part: str, columns: str) -> np.ndarray:
        if columns not in COLUMNS.values():
            msg = f"columns must be one of {sorted(COLUMNS.values())}, not {columns!r}"
            raise ValueError(msg)
        found = self._results.learned
        if part not in found:
            raise ValueError(
                self._why("observer", "the detector learned no look of a missing atom")
            )
        (which,) = [i for i, name in COLUMNS.items() if name == columns]
        return np.asarray(found[part][which])

    def _why(self, table: str, otherwise: str) -> str:
        return f"{self.store.root}: {self._results.why(table, otherwise)}"


def _with_legend(axes: Any) -> Any:
    """Add a legend of what bears a label, as the page's own words stand beside its figure."""
    axes.legend(frameon=False, fontsize=8)
    return axes
