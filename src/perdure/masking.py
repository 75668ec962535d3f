"""Finding a secret's value in a text that somebody sent back, however it was written, and putting its name there.

Looked for, in upper, lower and mixed case except in base64:

    the value itself                                       Top+Secret/1"
    percent-encoded, any characters of it, up to four deep  Top%2BSecret/1%22, top%252bsecret, a blank as +
    escaped as in JSON or JavaScript, any characters of it  \\u0054op+Secret\\/1\\", in JSON within JSON as well
    escaped as in HTML or XML, any characters of it         Top&#43;Secret/1&quot;, &#x2b;, &amp;quot;
    its bytes as hex digits                                 546f702b5365637265742f3122
    base64, of it alone or amid other bytes, padded or not  VG9wK1NlY3JldC8xIg, with - and _, and in lines
    UTF-8 read as Latin-1                                   for values outside ASCII
    what percent-decoding makes of it                       as user-info of a URL is sent

Not looked for: parts of a value, hashes, what was compressed or encrypted, other character sets (UTF-16), reversed or
spelled texts, values of fewer than ``SHORTEST`` characters.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

SHORTEST = 4  # characters; shorter values would be found everywhere

_SIGNS = {"<": "lt", ">": "gt", "&": "amp", '"': "quot", "'": "apos", "\u00a0": "nbsp"}
_CONTROLS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_ESCAPE = r"\\{1,7}"  # a backslash, in JSON within JSON within JSON
_BETWEEN = r"(?:[\r\n]|\\{1,7}[rn]|%(?:25)*+0[aAdD])*+"  # base64 in lines
_SQUEEZE = re.compile(r"[\r\n]|\\{1,7}[rn]|%(?:25)*+(?:0[aAdD]|2[bBfF])|\\{1,7}(?=/)")
_STANDARD = {"2B": "+", "2F": "/"}
_ALPHABET = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class _Needle:
    """A pattern to be put into words (compiled) only where ``core`` is in the text, squeezed; None: always."""

    name: str
    pattern: str
    core: str | None = None

    def hidden(self, text: str, squeezed: str) -> str:
        if self.core is not None and self.core not in squeezed:
            return text
        return re.sub(self.pattern, lambda _: f"{{secret:{self.name}}}", text)


class Mask:
    """Hides some values, each behind its name."""

    __slots__ = ("_needles",)

    def __init__(self, values: Mapping[str, str]) -> None:
        long = sorted(((v, n) for n, v in values.items() if len(v) >= SHORTEST), key=lambda pair: -len(pair[0]))
        self._needles = [needle for value, name in long for needle in _needles(value, name)]

    def text(self, text: str) -> str:
        """The text with ``{secret:name}`` for every value in it."""
        squeezed = _squeezed(text) if self._needles else ""
        for needle in self._needles:
            text = needle.hidden(text, squeezed)
        return text

    def result(self, raw: str) -> str:
        """The raw result of an HTTP step with the values hidden in its body and headers; any other text as a text.

        Texts are looked at as they were before they became JSON, and a body in base64 as the bytes that it was.
        """
        if not self._needles:
            return raw
        try:
            result = json.loads(raw)
        except ValueError:
            return self.text(raw)
        if isinstance(result, dict) and result.get("encoding") == "base64":
            result["body"] = self._bytes(str(result.get("body")))
        return json.dumps(self._inside(result), ensure_ascii=False, separators=(",", ":"))

    def _inside(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._inside(item) for key, item in value.items()}
        return [self._inside(item) for item in value] if isinstance(value, list) else value

    def _bytes(self, body: str) -> str:
        try:
            found = base64.b64decode(body).decode("latin-1")
        except (binascii.Error, ValueError):
            return body
        hidden = self.text(found)
        return body if hidden == found else base64.b64encode(hidden.encode("utf-8")).decode()


def _needles(value: str, name: str) -> Iterator[_Needle]:
    for form in _forms(value, unquote(value), value.encode("utf-8", "replace").decode("latin-1")):
        yield _Needle(name, _spelled(form))
    for form in _forms(
        value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], quote(value, safe="")
    ):
        data = form.encode("utf-8", "replace")
        for digits in (data.hex(), data.hex().upper()):
            yield _Needle(name, digits, digits)
        for core, rest in _base64(data):
            yield _Needle(name, _BETWEEN.join(map(_sign, core)) + rest, core)


def _forms(*forms: str) -> list[str]:
    return [form for form in dict.fromkeys(forms) if len(form) >= SHORTEST]


def _squeezed(text: str) -> str:
    """The text as base64 in one line of the standard alphabet would stand in it."""
    return _SQUEEZE.sub(lambda found: _STANDARD.get(found[0][-2:].upper(), ""), text).translate(_ALPHABET)


def _spelled(text: str) -> str:
    """A pattern for the text with any of its characters escaped in any way."""
    return "".join(_after_backslashes(run) if run[0] == "\\" else _character(run) for run in _runs(text))


def _runs(text: str) -> list[str]:
    """The characters, those after backslashes together with them."""
    return re.findall(r"\\+[^\\]?|[^\\]", text, re.DOTALL)


def _after_backslashes(run: str) -> str:
    """Backslashes, doubled up to three times, and the next character. Where that begins with backslashes too, the two
    are found once and for all (an atomic group): there is no point in trying each way to share them out.
    """
    count = len(run) - len(run.lstrip("\\"))
    plain = "|".join(r"\\" * (count << depth) for depth in (3, 2, 1, 0))
    backslashes = f"(?:{plain}|(?:{'|'.join((*_signs(chr(92)), *_escapes(chr(92))))}){{{count}}})"
    if count == len(run):
        return backslashes
    return f"(?:(?>{backslashes}(?:{'|'.join(_escapes(run[-1]))}))|{backslashes}(?:{'|'.join(_signs(run[-1]))}))"


def _character(char: str) -> str:
    return f"(?:{'|'.join((*_signs(char), *_escapes(char)))})"


def _signs(char: str) -> Iterator[str]:
    """The character itself, and all but the escapes that begin with a backslash."""
    # The first letters of all choices are plain ones: then the search leaps to where one of them is.
    yield from dict.fromkeys(re.escape(c) for c in (char, char.lower(), char.upper()) if len(c) == 1 and c != "\\")
    yield _percent(char.encode("utf-8", "surrogatepass"))
    yield f"&(?:amp;){{0,2}}#(?:0*{ord(char)}|[xX]0*{_digits(f'{ord(char):x}')});"
    if char in _SIGNS:
        yield f"&(?:amp;){{0,2}}{_SIGNS[char]};"
    if char == " ":
        yield r"\+"
        yield _percent(b"+")
    if "\x80" <= char <= "\xff":
        yield _percent(char.encode("latin-1"))


def _escapes(char: str) -> Iterator[str]:
    """As JSON and JavaScript escape a character."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    yield "".join(f"{_ESCAPE}u{_digits(units[at : at + 4])}" for at in range(0, len(units), 4))
    if char < "\x80":
        yield f"{_ESCAPE}x{_digits(f'{ord(char):02x}')}"
    if char in _CONTROLS:
        yield _ESCAPE + _CONTROLS[char]
    if char in "\"'/":
        yield _ESCAPE + char


def _percent(data: bytes) -> str:
    return "".join(f"%(?:25){{0,3}}{_digits(f'{byte:02x}')}" for byte in data)


def _digits(digits: str) -> str:
    return "".join(d if d.isdigit() else f"[{d}{d.upper()}]" for d in digits)


def _base64(data: bytes) -> Iterator[tuple[str, str]]:
    """The characters that depend on the bytes alone, for each of the three places they may begin at; what follows."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        core = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        if len(core) >= SHORTEST:
            yield core, "[A-Za-z0-9+/_-]?" if (before + len(data)) % 3 else ""  # it holds the last bits


def _sign(char: str) -> str:
    if char == "+":
        return r"(?:\+|-|%(?:25)*+2[bB])"
    if char == "/":
        return r"(?:_|\\{0,7}/|%(?:25)*+2[fF])"
    return char
