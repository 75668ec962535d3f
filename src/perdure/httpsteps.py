"""HTTP steps: the policy of the role, the rendered request, the raw result."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from perdure.activities.egress import Policy
from perdure.activities.http import HttpClient
from perdure.activities.request import parse_request
from perdure.eventstore.engine import Engine
from perdure.orchestrator.substitution import render_part_data, render_raw

if TYPE_CHECKING:
    from perdure.turns import Lease


class HttpSteps:
    """Performs HTTP steps for one worker."""

    def __init__(self, engine: Engine, client: HttpClient | None = None) -> None:
        self._engine = engine
        self._client = client or HttpClient()

    def perform(
        self, lease: Lease, variables: Mapping[str, str], results: Mapping[str, str], cancelled: threading.Event
    ) -> str:
        """Send the request; the raw result. Raises ActivityError and SubstitutionError."""
        request = parse_request(
            lease.kind.upper(),
            lease.text,
            lambda text: render_raw(text, variables, results),
            lambda text: render_part_data(text, variables, results),
        )
        policy = Policy.from_json(self._engine.call("http_policy", lease.owner)[0][0])
        return self._client.perform(request, policy, variables["sys_step_key"], cancelled)
