"""HTTP steps: the policy of the role, the rendered request, the raw result."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from perdure import secrets
from perdure.activities.egress import Policy
from perdure.activities.failures import ActivityError
from perdure.activities.http import HttpClient
from perdure.activities.request import parse_request
from perdure.eventstore.engine import Engine
from perdure.orchestrator.substitution import SubstitutionError, render_part_data, render_raw

if TYPE_CHECKING:
    from perdure.work import Lease


@contextlib.contextmanager
def telling_no_secret(vault: secrets.Vault) -> Iterator[None]:
    """Whatever is raised inside, and may be shown or logged, is raised without the values of the vault."""
    try:
        yield
    except ActivityError as error:
        raise (vault.without_values(error) if vault.names else error) from None
    except SubstitutionError as error:
        raise SubstitutionError(vault.hidden(str(error))) from None
    except Exception as error:
        if not vault.names:
            raise
        raise RuntimeError(f"{type(error).__name__}: {vault.hidden(str(error))}") from None


class HttpSteps:
    """Performs HTTP steps for one worker."""

    def __init__(self, engine: Engine, client: HttpClient | None = None, keys: tuple[str, ...] = ()) -> None:
        self._engine = engine
        self._keys = keys
        self._client = client or HttpClient()

    def perform(
        self, lease: Lease, variables: Mapping[str, str], results: Mapping[str, str], cancelled: threading.Event
    ) -> str:
        """Send the request; the raw result. Raises ActivityError and SubstitutionError."""
        vault = self._vault(lease)
        policy = Policy.from_json(self._engine.call("http_policy", lease.owner)[0][0])

        def rendered(text: str) -> str:
            return render_raw(text, variables, results)

        def data(text: str) -> str:
            return render_part_data(text, variables, results)

        with telling_no_secret(vault):
            request = parse_request(lease.kind.upper(), lease.text, vault.filled(rendered), data)
            if vault.names:
                shown = parse_request(lease.kind.upper(), lease.text, rendered, data)
                request = replace(request, shown_url=shown.url, hide=vault.hidden)
            return vault.hidden_result(self._client.perform(request, policy, variables["sys_step_key"], cancelled))

    def _vault(self, lease: Lease) -> secrets.Vault:
        names = secrets.mentioned(lease.text)
        if not names:
            return secrets.NONE
        sealed = dict(self._engine.mine("secrets", lease.owner, names))
        return secrets.vault(self._keys, lease.owner_name, names, sealed)
