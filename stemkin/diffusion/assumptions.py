"""Which estimator's assumptions hold: what each takes for granted, and what the data say to that.

The choice is made per class from all movies together, and holds for the rows of each movie too, so
that these can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stemkin.diffusion.methods import Estimate
from stemkin.kernels.common.exact import total
from stemkin.kernels.motion.assumptions import (
    AS_STATED,
    INDEPENDENT,
    MATTERS,
    NO_BLUR,
    ON_LATTICE,
    ONE_MOBILITY,
    SURE,
    Covariances,
)
from stemkin.kernels.motion.hops import TELLING

ASSUMES: Mapping[str, tuple[str, ...]] = {
    "mle": (INDEPENDENT, NO_BLUR, ONE_MOBILITY),
    "hop": (INDEPENDENT, NO_BLUR, ONE_MOBILITY, ON_LATTICE),
    "cve": (INDEPENDENT, ONE_MOBILITY),
    "ols": (INDEPENDENT, ONE_MOBILITY),
}
"""Method → what it takes for granted. Where defects differ in mobility, all but the likelihood give
the mean over what they did."""

AS_TOLD = "blur as told"
OF_THEIR_OWN = "movies of their own"

ON_BALANCE = 2.5
"""Standard errors by which hops must go back and forth: to take the next estimator costs little."""


@dataclass(frozen=True)
class MethodChoice:
    """What the displacements of a class say of each method.

    Attributes
    ----------
    assumes, violated
        Method → its assumptions, and those that the data contradict.
    chosen
        The method whose assumptions hold.
    nearly
        One that is more telling, and was given up on so little that it may be right all the same;
        empty where there is none.
    """

    assumes: Mapping[str, tuple[str, ...]]
    violated: Mapping[str, tuple[str, ...]]
    chosen: str
    nearly: str = ""

    def with_copies(self) -> MethodChoice:
        """Return what is to be said where some movies are copies of others."""
        return replace(
            self,
            assumes={m: (*words, OF_THEIR_OWN) for m, words in self.assumes.items()},
            violated={m: (*words, OF_THEIR_OWN) for m, words in self.violated.items()},
        )

    def columns(self, method: str) -> dict[str, str]:
        """Return what the table says of a method."""
        return {
            "assumes": ", ".join(self.assumes[method]),
            "violated": ", ".join(self.violated[method]),
        }


def weighed(
    covariances: Sequence[np.ndarray],
    hopping: Sequence[Estimate],
    spreading: Sequence[Estimate],
) -> MethodChoice:
    """Return which methods the displacements contradict, and which one they leave.

    Parameters
    ----------
    covariances
        (N_COVARIANCE, 4) sums of `add_covariance`, one for each frame time.
    hopping
        What "hop" says of each; empty where no lattice is known.
    spreading
        What "mle" says of each; empty where it was not asked.
    """
    seen = [Covariances(total(sums)) for sums in covariances]
    found = {word for one in seen for word in one.violated()}
    is_blurred = any(one.blur > 0 for one in seen if one.is_known)
    assumes = dict(ASSUMES)
    told: dict[str, str] = {}
    if is_blurred:  # the likelihood was told so, hops were not
        told[NO_BLUR] = AS_TOLD
    assumes["mle"] = tuple(told.get(word, word) for word in assumes["mle"])
    if any(e.is_stated for e in spreading):
        assumes["mle"] = (*assumes["mle"], AS_STATED)
    offences = dict.fromkeys(assumes, found)
    offences["mle"] = {told.get(word, word) for word in found}
    if any(_misstated(one, e) for one, e in zip(seen, spreading, strict=False)):
        offences["mle"] = offences["mle"] | {AS_STATED}
    exposed: set[str] = set()
    if is_blurred:
        exposed = {NO_BLUR}
    against, surely = (
        found.union(exposed, *(_against_hops(*pair, sure=sure) for pair in _pairs(seen, hopping)))
        for sure in (ON_BALANCE, SURE)
    )
    offences["hop"] = against
    violated = {
        method: tuple(word for word in words if word in offences[method])
        for method, words in assumes.items()
    }
    if _hops_hold(against, hopping):
        return MethodChoice(assumes, violated, "hop")
    chosen, nearly = "mle", ""
    if violated["mle"] and any(one.is_known for one in seen):
        chosen = "cve"
    if _hops_hold(surely, hopping):
        nearly = "hop"
    return MethodChoice(assumes, violated, chosen, nearly)


def _pairs(
    seen: Sequence[Covariances], hopping: Sequence[Estimate]
) -> list[tuple[Covariances, Estimate]]:
    """Return what is seen and what hops say of it, for each frame time; none without a lattice."""
    return list(zip(seen, hopping, strict=False))


def _hops_hold(offences: set[str], hopping: Sequence[Estimate]) -> bool:
    """Tell whether steps lie on the lattice, and nothing would mislead the count of hops."""
    shows_lattice = hopping and all(e.gain > TELLING for e in hopping if e.n_displacements)
    return bool(shows_lattice) and not offences - {ONE_MOBILITY}


def _against_hops(seen: Covariances, hopping: Estimate, *, sure: float) -> set[str]:
    """Return what speaks against independent hops between the sites of a lattice.

    What lies between the shells is localisation error, s². Steps that stay on the lattice and go
    back and forth are told from it by the covariance of neighbours, which would be -s² as well.
    """
    words = set()
    if hopping.gain < -TELLING:
        words.add(ON_LATTICE)
    if not seen.is_known or not np.isfinite(hopping.s2):
        return words
    more = seen.c1 + hopping.s2
    if abs(more) > max(sure * seen.error_of_c1(), MATTERS * seen.c0):
        words.add({True: INDEPENDENT, False: ON_LATTICE}[more < 0])
    return words


def _misstated(seen: Covariances, stated: Estimate) -> bool:
    """Tell whether the localisation error that was told differs from the one that is seen."""
    if not (seen.is_known and stated.is_stated and np.isfinite(stated.s2)):
        return False
    more = abs(seen.localisation_variance() - stated.s2)
    return bool(more > max(SURE * seen.error_of_c1(), MATTERS * seen.c0))
