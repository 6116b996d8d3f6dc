"""From the body of a request to the images that it asks about: multipart/form-data or JSON, both bounded."""

from __future__ import annotations

import asyncio
import binascii
import io
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from foveal.service.errors import ServiceError
from foveal.service.json_body import LongText, read_json
from foveal.service.limits import Held, chunks
from foveal.service.schemas import ImageEntry, OrderBody
from foveal.service.settings import JSON_COST, MIB, Settings

_URL_AND_KEYS = 4_096
_LONGEST_FIELD = 64
"""Bytes of a form field's name."""
_FIELDS = ("image", "prompt", "model", "map")
_MOST_OTHER_PARTS = 4


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a request: its bytes, or its URL, or what is wrong with it already.

    Attributes:
        source: its name, or its place.
        prompt: text that it was made from; None where nothing is said of it.
        data: encoded image.
        url: where to fetch it.
        error: why there are no bytes.
    """

    source: str
    prompt: str | None
    data: bytes | None = field(default=None, repr=False)  # asyncio takes results into the repr of a task
    url: str | None = None
    error: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for.

    Attributes:
        items: at least one.
        model: name of the model; None for the default one.
        map: whether the map of local quality is wanted; None where nothing is said of it.
    """

    items: tuple[Item, ...]
    model: str | None
    map: bool | None


async def read_order(request: Request, settings: Settings, held: Held, turn: asyncio.Semaphore) -> Order:
    """Read the body of a request.

    Args:
        request: its headers are there, its body is to come.
        settings: limits.
        held: counts the bytes that are kept.
        turn: lets so many bodies of JSON be read at once.

    Raises:
        ServiceError: the request as a whole is wrong. An image that is too large, or whose base64 is broken,
            becomes an item with its error instead.
        ClientDisconnect: the client has gone.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    body = chunks(request, held, most=settings.max_body, seconds=settings.body_seconds)
    if kind == b"multipart/form-data":
        return await _Form(settings, options.get(b"boundary", b"")).read(body)
    if kind == b"application/json":
        whole = await _whole(body)
        async with turn:
            held.add(math.ceil((JSON_COST - 1) * len(whole)))
            # Tens of megabytes of base64 would keep everybody else waiting.
            order = await asyncio.to_thread(_from_json, whole, settings)
        held.keep(sum(len(item.data or b"") for item in order.items))
        return order
    raise ServiceError(
        "unsupported_media_type", "send multipart/form-data with a part `image`, or application/json"
    )


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    """A body in one piece, without being there in pieces too."""
    found = io.BytesIO()
    async for chunk in body:
        found.write(chunk)
    return found.getvalue()


def _from_json(body: bytes, settings: Settings) -> Order:
    text = settings.max_prompt + settings.max_name + _URL_AND_KEYS
    values = read_json(body, depth=settings.max_json_depth, images=settings.max_images, text=text)
    texts = _take_out_images(values, settings)
    try:
        parsed = OrderBody.model_validate(values)
    except ValidationError as error:
        raise _invalid(error) from None
    items = tuple(
        _item(number, entry, texts.get(number, entry.data or ""), parsed, settings)
        for number, entry in enumerate(parsed.images)
    )
    return Order(items, parsed.model, parsed.map)


def _take_out_images(values: Any, settings: Settings) -> dict[int, LongText]:
    """Images in long texts, by their place; what is left in their entries is empty, and can be checked."""
    entries = values.get("images") if isinstance(values, dict) else None
    if not isinstance(entries, list):
        return {}
    _check_count(len(entries), settings)
    found = {}
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("data"), LongText):
            found[number], entry["data"] = entry["data"], ""
    return found


def _item(number: int, entry: ImageEntry, text: str | LongText, order: OrderBody, settings: Settings) -> Item:
    place = f"images[{number}]"
    name = _checked(entry.name, f"{place}.name", settings.max_name)
    if entry.prompt is None:
        prompt = _checked(order.prompt, "prompt", settings.max_prompt)
    else:
        prompt = _checked(entry.prompt, f"{place}.prompt", settings.max_prompt)
    source = name or f"image {number}"
    if entry.url is not None:
        if not settings.allow_fetch:
            raise ServiceError(
                "fetch_not_allowed", "this service fetches no URLs; send `data`", field=f"{place}.url"
            )
        return Item(source, prompt, url=entry.url)
    try:
        return Item(source, prompt, data=_decoded(text, settings))
    except ServiceError as error:
        return Item(source, prompt, error=error)


def _decoded(text: str | LongText, settings: Settings) -> bytes:
    if len(text) // 4 * 3 - 2 > settings.max_image:
        raise _image_too_large(settings)
    try:
        if isinstance(text, LongText):
            data = text.from_base64()
        else:
            data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ServiceError("invalid_base64", "`data` is not base64 (without a `data:` prefix)") from None
    if len(data) > settings.max_image:
        raise _image_too_large(settings)
    return data


@dataclass
class _Part:
    """A part of a form as it comes.

    Attributes:
        header: name of the header that is being read.
        value: what it says.
        headers: those that are read, names in lower case.
        name: of the field.
        filename: of the file, where it is one.
        content: grows as it comes; pieces that are joined at the end would be there twice.
        size: bytes of the content; those above the limit are counted but not kept.
    """

    header: bytes = b""
    value: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    content: io.BytesIO = field(default_factory=io.BytesIO)
    size: int = 0


class _Form:
    """Reads a form part by part; stops at the first thing that is too much or wrong."""

    def __init__(self, settings: Settings, boundary: bytes) -> None:
        self._settings = settings
        self._part = _Part()
        self._images: list[_Part] = []
        self._texts: dict[str, list[str]] = {name: [] for name in _FIELDS}
        self._ended = False
        self._boundary = boundary
        if not boundary:
            raise ServiceError("invalid_multipart", "the header Content-Type names no boundary")

    async def read(self, body: AsyncIterator[bytes]) -> Order:
        parser = self._parser()
        try:
            async for chunk in body:
                parser.write(chunk)
            parser.finalize()
        except FormParserError:
            raise ServiceError("invalid_multipart", "the body is not multipart/form-data") from None
        if not self._ended:
            raise ServiceError("invalid_multipart", "the form ends before its last boundary")
        return self._order()

    def _parser(self) -> MultipartParser:
        """Not kept: it holds this form in its callbacks, and the two would keep each other and all bytes."""
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._header,
            "on_header_value": self._value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._head_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        try:
            return MultipartParser(self._boundary, callbacks)
        except (FormParserError, ValueError):
            raise ServiceError("invalid_multipart", "the boundary cannot be used") from None

    def _begin(self) -> None:
        self._part = _Part()

    def _header(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers[part.header.lower()] = part.value
        part.header = part.value = b""

    def _head_end(self) -> None:
        part = self._part
        kind, options = parse_options_header(part.headers.get(b"content-disposition"))
        name = options.get(b"name", b"")
        if kind != b"form-data" or not name or len(name) > _LONGEST_FIELD:
            raise ServiceError("invalid_multipart", "a part has no usable Content-Disposition")
        part.name = name.decode("utf-8", "replace")
        if part.name not in _FIELDS:
            raise ServiceError(
                "invalid_request", f"there is no such field; known are {', '.join(_FIELDS)}", field=part.name
            )
        if part.name == "image":
            _check_count(len(self._images) + 1, self._settings)
        elif sum(map(len, self._texts.values())) >= self._settings.max_images + _MOST_OTHER_PARTS:
            raise ServiceError("invalid_request", "there are too many fields", field=part.name)
        if b"filename" in options:
            try:
                part.filename = options[b"filename"].decode("utf-8")
            except UnicodeDecodeError:
                raise ServiceError("invalid_request", "the file's name is not UTF-8", field="image") from None

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        most = self._settings.max_image if part.name == "image" else 4 * self._settings.max_prompt
        if part.size <= most:
            part.content.write(memoryview(data)[start:end])
        elif part.content.tell():
            part.content = io.BytesIO()

    def _end(self) -> None:
        part = self._part
        if part.name == "image":
            self._images.append(part)
        elif part.name in self._texts:
            self._texts[part.name].append(self._text(part))

    def _text(self, part: _Part) -> str:
        try:
            if part.size <= 4 * self._settings.max_prompt:
                return part.content.getvalue().decode("utf-8")
        except UnicodeDecodeError:
            raise ServiceError("invalid_request", "the text is not UTF-8", field=part.name) from None
        raise _too_long(part.name, self._settings.max_prompt)

    def _finish(self) -> None:
        self._ended = True

    def _order(self) -> Order:
        if not self._images:
            raise ServiceError("no_images", "there is no part `image`", field="image")
        model, wanted = self._single("model"), self._single("map")
        if wanted not in (None, "true", "false"):
            raise ServiceError("invalid_request", "expected true or false", field="map")
        prompts = self._prompts()
        items = tuple(
            self._item(number, part, prompt)
            for number, (part, prompt) in enumerate(zip(self._images, prompts, strict=True))
        )
        return Order(items, model, None if wanted is None else wanted == "true")

    def _item(self, number: int, part: _Part, prompt: str | None) -> Item:
        name = _checked(part.filename, f"image[{number}]", self._settings.max_name)
        source = name or f"image {number}"
        if part.size > self._settings.max_image:
            return Item(source, prompt, error=_image_too_large(self._settings))
        return Item(source, prompt, data=part.content.getvalue())  # no copy: CPython shares the buffer

    def _single(self, name: str) -> str | None:
        found = self._texts[name]
        if len(found) > 1:
            raise ServiceError("invalid_request", "this field is given more than once", field=name)
        return found[0] if found else None

    def _prompts(self) -> list[str | None]:
        found = [_checked(text, "prompt", self._settings.max_prompt) for text in self._texts["prompt"]]
        count = len(self._images)
        if len(found) not in (0, 1, count):
            raise ServiceError(
                "invalid_request",
                f"there are {len(found)} prompts for {count} images; give one, or one for each",
                field="prompt",
            )
        return found if len(found) == count else count * (found or [None])


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_images:
        raise ServiceError("too_many_images", f"there are more than {settings.max_images} images")


def _checked(text: str | None, place: str, most: int) -> str | None:
    """A text that is short enough and can be written in UTF-8; JSON can hold halves of characters."""
    if text is None:
        return None
    if len(text) > most:
        raise _too_long(place, most)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ServiceError("invalid_request", "the text holds half a character", field=place) from None
    return text


def _too_long(place: str, most: int) -> ServiceError:
    return ServiceError("invalid_request", f"it has more than {most:,} characters", field=place)


def _image_too_large(settings: Settings) -> ServiceError:
    return ServiceError(
        "image_too_large", f"it has more bytes than the limit of {settings.max_image / MIB:.4g} MiB"
    )


def _invalid(error: ValidationError) -> ServiceError:
    """The first thing that is wrong, without the value itself: it may be large, or private."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    field_name = place.lstrip(".")[:_LONGEST_FIELD] or None
    code = "no_images" if field_name == "images" and first["type"] == "too_short" else "invalid_request"
    message = first["msg"].removeprefix("Value error, ")
    return ServiceError(code, message[:1].lower() + message[1:], field=field_name)
