"""# Tutorial: your material

The lattice is measured in each movie; the material only gives classes their names.
"""

# %%
# A movie of MoSe2, which is doped with tungsten unless something else is said.
import stemkin as sk
from stemkin.materials import material_named

material = material_named("MoSe2")
print(material.kinds)
movie = sk.simulate_movie("paper", material="MoSe2", n_frames=8, shape=(192, 192), seed=1)

# %%
# Learned as what it is: names of the field, and how well each class matches its motif. Where
# `match_score` and `runner_up_score` are close, do not trust the name.
model = sk.learn(movie, n_frames=8, material="MoSe2")
shown = model.classes.query("n_detections > 0")
columns = ["name", "n_detections", "match_score", "runner_up", "runner_up_score"]
print(shown[columns].round(2).to_string(index=False))

# %%
# Said to be something else: the lattice that was measured does not fit, so nothing is named, and a
# sentence says so.
other = sk.learn(movie, n_frames=8, material="WS2")
print(other.classes.query("n_detections > 0")["name"].tolist())

# %%
# The mean images that names stand on.
from matplotlib import pyplot

figure, panels = pyplot.subplots(1, len(shown), figsize=(2.2 * len(shown), 2.4), squeeze=False)
for axes, (_, row) in zip(panels[0], shown.iterrows(), strict=True):
    axes.imshow(row["mean_patch"], cmap="gray")
    axes.set_title(row["name"], fontsize=9)
    axes.set_axis_off()

# %%
# A name of your own: nothing is learned again, and no pixel is read.
first = shown["name"].iloc[0]
print(first, "is now", model.rename({first: "my_defect"}).classes["name"].iloc[shown.index[0]])

# %%
# A material that is not in the table is a few numbers.
from stemkin.materials import Material

nitride = Material(
    formula="BN",
    a_nm=0.2504,
    metal="B",
    chalcogen="N",
    dopant="C",
    Z_metal=5,
    Z_chalcogen=7,
    Z_dopant=6,
    atoms_per_chalcogen_column=1,
)
print(nitride.kinds)
