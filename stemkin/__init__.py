"""stemkin: from movies of moving atoms to kinetics with error bars.

>>> import stemkin as sk
>>> movie = sk.simulate_movie("paper", n_frames=4, shape=(128, 128), seed=1)   # or sk.open_movie("stack.tif", ...)

The names below are the whole public interface; each is loaded when it is first used, so that
importing stemkin is quick.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOM_OF = {
    "abundances": "kinetics",
    "answers": "rows.passes",
    "Archive": "archive",
    "arrhenius": "diffusion",
    "beam_cross_sections": "kinetics",
    "Bins": "kinetics",
    "bootstrap": "controls",
    "chain_states": "kinetics",
    "chapman_kolmogorov": "kinetics",
    "check_results": "pipeline.checking",
    "cluster": "learning.clustering",
    "compare_diffusion": "diffusion",
    "complexes": "kinetics",
    "connect": "schedulers.clients",
    "convert": "conversion",
    "creation": "kinetics",
    "crystallography": "structures",
    "describe": "description",
    "detect": "detection",
    "dopant_chains": "sites",
    "dopants_of": "sites",
    "dwell_times": "kinetics",
    "efficiencies": "injection",
    "export": "exporting",
    "fit_diffusion": "diffusion",
    "follow_acquisition": "pipeline.acquisition",
    "FourierDetector": "detection.detectors",
    "from_btrack": "foreign_tables",
    "from_laptrack": "foreign_tables",
    "from_table": "foreign_tables",
    "from_trackmate": "foreign_tables",
    "from_trackpy": "foreign_tables",
    "gather_tracks": "rows.whole",
    "gaussianity": "diffusion",
    "GaussianMixture": "learning.gaussian_mixture",
    "hidden_transitions": "kinetics",
    "hop_rates": "diffusion",
    "hopping": "sites",
    "immobile": "controls",
    "implied_timescales": "kinetics",
    "inject": "injection",
    "lattice_correlation": "sites",
    "learn": "learning",
    "link": "linking",
    "meetings": "linking",
    "mobilities": "diffusion",
    "Model": "learning",
    "Movie": "movie",
    "msd": "diffusion",
    "name_errors": "kinetics",
    "NetworkDetector": "network",
    "occupancy": "sites",
    "open_archive": "archive",
    "open_movie": "movie",
    "open_results": "opened",
    "orientations": "kinetics",
    "phases": "order",
    "plan": "selfcheck.planning",
    "populations": "kinetics",
    "Question": "rows.passes",
    "read_detections": "results.reading",
    "read_frames": "results.reading",
    "read_table": "results.reading",
    "read_tracks": "results.reading",
    "refit": "learning.refitting",
    "reversibility": "kinetics",
    "run": "pipeline",
    "RunConfig": "config",
    "score": "scoring",
    "shuffled": "controls",
    "simulate_archive": "simulation",
    "simulate_movie": "simulation",
    "simulate_traces": "simulation",
    "site_traces": "sites",
    "SiteTraces": "traces",
    "stationary": "kinetics",
    "StoppedError": "errors",
    "survival": "kinetics",
    "to_deeptime": "foreign_tables",
    "to_geff": "foreign_tables",
    "to_napari": "foreign_tables",
    "to_trackmate": "foreign_tables",
    "to_trackpy": "foreign_tables",
    "to_xarray": "foreign_tables",
    "transitions": "kinetics",
    "truth_of": "simulation",
}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        msg = f"module 'stemkin' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"stemkin.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
