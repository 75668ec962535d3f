"""The listener: wakes the dispatcher when somebody has left work. Only a hint; without it the worker polls."""

from __future__ import annotations

import logging

import psycopg

from perdure.eventstore.calls import CALLS
from perdure.eventstore.connections import CONTROL_OPTIONS, Connections, Link, connect
from perdure.keeper import Signals
from perdure.settings import Settings

log = logging.getLogger("perdure")

WAKE_SECONDS = 0.005
AGAIN_SECONDS = 2.0


class Listener:
    """Listens on a connection of its own until the worker stops; behind a pooler only where there is a way past it."""

    def __init__(self, settings: Settings, connections: Connections, signals: Signals) -> None:
        self._settings = settings
        self._connections = connections
        self._signals = signals

    def run(self) -> None:
        """Listen, and again after a lost connection."""
        stopping = self._signals.stopping
        while not stopping.is_set():
            try:
                with self._connect() as connection:
                    if connection.pooled:
                        log.info("not listening through a pooler; polling")
                        return
                    self._listen(connection)
            except (psycopg.Error, OSError) as error:
                log.debug("not listening; polling", extra={"reason": str(error).strip()})
                stopping.wait(AGAIN_SECONDS)

    def _connect(self) -> Link:
        watch, pooled = self._connections.watch, self._connections.pooled
        if self._settings.listen_dsn is not None:
            return connect(watch, self._settings.listen_dsn, "perdure:worker:listener", CONTROL_OPTIONS)
        return connect(watch, self._settings.dsn, "perdure:worker:listener", CONTROL_OPTIONS, pooled)

    def _listen(self, connection: Link) -> None:
        connection.execute(CALLS["listen"])
        self._signals.wakeup.set()
        while not self._signals.stopping.is_set():
            for note in connection.notifies(timeout=5.0, stop_after=1):
                if note.payload == "leases":
                    self._signals.compare.set()
                self._signals.wakeup.set()
            self._signals.stopping.wait(WAKE_SECONDS)  # anybody may notify, as often as they like
