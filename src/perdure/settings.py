"""What a worker is told: one frozen value, read once from the environment and the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PREFIX = "PERDURE_"
LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(ValueError):
    """A setting cannot be what it is; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a worker can be told. Each field is also the environment's ``PERDURE_<FIELD>``.

    dsn            the worker's own login: claims, turns, timers
    role_dsn       how to log in as the roles whose steps run: a connection string with ``{role}`` and ``{database}``;
                   without one it follows from ``dsn``
    passfile       passwords of the roles and their proxy logins, as libpq reads them; see ``perdure roles``
    listen_dsn     a direct connection for LISTEN where ``dsn`` leads through a pooler
    pooled         ``dsn`` and ``role_dsn`` lead through a pooler in transaction mode; found out where it is not said
    slots          SQL steps at the same time
    http_slots     HTTP steps at the same time
    lease_seconds  how old a worker's beat may be before others take its work over
    poll_seconds   how often an idle worker asks without having been woken
    only_role      serve the instances of this role and no others
    queue          serve this queue
    log_level      debug, info, warning or error
    """

    dsn: str
    role_dsn: str | None = None
    passfile: str | None = None
    listen_dsn: str | None = None
    pooled: bool = False
    slots: int = 4
    http_slots: int = 16
    lease_seconds: float = 8.0
    poll_seconds: float = 1.0
    only_role: str | None = None
    queue: str = "default"
    log_level: str = "info"

    def __post_init__(self) -> None:
        for name, smallest, largest in _LIMITS:
            value = getattr(self, name)
            if not smallest <= value <= largest:
                raise SettingsError(f"{name} must be from {smallest} to {largest}, not {value}")
        if self.log_level not in LOG_LEVELS:
            raise SettingsError(f"log_level must be one of {', '.join(LOG_LEVELS)}, not {self.log_level!r}")

    def dsn_for(self, role: str, database: str) -> str:
        """The connection string for a step of ``role`` in ``database``.

        From ``role_dsn``, where ``{role}`` and ``{database}`` are replaced in every part; else ``dsn`` with another
        user and database, and its password only for its own user. Names need no quoting: they cannot break out.
        """
        if self.role_dsn is not None:
            parts = {name: _filled(value, role, database) for name, value in _parts(self.role_dsn).items()}
            return self._with_passfile({"user": role, "dbname": database, **parts})
        parts = _parts(self.dsn)
        if parts.get("user") != role:
            parts.pop("password", None)
        return self._with_passfile({**parts, "user": role, "dbname": database})

    def _with_passfile(self, parts: dict[str, Any]) -> str:
        if self.passfile is not None and parts.get("password") is None:
            parts.setdefault("passfile", self.passfile)
        return make_conninfo("", **parts)


_WORDS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
_LIMITS = (
    ("slots", 1, 1000),
    ("http_slots", 0, 10_000),
    ("lease_seconds", 1, 3600),
    ("poll_seconds", 0.05, 60),
)


def from_environment(environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """The settings: what is given (and not None), else the environment's, else the defaults.

    Raises ``SettingsError`` for a value that cannot be one, or when no dsn is to be found.
    """
    environment = os.environ if environment is None else environment
    chosen: dict[str, Any] = {}
    for field in fields(Settings):
        text = environment.get(PREFIX + field.name.upper())
        if given.get(field.name) is not None:
            chosen[field.name] = given[field.name]
        elif text:
            chosen[field.name] = _converted(field.name, str(field.type), text)
    if "dsn" not in chosen:
        raise SettingsError("no server: give --dsn or set PERDURE_DSN")
    return Settings(**chosen)


def _converted(name: str, kind: str, text: str) -> Any:
    if kind == "bool":
        if text.lower() not in _WORDS:
            raise SettingsError(f"{PREFIX}{name.upper()} must be on or off, not {text!r}")
        return _WORDS[text.lower()]
    try:
        return {"int": int, "float": float}.get(kind, str)(text)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name.upper()} must be a number, not {text!r}") from error


def _parts(dsn: str) -> dict[str, Any]:
    return dict(conninfo_to_dict(dsn))


def _filled(value: Any, role: str, database: str) -> Any:
    if not isinstance(value, str):
        return value
    before, found, after = value.partition("{role}")  # piece by piece: a role named {database} stays what it is
    rest = [piece.replace("{database}", database) for piece in (before, after)]
    return f"{rest[0]}{role}{_filled(after, role, database)}" if found else rest[0]
