"""Where the last steps of a slow search lead together: Anderson's mixing.

A search that goes from x to g(x) and ends where g(x) = x comes closer by the same factor each time.
The differences of its last steps say along which ways; what combination of them makes the next step
vanish, if g were linear, is where it would end.

Source: Anderson, J. ACM 12, 547 (1965); Walker & Ni, SIAM J. Numer. Anal. 49, 1715 (2011), eq. 2.2.

>>> def halfway(x):
...     return np.array([[0.9, 0.05], [0.0, 0.5]]) @ x + 1.0
>>> memory, x = Memory(), np.zeros(2)
>>> for _ in range(4):
...     mixed = memory.mixed(x, halfway(x))
...     x = halfway(x) if mixed is None else mixed
>>> x.round(9).tolist()
[11.0, 2.0]
"""

from __future__ import annotations

import numpy as np

MOST_KEPT = 8
"""Steps that are remembered."""
LONGEST = 100.0
"""So many steps at once are taken at most where steps grow."""
TELLING = 1e-9
"""Ways that differ by less than this share of the longest say nothing."""


class Memory:
    """The last steps of a search, and how far along their way one may go."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.places: list[np.ndarray] = []
        self.ends: list[np.ndarray] = []
        self.trust = 1.0

    def judged(self, *, good: bool) -> None:
        """Trust where the steps lead more where it was good to go there, else less."""
        if good:
            self.trust = min(2 * self.trust, 1.0)
        else:
            self.trust /= 4

    def mixed(self, place: np.ndarray, end: np.ndarray) -> np.ndarray | None:
        """Remember a step, and return where the last ones lead together; None of a single one.

        Parameters
        ----------
        place, end
            (n,) where the step begins, and where it leads to.
        """
        self.places = [*self.places[-MOST_KEPT:], place]
        self.ends = [*self.ends[-MOST_KEPT:], end]
        if len(self.places) < 2:
            return None
        ends = np.array(self.ends)
        steps = ends - np.array(self.places)
        weights = np.linalg.lstsq(np.diff(steps, axis=0).T, steps[-1], rcond=TELLING)[0]
        step, way = steps[-1], -(weights @ np.diff(ends, axis=0))
        if way @ step < 0:
            # Steps grow: they leave a saddle, which is where they would have begun. Go on as they
            # do, by as many as it takes them to double.
            bend = step - steps[-2]
            way = step * min(np.sqrt((step @ step) / max(bend @ bend, 1e-300)), LONGEST)
        return np.asarray(end + self.trust * way)
