"""Tables of tracks with a known answer, made without frames: fast enough to repeat by the hundred.

Defects stand or move in a plane, change class, come and go, and are watched through a field whose
border cuts their tracks. Each row is seen with an error of place, may be missed or misnamed, and
rows that are no defect are among them. All defects of all replicas take a frame's step at once, so
200 movies of 6,000 rows each take seconds.

>>> movies = pd.DataFrame(
...     {"movie": ["m"], "n_frames": 20, "height_px": 512, "width_px": 512}
... ).assign(pixel_size_nm=0.03, frame_time_s=1.0)
>>> world = TrackWorld(densities_per_nm2=(0.1,), D_nm2_per_s=(0.01,), sigma_nm=0.02)
>>> tracks = simulate_tracks(world, movies, n_replicas=2, seed=1)
>>> tracks.rows["movie"].unique().tolist(), tracks.experiment.movies["replica"].tolist()
(['0000 m', '0001 m'], [0, 1])

**What is exact.** Steps of the chain of classes are drawn from exp(Q t), hops from a Poisson
number, Brownian steps from a normal one, and what an exposure averages from their joint law: a
frame time may be as long as one likes. A defect that wanders off comes back on the other side of a
frame of width `margin_nm` around the field, with a name of its own.

**What is left out.** Defects do not bind, and all of a class are alike (two kinds that are named
alike are two classes with one name: `confusion`). That they stand in each other's way (`excluding`)
and that links take one for the other (`wrong_links`) is there where it is asked for; whatever else
depends on neighbours is asked of `simulate_movie`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stemkin.simulation.lattice_gas import hops_in_turn
from stemkin.simulation.track_worlds import DIRECTIONS, TrackWorld
from stemkin.tables import Experiment, conform

SAFE_STEPS = 4.0
"""The margin around the field, in lattice constants and in steps of a frame time."""
MISTAKEN = 1.5
"""Defects within so many lattice constants may be taken for each other (`wrong_links`)."""


@dataclass(frozen=True, eq=False)
class SimulatedTracks:
    """Tracks with a known answer.

    Attributes
    ----------
    rows
        pandas table ``tracks``.
    experiment
        Calibration of the movies; its table ``movies`` has a column ``replica``.
    """

    rows: pd.DataFrame
    experiment: Experiment


def simulate_tracks(
    world: TrackWorld,
    movies: pd.DataFrame,
    *,
    n_replicas: int = 1,
    seed: int | tuple[int, ...] = 0,
) -> SimulatedTracks:
    """Simulate tracks of movies with a known answer, without frames. Computes once.

    Parameters
    ----------
    world
        What defects do and how they are seen.
    movies
        `n_frames`, `height_px`, `width_px`, `pixel_size_nm`, `frame_time_s` (and more) of each
        `movie`.
    n_replicas
        How many times the whole experiment is done.
    seed
        Equal seeds give equal tables.

    Returns
    -------
    Rows ordered by movie, particle and frame; movies are called like ``0012 name`` after their
    replica.

    Raises
    ------
    ValueError
        If `n_replicas` is below 1, or a movie has no frame or no calibration.

    Notes
    -----
    A chain in continuous time goes from class to class with exp(Q t) (Norris, Markov Chains (1997),
    theorem 2.1.1). The mean of a Brownian bridge of variance s² at its end has the variance
    s² / 12 around half of it, which is what an exposure adds (Berglund, Phys. Rev. E 82, 011917
    (2010)).
    """
    if n_replicas < 1:
        msg = f"n_replicas must be at least 1, but is {n_replicas}"
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    parts, known = [], []
    records = cast("list[dict[str, Any]]", movies.to_dict("records"))
    for movie in records:
        watched = _Watched.of(world, movie)
        rows = watched.rows(n_replicas, rng)
        names = np.array([f"{i:04d} {movie['movie']}" for i in range(n_replicas)], dtype=object)
        parts.append(rows.assign(movie=pd.Series(names[rows.pop("replica")], dtype="str")))
        own = pd.DataFrame({"movie": names, "replica": np.arange(n_replicas)})
        known.append(own.assign(**{c: v for c, v in movie.items() if c != "movie"}))
    rows = conform(pd.concat(parts, ignore_index=True), "tracks")
    rows = rows.sort_values(["movie", "particle", "frame"], kind="stable", ignore_index=True)
    experiment = Experiment(pd.concat(known, ignore_index=True))
    return SimulatedTracks(rows, experiment)


@dataclass(frozen=True)
class _Watched:
    """A world as one movie sees it.

    Attributes
    ----------
    world
        What defects do.
    n_frames, frame_time_s, pixel_nm
        Of the movie.
    size_nm
        (height, width) of the field in which defects are seen.
    corner_nm
        Distance of that field from the first pixels' centres.
    margin_nm
        (2,) how far beyond the field defects live.
    """

    world: TrackWorld
    n_frames: int
    frame_time_s: float
    pixel_nm: float
    size_nm: tuple[float, float]
    corner_nm: float
    margin_nm: np.ndarray

    @classmethod
    def of(cls, world: TrackWorld, movie: dict[str, Any]) -> _Watched:
        """Return how a `movie`, by its calibration, sees the `world`.

        Raises
        ------
        ValueError
            If the movie has no frame, no calibration or no field inside its border.
        """
        pixel, tau, n = (float(movie[c]) for c in ("pixel_size_nm", "frame_time_s", "n_frames"))
        shape = np.array([movie["height_px"], movie["width_px"]], dtype=float)
        size = (shape - 1 - 2 * world.border_px) * pixel
        if not (pixel > 0 and tau > 0 and n >= 1 and (size > 0).all()):
            msg = (
                f"movie {movie['movie']!r} cannot be simulated: it needs frames, a field wider "
                f"than twice {world.border_px} px, a pixel size and a frame time above 0"
            )
            raise ValueError(msg)
        step = np.sqrt(4 * world.diffusion_nm2_per_s.max() * tau)
        margin = np.full(2, SAFE_STEPS * (world.hop_length_nm + float(step)))
        if world.excluding:
            margin = _margin_of_whole_cells(world, size, margin)
        return cls(
            world,
            int(n),
            tau,
            pixel,
            (float(size[0]), float(size[1])),
            world.border_px * pixel,
            margin,
        )

    @property
    def box_nm(self) -> np.ndarray:
        """(2,) edges of the field with its margin."""
        return np.asarray(np.array(self.size_nm) + 2 * self.margin_nm)

    def rows(self, n_replicas: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return the rows of ``tracks`` of all replicas, with a column `replica`."""
        crowd = _Crowd(self, n_replicas, rng)
        seen = [crowd.seen(frame) for frame in _frames(crowd, self.n_frames)]
        found = {name: np.concatenate([part[name] for part in seen]) for name in seen[0]}
        order = np.lexsort((found["frame"], found["life"]))
        found = {name: values[order] for name, values in found.items()}
        found["particle"] = self._track_names(found["frame"], found.pop("life"))
        found |= {"y": found["y_nm"] / self.pixel_nm, "x": found["x_nm"] / self.pixel_nm}
        found["position_error"] = np.full(len(order), self.world.sigma_nm / self.pixel_nm)
        rows = pd.DataFrame(found)
        return rows.assign(score=10.0, at_edge=False, orientation=-1)

    def _track_names(self, frame: np.ndarray, life: np.ndarray) -> np.ndarray:
        """Return the (m,) name of each row's track; rows are ordered by life, then frame."""
        new = np.ones(len(frame), bool)
        # a gap of g frames is a difference of g + 1
        apart = np.diff(frame) > self.world.max_gap_frames + 1
        new[1:] = (np.diff(life) != 0) | apart
        if self.world.longest_frames > 0:
            begun = np.maximum.accumulate(np.where(new, np.arange(len(frame)), 0))
            part = (frame - frame[begun]) // self.world.longest_frames
            new[1:] |= np.diff(part) != 0
        return np.cumsum(new)


CELLS = {
    "triangular": ((np.sqrt(3), 1.0), ((0.0, 0.0), (np.sqrt(3) / 2, 0.5))),
    "square": ((1.0, 1.0), ((0.0, 0.0),)),
    "honeycomb": (
        (np.sqrt(3), 3.0),
        ((0.0, 0.0), (0.0, 1.0), (np.sqrt(3) / 2, 1.5), (np.sqrt(3) / 2, 2.5)),
    ),
}
"""Lattice → edges (y, x) of its rectangular cell, and the sites in it, in hop lengths; of the
honeycomb those with an even number have a neighbour in the direction of +x."""


def _margin_of_whole_cells(world: TrackWorld, size: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Return the (2,) margin, widened so that field and margins hold whole cells."""
    cell = np.array(CELLS[world.lattice][0]) * world.hop_length_nm
    return np.asarray((np.ceil((size + 2 * margin) / cell) * cell - size) / 2)


def _frames(crowd: _Crowd, n_frames: int) -> Any:
    """Yield the number of each frame, and let the `crowd` take a step between two."""
    for frame in range(n_frames):
        if frame:
            crowd.step()
        yield frame


class _Crowd:
    """All defects of all replicas of one movie, at one moment."""

    def __init__(self, movie: _Watched, n_replicas: int, rng: np.random.Generator) -> None:
        world = movie.world
        self.movie, self.world, self.rng, self.n_replicas = movie, world, rng, n_replicas
        densities = world.per_class("densities_per_nm2")
        mean = densities.sum() * movie.box_nm.prod()
        number = rng.poisson(mean, n_replicas)
        n = int(number.sum())
        self.replica = np.repeat(np.arange(n_replicas), number)
        self.shares = np.cumsum(densities) / max(densities.sum(), 1e-300)
        self.kind = self._kinds(n)
        self.place, self.flipped = np.zeros((n, 2)), np.zeros(n, bool)
        self._settled_at_random(np.arange(n))
        self.life = np.arange(n)
        self.n_lives = n
        if not world.excluding:
            self.flipped = rng.random(n) < 0.5
        self.luck = rng.random(n)  # which name a defect gets, as long as it is not looked at again
        self.averaged = np.zeros((n, 2))  # how far an exposure's mean lies from the place
        self._changes = np.cumsum(world.probabilities(movie.frame_time_s), axis=1)[:, :-1]
        self._staying = np.exp(-world.per_class("loss_rates_per_s") * movie.frame_time_s)
        self._confused = np.eye(world.n_classes)
        if world.confusion:
            self._confused = np.array(world.confusion, dtype=float)
        self._names = np.cumsum(self._confused, axis=1)[:, :-1]
        self.sight = np.zeros(n)
        if world.missing_memory > 0:
            self.sight = rng.random(n)
        self.mobility = np.ones(n_replicas)
        if world.movie_spread > 0:
            spread = world.movie_spread
            self.mobility = np.exp(rng.normal(-(spread**2) / 2, spread, n_replicas))
        self.drift = np.zeros((n_replicas, 2))
        self._settle()

    def _settled_at_random(self, which: np.ndarray) -> None:
        """Put the defects numbered `which` anywhere; on a lattice, where no other one stands."""
        if not self.world.excluding:
            self.place[which] = self.rng.random((len(which), 2)) * self.movie.box_nm
            return
        edges, sites = (np.array(v) * self.world.hop_length_nm for v in CELLS[self.world.lattice])
        n_cells = np.rint(self.movie.box_nm / edges).astype(int)
        while len(which):
            cell = np.stack([self.rng.integers(m, size=len(which)) for m in n_cells], axis=1)
            site = self.rng.integers(len(sites), size=len(which))
            self.place[which] = cell * edges + sites[site]
            self.flipped[which] = site % 2 == 1
            _, owner, n = np.unique(
                self._site_numbers(self.place), return_inverse=True, return_counts=True
            )
            which = which[n[owner[which]] > 1]

    def _site_numbers(self, place: np.ndarray, which: np.ndarray | slice = slice(None)) -> Any:
        """Return one number for each site of each replica, of defects at (m, 2) places."""
        half, (n_y, n_x) = self._grid()
        y, x = np.rint(place / half).astype(np.int64).T
        return (self.replica[which] * n_y + y % n_y) * n_x + x % n_x

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the (2,) edges of a mesh that holds every site, and how many of them there are."""
        half = np.array([CELLS["triangular"][0][0], 1.0]) / 2 * self.world.hop_length_nm
        if self.world.lattice == "square":
            half = np.full(2, self.world.hop_length_nm)
        return half, np.rint(self.movie.box_nm / half).astype(np.int64)

    def _kinds(self, n: int) -> np.ndarray:
        """Return (n,) classes, drawn by their densities."""
        return np.searchsorted(self.shares[:-1], self.rng.random(n), side="right")

    def _settle(self) -> None:
        """Average the first frame's places over its exposure, as `step` does those of the next."""
        if self.world.exposure > 0:
            self._move()

    def step(self) -> None:
        """Let a frame time pass: move, change class, vanish and come anew, in this order."""
        if self.world.exposure == 0:
            self._move()
        self.place = self.place + self._moved
        wrapped = self.place % self.movie.box_nm
        away = (wrapped != self.place).any(axis=1)
        self.place = wrapped
        rng, n = self.rng, len(self.kind)
        before = self.kind
        if self._changes.size:
            self.kind = (rng.random(n)[:, None] > self._changes[before]).sum(axis=1)
        again = (rng.random(n) >= self.world.naming_memory) | (self.kind != before)
        self.luck = np.where(again, rng.random(n), self.luck)
        if self.world.missing_memory > 0:
            looked = rng.random(n) >= self.world.missing_memory
            self.sight = np.where(looked, rng.random(n), self.sight)
        gone = np.zeros(n, bool)
        if (self._staying < 1).any():
            gone = rng.random(n) > self._staying[before]
            self._settled_at_random(np.flatnonzero(gone))
            self.kind[gone] = self._kinds(int(gone.sum()))
        new = gone | away
        self.life = np.where(new, self.n_lives + np.cumsum(new) - 1, self.life)
        self.n_lives += int(new.sum())
        self._mistake()
        if self.world.drift_step_nm > 0:
            self.drift = self.drift + rng.normal(0, self.world.drift_step_nm, self.drift.shape)
        if self.world.exposure > 0:
            self._move()

    def _mistake(self) -> None:
        """Let some defects that are near each other be taken for each other from now on."""
        if self.world.wrong_links == 0:
            return
        far = 10 * MISTAKEN * self.world.hop_length_nm  # between replicas
        points = np.column_stack([self.place, self.replica * far])
        near = cKDTree(points).query_pairs(
            MISTAKEN * self.world.hop_length_nm, output_type="ndarray"
        )
        near = near[np.lexsort(near.T[::-1])]
        for i, j in near[self.rng.random(len(near)) < self.world.wrong_links]:
            self.life[[i, j]] = self.life[[j, i]]

    def _move(self) -> None:
        """Draw what each defect does in the frame time that begins, and what its exposure shows."""
        world, rng, n = self.world, self.rng, len(self.kind)
        tau, share = self.movie.frame_time_s, world.exposure
        moved, averaged = np.zeros((n, 2)), np.zeros((n, 2))
        mobility = self.mobility[self.replica]
        D = world.per_class("D_nm2_per_s")[self.kind] * mobility
        if D.any():
            during = np.sqrt(2 * D * share * tau)[:, None]
            after = np.sqrt(2 * D * (1 - share) * tau)[:, None]
            open_step = rng.normal(size=(n, 2)) * during
            moved += open_step + rng.normal(size=(n, 2)) * after
            if share > 0:
                # the mean of a Brownian bridge has a twelfth of its end's variance
                averaged += open_step / 2 + rng.normal(size=(n, 2)) * during / np.sqrt(12)
        mean_hops = world.per_class("hop_rates_per_s")[self.kind] * mobility * tau
        if world.regular_hops:
            hops = np.rint(mean_hops).astype(int)
        else:
            hops = rng.poisson(mean_hops)
        if world.excluding:
            self._moved, self.averaged = self._hop_in_turn(hops), averaged
            return
        for i in range(int(hops.max(initial=0))):
            hopping = np.flatnonzero(hops > i)
            steps = self._hops(hopping)
            moved[hopping] += steps
            if share > 0:
                # a hop at the time t of the exposure is there for the rest of it
                rest = np.clip(1 - rng.random(len(hopping)) / share, 0, None)
                averaged[hopping] += steps * rest[:, None]
        self._moved, self.averaged = moved, averaged

    def _hop_in_turn(self, hops: np.ndarray) -> np.ndarray:
        """Return the (n, 2) moves of defects that want to make so many `hops` (n,) each."""
        angles = np.radians(DIRECTIONS[self.world.lattice])
        way = np.stack([np.sin(angles), np.cos(angles)], axis=1) * self.world.hop_length_nm
        half, shape = self._grid()
        steps = np.stack([way, way])
        if self.world.lattice == "honeycomb":
            steps[1] = -way
        site = np.rint(self.place / half).astype(np.int64) % shape
        taken = np.zeros((self.n_replicas, *shape), bool)
        taken[self.replica, *site.T] = True
        who = self.rng.permutation(np.repeat(np.arange(len(hops)), hops))
        direction = self.rng.integers(len(angles), size=len(who))
        whole = np.rint(steps / half).astype(np.int64)
        words = (site, self.replica, self.flipped, who, direction, whole, taken)
        return np.asarray(hops_in_turn(*words) * half)

    def _hops(self, which: np.ndarray) -> np.ndarray:
        """Return (m, 2) steps to a neighbouring site for the defects numbered `which`."""
        angles = np.radians(DIRECTIONS[self.world.lattice])
        turn = angles[self.rng.integers(len(angles), size=len(which))]
        if self.world.lattice == "honeycomb":
            turn = turn + np.pi * self.flipped[which]
        self.flipped[which] = ~self.flipped[which]
        return self.world.hop_length_nm * np.stack([np.sin(turn), np.cos(turn)], axis=1)

    def seen(self, frame: int) -> dict[str, np.ndarray]:
        """Return the rows of the defects that are seen in `frame`, and of false ones."""
        movie, world, rng = self.movie, self.world, self.rng
        size = np.array(movie.size_nm)
        place = self.place + self.averaged - movie.margin_nm
        there = ((place >= 0) & (place < size)).all(axis=1)
        sight = self.sight
        if world.missing_memory == 0:
            sight = rng.random(len(there))
        found = there & (sight < world.per_class("efficiency", 1.0)[self.kind])
        kind, life = self.kind[found], self.life[found]
        named = (self.luck[found][:, None] > self._names[kind]).sum(axis=1)
        replica, false_named, false_place = self._false(size)
        name = np.concatenate([named, false_named])
        where = np.concatenate([place[found], false_place])
        owner = np.concatenate([self.replica[found], replica])
        where = where + rng.normal(0, world.sigma_nm, where.shape)
        if world.shift_error_nm > 0:
            where = where + rng.normal(0, world.shift_error_nm, (self.n_replicas, 2))[owner]
        if world.drift_step_nm > 0:
            where = where + self.drift[owner]
        n_false = len(replica)
        lives = np.concatenate([life, self.n_lives + np.arange(n_false)])
        self.n_lives += n_false
        y, x = (where + movie.corner_nm).T
        sure = np.diag(self._confused)[name]
        return {
            "frame": np.full(len(name), frame),
            "life": lives,
            "replica": owner,
            "class_id": name,
            "probability": sure,
            "y_nm": y,
            "x_nm": x,
        }

    def _false(self, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return replica, name and place of the rows of a frame that are no defects."""
        mean = self.world.per_class("false_per_nm2") * size.prod()
        number = self.rng.poisson(mean, (self.n_replicas, len(mean)))
        replica, name = (np.repeat(a.ravel(), number.ravel()) for a in np.indices(number.shape))
        return replica, name, self.rng.random((len(name), 2)) * size
