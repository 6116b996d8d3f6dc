"""Responses as the service writes them: JSON in ASCII, errors with their id."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from foveal.service.errors import ServiceError, body_of


def json_reply(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. ASCII: names may hold what UTF-8 cannot write.

    Args:
        content: plain finite values.
        status: of the response.
        headers: further ones.
    """
    body = json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
    return Response(body, status, dict(headers or {}), media_type="application/json")


def error_reply(error: ServiceError, request_id: str) -> Response:
    """The response for an error."""
    return json_reply(
        body_of(error, request_id), status=error.status, headers=error.headers | retry_after(error)
    )


def retry_after(error: ServiceError) -> dict[str, str]:
    """When to try again, in whole seconds (RFC 9110, 10.2.3), where that is known."""
    if error.retry_after is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
