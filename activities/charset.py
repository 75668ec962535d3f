"""Whether a response body is text, and in which character set.

A declared textual ``Content-Type`` makes it text in the declared character set. Otherwise the content decides: valid
UTF-8 without a NUL is text, everything else is base64. Text that would hold a NUL is base64 too, whatever was
declared: PostgreSQL has no place for that character.
"""

from __future__ import annotations

import base64
import codecs
import re
from typing import Literal

_TEXT_TYPE = re.compile(
    r"text/.+|[^/]+/.+\+(?:json|xml|yaml)"
    r"|application/(?:json|xml|javascript|ecmascript|x-www-form-urlencoded|graphql|yaml|x-yaml)"
)
_CHARSET = re.compile(r';\s*charset\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Labels that the Web reads otherwise than Python does: https://encoding.spec.whatwg.org/#names-and-labels
_WEB_LABELS = {
    **dict.fromkeys(
        ("ascii", "us-ascii", "latin1", "latin-1", "l1", "iso-8859-1", "iso8859-1", "iso_8859-1"), "cp1252"
    ),
    **dict.fromkeys(("iso-8859-9", "latin5", "iso8859-9"), "cp1254"),
    **dict.fromkeys(("iso-8859-11", "tis-620"), "cp874"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk", "gb_2312-80", "chinese"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "ms_kanji", "windows-31j"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "korean", "windows-949"), "cp949"),
    **dict.fromkeys(("utf-16", "utf-16le", "unicode", "ucs-2"), "utf-16-le"),
    "utf-16be": "utf-16-be",
    "iso-8859-8-i": "iso8859-8",
    "x-cp1250": "cp1250",
    "x-cp1251": "cp1251",
    "x-cp1252": "cp1252",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-euc-jp": "euc-jp",
    "x-x-big5": "big5-hkscs",
    "big5": "big5-hkscs",
}
# Python has many more codecs; among them are compressors, escapes and UTF-7, which have no place here.
_TEXT_CODEC = re.compile(
    r"utf-8|utf-16-[lb]e|utf-32(?:-[lb]e)?|iso8859-\d+|cp(?:125\d|866|874|932|949)|koi8-[ru]|mac-(?:roman|cyrillic)"
    r"|gb18030|big5hkscs|euc_jp|iso2022_jp"
)

Encoding = Literal["text", "base64"]


def decode_body(body: bytes, content_type: str | None, encoded: bool = False) -> tuple[str, Encoding]:
    """The body as a string, and how it is to be read. ``encoded``: a content coding is still on it, so the declared
    type says nothing about these bytes.
    """
    media_type = _media_type(content_type)
    if _TEXT_TYPE.fullmatch(media_type) and not encoded:
        text: str | None = _decode_declared(body, content_type or "")
    else:
        text = _decode_utf8(body)
    if text is None or "\0" in text:
        return base64.b64encode(body).decode("ascii"), "base64"
    return text, "text"


def _media_type(content_type: str | None) -> str:
    return re.split(r"[;,]", content_type or "", maxsplit=1)[0].strip().lower()


def _decode_declared(body: bytes, content_type: str) -> str:
    """Decode; what is not valid becomes U+FFFD. A byte order mark beats the declaration."""
    for mark, codec in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    return body.decode(codec_for(content_type), "replace")


def codec_for(content_type: str) -> str:
    """The Python codec for the charset that a Content-Type declares; UTF-8 where it declares none that is known."""
    found = _CHARSET.search(content_type.partition(",")[0])
    label = (found.group(1) or found.group(2) or "").strip().lower() if found else ""
    try:
        codec = codecs.lookup(_WEB_LABELS.get(label, label)).name if label else "utf-8"
    except (LookupError, ValueError):
        return "utf-8"
    return codec if _TEXT_CODEC.fullmatch(codec) else "utf-8"


def _decode_utf8(body: bytes) -> str | None:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None
