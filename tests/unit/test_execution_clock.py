"""No decision of a worker follows its own clock: how long a step has been failing is the server's to say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perdure.eventstore.engine import Claimed
from perdure.work import lease_of


def claimed(clock: datetime, first_failed_at: datetime | None) -> Claimed:
    """A step as a claim answers it."""
    fields: dict[str, object] = dict.fromkeys(Claimed._fields)
    fields |= {"lane": "sql", "kind": "sql", "bucket": 0, "instance_id": "00c0ffee", "seq": 3, "execution_id": 1}
    fields |= {"token": "t", "input": '{"query":"SELECT 1","names":{}}', "attempt": 2, "autocommit": False}
    return Claimed(**{**fields, "clock": clock, "first_failed_at": first_failed_at})  # type: ignore[arg-type]


@pytest.mark.parametrize("hours_off", [0, 5, -5])
def test_how_long_a_step_fails_is_measured_by_the_server(hours_off: int) -> None:
    server = datetime.now(UTC) + timedelta(hours=hours_off)
    lease = lease_of(claimed(server, server - timedelta(seconds=7)))
    assert 7 <= lease.failing() < 8


def test_a_first_attempt_has_not_failed_yet() -> None:
    assert lease_of(claimed(datetime.now(UTC), None)).failing() == 0
