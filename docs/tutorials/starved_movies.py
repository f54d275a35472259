"""# Tutorial: starved movies

At a low dose no frame shows a vacancy, so none can be tracked. The movie as a whole still knows how
they hop: noise does not remember, vacancies do.
"""

# %%
# A movie at a sixteenth of the usual dose, made by the simulator, so that the answer is known. Look
# at a frame first.
import stemkin as sk

few = {"dopant_fraction": 0.0, "vacancy_fraction": 0.03}
movie = sk.simulate_movie("starved", n_frames=12, shape=(96, 96), seed=1, **few)
movie.plot(5)

# %%
# The detector learns the lattice, and what a missing atom looks like on the mean of many sites.
# `site_traces` then follows the signal of every site through all frames, drift included: a lazy
# array (t, site). Nothing is picked.
with sk.connect("threads"):
    detector = sk.FourierDetector().learned_from(movie[i] for i in range(6))
    traces = sk.site_traces(movie, detector)
    found = sk.hopping(sk.lattice_correlation(traces, max_lag_frames=6)).iloc[0]
print(f"{traces.values.shape[1]} sites in {traces.values.shape[0]} frames")
print(f"a vacancy stands {found['depth']:.1f} times the noise of one frame deep")

# %%
# Twelve frames say nothing of hops, and the interval admits it.
print(f"D in [{found['low']:.1e}, {found['high']:.1e}] nm²/s")
true = sk.truth_of(movie).diffusion.set_index("kind")["D_nm2_per_s"]
print(f"put in: {true['V_S']:.1e}")

# %%
# Longer movies say more. Traces alone are made quickly: here 500 frames of a brighter movie, in which
# a vacancy is three times as deep as the noise of one frame. Below four, correlations lead: tracks
# miss too many.
world = sk.simulate_traces(n_frames=500, shape=(24, 24), depth=3.0, seed=2)
correlation = sk.lattice_correlation(world.traces, max_lag_frames=32)
found = sk.hopping(correlation).iloc[0]
print(f"D = {found['D_nm2_per_s']:.2e} [{found['low']:.2e}, {found['high']:.2e}] nm²/s")
print(f"put in: {world.D_nm2_per_s:.2e}")

# %%
# What is fitted: how alike the signals of two sites are, by how many frames and how many hops lie
# between them. A vacancy that hops away takes its signal to a neighbour.
from matplotlib import pyplot

table = correlation.table.query("lag_frames > 0")
axes = pyplot.subplots()[1]
for label, low, high in (("same site", -0.5, 0.5), ("next sites", 0.5, 1.2)):
    own = table[table["distance_a"].between(low, high)].groupby("lag_s")["correlation"].mean()
    axes.plot(own.index, own, "o-", label=label)
axes.set(xlabel="lag (s)", ylabel="mean product of signals", xscale="log")
axes.legend()

# %%
# A run does all of this with `stemkin run faint.zarr -o results --sites`;
# [Faint movies](faint_movies.md) tells when to trust which answer.
