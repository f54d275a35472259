"""What of a results folder follows from what: the one table by which a lost file is made again.

    movies ──▶ model, crystals ──▶ rows of blocks ──▶ areas, frames, tracks ──▶ numbers ──▶ report

Whatever needs pixels is made again by ``stemkin run``; the rest also by the commands that read none
(``stemkin link``, ``stemkin kinetics``, ``stemkin check --mend``).
"""

from __future__ import annotations

from stemkin.results.store import (
    MOVIE_TABLES,
    PIXEL_TABLES,
    RUN_FILE,
    SIGNALS,
    SITE_TRACES,
    THUMBNAILS,
)

PIXELS = "pixels"
"""What only the movies themselves hold."""

FOLLOWS_FROM: dict[str, tuple[str, ...]] = {
    RUN_FILE: (PIXELS,),
    "model": (PIXELS,),
    "crystals": (PIXELS,),
    **dict.fromkeys((*PIXEL_TABLES, THUMBNAILS, SIGNALS, "maps"), (PIXELS, "model", "crystals")),
    "gallery": (PIXELS, "frames", "detections"),
    **dict.fromkeys(("injected", "efficiencies"), (PIXELS, "model", "crystals")),
    "regions": ("breaks",),
    "frames": ("steps",),
    "tracks": ("steps", "detections"),
    "whole_tracks": ("tracks",),
    **dict.fromkeys((*MOVIE_TABLES, SITE_TRACES), (SIGNALS, "frames")),
    "phases": ("regions",),
    "sums": ("tracks", "whole_tracks", "frames", "model"),
    "numbers": (
        *("model", "frames", "detections", "neighbours", "tracks", "whole_tracks"),
        "efficiencies",
    ),
    "self_check": ("model", "numbers"),
    "report": ("numbers", "tracks", "thumbnails", "gallery"),
    "headers.json": (),
}
"""Each part of a results folder, and what it is made of; a file in the folder itself that is not
listed is one of the `numbers`. What headers said is remembered for speed: who misses it reads the
headers."""


def part_of_folder(place: str) -> str:
    """Return the part of a results folder to which a file belongs.

    Parameters
    ----------
    place
        The file's path within the folder.

    Examples
    --------
    >>> part_of_folder("tracks/a/000000000-000000004.parquet"), part_of_folder("msd.parquet")
    ('tracks', 'numbers')
    """
    part = place.split("/", maxsplit=1)[0].removesuffix(".parquet").removesuffix(".html")
    return part if part in FOLLOWS_FROM else "numbers"


def needs_pixels(place: str) -> bool:
    """Tell whether a file can be made again from the movies alone.

    Parameters
    ----------
    place
        The file's path within the folder.

    Examples
    --------
    >>> needs_pixels("steps/a/000000000-000000004.parquet"), needs_pixels("tracks/a/b.parquet")
    (True, False)
    """
    return PIXELS in FOLLOWS_FROM[part_of_folder(place)]
