"""Runs with a random fault each: every one must end, or go on when called again, with the tables of
the calm run.

A real `dask scheduler`, two real `dask worker` processes and the command line as client, on
loopback; a server of S3 (moto) behind a proxy that can fail. When a random number of blocks is
done, one thing breaks. Whatever comes of it, the damage is mended and the same command is given
again until it ends with 0. Then the tables are compared with those of the calm run, row by row.

    python benchmarks/bench_chaos.py --runs 33 -o benchmarks/results/chaos.json      # writes chaos.md beside it

Faults of the object store are of two kinds: those that a run outlasts by trying again, and those
that last longer than anyone tries (``results/chaos_lasting.md``), so that the run has to end and to
go on. Clients try a request twice there (``AWS_MAX_ATTEMPTS=2``). "Disk full" needs the right to
mount a tmpfs; where that is not given, it is left out and said so.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.cluster import kill_group, wait_for
from chaos.disk import can_mount, mount
from chaos.object_store import s3_server
from chaos.scene import FAULTS, LIMIT_S, S3_FAULTS, Scene
from chaos.verdict import as_markdown, compare
from keeping import keep

from stemkin.results.journal import machine

TRIES = 4


def disturbed(scene: Scene, fault: str, out: str, model: Path, after: int) -> dict[str, Any]:
    """Run, break, mend and run again until it ends well; return what happened."""
    scene.proxy.n_blocks = scene.proxy.n_failed = 0
    began, codes, said, stop_s = time.monotonic(), [], "", None
    client = scene.client(out, model)
    struck = (
        wait_for(lambda: scene.n_done(out) >= after or client.poll() is not None, LIMIT_S)
        and client.poll() is None
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
            remote = (
                scene.calm(f"{scene.bucket}/calm", model) if set(kinds) & set(S3_FAULTS) else {}
            )
            order = [kinds[i % len(kinds)] for i in range(runs)]
            for number, fault in enumerate(order):
                after = chance.randrange(1, scene.n_blocks - 3)
                place = folder / f"run {number}"
                place.mkdir()
                if fault == "disk full":
                    mount("-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place))
                out = (
                    f"{scene.bucket}/run {number}" if fault in S3_FAULTS else str(place / "results")
                )
                try:
                    row = disturbed(scene, fault, out, model, after)
                    blocks = scene.journal(out)["blocks"]
                    kept = {"blocks_kept": blocks["reused"], "blocks": blocks["total"]}
                    yield {
                        **row,
                        **kept,
                        **compare(scene.tables(out), remote if fault in S3_FAULTS else local),
                    }
                finally:
                    if fault == "disk full":
                        subprocess.run(["umount", "-l", str(place)], check=True)
        finally:
            scene.cluster.stop()


def main() -> None:
    """Break runs, compare, print a table, write JSON and markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        given = {
            "runs": options.runs,
            "seed": options.seed,
            "n_frames": options.frames,
            "edge_px": options.size,
        }
        for row in chaos(Path(scratch), **given, faults=tuple(options.faults)):
            rows.append(row)
            print(json.dumps(row), flush=True)
            keep({"settings": given, "rows": rows}, options.out)
            if options.out:
                options.out.with_suffix(".md").write_text(as_markdown(rows))
    print(as_markdown(rows))
    bad = [
        r
        for r in rows
        if r["rows_lost"] or r["rows_doubled"] or not r["equal"] or r["exit_codes"][-1] != 0
    ]
    raise SystemExit(
        f"{len(bad)} of {len(rows)} runs did not come to the calm run's tables" if bad else 0
    )


if __name__ == "__main__":
    main()
