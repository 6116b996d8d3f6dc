"""Every error that a client can get: its code, its status, and how an exception becomes one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from foveal.errors import (
    CorruptImageError,
    EmptyImageError,
    FileTooLargeError,
    FovealError,
    ImageError,
    ImageNotFoundError,
    InvalidPromptError,
    MissingExtraError,
    MissingPromptError,
    NotAnImageError,
    PromptError,
    TooManyPixelsError,
    TruncatedImageError,
    ZeroSizedImageError,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of error.

    Attributes:
        status: of the response, if the whole request fails for it.
        meaning: one sentence, for the description of the API.
    """

    status: int
    meaning: str


PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {
        "invalid_http": Problem(400, "The bytes are no HTTP/1.1 request."),
        "invalid_json": Problem(400, "The body is not JSON in UTF-8."),
        "invalid_multipart": Problem(400, "The body is not multipart/form-data, or ends too early."),
        "unauthorized": Problem(401, "The token is missing or wrong."),
        "cross_site": Problem(403, "A page of another site sent this request."),
        "fetch_not_allowed": Problem(403, "This service fetches no URLs."),
        "not_found": Problem(404, "There is no such path."),
        "method_not_allowed": Problem(405, "The path exists, but not with this method."),
        "header_timeout": Problem(408, "The head of the request did not come in time."),
        "body_timeout": Problem(408, "The body did not come in time."),
        "body_too_large": Problem(413, "The body has more bytes than the limit."),
        "too_many_images": Problem(413, "There are more images in the request than the limit."),
        "unsupported_media_type": Problem(415, "The body is neither multipart/form-data nor JSON."),
        "wrong_host": Problem(421, "The service is not known by this name (header Host)."),
        "invalid_request": Problem(422, "A field is missing, unknown, of the wrong type or too long."),
        "json_too_deep": Problem(422, "The JSON nests more deeply, or holds more values, than the limit."),
        "no_images": Problem(422, "There is no image in the request."),
        "unknown_model": Problem(422, "No model of this name is loaded."),
        "not_explained": Problem(422, "Images cannot be explained here with this model."),
        "no_image_judged": Problem(422, "Each image has an error of its own; see `results`."),
        "too_busy": Problem(429, "The queue is full; try again after `Retry-After` seconds."),
        "too_many_connections": Problem(429, "Too many connections are open; see `Retry-After`."),
        "internal": Problem(500, "The service is at fault; its log tells more under the request's id."),
        "starting": Problem(503, "The models are not warm yet; try again after `Retry-After` seconds."),
        "draining": Problem(503, "The service is about to end; ask another one."),
        "timed_out": Problem(504, "The images could not be judged in time."),
        # Errors of single images.
        "image_empty": Problem(422, "The image has no bytes."),
        "not_an_image": Problem(415, "The bytes are not an image in a known format."),
        "format_unavailable": Problem(415, "The format takes a package that is not installed here."),
        "image_truncated": Problem(422, "The image ends too early."),
        "image_corrupt": Problem(422, "The image is of a known format but cannot be decoded."),
        "image_too_large": Problem(413, "The image has more bytes than the limit."),
        "too_many_pixels": Problem(413, "The image has more pixels than the limit."),
        "image_zero_sized": Problem(422, "Width or height is zero."),
        "image_unreadable": Problem(422, "The image cannot be read."),
        "invalid_base64": Problem(422, "`data` is not base64."),
        "prompt_missing": Problem(422, "The model needs a prompt, and there is none."),
        "prompt_invalid": Problem(422, "The prompt cannot be read."),
        "prompt_not_read": Problem(422, "There is a prompt, and the model reads none."),
        "invalid_url": Problem(422, "`url` is not an address that can be fetched."),
        "address_refused": Problem(403, "The URL leads to an address that is not on the public internet."),
        "fetch_failed": Problem(422, "The other server did not give the image."),
        "fetch_timed_out": Problem(422, "The other server did not give the image in time."),
    }
)
"""By code. Codes are part of the API: they keep their meaning."""

_OF_IMAGES: tuple[tuple[type[FovealError], str], ...] = (
    (EmptyImageError, "image_empty"),
    (NotAnImageError, "not_an_image"),
    (TruncatedImageError, "image_truncated"),
    (CorruptImageError, "image_corrupt"),
    (FileTooLargeError, "image_too_large"),
    (TooManyPixelsError, "too_many_pixels"),
    (ZeroSizedImageError, "image_zero_sized"),
    (ImageNotFoundError, "image_unreadable"),
    (MissingPromptError, "prompt_missing"),
    (InvalidPromptError, "prompt_invalid"),
    (PromptError, "prompt_not_read"),
    (MissingExtraError, "format_unavailable"),
    (ImageError, "image_unreadable"),
)
_OWN_WORDS = {
    "prompt_missing": "; give `prompt`, or an empty one to leave that out",
    "prompt_not_read": "the model reads no prompts; leave `prompt` out",
    "format_unavailable": "this format takes a package that is not installed here",
    "internal": "the image could not be judged; the log tells more under the request's id",
}
_ADDRESS = re.compile(r"\s*\bat 0x[0-9a-fA-F]+")


class ServiceError(FovealError):
    """A request, or one image of it, fails.

    Attributes:
        code: one of :data:`PROBLEMS`.
        message: what is wrong, for people.
        field: which part of the request is wrong, such as ``images[2].prompt``.
        retry_after: seconds after which it may be worth trying again.
        headers: further headers of the response.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """Status of the response."""
        return PROBLEMS[self.code].status

    def to_dict(self) -> dict[str, str]:
        """Code, message and field, ready for JSON."""
        own = {"code": self.code, "message": self.message}
        return own if self.field is None else own | {"field": self.field}


def of_image(error: Exception) -> ServiceError:
    """The error that a client gets for an image.

    Only the reason is handed on: advice speaks to callers from Python, and nothing may tell of this machine.
    """
    if isinstance(error, ServiceError):
        return error
    code = next((code for kind, code in _OF_IMAGES if isinstance(error, kind)), "internal")
    reason = error.reason if isinstance(error, ImageError) else ""
    if code == "prompt_missing":
        reason += _OWN_WORDS[code]
    elif code in _OWN_WORDS:
        reason = _OWN_WORDS[code]
    return ServiceError(code, _ADDRESS.sub("", reason))


def is_expected(error: Exception) -> bool:
    """Whether an error says all there is to say; one that is not expected is logged with its traceback."""
    return of_image(error).code != "internal"


def body_of(error: ServiceError, request_id: str) -> dict[str, Any]:
    """The body of the response for an error."""
    return {"error": {**error.to_dict(), "request_id": request_id}}
