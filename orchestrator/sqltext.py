"""Putting values into a SQL text so that each stays one value, wherever in the text its reference stands.

The text is read as PostgreSQL's lexer reads it, with ``standard_conforming_strings`` on:

    where the reference stands      what is put there
    among the tokens                a literal: 'text', -5, true, NULL, '{"json":1}', a row set in parentheses
    '..'  E'..'  U&'..'  B'..'  ".."  the value's characters, escaped for that literal; it cannot leave it
    $tag$..$tag$                    the body is treated as SQL again (it is code more often than not);
                                    a value that would end it is refused
    -- ..   /* .. */                nothing: the reference stays as it is

A literal never runs together with what stands before or behind it: blanks go in between, and a comment where two
literals on separate lines would be read as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from perdure.orchestrator import references
from perdure.orchestrator.jsontext import Json, Number, compact
from perdure.orchestrator.references import Reference, SubstitutionError, Values, plain

MAX_EXPANDED_ROWS = 10_000
_MAX_NESTED_BODIES = 16

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def literal(value: Json) -> str:
    """The value as a SQL literal. Raises SubstitutionError for characters that PostgreSQL cannot hold."""
    if value is None:
        return "NULL"
    if isinstance(value, (bool, Number)):
        return compact(value)
    text = storable(value if isinstance(value, str) else compact(value))
    doubled = text.replace("'", "''")
    # The E form means the same under either setting of standard_conforming_strings.
    return "E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in text else f"'{doubled}'"


def storable(text: str) -> str:
    """The text itself; raises SubstitutionError if it holds a NUL or half of a surrogate pair."""
    found = _UNSTORABLE.search(text)
    if found is not None:
        raise SubstitutionError(f"a value holds the character \\u{ord(found[0]):04x}, which no text in SQL can hold")
    return text


def row_set(name: str, rows: list[Json]) -> str:
    """The rows as a table expression for FROM, columns named after the first row's keys."""
    if len(rows) > MAX_EXPANDED_ROWS:
        raise SubstitutionError(
            f"${name}.*: result has {len(rows)} rows, exceeding the maximum of {MAX_EXPANDED_ROWS}"
            " for row-set expansion"
        )
    alias = f'AS "{name}"'
    if not rows:
        return f"(SELECT NULL WHERE false) {alias}"
    assert isinstance(rows[0], dict)
    columns = list(rows[0])
    if not columns:
        return f"(SELECT FROM pg_catalog.generate_series(1, {len(rows)})) {alias}"
    values = ", ".join(_row(row, columns) for row in rows)
    names = ", ".join('"' + storable(column).replace('"', '""') + '"' for column in columns)
    return f"(VALUES {values}) {alias}({names})"


def render(text: str, values: Values) -> str:
    """The text with every reference to a stored result replaced. Raises SubstitutionError."""
    return _Renderer(text, values, 0).run()


def _row(row: Json, columns: list[str]) -> str:
    fields = row if isinstance(row, dict) else {}
    return "(" + ", ".join(_cell(fields.get(column)) for column in columns) + ")"


def _cell(value: Json) -> str:
    typed = value is not None and not isinstance(value, (bool, Number))
    return literal(value) + ("::text" if typed else "")


# Letters as PostgreSQL's lexer has them: every character outside ASCII belongs to identifiers.
_HIGH = "\u0080-\U0010ffff"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\n\r\f\v]+|--[^\n\r]*)
    |(?P<comment>/\*)
    |(?P<quoted>[eEbBxX]?'|[uU]&'|[uU]&"|")
    |(?P<word>[A-Za-z_{_HIGH}][A-Za-z0-9_{_HIGH}]*)
    |(?P<dollar>\$)
    |(?P<other>[0-9]+|.)""",
    re.VERBOSE | re.DOTALL,
)
_WORD_REST = re.compile(rf"\$[A-Za-z0-9_{_HIGH}]*")
_DOLLAR_QUOTE = re.compile(rf"\$(?:[A-Za-z_{_HIGH}][A-Za-z0-9_{_HIGH}]*)?\$")
_COMMENT_MARK = re.compile(r"/\*|\*/")
# A newline (and no block comment) between two literals makes one of them, in the form of the first.
_CONTINUED = re.compile(
    r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+'",
)
_CAST = re.compile(r"[ \t\n\r\f\v]*+::")
_NEEDS_BLANK_AFTER = re.compile(rf"""[A-Za-z0-9_{_HIGH}'"$.]""")
_SAFE_BEFORE = frozenset(" \t\n\r\f(,[")  # no operator signs: a minus would join them


@dataclass(frozen=True, slots=True)
class _Quoting:
    """How the inside of one kind of quotes is read, and how a value is escaped there."""

    quote: str
    piece: re.Pattern[str]
    backslash: bool
    continues: bool
    bits: bool = False

    def escape(self, text: str) -> str:
        if self.bits and self.quote in text:
            raise SubstitutionError("a value with a quote cannot stand in a bit string")  # no doubling there
        doubled = storable(text).replace(self.quote, self.quote * 2)
        return doubled.replace("\\", "\\\\") if self.backslash else doubled


_PLAIN_PIECE = re.compile(r"[^'$]+|''|['$]")
_QUOTINGS = {
    "'": _Quoting("'", _PLAIN_PIECE, backslash=False, continues=True),
    "E'": _Quoting("'", re.compile(r"[^'$\\]+|\\.|''|['$\\]", re.DOTALL), backslash=True, continues=True),
    "U&'": _Quoting("'", _PLAIN_PIECE, backslash=True, continues=True),
    "B'": _Quoting("'", _PLAIN_PIECE, backslash=False, continues=True, bits=True),
    "X'": _Quoting("'", _PLAIN_PIECE, backslash=False, continues=True, bits=True),
    '"': _Quoting('"', re.compile(r'[^"$]+|""|["$]'), backslash=False, continues=False),
    'U&"': _Quoting('"', re.compile(r'[^"$]+|""|["$]'), backslash=True, continues=False),
}


class _Renderer:
    """One pass over one text."""

    __slots__ = ("after_literal", "closings", "depth", "in_word", "out", "pos", "text", "values")

    def __init__(self, text: str, values: Values, depth: int) -> None:
        self.text = text
        self.values = values
        self.depth = depth
        self.pos = 0
        self.out: list[str] = []
        self.in_word = False  # what was written last is a word, which the next characters would lengthen
        self.after_literal = False  # the last token is a literal that a quote on a later line would go on with
        self.closings: dict[str, int] | None = None

    def run(self) -> str:
        while self.pos < len(self.text):
            found = _TOKEN.match(self.text, self.pos)
            assert found is not None and found.lastgroup is not None
            self._HANDLERS[found.lastgroup](self, found)
        return "".join(self.out)

    def _emit(self, end: int) -> None:
        self.out.append(self.text[self.pos : end])
        self.pos = end

    def _space(self, found: re.Match[str]) -> None:
        self._emit(found.end())
        self.in_word = False

    def _word(self, found: re.Match[str]) -> None:
        self._emit(found.end())
        self.in_word, self.after_literal = True, False

    def _other(self, found: re.Match[str]) -> None:
        self._emit(found.end())
        self.in_word = self.after_literal = False

    def _comment(self, found: re.Match[str]) -> None:
        level, end = 1, found.end()
        while level:
            mark = _COMMENT_MARK.search(self.text, end)
            if mark is None:
                end = len(self.text)
                break
            level += 1 if mark[0] == "/*" else -1
            end = mark.end()
        self._emit(end)
        self.in_word = self.after_literal = False

    def _quoted(self, found: re.Match[str]) -> None:
        quoting = _QUOTINGS[found[0].upper()]
        self._emit(found.end())
        while self.pos < len(self.text):
            piece = quoting.piece.match(self.text, self.pos)
            assert piece is not None
            if piece[0] == "$":
                self._inside(quoting)
                continue
            self._emit(piece.end())
            if piece[0] == quoting.quote and not (quoting.continues and self._continued()):
                break
        self.in_word, self.after_literal = False, quoting.continues

    def _inside(self, quoting: _Quoting) -> None:
        ref = references.match(self.text, self.pos, self.values)
        if ref is None:
            self._emit(self.pos + 1)
            return
        text = compact(self.values.rows(ref)) if ref.all_rows else plain(self.values.scalar(ref))
        self.out.append(quoting.escape(text))
        self.pos = ref.end

    def _continued(self) -> bool:
        """Whether the literal that has just been closed goes on; if so its next part is open now."""
        found = _CONTINUED.match(self.text, self.pos)
        if found is not None:
            self._emit(found.end())
        return found is not None

    def _dollar(self, found: re.Match[str]) -> None:
        if not self.in_word:
            opening = _DOLLAR_QUOTE.match(self.text, self.pos)
            if opening is not None and self._body(opening):
                return
        ref = references.match(self.text, self.pos, self.values)
        if ref is not None:
            self._insert(ref)
        elif self.in_word:
            rest = _WORD_REST.match(self.text, self.pos)
            assert rest is not None
            self._emit(rest.end())
        else:
            self._other(found)

    def _body(self, opening: re.Match[str]) -> bool:
        """Copy a dollar-quoted literal; False if what looks like its beginning are references."""
        delimiter = opening[0]
        if self._last_place(delimiter) < opening.end():
            if delimiter[1:-1] in self.values:
                return False
            self._emit(len(self.text))  # never closed: PostgreSQL refuses the text, whatever stands in it
            return True
        end = self.text.index(delimiter, opening.end())
        body = self._render_body(self.text[opening.end() : end])
        if (body + delimiter).index(delimiter) != len(body):
            raise SubstitutionError(f"a value would end the literal that is quoted with {delimiter}")
        self.out.append(delimiter + body + delimiter)
        self.pos = end + len(delimiter)
        self.in_word = self.after_literal = False
        return True

    def _render_body(self, body: str) -> str:
        if not references.names_in(body, self.values):
            return body
        if self.depth >= _MAX_NESTED_BODIES:
            raise SubstitutionError(f"references stand inside more than {_MAX_NESTED_BODIES} nested dollar quotes")
        return _Renderer(body, self.values, self.depth + 1).run()

    def _last_place(self, delimiter: str) -> int:
        """Where the delimiter stands last in the text; found once for all delimiters, to stay linear."""
        if self.closings is None:
            self.closings = {}
            found = _DOLLAR_QUOTE.search(self.text)
            while found is not None:
                self.closings[found[0]] = found.start()
                found = _DOLLAR_QUOTE.search(self.text, found.end() - 1)
        return self.closings[delimiter]

    def _insert(self, ref: Reference) -> None:
        value = None if ref.all_rows else self.values.scalar(ref)
        text = row_set(ref.name, self.values.rows(ref)) if ref.all_rows else literal(value)
        quoted = text.endswith("'")
        if isinstance(value, Number) and value.startswith("-") and _CAST.match(self.text, ref.end):
            text = f"({text})"  # -5::text would be -(5::text)
        self._separate(isinstance(value, Number) and value.isdigit(), quoted)
        self.out.append(text)
        self.pos = ref.end
        if quoted and _CONTINUED.match(self.text, self.pos):
            self.out.append("/**/")
        elif _NEEDS_BLANK_AFTER.match(self.text, self.pos):
            self.out.append(" ")
        self.in_word, self.after_literal = False, quoted

    def _separate(self, digits: bool, quoted: bool) -> None:
        """Keep what comes next apart from what was written before."""
        if quoted and self.after_literal:
            self.out.append("/**/")
        elif not (self.in_word and digits) and self._last() not in _SAFE_BEFORE:
            self.out.append(" ")  # but part_$n is part_5: digits make a longer name and nothing else

    def _last(self) -> str:
        for piece in reversed(self.out):
            if piece:
                return piece[-1]
        return " "

    _HANDLERS: ClassVar[dict[str, Callable[[_Renderer, re.Match[str]], None]]] = {
        "space": _space,
        "comment": _comment,
        "quoted": _quoted,
        "word": _word,
        "dollar": _dollar,
        "other": _other,
    }
