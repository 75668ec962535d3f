"""SQL steps on a session logged in as the submitting role.

Two forms over the same finish (``schema/functions/engine_steps.sql``). A statement that cannot return rows runs by one
call that also commits its completion. Any other runs by itself in an open transaction, its rows are read with a limit,
and the completion follows in one message with COMMIT. What must run outside a transaction does, at least once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

from perdure.activities.encode import (
    Column,
    NeedsServer,
    ResultTooLarge,
    RowEncoder,
    exotic_columns,
    unsupported_unicode,
)
from perdure.activities.failures import ActivityError, Failure
from perdure.activities.sqlstates import sql_failure
from perdure.activities.statements import StatementError, too_large
from perdure.eventstore.calls import CALLS
from perdure.eventstore.connections import Link

EMPTY = '{"rows":[],"row_count":0}'
STEP_OPTIONS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "idle_session_timeout": "0",
    # Between a step and its end nobody has forgotten the transaction; a worker that froze there is waited for so long.
    "idle_in_transaction_session_timeout": "5min",
    "client_connection_check_interval": "2s",
    "df.in_workflow": "true",
}


def _numbered(statement: str) -> bytes:
    """libpq's own placeholders."""
    parts = statement.split("%s")
    return "".join(f"{part}${n}" for n, part in enumerate(parts[:-1], start=1)).encode() + parts[-1].encode()


_RUN_STEP = _numbered(CALLS["run_step"])
_FINISH = _numbered(CALLS["finish"])
_BEGIN_STEP = _numbered(CALLS["begin_step"])


def _parameter(value: Any) -> bytes | None:
    """A parameter in text format: text, integers, and arrays of text."""
    if value is None:
        return None
    if isinstance(value, list):
        quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in value)
        return ("{" + ",".join(quoted) + "}").encode()
    return str(value).encode()


class StepSession:
    """One connection of one role in one database. Used by one thread at a time; ``cancel`` may come from any."""

    def __init__(self, connection: Link, owner: int, role: str, database: str, login: str | None = None) -> None:
        """``owner`` is the role's oid, ``login`` the proxy's name where that is not the role itself.

        Raises psycopg.Error, and WrongRole when the session turns out to be somebody else's: names can be changed.
        """
        self.connection = connection
        self.key = (database, owner)
        self.role = "none" if login is None else role
        self.login = login or role
        self.spoiled = False
        self.owner = owner
        self.noted = False
        self.checked_at = 0.0
        self._prepared = False
        with connection.transaction():  # through a pooler the two must run in one session, which keeps nothing of it
            connection.execute(CALLS["become"], (self.role, connection.pooled))
            row = connection.execute(CALLS["who_am_i"]).fetchone()
        if row is None or row[1] != owner:
            raise WrongRole(f"the login {self.login} is not the role that started the workflow")
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

    def run_and_finish(self, statement: str, arguments: Sequence[Any]) -> list[str]:
        """The statement and its completion in one call; (outcome, head, clock).

        Straight to libpq, prepared once: this is the hot path, and adapting eighteen parameters costs more than the
        step. Raises ActivityError or psycopg.OperationalError.
        """
        pgconn = self.connection.pgconn
        if pgconn.parameter_status(b"client_encoding") != b"UTF8":
            self.clean()  # the server would take the parameters for another encoding's
        parameters: Any = [_parameter(value) for value in (self.role, statement, *arguments)]
        if self.connection.pooled:
            return self._run_pooled(parameters)
        with self.connection.lock:
            if not self._prepared:
                self._prepared = pgconn.prepare(b"perdure_run_step", _RUN_STEP).status == ExecStatus.COMMAND_OK
                if not self._prepared:  # an earlier step took the name
                    self.spoiled = True
                    raise psycopg.OperationalError("the session cannot be used any more")
            result = pgconn.exec_prepared(b"perdure_run_step", parameters)
        if result.status == ExecStatus.TUPLES_OK:
            return (result.get_value(0, 0) or b"").decode().split(" ")
        if pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError("the connection was lost while a step was finishing")
        raise StatementError(result)

    def _run_pooled(self, parameters: list[bytes | None]) -> list[str]:
        """The same through a pooler: nothing prepared, and a transaction that follows no defaults of the session."""
        pgconn = self.connection.pgconn
        try:
            with self.connection.lock:
                pgconn.enter_pipeline_mode()
                pgconn.send_query_params(CALLS["begin"].encode(), None)
                pgconn.send_query_params(CALLS["own_timeout"].encode(), None)
                pgconn.send_query_params(_RUN_STEP, parameters)
                pgconn.send_query_params(CALLS["commit"].encode(), None)
                return self._answer(4)
        finally:
            self.rollback()

    def _answer(self, statements: int) -> list[str]:
        """Send what stands in the pipeline and leave it: the row of the one statement that has one, in words."""
        pgconn = self.connection.pgconn
        pgconn.pipeline_sync()
        self.connection.wait(generators.send(pgconn))
        results = [result for _ in range(statements + 1) for result in self._results()]
        if pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError("the connection was lost while a step was finishing")
        pgconn.exit_pipeline_mode()
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise StatementError(result)
        answer = next(result for result in results if result.ntuples == 1)
        return (answer.get_value(0, 0) or b"").decode().split(" ")

    def clean(self) -> None:
        """An earlier step left the session so that the next cannot begin: undo that, and prepare again."""
        self._prepared = False
        try:
            if self.connection.pooled:
                self.connection.execute(CALLS["pooled_step"])
                return
            self.connection.execute("DEALLOCATE ALL")
            self.connection.execute("SET default_transaction_read_only = off")
            self.connection.execute(CALLS["reset_session"], (self.role,))
        except psycopg.Error as error:
            raise self._translated(error) from error

    # -- form (a) ---------------------------------------------------------------------------------------------------

    def begin_and_run(self, statement: str, limit: int) -> tuple[str, str]:
        """Open the step's transaction and run the user's text in it, as one statement of the extended protocol.

        One message. Returns the transaction's id, which finish compares, and the raw result. Raises ActivityError; the
        transaction is then aborted or over and must be rolled back.
        """
        pgconn = self.connection.pgconn
        with self.connection.lock:
            pgconn.enter_pipeline_mode()
            pgconn.send_query_params(CALLS["begin"].encode(), None)
            pgconn.send_query_params(CALLS["own_timeout"].encode(), None)
            pgconn.send_query_params(_BEGIN_STEP, [self.role.encode()])
            pgconn.send_query_params(statement.encode(), None)
            pgconn.pipeline_sync()
            self.connection.wait(generators.send(pgconn))
            for _ in range(2):
                self._must_succeed(self._results())
            opened = self._results()
            self._must_succeed(opened)
            xid = (opened[0].get_value(0, 0) or b"").decode()
            pgconn.set_single_row_mode()
            columns, rows, problem = self._rows(limit)
            self._results()
            pgconn.exit_pipeline_mode()
        if problem is not None:
            raise problem
        return xid, self._raw(columns, rows, limit)

    def _results(self) -> list[Any]:
        """The results of the next statement of a pipeline (or its end)."""
        results = []
        while (result := self.connection.wait(generators.fetch(self.connection.pgconn))) is not None:
            results.append(result)
            if result.status == ExecStatus.PIPELINE_SYNC:
                break
        return results

    def _must_succeed(self, results: list[Any]) -> None:
        """The engine's own statements before the user's: if they fail, nothing of the step has happened."""
        for result in results:
            if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
                self.spoiled = True
                problem = StatementError(result)
                self.connection.close()
                raise problem

    def finish(self, xid: str, arguments: Sequence[Any]) -> list[str]:
        """Write the completion and commit, in one message; (outcome, head, clock).

        Not a prepared statement: the user's statement may just have dropped it. The parameters travel apart from the
        text, which code that runs at COMMIT could read.
        """
        pgconn = self.connection.pgconn
        with self.connection.lock:
            pgconn.enter_pipeline_mode()
            # libpq keeps the single-row mode of the last query for the first of a pipeline: let that have no rows.
            pgconn.send_query_params(CALLS["no_rows"].encode(), None)
            pgconn.send_query_params(_FINISH, [_parameter(value) for value in (xid, *arguments)])
            pgconn.send_query_params(CALLS["commit"].encode(), None)
            return self._answer(3)

    def rollback(self) -> None:
        """Undo the step; a session that cannot is not used again."""
        try:
            if self.connection.info.transaction_status != TransactionStatus.IDLE:
                self.connection.execute(CALLS["rollback"])
        except psycopg.Error:
            self.spoiled = True

    # -- outside a transaction --------------------------------------------------------------------------------------

    def run_outside(self, statement: str, limit: int) -> str:
        """Run the text as it is, in autocommit. What it leaves in the session is not known: no step follows there."""
        self.spoiled = True
        if self.connection.pooled:
            return self._run_in_any(statement, limit)
        self.connection.execute(CALLS["reset_session"], (self.role,))
        return self.run(statement, limit)

    def run_elsewhere(self, statement: str, limit: int) -> str:
        """Run the text in a database that need not have the engine installed, in autocommit."""
        if self.connection.pooled:
            return self._run_in_any(statement, limit)
        self.connection.execute("DISCARD ALL")
        self.connection.execute("SELECT pg_catalog.set_config('role', %s, false)", (self.role,))
        return self.run(statement, limit)

    def _run_in_any(self, statement: str, limit: int) -> str:
        """Run the text in whichever session the pooler gives, as that was left; poolers keep the encoding apart."""
        if self.role != "none":
            words = "through a pooler, a proxy login can run nothing outside a transaction or in another database"
            raise ActivityError(Failure(f"SQL execution failed: {words}", sqlstate="0A000"))
        self.connection.execute(CALLS["pooled_step"])
        return self.run(statement, limit)

    # -- inside -----------------------------------------------------------------------------------------------------

    def run(self, statement: str, limit: int) -> str:
        """Run the text as one statement of the extended protocol, in autocommit; the raw result."""
        pgconn = self.connection.pgconn
        with self.connection.lock:
            pgconn.send_query_params(statement.encode(), None)
            pgconn.set_single_row_mode()
            self.connection.wait(generators.send(pgconn))
            columns, rows, problem = self._rows(limit)
        if problem is not None:
            raise problem
        return self._raw(columns, rows, limit)

    def _raw(self, columns: list[Column], rows: list[tuple[bytes | None, ...]], limit: int) -> str:
        if not rows:
            return EMPTY
        if self.connection.pgconn.parameter_status(b"client_encoding") != b"UTF8":
            self.spoiled = True  # rows of one message may be in either encoding
            raise ActivityError(sql_failure("0A000", "a step must not change client_encoding", None, None))
        text, checked = self._encoded(columns, rows, limit)
        if checked:
            self._must_fit_jsonb(text)
        return text

    def _rows(self, limit: int) -> tuple[list[Column], list[tuple[bytes | None, ...]], Exception | None]:
        """The rows of the statement under way, as long as they fit into the limit (bytes), or what went wrong."""
        connection, pgconn = self.connection, self.connection.pgconn
        columns: list[Column] = []
        rows: list[tuple[bytes | None, ...]] = []
        size = 0
        problem: ActivityError | None = None
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
                        self.spoiled = True
                        pgconn.get_cancel().cancel()
            elif result.status in (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH):
                self.spoiled = True
                connection.close()
                raise ActivityError(sql_failure("0A000", "COPY to or from the client cannot be a step", None, None))
            elif result.status == ExecStatus.FATAL_ERROR and problem is None:
                problem = StatementError(result)
        if pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError(str(problem or "the connection was lost while a step was running"))
        return columns, rows, problem

    def _encoded(self, columns: list[Column], rows: list[tuple[bytes | None, ...]], limit: int) -> tuple[str, bool]:
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
            f"SELECT pg_catalog.to_json(u.v{cast})::pg_catalog.text"
            " FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[])) WITH ORDINALITY AS u(v, n) ORDER BY u.n"
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
        failure = sql_failure(
            error.sqlstate, diag.message_primary or str(error), diag.message_detail, diag.message_hint
        )
        found.fill(failure, diag.source_function, diag.context)
        return found


class WrongRole(Exception):
    """The session that was opened is not the role's whose step is to run."""


def _columns(result: Any) -> list[Column]:
    return [Column((result.fname(i) or b"").decode("utf-8", "replace"), result.ftype(i)) for i in range(result.nfields)]
