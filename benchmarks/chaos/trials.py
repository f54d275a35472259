"""Trials of `bench_heal.py`: one or several faults, the same command again, and what came of it."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.disk import mount
from chaos.forks import (
    Child,
    Moment,
    clock_set,
    files_limited,
    filled,
    in_child,
    killed,
    stopped,
)
from chaos.rot import MORE_DAMAGES, Fault, kinds_of_files
from chaos.small import CONFIG, SmallScene
from stemkin.results.quarantine import QUARANTINE

FILES_AT_ONCE = (3, 40, 80)
"""So many files of a folder rot before it is mended: one of these numbers."""
TRIES = 4
KINDS_OF_TRIALS = (
    "rot", "killed", "killed in the report", "suspended, another run comes", "clock set",
    "no file may grow", "disk full", "no place for files", "64 descriptors", "no /tmp", "killed",
    "no HOME, locale C", "rot during a run",
)  # fmt: skip
NEED_MOUNTS = ("disk full", "no place for files", "no /tmp")


def trial(scene: SmallScene, kind: str, seed: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each fault of a trial."""
    chance = random.Random(seed)
    place = scene.folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    rows = _rot(scene, place, chance) if kind == "rot" else [_run(scene, place, chance, kind)]
    for row in rows:
        row["trial"] = seed
        equal = row.pop("equal")
        row["silent"] = bool(row["ended"] and not equal)
        yield row
    shutil.rmtree(place, ignore_errors=True)


# --- files at rest ----------------------------------------------------------------------------


def _rot(scene: SmallScene, place: Path, chance: random.Random) -> list[dict[str, Any]]:
    """Damage files of a finished folder, mend them by the same command."""
    shutil.copytree(scene.folder / "calm kinetics", place)
    kinds = kinds_of_files(place)
    with_label = chance.random() < 0.3
    if not with_label:
        del kinds["run.json"]
    struck = []
    files = sorted(file for own in kinds.values() for file in own)
    for file in chance.sample(files, min(len(files), chance.choice(FILES_AT_ONCE))):
        fault = Fault(file, chance.choice(MORE_DAMAGES), chance.random())
        if with_label and fault.damage in ("gone", "of another run"):
            # where run.json is damaged too, nobody knows that the file was ever there
            fault = Fault(fault.file, "bit flipped", fault.at)
        if not (scene.folder / "other" / fault.file).exists():
            fault = Fault(fault.file, "cut short", fault.at)
        if fault.strike(place, scene.folder / "other"):
            struck.append(fault)
    by_check = chance.random() < 0.5
    named: set[str] = set()
    if by_check:  # names all, and mends what needs no pixel; the command does the rest
        told = in_child(lambda: _Checked(place)).wait()
        named |= set(str(told["said"]).split("; "))
    told = in_child(lambda: scene.run(place, "kinetics")).wait()
    named |= {str(note["file"]) for note in _notes(place)}
    found = scene.judged(place, "kinetics")
    ok = told["code"] == 0 and found["equal"]
    rows = []
    for fault in struck:
        is_named = fault.file in named or any(
            one.startswith(fault.file.rsplit("/", 1)[0] + "/") for one in named if "/" in fault.file
        )
        rows.append({
            "kind": f"at rest: {fault.damage}", "what": fault.file, "codes": [told["code"]], "said": told["said"][-300:],
            "at_once": ok, "again": False, "named": is_named, "ended": told["code"] == 0, **found,
        })  # fmt: skip
    return rows


class _Checked:
    """What ``stemkin check`` says, as an outcome."""

    def __init__(self, place: Path, *, mend: bool = True) -> None:
        from stemkin.pipeline.checking import check_results

        outcome = check_results(place, mend=mend)
        self.exit_code, self.problems = outcome.exit_code, [one.file for one in outcome.damages]


def _notes(place: Path) -> list[dict[str, Any]]:
    folder = place / QUARANTINE / "notes"
    return [json.loads(path.read_text()) for path in folder.glob("*.json")]


# --- runs that are disturbed ------------------------------------------------------------------


def _run(scene: SmallScene, place: Path, chance: random.Random, kind: str) -> dict[str, Any]:
    """Disturb a run, give the same command until it ends well, and judge."""
    stage = (
        "report" if kind == "killed in the report" else chance.choice(["link", "link", "kinetics"])
    )
    if kind == "no HOME, locale C":
        stage = "link"
    disk = None
    out = place
    if kind in ("disk full", "no place for files"):
        disk = place
        disk.mkdir()
        mount("-t", "tmpfs", "-o", "size=64m,nr_inodes=2000", "tmpfs", str(disk))
        out = disk / "results"
    try:
        what, codes, said = _disturbed(scene, out, chance, kind, stage)
        if kind == "rot during a run" and not scene.judged(out, stage)["equal"]:
            # it rotted after it was read for the last time: a check names it, and the command mends
            checked = in_child(lambda: _Checked(out, mend=False)).wait()
            said = str(checked["said"])
            codes += [checked["code"], in_child(lambda: scene.run(out, stage)).wait()["code"]]
        found = scene.judged(out, stage) if codes[-1] == 0 else {"equal": False, "rows_lost": 0, "rows_doubled": 0}  # fmt: skip
    finally:
        if disk is not None:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    ended = codes[-1] == 0
    once = ended and len(codes) == 1
    return {
        "kind": kind, "what": what, "codes": codes, "said": said[-300:], "at_once": once and found["equal"],
        "again": ended and not once and found["equal"], "named": bool(said),
        "ended": ended, **found,
    }  # fmt: skip


def _disturbed(
    scene: SmallScene, out: Path, chance: random.Random, kind: str, stage: str
) -> tuple[str, list[Any], str]:
    """Run with a fault; return what was struck, the exit codes, and what was said."""
    if kind == "no HOME, locale C":
        return _bare(scene, out)
    files = [k for k, n in scene.counts[stage].items() if n]
    if kind == "killed in the report":
        files = ["report"]
    at = chance.choice(files)
    number = chance.randint(1, scene.counts[stage][at])
    begun = chance.random() < 0.5 and at != "maps"
    what = f"{at}, {number}, {'begun' if begun else 'to be put in place'}"
    strike, before = killed, None
    if kind == "suspended, another run comes":
        strike = stopped
    elif kind == "clock set":
        seconds = chance.choice([-86_400.0, 86_400.0, 3_600.0, -3_600.0, 1e9])
        strike, what = clock_set(seconds), f"{what}, {seconds:+.0f} s"
    elif kind == "no file may grow":
        strike = files_limited(chance.choice([0, 100, 5_000, 20_000]))
    elif kind in ("disk full", "no place for files"):
        strike = filled(out.parent, inodes=kind == "no place for files")
    elif kind == "rot during a run":
        strike = _rots(out, chance)
    elif kind == "64 descriptors":
        strike, before = None, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    elif kind == "no /tmp":
        strike, before = None, _without_tmp
    moment = None if strike is None else Moment(at, number, begun, strike)
    child = in_child(lambda: scene.run(out, stage), moment=moment, before=before)
    codes: list[Any] = []
    said = ""
    if kind == "suspended, another run comes" and child.is_stopped():
        said = _meanwhile(scene, out, stage, child, chance)
    for _ in range(TRIES):
        told = child.wait()
        codes.append(told["code"])
        said = said or str(told["said"])
        if codes[-1] == 0:
            break
        shutil.rmtree(out.parent / "filler", ignore_errors=True)
        child = in_child(lambda: scene.run(out, stage))
    return what, codes, said


def _meanwhile(
    scene: SmallScene, out: Path, stage: str, child: Child, chance: random.Random
) -> str:
    """Let another run come while the first one sleeps, and wake that one; return what it was told."""
    before = chance.choice([None, clock_set(86_400.0), clock_set(-86_400.0)])
    other = in_child(lambda: scene.run(out, stage), before=before).wait()
    child.go_on()
    if other["code"] != 2 or "is being written by another run (process" not in other["said"]:
        return ""
    return str(other["said"])


def _rots(out: Path, chance: random.Random) -> Any:
    """Return what damages a file of a folder that a run is writing."""

    def strike() -> None:
        files = [p for p in out.rglob("*.parquet") if QUARANTINE not in p.parts]
        if files:
            name = chance.choice(sorted(files)).relative_to(out).as_posix()
            Fault(name, chance.choice(("bit flipped", "cut short", "emptied", "gone")), chance.random()).strike(out, out)  # fmt: skip

    return strike


def _without_tmp() -> None:
    """Take this process' temporary folders away: nothing can be written there."""
    import ctypes

    new_mounts = 0x00020000
    if ctypes.CDLL("libc.so.6").unshare(new_mounts) != 0:
        raise PermissionError
    mount("--make-rprivate", "/")
    for folder in ("/tmp", "/var/tmp"):
        mount("-t", "tmpfs", "-o", "ro,size=4k", "tmpfs", folder)
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ.pop(name, None)
    tempfile.tempdir = None
    os.chdir("/")


def _bare(scene: SmallScene, out: Path) -> tuple[str, list[Any], str]:
    """Give the command line in an environment of almost nothing."""
    settings = scene.folder / "settings.json"
    settings.write_text(json.dumps(CONFIG.model_dump(mode="json")))
    code = (
        "import json, sys, stemkin as sk; from stemkin.config import RunConfig; import dask\n"
        "dask.config.set(scheduler='threads', num_workers=1)\n"
        "c = RunConfig.from_dict(json.load(open(sys.argv[4])))\n"
        "sys.exit(sk.run(sys.argv[1], sys.argv[2], config=c, until='link', model=sys.argv[3])"
        ".exit_code)"
    )
    words = [str(scene.movies), str(out), str(scene.folder / "model"), str(settings)]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/nonexistent"}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, check=False)  # fmt: skip
    said = done.stderr.decode(errors="replace")
    return "an environment of PATH alone", [done.returncode], said if done.returncode else ""
