"""Rendering a node's text just before it runs: ``{variable}`` first, then ``$result`` references.

Both are one pass from left to right. What a variable brings in is looked through for references; what a reference
brings in is never looked through again. Variables are put in as they are, by design (they hold names of tables and
pieces of SQL); references become values that stay values (see ``sqltext``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from perdure.orchestrator import rawresult, references, sqltext
from perdure.orchestrator.jsontext import compact
from perdure.orchestrator.rawresult import Text
from perdure.orchestrator.references import Reference, SubstitutionError, Values, plain

__all__ = (
    "SubstitutionError",
    "bare_reference",
    "referenced_names",
    "render_part_data",
    "render_raw",
    "render_sql",
    "result_rows",
    "value_query",
)

_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"\{secret:[^{}]*\}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def referenced_names(template: str, variables: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """The result names out of ``names`` that rendering the template could look at, in order of first appearance."""
    text = _put_variables(template, variables)
    return references.names_in(text, frozenset(names)) if "$" in text else []


def render_sql(template: str, variables: Mapping[str, str], results: Mapping[str, str]) -> str:
    """The SQL text to run; ``results`` maps names to raw result texts. Raises SubstitutionError."""
    text = _put_variables(template, variables)
    if "$" not in text or not references.names_in(text, results):
        return text
    return sqltext.render(text, Values(results))


def render_raw(template: str, variables: Mapping[str, str], results: Mapping[str, str]) -> str:
    """The text with values put in unquoted, for urls, headers, bodies. Raises SubstitutionError."""
    text = _put_variables(template, variables)
    if "$" not in text or not results:
        return text
    values = Values(results)
    out: list[str] = []
    done, dollar = 0, text.find("$")
    while dollar >= 0:
        ref = references.match(text, dollar, values)
        if ref is not None:
            out += (text[done:dollar], _raw_value(ref, values))
            done = ref.end
        dollar = text.find("$", ref.end if ref is not None else dollar + 1)
    return "".join(out) + text[done:]


def render_part_data(value: str, variables: Mapping[str, str], results: Mapping[str, str]) -> str:
    """A multipart part's ``data_b64``: itself, or what the one variable or reference that it consists of stands for.

    NULL of an optional reference is no data. Raises SubstitutionError for references amid other text.
    """
    if "$" not in value and "{" not in value:
        return value
    whole = value.strip()
    variable = _VARIABLE.fullmatch(whole)
    if variable is not None and variable[1] in variables:
        return variables[variable[1]]
    if _SECRET.fullmatch(whole):
        return value
    ref = _whole_reference(whole)
    if ref is None or ref.name not in results:
        raise SubstitutionError(
            "data_b64 takes a whole-value reference only: one of $name, $name.column (each with or without ?) or"
            f" {{variable}}, naming what there is, and nothing else around it; it is: {value[:100]!r}"
        )
    found = Values(results).scalar(ref)
    return "" if found is None else plain(found)


def bare_reference(template: str) -> bool:
    """Whether the whole text is one ``$name`` or ``$name.column``, with or without a question mark."""
    return _whole_reference(template.strip()) is not None


def value_query(template: str, variables: Mapping[str, str], results: Mapping[str, str]) -> str:
    """A query for the value of a bare reference, typed so that its truth is judged as that of the value.

    Raises SubstitutionError if there is no such result, and as ``render_sql`` does.
    """
    ref = _whole_reference(_put_variables(template, variables).strip())
    if ref is None:
        raise SubstitutionError(f"not a single reference: {template[:100]!r}")
    if ref.name not in results:
        known = ", ".join(sorted(results)) or "none"
        raise SubstitutionError(f"{ref}: there is no result named '{ref.name}' (available: {known})")
    found = Values(results).whole(ref)
    if isinstance(found, Text):
        return f"SELECT {sqltext.literal(found.text)}"
    return f"SELECT {sqltext.literal(found)}" + ("::json" if isinstance(found, (list, dict)) else "")


def result_rows(raw: str) -> int | None:
    """The number of rows of a SQL result; None if the text is not one."""
    return rawresult.row_count(raw)


def _put_variables(template: str, variables: Mapping[str, str]) -> str:
    if "{" not in template:
        return template
    return _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), template)


def _whole_reference(text: str) -> Reference | None:
    ref = references.match_any(text, 0)
    return ref if ref is not None and ref.end == len(text) and not ref.all_rows else None


def _raw_value(ref: Reference, values: Values) -> str:
    text = compact(values.rows(ref)) if ref.all_rows else plain(values.scalar(ref))
    if not text.isascii() and _SURROGATE.search(text):
        raise SubstitutionError(f"{ref} holds half of a surrogate pair, which no text can hold")
    return text
