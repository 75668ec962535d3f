"""Rendering of templates: tables of (template, what comes out)."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from perdure.orchestrator.substitution import (
    SubstitutionError,
    bare_reference,
    referenced_names,
    render_part_data,
    render_raw,
    render_sql,
    result_rows,
    value_query,
)


def rows(*found: Mapping[str, object]) -> str:
    return json.dumps({"rows": list(found), "row_count": len(found)}, separators=(",", ":"), ensure_ascii=False)


VARIABLES = {"table": "playground.t", "who": "O'Brien", "again": "{table}", "via": "$total", "sys_instance_id": "ab12"}
RESULTS = {
    "total": rows({"total": 100}),
    "neg": rows({"n": -5}),
    "doc": rows({"id": 7, "title": 'It\'s "x"', "none": None, "größe": 3, "ok": True, "tags": ["a", {"b": 1}]}),
    "doc_id": rows({"v": "long"}),
    "path": rows({"p": "C:\\dir"}),
    "none": rows(),
    "odd": '{"rows":[{}],"row_count":1}',
    "sig": '{"signal_name":"go","timed_out":false,"data":{"by":"alice"}}',
    "join": '[{"rows":[{"a":1}],"row_count":1},2]',
    "slept": '{"slept": true, "seconds": 2}',
    "flag": "true",
    "word": '"done"',
    "text": "not json",
    "exact": '{"rows":[{"n":12345678901234567890.10,"e":1E+3,"j":{"z":1.50,"a":2}}],"row_count":1}',
    "three": rows({"id": 1, "s": "x"}, {"id": -2, "s": "it's"}, {"id": None, "s": None}),
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # variables
        ("SELECT * FROM {table}", "SELECT * FROM playground.t"),
        ("SELECT '{who}'", "SELECT 'O'Brien'"),
        ("{again}", "{table}"),
        ("{via}", "100"),
        ('{"token": "{table}"}', '{"token": "playground.t"}'),
        ("{unknown} {secret:key} { table } {1}", "{unknown} {secret:key} { table } {1}"),
        ("{sys_instance_id}", "ab12"),
        # scalars
        ("SELECT $total * 2", "SELECT 100 * 2"),
        ("SELECT $doc, $doc_id, $document", "SELECT 7, 'long', $document"),
        ("SELECT $doc.title", "SELECT 'It''s \"x\"'"),
        ("SELECT $doc.ok, $doc.tags", """SELECT true, '["a",{"b":1}]'"""),
        ("SELECT $doc.größe", "SELECT 3"),
        ("SELECT $doc.none?, $doc.absent?, $none?, $none.x?", "SELECT NULL, NULL, NULL, NULL"),
        ("SELECT $doc. x", "SELECT 7 . x"),
        ("SELECT $path", "SELECT E'C:\\\\dir'"),
        ("SELECT $unknown, $1, $", "SELECT $unknown, $1, $"),
        ("SELECT $flag, $word, $text", "SELECT 'true', '\"done\"', 'not json'"),
        ("SELECT $sig::jsonb->'data'", f"SELECT '{RESULTS['sig']}'::jsonb->'data'"),
        ("SELECT $sig.timed_out, $sig.data", """SELECT false, '{"by":"alice"}'"""),
        ("SELECT $slept", """SELECT '{"slept": true, "seconds": 2}'"""),
        ("SELECT $exact, $exact.e, $exact.j", """SELECT 12345678901234567890.10, 1E+3, '{"z":1.50,"a":2}'"""),
        # negative numbers
        ("SELECT $neg::text", "SELECT (-5)::text"),
        ("SELECT $neg ::text", "SELECT (-5) ::text"),
        ("SELECT 1 -$neg", "SELECT 1 - -5"),
        ("SELECT 1 - $neg, ($neg)", "SELECT 1 - -5, (-5)"),
        ("SET x =$neg", "SET x = -5"),
        # neighbours
        ("SELECT 1$total", "SELECT 1 100"),
        ("SELECT e$doc.title", "SELECT e 'It''s \"x\"'"),
        ("SELECT $total$total", "SELECT 100 100"),
        ("SELECT $doc_id$doc_id", "SELECT 'long' /**/'long'"),
        ("SELECT $doc_id\n$doc_id", "SELECT 'long'\n/**/'long'"),
        ("SELECT $doc_id\n'x'", "SELECT 'long'/**/\n'x'"),
        ("SELECT E'x'\n$path", "SELECT E'x'\n/**/E'C:\\\\dir'"),
        ("SELECT 'x', $doc_id", "SELECT 'x', 'long'"),
        ("SELECT * FROM part_$total p", "SELECT * FROM part_100 p"),
        ("SELECT * FROM part_$neg", "SELECT * FROM part_ -5"),
        ("SELECT $total?x", "SELECT 100 x"),
        # inside quotes
        ("SELECT 'hello $doc.title, $doc.none?'", "SELECT 'hello It''s \"x\", NULL'"),
        ("SELECT 'it''s $total'", "SELECT 'it''s 100'"),
        ("SELECT E'\\'$path'", "SELECT E'\\'C:\\\\dir'"),
        ("SELECT E'a'\n'$path'", "SELECT E'a'\n'C:\\\\dir'"),
        ("SELECT '$path'", "SELECT 'C:\\dir'"),
        ("SELECT U&'$path'", "SELECT U&'C:\\\\dir'"),
        ('SELECT 1 AS "$doc.title"', 'SELECT 1 AS "It\'s ""x"""'),
        ("SELECT b'$total'", "SELECT b'100'"),
        ("SELECT '$three.*'", """SELECT '[{"id":1,"s":"x"},{"id":-2,"s":"it''s"},{"id":null,"s":null}]'"""),
        ("SELECT 'never closed $doc.title", "SELECT 'never closed It''s \"x\""),
        # dollar quotes and comments
        ("DO $$ f($doc.title) $$", "DO $$ f('It''s \"x\"') $$"),
        ("DO $b$ '$doc.title' $b$", "DO $b$ 'It''s \"x\"' $b$"),
        ("DO $$ EXECUTE $q$ SELECT $path $q$ $$", "DO $$ EXECUTE $q$ SELECT E'C:\\\\dir' $q$ $$"),
        ("SELECT a$$ $total", "SELECT a$$ 100"),
        ("SELECT $total$doc$x", "SELECT 100 7 $x"),
        ("SELECT $$ $total", "SELECT $$ $total"),
        ("SELECT 1 -- $none\n, $total", "SELECT 1 -- $none\n, 100"),
        ("SELECT /* $none /* */ $none */ $total", "SELECT /* $none /* */ $none */ 100"),
        ("SELECT 1 /* $none", "SELECT 1 /* $none"),
        # row sets
        ("SELECT * FROM $none.*", 'SELECT * FROM (SELECT NULL WHERE false) AS "none"'),
        ("SELECT count(*) FROM $odd.*", 'SELECT count(*) FROM (SELECT FROM pg_catalog.generate_series(1, 1)) AS "odd"'),
        (
            "SELECT * FROM $three.* t",
            """SELECT * FROM (VALUES (1, 'x'::text), (-2, 'it''s'::text), (NULL, NULL)) AS "three"("id", "s") t""",
        ),
        ("SELECT * FROM $total.*,x", 'SELECT * FROM (VALUES (100)) AS "total"("total"),x'),
    ],
)
def test_sql_text_is_rendered(template: str, expected: str) -> None:
    assert render_sql(template, VARIABLES, RESULTS) == expected


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("SELECT $none", "$none has no rows"),
        ("SELECT $none.x", "$none.x has no rows"),
        ("SELECT $doc.none", "$doc.none is NULL"),
        ("SELECT $odd", "$odd has no columns"),
        (
            "SELECT $doc.absent",
            "$doc.absent: result has no field 'absent' (available: id, title, none, größe, ok, tags)",
        ),
        ("SELECT $sig.absent", "(available: signal_name, timed_out, data)"),
        ("SELECT $join.x", "result is neither a row set nor a JSON object"),
        ("SELECT $text.x", "result is not valid JSON"),
        ("SELECT * FROM $sig.*", "invalid result format"),
        ("SELECT '$none'", "$none has no rows"),
    ],
)
@pytest.mark.parametrize("render", [render_sql, render_raw])
def test_what_has_no_value_is_an_error_in_both_modes(render, template: str, words: str) -> None:
    with pytest.raises(SubstitutionError) as caught:
        render(template, VARIABLES, RESULTS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Hello $doc.title: $total", 'Hello It\'s "x": 100'),
        ('{"a": "{table}", "n": $total}', '{"a": "playground.t", "n": 100}'),
        ("$doc.tags $sig.data $doc.ok", '["a",{"b":1}] {"by":"alice"} true'),
        ("$sig", RESULTS["sig"]),
        ("$three.*", '[{"id":1,"s":"x"},{"id":-2,"s":"it\'s"},{"id":null,"s":null}]'),
        ("$doc.none? $none? $doc.absent?", "NULL NULL NULL"),
        ("$total$total $100 $$total$", "100100 $100 $100$"),
        ("costs $total元", "costs 100元"),
        ("'$path' -- $total", "'C:\\dir' -- 100"),
    ],
)
def test_raw_text_is_rendered(template: str, expected: str) -> None:
    assert render_raw(template, VARIABLES, RESULTS) == expected


def test_what_a_reference_brings_in_is_not_looked_through_again() -> None:
    results = {"a": rows({"x": "$b {table}"}), "b": rows({"x": 1})}
    assert render_sql("SELECT $a, $b", VARIABLES, results) == "SELECT '$b {table}', 1"
    assert render_raw("$a $b", VARIABLES, results) == "$b {table} 1"


def test_text_without_any_result_is_left_alone() -> None:
    template = "SELECT $x, 'a $x', $$ $x $$ -- $x"
    assert render_sql(template, {}, {}) == template
    assert render_raw(template, {}, {}) == template


@pytest.mark.parametrize("value", ["\\u0000", "\\ud800"])
def test_characters_that_no_sql_text_holds_are_refused(value: str) -> None:
    results = {"a": f'{{"rows":[{{"x":"{value}"}}],"row_count":1}}'}
    for template in ("SELECT $a", "SELECT '$a'", "SELECT * FROM $a.*"):
        with pytest.raises(SubstitutionError, match="no text in SQL can hold"):
            render_sql(template, {}, results)


def test_a_value_cannot_end_a_dollar_quote() -> None:
    with pytest.raises(SubstitutionError, match=r"would end the literal that is quoted with \$q\$"):
        render_sql("DO $q$ f($a) $q$", {}, {"a": rows({"x": "$q$; DROP TABLE t"})})
    with pytest.raises(SubstitutionError, match="would end"):
        render_sql("DO $$'$a$$", {}, {"a": rows({"x": "x$"})})


def test_a_quote_cannot_stand_in_a_bit_string() -> None:
    with pytest.raises(SubstitutionError, match="bit string"):
        render_sql("SELECT x'$a'", {}, {"a": rows({"x": "'"})})


def test_row_sets_end_at_ten_thousand_rows() -> None:
    most = {"a": rows(*({"x": n} for n in range(10_000)))}
    assert render_sql("SELECT * FROM $a.*", {}, most).endswith('(9999)) AS "a"("x")')
    with pytest.raises(SubstitutionError, match="10001 rows, exceeding the maximum of 10000 for row-set expansion"):
        render_sql("SELECT * FROM $a.*", {}, {"a": rows(*({"x": n} for n in range(10_001)))})


def test_column_names_are_quoted_in_row_sets() -> None:
    assert render_sql("SELECT * FROM $a.*", {}, {"a": rows({'we"ird': 1})}).endswith('AS "a"("we""ird")')


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("SELECT 1", []),
        ("SELECT $doc.id, $total, $doc, $document", ["doc", "total"]),
        ("{via} '$doc'", ["total", "doc"]),
        ("{nothing}", []),
        ("$three.*", ["three"]),
    ],
)
def test_referenced_names_come_in_order_of_appearance(template: str, expected: list[str]) -> None:
    assert referenced_names(template, VARIABLES, RESULTS) == expected


@pytest.mark.parametrize("value", ["aGVsbG8=", "", "  aGVsbG8= "])
def test_part_data_without_references_stays(value: str) -> None:
    assert render_part_data(value, VARIABLES, RESULTS) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" $text ", "not json"),
        ("$doc.title", 'It\'s "x"'),
        ("$doc.none?", ""),
        ("$none?", ""),
        ("{table}", "playground.t"),
        ("{secret:key}", "{secret:key}"),
    ],
)
def test_part_data_takes_one_whole_reference(value: str, expected: str) -> None:
    assert render_part_data(value, VARIABLES, RESULTS) == expected


@pytest.mark.parametrize("value", ["x$text", "$text$text", "$three.*", "{table}x", "$unknown", "{unknown}", "a{b", "$"])
def test_part_data_refuses_references_amid_other_text(value: str) -> None:
    with pytest.raises(SubstitutionError, match="whole-value reference"):
        render_part_data(value, VARIABLES, RESULTS)


@pytest.mark.parametrize("template", ["$a", " $a\n", "$a?", "$a.b", "$a.b?", "$größe"[:2]])
def test_a_single_reference_is_bare(template: str) -> None:
    assert bare_reference(template)


@pytest.mark.parametrize("template", ["", "SELECT $a", "$a.*", "$a $b", "$1", "$", "$a.", "$a::text", "{a}"])
def test_anything_else_is_not_bare(template: str) -> None:
    assert not bare_reference(template)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("$sig.timed_out", "SELECT false"),
        (" $total ", "SELECT 100"),
        ("$neg", "SELECT -5"),
        ("$doc.title", "SELECT 'It''s \"x\"'"),
        ("$sig.data", """SELECT '{"by":"alice"}'::json"""),
        ("$slept", """SELECT '{"slept":true,"seconds":2}'::json"""),
        ("$flag", "SELECT true"),
        ("$word", "SELECT 'done'"),
        ("$text", "SELECT 'not json'"),
        ("$none?", "SELECT NULL"),
        ("{via}", "SELECT 100"),
    ],
)
def test_a_bare_reference_becomes_a_query_for_its_value(template: str, expected: str) -> None:
    assert value_query(template, VARIABLES, RESULTS) == expected


def test_a_bare_reference_to_nothing_names_what_there_is() -> None:
    with pytest.raises(SubstitutionError, match=r"no result named 'b' \(available: a\)"):
        value_query("$b", {}, {"a": "1"})
    with pytest.raises(SubstitutionError, match="a has no rows"):
        value_query("$a", {}, {"a": rows()})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (rows(), 0),
        (rows({"a": 1}, {"a": 2}), 2),
        ('{"row_count": 3}', 3),
        ('{"row_count": "3"}', None),
        ('{"rows":[]}', None),
        (RESULTS["sig"], None),
        ("[]", None),
        ("5", None),
        ("text", None),
    ],
)
def test_result_rows_counts_the_rows_of_a_sql_result(raw: str, expected: int | None) -> None:
    assert result_rows(raw) == expected


def test_a_value_reached_through_a_loop_of_hostile_nesting_costs_linear_time() -> None:
    deep = "[" * 50_000 + "]" * 50_000
    results = {"a": f'{{"x":{deep},"y":1}}', "b": rows({"x": 1})}
    assert render_sql("SELECT $a.y", {}, results) == "SELECT 1"
    assert render_sql("SELECT $a.x", {}, results) == f"SELECT '{deep}'"
    many = "$b," * 20_000 + "$q$" * 20_000 + "'" * 20_001
    assert render_sql(many, {}, results).startswith("1,1,1,")
