"""Requests that are up to no good, made from a seed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from hostile_files import (
    behind_magic,
    bombs,
    mutants,
    odd_numbers,
    odd_shapes,
    polyglots,
    whole_files,
)
from numpy.typing import NDArray

MUTANTS_EACH = 14
NOISE_EACH = 5
BOUNDARY = b"frontier"
FORM = b"multipart/form-data; boundary=" + BOUNDARY
NAMES = (
    "../../../../etc/passwd",
    "..\\..\\windows\\system32\\config\\sam",
    "/dev/zero",
    "/proc/self/environ",
    "file:///etc/passwd",
    "C:\\con\\con.png",
    "\\\\server\\share\\x.png",
    "a" * 255,
    "a" * 256,
    "a" * 100_000,
    "",
    ".",
    "..",
    "-rf",
    "x.png\x00.jpg",
    "x\r\nSet-Cookie: a=b",
    "\x1b]0;owned\x07",
    "\u202egnp.exe",
    "\ufeff",
    "\U0001d54f" * 60,
    "e\u0301" * 100,
    "${jndi:ldap://x/a}",
    "{{7*7}}",
    "%n%n%n%n",
    "'; DROP TABLE images; --",
    "<img src=x onerror=alert(1)>",
    "$(id)",
    "|id",
    "CON",
    "nul.png",
    "*",
    "~root",
)


@dataclass(frozen=True)
class Attack:
    """One request.

    Attributes:
        name: what it tries.
        body: as it is sent.
        kind: its Content-Type.
        method: likewise.
        path: likewise.
        headers: further ones.
    """

    name: str
    body: bytes = b""
    kind: bytes = FORM
    method: str = "POST"
    path: str = "/v1/score"
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


def attacks(pixels: NDArray[np.uint8], seed: int) -> Iterator[Attack]:
    """All of them, in an order that never changes."""
    rng = np.random.default_rng(seed)
    files = dict(whole_files(pixels))
    yield from (_image(name, data) for name, data in files.items())
    yield from (_image(name, data) for name, data in mutants(files, MUTANTS_EACH, seed))
    yield from (_image(name, data) for name, data in behind_magic(NOISE_EACH, seed))
    special = [*bombs(), *odd_shapes(rng), *odd_numbers(), *polyglots(files)]
    yield from (_image(name, data) for name, data in special)
    yield from (_image(f"explain {name}", data, "/v1/explain") for name, data in special)
    small = files["PNG L"]
    yield from _names(small)
    yield from _types(small)
    yield from _json(rng)
    yield from _forms(small, rng)
    yield from _heads()


def form(*parts: tuple[bytes, bytes], end: bytes = b"--" + BOUNDARY + b"--\r\n") -> bytes:
    """A form of parts, each with its disposition and content."""
    pieces = [b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(pieces) + end


def disposition(name: bytes = b"image", filename: bytes | None = b"x") -> bytes:
    """A part's Content-Disposition."""
    tail = b"" if filename is None else b'; filename="' + filename + b'"'
    return b'Content-Disposition: form-data; name="' + name + b'"' + tail


def _image(name: str, data: bytes, path: str = "/v1/score") -> Attack:
    return Attack(name, form((disposition(), data)), path=path)


def _names(small: bytes) -> Iterator[Attack]:
    data = base64.b64encode(small).decode()
    for name in NAMES:
        shown = repr(name[:30])
        body = json.dumps({"images": [{"data": data, "name": name}]}).encode()
        yield Attack(f"json name {shown}", body, b"application/json")
        raw = name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        yield Attack(f"form name {shown}", form((disposition(filename=raw), small)))
        yield Attack(f"field {shown}", form((disposition(raw[:500], None), small)))
        for key in (b"model", b"prompt"):
            body = form((disposition(), small), (disposition(key, None), name.encode()))
            yield Attack(f"{key.decode()} {shown}", body)
        wrapped = json.dumps({"images": [{"url": name}]}).encode()
        yield Attack(f"url {shown}", wrapped, b"application/json")
        path = "/" + "".join(mark if 32 < ord(mark) < 127 else "_" for mark in name[:200])
        yield Attack(f"path {shown}", method="GET", path=path)


def _types(small: bytes) -> Iterator[Attack]:
    """A value of every type in every place."""
    data = base64.b64encode(small).decode()
    values = (None, True, 0, -1, 1e308, 10**400, "", "x", [], [[]], {}, {"a": 1}, [None], data)
    for value in values:
        for key in ("data", "url", "name", "prompt", "other", "__proto__", "\u0000"):
            entry = {"data": data, key: value} if key != "url" else {key: value}
            yield _body(f"{key} {value!r:.20}", {"images": [entry]})
        for key in ("images", "model", "prompt", "map", "other"):
            yield _body(f"{key} {value!r:.20}", {"images": [{"data": data}], key: value})
        yield _body(f"all {value!r:.20}", value)
        yield _body(f"entry {value!r:.20}", {"images": [value]})


def _body(name: str, value: object) -> Attack:
    return Attack(f"json {name}", json.dumps(value).encode(), b"application/json")


def _json(rng: np.random.Generator) -> Iterator[Attack]:
    opening, closing = b'{"images":[', b"]}"
    bodies = {
        "deep arrays": b"[" * 200_000,
        "deep and closed": b"[" * 50_000 + b"]" * 50_000,
        "deep objects": b'{"a":' * 100_000,
        "deep inside": opening + b"[" * 5_000 + b"]" * 5_000 + closing,
        "many arrays": opening + b"[]," * 300_000 + b"[]" + closing,
        "many keys": b"{" + b",".join(b'"k%d":0' % number for number in range(50_000)) + b"}",
        "same key": b"{" + b'"images":[],' * 40_000 + b'"images":[]}',
        "many entries": opening + b'{"data":""},' * 20_000 + b'{"data":""}' + closing,
        "long number": opening + b"9" * 1_000_000 + closing,
        "long exponent": opening + b"1e" + b"9" * 100_000 + closing,
        "long text": b'"' + b"x" * 3_000_000 + b'"',
        "no end of text": b'{"images":[{"data":"' + b"A" * 3_000_000,
        "escapes": b'"' + b"\\u0000" * 300_000 + b'"',
        "backslashes": b'"' + b"\\" * 2_000_001,
        "quotes": b'"' * 1_000_000,
        "white": b" " * 3_000_000,
        "nul": b"\0" * 10_000,
        "utf-16": json.dumps({"images": []}).encode("utf-16"),
        "utf-32": json.dumps({"images": []}).encode("utf-32"),
        "byte order mark": b"\xef\xbb\xbf{}",
        "half characters": b'{"images":[{"data":"\\ud800","name":"\\udfff"}]}',
        "bad utf-8": b'{"images":[{"data":"\xc0\x80\xff"}]}',
        "constants": b"[NaN, Infinity, -Infinity]",
        "comment": b"// {}\n{}",
        "python": b"{'images': None}",
        "base64 of 40 MB": opening + b'{"data":"' + b"A" * 40_000_000 + b'"}' + closing,
        "base64 cut": opening + b'{"data":"iVBORw0KGgo"}' + closing,
        "base64 with lines": opening + b'{"data":"iVBO\\nRw0K"}' + closing,
    }
    for name, body in bodies.items():
        yield Attack(f"json {name}", body, b"application/json")
    whole = json.dumps({"images": [{"data": "AAAA", "name": "x"}], "model": None, "map": False}).encode()
    for number in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = int(rng.integers(256))
        yield Attack(f"json mutant {number}", bytes(data), b"application/json")


def _forms(small: bytes, rng: np.random.Generator) -> Iterator[Attack]:
    head = disposition()
    bodies = {
        "nothing": b"",
        "only the end": b"--" + BOUNDARY + b"--\r\n",
        "no end": form((head, small), end=b""),
        "half an end": form((head, small), end=b"--" + BOUNDARY),
        "no blank line": b"--" + BOUNDARY + b"\r\n" + head + small,
        "no disposition": form((b"X: y", small)),
        "no name": form((b"Content-Disposition: form-data", small)),
        "two dispositions": form((head + b"\r\n" + disposition(b"model", None), small)),
        "many headers": form((head + b"\r\nX: y" * 500, small)),
        "a long header": form((head + b"\r\nX: " + b"y" * 100_000, small)),
        "a header without a colon": form((head + b"\r\nnonsense", small)),
        "quotes without end": form((b'Content-Disposition: form-data; name="image; filename="x', small)),
        "many options": form((head + b"; a=b" * 800, small)),
        "coded": form((head + b"\r\nContent-Transfer-Encoding: base64", base64.b64encode(small))),
        "nested": form(
            (head + b"\r\nContent-Type: multipart/mixed; boundary=inner", b"--inner\r\n\r\nx\r\n--inner--")
        ),
        "many parts": form(*[(head, b"x")] * 3_000),
        "many empty parts": form(*[(disposition(b"prompt", None), b"")] * 3_000),
        "a boundary at every step": (b"\r\n--" + BOUNDARY) * 20_000,
        "almost boundaries": form((head, (b"\r\n--" + BOUNDARY[:-1]) * 20_000)),
        "line feeds alone": form((head, small)).replace(b"\r\n", b"\n"),
        "behind the end": form((head, small)) + b"x" * 100_000,
        "before the beginning": b"x" * 100_000 + form((head, small)),
        "a prompt of a megabyte": form((head, small), (disposition(b"prompt", None), b"x" * 1_000_000)),
        "an image of 20 MB": form((head, bytes(20_000_000))),
        "an image of 40 MB": form((head, bytes(40_000_000))),
        "a name in latin-1": form((disposition(filename=b"\xe4\xf6"), small)),
        "a starred name": form(
            (b"Content-Disposition: form-data; name=image; filename*=UTF-8''%2e%2e%2fx", small)
        ),
    }
    for name, body in bodies.items():
        yield Attack(f"form {name}", body)
    whole = form((head, small[:200]), (disposition(b"prompt", None), b"x"))
    for number in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 8)):
            data[place] = int(rng.integers(256))
        if number % 3 == 0:
            del data[int(rng.integers(len(data))) :]
        yield Attack(f"form mutant {number}", bytes(data))


def _heads() -> Iterator[Attack]:
    kinds = (
        *(b"", b"x", b"text/plain", b"image/png", b"application/xml", b"application/x-www-form-urlencoded"),
        *(b"multipart/form-data", b"multipart/form-data; boundary=", b'multipart/form-data; boundary="'),
        *(b"multipart/form-data; boundary=" + b"x" * 5_000, b"multipart/mixed; boundary=" + BOUNDARY),
        *(b"application/json; charset=utf-7", b"application/json" + b";a=b" * 1_000, b"\xff\xfe"),
        b"application/x-python-pickle",
    )
    for kind in kinds:
        yield Attack(f"kind {kind[:40]!r}", b"hello", kind)
    for method in ("GET", "PUT", "DELETE", "TRACE", "CONNECT", "OPTIONS", "PATCH", "BREW", "get"):
        for path in ("/v1/score", "/v1/models", "/metrics", "/", "/nowhere"):
            if (method, path) not in {("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/")}:
                yield Attack(f"{method} {path}", method=method, path=path)
    for name, value in (
        (b"host", b"evil.example"),
        (b"host", b""),
        (b"host", b"127.0.0.1@evil.example"),
        (b"sec-fetch-site", b"cross-site"),
        (b"content-length", b"99999999999999999999"),
        (b"content-length", b"-1"),
        (b"content-length", b"\xb2"),
        (b"authorization", b"Bearer \xff"),
        (b"x-request-id", b"\r\n\r\n<script>"),
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"content-encoding", b"gzip"),
        (b"expect", b"100-continue"),
        (b"range", b"bytes=0-"),
        (b"cookie", b"a=" + b"b" * 8_000),
    ):
        yield Attack(
            f"header {name!r} {value[:20]!r}", form((disposition(), b"hello")), headers=((name, value),)
        )
