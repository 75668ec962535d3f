"""Hostile input by a seed: texts, envelopes that are nearly right, arguments by type, calls of every builder.

Plain ``random``, because there is much of it. The same seed gives the same input.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

SEED = int(os.environ.get("PERDURE_FUZZ_SEED", "20260101"))
PIECES = [
    "'", '"', "\\", "$", "$$", "$x", "$x.v", "$x.*", "$x?", "$x.v?", "{", "}", "{a}", "{sys_label}", "{secret:s}", "--", "/*",
    "*/", ";", "\n", "\x01", "\u202e", "\ud7ff", "\U0001f600", "E'", "U&'", "x", "1", "-1", "NULL", "SELECT ", " FROM ",
    "mallory.grab()", "alice.secret", "DROP TABLE alice.secret", "COMMIT", "RESET ROLE", "::json", "::text", "(", ")", ",", "[", "]",
    "df.start(", "df.sql(", "~>", "|=>", "&", "|", "?>", "!>", "@>", "$q$", "\\u0027", "%s", "%", "0x", "1e999", "true", "\t",
    "\u00a0", "\u2028", "\ufeff", "\u212a", "\u0130", "\u017f", "b'", "X'", "||", "\r", "\x7f", "\u0085", "#>", "@", "ü", "\U0010ffff",
]  # fmt: skip
TYPES = "SQL THEN IF JOIN LOOP BREAK RACE SLEEP WAIT_SCHEDULE HTTP HTTP_MULTIPART SIGNAL WAIT_INSTANCE".split()
KEYS = "query left_node right_node condition_node extra_nodes result_name database owner node_type".split()
# What jsonb takes and a reader of JSON may not, or the other way round. Put into texts as they are.
ODD_JSON = [
    "1" * 5000, "-" + "9" * 4301, "1e308", "1e309", "-0", "1E+2", "0.1e-5", "NaN", "Infinity", "01", "1.", ".5", "+1",
    "[" * 300 + "]" * 300, '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', "'x'", "{}", '{"":""}', "// c", "\u00a01",
    '{"a":1,"a":2}', "tru", "\ufeff{}", '"\t"', '"\\/"', '"\x7f"',
]  # fmt: skip
CRON = ["*", "*/5", "0", "59", "60", "1-5", "5-1", "mon", "MON", "sun", "7", "0-7", "?", "L", "1,2", "*/0", "jan", "2100",
        "1969", "@hourly", "@reboot", "\u212a", "31", "2", "30", "-", ",", "1-", "feb", "*/1", "6-7", "fri-sun", "99999"]  # fmt: skip
ZONES = ["UTC", "Europe/Vienna", "utc", "EST5EDT", "America/Argentina/Buenos_Aires", "posix/UTC", "right/UTC", "localtime",
         "+05", "UTC+3", "../../etc/passwd", "/etc/passwd", "", "Factory", "CET", "Africa/Dar_es_Salaam", "Etc/GMT+12", "ZZZ5", "X"]  # fmt: skip


def text(chance: random.Random, longest: int = 12) -> str:
    """Some pieces, one after the other."""
    return "".join(chance.choice(PIECES) for _ in range(chance.randrange(longest)))


def scrap(chance: random.Random) -> Any:
    """A value of JSON that does not belong where it stands."""
    return chance.choice(
        [None, True, 0, -1, 1e300, 2**63, "", text(chance), [], {}, [text(chance)], {"a": text(chance)}, "5", "1e3"]
    )


def node(chance: random.Random, depth: int = 0) -> Any:
    """An envelope that is nearly right."""
    if depth > 3 or chance.random() < 0.05:
        return scrap(chance)
    kind = chance.choice(TYPES)
    found: dict[str, Any] = {"node_type": kind if chance.random() < 0.95 else scrap(chance)}
    for key in KEYS[:-1]:
        if chance.random() < 0.12:
            found[key] = node(chance, depth + 1) if key.endswith("_node") else scrap(chance)
    if kind in ("THEN", "JOIN", "RACE", "IF", "LOOP") and chance.random() < 0.9:
        found["left_node"], found["right_node"] = node(chance, depth + 1), node(chance, depth + 1)
        if kind == "LOOP":
            del found["right_node"]
    if kind in ("IF", "LOOP") and chance.random() < 0.7:
        found["condition_node"] = node(chance, depth + 1)
    if kind == "JOIN" and chance.random() < 0.3:
        found["extra_nodes"] = [node(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind not in ("THEN", "JOIN", "RACE", "IF", "LOOP") and chance.random() < 0.9:
        found["query"] = query(chance, kind)
    return found


def query(chance: random.Random, kind: str) -> str:
    """What a leaf of this kind may have for its query, and what it may not."""
    if kind == "SQL":
        return "SELECT " + text(chance)
    if kind == "SLEEP":
        return chance.choice(["0", "1", "3155760000", "3155760001", "-1", "1e3", " 1", "1\n", "٣", "00", text(chance)])
    config: dict[str, Any] = {
        "url": chance.choice(["http://127.0.0.1:1/", text(chance)]),
        "method": chance.choice(["GET", text(chance)]),
        "signal_name": text(chance),
        "instance_id": text(chance, 4),
        "cron_expr": cron(chance),
        "timezone": chance.choice([None, *ZONES]),
        "break_value": chance.choice([None, text(chance)]),
        "headers": chance.choice([None, {}, {text(chance): text(chance)}, scrap(chance)]),
        "parts": chance.choice([[], [{"name": text(chance)}], scrap(chance)]),
        "timeout_seconds": chance.choice([None, 1, 1.0, 2147483647, 2147483648, 0, True, "1", scrap(chance)]),
    }
    for key in list(config):
        if chance.random() < 0.15:
            del config[key]
    return odd(chance, json.dumps(config, ensure_ascii=chance.random() < 0.5))


def cron(chance: random.Random) -> str:
    """A schedule that is nearly right."""
    if chance.random() < 0.2:
        return text(chance, 6)
    blank = chance.choice([" ", " ", " ", "\t", "\u00a0", "  "])
    fields = [chance.choice(CRON) if chance.random() < 0.25 else "*" for _ in range(chance.choice([5, 5, 5, 6, 4, 1]))]
    return blank.join(fields)


def odd(chance: random.Random, good: str) -> str:
    """A JSON text, sometimes with a member that not every reader takes, or an escape for a character."""
    if chance.random() < 0.1 and good.endswith("}") and len(good) > 2:
        return f'{good[:-1]},"odd":{chance.choice(ODD_JSON)}}}'
    if chance.random() < 0.05:
        return good.replace("node_type", "node\\u005ftype", 1)
    return good


def mangled(chance: random.Random, good: str) -> str:
    """A text with a hole, a doubled part, or something in it."""
    if not good or chance.random() < 0.6:
        return good
    at = chance.randrange(len(good))
    return chance.choice(
        [
            good[:at],
            good[:at] + text(chance, 4) + good[at:],
            good[:at] + good[at + 1 :],
            good + good,
            good[:at] + chance.choice(ODD_JSON) + good[at:],
            chance.choice([" ", "\n", "\t", "\u00a0", "\ufeff", "\x0b"]) + good,
            good + chance.choice([" ", "\r\n", "\u00a0", "x"]),
        ]
    )


def envelope(chance: random.Random) -> str:
    """A text for ``df.start``: an envelope, a damaged one, or anything."""
    if chance.random() < 0.1:
        return text(chance, 30)
    return mangled(chance, odd(chance, json.dumps(node(chance), ensure_ascii=chance.random() < 0.5)))


# ------------------------------------------------------------------------------------------------ calls, as SQL


def quoted(value: str) -> str:
    """A literal of SQL."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


ARGUMENTS: dict[str, list[str]] = {
    "text": ["NULL", "''", "' '", "repeat('{', 3000)", "repeat('[', 20000)", "repeat('x', 100000)", "'x'::mallory.word",
             "NULL::mallory.word", "ROW('a', 'b')::mallory.pair::text", "chr(1114111)", "df.sql('SELECT 1')", "to_json('x'::text)::text",
             "('SELECT 1' ~> 'SELECT 2')", "ARRAY['a', NULL]::text", "quote_literal(E'\\\\')", "df.setvar('a', 'b')", "df.sleep(0)",
             "('a' ?> 'b')", "df.\"break\"('$x')", "convert_from('\\xff'::bytea, 'UTF8')", "current_user::text", "df.clearvars()",
             "repeat('{\"node_type\":\"THEN\",\"left_node\":', 300)", "'{\"node_type\":\"SQL\",\"query\":\"x\",\"result_name\":\"y\"}'"],
    "integer": ["NULL", "0", "1", "-1", "2147483647", "-2147483648", "2147483648", "'7'", "1.5", "'x'", "NULL::integer"],
    "bigint": ["NULL", "0", "-1", "9223372036854775807", "-9223372036854775808", "3155760001", "1e30", "'NaN'::float8", "'5'"],
    "jsonb": ["NULL", "'{}'", "'[]'", "'null'", "'{\"a\":null}'", "'{\"a\":[1]}'", "'{\"a\\r\\nb\":\"c\\r\\nd\"}'", "'[{\"name\":null}]'",
              "('{\"a\":' || repeat('[', 900) || repeat(']', 900) || '}')::jsonb", "to_jsonb(repeat('x', 70000))", "'1e400'", "'x'"],
    "text[]": ["NULL::text[]", "'{}'::text[]", "ARRAY[NULL]::text[]", "ARRAY['a', NULL, 'b']", "ARRAY['a']", "ARRAY[['a', 'b'], ['c', 'd']]",
               "'[5:6]={a,b}'::text[]", "array_fill('SELECT 1'::text, ARRAY[700])", "ARRAY['{', '}', '\"']", "ARRAY['x']::mallory.word[]::text[]",
               "array_fill(NULL::text, ARRAY[3])"],
    "any": ["1", "NULL", "true", "'x'::name", "'{}'::json", "now()", "ARRAY[1]", "ROW(1)", "'a'::\"char\"", "'a'::mallory.mood"],
}  # fmt: skip
CALLS = [
    "df.sql({text})", "df.seq({text}, {text})", "df.seq({text}, {text}, {text})", "df.seq(VARIADIC {text[]})", "df.\"join\"({text}, {text})",
    "df.join3({text}, {text}, {text})", "df.\"join\"(VARIADIC {text[]})", "df.race({text}, {text})", "df.\"if\"({text}, {text}, {text})",
    "df.if_rows({text}, {text}, {text})", "df.\"loop\"({text}, {text})", "df.\"loop\"({text})", "df.\"as\"({text}, {text})", "df.\"break\"({text})",
    "df.sleep({bigint})", "df.wait_for_schedule({text})", "df.wait_for_schedule({text}, {text})", "df.wait_for_signal({text}, {integer})",
    "df.wait_for_instance({text}, {integer})", "df.http({text}, {text}, {text}, {jsonb}, {integer})",
    "df.http_multipart({text}, {text}, {jsonb}, {jsonb}, {integer})", "({text} ~> {text})", "({text} |=> {text})", "({text} & {text})",
    "({text} | {text})", "({text} ?> {text} !> {text})", "(@> {text})", "({text} !> {text})", "df.setvar({text}, {text})",
    "df.start({text}, {text}, {text}, {text})", "df.start({text}, label => {text})", "df.start({text}, NULL, NULL, 'caller')",
    "df.signal({text}, {text}, {text})", "df.cancel({text}, {text})", "df.explain({text})", "df.getvar({text})", "df.status({text})",
    "df.sql({any})", "df.seq({any}, {any})", "df.sleep({any})", "df.\"as\"({any}, {any})", "df.start({any})",
]  # fmt: skip


def argument(chance: random.Random, kind: str) -> str:
    """An expression of this type, or one that says it is."""
    if kind == "text" and chance.random() < 0.55:
        return quoted(chance.choice([text(chance), envelope(chance), cron(chance)]).replace("\0", "")) + "::text"
    return chance.choice(ARGUMENTS[kind])


def call(chance: random.Random) -> str:
    """A call of a function or operator of df, as an expression."""
    found = chance.choice(CALLS)
    for kind in ("text[]", "text", "integer", "bigint", "jsonb", "any"):
        while f"{{{kind}}}" in found:
            found = found.replace(f"{{{kind}}}", argument(chance, kind).replace("{", "\ue000"), 1)
    return found.replace("\ue000", "{")
