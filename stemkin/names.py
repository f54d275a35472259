"""Names from outside, in files: what folders are called, and how text stays text in a table."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import quote

LONGEST = 150
"""Characters of a name that is kept whole; file systems take 255, and a suffix is added."""
KEPT = 120
"""So many of a longer one are kept; a checksum of all of it follows."""

LONE_SURROGATE = re.compile("[\ud800-\udfff]")

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would take for a formula."""


def not_a_formula(value: Any) -> Any:
    """Return a text so that no spreadsheet takes it for a formula: with an apostrophe before it.

    >>> not_a_formula("=1+1"), not_a_formula("V_S"), not_a_formula(-2.0)
    ("'=1+1", 'V_S', -2.0)
    """
    if isinstance(value, str) and value.startswith(FORMULAS):
        return f"'{value}"
    return value


def readable(text: str) -> str:
    r"""Return a name or path so that it can be written: bytes that are no text are spelled out.

    A name on disk may be any bytes; Python keeps those that are no UTF-8 as lone surrogates, which
    no table, log or page takes.

    >>> readable("caf\udce9"), readable("café")
    ('caf%E9', 'café')
    """
    return LONE_SURROGATE.sub(_spelled_out, text)


def _spelled_out(found: re.Match[str]) -> str:
    """Return a byte that is no text as ``%E9``, another half of a pair as ``%uD800``."""
    code = ord(found.group())
    if 0xDC80 <= code <= 0xDCFF:
        return f"%{code - 0xDC00:02X}"
    return f"%u{code:04X}"


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
