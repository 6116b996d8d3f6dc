"""``foveal serve``: options, environment, and how it refuses to start."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from foveal.cli.run import COMMANDS, run
from foveal.cli.serve import _OPTIONS, serve
from foveal.service.settings import MIB, Settings

Started = list[tuple[Settings, Any]]


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What the command sets for its process must not outlive the test."""
    loggers = [logging.getLogger(name) for name in ("foveal.service", "uvicorn.error")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What would be served: nothing is."""
    from foveal.service import server

    calls: Started = []

    def keep(app: Any, settings: Settings, listener: socket.socket) -> None:
        calls.append((settings, app))
        listener.close()

    monkeypatch.setattr(server, "run", keep)
    return calls


def invoke(*arguments: str, **environment: str) -> Result:
    runner = CliRunner(env={"OPENBLAS_NUM_THREADS": "1", **environment})
    return runner.invoke(serve, ["--port", "0", "--explain-workers", "0", *arguments], catch_exceptions=False)


def test_defaults_are_those_of_the_settings(started: Started, tiny_model_path: Path) -> None:
    assert invoke("--model", str(tiny_model_path)).exit_code == 0
    ((settings, app),) = started
    assert settings == Settings(port=0, explain_workers=0)
    assert settings.host == "127.0.0.1"
    assert app.state.service.models.default.assessor.card.name == "tiny"


def test_every_setting_has_an_option() -> None:
    from dataclasses import fields

    assert {option.name for option in _OPTIONS} == {field.name for field in fields(Settings)} - {"token"}


def test_options_reach_the_settings(started: Started, tiny_model_path: Path) -> None:
    given = [
        *("--model", str(tiny_model_path), "--max-body-mib", "7", "--max-image-mib", "3", "--queue", "99"),
        *("--request-seconds", "2.5", "--allow-fetch", "--fetch-port", "80", "--fetch-port", "8080"),
        *("--allowed-host", "a.example", "--allowed-host", "b.example", "--max-images", "5"),
    ]
    assert invoke(*given).exit_code == 0
    ((settings, _),) = started
    assert (settings.max_body, settings.max_image, settings.queue) == (7 * MIB, 3 * MIB, 99)
    assert (settings.request_seconds, settings.allow_fetch, settings.max_images) == (2.5, True, 5)
    assert settings.fetch_ports == (80, 8080)
    assert settings.allowed_hosts == ("a.example", "b.example")


def test_the_environment_sets_what_options_do_not(started: Started, tiny_model_path: Path) -> None:
    environment = {
        "FOVEAL_SERVE_MODEL": str(tiny_model_path),
        "FOVEAL_SERVE_MAX_IMAGES": "9",
        "FOVEAL_SERVE_QUEUE": "50",
        "FOVEAL_SERVE_ALLOW_FETCH": "true",
        "FOVEAL_SERVE_FETCH_PORT": "443 8443",
        "FOVEAL_SERVE_TOKEN": "from-the-environment",
    }
    assert invoke("--queue", "60", **environment).exit_code == 0
    ((settings, app),) = started
    assert app.state.service.models.default.assessor.card.name == "tiny"
    assert (settings.max_images, settings.queue, settings.allow_fetch) == (9, 60, True)
    assert settings.fetch_ports == (443, 8443)
    assert settings.token == "from-the-environment"  # noqa: S105


def test_the_token_of_a_file_is_taken_without_its_line_end(
    started: Started, tiny_model_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("kept-in-a-file\n", encoding="ascii")
    environment = {"FOVEAL_SERVE_TOKEN": "not-this-one"}
    result = invoke("--model", str(tiny_model_path), "--token-file", str(path), **environment)
    assert result.exit_code == 0
    assert started[0][0].token == "kept-in-a-file"  # noqa: S105
    assert "kept-in-a-file" not in result.output


def test_several_models_are_served(
    started: Started, tiny_model_path: Path, tmp_path: Path, tiny_int8_artifact: Any
) -> None:
    from foveal.artifact.file import write_artifact

    second = tmp_path / "second.foveal.safetensors"
    write_artifact(second, tiny_int8_artifact)
    assert invoke("--model", str(second), "--model", str(tiny_model_path)).exit_code == 0
    names = [model.assessor.card.name for model in started[0][1].state.service.models.all()]
    assert len(names) == 2
    assert names[1] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-images", "200"], "never fits"),
        (["--queue", "0"], "Invalid value for '--queue'"),
        (["--port", "70000"], "Invalid value for '--port'"),
        (["--token-file", "no/such/file"], "does not exist"),
        (["--request-seconds", "0"], "request_seconds"),
    ],
)
def test_wrong_usage_says_what_is_wrong(arguments: list[str], message: str) -> None:
    shown = invoke(*arguments)
    assert shown.exit_code == 2
    assert message in shown.stderr


def test_a_bad_token_is_not_repeated(tiny_model_path: Path) -> None:
    environment = {"FOVEAL_SERVE_TOKEN": "two words"}
    shown = invoke("--model", str(tiny_model_path), **environment)
    assert shown.exit_code == 2
    assert "token" in shown.stderr
    assert "two words" not in shown.output


def test_a_taken_port_is_an_error_in_one_line(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code = run(["serve", "--model", str(tiny_model_path), "--explain-workers", "0", "--port", port])
    assert code == 2
    assert f"127.0.0.1:{port}: cannot listen there (Address already in use)" in capsys.readouterr().err


def test_an_unknown_model_is_an_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--model", "nobody", "--port", "0"]) == 2
    assert "nobody: neither a shipped assessor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [("0.0.0.0", None, True), ("0.0.0.0", "a-secret-token", False), ("127.0.0.1", None, False)],  # noqa: S104
)
def test_open_to_all_is_said(
    started: Started,
    tiny_model_path: Path,
    host: str,
    token: str | None,
    warned: bool,
) -> None:
    environment = {} if token is None else {"FOVEAL_SERVE_TOKEN": token}
    shown = invoke("--model", str(tiny_model_path), "--host", host, **environment)
    assert started
    events = [json.loads(line)["event"] for line in shown.stderr.splitlines()]
    assert events == ["listening", "open_to_all"] if warned else ["listening"]


ALONE = """\
import sys
sys.modules["fastapi"] = None
from foveal.cli.run import run
raise SystemExit(run(["serve"]))
"""


def test_without_the_extra_it_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'foveal[serve]'" in done.stderr


def test_the_group_lists_it_by_its_first_sentence() -> None:
    assert serve.help is not None
    assert serve.help.startswith(COMMANDS["serve"].summary)


def test_help_costs_nothing() -> None:
    script = (
        "import sys; from foveal.cli.run import run; run(['serve', '--help']);"
        "assert not {'fastapi', 'numpy', 'PIL', 'openvino', 'uvicorn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max-pixels" in done.stdout
