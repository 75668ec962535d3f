"""A value stays one value: whatever it holds, the text around it reads as it would around a harmless one."""

from __future__ import annotations

import json
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure.orchestrator.jsontext import compact, parse
from perdure.orchestrator.substitution import SubstitutionError, render_raw, render_sql

# A lexer of its own, after PostgreSQL's scan.l, simple and slow: what the code under test is measured with.
HIGH = "\u0080-\U0010ffff"
LITERAL_GOES_ON = r"(?:[ \t\f]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f]|--[^\n\r]*+[\n\r])*+'"
KINDS = [
    ("blank", r"[ \t\n\r\f]+|--[^\n\r]*"),
    ("escaped", rf"[eE]'(?:[^'\\]|\\.|''|'{LITERAL_GOES_ON})*+'"),
    ("unicode", rf"[uU]&'(?:[^']|''|'{LITERAL_GOES_ON})*+'"),
    ("bits", rf"[bBxX]'(?:[^']|'{LITERAL_GOES_ON})*+'"),
    ("literal", rf"'(?:[^']|''|'{LITERAL_GOES_ON})*+'"),
    ("name", r'(?:[uU]&)?"(?:[^"]|"")*+"'),
    ("dollar", rf"\$(?P<tag>(?:[A-Za-z_{HIGH}][A-Za-z0-9_{HIGH}]*)?)\$.*?\$(?P=tag)\$"),
    ("word", rf"[A-Za-z_{HIGH}][A-Za-z0-9_{HIGH}$]*"),
    ("number", r"[0-9]+(?:\.[0-9]+)?"),
    ("open", r"""['"]|[uUeEbBxX]&?'|\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$"""),
    ("sign", r"."),
]
LEXER = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in KINDS), re.DOTALL)
MARK = re.compile(r"/\*|\*/")


def comment_end(text: str, pos: int) -> int:
    level = 0
    for mark in MARK.finditer(text, pos):
        level += 1 if mark[0] == "/*" else -1
        if level == 0:
            return mark.end()
    return len(text)


def tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    pos = 0
    while pos < len(text):
        if text.startswith("/*", pos):
            pos = comment_end(text, pos)
            continue
        token = LEXER.match(text, pos)
        assert token is not None
        kind = next(name for name, _ in KINDS if token[name] is not None)
        if kind == "open":
            return [*found, ("never closed", "")]
        pos = token.end()
        if kind == "escaped":
            kind = "literal"
        if kind != "blank":
            found.append((kind, token[0] if kind in ("word", "sign", "number") else ""))
    return found


FRAGMENTS = ["SELECT ", "'", "''", '"', "E'", "e'", "U&'", 'U&"', "b'", "\\", "\n", " ", "--", "/*", "*/", "$$", "$t$"]
FRAGMENTS += "$v$ $v $v? $v.c $v.* $w $w.c - @ x 1 e . :: ü $1 $ f$".split()
EVIL = ["'", "\\", '"', "$$", "$t$", "$v$", "--", "/*", "*/", "\n", ";", " ", "x", "E'", "U&'", "$", "ü", "'; DROP--"]

templates = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=12).map("".join)
evil = st.lists(st.sampled_from(EVIL), max_size=6).map("".join) | st.text(max_size=8)


def results(v: str, w: str) -> dict[str, str]:
    rows = {"rows": [{"c": v}], "row_count": 1}
    return {"v": json.dumps(rows, separators=(",", ":")), "w": json.dumps({"c": w})}


@settings(max_examples=600, deadline=None)
@given(template=templates, v=evil, w=evil)
@example(template="E'a'\n$v", v="\\'; DROP--", w="")
@example(template="$v\n'\\' $w", v="\\", w="'; DROP--")
@example(template="SELECT e$v", v="\\'; DROP--", w="")
@example(template="$t$ $v", v="$t$; DROP--", w="")
@example(template="$$ '$v' $$", v="$$; DROP--", w="")
@example(template="b'$v'", v="'; DROP--", w="")
@example(template="f$e'\\' $v", v="'; DROP--", w="")
@example(template="E'\\$v'", v="'; DROP--", w="")
def test_a_hostile_value_reads_like_a_harmless_one(template: str, v: str, w: str) -> None:
    try:
        hostile = render_sql(template, {}, results(v, w))
    except SubstitutionError:
        return
    harmless = render_sql(template, {}, results("q", "q"))
    assert tokens(hostile) == tokens(harmless)


@settings(max_examples=300)
@given(text=st.text() | evil)
def test_a_literal_holds_exactly_the_value(text: str) -> None:
    try:
        sql = render_sql("$v", {}, results(text, ""))
    except SubstitutionError:
        assert re.search("[\x00\ud800-\udfff]", text)
        return
    if sql.startswith("E'"):
        read = re.sub(r"\\\\|''", lambda pair: pair[0][0], sql[2:-1])
    else:
        assert "\\" not in sql
        read = sql[1:-1].replace("''", "'")
    assert read == text


@given(template=st.text(alphabet="$vw.c?* {}x'\n"), v=evil)
def test_without_results_and_variables_nothing_changes(template: str, v: str) -> None:
    assert render_sql(template, {}, {}) == template
    assert render_raw(template, {}, {}) == template


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=json_values)
def test_json_is_printed_as_it_was_read(value: object) -> None:
    text = json.dumps(value, separators=(",", ":"))
    assert json.loads(compact(parse(text))) == value
    assert compact(parse(compact(parse(text)))) == compact(parse(text))
