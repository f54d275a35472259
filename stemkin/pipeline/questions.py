"""What a run asks of its tracks: of the rows as they are, and of the null controls made of them.

Every question is asked with others in one pass (`stemkin.rows.passes`), so a track file is read
three times in all: once for all that needs nothing else, once for the hidden states, and once for
the controls that need to know how well a particle at rest is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from stemkin.config import KineticsSection
from stemkin.controls import at_rest, in_random_order
from stemkin.diffusion import fit_diffusion, gaussianity, hop_rates, mobilities, msd
from stemkin.kinetics import (
    abundances,
    beam_cross_sections,
    creation,
    dwell_times,
    orientations,
    survival,
    transitions,
)
from stemkin.kinetics.creation import vacancies_in
from stemkin.linking import MAX_STEP_LATTICES, MEETING_LATTICES, meetings
from stemkin.materials import Material, material_named
from stemkin.rows.passes import Question
from stemkin.rows.tracks import rows_of_movies
from stemkin.tables import Experiment

MULTIPLES = (1, 2, 3, 5)
"""Lags at which the chain is tested, in units of the run's own lag."""

Questions = dict[str, Question[Any]]


@dataclass(frozen=True, eq=False)
class Asking:
    """What a run knows before it asks.

    Attributes
    ----------
    tracks
        Rows of whole tracks of all movies; here only for their columns.
    experiment
        What is known of the movies.
    settings
        The run's.
    hop_length_nm
        The lattice constant; None where no lattice was seen.
    material
        Name of the crystal.
    timed
        Movies whose frame time is known; None where that is all of them.
    efficiencies
        Table ``efficiencies`` of known defects that were put in; None where there is none.
    """

    tracks: Any
    experiment: Experiment
    settings: KineticsSection
    hop_length_nm: float | None
    material: str
    timed: Collection[str] | None = None
    efficiencies: pd.DataFrame | None = None

    @property
    def words(self) -> dict[str, Any]:
        """Keywords of every verb."""
        return {"experiment": self.experiment, "confidence": self.settings.confidence}

    def ask(self, verb: Any, **words: Any) -> Question[Any]:
        """Return the question that `verb` asks, with the run's words and further ones."""
        question: Question[Any] = verb.question(self.tracks, **self.words, **words)
        return question

    def as_they_are(self) -> Questions:
        """Return what is asked of the rows as they are."""
        settings, ask = self.settings, self.ask
        lags = [m * settings.lag_frames for m in MULTIPLES]
        curve: dict[str, Any] = {"by": "movie", "experiment": self.experiment}
        lattice: dict[str, Any] = {"by": "movie", "hop_length_nm": self.hop_length_nm}
        found: Questions = {
            "dwell_times": ask(dwell_times, by="movie"),
            "survival": ask(survival),
            "msd": msd.question(self.tracks, max_lag_frames=settings.max_lag_frames, **curve),
            "orientations": ask(orientations, by="movie"),
            "transitions": self._transitions(by="movie"),
            "pooled": ask(transitions, lag_frames=lags, prior=settings.rate_prior),
            "diffusion": ask(fit_diffusion, method=self.methods(), **lattice),
            "mobilities": ask(mobilities, **lattice),
        }
        if self._dosed():
            found["beam_transitions"] = ask(beam_cross_sections)
        if self.hop_length_nm is not None:
            found["hop_rates"] = ask(hop_rates, **lattice)
            found["gaussianity"] = gaussianity.question(self.tracks, **curve)
        found = self._of_timed(found | self._creation())
        shares = "gaps" if self.efficiencies is None else self.efficiencies
        found["abundances"] = ask(abundances, by="movie", efficiency=shares)
        return found | self._meetings("meetings")

    def shuffled(self) -> Questions:
        """Return what is asked of the tracks with their rows in random order of time."""
        spread = [m for m in ("mle", "cve") if m in self.settings.diffusion_methods]
        found: Questions = {
            "null_transitions": self._transitions(by="movie"),
            "null_dwell_times": self.ask(dwell_times, by="movie"),
            "null_diffusion": self.ask(fit_diffusion, by="movie", method=spread),
        }
        return self._of_timed(_through(partial(in_random_order, seed=0), found))

    def at_rest(self, confusion: np.ndarray | None, sigma_nm: float | None) -> Questions:
        """Return what is asked of defects that never move nor change, of movies with a frame time.

        Parameters
        ----------
        confusion
            (k, k) probability that class i (row) is named j; None: nothing is asked of names.
        sigma_nm
            Error with which a defect is seen; without one, or without a lattice, nothing is asked
            of motion.
        """
        found: Questions = {}
        if confusion is not None:
            misnamed = {"null_static_transitions": self._transitions()}
            misnamed |= self._meetings("null_meetings")
            found |= _through(at_rest(sigma_nm=0.0, confusion=confusion, seed=1), misnamed)
        if self.hop_length_nm is not None and sigma_nm is not None:
            lattice: dict[str, Any] = {"hop_length_nm": self.hop_length_nm, "by": "movie"}
            immobile = {
                "at_rest": self.ask(fit_diffusion, method=("hop",), **lattice),
                "null_hop_rates": self.ask(hop_rates, **lattice),
            }
            found |= _through(at_rest(sigma_nm=sigma_nm), immobile)
        return found

    def of_timed(self, question: Question[Any]) -> Question[Any]:
        """Return the `question`, asked of movies with a frame time only."""
        if self.timed is None:
            return question
        return question.through(partial(rows_of_movies, movies=frozenset(self.timed)))

    def methods(self) -> list[Any]:
        """Return the methods by which D is estimated; hops need a lattice."""
        methods = self.settings.diffusion_methods
        return [m for m in methods if m != "hop" or self.hop_length_nm is not None]

    def _transitions(self, **words: Any) -> Question[pd.DataFrame]:
        """Return the question of the table ``transitions`` at the run's own lag."""
        settings = self.settings
        words |= {"lag_frames": settings.lag_frames, "prior": settings.rate_prior}
        asked = self.ask(transitions, **words)
        return asked.then(attrgetter("table"))

    def _meetings(self, name: str) -> Questions:
        """Return which tracks meet: within the reach asked for, or one hop; else nothing."""
        reach_nm = self.settings.meeting_reach_nm
        if reach_nm is None and self.hop_length_nm is not None:
            reach_nm = MEETING_LATTICES * self.hop_length_nm
        if reach_nm is None:
            return {}
        return {name: meetings.question(self.tracks, reach_nm=reach_nm)}

    def _creation(self) -> Questions:
        """Return how many vacancies the beam made, where crystal and vacancy classes are known."""
        known = known_crystal(self.material, self.hop_length_nm)
        classes = self.experiment.classes
        if known is None or classes is None:
            return {}
        crystal, a_nm = known
        names = zip(classes["class_id"], classes["name"], strict=True)
        lacks = {int(i): vacancies_in(str(name), crystal.chalcogen) for i, name in names}
        if not any(lacks.values()):
            return {}
        asked = creation.question(
            self.tracks,
            sites_per_nm2=crystal.atoms_per_chalcogen_column * 2 / (np.sqrt(3) * a_nm**2),
            reach_nm=MAX_STEP_LATTICES * a_nm,
            atoms_per_column=crystal.atoms_per_chalcogen_column,
            vacancies=lacks,
            by="movie",
            **self.words,
        )
        return {"creation": asked}

    def _dosed(self) -> bool:
        """Tell whether the dose rate of every movie with a frame time is known."""
        movies = self.experiment.movies
        known = movies[movies["frame_time_s"].notna()]
        return bool(len(known) and known["dose_rate_e_per_nm2_s"].notna().all())

    def _of_timed(self, questions: Questions) -> Questions:
        """Return the `questions`, asked of movies with a frame time only."""
        return {name: self.of_timed(question) for name, question in questions.items()}


def known_crystal(material: str, hop_length_nm: float | None) -> tuple[Material, float] | None:
    """Return the material of a run and its lattice constant [nm].

    None where no lattice was seen, or the name (of a run with a given model) is of no known
    material.
    """
    if hop_length_nm is None:
        return None
    try:
        return material_named(material), hop_length_nm
    except ValueError:
        return None


def at_rest_error_nm(diffusion: pd.DataFrame) -> float | None:
    """Return how well [nm] a particle at rest is seen, by the table ``diffusion``.

    None where the table does not say.
    """
    sigma_nm = float(diffusion["sigma_nm"].where(diffusion["sigma_nm"] > 0).median())
    return sigma_nm if sigma_nm > 0 else None


def _through(view: Callable[[Any], Any], questions: Questions) -> Questions:
    return {name: question.through(view) for name, question in questions.items()}
