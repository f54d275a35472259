"""Movies whose defects, rates and diffusion are known exactly.

>>> movie = simulate_movie("paper", n_frames=4, shape=(128, 128), seed=1)
>>> movie.shape, movie.pixel_size_nm
((4, 128, 128), 0.03)
>>> truth = truth_of(movie)
>>> sorted(truth.defects["kind"].unique())
['Mo_W', 'Mo_W+V_S', 'V_S']

**What is simulated.** Point defects of a monolayer such as WS2 that hop, bind, pair, are made by
the beam and heal, as a continuous-time Markov chain without a time step (`kinetics`); holes and a
fragment that turns (`damage`); the annular dark-field image of every column of atoms
(`kernels.crystal.rendering`); drift (`drift`), scan-line jitter and distortion (`scanning`),
flicker, contamination (`haze`), counting statistics (`kernels.images.shotnoise`), gain, offset,
read noise and the detector's faults (`recording`), bad frames (`bad_frames`). What is true of it is
in closed form (`closed_form`), as tables (`Truth`), and as what an ideal observer could reach
(`limits`). Presets have few nuisances, and mild ones; ``simulate_movie(world=7)`` draws all of them
at random (`worlds`).

**Any length.** A frame is computed where it is read, from the settings and the frame's number
alone: equal bits for every chunking, worker and order. The defects of a frame follow from an exact
simulation that begins with the frame's *area* (the field is exchanged for a fresh one every
`DefectKinetics.area_frames` frames), so frame 10**9 costs what frame 10**3 costs: some
milliseconds of kinetics once per worker and area, then the rendering. Within an area the process is
exactly Markov and nothing is approximated; between areas there is no memory, and the defects'
identities end. A frame is a snapshot at its start.

**Tables without frames.** `simulate_tracks` makes tables of tracks alone (`track_tables`), some
thousand times faster, for worlds in which defects do not meet: what is repeated hundreds of times.
`simulate_traces` makes signals of sites alone (`site_signals`), with the same kinetics as movies.

**Traps.** `simulate_movie("paper")` for more than 500 frames has several areas; ask for
``area_frames=n_frames`` to have one. Dopants keep 2.7 lattice constants apart. The mean count of a
pixel is what `reader.expected_image` says, before gain and offset.
"""

from stemkin.materials import MATERIALS, Material
from stemkin.simulation.archive import simulate_archive, simulate_movie
from stemkin.simulation.nuisances import Nuisances
from stemkin.simulation.presets import PRESETS
from stemkin.simulation.reader import SimulatedReader, expected_image
from stemkin.simulation.sections import Damage, DefectKinetics, Instrument, Optics
from stemkin.simulation.settings import Settings
from stemkin.simulation.site_signals import SimulatedTraces, TraceHaze, simulate_traces
from stemkin.simulation.track_tables import SimulatedTracks, simulate_tracks
from stemkin.simulation.track_worlds import TrackWorld
from stemkin.simulation.truth import Truth, truth_of
from stemkin.simulation.worlds import draw_world
from stemkin.simulation.writing import write_simulation

__all__ = [
    "MATERIALS",
    "PRESETS",
    "Damage",
    "DefectKinetics",
    "Instrument",
    "Material",
    "Nuisances",
    "Optics",
    "Settings",
    "SimulatedReader",
    "SimulatedTraces",
    "SimulatedTracks",
    "TraceHaze",
    "TrackWorld",
    "Truth",
    "draw_world",
    "expected_image",
    "simulate_archive",
    "simulate_movie",
    "simulate_traces",
    "simulate_tracks",
    "truth_of",
    "write_simulation",
]
