"""Prompts of rated images, as tokens or as features of a frozen text encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK
from foveal.errors import RatingsError
from foveal.lab.backbones.text import TextBackbone, TextBatch
from foveal.lab.models.base import PROMPT_TOKENS, QualityModel
from foveal.lab.training.data import PromptRows
from foveal.ratings.table import Ratings

_BATCH = 64


def tokenised(model: QualityModel, ratings: Ratings) -> PromptRows | None:
    """Prompts as tokens; None for models that read none.

    Raises:
        RatingsError: the model reads prompts, and there are none, or all of them are empty.
    """
    if model.text is None:
        return None
    if ratings.prompts is None or not any(prompt.strip() for prompt in ratings.prompts):
        raise RatingsError(
            f"{ratings.card.name}: this model reads prompts, and the ratings have none; name their column "
            "(columns.prompt), or train a model without prompts"
        )
    distinct = sorted(set(ratings.prompts))
    place = {prompt: number for number, prompt in enumerate(distinct)}
    batch = tokens_of(model.text, distinct)
    return PromptRows(
        {PROMPT_IDS: batch.ids.cpu(), PROMPT_MASK: batch.mask.cpu()},
        torch.tensor([place[prompt] for prompt in ratings.prompts]),
    )


def tokens_of(text: TextBackbone, prompts: list[str]) -> TextBatch:
    """Tokens of prompts; one that is empty has a mask that is false throughout: it is no prompt."""
    batch = text.tokenise(prompts)
    there = torch.tensor([bool(prompt.strip()) for prompt in prompts], device=batch.mask.device)
    return TextBatch(batch.ids, batch.mask & there[:, None])


@torch.inference_mode()
def encoded(model: QualityModel, ratings: Ratings) -> PromptRows | None:
    """Prompts as features that a frozen head reads, float16; None for models that read none.

    Raises:
        RatingsError: the model reads prompts, and there are none, or all of them are empty.
    """
    rows = tokenised(model, ratings)
    if rows is None:
        return None
    ids, mask = rows.tensors[PROMPT_IDS], rows.tensors[PROMPT_MASK]
    device = next(model.parameters()).device
    parts: list[Tensor] = []
    for first in range(0, len(ids), _BATCH):
        chosen = slice(first, first + _BATCH)
        tokens = model.encode_prompts(TextBatch(ids[chosen].to(device), mask[chosen].to(device)))
        parts.append(tokens.half().cpu())
    return PromptRows({PROMPT_TOKENS: torch.cat(parts), PROMPT_MASK: mask}, rows.index)
