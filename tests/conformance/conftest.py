"""The places that scripts of users run in: see ``stage``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import Cluster
from stage import Stage, running_stage


@pytest.fixture(scope="session", params=["superuser", "service"])
def stage(
    request: pytest.FixtureRequest, cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A database with a worker, shared by all tests that ask for it; once for each kind of worker."""
    folder = tmp_path_factory.mktemp(f"stage-{request.param}")
    with running_stage(cluster, template, request.param, folder) as running:
        yield running
