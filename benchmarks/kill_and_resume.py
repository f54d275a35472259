"""A run that is killed halfway, and goes on: the transcript, and whether the tables are those of a
run that nobody disturbed.

Three movies are simulated; one run of them is left alone. Another one is ended by ``kill -9`` when
half of its blocks are done, all of its processes with it, and the same command is given again. At
the end stand the hashes of every table of both folders.

    python benchmarks/kill_and_resume.py -o benchmarks/results/kill_and_resume.txt
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stemkin.results.journal import machine
from stemkin.simulation import write_simulation

SETTINGS = "[detect]\nframes_per_block = 4\n[learn]\nn_frames = 8\n"


class Transcript:
    """What is printed, kept; the scratch folder is left out of it."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.lines = scratch, []

    def say(self, text: str) -> None:
        """Print and keep."""
        for line in text.replace(f"{self.scratch}/", "").splitlines():
            print(line, flush=True)
            self.lines.append(line)

    def run(self, *words: str, kill_at: int | None = None) -> None:
        """Run a command as a user sees it; with `kill_at`, kill it and all its children when so
        many blocks are done."""
        self.say("$ " + shlex.join(words))
        began = time.monotonic()
        command = [sys.executable, "-m", "stemkin.cli", *words[1:]]
        with subprocess.Popen(
            command,
            cwd=self.scratch,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as client:
            if kill_at is not None:
                while (
                    client.poll() is None
                    and len(list(self.scratch.glob("killed/steps/*/*.parquet"))) < kill_at
                ):
                    time.sleep(0.01)
                if client.poll() is None:
                    os.killpg(client.pid, signal.SIGKILL)
            said = client.communicate()[0]
        self.say(said)
        ended = (
            "killed (kill -9)"
            if client.returncode == -signal.SIGKILL
            else f"exit code {client.returncode}"
        )
        self.say(f"[{ended}, after {time.monotonic() - began:.1f} s]\n ")


def hashes(results: Path) -> dict[str, str]:
    """Return the hash of every table's bytes."""
    return {
        path.relative_to(results).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*.parquet"))
    }


def main() -> None:
    """Write movies, run, kill, run again, compare; print all of it and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--frames", type=int, default=60, help="of each of three movies; blocks of 4"
    )
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        say = Transcript(scratch)
        say.say(f"{machine()}\n ")
        for seed in (1, 2, 3):
            write_simulation("paper", scratch / "movies" / str(seed), n_frames=options.frames, shape=(options.size, options.size), seed=seed)  # fmt: skip
        (scratch / "settings.toml").write_text(SETTINGS)
        command = ["stemkin", "run", "movies", "--config", "settings.toml", "--workers", "2"]
        n_blocks = 3 * -(-options.frames // 4)
        say.run(*command, "-o", "calm")
        say.run(*command, "-o", "killed", kill_at=n_blocks // 2)
        say.say(f"tables of the killed run: {len(hashes(scratch / 'killed'))}\n ")
        say.run(*command, "-o", "killed")
        calm, resumed = hashes(scratch / "calm"), hashes(scratch / "killed")
        small = {name: value for name, value in calm.items() if "/" not in name}
        say.say(
            "\n".join(
                f"{resumed.get(name, 'missing')[:16]} {value[:16]}  {name}"
                for name, value in small.items()
            )
        )
        equal = sum(resumed.get(name) == value for name, value in calm.items())
        say.say(f"{equal} of {len(calm)} tables have the same bytes; {len(set(resumed) - set(calm))} more than there should be")  # fmt: skip
        if options.out:
            options.out.write_text("\n".join(line.rstrip() for line in say.lines) + "\n")
    raise SystemExit(0 if resumed == calm else 1)


if __name__ == "__main__":
    main()
