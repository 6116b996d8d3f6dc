"""``foveal serve``: scores and explanations over HTTP, and a page."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from foveal.service.settings import MIB, Settings

ENVIRONMENT = "FOVEAL_SERVE"
"""Prefix of the environment variables: one for each option, such as ``FOVEAL_SERVE_PORT``."""
TOKEN = f"{ENVIRONMENT}_TOKEN"
"""The token itself is no option: everyone on a machine can read its command lines."""

EXAMPLES = f"""\b
Examples:
  foveal serve
  foveal serve --host 0.0.0.0 --token-file token.txt --max-pixels 30000000
  curl -F image=@photo.jpg http://127.0.0.1:8321/v1/score

Each option can be set in the environment too: --max-images as {ENVIRONMENT}_MAX_IMAGES, and so on.
Of options that can be repeated, the values are separated by spaces. The token is read from {TOKEN}
or --token-file.
"""

_Decorator = Callable[[Callable[..., None]], Callable[..., None]]
_COUNT, _SECONDS = click.IntRange(min=1), click.FloatRange(min=0)
_DEFAULTS = {field.name: field.default for field in fields(Settings)}
_IN_MIB = ("max_body", "max_image", "max_held")
_SUFFIX = "_mib"


@dataclass(frozen=True, slots=True)
class _Option:
    """An option that is a setting; its default is the setting's.

    Attributes:
        name: of the setting.
        help: one line.
        kind: of its values.
        metavar: in the help.
    """

    name: str
    help: str
    kind: Any = _COUNT
    metavar: str = "N"

    def __call__(self, command: Callable[..., None]) -> Callable[..., None]:
        default: Any = _DEFAULTS[self.name]
        name = self.name
        if name in _IN_MIB:
            default, name = default // MIB, name + _SUFFIX
        if isinstance(default, bool):
            return self._made(name, is_flag=True)(command)
        if isinstance(default, tuple):
            single = name.removesuffix("s")
            own: dict[str, Any] = {"multiple": True, "show_default": bool(default)}
            own["envvar"] = f"{ENVIRONMENT}_{single.upper()}"
            return self._made(single, name, default=default, **own)(command)
        return self._made(name, default=default, show_default=True)(command)

    def _made(self, name: str, *target: str, **more: Any) -> _Decorator:
        own = {} if more.get("is_flag") else {"type": self.kind, "metavar": self.metavar}
        return click.option(f"--{name.replace('_', '-')}", *target, help=self.help, **own, **more)


_OPTIONS = (
    _Option("host", "Address to listen on.", str, "ADDRESS"),
    _Option("port", "Port; 0 takes any that is free.", click.IntRange(0, 65535)),
    _Option("queue", "Images that may wait or be judged at once; more get 429."),
    _Option("batch_wait", "How long an image waits for company, for engines on GPUs.", _SECONDS, "SECONDS"),
    _Option("explain_workers", "Images explained at once; 0 leaves explanations out.", click.IntRange(min=0)),
    _Option("explain_queue", "Images that may wait for an explanation or be explained."),
    _Option("max_body", "Size of a request."),
    _Option("max_image", "Size of an encoded image."),
    _Option("max_pixels", "Width times height of an image; decoding takes up to 16 bytes of each."),
    _Option("max_images", "Images in a request."),
    _Option("max_held", "Size of all requests at work; more get 429."),
    _Option("max_json_depth", "Nesting of a JSON body."),
    _Option("max_prompt", "Characters of a prompt."),
    _Option("max_name", "Characters of an image's name."),
    _Option("header_seconds", "Time to send the head of a request.", _SECONDS, "SECONDS"),
    _Option("body_seconds", "Time to send its body.", _SECONDS, "SECONDS"),
    _Option("request_seconds", "Time to answer it; longer gets 504.", _SECONDS, "SECONDS"),
    _Option("write_seconds", "Time for a client that takes nothing of what it is sent.", _SECONDS, "SECONDS"),
    _Option("idle_seconds", "Time that a connection stays open between requests.", _SECONDS, "SECONDS"),
    _Option("max_connections", "Connections at once; more get 429."),
    _Option("grace", "After SIGTERM, time for what is in flight.", _SECONDS, "SECONDS"),
    _Option(
        "lame_duck", "After SIGTERM, time to refuse work by 503 before the port closes.", _SECONDS, "SECONDS"
    ),
    _Option("allow_fetch", "Fetch images that are named by URL, from the public internet."),
    _Option("fetch_seconds", "Time to fetch one.", _SECONDS, "SECONDS"),
    _Option("fetch_workers", "Images fetched at once."),
    _Option("fetch_ports", "Port of other servers that may be asked; repeatable.", click.IntRange(1, 65535)),
    _Option("open_metrics", "Let everyone read /metrics, though a token is set."),
    _Option(
        "allowed_hosts",
        "Name by which clients may call the service; repeatable. By default those of this machine, if "
        "it listens on loopback alone, else all.",
        str,
        "NAME",
    ),
)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(epilog=EXAMPLES, context_settings={"auto_envvar_prefix": ENVIRONMENT})
@click.option(
    "--model",
    "models",
    multiple=True,
    envvar=f"{ENVIRONMENT}_MODEL",
    metavar="NAME|FILE",
    help="A shipped assessor or a model file; repeatable, the first one judges where none is named.",
)
@click.option("--explainer", metavar="FILE", help="An explainer; by default the shipped one.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime"]),
    default="auto",
    help="What runs the models.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where they run.")
@click.option("--threads", type=_COUNT, metavar="N", help="Images at once; by default one for each CPU.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Its content is the token that clients must show.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least important lines in the log.",
)
@_with_settings
def serve(
    *,
    models: tuple[str, ...],
    explainer: str | None,
    engine: str,
    device: str,
    threads: int | None,
    token_file: str | None,
    log_level: str,
    **given: Any,
) -> None:
    """Serve scores and explanations over HTTP, and a page at /.

    POST /v1/score and /v1/explain take one image or several; GET /openapi.json describes them. The
    log is lines of JSON on standard error. SIGTERM lets the service finish what is in flight; its
    exit code is then 0.
    """
    # As for explanations on the command line; NumPy reads this when it is first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    settings = _settings(given, _token(token_file))
    try:
        from foveal.service.app import create_app
        from foveal.service.server import listen, run
    except ImportError as error:
        from foveal.errors import MissingExtraError

        raise MissingExtraError("foveal serve", "serve") from error
    import foveal
    from foveal.service.logs import configure
    from foveal.service.models import Engines, load_models

    configure(log_level)
    names = models or (foveal.DEFAULT_MODEL,)
    app = create_app(
        settings,
        lambda settings, metrics: load_models(
            names, settings, metrics, engines=Engines(engine, device, threads), explainer=explainer
        ),
    )
    listener = listen(settings)
    _announce(
        settings,
        listener.getsockname()[1],
        [model.assessor.card.model for model in app.state.service.models.all()],
    )
    run(app, settings, listener)


def _settings(given: dict[str, Any], token: str | None) -> Settings:
    in_bytes = {name: given.pop(name + _SUFFIX) * MIB for name in _IN_MIB}
    try:
        return Settings(**given, **in_bytes, token=token)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _token(path: str | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN) or None
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--token-file {path}: cannot be read as ASCII") from error


def _announce(settings: Settings, port: int, models: list[str]) -> None:
    import logging

    from foveal.service.logs import log

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{port}"
    log("listening", url=url, models=models, token=settings.token is not None)
    if settings.is_public and settings.token is None:
        advice = "everyone who reaches this address can use the service: set a token (--token-file)"
        log("open_to_all", level=logging.WARNING, advice=advice)
    if sys.stderr.isatty():
        click.echo(f"foveal: the page is at {url}/, Ctrl-C ends the service", err=True)
