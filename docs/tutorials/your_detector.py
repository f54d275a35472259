"""# Tutorial: your detector

A detector of your own takes the place of stemkin's: here it looks for dim columns, is laid over a
movie, and is judged against the truth.
"""

# %%
# It gets frames (n, y, x) and the number of the first one, and returns a record for each defect:
# frame, y, x [px] and a score in units of the noise. A frozen dataclass travels to other processes.
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

import stemkin as sk
from stemkin.tables import DETECTION


@dataclass(frozen=True)
class DimColumns:
    """Find columns that are dimmer than usual by more than `threshold` times the usual scatter."""

    column_px: float = 2.0
    spacing_px: int = 7
    threshold: float = 6.0

    def __call__(self, frames, *, first_frame=0):
        found = [self.look_at(frame, first_frame + i) for i, frame in enumerate(frames)]
        return np.concatenate([np.empty(0, DETECTION), *found])

    def look_at(self, frame, number):
        smooth = ndimage.gaussian_filter(frame.astype(float), self.column_px)
        y, x = np.nonzero(smooth == ndimage.maximum_filter(smooth, size=self.spacing_px))
        inside = (np.minimum(y, x) > 6) & (y < len(frame) - 7) & (x < frame.shape[1] - 7)
        y, x = y[inside], x[inside]
        bright = smooth[y, x]
        scatter = 1.4826 * np.median(np.abs(bright - np.median(bright)))
        score = (np.median(bright) - bright) / scatter
        rows = np.empty(np.count_nonzero(score > self.threshold), DETECTION)
        rows["frame"] = number
        for name, values in (("y", y), ("x", x), ("score", score)):
            rows[name] = values[score > self.threshold]
        return rows


# %%
# The same records whatever stands beside a frame: that is what keeps the answer the same on one
# core and on a hundred. Try it before anything else.
movie = sk.simulate_movie("paper", n_frames=6, shape=(160, 160), seed=3)
frames = movie.frames.compute()
together = DimColumns()(frames)
apart = np.concatenate([DimColumns()(frames[i : i + 1], first_frame=i) for i in range(6)])
print(len(together), "records;", "equal" if (together == apart).all() else "NOT equal")

# %%
# `detect` takes it in place of a model; the rows have no classes. (`learn(movie,
# detector=DimColumns())` would name what it finds.)
found = sk.detect(movie, DimColumns()).compute()
movie.plot(2, detections=found)

# %%
# Against the truth: dim metal columns are molybdenum on tungsten sites.
dopants = sk.truth_of(movie).defects
dopants = dopants[dopants["kind"].str.startswith("Mo_W")]
near = 0
for number, rows in found.groupby("frame"):
    own = dopants[dopants["frame"] == number]
    apart_px = np.hypot(
        rows["y"].to_numpy()[:, None] - own["y"].to_numpy(),
        rows["x"].to_numpy()[:, None] - own["x"].to_numpy(),
    )
    near += int((apart_px.min(axis=1) < 4).sum())
print(f"{len(found)} found, {near} of them within 4 px of one of {len(dopants)} dopants")
