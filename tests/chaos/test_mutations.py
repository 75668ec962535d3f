"""The real engine with one rule disabled fails the tests of crash points; see mutations.py."""

from __future__ import annotations

import pytest

from chaos.mutations import MUTATIONS, Mutation, noticed
from cluster import Cluster


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_the_suite_notices(cluster: Cluster, mutation: Mutation) -> None:
    assert noticed(cluster, mutation) is not None


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_suite_passes_on_the_engine_as_it_is(cluster: Cluster) -> None:
    assert noticed(cluster, None) is None
