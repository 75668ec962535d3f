from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from perdure.activities.encode import Column, encode_rows, unsupported_unicode

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
FIRST = datetime(1, 1, 2, tzinfo=UTC)
cells = st.none() | texts


@given(names=st.lists(texts, min_size=1, max_size=4), data=st.data())
def test_any_text_comes_back_under_its_name(names: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(*[cells] * len(names)), max_size=3))
    raw = encode_rows(
        [Column(name, 25) for name in names],
        [[cell if cell is None else cell.encode() for cell in row] for row in rows],
        1 << 20,
    )
    assert json.loads(raw.text) == {
        "rows": [dict(zip(names, row, strict=True)) for row in rows],
        "row_count": len(rows),
    }
    assert len(raw.text.encode()) <= 1 << 20


@given(
    moment=st.integers(0, 9997 * 365 * 86_400 * 10).map(lambda tenth: FIRST + timedelta(seconds=tenth / 10)),
    offset=st.integers(-57_000, 57_000),
)
def test_an_instant_keeps_its_place_in_time(moment: datetime, offset: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(seconds=offset)))
    text = local.isoformat(sep=" ").replace(".000000", "")
    raw = encode_rows([Column("t", 1184)], [(text.encode(),)], 1000).text
    value = json.loads(raw)["rows"][0]["t"]
    assert value.endswith("+00:00")
    assert datetime.fromisoformat(value) == local.astimezone(UTC)


@given(st.text(alphabet=st.sampled_from('\\u0dDcC89ae"n x'), max_size=40))
def test_whatever_python_reads_as_a_broken_text_is_noticed(body: str) -> None:
    try:
        value = json.loads(f'"{body}"')
    except ValueError:
        return
    broken = "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)
    assert unsupported_unicode(f'"{body}"') is broken
