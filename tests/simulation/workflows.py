"""Small workflows by chance, which come to their end whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from graphs import Envelope, break_, if_, join, loop, race, signal, sleep, sql, then, wait_instance

SIGNALS = ("go", "stop")


def small_graph(random: Random, size: int, in_loop: bool = False) -> Envelope:
    """A graph that comes to its end whatever happens."""
    if size <= 1:
        return _leaf(random, in_loop)
    share = random.randint(1, size - 1)

    def part(of: int, looping: bool = in_loop) -> Envelope:
        return small_graph(random, of, looping)

    name = random.choice(("n", None))
    makers: list[Callable[[], Envelope]] = [
        lambda: then(part(share), part(size - share), name=name),
        lambda: then(part(share), part(size - share), name=name),
        lambda: if_(_coin(), part(share), part(size - share), name=name),
        lambda: join(part(share), part(size - share), name=name),
        lambda: race(part(share), part(size - share), name=name),
        lambda: loop(part(size - 1, True), _coin(), name=name),
    ]
    return random.choice(makers)()


def _coin() -> Envelope:
    return sql("SELECT 'key:{sys_step_key}' coin")


def _leaf(random: Random, in_loop: bool) -> Envelope:
    name = random.choice(("n", None))
    makers: list[Callable[[], Envelope]] = [
        lambda: sql("INSERT INTO t VALUES ('key:{sys_step_key}')", name),
        lambda: sql("INSERT INTO t VALUES ('key:{sys_step_key}')", name),
        lambda: sql("SELECT 'key:{sys_step_key}'", name),
        lambda: sql("SELECT 'key:{sys_step_key}', $n?", name),
        lambda: sql("SELECT 'key:{sys_step_key}' flaky", name),
        lambda: sql("VACUUM", name),
        lambda: sleep(random.choice((0, 1)), name),
        lambda: signal(random.choice(SIGNALS), 1.5, name),
        lambda: wait_instance(random.choice(("0000000a", "0000000b", "ffffffff")), 1.5, name),
    ]
    if in_loop:
        makers += [lambda: break_("x"), lambda: break_("$n?")]
    return random.choice(makers)()
