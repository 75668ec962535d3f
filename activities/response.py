"""What came back: the body with a limit, the result as users read it, and whether trying again can help."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from perdure.activities.charset import decode_body

SHOWN_BODY_BYTES = 512
ACCEPT_ENCODING = "gzip, deflate"

# A second attempt of these has the effect of one; POST and PATCH have not, unless the server knows a key for it.
REPEATABLE = frozenset({"GET", "PUT", "DELETE"})

_GZIP = 16 + zlib.MAX_WBITS
_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class BodyTooLarge(Exception):
    """The body, decompressed, is longer than the limit."""


class BodyBroken(Exception):
    """The body is not what its Content-Encoding says, or is cut off."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. ``headers`` have lower-case names, one value each. ``coded``: the body still carries a
    content coding that is not known here.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    coded: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status <= 299


def headers_of(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case to values; the last of several, and none that is not text."""
    headers = {}
    for name, value in raw:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            headers[name.decode("ascii", "replace").lower()] = text
    return headers


def read_answer(status: int, raw_headers: Sequence[tuple[bytes, bytes]], stream: Iterable[bytes], limit: int) -> Answer:
    """Read the body to its end, at most ``limit`` bytes of it. Raises ``BodyTooLarge`` and ``BodyBroken``, and what
    reading the stream raises.
    """
    headers = headers_of(raw_headers)
    codings = [c.strip().lower() for c in headers.get("content-encoding", "").split(",") if c.strip()]
    codings = [c for c in codings if c != "identity"]
    known = len(codings) == 1 and codings[0] in _CODINGS
    inflater = Inflater(codings[0], limit) if known else None
    body = _read(stream, limit, inflater)
    if inflater is not None:  # these two described the compressed body
        headers = {k: v for k, v in headers.items() if k not in ("content-encoding", "content-length")}
    return Answer(status, headers, body, coded=bool(codings) and not known)


def _read(stream: Iterable[bytes], limit: int, inflater: Inflater | None) -> bytes:
    body, wire = bytearray(), 0
    for chunk in stream:
        wire += len(chunk)
        body += inflater.feed(chunk) if inflater else chunk
        # Compression can make a body slightly longer; far longer is padding that never ends.
        if len(body) > limit or wire > limit + limit // 8 + 1024:
            raise BodyTooLarge
    if inflater is not None:
        inflater.finish()
    return bytes(body)


class Inflater:
    """Decompresses gzip and deflate. Memory stays within the limit however well the data was compressed."""

    def __init__(self, coding: str, limit: int) -> None:
        self._gzip = coding != "deflate"
        self._left = limit
        self._stream: zlib._Decompress | None = None
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """What these bytes decompress to. Raises ``BodyTooLarge`` or ``BodyBroken``."""
        out = bytearray()
        while data and self._open(data):
            assert self._stream is not None
            try:
                piece = self._stream.decompress(data, self._left + 1)
            except zlib.error:
                raise BodyBroken("the compressed body is damaged") from None
            out += piece
            self._left -= len(piece)
            if self._left < 0:
                raise BodyTooLarge
            data = self._rest(self._stream)
        return bytes(out)

    def finish(self) -> None:
        """Raises ``BodyBroken`` when the data stopped in the middle."""
        if self._stream is not None:
            raise BodyBroken("the compressed body is cut off")

    def _open(self, data: bytes) -> bool:
        """Whether these bytes belong to the compressed data; what follows its end is padding, or one more member."""
        if self._stream is None and (not self._ended or (self._gzip and data[0] == 0x1F)):
            self._stream = zlib.decompressobj(self._window(data[0]))
        return self._stream is not None

    def _window(self, first: int) -> int:
        if self._gzip:
            return _GZIP
        zlib_header = first & 0x0F == 8 and first >> 4 <= 7  # some servers leave the header out
        return zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS

    def _rest(self, stream: zlib._Decompress) -> bytes:
        """What the decompressor left over."""
        if not stream.eof:
            return stream.unconsumed_tail
        self._stream, self._ended = None, True
        return stream.unused_data


def result_text(answer: Answer, duration_ms: int) -> str:
    """The raw result of the step: compact JSON, its keys in the documented order."""
    body, encoding = decode_body(answer.body, answer.headers.get("content-type"), answer.coded)
    result = {
        "status": answer.status,
        "body": body,
        "encoding": encoding,
        "headers": {name: value for name, value in answer.headers.items() if "\x00" not in value},
        "ok": answer.ok,
        "duration_ms": duration_ms,
    }
    return storable(json.dumps(result, ensure_ascii=False, separators=(",", ":")))


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot store: NUL and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def shown_body(body: bytes, hide: Callable[[str], str] = str) -> str:
    """The beginning of a body for an error message. ``hide`` sees more than that, and finds what the end would cut."""
    seen = hide(body[: 256 * SHOWN_BODY_BYTES].decode("utf-8", "replace"))
    return storable(seen.encode("utf-8", "replace")[:SHOWN_BODY_BYTES].decode("utf-8", "replace"))


def worth_retrying(status: int, headers: Mapping[str, str], repeatable: bool) -> bool:
    """Whether this status may be another one soon. ``repeatable``: a second attempt has no second effect."""
    if status == 429 or (status == 503 and "retry-after" in headers):
        return True
    return repeatable and (status == 408 or status >= 500)


def retry_after(headers: Mapping[str, str], cap: float, now: datetime) -> float | None:
    """The seconds after which the server wants to be asked again, from 0 to ``cap``; None if it does not say."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), cap)
    then, start = _date(value), _date(headers.get("date", "")) or now  # the server's own clock, where it tells it
    return None if then is None else min(max((then - start).total_seconds(), 0.0), cap)


def _date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
