"""Byte-pair encoding in plain Python against the ``tokenizers`` library."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foveal.explanation.tokens import WORDS, Vocabulary, byte_marks, merge

SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
TEXTS = (
    "Crisp rendering, a common scene. Moderately sharp (strongest in the centre), some fine detail.",
    "Rough and smeared rendering; very blurry, noisy.\nThe quality of the image is poor",
    "Überblendung, café, 日本語, emoji 🙂, tabs\tand  double  spaces, 100 % of 3.14",
)


@cache
def reference() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[tokenizers.AddedToken(token, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 20, trainer)
    return made


@cache
def own() -> Vocabulary:
    import json

    told = json.loads(reference().to_str())["model"]
    tokens = tuple(sorted(told["vocab"], key=told["vocab"].get))
    return Vocabulary(tokens, tuple((first, second) for first, second in told["merges"]), SPECIAL)


texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        st.sampled_from([*SPECIAL, *TEXTS, " ", "\n", "\r\n", "<", "</", " sharp", "'s", "\x00"]),
    ),
    max_size=6,
).map("".join)


@settings(deadline=None, max_examples=50)
@given(texts)
@example("".join(TEXTS))
@example("</s><image> <s>>")
def test_same_tokens_as_the_library(text: str) -> None:
    assert own().encode(text) == reference().encode(text, add_special_tokens=False).ids


@settings(deadline=None, max_examples=50)
@given(texts)
def test_text_comes_back_without_special_tokens(text: str) -> None:
    # The first special token that begins at the leftmost place goes, then the next: as in the library.
    ids = own().encode(text)
    assert own().decode(ids) == reference().decode(ids, skip_special_tokens=True)
    if not any(token in text for token in SPECIAL):
        assert own().decode(ids) == text


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, len(SPECIAL) + 255), max_size=20))
def test_bytes_that_are_no_text_decode_as_the_library_does(ids: list[int]) -> None:
    assert own().decode(ids) == reference().decode(ids, skip_special_tokens=True)


def test_marks_are_those_of_gpt2() -> None:
    # From the published vocabulary of GPT-2: a space is U+0120, a line break U+010A.
    assert (byte_marks()[0x20], byte_marks()[0x0A], byte_marks()[ord("a")]) == ("Ġ", "Ċ", "a")
    assert len(set(byte_marks())) == 256


def test_pairs_merge_in_the_order_of_their_learning() -> None:
    ranks = {("b", "c"): 0, ("a", "b"): 1, ("a", "bc"): 2, ("abc", "abc"): 3}
    assert merge("abcabc", ranks) == ["abcabc"]
    assert merge("abab", ranks) == ["ab", "ab"]
    assert merge("aaa", {("a", "a"): 0}) == ["aa", "a"]


def test_vocabularies_that_cannot_be_used_are_refused() -> None:
    tokens = (*SPECIAL, *byte_marks())
    with pytest.raises(ValueError, match="there twice"):
        Vocabulary((*tokens, "a"), (), SPECIAL)
    with pytest.raises(ValueError, match="1 tokens are missing, such as 'a'"):
        Vocabulary(tuple(mark for mark in tokens if mark != "a"), (), SPECIAL)
    with pytest.raises(ValueError, match="such as 'ab'"):
        Vocabulary(tokens, (("a", "b"),), SPECIAL)
    vocabulary = Vocabulary(tokens, (), SPECIAL)
    with pytest.raises(ValueError, match="no token 'nothing'"):
        vocabulary.number("nothing")


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        own().encode("\ud800")
