"""Spoils the wall clock of a worker: what Python says of the time of day is hours off, or jumps.

Given to a nursery as ``patch="chaos.clocks:ahead"``. The steady clocks (``time.monotonic``) stay as they are, as they
do when somebody sets the time of a machine.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import threading
import time
from typing import Any

HOURS = 5
_real, _real_ns, _Real = time.time, time.time_ns, dt.datetime
_offset = 0.0  # seconds


class _Kind(type):
    def __instancecheck__(cls, other: object) -> bool:
        return isinstance(other, _Real)


class Shifted(dt.datetime, metaclass=_Kind):
    """A datetime whose idea of now is off."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Now, as the spoilt clock says."""
        return _Real.fromtimestamp(_real() + _offset, tz)

    today = now

    @classmethod
    def utcnow(cls) -> Any:
        """The same without a zone."""
        return _Real.fromtimestamp(_real() + _offset, dt.UTC).replace(tzinfo=None)


def ahead() -> None:
    """Hours ahead."""
    _set(HOURS * 3600.0)


def behind() -> None:
    """Hours behind."""
    _set(-HOURS * 3600.0)


def jumping() -> None:
    """Set to another time of these hours, before or after, twenty times a second."""
    ahead()
    threading.Thread(target=_jump, name="jumping clock", daemon=True).start()


def _jump() -> None:
    global _offset
    dice = random.Random(1)
    while True:
        time.sleep(0.05)
        _offset = dice.uniform(-HOURS, HOURS) * 3600.0


def _set(seconds: float) -> None:
    """Everything that asks for the time of day from now on is told another, whoever imported the name before."""
    global _offset
    _offset = seconds
    found = {id(_real): lambda: _real() + _offset, id(_real_ns): lambda: _real_ns() + int(_offset * 1e9)}
    found[id(_Real)] = Shifted  # type: ignore[assignment]
    for owner in list(sys.modules.values()):
        if owner is None or owner.__name__ == __name__:
            continue
        for name in [name for name, value in vars(owner).items() if id(value) in found]:
            setattr(owner, name, found[id(vars(owner)[name])])
