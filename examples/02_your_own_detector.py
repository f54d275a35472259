"""Your own detector: any callable on a block of frames takes the place of stemkin's.

It gets frames (n, y, x) and the number of the first one, and returns one record per defect: frame,
y, x and a score in units of the noise. stemkin lays it over the movie, block by block, on whichever
machines there are.

    python 02_your_own_detector.py

The detector below looks for atomic columns that are much dimmer than their like: in WS2, molybdenum
on tungsten sites. It ends with how many of the true dopants it found, and how many were wrong.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

import stemkin as sk
from stemkin.kernels.common.matching import match_points
from stemkin.simulation import truth_of
from stemkin.tables import DETECTION


@dataclass(frozen=True)  # frozen settings travel safely to other processes
class DimColumns:
    """Find columns dimmer than the usual one by more than `threshold` times the usual scatter."""

    column_px: float = 2.0
    spacing_px: int = 7
    threshold: float = 6.0

    def __call__(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        return np.concatenate(
            [np.empty(0, DETECTION), *(self._one(f, first_frame + i) for i, f in enumerate(frames))]
        )

    def _one(self, frame: np.ndarray, number: int) -> np.ndarray:
        smooth = ndimage.gaussian_filter(frame.astype(np.float64), self.column_px)
        columns = smooth == ndimage.maximum_filter(smooth, size=self.spacing_px)
        y, x = np.nonzero(columns)
        usual = np.median(smooth[y, x])
        scatter = 1.4826 * np.median(np.abs(smooth[y, x] - usual))
        score = (usual - smooth[y, x]) / scatter
        inside = (np.minimum(y, x) > 6) & (y < len(frame) - 7) & (x < frame.shape[1] - 7)
        found = np.flatnonzero((score > self.threshold) & inside)
        rows = np.empty(len(found), DETECTION)
        rows["frame"], rows["y"], rows["x"], rows["score"] = (
            number,
            y[found],
            x[found],
            score[found],
        )
        return rows


def main() -> None:
    movie = sk.simulate_movie("paper", n_frames=20, shape=(256, 256), seed=3)
    with sk.connect("threads"):
        found = sk.detect(movie, DimColumns()).compute()
    true = truth_of(movie).defects
    dopants = true[true["kind"].str.startswith("Mo_W")]
    right = sum(
        len(match_points(mine[["y", "x"]].to_numpy(), dopants.loc[dopants["frame"] == i, ["y", "x"]].to_numpy(), max_distance=4)[0])
        for i, mine in found.groupby("frame")
    )  # fmt: skip
    print(
        f"dopants in {movie.n_frames} frames: {len(dopants)}, found: {len(found)}, of which right: "
        f"{right}"
    )
    print(f"recall {right / len(dopants):.2f}, precision {right / len(found):.2f}")


if __name__ == "__main__":
    main()
