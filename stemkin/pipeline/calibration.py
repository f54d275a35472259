"""Doubts of a calibration, said before any number rests on it: by the file, and by the crystal.

A pixel size in the wrong unit makes every length wrong by a power of ten, and nothing else. The
crystal tells: its lattice constant is known.

>>> doubt_of_lattice(315.3, 30.0, material_named("WS2"))
'shows a lattice constant of about 320 nm with pixels of 30 nm, but that of WS2 is 0.3153 nm: is the pixel size in pm? Lengths are in nm everywhere'
>>> doubt_of_override("pixel_size_nm", given=30.0, stated=0.03)
'was given a pixel size of 30 nm, but the file says 0.03 nm, 1,000 times less'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stemkin.materials import Material, material_named
from stemkin.movie import Movie, doubts_of
from stemkin.results.journal import Journal

UNLIKE = 2.0
"""What differs by a larger factor is doubted."""
POWER_WITHIN = 1.5
"""What is a power of ten off within this factor is taken for a wrong unit."""
QUANTITIES = {
    "pixel_size_nm": ("pixel size", "nm"),
    "frame_time_s": ("frame time", "s"),
    "dose_rate_e_per_nm2_s": ("dose rate", "e/nm²/s"),
}
UNITS = {
    3: "is the pixel size in pm?",
    1: "is the pixel size in Å?",
    -3: "is the pixel size in µm?",
}
"""Power of ten by which a lattice constant in nm is too large → what may be the matter."""
WRONG_POWER = "is the pixel size off by a power of ten?"
NAMED = 3
"""So many movies are named in a warning."""


def say_doubts(
    movies: Sequence[Movie],
    lattices_px: Mapping[str, float | None],
    material: str,
    journal: Journal,
) -> None:
    """Warn of calibrations that the file or the crystal contradicts, movies of one doubt together.

    Parameters
    ----------
    movies
        Those of the run.
    lattices_px
        Lattice constant [px] of each movie's crystal, None where it shows none.
    material
        Name of what the run takes the specimen for.
    journal
        Gets the warnings.
    """
    for sentence in doubts_together(movies, lattices_px, material):
        journal.warn(sentence)


def doubts_together(
    movies: Sequence[Movie], lattices_px: Mapping[str, float | None], material: str
) -> list[str]:
    """Return the doubts of all movies as sentences, movies of one doubt in one of them."""
    expected, said = material_named(material), dict[str, list[str]]()
    for movie in movies:
        for doubt in _doubts_of_movie(movie, lattices_px.get(movie.name), expected):
            said.setdefault(doubt, []).append(movie.name)
    sentences = []
    for doubt, names in said.items():
        named = ", ".join(names[:NAMED])
        if len(names) > NAMED:
            named += f" and {len(names) - NAMED:,} more movies"
        sentences.append(f"{named}: {doubt}")
    return sentences


def _doubts_of_movie(movie: Movie, lattice_px: float | None, expected: Material) -> list[str]:
    """Return all doubts of one movie's calibration; `lattice_px` is its crystal's, or None."""
    found = doubts_of(movie.calibration)
    given, stated = movie.calibration.known(), movie.reader.calibration.known()
    for name in QUANTITIES:
        if name in given and name in stated:
            found.append(doubt_of_override(name, given=given[name], stated=stated[name]))
    if lattice_px is not None and movie.pixel_size_nm is not None:
        size_nm = movie.pixel_size_nm
        found.append(doubt_of_lattice(lattice_px * size_nm, size_nm, expected))
    return [doubt for doubt in found if doubt]


def doubt_of_override(name: str, *, given: float, stated: float) -> str:
    """Say that a value differs much from what the file states; nothing where it does not."""
    ratio = given / stated
    if 1 / UNLIKE <= ratio <= UNLIKE:
        return ""
    what, unit = QUANTITIES[name]
    factor, word = ratio, "less"
    if ratio < 1:
        factor, word = 1 / ratio, "more"
    return (
        f"was given a {what} of {given:g} {unit}, but the file says {stated:g} {unit}, "
        f"{_rounded(factor)} times {word}"
    )


def _rounded(factor: float) -> str:
    """Return a factor in three digits, never as a power of ten."""
    if factor >= 100:
        return f"{factor:,.0f}"
    return f"{factor:.3g}"


def doubt_of_lattice(a_nm: float, pixel_size_nm: float, expected: Material) -> str:
    """Say that a crystal's lattice constant is not the material's; nothing where it may be."""
    ratio = a_nm / expected.a_nm
    if 1 / UNLIKE <= ratio <= UNLIKE:
        return ""
    power = round(math.log10(ratio))
    may_be = "check the pixel size, or say what the specimen is (material in [learn])"
    if power != 0 and abs(math.log10(ratio) - power) < math.log10(POWER_WITHIN):
        may_be = f"{UNITS.get(power, WRONG_POWER)} Lengths are in nm everywhere"
    return (
        f"shows a lattice constant of about {float(f'{a_nm:.2g}'):g} nm with pixels of {pixel_size_nm:g} nm, but that "
        f"of {expected.formula} is {expected.a_nm:g} nm: {may_be}"
    )
