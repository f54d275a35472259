"""# Tutorial: a first movie

From frames to rates and a diffusion coefficient, one verb at a time. The movie is simulated, so
that the answer is known; with a file of yours the first line is `sk.open_movie("stack.tif")`.
"""

# %%
# Mo-doped WS2 with vacancies that hop, 2.25 s from frame to frame.
import stemkin as sk

movie = sk.simulate_movie("paper", n_frames=24, shape=(192, 192), seed=1)
print(movie)

# %%
# A few frames are enough to learn what kinds of defects there are. Nothing is labelled by hand:
# classes are named after the motif that each one's mean image matches best.
model = sk.learn(movie)
seen = model.classes.query("n_detections > 0")
print(seen[["name", "n_detections", "match_score"]].round(2).to_string(index=False))

# %%
# `detect` is the one pass over the pixels, and `link` follows what was found. Both are lazy Dask
# tables; `persist` keeps the rows, so that no frame is read twice.
detections = sk.detect(movie, model).persist()
tracks = sk.link(detections).persist()
print(f"{len(detections)} detections in {tracks['particle'].nunique().compute()} tracks")

# %%
# Look at the frames before you believe a number: marks are detections, lines are where they were.
movie.plot(12, detections=detections.compute(), tracks=tracks.compute())

# %%
# How many there are as time goes on. The bands are intervals, as every number here has one.
from stemkin import plot

found = sk.populations(detections)
plot.draw_populations(None, found, class_ids=seen["class_id"], classes=model.classes)

# %%
# What a defect is one frame later, counted over all tracks and divided once.
names = seen["name"].tolist()
changes = sk.transitions(tracks)
print(changes.counts.loc[names, names])
print(changes.probabilities.loc[names, names].round(3))

# %%
# How fast vacancies move. The row that is marked as recommended is the one whose assumptions the
# steps do not contradict; beside it stands what was put in.
quoted = sk.fit_diffusion(tracks, class_name="V_S").query("recommended")
print(quoted[["method", "D_nm2_per_s", "low", "high", "n_tracks"]].to_string(index=False))
true = sk.truth_of(movie).diffusion
print(true[["kind", "D_nm2_per_s"]].round(6).to_string(index=False))
