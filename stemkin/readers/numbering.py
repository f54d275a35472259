"""Numbered files: which names in a folder are those of the frames of one movie, and in what order.

Names count if they differ in one number, or in the hour, minute, second and frame of an in-situ
camera. A file that is missing leaves a gap and shifts nothing; where more numbers are missing than
present, files are counted in their order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

TIMED = re.compile(r"Hour_(\d+)_Minute_(\d+)_Second_(\d+)_Frame_(\d+)", re.IGNORECASE)
"""Names of a OneView or K3 camera in its in-situ mode, which counts frames anew in each second."""


def numbered(names: Sequence[str]) -> dict[int, str] | None:
    """Return frame number → file name; None if the names are not those of one movie's frames.

    >>> numbered(["m2_f07.tif", "m2_f09.tif", "m2_f08.tif"])
    {0: 'm2_f07.tif', 1: 'm2_f08.tif', 2: 'm2_f09.tif'}
    >>> numbered(["a.tif", "b.tif"]) is None
    True
    >>> second = "run_Hour_00_Minute_01_Second_0{}_Frame_000{}.dm4"
    >>> list(numbered([second.format(s, f) for s in (2, 3) for f in (0, 1, 2)]))
    [0, 1, 2, 3, 4, 5]
    """
    if len(names) < 2:
        return None
    numbers: list[int] | None
    timed = [TIMED.search(name) for name in names]
    if None not in timed:
        numbers = _times([found for found in timed if found is not None])
    else:
        numbers = _only_number(names)
    if numbers is None or len(set(numbers)) < len(numbers):
        return None
    # numbers that go up in steps of 10 are counted in these steps, from the lowest one on
    lowest = min(numbers)
    step = math.gcd(*(n - lowest for n in numbers))
    by_number = {(n - lowest) // step: name for n, name in sorted(zip(numbers, names, strict=True))}
    if max(by_number) < 2 * len(names):
        return by_number
    return dict(enumerate(by_number.values()))


def alike(names: Sequence[str]) -> list[list[str]]:
    """Return the names in groups that differ in nothing but numbers.

    >>> alike(["dark.tif", "f1.tif", "f2.tif"])
    [['dark.tif'], ['f1.tif', 'f2.tif']]
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        base = name.rsplit("/", 1)[-1]
        groups.setdefault(tuple(re.split(r"\d+", base)), []).append(name)
    return list(groups.values())


def frames_per_second(names: Sequence[str]) -> int | None:
    """Return how many frames an in-situ camera wrote in a second; None where names do not say it.

    The first second and the last one may not be whole, so that three are needed.
    """
    timed = [TIMED.search(name) for name in names]
    counted: dict[tuple[str | None, ...], int] = {}
    for found in timed:
        if found is None:
            return None
        second = found.group(1, 2, 3)
        counted[second] = counted.get(second, 0) + 1
    whole = set([counted[second] for second in sorted(counted)][1:-1])
    if len(whole) != 1:
        return None
    return whole.pop()


def _times(found: list[re.Match[str]]) -> list[int]:
    """Return the number of each frame by its hour, minute, second and number in the second."""
    values = [tuple(int(part) for part in one.groups()) for one in found]
    first = min(frame for *_, frame in values)
    in_a_second = max(frame for *_, frame in values) - first + 1
    return [
        ((hour * 60 + minute) * 60 + second) * in_a_second + frame - first
        for hour, minute, second, frame in values
    ]


def _only_number(names: Sequence[str]) -> list[int] | None:
    """Return the number in which the names differ; None if they differ in more, or in text."""
    # text and digits alternate: text at even places, digits at odd ones
    parts = [re.split(r"(\d+)", name) for name in names]
    if len({tuple(p[::2]) for p in parts}) > 1:
        return None
    varying = [i for i in range(1, len(parts[0]), 2) if len({int(p[i]) for p in parts}) > 1]
    if len(varying) != 1:
        return None
    return [int(p[varying[0]]) for p in parts]
