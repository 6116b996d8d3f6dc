"""Bodies of JSON, read for little more memory than they have bytes.

Read as a whole, a body takes up to nine times its size: itself, as text (four bytes a character, if only one
needs them), each text of it once more, and the images. So the long texts, which can only be images in base64,
are taken out first. They stay where they are, as bytes, until their base64 is decoded.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any

from foveal.service.errors import ServiceError

_PARTS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:(")|\\?\Z)|[\[\]{}NI]', re.S)
"""Strings, which may hold anything, and what counts outside of them: brackets, and the beginnings of NaN and
Infinity. Reads no byte twice: possessive, and a string without an end runs to the end of the body."""
_COLON = re.compile(rb"[ \t\r\n]*+:")
_MARKS = (b",", b"[", b"{", b":", b'"')
_MARKS_EACH = 32
"""Of them an image's entry may hold so many, apart from those in its texts; it needs twenty."""
_BYTES_EACH = 12
r"""Of a character, at most: ``\ud83e\udd8a``."""
_HERE = b"NaN"
"""Stands for a text that was taken out. No body has one of its own: they are no JSON."""
_IMAGE = "data"


class LongText:
    """A text of a body that is too long for anything but an image: where it lies, not what it says."""

    __slots__ = ("_body", "_end", "_start")

    def __init__(self, body: bytes, start: int, end: int) -> None:
        self._body, self._start, self._end = body, start, end

    def __len__(self) -> int:
        """Characters, if it is base64: there the only escape that writers use is that of the slash."""
        return self._end - self._start - self._body.count(b"\\", self._start, self._end)

    def beginning(self, count: int) -> str:
        """The text of the first bytes; enough to be refused as too long."""
        return self._body[self._start : min(self._end, self._start + count)].decode("utf-8", "replace")

    def from_base64(self) -> bytes:
        """The image.

        Raises:
            ValueError: it is not base64.
        """
        text: bytes | memoryview = memoryview(self._body)[self._start : self._end]
        if self._body.find(b"\\", self._start, self._end) >= 0:
            text = bytes(text).replace(b"\\/", b"/")
        return binascii.a2b_base64(text, strict_mode=True)


def read_json(body: bytes, *, depth: int, images: int, text: int) -> Any:
    """Build the values of a JSON body, once it is known that they are few.

    A body of empty arrays takes twenty times its size in memory: so brackets and commas are counted first.

    Args:
        body: UTF-8.
        depth: arrays and objects inside each other, at most.
        images: entries that it may describe.
        text: characters that the texts of one entry may have, that of its image aside.

    Returns:
        Plain values. Long texts are :class:`LongText` where they are called ``data``, and cut where they have
        another name; still they are longer than any may be.

    Raises:
        ServiceError: ``invalid_json``, ``json_too_deep``, or ``invalid_request`` for a long name of a field.
    """
    most = (images + 1) * (_MARKS_EACH + text)
    if sum(body.count(mark) for mark in _MARKS) > most:
        raise _too_deep(depth)
    longest = _BYTES_EACH * text
    rest, texts = _taken_apart(body, depth, longest)
    if len(rest) > 2 * (images + 1) * longest:
        raise _too_deep(depth)
    found = iter(texts)

    def shortened(values: dict[str, Any]) -> dict[str, Any]:
        for key, value in values.items():
            if isinstance(value, LongText) and key != _IMAGE:
                values[key] = value.beginning(longest)
        return values

    try:
        return json.loads(rest.decode("utf-8"), parse_constant=lambda _: next(found), object_hook=shortened)
    except (ValueError, RecursionError):
        raise _not_json() from None


def _taken_apart(body: bytes, depth: int, longest: int) -> tuple[bytes, list[LongText]]:
    """A body with a mark in the place of each long text, and those texts in their order."""
    pieces: list[bytes] = []
    texts: list[LongText] = []
    level = last = 0
    for match in _PARTS.finditer(body):
        start, end = match.span()
        mark = body[start : start + 1]
        if mark == b'"':
            if match[1] is None:
                raise _not_json()
            if end - start > longest:
                _check_is_value(body, end)
                pieces += body[last:start], _HERE
                texts.append(LongText(body, start + 1, end - 1))
                last = end
        elif mark in b"NI":
            raise _not_json()
        else:
            level += 1 if mark in b"[{" else -1
            if level > depth:
                raise _too_deep(depth)
    return b"".join([*pieces, body[last:]]), texts


def _check_is_value(body: bytes, end: int) -> None:
    if _COLON.match(body, end):
        raise ServiceError("invalid_request", "the name of a field is too long")


def _too_deep(depth: int) -> ServiceError:
    return ServiceError("json_too_deep", f"it nests more than {depth} deep, or holds too many values")


def _not_json() -> ServiceError:
    return ServiceError("invalid_json", "the body is not JSON in UTF-8")
