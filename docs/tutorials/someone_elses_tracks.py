"""# Tutorial: someone else's tracks

Another program has found and linked; stemkin takes its table and says what it means.
"""

# %%
# A table as another program may leave it: places in nanometres, a column for the track, words for
# what was seen. Here it is made up, with D = 0.002 nm²/s, places good to 0.02 nm, 2 s a frame.
import numpy as np
import pandas as pd

import stemkin as sk

rng = np.random.default_rng(5)
pieces = []
for number in range(40):
    steps = rng.normal(0, np.sqrt(2 * 0.002 * 2.0), (40, 2))
    places = np.cumsum(steps, axis=0) + rng.uniform(0, 15, 2) + rng.normal(0, 0.02, (40, 2))
    held = rng.random(40).cumsum() % 7 > 5
    pieces.append(
        pd.DataFrame(
            {
                "TRACK_ID": number,
                "FRAME": np.arange(40),
                "Y": places[:, 0],
                "X": places[:, 1],
                "kind": np.where(held, "held", "free"),
            }
        )
    )
table = pd.concat(pieces, ignore_index=True)

# %%
# `from_table` is told which of its columns are ours, and their units; what is not told stays
# unknown.
tracks = sk.from_table(
    table,
    columns={"particle": "TRACK_ID", "frame": "FRAME", "y": "Y", "x": "X", "class_id": "kind"},
    length_unit="nm",
    pixel_size_nm=0.03,
    frame_time_s=2.0,
    class_names=["free", "held"],
)
print(tracks.compute()[["frame", "particle", "y", "x", "class_id"]].head(3).to_string(index=False))

# %%
# Every verb takes them. D, with what each method assumes and which one is quoted:
quoted = sk.fit_diffusion(tracks).query("recommended")
print(quoted[["class_id", "method", "D_nm2_per_s", "low", "high"]].to_string(index=False))

# %%
# How long a stay lasts, and how far defects move.
from stemkin import plot

plot.draw_msd(None, sk.msd(tracks), classes={0: "free", 1: "held"})
plot.draw_survival(None, sk.survival(tracks), classes={0: "free", 1: "held"})
