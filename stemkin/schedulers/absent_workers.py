"""Says that a run waits for workers, where all of them have gone."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""How often the scheduler is asked whether a worker is there."""

NOBODY = (
    "no worker is left, and the run waits for one: start workers, or stop it with Ctrl-C, and the "
    "same command goes on later"
)


class AbsentWorkers:
    """Looks at a cluster now and then, and says so once when two looks find no worker.

    A queue that gives no place yet and workers that all died look alike to who waits for results:
    for ever, without a word.
    """

    def __init__(self, client: Any, every_s: float = LOOK_EVERY_S) -> None:
        """Look at the cluster of `client` from now on, in its own thread."""
        from tornado.ioloop import PeriodicCallback

        self._client, self._empty_looks = client, 0
        self._looks = PeriodicCallback(self._look, every_s * 1000)
        client.loop.add_callback(self._looks.start)

    async def _look(self) -> None:
        try:
            there = await self._client.scheduler.ncores()
        except OSError:  # a scheduler that is lost is met where results are waited for
            return
        self._empty_looks += 1
        if there:
            self._empty_looks = 0
        if self._empty_looks == 2:
            log.warning(NOBODY)

    def stop(self) -> None:
        """Look no longer."""
        self._client.loop.add_callback(self._looks.stop)
