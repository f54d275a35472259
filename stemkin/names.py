"""Names of movies' files and folders: one answer for every room that writes one."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

LONGEST = 150
"""Characters of a name that is kept whole; file systems take 255, and a suffix is added."""
KEPT = 120
"""So many of a longer one are kept; a checksum of all of it follows."""


def folder_name(movie: str) -> str:
    """Return a folder name for `movie`: no two movies share one, and none leaves its parent folder.

    >>> folder_name("stack 4"), folder_name("../etc"), folder_name("µ/1")
    ('stack 4', '%2E.%2Fetc', '%C2%B5%2F1')
    >>> len(folder_name("a" * 300))
    145
    """
    name = quote(movie, safe=" -_+=(),.@")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > LONGEST:
        name = f"{name[:KEPT]}-{hashlib.sha256(movie.encode()).hexdigest()[:24]}"
    return name or "%"
