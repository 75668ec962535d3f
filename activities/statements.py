"""Statements of users: what their words tell beforehand, and what the server's refusal tells afterwards."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from psycopg.pq import DiagnosticField

from perdure.activities.failures import ActivityError, Failure
from perdure.activities.sqlstates import sql_failure

_PLAIN = re.compile(r"\s*(?:insert|update|delete|merge)\b", re.IGNORECASE)
_RETURNS = re.compile(r"\breturning\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(\w+)", re.DOTALL)


def returns_no_rows(statement: str) -> bool:
    """Whether the text is surely one statement that returns no rows, judged by its words alone; if in doubt, no."""
    if _PLAIN.match(statement) is None or _RETURNS.search(statement) is not None:
        return False
    return ";" not in statement.rstrip().rstrip(";")


class StatementError(ActivityError):
    """The server refused the statement; who says so in the server (``source_function``) tells what may be done."""

    def __init__(self, result: Any) -> None:
        def field(which: DiagnosticField) -> str | None:
            value = result.error_field(which)
            return None if value is None else value.decode("utf-8", "replace")

        message = field(DiagnosticField.MESSAGE_PRIMARY) or result.error_message.decode("utf-8", "replace").strip()
        failure = sql_failure(
            field(DiagnosticField.SQLSTATE),
            message,
            field(DiagnosticField.MESSAGE_DETAIL),
            field(DiagnosticField.MESSAGE_HINT),
        )
        self.fill(failure, field(DiagnosticField.SOURCE_FUNCTION), field(DiagnosticField.CONTEXT))

    def fill(self, failure: Failure, source_function: str | None, context: str | None) -> None:
        """What the server said, and where in it."""
        # The instance was locked for a second (a cancel in an open transaction): not the statement's fault.
        self.locked = failure.sqlstate == "55P03" and "function df_engine.finish" in (context or "")
        if self.locked:
            failure = replace(failure, transient=True)
        super().__init__(failure)
        self.source_function = source_function
        self.context = context

    @property
    def unclean(self) -> bool:
        """An earlier step left the session unfit (DEALLOCATE ALL, other defaults for transactions); nothing has run.

        A statement that raises this itself was rolled back, and gains one more try.
        """
        return self.failure.sqlstate == "DF003" or (self.failure.sqlstate == "26000" and not self.context)

    def needs_autocommit(self, statement: str) -> bool:
        """Whether the server itself refused the statement only because it stood in a transaction.

        Told by the C function that raised: users' code can raise the same codes, but not from there.
        """
        word = _FIRST_WORD.match(statement)
        if self.failure.sqlstate == "25001":
            return self.source_function == "PreventInTransactionBlock" and not self.context
        if self.failure.sqlstate == "2D000" and word is not None and word.group(1).lower() in ("call", "do"):
            return self.source_function in ("_SPI_commit", "_SPI_rollback", "SPI_commit", "SPI_rollback")
        return False


def too_large(limit: int) -> ActivityError:
    """The words for a result over the limit."""
    message = f"the step's result is larger than max_result_bytes ({limit} bytes); select less, or store it in a table"
    return ActivityError(Failure(f"SQL execution failed: {message}", sqlstate="54000"))
