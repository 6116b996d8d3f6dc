"""A byte-level tokenizer trained on the texts at hand: small, and no text is foreign to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from foveal.explanation.tokens import WORDS
from foveal.lab.reasoning.levels import LEVELS

IMAGE = "<image>"
START, END, PAD = "<s>", "</s>", "<pad>"


def train_tokenizer(texts: Iterable[str], size: int = 1024) -> Any:
    """Train byte-pair encoding on texts.

    Level words of every convention are whole tokens, so that closed-set scoring reads one place. Words are
    cut as :mod:`foveal.explanation.tokens` cuts them, which so gives the same tokens without the library.

    Args:
        texts: any; iterated once.
        size: most tokens, special ones and all bytes included.

    Returns:
        A fast tokenizer of ``transformers``.

    Raises:
        ValueError: fewer tokens than bytes and special ones need.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, START, END, IMAGE]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size < len(alphabet) + len(special):
        raise ValueError(f"{size} tokens cannot hold {len(alphabet)} bytes and {len(special)} special tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[AddedToken(word, normalized=False) for word in special],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    words = sorted({word for levels in LEVELS.values() for word in levels.words})
    often = [f" {word}" for word in words] * 1000
    tokenizer.train_from_iterator([*texts, *often], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
    )
