"""Defects that hop from site to site and take no site on which another one stands.

The hops of a frame come at random times, so they are made one after the other in random order, each
onto its site if that is free at that moment: a lattice gas in continuous time (Kehr & Binder,
Applications of the Monte Carlo Method in Statistical Physics (1984), ch. 6), exact for a frame of
any length.
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.common.compiling import compiled


@compiled
def hops_in_turn(
    site: np.ndarray,
    replica: np.ndarray,
    flipped: np.ndarray,
    who: np.ndarray,
    direction: np.ndarray,
    steps: np.ndarray,
    taken: np.ndarray,
) -> np.ndarray:
    """Make hops in the order given, and return how far they led.

    Parameters
    ----------
    site
        (n, 2) row and column of each defect's site; in the end that of the new one.
    replica
        (n,) in which world each defect lives.
    flipped
        (n,) on which of the two kinds of sites it stands; in the end of the new one.
    who, direction
        (m,) which defect wants to hop, and in which direction.
    steps
        (2, n_directions, 2) rows and columns of a step from either kind of site.
    taken
        (n_replicas, n_rows, n_columns) whether a defect stands on a site; in the end of the new
        ones. Who leaves on one side comes in on the other.

    Returns
    -------
    (n, 2) rows and columns that each defect went.
    """
    n_rows, n_columns = taken.shape[1:]
    gone = np.zeros((len(site), 2), np.int64)
    for m in range(len(who)):
        i = who[m]
        step = steps[int(flipped[i]), direction[m]]
        row, column = (site[i, 0] + step[0]) % n_rows, (site[i, 1] + step[1]) % n_columns
        if taken[replica[i], row, column]:
            continue
        taken[replica[i], site[i, 0], site[i, 1]] = False
        taken[replica[i], row, column] = True
        site[i, 0], site[i, 1] = row, column
        gone[i, 0] += step[0]
        gone[i, 1] += step[1]
        flipped[i] = not flipped[i]
    return gone
