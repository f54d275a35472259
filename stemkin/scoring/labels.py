"""A truth of your own: what a person has labelled, or another program has simulated.

>>> import pandas as pd
>>> defects = pd.DataFrame({"frame": [0, 0], "y": [4.0, 9.0], "x": [4.0, 2.0]})
>>> labels = Labels(defects, shape=(16, 16), n_frames=1)
>>> labels.defects_between(0, 1)["kind"].tolist(), labels.kinds
(['defect', 'defect'], ('defect',))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin.tables import OK, check_columns


@dataclass(frozen=True, eq=False)
class Labels:
    """Known defects of one movie, as `score` takes them.

    Attributes
    ----------
    defects
        `frame`, `y`, `x` [px, raw frame]; where known `kind` (name) and `particle` (identity from
        frame to frame).
    shape
        (height, width) [px].
    n_frames
        Frames that were labelled: 0 to n_frames - 1.
    pixel_size_nm
        Edge of a pixel; 1 leaves all lengths in pixels.
    movie
        Name of the movie.
    """

    defects: pd.DataFrame
    shape: tuple[int, int]
    n_frames: int
    pixel_size_nm: float = 1.0
    movie: str = "movie"

    def __post_init__(self) -> None:
        """Check the columns.

        Raises
        ------
        ValueError
            If one is missing.
        """
        check_columns(self.defects, "detections", needed=("frame", "y", "x"))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds, sorted."""
        if "kind" not in self.defects.columns:
            return ("defect",)
        return tuple(sorted(self.defects["kind"].unique()))

    def defects_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return the defects of frames `start` to `stop` (excluded), as `score` needs them."""
        rows = self.defects[(self.defects["frame"] >= start) & (self.defects["frame"] < stop)]
        else_known: dict[str, Any] = {"movie": self.movie, "kind": "defect"}
        else_known["particle"] = np.arange(len(rows))
        for name in rows.columns:
            else_known.pop(name, None)
        return rows.assign(**else_known)

    def frames_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return the frames `start` to `stop` (excluded), all of them ``ok``."""
        return pd.DataFrame({"frame": np.arange(start, stop), "status": OK})
