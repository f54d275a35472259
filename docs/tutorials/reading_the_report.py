"""# Tutorial: reading the report

Each number of `report.html` stands in a table, with its interval and with the control that says
what chance alone would give. Here a small run is made, and read in Python as the page is read.
"""

# %%
# A run: every stage, its tables, and the report. The self-check, which does the experiment again
# as tables, takes most of the time and is left out here.
import logging

import stemkin as sk

logging.disable(logging.WARNING)  # a small movie earns warnings; the page has them on top
movie = sk.simulate_movie("paper", n_frames=16, shape=(192, 192), seed=4)
words = ["learn.n_frames=6", "kinetics.self_check_runs=0"]
sk.convert(movie, "movie.zarr")
sk.run("movie.zarr", "results", config=sk.RunConfig().with_words(words))
results = sk.open_results("results")

# %%
# What there is. Each table is an attribute: `results.transitions`, `results.diffusion`.
print(*results.tables()["table"], sep=", ")

# %%
# **Populations**: the mean number in a frame, and its band.
results.plot.populations()

# %%
# **Transitions** of all movies (`*`): counts first. A probability of few counts has a wide interval, whatever its
# value.
names = results.classes.set_index("class_id")["name"]


def changes(table):
    rows = table.query("movie == '*' and lag_frames == 1 and count > 0 and from_id != to_id")
    rows = rows.assign(change=rows["from_id"].map(names) + " → " + rows["to_id"].map(names))
    return rows[["change", "count", "probability", "low", "high"]].round(3).to_string(index=False)


print(changes(results.transitions))

# %%
# **Null control**: the same code on the same tracks with their frames in random order. A number
# whose interval holds its control says no more than chance does.
print(changes(results.null_transitions))

# %%
# **Diffusion**: several estimators, and which of them is recommended. `violated` says what the
# steps contradict.
vacancy = names[names == "V_S"].index[0]
fits = results.diffusion.query("movie == '*' and class_id == @vacancy")
columns = ["method", "D_nm2_per_s", "low", "high", "violated", "recommended"]
print(fits[columns].to_string(index=False))
results.plot.msd()
