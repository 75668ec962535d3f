"""SQL steps on a session logged in as the submitting role.

Two forms over the same finish (``schema/functions/engine_steps.sql``). A statement that cannot return rows runs by one
call that also commits its completion. Any other runs by itself in an open transaction, its rows are read with a limit,
and the completion follows in one message with COMMIT. What must run outside a transaction does, at least once.
"""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus

from perdure.activities.encode import Column, NeedsServer, ResultTooLarge, RowEncoder, exotic_columns, unsupported_unicode
from perdure.activities.failures import ActivityError, Failure
from perdure.activities.sqlstates import sql_failure
from perdure.eventstore.calls import CALLS

EMPTY = '{"rows":[],"row_count":0}'
STEP_OPTIONS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "client_connection_check_interval": "2s",
    "df.in_workflow": "true",
}
_PLAIN = re.compile(r"\s*(?:insert|update|delete|merge)\b", re.IGNORECASE)
_RETURNS = re.compile(r"\breturning\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(\w+)", re.DOTALL)


def returns_no_rows(statement: str) -> bool:
    """Whether the text is surely one statement that returns no rows, judged by its words alone; when in doubt, False."""
    if _PLAIN.match(statement) is None or _RETURNS.search(statement) is not None:
        return False
    return ";" not in statement.rstrip().rstrip(";")


class StepSession:
    """One connection of one role in one database. Used by one thread at a time; ``cancel`` may come from any."""

    def __init__(self, connection: psycopg.Connection[Any], role: str, database: str, proxied: bool) -> None:
        self.connection = connection
        self.key = (database, role)
        self.role = role if proxied else "none"
        self.spoiled = False
        self._running = threading.Event()
        row = connection.execute("SELECT pg_catalog.pg_backend_pid(), pg_catalog.now()").fetchone()
        assert row is not None
        self.backend_pid = int(row[0])

    @property
    def usable(self) -> bool:
        """Whether another step may run here."""
        return not self.spoiled and not self.connection.closed

    def close(self) -> None:
        """End the session."""
        self.connection.close()

    def cancel(self) -> None:
        """Stop the statement that runs here. A session that was sent a cancel is thrown away afterwards."""
        self.spoiled = True
        try:
            self.connection.cancel_safe(timeout=5)
        except psycopg.Error:
            self.connection.close()

    # -- form (b) ---------------------------------------------------------------------------------------------------

    def run_and_finish(self, statement: str, arguments: Sequence[Any]) -> Any:
        """The statement and its completion in one call. Raises ActivityError or psycopg.OperationalError."""
        try:
            return self.connection.execute(CALLS["run_step"], (self.role, statement, *arguments), prepare=True).fetchone()
        except psycopg.Error as error:
            raise self._translated(error) from error

    # -- form (a) ---------------------------------------------------------------------------------------------------

    def begin(self) -> str:
        """Open the step's transaction; its id."""
        cursor = self.connection.execute(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT df_engine.begin_step_v1("
            + psycopg.sql.quote(self.role, self.connection)
            + ")"
        )
        cursor.nextset()
        row = cursor.fetchone()
        assert row is not None
        return str(row[0])

    def run(self, statement: str, limit: int) -> str:
        """Run the user's text as one statement of the extended protocol; the raw result.

        Raises ActivityError; the transaction is then aborted or over and must be rolled back.
        """
        columns, rows = self._execute(statement, limit)
        if not columns or not rows:
            return EMPTY
        text, checked = self._encoded(columns, rows, limit)
        if checked:
            self._must_fit_jsonb(text)
        return text

    def finish(self, xid: str, arguments: Sequence[Any]) -> Any:
        """Write the completion and commit, in one message."""
        try:
            with self.connection.pipeline():
                # libpq keeps the single-row mode of the last query for the first one of a pipeline: let it be one
                # without rows.
                self.connection.execute(CALLS["no_rows"])
                cursor = self.connection.execute(CALLS["finish"], (xid, *arguments), prepare=True)
                self.connection.execute(CALLS["commit"])
            return cursor.fetchone()
        except psycopg.Error as error:
            raise self._translated(error) from error

    def rollback(self) -> None:
        """Undo the step; a session that cannot is not used again."""
        try:
            if self.connection.info.transaction_status != TransactionStatus.IDLE:
                self.connection.execute(CALLS["rollback"])
        except psycopg.Error:
            self.spoiled = True

    # -- outside a transaction --------------------------------------------------------------------------------------

    def run_outside(self, statement: str, limit: int) -> str:
        """Run the text as it is, in autocommit."""
        self.connection.execute(CALLS["reset_session"], (self.role,))
        return self.run(statement, limit)

    def run_elsewhere(self, statement: str, limit: int) -> str:
        """Run the text in a database that need not have the engine installed, in autocommit."""
        self.connection.execute("DISCARD ALL")
        return self.run(statement, limit)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _execute(self, statement: str, limit: int) -> tuple[list[Column], list[tuple[bytes | None, ...]]]:
        connection, pgconn = self.connection, self.connection.pgconn
        columns: list[Column] = []
        rows: list[tuple[bytes | None, ...]] = []
        size = 0
        problem: ActivityError | None = None
        with connection.lock:
            pgconn.send_query_params(statement.encode(), None)
            pgconn.set_single_row_mode()
            connection.wait(generators.send(pgconn))
            while (result := connection.wait(generators.fetch(pgconn))) is not None:
                if result.status in (ExecStatus.SINGLE_TUPLE, ExecStatus.TUPLES_OK):
                    columns = columns or _columns(result)
                    if problem is None and result.status == ExecStatus.SINGLE_TUPLE:
                        row = tuple(result.get_value(0, i) for i in range(len(columns)))
                        size += sum(len(value) for value in row if value is not None) + 1
                        rows.append(row)
                        if size > limit:
                            problem = too_large(limit)
                            rows.clear()
                            pgconn.get_cancel().cancel()
                elif result.status in (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH):
                    self.spoiled = True
                    connection.close()
                    raise ActivityError(sql_failure("0A000", "COPY to or from the client cannot be a step", None, None))
                elif result.status == ExecStatus.FATAL_ERROR and problem is None:
                    problem = StatementError(result)
        if problem is not None:
            if isinstance(problem, StatementError) and pgconn.status != psycopg.pq.ConnStatus.OK:
                raise psycopg.OperationalError(str(problem))
            raise problem
        return columns, rows

    def _encoded(
        self, columns: list[Column], rows: list[tuple[bytes | None, ...]], limit: int
    ) -> tuple[str, bool]:
        as_json = set(exotic_columns(columns))
        for _ in range(len(columns) + 1):
            try:
                given = self._converted(columns, rows, as_json) if as_json else rows
                encoder = RowEncoder(columns, limit, as_json=frozenset(as_json))
                for row in given:
                    encoder.add(row)
                text = encoder.finish()
                return text, bool(as_json) or encoder.needs_check
            except NeedsServer as need:
                as_json.add(need.column)
            except ResultTooLarge:
                raise too_large(limit) from None
        raise AssertionError("every column was converted and one still needs the server")

    def _converted(
        self, columns: list[Column], rows: list[tuple[bytes | None, ...]], as_json: set[int]
    ) -> list[tuple[bytes | None, ...]]:
        """Values of other types as the server's own to_json writes them."""
        oids = list({columns[i].type_oid for i in as_json})
        try:
            names = dict(self.connection.execute(CALLS["type_names"], (oids,)).fetchall())
            table = [list(row) for row in rows]
            for index in as_json:
                values = [None if row[index] is None else row[index].decode() for row in table]  # type: ignore[union-attr]
                for row, text in zip(table, self._to_json(values, names.get(columns[index].type_oid)), strict=True):
                    row[index] = None if text is None else text.encode()
        except psycopg.Error as error:
            raise self._translated(error) from error
        return [tuple(row) for row in table]

    def _to_json(self, values: list[str | None], type_name: str | None) -> list[str | None]:
        cast = "" if type_name is None else f"::{type_name}"
        query = (
            f"SELECT pg_catalog.to_json(u.v{cast})::pg_catalog.text FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[]))"
            " WITH ORDINALITY AS u(v, n) ORDER BY u.n"
        )
        return [row[0] for row in self.connection.execute(query, (values,)).fetchall()]

    def _must_fit_jsonb(self, text: str) -> None:
        """df.result shows results as jsonb; what jsonb cannot hold fails here, while the step can still roll back."""
        try:
            self.connection.execute(CALLS["check_jsonb"], (text,))
        except psycopg.Error as error:
            raise self._translated(error) from error
        if unsupported_unicode(text):
            raise ActivityError(sql_failure("22P05", "the result holds \\u0000, which cannot be stored", None, None))

    def _translated(self, error: psycopg.Error) -> Exception:
        """The step's own failure, or the error itself when the connection is lost and the outcome unknown."""
        if self.connection.closed or self.connection.broken or error.sqlstate is None:
            return error
        diag = error.diag
        found = StatementError.__new__(StatementError)
        ActivityError.__init__(
            found,
            sql_failure(error.sqlstate, diag.message_primary or str(error), diag.message_detail, diag.message_hint),
        )
        found.source_function = diag.source_function
        found.context = diag.context
        if error.sqlstate == "55P03" and "function df_engine.finish(" in (diag.context or ""):
            # The instance was locked for a second (a cancel in an open transaction): not the statement's fault.
            found.failure = replace(found.failure, transient=True)
        return found


class StatementError(ActivityError):
    """The server refused the statement; who says so in the server (``source_function``) tells what may be done."""

    def __init__(self, result: Any) -> None:
        def field(which: DiagnosticField) -> str | None:
            value = result.error_field(which)
            return None if value is None else value.decode("utf-8", "replace")

        message = field(DiagnosticField.MESSAGE_PRIMARY) or result.error_message.decode("utf-8", "replace").strip()
        super().__init__(
            sql_failure(
                field(DiagnosticField.SQLSTATE),
                message,
                field(DiagnosticField.MESSAGE_DETAIL),
                field(DiagnosticField.MESSAGE_HINT),
            )
        )
        self.source_function = field(DiagnosticField.SOURCE_FUNCTION)
        self.context = field(DiagnosticField.CONTEXT)

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


def _columns(result: Any) -> list[Column]:
    return [Column((result.fname(i) or b"").decode(), result.ftype(i)) for i in range(result.nfields)]
