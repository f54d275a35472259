"""What the sites of a movie say: traces in one numbering, correlations, hops and chains of dopants.

The pixel pass keeps what each frame shows of its sites, in that frame's own numbers (table
``signals``). When the drift is known they get the numbers of the movie, block by block: one Zarr
array (t, site) and one table ``sites`` for each movie, and all that follows from them. One movie is
one task; no pixel is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.config import RunConfig, SitesSection
from stemkin.detection.site_rows import LATTICE_COLUMNS, lattice_in, seen_in
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.names import folder_name
from stemkin.pipeline.both_answers import both_answers
from stemkin.pipeline.model import load_model
from stemkin.pipeline.pooled_dopants import longest_stretch, pooled_rates
from stemkin.pipeline.tracks import analysed_movies
from stemkin.progress import Watch
from stemkin.results.journal import Journal
from stemkin.results.quarantine import standing_prints
from stemkin.results.reading import site_traces_kept
from stemkin.results.store import MOVIE_TABLES, SIGNALS, SITE_TRACES, Block, Store, fingerprint
from stemkin.schedulers.active import here_alone
from stemkin.schedulers.streams import results
from stemkin.sites import dopant_chains, dopants_of, hopping, lattice_correlation, occupancy
from stemkin.sites.numbering import Numbering
from stemkin.sites.pixels import depth_seen_by, said_of_grains, site_judge
from stemkin.traces import SiteTraces

STAGE_VERSION = 2
"""Raised when the same signals would give other numbers than before."""

NUMBERS = ("hopping", "dopant_rates", "dopant_transitions")
"""Small tables of all movies together; the rows of each movie are kept in `OF_MOVIES`."""

TRACES_SUM = "traces_sha256"
"""Under this name the table ``sites`` of a movie keeps the checksum of its traces."""

OF_MOVIES = "site_numbers"
"""Folder of the rows of `NUMBERS` of each movie."""

SEEN_SHARE = 0.5
"""A site that fewer of the frames judge in which it is in view lies in a hole."""


@dataclass(frozen=True)
class SitesTask:
    """All that a worker needs for the sites of one movie; `depth` as of `SiteTraces`."""

    movie: dict[str, Any]
    blocks: tuple[Block, ...]
    store: Store
    settings: SitesSection
    confidence: float
    depth: float | None


@dataclass(frozen=True, eq=False)
class SitesSummary:
    """What comes back from one movie: its rows of `NUMBERS`, and what there is to say.

    `n_dopant_signals` tells how many signals its dopants have.
    """

    movie: str
    made_of: str
    reused: bool
    n_sites: int
    n_dopant_signals: int
    warnings: list[str]
    found: dict[str, pd.DataFrame] = field(repr=False)


def check_judges_sites(config: RunConfig, *, given: bool) -> None:
    """Refuse to learn a detector that judges no sites where their traces are asked for.

    Raises
    ------
    ValueError
        If it would; of a model that is `given` this is asked when it is loaded.
    """
    if config.sites.traces and not given and config.learn.detector != "fourier":
        msg = (
            f"traces of sites need a detector that judges the sites of a lattice, but detector is "
            f"{config.learn.detector!r} in [learn]; use 'fourier', or leave traces out of [sites]"
        )
        raise ValueError(msg)


def follow_sites(
    store: Store, journal: Journal, config: RunConfig, record: dict[str, Any], watch: Watch
) -> None:
    """Write traces, sites and what follows from them, of every movie. Computes once.

    Movies whose signals and drift did not change are kept. Nothing is done, and what an earlier run
    left is removed, where no traces are asked for.
    """
    record.update({"reused": 0, "sites": 0})
    if not config.sites.traces:
        for name in (
            *(f"{name}.parquet" for name in NUMBERS),
            *MOVIE_TABLES,
            OF_MOVIES,
            SITE_TRACES,
        ):
            store.remove(name)
        return
    movies = sorted(analysed_movies(journal), key=lambda movie: str(movie["movie"]))
    watch.stage("sites", len(movies))
    depth = depth_seen_by(site_judge(load_model(store, as_learned=True)))
    tasks = (
        SitesTask(
            movie,
            tuple(store.blocks(SIGNALS, movie["movie"])),
            store,
            config.sites,
            config.kinetics.confidence,
            depth,
        )
        for movie in movies
    )
    every: dict[str, SitesSummary] = {}
    for _, summary in results(sites_to_store, tasks, retries=config.run.retries):
        watch.advance()
        every[summary.movie] = summary
        record["reused"] += summary.reused
        record["sites"] += summary.n_sites
    for name in sorted(every):
        for sentence in every[name].warnings:
            journal.warn(sentence)
    made_of = fingerprint("sites", sorted((name, one.made_of) for name, one in every.items()))
    files = [(f"{name}.parquet",) for name in NUMBERS]
    if set(standing_prints(store, files, made_of, was_done=False).values()) == {made_of}:
        return
    n_signals = {name: one.n_dopant_signals for name, one in sorted(every.items())}
    pooled, said = pooled_rates(store, config, {name: n for name, n in n_signals.items() if n})
    for sentence in said:
        journal.warn(sentence)
    for name in NUMBERS:
        parts = [pooled.get(name, tables.empty(name))]
        parts += [every[movie].found[name] for movie in sorted(every)]
        rows = pd.concat([part for part in parts if len(part)] or [tables.empty(name)])
        store.write_table(rows.reset_index(drop=True), made_of, f"{name}.parquet")


def compare_answers(store: Store, config: RunConfig) -> None:
    """Write the table ``both_answers`` of a run. Computes once: from three small tables."""
    file = "both_answers.parquet"
    if not config.sites.traces:
        store.remove(file)
        return
    files = [f"{name}.parquet" for name in ("diffusion", "hopping", "classes")]
    diffusion, hops, classes = (store.read_table(name) for name in files)
    made_of = fingerprint("both_answers", STAGE_VERSION, [store.made_of(name) for name in files])
    rows = both_answers(diffusion, hops, classes, config.learn.material)
    store.write_table(rows, made_of, file)


@one_thread
def sites_to_store(task: SitesTask) -> SitesSummary:
    """Number the sites of one movie, and write all that follows from their traces. Computes once."""
    store, name = task.store, str(task.movie["movie"])
    parts = [store.block_made_of(SIGNALS, block) for block in task.blocks]
    drift = [store.block_made_of("frames", block) for block in store.blocks("frames", name)]
    settings = (task.settings.model_dump(), task.confidence, task.depth)
    made_of = fingerprint("sites", STAGE_VERSION, parts, drift, settings, task.movie)
    files = [_place(table, name) for table in (*MOVIE_TABLES, *NUMBERS)]
    kept = standing_prints(store, files, made_of, was_done=False)
    note = store.note(*_place("sites", name))
    n_frames = max((block.stop for block in task.blocks), default=0)
    traces_sum = store.checksum_of_folder(*traces_place(name))
    if set(kept.values()) == {made_of} and note.get(TRACES_SUM) == traces_sum:
        found = {one: store.read_table(*_place(one, name)) for one in NUMBERS}
        said = json.loads(note["warnings"])
        n_signals = 3 * n_frames * int(store.note(*_place("dopants", name))["n_rows"])
        return SitesSummary(name, made_of, True, int(note["n_rows"]), n_signals, said, found)
    store.remove(*_place("sites", name))  # written last, it says that all is whole
    with here_alone():
        found, said = _written(task, made_of)
    sites = found["sites"]
    traces_sum = store.checksum_of_folder(*traces_place(name))
    notes = {"warnings": json.dumps(said), "movie": name, TRACES_SUM: traces_sum}
    store.write_table(sites, made_of, *_place("sites", name), **notes)
    n_signals = 3 * n_frames * len(found["dopants"])
    own = {one: found[one] for one in NUMBERS}
    return SitesSummary(name, made_of, False, len(sites), n_signals, said, own)


def _place(table: str, movie: str) -> tuple[str, ...]:
    """Return the file of a table of one movie."""
    if table in NUMBERS:
        return (OF_MOVIES, folder_name(movie), f"{table}.parquet")
    return (table, folder_name(movie), f"{table}.parquet")


def traces_place(movie: str) -> tuple[str, str]:
    """Return the folder of the traces of one movie."""
    return SITE_TRACES, f"{folder_name(movie)}.zarr"


def _written(task: SitesTask, made_of: str) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Write traces and tables of a movie, but the sites; return all tables and what there is to say."""
    found = {name: tables.empty(name) for name in (*MOVIE_TABLES, *NUMBERS)}
    movie, said = str(task.movie["movie"]), []
    frames = task.store.read_movie("frames", movie).sort_values("frame", ignore_index=True)
    anchors = _first_crystals(task, frames)
    if not anchors:
        said.append(
            f"movie {movie!r} has no traces of sites: no good frame shows the lattice of a honeycomb"
        )
    else:
        first, _, other_share = anchors[0]
        grains = said_of_grains(movie, first, other_share)
        if grains:
            said.append(f"{grains}; only the largest crystal is followed")
        crystals = [(frame, lattice) for frame, lattice, _ in anchors]
        traces = _traces(task, frames, Numbering.of(crystals, frames, _shape(task)))
        try:
            _add_numbers(found, traces, task, said)
        except ValueError as error:  # what the verbs refuse is said, and the run goes on
            said.append(f"not all that was asked follows from the sites: {error}")
    for name in (*MOVIE_TABLES[1:], *NUMBERS):
        task.store.write_table(found[name], made_of, *_place(name, movie))
    return found, said


def _shape(task: SitesTask) -> tuple[int, int]:
    return int(task.movie["height_px"]), int(task.movie["width_px"])


def _first_crystals(task: SitesTask, frames: pd.DataFrame) -> list[tuple[int, Lattice, float]]:
    """Return a frame of each stretch that shows a honeycomb: number, lattice, how large another is."""
    good = frames[frames["status"] == tables.OK]
    stretch = dict(zip(good["frame"].tolist(), good["stretch"].tolist(), strict=True))
    columns = ("frame", "other_share", *LATTICE_COLUMNS)
    found: dict[int, tuple[int, Lattice, float]] = {}
    for block in task.blocks:
        for row in _rows(task.store, block, columns):
            lattice, frame = lattice_in(row), int(row["frame"])
            if lattice is not None and frame in stretch:
                found.setdefault(stretch[frame], (frame, lattice, float(row["other_share"])))
    return list(found.values())


def _rows(store: Store, block: Block, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the rows of ``signals`` of a block as dictionaries."""
    file = (SIGNALS, folder_name(block.movie), block.file_name)
    yield from store.read_table(*file, columns=columns).to_dict("records")


def _traces(task: SitesTask, frames: pd.DataFrame, numbering: Numbering) -> SiteTraces:
    """Write the traces of a movie block by block, and return them with the table of their sites."""
    store, movie = task.store, str(task.movie["movie"])
    pixel_size_nm = float(task.movie["pixel_size_nm"])
    path = traces_place(movie)
    longest = max(block.stop - block.start for block in task.blocks)
    begins = frames["frame"][frames["stretch"].diff().fillna(1) != 0].tolist()
    about = {
        "movie": movie,
        "frame_time_s": task.movie["frame_time_s"],
        "lattice_nm": numbering.lattice.spacing_px * pixel_size_nm,
        "depth": task.depth,
        "stretches": begins,
    }
    store.remove(*path)
    n_seen = np.zeros(numbering.n_sites, dtype=np.int64)
    with store.writing(*path):
        array = empty_traces(store.path(*path), (len(frames), numbering.n_sites), longest, about)
        for block in task.blocks:
            rows = [numbering.laid(seen_in(row), int(row["frame"])) for row in _rows(store, block)]
            values = np.stack(rows)
            n_seen += np.isfinite(values).sum(axis=0)
            array[block.start : block.stop] = values
    sites = numbering.sites(pixel_size_nm).assign(
        movie=movie,
        site=np.arange(numbering.n_sites),
        n_seen=n_seen,
        in_hole=n_seen < SEEN_SHARE * numbering.n_in_view,
        beside_dopant=False,
    )
    return site_traces_kept(store, movie, tables.conform(sites, "sites"))


def empty_traces(path: str, shape: tuple[int, int], longest: int, about: dict[str, Any]) -> Any:
    """Create the Zarr array of the traces of a movie. Computes once.

    Parameters
    ----------
    path
        Where.
    shape
        (t, site).
    longest
        Frames of the longest block; a chunk is as long, and all blocks are alike but the last.
    about
        Its attributes.

    Returns
    -------
    The array, float32 and NaN throughout.
    """
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    return zarr.create_array(
        path,
        shape=shape,
        chunks=(longest, shape[1]),
        dtype="float32",
        # signals are whole multiples of a small number: many of their bits are alike
        compressors=(BloscCodec(cname="zstd", shuffle="bitshuffle"), Crc32cCodec()),
        fill_value=float("nan"),
        attributes=about,
    )


def _add_numbers(
    found: dict[str, pd.DataFrame], traces: SiteTraces, task: SitesTask, said: list[str]
) -> None:
    """Add to `found` what follows from the traces of a movie, and to `said` what there is to say."""
    movie, first = traces.movie, 0
    found["sites"] = traces.sites
    if len(traces.stretches) > 1:
        edges = traces.stretches
        traces, number = longest_stretch(traces)
        first = edges[number]
        said.append(
            f"the drift of movie {movie!r} is not known everywhere: of its stretches only number "
            f"{number}, the longest ({traces.n_frames} frames), is correlated"
        )
    traces, dopants = dopants_of(traces)
    found["sites"] = traces.sites
    found["dopants"] = tables.conform(dopants.assign(movie=movie), "dopants")
    correlation = lattice_correlation(traces, max_lag_frames=_max_lag(task, traces, said))
    found["lattice_correlation"] = correlation.table
    found["hopping"] = hopping(correlation, confidence=task.confidence)
    if len(dopants):
        chain = dopant_chains(traces, dopants, confidence=task.confidence)
        found["dopant_rates"] = chain.rates
        found["dopant_transitions"] = chain.transitions
    if task.settings.occupancy:
        rows = occupancy(traces).populations(confidence=task.confidence)
        # frames of a stretch are numbered from its beginning, those of a table from the movie's
        rows["time_s"] += first * (traces.frame_time_s or np.nan)
        rows["frame"] += first
        found["expected_populations"] = tables.conform(rows, "expected_populations")


def _max_lag(task: SitesTask, traces: SiteTraces, said: list[str]) -> int | None:
    """Return the longest lag that is asked for, cut to half of a movie that is too short for it."""
    wanted = task.settings.max_lag_frames
    if wanted is None or wanted < traces.n_frames:
        return wanted
    said.append(
        f"movie {traces.movie!r} has {traces.n_frames} frames, too few for lags up to {wanted}: it is "
        f"correlated up to {traces.n_frames // 2}"
    )
    return max(1, traces.n_frames // 2)
