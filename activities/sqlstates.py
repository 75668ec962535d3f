"""What a SQLSTATE says about trying again, and a server's error as a ``Failure``."""

from __future__ import annotations

from perdure.activities.failures import Failure

_TRANSIENT = frozenset(
    (
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53100",  # disk_full
        "53200",  # out_of_memory
        "53300",  # too_many_connections
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    )
)
# protocol_violation is what a stray $1 in the user's text gives: trying again cannot help.
_LASTING = frozenset(("08P01",))


def is_transient(sqlstate: str | None) -> bool:
    """Whether the same statement may succeed when tried again.

    None stands for an error that no server reported: the connection was lost, or never made.
    """
    if sqlstate is None or sqlstate in _TRANSIENT:
        return True
    return sqlstate.startswith("08") and sqlstate not in _LASTING


def sql_failure(sqlstate: str | None, message: str, detail: str | None, hint: str | None) -> Failure:
    """The failure of a SQL step, in the reference's words."""
    return Failure(
        message=f"SQL execution failed: error returned from database: {message}",
        sqlstate=sqlstate,
        detail=detail,
        hint=hint,
        transient=is_transient(sqlstate),
    )
