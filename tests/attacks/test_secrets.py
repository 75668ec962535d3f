"""A server that sends back what it was told, in every way it can think of: nothing keeps the secret."""

from __future__ import annotations

import base64
import html
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, quote_plus

import pytest

from asking import value
from attacks.conftest import Report
from cluster import OWNER, Database, Workers, clean_environment
from servers.misbehaving import Server as Http
from servers.misbehaving import Talk
from waiting import ENDED, eventually_status

pytestmark = pytest.mark.attacks

SECRET = 'Tok-"é\\/&=% 1'
TOKEN = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


def spellings(text: str) -> dict[str, str]:
    """The text in the ways that servers write what they got."""
    data = text.encode()
    return {
        "plain": text, "upper": text.upper(), "quoted": quote(text, safe=""), "lower": quote(text, safe="").lower(), "plus": quote_plus(text),
        "twice": quote(quote(text)), "json": json.dumps(text), "nested": json.dumps(json.dumps({"t": text})), "php": json.dumps(text).replace("/", "\\/"),
        "units": "".join(f"\\u{data_of:04X}" for data_of in map(ord, text)), "html": html.escape(text), "numbers": "".join(f"&#{ord(c)};" for c in text),
        "hex": data.hex(), "HEX": data.hex().upper(), "base64": base64.b64encode(data).decode(), "url64": base64.urlsafe_b64encode(data).decode(),
        "basic": base64.b64encode(b"user:" + data).decode(), "basic2": base64.b64encode(b"users:" + data).decode(),
        "basic3": base64.b64encode(b"userss:" + data).decode(), "lines": base64.encodebytes(data * 9).decode(), "latin": data.decode("latin-1"),
    }  # fmt: skip


def echoed(talk: Talk) -> None:
    """Everything back in every spelling: in the body, in headers, in an error, in bytes that are no text."""
    written = {
        f"{which}-{way}": text
        for which, secret in (("s", SECRET), ("t", TOKEN))
        for way, text in spellings(secret).items()
    }
    body = "\n".join(f"{way}: {text}" for way, text in written.items())
    if talk.request.target.startswith("/error"):
        at = "x" * (505 - len(TOKEN))  # the message is cut off within the token
        talk.answer(500, (at + TOKEN + "\n" + body).encode())
    elif talk.request.target.startswith("/binary"):
        talk.answer(200, b"\xff\xfe\x00\x01" + body.encode() + b"\xff")
    else:
        headers = {f"X_{way}": text for way, text in written.items() if text.isascii() and "\n" not in text}
        talk.answer(200, json.dumps({"said": body}).encode(), **headers)


@pytest.fixture
def key(database: Database, tmp_path: Path) -> Path:
    file = tmp_path / "keys" / "perdure.key"
    perdure("secret", "key", "--file", str(file), "--dsn", database.dsn(OWNER))
    for name, text in (("s", SECRET), ("t", TOKEN)):
        perdure("secret", "set", name, "--as", "alice", "--dsn", database.dsn(), text=text + "\n")
    return file


def perdure(*arguments: str, text: str = "") -> None:
    command = [sys.executable, "-m", "perdure", *arguments]
    subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=120, env=clean_environment(), check=True
    )


def everything(database: Database) -> str:
    """All that the database holds of the engine, as text."""
    tables = "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace IN ('df'::regnamespace, 'df_engine'::regnamespace)"
    with database.admin() as admin:
        names = [name for (name,) in admin.execute(tables).fetchall()]
        return "\n".join(
            str(row) for name in names for row in admin.execute(cast(Any, f"SELECT t::text FROM {name} t"))
        )


def test_a_secret_that_comes_back_is_kept_nowhere(
    database: Database, workers: Workers, key: Path, report: Report
) -> None:
    """A server sends two secrets back in 21 spellings, in body, headers, bytes and an error -> kept nowhere, not in the log."""
    worker = workers.start("--log-level", "debug", env={"PERDURE_SECRET_KEY_FILE": str(key)})
    with Http(echoed) as server, database.admin() as admin, database.connect("alice") as alice:
        admin.execute("INSERT INTO df.http_policy (action, network) VALUES ('allow', '127.0.0.1/32')")
        admin.execute("SELECT df.grant_usage('alice', include_http => true)")
        admin.execute("UPDATE df.settings SET value = '0' WHERE name = 'retry_total_seconds'")
        shown = ""
        for path, expected in (("/", "completed"), ("/binary", "completed"), ("/error", "failed")):
            call = "df.start(df.http(%s, 'POST', '{secret:s}', '{\"X-Key\": \"{secret:t}\"}') |=> 'r' ~> 'SELECT ''$r.body'' AS b')"
            started = cast(str, value(alice, call, server.url(path)))
            assert eventually_status(alice, started, ENDED, 60) == expected
            shown += str(alice.execute("SELECT * FROM df.nodes WHERE instance_id = %s", [started]).fetchall())
            shown += str(alice.execute("SELECT * FROM df.instances WHERE id = %s", [started]).fetchall())
        assert server.requests[-1].body.decode() == SECRET
    assert "{secret:s}" in shown
    assert "{secret:t}" in shown
    kept = everything(database) + worker.log + shown
    found = [
        way
        for secret in (SECRET, TOKEN)
        for way, text in spellings(secret).items()
        if text in kept or repr(text)[1:-1] in kept
    ]
    assert found == []
    assert TOKEN[:8] not in kept
    report("none of them")
