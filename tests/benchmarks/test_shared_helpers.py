import argparse
import platform
from pathlib import Path

import pytest

import _common
import speed
from _race import Contestant
from foveal.errors import UnknownModelError
from foveal.evaluation.tables import Table


def test_an_error_that_the_user_can_mend_is_one_line(capsys):
    def fail():
        raise UnknownModelError("x: no such model")

    with pytest.raises(SystemExit) as exit_:
        _common.run(fail)
    assert exit_.value.code == _common.FAILED
    assert capsys.readouterr().err.strip().endswith("x: no such model")


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        _common.run(lambda: 1 / 0)


@pytest.mark.parametrize("text", ["0", "-3"])
def test_counts_are_positive(text):
    with pytest.raises(argparse.ArgumentTypeError):
        _common.positive(text)


def test_shared_data_may_lie_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEAL_SHARED", str(tmp_path))
    assert _common.shared_data("BIQ2021") == tmp_path / "data" / "BIQ2021"
    monkeypatch.delenv("FOVEAL_SHARED")
    assert _common.shared_data("BIQ2021") == _common.REPOSITORY.parent / "shared" / "data" / "BIQ2021"


def test_a_model_file_stands_for_itself():
    assert _common.model_path("some/model.foveal.safetensors") == Path("some/model.foveal.safetensors")


def test_environment_names_versions_and_leaves_out_what_is_absent():
    line = _common.environment("numpy", "no-such-package-anywhere")
    assert platform.python_version() in line
    assert "numpy" in line
    assert "no-such" not in line


@pytest.mark.parametrize("markdown", [False, True])
def test_show_prints_table_and_notes(capsys, markdown):
    _common.show(Table(("what", "value"), (("speed", 1.5),)), ["on paper"], markdown=markdown)
    shown = capsys.readouterr().out
    assert "1.500" in shown
    assert "on paper" in shown
    assert shown.startswith("|") == markdown


def test_rate_rows_show_median_and_extremes():
    racer = Contestant("decode only", 2, lambda count: None)
    assert speed.rate_rows([racer], {"decode only": [9.0, 30.0, 12.0]}) == [
        ("decode only", 2, "12.0", "9.0", "30.0", "images/s")
    ]
