"""The worker's reader of graphs: whatever df.start takes it reads, and everything else it refuses in words."""

from __future__ import annotations

import pytest

from perdure.orchestrator.graph import GraphError, parse

BIG = "9" * 5000
SQL = '{"node_type":"SQL","query":"SELECT 1"'


@pytest.mark.parametrize(
    "text",
    [
        f'{SQL},"odd":{BIG}}}',
        f'{SQL},"odd":-{BIG}}}',
        f'{{"node_type":"SIGNAL","query":"{{\\"signal_name\\":\\"x\\",\\"odd\\":{BIG}}}"}}',
    ],
)
def test_numbers_of_any_length_are_read(text: str) -> None:
    """jsonb takes them, and Python's int does not."""
    assert len(parse(text).nodes) == 1


@pytest.mark.parametrize(
    "text",
    [
        f'{SQL},"extra_nodes":5}}',
        f'{SQL},"extra_nodes":{{"a":1}}}}',
        '{"node_type":"SQL","query":5}',
        f'{SQL},"result_name":[]}}',
        '{"node_type":["SQL"]}',
        '{"node_type":"SIGNAL","query":"[]"}',
        "[]",
        "5",
        "[" * 100_000,
        '{"node_type":"JOIN","left_node":5,"right_node":6}',
    ],
)
def test_what_is_no_graph_is_refused_in_words(text: str) -> None:
    with pytest.raises(GraphError):
        parse(text)
