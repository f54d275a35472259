"""Runs with a random fault each: every one must end, or go on when called again, with the tables of the calm run.

A real `dask scheduler`, two real `dask worker` processes and the command line as client, on loopback; a server of S3 (moto) behind
a proxy that can fail. When a random number of blocks is done, one thing breaks. Whatever comes of it, the damage is mended and the
same command is given again until it ends with 0. Then the tables are compared with those of the calm run, row by row.

    python benchmarks/bench_chaos.py --runs 33 -o benchmarks/results/chaos.json      # writes chaos.md beside it

"Disk full" needs the right to mount a tmpfs; where that is not given, it is left out and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import http.server
import io
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from stemkin.journal import machine
from stemkin.simulation import simulate_movie

UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root heeds no permission unless it gives that right up."""
LOCAL_FAULTS = ("worker killed", "worker's machine lost", "client killed", "scheduler killed", "Ctrl-C", "disk full",
                "permission lost", "movie cut short")  # fmt: skip
S3_FAULTS = ("S3 answers 503", "S3 is slow", "S3 gives half an object")
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
TRIES, LIMIT_S = 4, 300


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to a server, and fails as `fault` says; counts the blocks whose last table went through."""

    daemon_threads = True

    def __init__(self, port: int, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.fault, self.rate, self.until, self.n_blocks, self.n_failed = port, "", 0.0, 0.0, 0, 0
        self.chance = random.Random(seed)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def rage(self, fault: str) -> None:
        """Let a part of the requests, or all, fail for some seconds."""
        self.fault, self.rate = fault, self.chance.choice([0.2, 0.5, 1.0])
        self.until = time.monotonic() + self.chance.uniform(3, 25)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        raging = time.monotonic() < server.until and server.chance.random() < server.rate
        fault = server.fault if raging else ""
        server.n_failed += bool(fault)
        if "503" in fault:
            self._answer(
                503, {}, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            )
            return
        if "slow" in fault:
            time.sleep(server.chance.uniform(0.5, 2))
        if "half" in fault and self.command == "PUT":  # half of it went out: the store never sees a whole request
            self.close_connection = True
            return
        link = http.client.HTTPConnection("127.0.0.1", server.target, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
        link.request(self.command, self.path, body, headers)
        reply = link.getresponse()
        content = reply.read()
        link.close()
        server.n_blocks += self.command == "PUT" and "/steps/" in self.path
        self._answer(reply.status, dict(reply.getheaders()), content, half="half" in fault and len(content) > 1)

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, half: bool = False) -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            if key.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(key, value)
        length = next((v for k, v in headers.items() if k.lower() == "content-length"), len(content))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection = self.close_connection or half

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Cluster:
    """A scheduler and two workers as processes of their own."""

    def __init__(self, folder: Path, environment: dict[str, str], n_workers: int = 2) -> None:
        self.folder, self.environment, self.n_workers = folder, environment, n_workers
        self.file = folder / "scheduler.json"
        self.scheduler: Any = None
        self.nannies: list[Any] = []

    def start(self) -> None:
        """Start what is not running, and wait until it answers."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.stop()
            self.scheduler = self._launch("scheduler", "--port", "0", "--scheduler-file", str(self.file))
            wait_for(self.file.exists, 30)
        self.nannies = [nanny for nanny in self.nannies if nanny.poll() is None]
        while len(self.nannies) < self.n_workers:
            self.nannies.append(
                self._launch(
                    "worker",
                    "--scheduler-file",
                    str(self.file),
                    "--nthreads",
                    "1",
                    "--local-directory",
                    str(self.folder),
                )
            )
        from distributed import Client

        with Client(scheduler_file=str(self.file), timeout=30, set_as_default=False) as client:
            client.wait_for_workers(self.n_workers, timeout=60)

    def worker(self) -> psutil.Process:
        """Return a process that computes."""
        found = [
            c for n in self.nannies for c in psutil.Process(n.pid).children() if "spawn_main" in " ".join(c.cmdline())
        ]
        return random.choice(found)

    def stop(self) -> None:
        """Kill all."""
        for process in [*self.nannies, *([self.scheduler] if self.scheduler else [])]:
            kill_group(process)
        self.nannies, self.scheduler = [], None
        self.file.unlink(missing_ok=True)

    def _launch(self, kind: str, *options: str) -> Any:
        command = [sys.executable, "-m", "dask", kind, "--host", "127.0.0.1", "--no-dashboard", *options]
        return launch(command, self.folder, self.environment)


def launch(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own."""
    errors = subprocess.PIPE if "stemkin.cli" in command else subprocess.DEVNULL
    return subprocess.Popen(
        [*UNPRIVILEGED, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )


def kill_group(process: Any) -> None:
    """Kill a process that `launch` started, and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Return whether `condition` came true in time."""
    deadline = time.monotonic() + limit_s
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met


@contextlib.contextmanager
def s3_server() -> Iterator[Proxy]:
    """A server of S3 on loopback, behind a proxy that fails when it is told to."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    proxy = Proxy(server.get_host_and_port()[1])
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()


class Scene:
    """Movies on disk and in the object store, a cluster, and what a calm run makes of them."""

    def __init__(self, folder: Path, proxy: Proxy, *, n_frames: int, edge_px: int) -> None:
        self.folder, self.proxy = folder, proxy
        self.environment = {
            **os.environ, "HOME": str(folder), "MPLCONFIGDIR": str(folder / "mpl"), "AWS_ENDPOINT_URL": proxy.url, "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "TMPDIR": str(folder),
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
        return s3fs.S3FileSystem(key="x", secret="x", client_kwargs=options, use_listings_cache=False)

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
        command += ["--cluster", str(self.cluster.file)] + (["--model", str(model)] if model else [])
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
        else:
            self.proxy.rage(fault)

    def mend(self, fault: str, out: str) -> None:
        """Put right what is broken."""
        self.proxy.fault = ""
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


def mount(*arguments: str) -> None:
    """Call mount."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Tell whether a tmpfs may be mounted here."""
    folder.mkdir()
    done = (
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=False, capture_output=True).returncode == 0
    )
    if done:
        subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
    return done


def disturbed(scene: Scene, fault: str, out: str, model: Path, after: int) -> dict[str, Any]:
    """Run, break, mend and run again until it ends well; return what happened."""
    scene.proxy.n_blocks = scene.proxy.n_failed = 0
    began, codes, said, stop_s = time.monotonic(), [], "", None
    client = scene.client(out, model)
    struck = (
        wait_for(lambda: scene.n_done(out) >= after or client.poll() is not None, LIMIT_S) and client.poll() is None
    )
    if struck:
        scene.strike(fault, out, client)
        stop_s = time.monotonic()
    for _ in range(TRIES):
        try:
            said = said or client.communicate(timeout=LIMIT_S)[1].decode().strip()
            codes.append(client.wait(LIMIT_S))
        except subprocess.TimeoutExpired:
            kill_group(client)
            codes.append("hung")
        if len(codes) == 1 and stop_s is not None:
            stop_s = time.monotonic() - stop_s
        scene.mend(fault, out)
        if codes[-1] == 0 and not (
            fault == "movie cut short" and len(codes) == 1
        ):  # what was damaged is marked, and whole now
            break
        client = scene.client(out, model)
    return {
        "fault": fault, "after_blocks": after, "struck": struck, "exit_codes": codes, "seconds_to_first_end": round(stop_s or 0, 1),
        "seconds": round(time.monotonic() - began, 1), "requests_failed": scene.proxy.n_failed,
        "said": said.splitlines()[-1][:200] if said else "",
    }  # fmt: skip


def compare(found: dict[str, pd.DataFrame], calm: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Return how many rows are lost or doubled, and whether every table of both is the same."""
    lost = doubled = 0
    for name, rows in calm.items():
        mine = found.get(name, rows.iloc[:0])
        if "/tracks/" in name or "/detections/" in name:
            there, here = (
                pd.MultiIndex.from_frame(rows[["frame", "y", "x"]]),
                pd.MultiIndex.from_frame(mine[["frame", "y", "x"]]),
            )
            lost += int((~there.isin(here)).sum())
            doubled += int(here.duplicated().sum() - there.duplicated().sum())
    return {"rows_lost": lost, "rows_doubled": doubled, "equal": digest(found) == digest(calm)}


def digest(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Return a hash of each table's rows."""
    return {name: hashlib.sha256(_bytes(rows)).hexdigest() for name, rows in tables.items()}


def _bytes(rows: pd.DataFrame) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def chaos(
    folder: Path, *, runs: int, seed: int, n_frames: int, edge_px: int, faults: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield one row per disturbed run."""
    chance = random.Random(seed)
    random.seed(seed)
    kinds = [f for f in faults if f != "disk full" or can_mount(folder / "try")]
    for missing in sorted(set(faults) - set(kinds)):
        print(f"{missing}: not permitted on this machine, left out")
    with s3_server() as proxy:
        scene = Scene(folder, proxy, n_frames=n_frames, edge_px=edge_px)
        try:
            scene.cluster.start()
            local = scene.calm(str(folder / "calm"))
            model = folder / "calm" / "model"
            remote = scene.calm(f"{scene.bucket}/calm", model) if set(kinds) & set(S3_FAULTS) else {}
            order = [kinds[i % len(kinds)] for i in range(runs)]
            for number, fault in enumerate(order):
                after = chance.randrange(1, scene.n_blocks - 3)
                place = folder / f"run {number}"
                place.mkdir()
                if fault == "disk full":
                    mount("-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place))
                out = f"{scene.bucket}/run {number}" if fault in S3_FAULTS else str(place / "results")
                try:
                    row = disturbed(scene, fault, out, model, after)
                    blocks = scene.journal(out)["blocks"]
                    kept = {"blocks_kept": blocks["reused"], "blocks": blocks["total"]}
                    yield {**row, **kept, **compare(scene.tables(out), remote if fault in S3_FAULTS else local)}
                finally:
                    if fault == "disk full":
                        subprocess.run(["umount", "-l", str(place)], check=True)
        finally:
            scene.cluster.stop()


def fill(disk: Path) -> None:
    """Leave almost no room on a small disk; what is written meanwhile may need another try."""
    for spare in (2**14, 2**16, 2**18, 2**20):
        used = shutil.disk_usage(disk).used
        try:
            mount("-o", f"remount,size={used + spare}", str(disk))
        except subprocess.CalledProcessError:
            continue
        return
    msg = f"{disk} could not be made smaller while it was written to"
    raise RuntimeError(msg)


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table by kind of fault."""
    table = pd.DataFrame(rows)
    lines = ["| fault | runs | ended at once | resumed | blocks kept on resuming | slowest end after the fault [s] | rows lost | rows doubled | equal tables |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for fault, own in table.groupby("fault", sort=False):
        once = own["exit_codes"].map(len).eq(1)
        again = own[~once]
        kept = f"{again['blocks_kept'].sum()} of {again['blocks'].sum()}" if len(again) else "-"
        lines.append(
            f"| {fault} | {len(own)} | {once.sum()} | {len(again)} | {kept} | {own['seconds_to_first_end'].max():.1f} | {own['rows_lost'].sum()} "
            f"| {own['rows_doubled'].sum()} | {own['equal'].sum()} of {len(own)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Break runs, compare, print a table, write JSON and markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=33)
    parser.add_argument("--frames", type=int, default=40, help="of each of two movies; blocks of 4")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print(machine())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        given = {"runs": options.runs, "seed": options.seed, "n_frames": options.frames, "edge_px": options.size}
        for row in chaos(Path(scratch), **given, faults=tuple(options.faults)):
            rows.append(row)
            print(json.dumps(row), flush=True)
            if options.out:
                options.out.write_text(
                    json.dumps({"machine": machine(), "settings": given, "rows": rows}, indent=2) + "\n"
                )
                options.out.with_suffix(".md").write_text(as_markdown(rows))
    print(as_markdown(rows))
    bad = [r for r in rows if r["rows_lost"] or r["rows_doubled"] or not r["equal"] or r["exit_codes"][-1] != 0]
    raise SystemExit(f"{len(bad)} of {len(rows)} runs did not come to the calm run's tables" if bad else 0)


if __name__ == "__main__":
    main()
