"""The journal of a run, ``run.json``: what it was asked, what it did, what failed and why.

It is written often, so that a crash loses little. It also tells to which inputs a folder belongs;
who writes there now is told by `stemkin.results.lock`.
"""

from __future__ import annotations

import logging
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from stemkin import __version__
from stemkin.errors import DamagedFileError, UnwritableError
from stemkin.results.lock import check_held
from stemkin.results.store import RUN_FILE, FolderError, Store

log = logging.getLogger(__name__)


PARTS = {"config": dict, "movies": list, "stages": dict, "blocks": dict}
"""What every ``run.json`` has, and of which kind each is."""


class Journal:
    """The content of ``run.json``, kept in memory and written by `save`.

    `was_finished` tells whether an earlier run of this folder came to its end, `before` what that run
    said; nothing where there was none.
    """

    def __init__(self, store: Store, content: dict[str, Any]) -> None:
        """Keep `content` for `store`."""
        self.store = store
        self.content = content
        self.was_finished = bool(content.get("finished"))
        self.before: dict[str, Any] = {}

    @classmethod
    def read(cls, store: Store) -> Journal:
        """Return the journal of a results folder.

        Raises
        ------
        FolderError
            If there is none, or it is damaged.
        """
        cure = f"`stemkin run INPUT -o {store.root}` makes it again and keeps what is done"
        try:
            content = store.read_json(RUN_FILE)
        except DamagedFileError as error:
            msg = f"{store.path(RUN_FILE)} is damaged ({error.why}); {cure}"
            raise FolderError(msg) from None
        if content is None:
            msg = (
                f"{store.root} is no results folder: it has no {RUN_FILE}; make one with `stemkin "
                f"run INPUT -o {store.root}`"
            )
            raise FolderError(msg)
        for key, kind in PARTS.items():
            if not isinstance(content.get(key), kind):
                msg = f"{store.path(RUN_FILE)} is damaged (it has no {key!r}); {cure}"
                raise FolderError(msg)
        return cls(store, content)

    @classmethod
    def start(
        cls,
        store: Store,
        inputs: Sequence[str],
        config: dict[str, Any],
        *,
        fresh: bool,
        command: str = "",
    ) -> Journal:
        """Begin or resume a run of `inputs` in the folder of `store`.

        Raises
        ------
        FolderError
            If the folder holds another run, or files that are none of stemkin's.
        """
        known = check_is_free(store, inputs, fresh=fresh)
        if known is not None and fresh:
            # run.json goes last, so that this is a results folder to the end.
            for name in sorted(store.names(), key=lambda name: name == RUN_FILE):
                store.remove(name)
        before = known if known is not None and not fresh else {}
        content: dict[str, Any] = {
            "version": __version__,
            "created": before.get("created") or now(),
            "finished": None,
            "command": command,
            "inputs": list(inputs),
            "config": config,
            "machine": machine(),
            "movies": [],
            "stages": {},
            "blocks": {
                "mib": _block_mib(before),
                "total": 0,
                "done": 0,
                "reused": 0,
                "stale": 0,
                "failed": [],
            },
            "warnings": [],
            "exit_code": None,
        }
        journal = cls(store, content)
        journal.was_finished = bool(before.get("finished"))
        journal.before = before
        return journal

    def stage_before(self, name: str) -> dict[str, Any]:
        """Return what the run before said of a stage; nothing where it does not say."""
        stages = self.before.get("stages")
        record = stages.get(name) if isinstance(stages, dict) else None
        return record if isinstance(record, dict) else {}

    def command(self) -> str:
        """Return the command that made this folder, as far as it is known."""
        inputs = " ".join(map(str, self.content.get("inputs") or ["INPUT"]))
        return f"`stemkin run {inputs} -o {self.store.root}`"

    def save(self) -> None:
        """Write ``run.json``.

        Raises
        ------
        StoppedError
            If another run has taken over the folder meanwhile.
        """
        check_held(self.store)
        self.store.write_json(self.content, RUN_FILE)

    def warn(self, sentence: str) -> None:
        """Log a warning and keep it for the report."""
        log.warning(sentence)
        self.content["warnings"].append(sentence)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Record how a stage went; the caller may add to the yielded record."""
        began = datetime.now(UTC)
        record: dict[str, Any] = {"status": "running", "seconds": None}
        self.content["stages"][name] = record
        log.info("%s begins", name, extra={"fields": {"stage": name}})
        try:
            yield record
            record["status"] = "done"
        except BaseException as error:
            record["status"] = "failed"
            if isinstance(error, KeyboardInterrupt):
                record["status"] = "interrupted"
            record["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            record["seconds"] = round((datetime.now(UTC) - began).total_seconds(), 3)
            log.info("%s: %s", name, record["status"], extra={"fields": {"stage": name, **record}})
            self._save_if_possible(record)

    def _save_if_possible(self, record: dict[str, Any]) -> None:
        """Save, unless the stage has failed already: then its own error is the one to tell."""
        try:
            self.save()
        except UnwritableError:
            if record["status"] == "done":
                raise
            log.warning("run.json could not be written either")

    def finish(self, exit_code: int) -> None:
        """Record the end of the run."""
        self.content["finished"] = now()
        self.content["exit_code"] = exit_code
        self.save()


def _share(known: Any, inputs: Sequence[str]) -> bool:
    """Tell whether two runs have an input in common: an archive may grow by sources, too."""
    return isinstance(known, list) and bool(set(map(str, known)) & set(inputs))


def _block_mib(before: dict[str, Any]) -> float | None:
    """Return how large blocks were cut before [MiB], None where that is not known.

    A run goes on with them, whichever movies joined its archive meanwhile.
    """
    blocks = before.get("blocks")
    if not isinstance(blocks, dict):
        return None
    mib = blocks.get("mib")
    if isinstance(mib, (int, float)) and mib > 0:
        return float(mib)
    return None


def check_is_free(store: Store, inputs: Sequence[str], *, fresh: bool) -> dict[str, Any] | None:
    """Check that a run of `inputs` may write into a folder, and return what its ``run.json`` says.

    None where there is no ``run.json``.

    Raises
    ------
    FolderError
        If the folder holds another run, or files that are none of stemkin's.
    """
    known = _known(store, fresh=fresh)
    if known is not None and not fresh:
        check_not_later(store, known)
    if known is None and store.names():
        msg = (
            f"{store.root} holds files but no {RUN_FILE}, so it is no results folder; choose "
            "an empty one with -o"
        )
        raise FolderError(msg)
    if known is not None and not fresh and not _share(known.get("inputs"), inputs):
        msg = (
            f"{store.root} belongs to another run, of {_some(known.get('inputs', []))}; choose "
            "another folder with -o, or start over with --fresh"
        )
        raise FolderError(msg)
    return known


def check_not_later(store: Store, content: Mapping[str, Any]) -> None:
    """Check that no later stemkin made a folder, whose settings and tables this one may not know.

    Raises
    ------
    FolderError
        If one did.
    """
    numbers = [re.findall(r"\d+", str(v))[:3] for v in (content.get("version"), __version__)]
    made_by, own = ([int(number) for number in found] for found in numbers)
    if made_by > own:
        msg = (
            f"{store.root} was made by stemkin {content['version']}, later than this one "
            f"({__version__}): update stemkin, or choose another folder with -o"
        )
        raise FolderError(msg)


def _known(store: Store, *, fresh: bool) -> dict[str, Any] | None:
    """Return what the folder's ``run.json`` says, None where there is none.

    Where a run starts over, a damaged one is an empty one.
    """
    try:
        return store.read_json(RUN_FILE)
    except DamagedFileError as error:
        if fresh:
            return {}
        msg = (
            f"{store.path(RUN_FILE)} is damaged ({error.why}); start over with --fresh, or in "
            "another folder with -o"
        )
        raise FolderError(msg) from None


def machine() -> dict[str, Any]:
    """Return what this machine is, as far as a reader of results needs it."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def now() -> str:
    """Return the time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _some(names: Sequence[str]) -> str:
    """Return the first three `names`, and how many more there are."""
    listed = ", ".join(names[:3])
    if len(names) > 3:
        listed += f" and {len(names) - 3} more"
    return listed
