"""Rules for the SQL that is shipped, each a function from a text or from the catalogue to problems in words.

Read by ``tests/attacks/test_sql_rules.py``, which also shows each rule a bad example that it must find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

FIXED = "search_path=pg_catalog, pg_temp"

_STRING = r"[eE]?'(?:[^']|'')*'"
_COMMENT = r"--[^\n]*|/\*.*?\*/"
# What may stand before an opening parenthesis and is no call: words of SQL and PL/pgSQL.
_WORDS = set(
    "all and any array as between by case cast coalesce conflict cross else elsif end except execute exists filter for"
    " from grant group having if in into is join lateral least greatest limit materialized not null nullif on or order"
    " over partition perform raise recursive return returns row select set table then union using values variadic when"
    " where with".split()
)
# Dynamic SQL other than a constant or format() with %I, %L and a constant, by its first words, and why it is safe.
DYNAMIC = {
    "_statement": "a step's own text, run as its role",
    "pg_catalog.concat('SELECT (', pg_catalog.regexp_replace(_input,": "df.explain: the caller's text, as the caller",
    "concat( 'SELECT ": "df.list_instances: put together from constants",
}
# Arguments that %s of a dynamic format() may put in.
PUT_IN = {
    "_dblink": "a schema's name, quoted where it is read from the catalogue",
    "_f.name": "a regprocedure",
    "_function": "a regprocedure",
    "_function.name": "a regprocedure",
    "_granted.object": "a regclass or a regprocedure",
    "_granted.privilege": "a word of the catalogue",
    "_operator.function_name": "a constant of the list above it",
    "_operator.left_type": "a constant of the list above it",
    "_operator.name": "a constant of the list above it",
    "_r.name": "a regclass",
    "_r.who": "quote_ident of a role, or PUBLIC",
    "_suffix": "a constant",
    "suffix": "a constant of the caller's",
}


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the engine as the catalogue has it."""

    name: str
    definer: bool
    public: bool
    path: str
    trigger: bool
    source: str


FUNCTIONS = """
    SELECT n.nspname || '.' || p.proname, p.prosecdef, has_function_privilege('public', p.oid, 'EXECUTE'),
           coalesce((SELECT c FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%'), ''),
           p.prorettype = 'trigger'::regtype, p.prosrc
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('df', 'df_engine') ORDER BY 1
"""


def functions(connection: psycopg.Connection[Any]) -> list[Function]:
    """Every function of the engine."""
    return [Function(*row) for row in connection.execute(FUNCTIONS).fetchall()]


def definer_problems(found: list[Function]) -> Iterator[str]:
    """With the owner's rights only under a fixed path that ends with pg_temp: what is in there can be anybody's."""
    for f in found:
        if f.definer and f.path != FIXED:
            yield f"{f.name} is SECURITY DEFINER with the path '{f.path}'"


def open_path_problems(found: list[Function]) -> Iterator[str]:
    """Without a fixed path, every name, operator and type in a body is qualified."""
    for f in found:
        if f.path == "":
            for problem in unqualified(f.source):
                yield f"{f.name} has no fixed path: {problem}"


def unqualified(body: str) -> Iterator[str]:
    """Calls, operators and types that the session's path decides about."""
    bare = re.sub(f"{_COMMENT}|{_STRING}", " '' ", body, flags=re.DOTALL)
    bare = re.sub(r"OPERATOR\(pg_catalog\.[^)]*\)", ",", bare)
    for call in re.findall(r"(?<![\w.\"])([A-Za-z_]\w*)\s*\(", bare):
        if call.lower() not in _WORDS:
            yield f"the call of {call}"
    for kind in re.findall(r"::\s*([A-Za-z_][\w.]*)", bare):
        if not kind.startswith(("pg_catalog.", "df.", "df_engine.")):
            yield f"the type {kind}"
    for line in re.findall(r"\bDECLARE\b(.*?)\bBEGIN\b", bare, re.DOTALL):
        for kind in re.findall(r"^\s*\w+\s+(?:CONSTANT\s+)?([A-Za-z_][\w.]*)", line, re.MULTILINE | re.IGNORECASE):
            if not kind.startswith(("pg_catalog.", "df.", "df_engine.")) and kind.lower() != "record":
                yield f"the type {kind}"
    for operator in re.findall(r"[<>=~|+*/%^&!@#-]+", re.sub(r":=|::|ERRCODE =|\(\s*\*|SELECT \*|\.\*", " ", bare)):
        yield f"the operator {operator}"


def backslash_problems(text: str) -> Iterator[str]:
    """What a backslash in a plain string means is up to the caller's standard_conforming_strings."""
    text = re.sub(_COMMENT, "", text, flags=re.DOTALL)
    for string in re.findall(r"(?<![eE\w'])'((?:[^']|'')*)'", text):
        if "\\" in string:
            yield f"the plain string '{string}' holds a backslash"


def dynamic_problems(text: str) -> Iterator[str]:
    """A text that is run is a constant, or format() made it of one with %I, %L and what is known to be harmless."""
    for statement in _executed(text):
        if re.fullmatch(rf"(?:{_STRING}\s*)+", statement) or any(statement.startswith(known) for known in DYNAMIC):
            continue
        constant = rf"(?:(?:{_STRING}\s*)+|CASE\b.*?\bEND)"
        made = re.match(rf"(?:pg_catalog\.)?format\(\s*({constant})(?:,(.*))?\)$", statement, re.DOTALL)
        if made is None:
            yield f"the text that is run is put together: {statement[:80]}"
        else:
            yield from _put_in(made[1], made[2] or "", statement)


def _executed(text: str) -> Iterator[str]:
    """The expressions after EXECUTE, on one line each."""
    text = re.sub(_COMMENT, "", text, flags=re.DOTALL)
    masked = re.sub(_STRING, lambda found: "'" + "_" * (len(found[0]) - 2) + "'", text)
    for found in re.finditer(r"(?<![\w'])EXECUTE\s+(?!FUNCTION\b|ON\b|PROCEDURE\b)", masked):
        end = re.compile(r";|\bINTO\b|\bUSING\b|\bLOOP\b").search(masked, found.end())
        if end is not None:
            yield " ".join(text[found.end() : end.start()].split())


def _put_in(template: str, arguments: str, statement: str) -> Iterator[str]:
    given = [argument.strip() for argument in re.split(r",(?![^()]*\))(?=(?:[^']*'[^']*')*[^']*$)", arguments)]
    for place, sign in enumerate(re.findall(r"%(?:\d+\$)?([sIL])", template.split(" ELSE ")[0])):
        argument = given[place] if place < len(given) else "nothing"
        if sign == "s" and not all(_harmless(piece.strip()) for piece in argument.split("||")):
            yield f"%s puts {argument} into {statement[:60]}"


def _harmless(piece: str) -> bool:
    chosen = rf"CASE\b[^']*(?:{_STRING}[^']*)+\bEND"  # of constants
    return piece in PUT_IN or re.fullmatch(f"{_STRING}|{chosen}", piece) is not None


def public_problems(found: list[Function], meant: set[str]) -> Iterator[str]:
    """With the owner's rights, or hung on tables, for everybody only where that is meant."""
    for f in found:
        if f.public and (f.trigger or (f.definer and f.name.removeprefix("df_engine.") not in meant)):
            yield f"{f.name} can be called by everybody"
