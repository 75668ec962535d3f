"""Secrets of roles: sealed by whoever sets them, opened by workers for the moment of a request.

Sealed boxes of libsodium (through PyNaCl): anybody can seal with the public key, only who has the private one can open.
What is sealed is a JSON object of role, name and value, so that a sealed text is of no use under another role or name.
``{secret:name}`` is resolved in the text that the workflow was written with, never in values that were put into it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perdure.activities.failures import ActivityError, Failure
from perdure.activities.http import TransientAnswer
from perdure.masking import Mask

PREFIX = "sealed:"
_MENTION = re.compile(r"\{secret:([^{}]*)\}")


class SecretError(Exception):
    """A key or a sealed text cannot be used; the message is one sentence, without any secret."""


# -- keys -------------------------------------------------------------------------------------------------------------


def new_key() -> tuple[str, str]:
    """A private and a public key, in base64. Raises ``SecretError`` where PyNaCl is not installed."""
    private = _nacl().public.PrivateKey.generate()
    return _text(bytes(private)), _text(bytes(private.public_key))


def public_of(private: str) -> str:
    """The public key of a private one. Raises ``SecretError``."""
    return _text(bytes(_private(private).public_key))


def keys_from(environment: Mapping[str, str], file: str | None = None) -> tuple[str, ...]:
    """The private keys that a worker is given, newest first: one a line in a file, or ``PERDURE_SECRET_KEY``.

    The file is ``file``, else ``PERDURE_SECRET_KEY_FILE``. Raises ``SecretError``.
    """
    file = file or environment.get("PERDURE_SECRET_KEY_FILE")
    given = environment.get("PERDURE_SECRET_KEY", "")
    keys = (*(read_keys(Path(file)) if file else ()), *given.split())
    for key in keys:
        _private(key)
    return keys


def read_keys(path: Path) -> tuple[str, ...]:
    """The private keys in a file. Raises ``SecretError``, also when others may read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise SecretError(f"the key file {path} can be read by others: chmod 600")
        return tuple(path.read_text("ascii").split())
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"cannot read the key file {path}: {getattr(error, 'strerror', 'it is not text')}") from error


def add_key(path: Path) -> str:
    """Put a new private key on top of a key file, which is made if need be; the public one. Raises ``SecretError``."""
    private, public = new_key()
    known = read_keys(path) if path.exists() else ()
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("".join(f"{key}\n" for key in (private, *known)))
        fresh.replace(path)
    except OSError as error:
        raise SecretError(f"cannot write the key file {path}: {error.strerror}") from error
    return public


# -- sealing ----------------------------------------------------------------------------------------------------------


def seal(public: str, role: str, name: str, value: str) -> str:
    """The sealed text of a secret, as ``df.set_secret`` takes it. Raises ``SecretError``."""
    nacl = _nacl()
    content = json.dumps({"role": role, "name": name, "value": value}).encode()
    try:
        box = nacl.public.SealedBox(nacl.public.PublicKey(base64.b64decode(public)))
    except (nacl.exceptions.CryptoError, binascii.Error, ValueError) as error:
        raise SecretError("the public key of this database cannot be used") from error
    return PREFIX + _text(box.encrypt(content))


def opened(keys: tuple[str, ...], role: str, name: str, sealed: bytes) -> str:
    """The value of a secret. Raises ``SecretError``."""
    nacl = _nacl()
    for key in keys:
        try:
            content = json.loads(nacl.public.SealedBox(_private(key)).decrypt(sealed))
        except (nacl.exceptions.CryptoError, ValueError):
            continue
        if content.get("role") != role or content.get("name") != name:
            raise SecretError(f"secret '{name}' was sealed for another role or name: set it anew")
        return str(content["value"])
    raise SecretError(f"secret '{name}' was sealed with a key that this worker does not have")


def _private(text: str) -> Any:
    nacl = _nacl()
    try:
        return nacl.public.PrivateKey(base64.b64decode(text, validate=True))
    except (nacl.exceptions.CryptoError, binascii.Error, ValueError, TypeError) as error:
        raise SecretError("a private key is 32 bytes in base64, as `perdure secret key` writes it") from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _nacl() -> Any:
    try:
        import nacl.exceptions
        import nacl.public
    except ImportError as error:
        raise SecretError("secrets need PyNaCl: pip install 'perdure[secrets]'") from error
    return nacl


# -- in a request -----------------------------------------------------------------------------------------------------


def mentioned(text: str) -> list[str]:
    """The names of the secrets that a text mentions, in order, each once."""
    return list(dict.fromkeys(_MENTION.findall(text)))


@dataclass(frozen=True, slots=True)
class Vault:
    """The secrets of one request, for as long as it takes. Its repr shows names only."""

    _values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Vault({', '.join(self._values)})"

    @property
    def names(self) -> tuple[str, ...]:
        """What is in it."""
        return tuple(self._values)

    def filled(self, render: Callable[[str], str]) -> Callable[[str], str]:
        """``render`` with secrets put in: into the template's own text, not into what ``render`` puts in."""

        def filling(template: str) -> str:
            out: list[str] = []
            for place, piece in enumerate(_MENTION.split(template)):
                out.append(self._values[piece] if place % 2 else render(piece) if piece else "")
            return "".join(out)

        return filling if self._values else render

    def hidden(self, text: str) -> str:
        """A text without the values, should somebody have sent them back in a form that ``masking`` knows."""
        return Mask(self._values).text(text)

    def hidden_result(self, raw: str) -> str:
        """The raw result of a step without the values."""
        return Mask(self._values).result(raw)

    def without_values(self, error: ActivityError) -> ActivityError:
        """The same failure, told without the values."""
        failure = error.failure
        told = replace(
            failure, message=self.hidden(failure.message), detail=failure.detail and self.hidden(failure.detail)
        )
        if isinstance(error, TransientAnswer):
            return TransientAnswer(told, self.hidden_result(error.result))
        return ActivityError(told)


NONE = Vault({})


def vault(keys: tuple[str, ...], role: str, names: list[str], sealed: Mapping[str, bytes]) -> Vault:
    """Open what a request mentions. Raises ``ActivityError``: for good, or without a key for another worker to try."""
    for name in names:
        if name not in sealed:
            raise ActivityError(Failure(f"there is no secret '{name[:100]}' of role '{role}'"))
    if names and not keys:
        words = "this worker has no key for secrets (PERDURE_SECRET_KEY_FILE)"
        raise ActivityError(Failure(words, transient=True))
    try:
        return Vault({name: opened(keys, role, name, bytes(sealed[name])) for name in names})
    except SecretError as error:
        raise ActivityError(Failure(str(error))) from None
