"""Choices of MST-CLIPIQA: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from foveal.lab.models.mst_clipiqa import MstConfig
from foveal.lab.models.registry import MODELS
from foveal.strict import build

TARGETS = ("quality", "authenticity", "correspondence")


def test_the_texts_are_the_paper_s() -> None:
    assert MstConfig().level_texts("quality") == [
        "a photo with bad quality",
        "a photo with poor quality",
        "a photo with fair quality",
        "a photo with good quality",
        "a photo with perfect quality",
    ]
    assert MstConfig(template="{level}, {target}.").level_texts("authenticity")[0] == "bad, authenticity."


def test_a_recipe_s_table_makes_a_config() -> None:
    table = {"features": "layers", "layers": [1, 3], "prompt": True, "needs_prompt": [], "dropout": 0}
    config = build(MODELS["mst-clipiqa"].config, table, "model")
    assert config == MstConfig(features="layers", layers=(1, 3), prompt=True, needs_prompt=(), dropout=0.0)


@pytest.mark.parametrize(
    ("config", "judged", "meaningless"),
    [
        (MstConfig(), (), ()),
        (MstConfig(prompt=True), TARGETS, ("correspondence",)),
        (MstConfig(prompt=True, prompted=("correspondence",)), ("correspondence",), ("correspondence",)),
        (MstConfig(prompt=True, prompted=("authenticity",)), ("authenticity",), ()),
        (MstConfig(prompt=True, needs_prompt=()), TARGETS, ()),
        (MstConfig(prompt=True, needs_prompt=("quality",)), TARGETS, ("quality",)),
    ],
)
def test_which_targets_look_at_the_prompt(
    config: MstConfig, judged: tuple[str, ...], meaningless: tuple[str, ...]
) -> None:
    assert config.judged_with_prompt(TARGETS) == judged
    assert config.meaningless_without_prompt(TARGETS) == meaningless


def test_targets_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prompted has 'beauty', .* judges quality, authenticity, corresp"):
        MstConfig(prompt=True, prompted=("beauty",)).judged_with_prompt(TARGETS)
    with pytest.raises(ValueError, match="needs_prompt has 'quality', which the prompt head does not judge"):
        MstConfig(
            prompt=True, prompted=("correspondence",), needs_prompt=("quality",)
        ).meaningless_without_prompt(TARGETS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coarse_view": "half"}, "coarse_view is 'half', expected whole, fragments, crop"),
        ({"fine_view": ""}, "fine_view is ''"),
        ({"features": "cls"}, "features is 'cls', expected pooled, layers"),
        ({"fusion": "sum"}, "fusion is 'sum', expected gate, average, concat, coarse, fine"),
        ({"levels": "words"}, "levels is 'words', expected auto, text, learned"),
        ({"compat": "ours"}, "compat is 'ours', expected none, authors"),
        ({"template": "a photo"}, r"template is 'a photo', expected text with \{level\} in it"),
        ({"template": "a {grade} photo"}, "template is 'a {grade} photo', expected text in which"),
        ({"template": "a {level photo"}, "stand in braces"),
        ({"layers": ()}, r"layers are \[\], expected numbers of blocks from 1 on"),
        ({"fine_layers": (0, 2)}, r"fine_layers are \[0, 2\]"),
        ({"width": -1}, "width is -1, expected 0 or more"),
        ({"gate_width": 0}, "gate_width is 0, expected 1 or more"),
        ({"heads": 0}, "heads is 0, expected 1 or more"),
        ({"dropout": 1.0}, "dropout is 1.0, expected 0 to below 1"),
        ({"prompted": ("quality",)}, r"prompted is \['quality'\], but there is no prompt head; set prompt"),
        ({"needs_prompt": ("quality",)}, r"needs_prompt is \['quality'\], but there is no prompt head"),
        (
            {"compat": "authors", "fusion": "average"},
            "fusion is 'average', but the authors' layers know 'gate'",
        ),
        (
            {"compat": "authors", "features": "layers"},
            "features is 'layers', but the authors' .* 'pooled' only",
        ),
        ({"compat": "authors", "levels": "learned"}, "levels is 'learned', but the authors' .* 'text' only"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MstConfig(**changes)  # type: ignore[arg-type]
