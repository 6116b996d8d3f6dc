"""A frozen text encoder with its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from foveal.errors import MissingPartError
from foveal.lab.backbones.base import Backbone
from foveal.lab.backbones.card import BackboneCard
from foveal.lab.backbones.families import TEXT_TOWER, TextFamily


@dataclass(frozen=True)
class TextBatch:
    """Texts as numbers.

    Attributes:
        ids: int64 (batch, length).
        mask: bool (batch, length): true for tokens of the text, false for padding.
    """

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class TextFeatures:
    """Texts as features, not projected; see :meth:`TextBackbone.project`.

    Attributes:
        tokens: (batch, length, width): the last hidden state, normalised.
        mask: bool (batch, length): true for tokens of the text; ``~mask`` is the key padding mask of
            ``nn.MultiheadAttention``.
        pooled: (batch, width): the token that stands for the whole text.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


class TextBackbone(Backbone):
    """Token features and pooled embeddings of a pretrained text encoder.

    Args:
        model: model of ``transformers`` with the weights loaded.
        family: how to read it.
        tokenizer: tokenizer of ``transformers``.
        card: identity and origin.
        logit_scale: logarithm of the factor on cosines that image and text were trained with, if known.
        logit_bias: what SigLIP adds to the scaled cosines, if known.
    """

    def __init__(
        self,
        model: nn.Module,
        family: TextFamily,
        tokenizer: Any,
        card: BackboneCard,
        *,
        logit_scale: float | None = None,
        logit_bias: float | None = None,
    ) -> None:
        super().__init__(model, TEXT_TOWER, "final_layer_norm", card)
        self._family = family
        self._tokenizer = tokenizer
        self.logit_scale = logit_scale
        self.logit_bias = logit_bias

    @property
    def max_length(self) -> int:
        """Tokens of the longest text that the model takes, special ones included."""
        return int(self.core.config.max_position_embeddings)

    def tokenise(self, texts: str | Sequence[str]) -> TextBatch:
        """Turn texts into token numbers; longer ones are cut to ``max_length``, end token kept.

        Raises:
            ValueError: there is no text.
        """
        listed = [texts] if isinstance(texts, str) else list(texts)
        if not listed:
            raise ValueError("there is no text to encode")
        if self._family.sigmoid:
            listed = [text.lower() for text in listed]
        encoded = self._tokenizer(
            listed,
            padding="max_length" if self._family.sigmoid else "longest",
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return TextBatch(
            encoded["input_ids"].to(self.device), encoded["attention_mask"].to(self.device).bool()
        )

    def tokenizer_json(self) -> bytes:
        """The tokenizer as the ``tokenizers`` library reads it: every text cut and padded to ``max_length``.

        It gives the ids and masks of :meth:`tokenise`, but for padding that nothing attends to.

        Raises:
            MissingPartError: the folder holds a tokenizer that is not of this library.
        """
        from tokenizers import Tokenizer, normalizers

        own = getattr(self._tokenizer, "backend_tokenizer", None)
        if own is None:
            raise MissingPartError(
                f"{self.card.name}: its tokenizer is not of the tokenizers library, which reads prompts "
                "without torch; take a CLIP or SigLIP 2, whose folders hold a tokenizer.json"
            )
        copy = Tokenizer.from_str(own.to_str())
        if self._family.sigmoid:
            lower = normalizers.Lowercase()
            copy.normalizer = normalizers.Sequence([lower, *([copy.normalizer] if copy.normalizer else [])])
        copy.enable_truncation(self.max_length, direction=self._tokenizer.truncation_side)
        copy.enable_padding(
            length=self.max_length,
            pad_id=self._tokenizer.pad_token_id,
            pad_token=self._tokenizer.pad_token,
            direction=self._tokenizer.padding_side,
        )
        return str(copy.to_str()).encode()

    def encode(self, texts: str | Sequence[str] | TextBatch) -> TextFeatures:
        """Encode texts, as strings or as they come from :meth:`tokenise`."""
        batch = texts if isinstance(texts, TextBatch) else self.tokenise(texts)
        # SigLIP was trained to attend to its padding.
        mask = None if self._family.sigmoid else batch.mask.long()
        output = self.core(input_ids=batch.ids, attention_mask=mask)
        tokens = output.last_hidden_state
        pooled = tokens[:, -1] if self._family.sigmoid else output.pooler_output
        return TextFeatures(tokens, batch.mask, pooled)

    def project(self, features: Tensor) -> Tensor:
        """Map tokens or pooled vectors into the space shared with the image encoder.

        Args:
            features: (..., width).

        Returns:
            (..., width of the shared space), not scaled to length 1; CLIP's ``text_embeds`` if pooled.

        Raises:
            MissingPartError: the projection is not in the folder.
        """
        owner = self.core if self._family.sigmoid else self.model
        projection = getattr(owner, self._family.projection)
        if projection is None:
            raise MissingPartError(f"{self.card.name}: the folder holds no {self._family.projection}")
        projected: Tensor = projection(features)
        return projected

    def forward(self, texts: str | Sequence[str] | TextBatch) -> Tensor:
        """Texts to embeddings in the space shared with images, not scaled to length 1."""
        return self.project(self.encode(texts).pooled)
