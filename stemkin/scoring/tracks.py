"""Tracks against true defects: association accuracy, identity switches, links found and links
wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stemkin.scoring.detections import Matches


def association_table(matches: Matches, kinds: Sequence[str]) -> pd.DataFrame:
    """Return how well the identity of defects was kept, per kind and for ``all``.

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
    shared = _pair_table(true_id[matches.true_of], found_id[matches.found_of])
    n_true, n_found = np.bincount(true_id), np.bincount(found_id)
    g, p = true_id[matches.true_of], found_id[matches.found_of]
    accuracy = shared / (n_true[g] + n_found[p] - shared) if len(g) else np.empty(0)
    links = _links(matches, g, p)
    rows = {}
    for kind in (*kinds, "all"):
        own = np.ones(len(g), bool) if kind == "all" else matches.kind == kind
        n_missed = len(matches.missed) if kind == "all" else int((matches.missed == kind).sum())
        if own.sum() + n_missed == 0 and kind != "all":
            continue
        n_false = len(matches.false_class) if kind == "all" else 0
        tp = int(own.sum())
        det_a = tp / max(tp + n_missed + n_false, 1)
        ass_a = float(accuracy[own].mean()) if tp else 0.0
        some = links if kind == "all" else links[links["kind"] == kind]
        true_links, found_links = some[some["is_true"]], some[some["is_found"]]
        rows[kind] = {
            "hota": float(np.sqrt(det_a * ass_a)),
            "det_a": det_a,
            "ass_a": ass_a,
            "switches": int(some["switch"].sum()),
            "n_links": len(true_links),
            "links_found": float(true_links["is_found"].mean()) if len(true_links) else np.nan,
            "n_found_links": len(found_links),
            "links_wrong": float((~found_links["is_true"]).mean()) if len(found_links) else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("kind")


def _codes(rows: pd.DataFrame) -> np.ndarray:
    """Return (m,) a number for each track, unique over movies."""
    if rows.empty:
        return np.empty(0, np.int64)
    return np.asarray(rows.groupby(["movie", "particle"], sort=False).ngroup().to_numpy())


def _pair_table(g: np.ndarray, p: np.ndarray) -> np.ndarray:
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
    true = matches.true_rows.iloc[matches.true_of]
    seen = pd.DataFrame(
        {
            "movie": true["movie"].to_numpy(),
            "frame": true["frame"].to_numpy(),
            "kind": matches.kind,
            "g": g,
            "p": p,
        }
    )
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
    step = (
        (by_found["p"] == before["p"])
        & (by_found["frame"] == before["frame"] + 1)
        & (by_found["g"] != before["g"])
    )
    wrong_steps = pd.DataFrame(
        {"kind": before["kind"], "is_true": False, "is_found": True, "switch": False}
    )[step]
    return pd.concat([true_steps, wrong_steps], ignore_index=True).astype(
        {"is_true": bool, "is_found": bool, "switch": bool}
    )
