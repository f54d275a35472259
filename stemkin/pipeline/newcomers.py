"""Movies that came after the model was learned: do they look like what it was learned from?

A model belongs to its results, so a newcomer is searched and named with it, whatever it shows. Where
it shows something else - another dose, more noise, another crystal, detections that no class
explains - its numbers rest on a model of other movies, and that is said.

>>> Seen(n=200, n_unnamed=90, noise=2.4).unlike({"n_detections": 100, "n_unexplained": 4})
['45 % of its detections have no name (4 % in the sample)', 'defects stand out 2.4 times less']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.materials import material_named
from stemkin.movie import Movie
from stemkin.pipeline.crystals import CrystalSummary
from stemkin.pipeline.model import load_model
from stemkin.results.journal import Journal
from stemkin.results.store import Store

DOSE_WITHIN, NOISE_WITHIN, LATTICE_WITHIN = 1.5, 1.4, 1.1
"""Factors within which dose, noise and lattice constant count as those of the sample."""
UNNAMED_MORE, UNNAMED_BEYOND = 2.0, 0.05
"""An unusual share of detections without a name is so many times the sample's, and so much more."""
ENOUGH = 30
"""Of fewer detections nothing is said."""
NAMED = 3
"""So many movies are named in the warning; ``run.json`` lists all."""


@dataclass(frozen=True)
class Seen:
    """What the pixel pass saw of a movie.

    Attributes
    ----------
    n, n_unnamed
        Detections, and those that no class explains.
    noise
        How much noisier than the sample its detections are taken to be, on average.
    dose_e_per_nm2
        Of a frame; None where it is not known.
    lattice_nm
        Lattice constant; None where it shows none.
    """

    n: int
    n_unnamed: int
    noise: float
    dose_e_per_nm2: float | None = None
    lattice_nm: float | None = None

    def unlike(self, sample: Mapping[str, Any]) -> list[str]:
        """Return in words what differs from the sample of a model, by the model's `report`."""
        found = []
        doses = sample.get("dose_e_per_nm2")
        if self.dose_e_per_nm2 is not None and doses:
            low, high = min(doses), max(doses)
            if not low / DOSE_WITHIN <= self.dose_e_per_nm2 <= high * DOSE_WITHIN:
                found.append(
                    f"{self.dose_e_per_nm2:.3g} e/nm² per frame ({_span(low, high)} in the sample)"
                )
        a_nm = sample.get("lattice_nm")
        if a_nm and self.lattice_nm and not _alike(self.lattice_nm / a_nm, LATTICE_WITHIN):
            found.append(f"a lattice of {self.lattice_nm:.4f} nm ({a_nm:.4f} nm in the sample)")
        if self.n < ENOUGH:
            return found
        share, usual = self.n_unnamed / self.n, _unnamed_share(sample)
        error = np.sqrt(max(share * (1 - share), 1 / self.n) / self.n)
        if share - 3 * error > UNNAMED_MORE * usual and share > usual + UNNAMED_BEYOND:
            found.append(
                f"{100 * share:.0f} % of its detections have no name "
                f"({100 * usual:.0f} % in the sample)"
            )
        if not self.noise > 0:
            found.append("no noise in what was found")
        elif not _alike(self.noise, NOISE_WITHIN):
            factor, word = self.noise, "less"
            if factor < 1:
                factor, word = 1 / factor, "more"
            found.append(f"defects stand out {factor:.1f} times {word}")
        return found


def _alike(ratio: float, within: float) -> bool:
    return 1 / within <= ratio <= within


def _span(low: float, high: float) -> str:
    """Return a range in words."""
    if _alike(high / low, 1.01):
        return f"{low:.3g}"
    return f"{low:.3g} to {high:.3g}"


def _unnamed_share(sample: Mapping[str, Any]) -> float:
    """Return the share of the sample's detections that no class explains."""
    return float(sample.get("n_unexplained", 0)) / max(1, int(sample.get("n_detections", 0)))


def say_who_differs(
    movies: Sequence[Movie],
    searched: Mapping[str, tuple[int, int, float]],
    crystals: Mapping[str, CrystalSummary],
    store: Store,
    journal: Journal,
    material: str,
) -> None:
    """Warn of movies that the model was not learned from and that look otherwise than its sample.

    Parameters
    ----------
    movies
        Those of the run.
    searched
        Of movies that were searched now: detections, those without a name, mean noise.
    crystals
        What came of each movie's crystal.
    store, journal
        Where the model is; ``run.json`` gets an entry ``unlike``, from movie to reasons, and a
        warning. What an earlier run said of a movie stays as long as the movie's rows do.
    material
        Name of what the run takes the specimen for.
    """
    learn = journal.content["stages"]["learn"]
    names = {movie.name for movie in movies}
    unlike: dict[str, list[str]] = {}
    if learn.get("reused") or not learn.get("taught"):
        before = journal.before.get("unlike")
        if isinstance(before, dict) and learn.get("reused"):
            unlike = {name: said for name, said in before.items() if name in names}
        report = load_model(store, as_learned=True).report
        taught = learn.get("taught") or {}
        for movie in movies:
            if movie.name not in searched or movie.name in taught:
                continue
            unlike.pop(movie.name, None)
            seen = _seen(movie, searched[movie.name], crystals.get(movie.name))
            reasons = seen.unlike(report)
            if reasons:
                unlike[movie.name] = reasons
        _warn_of_material(report.get("material"), material, journal)
    journal.content["unlike"] = unlike
    if unlike:
        journal.warn(_sentence(unlike, store))


def _seen(movie: Movie, counted: tuple[int, int, float], crystal: CrystalSummary | None) -> Seen:
    """Put together what is known of a movie."""
    lattice_nm = None
    if crystal is not None and crystal.lattice_px is not None and movie.pixel_size_nm is not None:
        lattice_nm = crystal.lattice_px * movie.pixel_size_nm
    return Seen(*counted, movie.dose_e_per_nm2, lattice_nm)


def _warn_of_material(learned: Any, material: str, journal: Journal) -> None:
    """Warn where a model was learned for another material than the run's."""
    if not learned:
        return
    try:
        wanted = material_named(material)
    except ValueError:
        return  # a name of the user's own says nothing
    if learned != f"{wanted.formula}:{wanted.dopant}":
        journal.warn(
            f"the model was learned for {learned}, and this run is of {material}: its names are "
            f"those of {learned}; say --material {learned}, or learn again with --relearn"
        )


def _sentence(unlike: Mapping[str, Sequence[str]], store: Store) -> str:
    """Say who differs, in what, and what can be done."""
    told = [f"{name} ({', '.join(said)})" for name, said in list(unlike.items())[:NAMED]]
    more = ""
    if len(unlike) > NAMED:
        more = f" and {len(unlike) - NAMED:,} more movies"
    verb = "differs" if len(unlike) == 1 else "differ"
    return (
        f"{'; '.join(told)}{more} {verb} from what the model was learned from, and what is found "
        f"and named there rests on it; `--relearn` (with the command of this run, -o {store.root}) "
        "learns from all movies as they are now, and searches all of them again"
    )
