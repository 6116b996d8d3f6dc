"""The command as a whole: help, version, completion, start-up, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

import foveal
from foveal.cli.lazy import CommandAt, LazyGroup
from foveal.cli.run import COMMANDS, group, run
from foveal.cli.text import one_line
from foveal.errors import CorruptArtifactError

HEAVY = ("numpy", "PIL", "rich", "openvino", "onnxruntime", "pyarrow", "torch", "safetensors")


def start(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foveal", *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert name in shown
        assert entry.summary in shown
    assert "1 (bad) to 5 (excellent)" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there_and_says_the_same_of_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == COMMANDS[name].summary
    assert run([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: foveal {name}")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["score", "--help"], ["completion", "bash"]])
def test_help_is_quick_for_it_imports_nothing_heavy(args: list[str]) -> None:
    script = (
        "import sys; from foveal.cli.run import run\n"
        f"code = run({args!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[] 0"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"foveal {foveal.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_calls_back_into_the_command(shell: str) -> None:
    done = start("completion", shell)
    assert done.returncode == 0
    assert f"_FOVEAL_COMPLETE={shell}_complete" in done.stdout
    word = "mod" if shell == "fish" else "1"  # fish gives the word itself, the others its place
    answer = start(_FOVEAL_COMPLETE=f"{shell}_complete", COMP_WORDS="foveal mod", COMP_CWORD=word)
    assert "models" in answer.stdout
    assert "score" not in answer.stdout


@pytest.mark.parametrize("args", [["nonsense"], ["score"], ["score", "--nonsense"], ["completion", "csh"]])
def test_wrong_usage_is_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Usage: foveal" in shown.err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (CorruptArtifactError("m.bin: cut"), 2, "foveal: m.bin: cut\n"),
        (CorruptArtifactError("two\nlines"), 2, "foveal: two\\nlines\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
    ],
)
def test_how_commands_end(
    raised: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def failing() -> None:
        raise raised

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: failing)
    assert run(["anything"]) == code
    assert capsys.readouterr().err.strip() == said.strip()


def test_what_is_no_command_is_not_run() -> None:
    wrong = LazyGroup("x", at={"a": CommandAt("os:getcwd", "")})
    with pytest.raises(TypeError, match="os:getcwd is not a command"):
        wrong.get_command(click.Context(wrong), "a")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 写", "plain é 写"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202egnp.jpg", "\\u202egnp.jpg"),
    ],
)
def test_names_are_shown_without_driving_the_terminal(text: str, shown: str) -> None:
    assert one_line(text) == shown
