"""A thousand faults: does every one heal, by the same command, and is the damage named?

Files of finished folders rot by the hundred; runs are killed, suspended, starved of room, of places
for files, of descriptors and of /tmp at moments that file events tell. Small movies and children of
one warm process make a fault cost a second; damaged files of one folder are mended together.

    python benchmarks/bench_heal.py --seconds 100 --folder scene -o benchmarks/results/heal.json

``--again`` repeats the trials of which a fault did not heal. Called again, it goes on after the
faults that stand in the file, until ``--faults`` are done. The seed and the number of a trial tell
all that happens in it. Needs the right to mount a tmpfs for full disks and a missing /tmp; without
it these are left out, and that is said. The table, `heal.md`, shows the faults of
`bench_stopped.py` too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.disk import can_mount
from chaos.small import SmallScene
from chaos.trials import KINDS_OF_TRIALS, NEED_MOUNTS, trial
from keeping import about, keep


def schedule(number: int, kinds: list[str]) -> str:
    """Return the kind of trial that has a number: rot in every second one."""
    if number % 2 == 0 and "rot" in kinds:
        return "rot"
    others = [kind for kind in kinds if kind != "rot"]
    if "rot" in kinds:
        number //= 2
    return others[number % len(others)]


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table of faults: by kind, how many, and what became of them.

    `named` are those of which anything was said: a file that rotted, what a run could not write,
    who else is at work. A run that is killed says nothing, and one that went on as if nothing had
    been has nothing to say.
    """
    lines = ["| kind | faults | healed at once | by the same command | named | rows lost | rows doubled "
             "| changed in silence |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    for kind in [*kinds, "all"]:
        own = [row for row in rows if kind in (row["kind"], "all")]
        sums = {key: sum(int(row[key]) for row in own) for key in ("at_once", "again", "named", "rows_lost", "rows_doubled", "silent")}  # fmt: skip
        lines.append(f"| {kind} | {len(own)} | " + " | ".join(map(str, sums.values())) + " |")
    return "\n".join(lines) + "\n"


def write_table(folder: Path) -> str:
    """Write ``heal.md``, the table of all faults that are kept in a folder; return it."""
    files = [path for path in (folder / "heal.json", folder / "stopped.json") if path.exists()]
    table = as_markdown([row for path in files for row in json.loads(path.read_text())["rows"]])
    (folder / "heal.md").write_text(table)
    return table


def _processor_s() -> Iterator[float]:
    """Yield the processor time that this process and its children took [s]."""
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        yield used.ru_utime + used.ru_stime


def main() -> None:
    """Go on with the faults for some time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=100.0, help="of this call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="repeat what did not heal, and stop")
    parser.add_argument("--kinds", nargs="+", choices=KINDS_OF_TRIALS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    kept: dict[str, Any] = {"trials": 0, "processor_s": 0.0, "rows": []}
    if asked.out.exists():
        kept |= json.loads(asked.out.read_text())
    asked.folder.mkdir(parents=True, exist_ok=True)
    kinds = asked.kinds or list(KINDS_OF_TRIALS)
    if not can_mount(asked.folder / "try"):
        print(f"no right to mount here: without {', '.join(NEED_MOUNTS)}")
        kinds = [kind for kind in kinds if kind not in NEED_MOUNTS]
    os.environ["CHAOS_TMP"] = str(asked.folder)
    scene = SmallScene(asked.folder / "scene")
    scene.prepare()
    until, spent = time.monotonic() + asked.seconds, 0.0
    if asked.again:
        bad = {row["trial"] for row in kept["rows"] if row["silent"] or not (row["at_once"] or row["again"])}  # fmt: skip
        kept["rows"] = [row for row in kept["rows"] if row["trial"] not in bad]
        for seed in sorted(bad):
            kind = schedule(int(seed.split("-")[1]), kinds)
            kept["rows"] += list(trial(scene, kind, seed))
        asked.faults = 0
    while len(kept["rows"]) < asked.faults and time.monotonic() < until:
        kind = schedule(kept["trials"], kinds)
        for row in trial(scene, kind, f"{asked.seed}-{kept['trials']}"):
            kept["rows"].append(row)
            if (not row["at_once"] and not row["again"]) or row["silent"]:
                print(json.dumps(row)[:400], flush=True)
        kept["trials"] += 1
        now = sum(_processor_s())
        kept["processor_s"] = round(kept["processor_s"] + now - spent, 1)
        spent = now
        keep({**kept, **about(), "seed": asked.seed}, asked.out)
    keep({**kept, **about(), "seed": asked.seed}, asked.out)
    print(write_table(asked.out.parent))
    print(f"{len(kept['rows'])} faults in {kept['trials']} trials, {kept['processor_s']:.0f} s")


if __name__ == "__main__":
    main()
