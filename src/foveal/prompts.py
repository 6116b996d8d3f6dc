"""From the text that an image was made from to what a graph takes: token numbers of a fixed length."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK
from foveal.artifact.file import Artifact
from foveal.artifact.tokenizer import check_tokenizer
from foveal.errors import CorruptArtifactError, InvalidPromptError, MissingExtraError, MissingPromptError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST = 100_000
"""Characters that a prompt may have. No model reads a tenth of them, and tokenising more takes seconds."""


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt as the graph takes it.

    Attributes:
        inputs: int64 (length,) of each input; all zero without a prompt.
        aspects: what can be judged with it, sorted.
        warnings: what its reader should know: it was cut, or aspects are left out.
    """

    inputs: dict[str, NDArray[np.int64]]
    aspects: tuple[str, ...]
    warnings: tuple[str, ...]


class PromptReader:
    """Reads prompts for one assessor; safe to use from several threads.

    Args:
        artifact: its card has a prompt.
    """

    def __init__(self, artifact: Artifact) -> None:
        if artifact.card.prompt is None or artifact.tokenizer is None:
            raise ValueError(f"{artifact.card.model} reads no prompts")
        self._model = artifact.card.model
        self._aspects = tuple(sorted(artifact.card.aspects))
        self._needing = artifact.card.needing_prompt
        self._length = artifact.card.prompt.length
        self._stored = artifact.tokenizer
        self._lock = threading.Lock()

    @property
    def required(self) -> bool:
        """Whether an image without a prompt is an error."""
        return bool(self._needing)

    def prepare(self) -> None:
        """Load the tokenizer now; otherwise the first text does.

        Raises:
            MissingExtraError: ``tokenizers`` is not installed.
            CorruptArtifactError: the stored tokenizer cannot be used.
        """
        with self._lock:
            _ = self._tokenizer

    def read(self, prompt: str | None, source: str) -> ReadPrompt:
        """Turn a prompt into numbers.

        Args:
            prompt: text; blank where there is explicitly none: then aspects that need one are left out, and
                a warning names them; None where nothing is said of it.
            source: name of the image, for errors.

        Raises:
            MissingPromptError: the prompt is None, and an aspect needs one.
            InvalidPromptError: it is not text, too long, or the tokenizer cannot read it.
            MissingExtraError, CorruptArtifactError: see :meth:`prepare`.
        """
        if prompt is None:
            if self._needing:
                raise MissingPromptError(
                    source,
                    f"no prompt, and {', '.join(self._needing)} cannot be judged without",
                    "give the text that the image was made from (prompt=, --prompt, --prompts), or an empty "
                    "one (--no-prompt) to leave that out",
                )
            return self._nothing()
        if not isinstance(prompt, str):
            raise InvalidPromptError(source, f"its prompt is {str(prompt)[:40]!r}, expected text")
        return self._encode(prompt, source) if prompt.strip() else self._nothing()

    def _encode(self, prompt: str, source: str) -> ReadPrompt:
        if len(prompt) > LONGEST:
            raise InvalidPromptError(
                source, f"its prompt has {len(prompt):,} characters", f"shorten it to {LONGEST:,}"
            )
        self.prepare()
        try:
            encoding = self._tokenizer.encode(prompt)
        except Exception as error:  # the library raises plain exceptions, and others for stray surrogates
            raise InvalidPromptError(
                source, f"the tokenizer of {self._model} cannot read its prompt ({error})", "rephrase it"
            ) from error
        ids, mask = np.array(encoding.ids, np.int64), np.array(encoding.attention_mask, np.int64)
        if ids.shape != (self._length,):
            raise CorruptArtifactError(
                f"{self._model}: its tokenizer gives {len(ids)} tokens, its card says {self._length}"
            )
        if not mask.any():
            nothing = self._nothing()
            unread = "prompt not read: the tokenizer knows none of its words"
            return replace(nothing, warnings=(unread, *nothing.warnings))
        warnings = []
        if encoding.overflowing:
            warnings.append(f"prompt cut: it has more than the {self._length} tokens that the model reads")
        return ReadPrompt({PROMPT_IDS: ids, PROMPT_MASK: mask}, self._aspects, tuple(warnings))

    def _nothing(self) -> ReadPrompt:
        zeros = np.zeros(self._length, np.int64)
        left_out = f"no score for {', '.join(self._needing)}: that takes a prompt"
        return ReadPrompt(
            {PROMPT_IDS: zeros, PROMPT_MASK: zeros},
            tuple(name for name in self._aspects if name not in self._needing),
            (left_out,) if self._needing else (),
        )

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            import tokenizers
        except ImportError as error:
            raise MissingExtraError(f"{self._model}: reading prompts", "prompts") from error
        try:
            check_tokenizer(self._stored, self._length)
            return tokenizers.Tokenizer.from_str(self._stored.decode())
        except Exception as error:  # the library raises plain exceptions
            raise CorruptArtifactError(f"{self._model}: its tokenizer cannot be used: {error}") from error
