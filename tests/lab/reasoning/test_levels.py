"""Level words: their tokens, what they are worth, and how scores become words."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foveal.errors import BackboneError
from foveal.lab.reasoning.levels import LEVELS, Q_ALIGN, Q_BENCH, Q_INSTRUCT, LevelSet, closed_set
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from tiny_vlms import FAMILIES, checkered

Load = Callable[[str], VisionLanguageModel]
every_family = pytest.mark.parametrize("name", FAMILIES)
every_convention = pytest.mark.parametrize("convention", LEVELS)
scores = st.floats(1, 5)


def _shares(count: int) -> st.SearchStrategy[np.ndarray]:
    raw = arrays(np.float64, count, elements=st.floats(0.001, 1))
    return raw.map(lambda values: values / values.sum())


class TestConventions:
    @given(_shares(5))
    def test_q_align_is_the_mean_of_5_to_1(self, shares: np.ndarray) -> None:
        excellent, good, fair, poor, bad = shares
        assert Q_ALIGN.words == ("excellent", "good", "fair", "poor", "bad")
        expected = 5 * excellent + 4 * good + 3 * fair + 2 * poor + bad
        assert Q_ALIGN.quality(shares) == pytest.approx(expected)

    @given(st.floats(-20, 20), st.floats(-20, 20))
    def test_q_bench_is_the_softmax_of_good_against_poor(self, good: float, poor: float) -> None:
        """Equation 1 of Q-Bench gives exp(good) / (exp(good) + exp(poor)) on 0-1; 1-5 here."""
        assert Q_BENCH.words == ("good", "poor")
        published = np.exp(good) / (np.exp(good) + np.exp(poor))
        weights = np.exp([good, poor]) / np.exp([good, poor]).sum()
        assert Q_BENCH.quality(weights) == pytest.approx(1 + 4 * published)

    @given(_shares(3))
    def test_q_instruct_weighs_1_half_and_0(self, shares: np.ndarray) -> None:
        assert Q_INSTRUCT.words == ("good", "average", "poor")
        published = shares @ [1, 0.5, 0]
        assert Q_INSTRUCT.quality(shares) == pytest.approx(1 + 4 * published)

    @every_convention
    def test_quality_stays_on_the_scale_and_rises_with_the_better_word(self, convention: str) -> None:
        levels = LEVELS[convention]
        certain = levels.quality(np.eye(len(levels.words)))
        assert certain[0] == 5
        assert certain[-1] == 1
        assert (np.diff(certain) < 0).all()

    def test_of_many_at_once(self) -> None:
        shares = np.random.default_rng(0).dirichlet(np.ones(5), (3, 4))
        together = Q_ALIGN.quality(shares)
        assert together.shape == (3, 4)
        assert together[1, 2] == pytest.approx(Q_ALIGN.quality(shares[1, 2]))


class TestEqualRanges:
    @given(scores)
    def test_as_q_align_has_it(self, mos: float) -> None:
        """Equation 1: level i of bad .. excellent where m + (i-1)/5 (M-m) < s <= m + i/5 (M-m)."""
        rising = Q_ALIGN.words[::-1]
        borders = [1.0, 1.8, 2.6, 3.4, 4.2, 5.0]
        if min(abs(mos - border) for border in borders[1:-1]) < 1e-9:
            return
        inside = [low < mos <= high for low, high in pairwise(borders)]
        expected = "bad" if mos == 1 else rising[inside.index(True)]
        assert Q_ALIGN.words[int(Q_ALIGN.level_of(mos))] == expected

    def test_a_border_belongs_to_the_lower_level(self) -> None:
        words = [Q_ALIGN.words[place] for place in Q_ALIGN.level_of([1.0, 1.8, 2.6, 3.4, 4.2, 5.0])]
        assert words == ["bad", "bad", "poor", "fair", "good", "excellent"]

    def test_beyond_the_scale_the_outermost_words(self) -> None:
        assert Q_ALIGN.level_of([0.0, 9.0]).tolist() == [4, 0]

    @every_convention
    @given(st.lists(scores, min_size=2, max_size=20))
    def test_a_better_score_never_has_a_worse_word(self, convention: str, values: list[float]) -> None:
        places = LEVELS[convention].level_of(np.sort(values))
        assert (np.diff(places) <= 0).all()

    @every_convention
    def test_ranges_are_equally_wide(self, convention: str) -> None:
        levels = LEVELS[convention]
        grid = np.linspace(1, 5, 30_001)
        counts = np.bincount(levels.level_of(grid), minlength=len(levels.words))
        assert counts / len(grid) == pytest.approx(1 / len(levels.words), abs=1e-3)


class TestSoftLabels:
    @every_convention
    @given(st.lists(scores, min_size=1, max_size=10))
    def test_their_expected_value_is_the_score(self, convention: str, values: list[float]) -> None:
        levels = LEVELS[convention]
        weights = levels.soft(values)
        assert levels.quality(weights) == pytest.approx(values)
        assert weights.sum(axis=1) == pytest.approx(1)
        assert (weights >= 0).all()

    @given(scores)
    def test_only_neighbours_share(self, mos: float) -> None:
        (weights,) = Q_ALIGN.soft([mos])
        places = np.flatnonzero(weights)
        assert len(places) <= 2
        assert np.ptp(places) <= 1

    def test_one_word_where_the_score_is_its_value(self) -> None:
        assert Q_ALIGN.soft(Q_ALIGN.values) == pytest.approx(np.eye(5))

    def test_beyond_the_scale_the_outermost_word(self) -> None:
        assert Q_ALIGN.soft([-3, 8]).tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]


class TestTokens:
    @every_family
    @every_convention
    def test_are_the_words_after_the_statement(self, name: str, convention: str, vlm: Load) -> None:
        levels, tokenizer = LEVELS[convention], vlm(name).tokenizer
        tokens = levels.tokens(tokenizer)
        assert len(set(tokens)) == len(levels.words)
        # the tiny tokenizers have each word whole
        assert [tokenizer.decode([token]) for token in tokens] == [f" {word}" for word in levels.words]

    def test_of_a_word_in_pieces_its_first(self, vlm: Load) -> None:
        tokenizer = vlm("qwen3-vl").tokenizer
        levels = LevelSet(("goodish", "poorly"), (5.0, 1.0))
        assert [tokenizer.decode([token]) for token in levels.tokens(tokenizer)] == [" good", " poor"]

    def test_words_must_differ_in_their_first_token(self, vlm: Load) -> None:
        levels = LevelSet(("xa", "xb"), (5.0, 1.0))
        with pytest.raises(BackboneError, match=r"words xa, xb share a first token.*choose other words"):
            levels.tokens(vlm("qwen3-vl").tokenizer)


class TestClosedSet:
    @every_family
    @every_convention
    def test_is_the_softmax_over_the_words_alone(self, name: str, convention: str, vlm: Load) -> None:
        model, levels = vlm(name), LEVELS[convention]
        questions = [Question("Rate it.", checkered(40, 60, seed)) for seed in range(2)]
        shares = closed_set(model, questions, levels)
        assert shares.shape == (2, len(levels.words))
        assert shares.sum(axis=1) == pytest.approx(1)
        # independently: the share of each word among the words, of the softmax over the whole vocabulary
        asked = [question.answered(levels.statement) for question in questions]
        whole = torch.softmax(model.next_token(asked).double(), dim=-1)
        tokens = [model.tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in levels.words]
        expected = whole[:, tokens] / whole[:, tokens].sum(dim=1, keepdim=True)
        assert shares == pytest.approx(expected.numpy())

    @every_family
    def test_batches_make_no_difference(self, name: str, vlm: Load) -> None:
        questions = [Question("Rate it.", checkered(40 + 9 * n, 60, n), "It is dark. " * n) for n in range(3)]
        alone = closed_set(vlm(name), questions, batch=1)
        assert closed_set(vlm(name), questions) == pytest.approx(alone, abs=1e-5)

    def test_the_statement_is_set_off_from_what_was_said(self, vlm: Load) -> None:
        model, levels = vlm("qwen3-vl"), Q_ALIGN
        shares = closed_set(model, [Question("Rate it.", so_far="It is dark.")])
        told = [Question("Rate it.", so_far=f"It is dark. {levels.statement}")]
        assert shares == pytest.approx(levels.probabilities(model.next_token(told), model.tokenizer))

    def test_of_nothing(self, vlm: Load) -> None:
        assert closed_set(vlm("qwen3-vl"), []).shape == (0, 5)

    def test_likelier_words_weigh_more(self, vlm: Load) -> None:
        tokenizer = vlm("qwen3-vl").tokenizer
        logits = torch.zeros(2, len(tokenizer))
        logits[0, Q_ALIGN.tokens(tokenizer)[0]] = 30
        shares = Q_ALIGN.probabilities(logits, tokenizer)
        assert shares[0] == pytest.approx([1, 0, 0, 0, 0], abs=1e-9)
        assert shares[1] == pytest.approx([0.2] * 5)


@pytest.mark.parametrize(
    ("words", "values", "told"),
    [
        (("good",), (5.0,), "two different words or more"),
        (("good", "poor"), (5.0,), "one value a word"),
        (("good", "good"), (5.0, 1.0), "two different words or more"),
        (("poor", "good"), (1.0, 5.0), "must fall: words are listed from best to worst"),
        (("good", "poor"), (1.0, 0.0), "leave the scale from 1 to 5"),
    ],
)
def test_wrong_level_sets(words: tuple[str, ...], values: tuple[float, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LevelSet(words, values)


@pytest.mark.parametrize("levels", [Q_ALIGN, Q_BENCH, Q_INSTRUCT])
def test_the_middle_of_a_level_is_the_mean_of_the_scores_that_it_stands_for(levels: LevelSet) -> None:
    assert np.array_equal(levels.level_of(levels.middles), np.arange(len(levels.words)))
    scores = np.linspace(1.0001, 5, 6000)
    means = [scores[levels.level_of(scores) == place].mean() for place in range(len(levels.words))]
    assert levels.middles == pytest.approx(means, abs=0.01)
    # Ranks by middles are those by values: both are the same straight line.
    assert np.corrcoef(levels.middles, levels.values)[0, 1] == pytest.approx(1)
