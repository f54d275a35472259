"""The public names of stemkin, typed; `__init__.py` loads each when it is first used."""

from stemkin.archive import Archive as Archive
from stemkin.archive import open_archive as open_archive
from stemkin.config import RunConfig as RunConfig
from stemkin.controls import bootstrap as bootstrap
from stemkin.controls import immobile as immobile
from stemkin.controls import shuffled as shuffled
from stemkin.conversion import convert as convert
from stemkin.description import describe as describe
from stemkin.detection import detect as detect
from stemkin.detection.detectors import FourierDetector as FourierDetector
from stemkin.diffusion import arrhenius as arrhenius
from stemkin.diffusion import compare_diffusion as compare_diffusion
from stemkin.diffusion import fit_diffusion as fit_diffusion
from stemkin.diffusion import gaussianity as gaussianity
from stemkin.diffusion import hop_rates as hop_rates
from stemkin.diffusion import msd as msd
from stemkin.errors import StoppedError as StoppedError
from stemkin.kinetics import Bins as Bins
from stemkin.kinetics import abundances as abundances
from stemkin.kinetics import beam_cross_sections as beam_cross_sections
from stemkin.kinetics import chain_states as chain_states
from stemkin.kinetics import chapman_kolmogorov as chapman_kolmogorov
from stemkin.kinetics import creation as creation
from stemkin.kinetics import dwell_times as dwell_times
from stemkin.kinetics import hidden_transitions as hidden_transitions
from stemkin.kinetics import implied_timescales as implied_timescales
from stemkin.kinetics import populations as populations
from stemkin.kinetics import reversibility as reversibility
from stemkin.kinetics import stationary as stationary
from stemkin.kinetics import survival as survival
from stemkin.kinetics import transitions as transitions
from stemkin.learning import Model as Model
from stemkin.learning import learn as learn
from stemkin.learning.clustering import cluster as cluster
from stemkin.learning.gaussian_mixture import GaussianMixture as GaussianMixture
from stemkin.linking import link as link
from stemkin.linking import meetings as meetings
from stemkin.movie import Movie as Movie
from stemkin.movie import open_movie as open_movie
from stemkin.network import NetworkDetector as NetworkDetector
from stemkin.order import phases as phases
from stemkin.pipeline import run as run
from stemkin.rows.passes import Question as Question
from stemkin.rows.passes import answers as answers
from stemkin.rows.whole import gather_tracks as gather_tracks
from stemkin.schedulers.clients import connect as connect
from stemkin.scoring import score as score
from stemkin.simulation import simulate_archive as simulate_archive
from stemkin.simulation import simulate_movie as simulate_movie
from stemkin.simulation import truth_of as truth_of
from stemkin.structures import crystallography as crystallography

__version__: str
__all__: list[str]
