"""What is disturbed: movies on disk and in an object store, a cluster, runs; and how each fault
breaks and mends it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chaos.cluster import Cluster, kill_group, launch
from chaos.disk import fill, mount
from chaos.object_store import Proxy
from stemkin.simulation import simulate_movie

LOCAL_FAULTS = ("worker killed", "worker's machine lost", "client killed", "scheduler killed", "Ctrl-C", "disk full",
                "permission lost", "movie cut short")  # fmt: skip
S3_PASSING = ("S3 answers 503", "S3 is slow", "S3 gives half an object")
"""What a run outlasts by trying again."""
S3_LASTING = ("S3 answers 503 to all", "S3 dies in half an object")
"""What lasts longer than anyone tries: the run has to end, and to go on."""
S3_FAULTS = (*S3_PASSING, *S3_LASTING, "all killed, writing to S3")
FAULTS = (*LOCAL_FAULTS, *S3_FAULTS)
SETTINGS = """
[calibration]
pixel_size_nm = 0.03
frame_time_s = 2.25
[learn]
n_frames = 6
[detect]
frames_per_block = 4
"""
LIMIT_S = 300


class Scene:
    """Movies on disk and in the object store, a cluster, and what a calm run makes of them."""

    def __init__(self, folder: Path, proxy: Proxy, *, n_frames: int, edge_px: int) -> None:
        self.folder, self.proxy = folder, proxy
        self.environment = {
            **os.environ, "HOME": str(folder), "MPLCONFIGDIR": str(folder / "mpl"), "AWS_ENDPOINT_URL": proxy.url, "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "2", "TMPDIR": str(folder),
        }  # fmt: skip
        self.movies, self.bucket = folder / "movies", "s3://chaos"
        self.movies.mkdir()
        for seed in (1, 2):
            movie = simulate_movie("paper", n_frames=n_frames, shape=(edge_px, edge_px), seed=seed)
            np.save(self.movies / f"movie {seed}.npy", movie.reader.read(0, n_frames))
        (folder / "settings.toml").write_text(SETTINGS)
        self.n_blocks = 2 * -(-n_frames // 4)
        self.cluster = Cluster(folder, self.environment)
        self._upload()

    def _upload(self) -> None:
        fs = self.filesystem()
        fs.mkdir("chaos")
        for file in self.movies.iterdir():
            fs.pipe_file(f"chaos/movies/{file.name}", file.read_bytes())

    def filesystem(self) -> Any:
        """Return the object store as this process sees it."""
        import s3fs

        options = {"endpoint_url": self.proxy.url}
        return s3fs.S3FileSystem(
            key="x", secret="x", client_kwargs=options, use_listings_cache=False
        )

    def client(self, out: str, model: Path | None) -> subprocess.Popen[bytes]:
        """Start a run."""
        movies = f"{self.bucket}/movies" if out.startswith("s3://") else str(self.movies)
        command = [
            sys.executable,
            "-m",
            "stemkin.cli",
            "run",
            movies,
            "-o",
            out,
            "--config",
            str(self.folder / "settings.toml"),
        ]
        command += ["--cluster", str(self.cluster.file)] + (
            ["--model", str(model)] if model else []
        )
        return launch(command, self.folder, self.environment)

    def tables(self, out: str) -> dict[str, pd.DataFrame]:
        """Return every table of a results folder."""
        if out.startswith("s3://"):
            fs = self.filesystem()
            files = {p: fs.cat_file(p) for p in fs.find(out.removeprefix("s3://"))}
        else:
            files = {str(p): p.read_bytes() for p in Path(out).rglob("*.parquet")}
        root = out.removeprefix("s3://")
        return {
            p.removeprefix(root): pd.read_parquet(io.BytesIO(b))
            for p, b in sorted(files.items())
            if p.endswith(".parquet")
        }

    def journal(self, out: str) -> dict[str, Any]:
        """Return what ``run.json`` says."""
        if out.startswith("s3://"):
            return json.loads(self.filesystem().cat_file(f"{out.removeprefix('s3://')}/run.json"))
        return json.loads((Path(out) / "run.json").read_text())

    def n_done(self, out: str) -> int:
        """Return how many blocks are done."""
        if out.startswith("s3://"):
            return self.proxy.n_blocks
        return sum(1 for _ in Path(out).glob("steps/*/*.parquet"))

    def calm(self, out: str, model: Path | None = None) -> dict[str, pd.DataFrame]:
        """Return the tables of a run that nothing disturbs."""
        client = self.client(out, model)
        said = client.communicate(timeout=LIMIT_S)[1]
        if client.returncode != 0:
            raise SystemExit(f"the calm run failed: {said.decode()}")
        return self.tables(out)

    def strike(self, fault: str, out: str, client: Any) -> None:
        """Break something."""
        if fault == "worker killed":
            self.cluster.worker().kill()
        elif fault == "worker's machine lost":
            kill_group(self.cluster.nannies[0])
        elif fault == "client killed":
            kill_group(client)
        elif fault == "scheduler killed":
            kill_group(self.cluster.scheduler)
        elif fault == "Ctrl-C":
            client.send_signal(signal.SIGINT)
        elif fault == "disk full":
            fill(Path(out).parent)
        elif fault == "permission lost":
            for path in [Path(out), *(p for p in Path(out).rglob("*") if p.is_dir())]:
                path.chmod(0o555)
        elif fault == "movie cut short":
            file = self.movies / "movie 2.npy"
            shutil.copy(file, self.folder / "kept.npy")
            os.truncate(file, file.stat().st_size // 3)
        elif fault == "all killed, writing to S3":
            self.proxy.catch()
            for process in (client, *self.cluster.nannies):
                kill_group(process)
            self.proxy.released.set()
        elif fault in S3_LASTING:
            self.proxy.fail(fault)
        else:
            self.proxy.rage(fault)

    def mend(self, fault: str, out: str) -> None:
        """Put right what is broken."""
        self.proxy.calm()
        if fault == "disk full":
            mount("-o", "remount,size=200m", str(Path(out).parent))
        elif fault == "permission lost":
            for path in [Path(out), *(p for p in Path(out).rglob("*") if p.is_dir())]:
                path.chmod(0o755)
        elif fault == "movie cut short":
            with (self.movies / "movie 2.npy").open(
                "wb"
            ) as file:  # in place: whoever reads it sees it grow whole again
                file.write((self.folder / "kept.npy").read_bytes())
        self.cluster.start()
