"""A small archive, its calm results and those of another run: what a thousand faults strike."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import stemkin as sk
from chaos.forks import Counter, in_child
from chaos.rot import contents
from chaos.verdict import compare
from stemkin.config import RunConfig
from stemkin.simulation import simulate_movie

N_FRAMES, EDGE_PX = 4, 96
CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 2},
    detect={"frames_per_block": 2},
    kinetics={"null_controls": False, "self_check_runs": 0, "correct_names": False,
              "diffusion_methods": ["cve"]},
)  # fmt: skip


class SmallScene:
    """Movies of a few frames, a model, and the folders of calm runs to each stage.

    Parameters
    ----------
    folder
        Where all of it stands; what is there is used again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.movies, self.others = folder / "movies", folder / "others"
        self.model = folder / "calm kinetics" / "model"
        self.counts: dict[str, Any] = {}
        self._calm: dict[str, dict[str, bytes]] = {}
        logging.disable(logging.ERROR)

    def prepare(self) -> None:
        """Make what is not there, and warm this process up without a thread of its own."""
        import dask

        dask.config.set(scheduler="synchronous")
        if _read(self.folder / "ready").get("code") != _code():
            shutil.rmtree(self.folder, ignore_errors=True)
            for place, seed in ((self.movies, 0), (self.others, 7)):
                place.mkdir(parents=True)
                for number in (0, 1):
                    film = simulate_movie(
                        "paper", n_frames=N_FRAMES, shape=(EDGE_PX,) * 2, seed=seed + number
                    )
                    np.save(place / f"movie {number}.npy", film.reader.read(0, N_FRAMES))
            learned = sk.run(self.movies, self.folder / "learned", config=CONFIG, until="detect")
            assert learned.exit_code == 0
            shutil.copytree(self.folder / "learned" / "model", self.folder / "model")
            (self.folder / "model" / "made_of.json").unlink()
            for stage in ("link", "kinetics", "report"):
                assert self.run(self.folder / f"calm {stage}", stage).exit_code == 0
            sk.run(self.others, self.folder / "other", config=CONFIG, until="kinetics",
                   model=self.folder / "model")  # fmt: skip
            for stage in ("link", "kinetics", "report"):
                place = self.folder / "counted"
                shutil.rmtree(place, ignore_errors=True)
                self.counts[stage] = in_child(
                    lambda stage=stage, place=place: self.run(place, stage), moment=Counter()
                ).wait()["counts"]
            (self.folder / "ready").write_text(json.dumps({"code": _code(), **self.counts}))
        self.counts = _read(self.folder / "ready")
        self.run(self.folder / "warm", "kinetics")
        dask.config.set(scheduler="threads", num_workers=2)

    def run(self, out: Path, stage: str) -> Any:
        """Give the command; stages end where nothing is written that two runs have otherwise."""
        until = None if stage == "report" else stage
        return sk.run(self.movies, out, config=CONFIG, until=until, model=self.folder / "model")

    def judged(self, place: Path, stage: str) -> dict[str, Any]:
        """Return whether a folder has the calm run's bytes, and what of its rows is lost or doubled."""
        if stage not in self._calm:
            self._calm[stage] = contents(self.folder / f"calm {stage}")
        found = contents(place)
        if found == self._calm[stage]:
            return {"equal": True, "rows_lost": 0, "rows_doubled": 0}
        differ = sorted(
            {n for n in {*found, *self._calm[stage]} if found.get(n) != self._calm[stage].get(n)}
        )
        return {**compare(_tables(found), _tables(self._calm[stage])), "equal": False, "differ": differ[:5]}  # fmt: skip


def _read(file: Path) -> dict[str, Any]:
    """Return what a file says; nothing where there is none."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return {}


def _code() -> str:
    """Return a checksum of stemkin itself: other code may give other bytes."""
    found = hashlib.sha256()
    for path in sorted(Path(str(sk.__file__)).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _tables(files: dict[str, bytes]) -> dict[str, Any]:
    import io

    import pandas as pd

    found = {}
    for name, content in files.items():
        if name.endswith(".parquet"):
            try:
                found[f"/{name}"] = pd.read_parquet(io.BytesIO(content))
            except (OSError, ValueError):
                continue
    return found
