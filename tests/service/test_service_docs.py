"""The documentation names what there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from foveal.cli.serve import serve
from foveal.service.errors import PROBLEMS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def test_every_code_stands_beside_its_status(text: str) -> None:
    table = text.partition("| status | codes |")[2].partition("\n\n")[0]
    rows = {match[1]: match[2] for match in re.finditer(r"^\| ([0-9, ]+) \| (.*) \|$", table, re.M)}
    told = {
        code: {int(status) for status in statuses.split(",")}
        for statuses, codes in rows.items()
        for code in re.findall("`([a-z0-9_]+)`", codes)
    }
    assert set(told) == set(PROBLEMS)
    for code, statuses in told.items():
        assert PROBLEMS[code].status in statuses, code


def test_options_are_options(text: str) -> None:
    known = {name for option in serve.params for name in option.opts} | {"--help"}
    told = set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", text))
    assert len(told) > 20
    assert told <= known


def test_defaults_are_defaults(text: str) -> None:
    defaults = {option.opts[0]: option.default for option in serve.params}
    table = text.partition("| limit | default | beyond it |")[2].partition("\n\n")[0]
    checked = 0
    for row in re.findall(r"^\| (.*?) \| (.*?) \| .* \|$", table, re.M):
        options, values = re.findall("--[a-z-]+", row[0]), row[1].replace(" million", "000000").split(", ")
        for option, value in zip(options, values, strict=True):
            assert float(value.replace(",", "")) == defaults[option], option
            checked += 1
    assert checked == 16


def test_metrics_are_there(client: TestClient, text: str) -> None:
    given = client.get("/metrics").text
    for name in re.findall("`(foveal_[a-z_]+)`", text):
        assert f"# TYPE {name.removesuffix('_total')}" in given, name


def test_routes_are_there(client: TestClient, text: str) -> None:
    table = text.partition("| route | what it does |")[2].partition("\n\n")[0]
    described = client.get("/openapi.json").json()["paths"]
    told = set(re.findall(r"`(?:GET |POST )?(/[a-z0-9/.]*)`", table))
    assert told == {*described, "/openapi.json"}


def test_the_unit_and_the_image_start_what_there_is() -> None:
    unit = (ROOT / "deploy" / "foveal.service").read_text(encoding="utf-8")
    image = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    known = {name for option in serve.params for name in option.opts}
    assert set(re.findall(r"(?<![-\w])--[a-z-]+", unit.partition("ExecStart=")[2].splitlines()[0])) <= known
    variables = set(re.findall("FOVEAL_SERVE_[A-Z_]+", image)) - {"FOVEAL_SERVE_TOKEN"}
    assert variables
    assert {
        f"--{name.removeprefix('FOVEAL_SERVE_').lower().replace('_', '-')}" for name in variables
    } <= known
