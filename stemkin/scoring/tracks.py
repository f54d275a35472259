"""Tracks against true defects: association accuracy, identity switches, links found and wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stemkin.scoring.matches import Matches


def association_table(matches: Matches, kinds: Sequence[str]) -> pd.DataFrame:
    """Return how well the identity of defects was kept, per kind and for ``all``.

    Parameters
    ----------
    matches
        Detections and true defects.
    kinds
        Names of the kinds.

    Returns
    -------
    Per row
        `hota` = sqrt(det_a ass_a); `det_a` = TP / (TP + FN + FP); `ass_a`: over matched detections,
        the mean share of the union of its true and its found track that the two have in common;
        `switches`: how often a true defect's found track changes between one sighting and the next;
        `n_links`: steps of true defects from frame to frame, both ends found; `links_found`: the
        share of them within one found track; `n_found_links`, `links_wrong`: links of found tracks
        between consecutive frames with both ends matched, and the share that joins two defects.
        `det_a` of a single kind leaves out false detections, which have none.
    """
    true_id = _codes(matches.true_rows)
    found_id = _codes(matches.found_rows)
    g, p = true_id[matches.true_of], found_id[matches.found_of]
    shared = _pair_counts(g, p)
    n_true, n_found = np.bincount(true_id), np.bincount(found_id)
    accuracy = np.empty(0)
    if len(g):
        accuracy = shared / (n_true[g] + n_found[p] - shared)
    links = _links(matches, g, p)
    rows = {}
    for kind in kinds:
        own, n_missed = matches.kind == kind, int((matches.missed == kind).sum())
        if own.sum() + n_missed:
            rows[kind] = _association_row(accuracy[own], n_missed, links[links["kind"] == kind])
    n_wrong = len(matches.missed) + len(matches.false_class)
    rows["all"] = _association_row(accuracy, n_wrong, links)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("kind")


def _association_row(accuracy: np.ndarray, n_wrong: int, links: pd.DataFrame) -> dict[str, float]:
    """Return one row: `accuracy` (m,) of its matched pairs, beside `n_wrong` missed or false."""
    det_a = len(accuracy) / max(len(accuracy) + n_wrong, 1)
    ass_a = 0.0
    if len(accuracy):
        ass_a = float(accuracy.mean())
    true_links, found_links = links[links["is_true"]], links[links["is_found"]]
    return {
        "hota": float(np.sqrt(det_a * ass_a)),
        "det_a": det_a,
        "ass_a": ass_a,
        "switches": int(links["switch"].sum()),
        "n_links": len(true_links),
        "links_found": float(true_links["is_found"].mean()),
        "n_found_links": len(found_links),
        "links_wrong": float((~found_links["is_true"]).mean()),
    }


def _codes(rows: pd.DataFrame) -> np.ndarray:
    """Return (m,) a number for each track, unique over movies."""
    if rows.empty:
        return np.empty(0, np.int64)
    return np.asarray(rows.groupby(["movie", "particle"], sort=False).ngroup().to_numpy())


def _pair_counts(g: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return (m,) how many pairs have the same two identities as each pair."""
    if len(g) == 0:
        return np.empty(0, np.int64)
    _, which, count = np.unique(np.stack([g, p]), axis=1, return_inverse=True, return_counts=True)
    return np.asarray(count[np.ravel(which)])


def _links(matches: Matches, g: np.ndarray, p: np.ndarray) -> pd.DataFrame:
    """Return one row per step of a true or of a found track between matched sightings.

    A true step joins the sightings of one defect in consecutive frames, both of which were found; a
    found step joins two rows of one found track in consecutive frames, both of which are somebody.
    """
    frame = matches.true_rows["frame"].to_numpy()[matches.true_of]
    seen = pd.DataFrame({"frame": frame, "kind": matches.kind, "g": g, "p": p})
    # Ordered by track and frame, the row above is the same track's sighting before, or another's.
    by_true = seen.sort_values(["g", "frame"], kind="stable")
    before = by_true.shift()
    same = by_true["g"] == before["g"]
    step = same & (by_true["frame"] == before["frame"] + 1)
    kept = by_true["p"] == before["p"]
    true_steps = pd.DataFrame(
        {"kind": before["kind"], "is_true": step, "is_found": step & kept, "switch": same & ~kept}
    )[same]
    by_found = seen.sort_values(["p", "frame"], kind="stable")
    before = by_found.shift()
    in_track = (by_found["p"] == before["p"]) & (by_found["frame"] == before["frame"] + 1)
    wrong = in_track & (by_found["g"] != before["g"])
    wrong_steps = pd.DataFrame(
        {"kind": before["kind"], "is_true": False, "is_found": True, "switch": False}
    )[wrong]
    return pd.concat([true_steps, wrong_steps], ignore_index=True).astype(
        {"is_true": bool, "is_found": bool, "switch": bool}
    )
