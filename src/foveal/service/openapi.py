"""How OpenAPI describes the service: every route with requests, answers and errors, all with examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from foveal.service.auth import OPEN_PATHS
from foveal.service.errors import PROBLEMS
from foveal.service.schemas import (
    ErrorBody,
    ExplainAnswer,
    HealthAnswer,
    ModelsAnswer,
    OrderBody,
    OrderForm,
    ReadyAnswer,
    ScoreAnswer,
)
from foveal.service.settings import MIB, Settings

TINY_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNk4EAFTBwjWgAASdQIGDOfFtMAAAAASUVORK5CYII="
)
"""A shaded square of 16 x 16 pixels, for examples that really run."""

_SCHEMA = "#/components/schemas/{model}"
_EVERYWHERE = ("invalid_http", "wrong_host", "header_timeout", "internal", "too_many_connections")
_OF_WORK = (
    "invalid_json", "invalid_multipart", "unauthorized", "cross_site", "fetch_not_allowed", "body_timeout",
    "body_too_large", "too_many_images", "unsupported_media_type", "invalid_request", "json_too_deep",
    "no_images", "unknown_model", "no_image_judged", "too_busy", "starting", "draining", "timed_out",
    "image_empty", "not_an_image", "format_unavailable", "image_truncated", "image_corrupt",
    "image_too_large", "too_many_pixels", "image_zero_sized", "image_unreadable", "invalid_base64",
    "prompt_missing", "prompt_invalid", "prompt_not_read", "invalid_url", "address_refused", "fetch_failed",
    "fetch_timed_out",
)  # fmt: skip
_REQUEST_ID = "5f0c7a52d1c94b0d8a3b1f8f3c1f2a77"
_INTERVAL = {"interval": [3.21, 4.52], "coverage": 0.9}
_WHAT_IF = {
    "attribute": "sharpness",
    "degree": 4,
    "phrase": "very sharp",
    "quality": 4.1,
    "change": 0.6,
    "level": "good",
}
_FAILED = {
    "source": "notes.txt",
    "error": {"code": "not_an_image", "message": "is not an image in a known format"},
}
_ANSWERS: Mapping[str, Any] = {
    "score": {
        "model": "foveal-compact@1.1",
        "request_id": _REQUEST_ID,
        "failed": 1,
        "results": [
            {
                "source": "photo.jpg",
                "quality": 3.87,
                **_INTERVAL,
                "aspects": {},
                "quality_map": None,
                "warnings": [],
                "model": "foveal-compact@1.1",
            },
            _FAILED,
        ],
    },
    "explain": {
        "model": "foveal-compact@1.1",
        "request_id": _REQUEST_ID,
        "failed": 0,
        "results": [
            {
                "source": "photo.jpg",
                "quality": 3.87,
                **_INTERVAL,
                "description": "Clean rendering, a common scene. Slightly blurry, fine detail.",
                "verdict": {
                    "level": "fair",
                    "value": 3.0,
                    "quality": 3.5,
                    "probabilities": {"excellent": 0.1, "good": 0.4, "fair": 0.4, "poor": 0.1, "bad": 0.0},
                },
                "attributes": [
                    {
                        "attribute": "sharpness",
                        "polarity": -1,
                        "said": {"degree": 1, "phrase": "slightly blurry", "place": None},
                        "measured": {"degree": 1, "phrase": "slightly blurry", "place": None, "value": 0.4},
                        "differs": False,
                        "what_if": [_WHAT_IF],
                    }
                ],
                "up": _WHAT_IF,
                "down": None,
                "map": [[3.1, 3.9], [3.4, 4.2]],
                "map_png": TINY_PNG,
                "disagreements": [],
                "warnings": [],
                "model": "foveal-explain@0.9",
                "assessor": "foveal-compact@1.1",
            }
        ],
    },
    "models": {
        "models": [
            {
                "model": "foveal-compact@1.1",
                "name": "foveal-compact",
                "version": "1.1",
                "default": True,
                "summary": "Quality of photographs.",
                "licence": "Apache-2.0",
                "training_data": "Rated photographs.",
                "aspects": [],
                "reads_prompts": False,
                "explains": True,
                "coverage": 0.9,
                "measured_coverage": 0.887,
                "measured": {"BIQ2021 official test SRCC": 0.823},
            }
        ]
    },
    "healthz": {"status": "ok"},
    "readyz": {"status": "ready", "reasons": []},
}
_MODELS: Mapping[str, type[BaseModel]] = {
    "score": ScoreAnswer,
    "explain": ExplainAnswer,
    "models": ModelsAnswer,
    "healthz": HealthAnswer,
    "readyz": ReadyAnswer,
}
_SUMMARIES = {
    "score": ("score", "Score images", (*_EVERYWHERE, *_OF_WORK)),
    "explain": ("explain", "Explain images", (*_EVERYWHERE, *_OF_WORK, "not_explained")),
    "models": ("score", "List the loaded models", (*_EVERYWHERE, "unauthorized")),
    "healthz": ("operation", "Does the process live?", _EVERYWHERE),
    "readyz": ("operation", "Is new work welcome?", _EVERYWHERE),
    "metrics": ("operation", "Metrics for Prometheus", (*_EVERYWHERE, "unauthorized")),
    "page": ("page", "The page for people", _EVERYWHERE),
}
_TEXTS = {
    "metrics": ("text/plain", "foveal_requests_total{...} 7.0"),
    "page": ("text/html", "<!doctype html>"),
}
_JSON_EXAMPLES: Mapping[str, Any] = {
    "one image": {"images": [{"data": TINY_PNG, "name": "square.png"}]},
    "several": {
        "images": [{"data": TINY_PNG, "name": "a.png"}, {"data": TINY_PNG, "name": "b.png"}],
        "model": None,
        "map": False,
    },
}


def documented(name: str) -> dict[str, Any]:
    """What the decorator of a route is told for its description.

    Args:
        name: of the operation.
    """
    tag, summary, codes = _SUMMARIES[name]
    told: dict[str, Any] = {
        "operation_id": name,
        "summary": summary,
        "tags": [tag],
        "response_model": None,
        "response_class": Response,
        "responses": {200: _success(name), **_errors(codes)},
    }
    if name in ("score", "explain"):
        told["openapi_extra"] = {"requestBody": _request_body()}
    if name == "readyz":
        not_ready = {"status": "not ready", "reasons": ["draining"]}
        told["responses"][503] = _response("Not ready.", ReadyAnswer, {"draining": not_ready})
    return told


def described(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The description of the whole service.

    Args:
        app: has all routes.
        settings: limits are told, and whether a token is needed.
    """
    from foveal import __version__

    app.version, app.description = __version__, _description(settings)
    found = app.openapi()
    _, definitions = models_json_schema(
        [(OrderBody, "validation"), (OrderForm, "validation")], ref_template=_SCHEMA
    )
    found["components"]["schemas"] |= definitions["$defs"]
    _put_examples(found)
    if settings.token is not None:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        is_open = OPEN_PATHS | ({"/metrics"} if settings.open_metrics else set())
        for path, operations in found["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in is_open else [{"token": []}]
    return found


def _put_examples(found: dict[str, Any]) -> None:
    """Put the examples of answers back as they are: the framework drops every null from them."""
    for operations in found["paths"].values():
        for operation in operations.values():
            for status, response in documented(operation["operationId"])["responses"].items():
                for kind, content in response["content"].items():
                    operation["responses"][str(status)]["content"][kind] |= content


def _description(settings: Settings) -> str:
    return (
        "How good does an image look to people? Quality is a number from 1 (bad) to 5 (excellent), with an "
        "interval. A score depends on the image alone, and is the same as from Python.\n\n"
        f"Limits: {settings.max_images} images ({min(settings.max_images, settings.explain_queue)} to be "
        f"explained) and {settings.max_body / MIB:.4g} MiB a request, "
        f"{settings.max_image / MIB:.4g} MiB and {settings.max_pixels / 1e6:.4g} megapixels an image, "
        f"{settings.max_prompt:,} characters a prompt.\n\n"
        'Every error has a body `{"error": {"code", "message", "request_id"}}`; unknown paths give 404 '
        "`not_found`, other methods 405 `method_not_allowed`. Send `X-Request-ID` to choose the id."
    )


def _success(name: str) -> dict[str, Any]:
    if name in _TEXTS:
        kind, example = _TEXTS[name]
        return {
            "description": "Success.",
            "content": {kind: {"schema": {"type": "string"}, "example": example}},
        }
    return _response("Success.", _MODELS[name], {name: _ANSWERS[name]})


def _errors(codes: tuple[str, ...]) -> dict[int | str, dict[str, Any]]:
    """One response a status, with an example for each code that has it."""
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {
        status: _response(
            " ".join(f"`{code}`: {PROBLEMS[code].meaning}" for code in sorted(found)),
            ErrorBody,
            {code: error_example(code) for code in sorted(found)},
        )
        for status, found in sorted(by_status.items(), key=lambda entry: int(entry[0]))
    }


def error_example(code: str) -> dict[str, Any]:
    """The body of an error of this code."""
    return {"error": {"code": code, "message": PROBLEMS[code].meaning, "request_id": _REQUEST_ID}}


def _response(description: str, model: type[BaseModel], examples: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {
        "description": description,
        "model": model,
        "content": {"application/json": {"examples": shown}},
    }


def _request_body() -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in _JSON_EXAMPLES.items()}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"$ref": _SCHEMA.format(model="OrderForm")},
                "encoding": {"image": {"contentType": "application/octet-stream, image/*"}},
            },
            "application/json": {
                "schema": {"$ref": _SCHEMA.format(model="OrderBody")},
                "examples": examples,
            },
        },
    }
