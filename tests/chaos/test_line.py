"""Connections that break within a message, and a network that is slow: under a load of mixed workflows."""

from __future__ import annotations

import os

import pytest

from chaos.crashing import QUICK
from chaos.faults import failed_attempts, flows, registered, work_goes_on
from chaos.line import Line, line
from chaos.load import Load, probe, settle
from chaos.nursery import Child, Nursery
from chaos.receiver import receiver
from cluster import WORKER, Database

SEED = int(os.environ.get("PERDURE_SEED", "1"))
BREAKS = int(os.environ.get("PERDURE_BREAKS", "24"))


def start(children: Nursery, database: Database, network: Line, **more: float) -> Child:
    """A worker that reaches the server by this line only."""
    dsn, role_dsn = network.dsn(database.dsn(WORKER)), network.dsn(database.role_dsn)
    return children.start(dsn, role_dsn, **{**QUICK, **more})


@pytest.mark.timeout(max(300, BREAKS * 3))
def test_messages_are_cut_in_the_middle(database: Database, children: Nursery) -> None:
    """Half a question reaches the server, or half an answer the only worker, and the connection is gone."""
    with line(database.dsn(WORKER), SEED) as network, receiver(database) as url:
        load = Load(database, SEED, url=url)
        load.prepare()
        worker = start(children, database, network)
        registered(database, worker)
        load.begin()
        for number in range(BREAKS):
            work_goes_on(database)
            network.break_next("question" if number % 2 else "answer", 60)
        taken = flows(database)
        load.end()
        ends = settle(database, load)
        print(f"{network.breaks} breaks, a new workflow ended after {taken:.1f} s: {ends}")
        assert worker.alive


@pytest.mark.timeout(300)
def test_slow_network(database: Database, children: Nursery) -> None:
    """50 ms one way, and a few bytes at a time: everything takes longer, and nothing is taken for lost."""
    load = Load(database, SEED)
    load.prepare()
    with line(database.dsn(WORKER), SEED) as network:
        network.delay, network.crumbs = 0.05, True
        worker = start(children, database, network, slots=8, lease_seconds=30)
        registered(database, worker)
        load.begin()
        work_goes_on(database, 40)
        taken = probe(database, 60)
        load.end()
        ends = settle(database, load)
        print(f"a new workflow ended after {taken:.1f} s: {ends}")
        assert worker.alive
        assert failed_attempts(database) == []
