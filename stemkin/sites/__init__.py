"""Kinetics below the detection limit: every site a trace, no vacancy ever picked.

Noise does not remember. Correlations of the signals of sites, from frame to frame and from site to
site, hold only what is in the specimen; on a lattice they are known exactly up to a hop rate. So the
diffusion coefficient follows also where single frames show nothing.

From pixels: ``traces, dopants = dopants_of(site_traces(movie, model))``.

>>> from stemkin.simulation import simulate_traces
>>> world = simulate_traces(n_frames=60, shape=(24, 24), depth=4.0, seed=1)
>>> found = hopping(lattice_correlation(world.traces, max_lag_frames=16))
>>> bool(found["low"].iloc[0] < world.D_nm2_per_s < found["high"].iloc[0])
True
"""

from stemkin.sites.chances import Occupancy, occupancy
from stemkin.sites.correlation import LatticeCorrelation, lattice_correlation
from stemkin.sites.dopant_search import dopants_of
from stemkin.sites.dopants import DopantChain, dopant_chains
from stemkin.sites.hopping import hopping
from stemkin.sites.pixels import site_traces

__all__ = [
    "DopantChain",
    "LatticeCorrelation",
    "Occupancy",
    "dopant_chains",
    "dopants_of",
    "hopping",
    "lattice_correlation",
    "occupancy",
    "site_traces",
]
