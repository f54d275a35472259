"""# Tutorial: clusters

The same lines on one core and on a hundred machines, and the same answer to the last bit. Here the
cluster is two processes of this machine; of a real one only the address differs.
"""

# %%
# Two movies, and a model learned from a few of their frames.
import stemkin as sk

movies = [sk.simulate_movie("paper", n_frames=12, shape=(144, 144), seed=s) for s in (1, 2)]
with sk.connect("threads"):
    model = sk.learn(movies, n_frames=6)


# %%
# What is to be known of them. Nothing in it says where it is computed: verbs give lazy Dask tables,
# and whichever scheduler is active does the work. A task holds a block of frames.
def analyse(frames_per_block):
    detections = sk.detect(movies, model, frames_per_block=frames_per_block).persist()
    tracks = sk.link(detections).persist()
    return tracks.compute(), sk.msd(tracks)


# %%
# First here, in threads, all twelve frames of a movie at once.
with sk.connect("threads"):
    tracks, spread = analyse(frames_per_block=12)
print(len(tracks), "rows in", tracks.groupby("movie")["particle"].nunique().sum(), "tracks")

# %%
# A scheduler that runs somewhere has an address. `dask scheduler` prints it, your computing centre
# tells it, or it stands in the file that `--scheduler-file` names; this one starts two workers of
# its own. `connect` takes address or file.
from distributed import LocalCluster

words = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
with LocalCluster(**words) as somewhere, sk.connect(somewhere.scheduler_address) as client:
    print(len(client.scheduler_info()["workers"]), "workers")
    there, spread_there = analyse(frames_per_block=4)

# %%
# Other workers, other blocks, one of them joined to the next at each seam: the same bits.
print("tracks equal:", tracks.equals(there))
print("MSD equal:", spread.equals(spread_there))

# %%
# So what is drawn does not tell where it was computed either.
from stemkin import plot

plot.draw_msd(None, spread_there, classes=model.classes)

# %%
# A whole run is one command there, and goes on where it stopped. `--dry-run` says what it would
# take; `stemkin status results/` tells from any terminal how far it is.
#
#     stemkin run movies/ -o results/ --cluster tcp://10.0.0.5:8786 --dry-run
#     stemkin run movies/ -o results/ --cluster slurm.toml --workers 16
#
# [Clusters](clusters.md) has the recipes: machines reached by ssh, SLURM, Kubernetes, TLS.
