"""What a run asks of its tracks: of the rows as they are, and of the null controls made of them.

Every question is asked with others in one pass (`stemkin.rows.passes`), so a track file is read
three times in all: once for all that needs nothing else, once for the hidden states, and once for
the controls that need to know how well a particle at rest is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.config import KineticsSection
from stemkin.controls import at_rest, in_random_order
from stemkin.diffusion import fit_diffusion, gaussianity, hop_rates, msd
from stemkin.kinetics import (
    abundances,
    beam_cross_sections,
    creation,
    dwell_times,
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
    """

    tracks: Any
    experiment: Experiment
    settings: KineticsSection
    hop_length_nm: float | None
    material: str
    timed: Collection[str] | None = None

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
        motion = {"method": self.methods(), "hop_length_nm": self.hop_length_nm}
        found: Questions = {
            "dwell_times": ask(dwell_times, by="movie"),
            "survival": ask(survival),
            "msd": msd.question(
                self.tracks,
                max_lag_frames=settings.max_lag_frames,
                by="movie",
                experiment=self.experiment,
            ),
            "transitions": ask(transitions, by="movie", lag_frames=settings.lag_frames),
            "pooled": ask(transitions, lag_frames=lags),
            "diffusion": ask(fit_diffusion, by="movie", **motion),
        }
        if self._dosed():
            found["beam_transitions"] = ask(beam_cross_sections)
        if self.hop_length_nm is not None:
            found["hop_rates"] = ask(hop_rates, by="movie", hop_length_nm=self.hop_length_nm)
            found["gaussianity"] = gaussianity.question(
                self.tracks, by="movie", experiment=self.experiment
            )
        found |= self._creation()
        return self._of_timed(found) | self._of_every_movie()

    def shuffled(self) -> Questions:
        """Return what is asked of the tracks with their rows in random order of time."""
        ask = self.ask
        spread = [m for m in ("mle", "cve") if m in self.settings.diffusion_methods]
        found: Questions = {
            "null_transitions": ask(transitions, by="movie", lag_frames=self.settings.lag_frames),
            "null_dwell_times": ask(dwell_times, by="movie"),
            "null_diffusion": ask(fit_diffusion, by="movie", method=spread),
        }
        return self._of_timed(_through(partial(in_random_order, seed=0), found))

    def misnamed(self, confusion: np.ndarray) -> Questions:
        """Return what is asked of defects that never move nor change but are misnamed.

        Parameters
        ----------
        confusion
            (k, k) probability that class i (row) is named j.
        """
        lag = self.settings.lag_frames
        found: Questions = {"null_static_transitions": self.ask(transitions, lag_frames=lag)}
        reach_nm = self.reach_nm()
        if reach_nm is not None:
            found["null_meetings"] = meetings.question(self.tracks, reach_nm=reach_nm)
        return _through(at_rest(sigma_nm=0.0, confusion=confusion, seed=1), found)

    def immobile(self, sigma_nm: float) -> Questions:
        """Return what is asked of particles at rest, seen with an error of `sigma_nm`.

        It needs a lattice.
        """
        lattice = {"hop_length_nm": self.hop_length_nm, "by": "movie"}
        found = {
            "at_rest": self.ask(fit_diffusion, method=("hop",), **lattice),
            "null_hop_rates": self.ask(hop_rates, **lattice),
        }
        return _through(at_rest(sigma_nm=sigma_nm), found)

    def of_timed(self, question: Question[Any]) -> Question[Any]:
        """Return the `question`, asked of movies with a frame time only."""
        if self.timed is None:
            return question
        return question.through(partial(rows_of_movies, movies=frozenset(self.timed)))

    def methods(self) -> list[Any]:
        """Return the methods by which D is estimated; hops need a lattice."""
        methods = self.settings.diffusion_methods
        return [m for m in methods if m != "hop" or self.hop_length_nm is not None]

    def reach_nm(self) -> float | None:
        """Return within which reach [nm] tracks meet: the one asked for, or one hop.

        None where neither is known.
        """
        if self.settings.meeting_reach_nm is not None or self.hop_length_nm is None:
            return self.settings.meeting_reach_nm
        return MEETING_LATTICES * self.hop_length_nm

    def _of_every_movie(self) -> Questions:
        """Return what needs no frame time."""
        found: Questions = {"abundances": self.ask(abundances, by="movie")}
        reach_nm = self.reach_nm()
        if reach_nm is not None:
            found["meetings"] = meetings.question(self.tracks, reach_nm=reach_nm)
        return found

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
