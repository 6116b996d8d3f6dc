"""The layers of the authors' own code, so that weights trained with it give their scores here.

Code: github.com/YMlinfeng/MST-CLIPIQA (Apache-2.0), whose names of parameters are kept. It differs from the
paper: no normalisation behind the attention, a gate of 128, phi initialised at random. It also lets prompts
be attended to with their padding, so that a score depends on the longest prompt of its batch; here it
depends on the image and its prompt alone, and is theirs for a batch of one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.artifact.card import PROMPT_MASK
from foveal.lab.models.base import PROMPT_TOKENS, Judgement
from foveal.lab.models.mst_clipiqa.config import COARSE, FINE, LEVELS
from foveal.lab.models.mst_clipiqa.heads import Spread, attend_to

_GATE = 128
_HEADS = 8
_SCALE = 100.0
_ENCODERS = ("mstfe.", "head.text_encoder.")
_WRAPPER = "model_state_dict"


class MstAuthors(nn.Module):
    """Gated fusion and one head as the authors have them; (batch, width) of both streams -> (batch, 1).

    Args:
        prompt: the head that reads prompts (their variant B), or the one that compares with five texts (A).
        text_features: (5, width) normalised embeddings of the levels' texts, for variant A; zeros if they are
            to come with a state dict.
        width: of both streams and the text encoder: 512 in all of theirs.
    """

    def __init__(
        self, *, prompt: bool = False, text_features: Tensor | None = None, width: int = 512
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.gff = _Gff(width)
        self.head: _TemplateHead | _PromptHead = (
            _PromptHead(width)
            if prompt
            else _TemplateHead(torch.zeros(len(LEVELS), width) if text_features is None else text_features)
        )

    def forward(
        self,
        coarse: Tensor,
        fine: Tensor,
        token_features: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Score a batch.

        Args:
            coarse: (batch, width), projected CLS tokens of the coarse encoder.
            fine: (batch, width), likewise of the fine one.
            token_features: (batch, length, width), last hidden states of the prompts, not projected; None
                for images without prompts.
            mask: bool (batch, length), true for what may be attended to; None for all, padding included, as
                their code does.

        Returns:
            (batch, 1).
        """
        score: Tensor = self.judge(self.fuse(coarse, fine), token_features, mask)
        return score

    def fuse(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The fused vector z, (batch, width)."""
        fused: Tensor = self.gff(coarse, fine)
        return fused

    def judge(
        self, fused: Tensor, token_features: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Score of the fused vector, (batch, 1)."""
        if isinstance(self.head, _TemplateHead) or token_features is None:
            score: Tensor = self.head(fused)
            return score
        if mask is None:
            mask = token_features.new_ones(token_features.shape[:2], dtype=torch.bool)
        prompted: Tensor = self.head(fused, token_features, mask)
        return prompted

    def load_authors_state(self, state: Mapping[str, object]) -> None:
        """Take the weights of a state dict of theirs, as ``torch.load(path, weights_only=True)`` gives it.

        Frozen encoders in it are passed over: they are CLIP's own. Both what their training writes and what
        their evaluation expects (the state dict under ``model_state_dict``) are taken.

        Raises:
            ValueError: names or shapes are not those of this variant.
        """
        inner = state.get(_WRAPPER, state)
        if not isinstance(inner, Mapping):
            raise ValueError(f"{_WRAPPER} holds a {type(inner).__name__}, expected weights by name")
        given = {name: value for name, value in inner.items() if not str(name).startswith(_ENCODERS)}
        own = self.state_dict()
        variant = f"the authors' variant {'B, with' if self.prompt else 'A, without'} prompts"
        if odd := sorted(own.keys() ^ given.keys()):
            what = "missing" if odd[0] in own else "unexpected"
            raise ValueError(f"not a state dict of {variant}: {odd[0]} is {what}")
        for name, tensor in own.items():
            if tuple(given[name].shape) != tuple(tensor.shape):
                raise ValueError(
                    f"not a state dict of {variant}: {name} has shape {tuple(given[name].shape)}, expected "
                    f"{tuple(tensor.shape)}"
                )
        self.load_state_dict(given)


class AuthorsHead(nn.Module):
    """The authors' layers as the trained part of a model, with a spread of ours beside them.

    Args:
        layers: theirs.
        width: of the fused vector.
    """

    def __init__(self, layers: MstAuthors, width: int) -> None:
        super().__init__()
        self.layers = layers
        self.spread = Spread(width)

    def forward(self, features: Mapping[str, Tensor]) -> Judgement:
        """Judge from features (batch, width) of both streams and, if there are, prompts."""
        fused = self.layers.fuse(features[COARSE].float(), features[FINE].float())
        tokens, mask = features.get(PROMPT_TOKENS), features.get(PROMPT_MASK)
        return Judgement(self.layers.judge(fused, tokens, mask), self.spread(fused))

    def gate(self, features: Mapping[str, Tensor]) -> Tensor:
        """The gate, (batch, width): how much of each dimension comes from the coarse stream."""
        return self.layers.gff.weigh(features[COARSE].float(), features[FINE].float())


class _Gff(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.W_h = nn.Linear(2 * width, _GATE)
        self.W_g = nn.Linear(_GATE, width)
        self.W_c = nn.Linear(width, width)
        self.W_f = nn.Linear(width, width)

    def weigh(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return torch.sigmoid(self.W_g(functional.relu(self.W_h(torch.cat([coarse, fine], dim=-1)))))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        gate = self.weigh(coarse, fine)
        fused: Tensor = gate * self.W_c(coarse) + (1 - gate) * self.W_f(fine)
        return fused


class _TemplateHead(nn.Module):
    def __init__(self, text_features: Tensor) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(_SCALE))
        self.text_features: Tensor
        self.quality_scores: Tensor
        self.register_buffer("text_features", text_features.detach().clone().float())
        self.register_buffer("quality_scores", torch.arange(1.0, len(LEVELS) + 1))

    def forward(self, fused: Tensor) -> Tensor:
        cosines = (functional.normalize(fused.float(), dim=-1)[:, None] * self.text_features).sum(dim=-1)
        shares = (self.temperature * cosines).softmax(dim=-1)
        return (shares * self.quality_scores).sum(dim=-1, keepdim=True)


class _PromptHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.alpha = nn.Parameter(torch.tensor(0.0))
        self.W_1 = nn.Linear(width, width)
        self.W_2 = nn.Linear(width, width)
        self.w_o = nn.Linear(width, 1)

    def forward(self, fused: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        if tokens is not None and mask is not None:
            tokens = torch.where(mask[..., None], tokens.to(fused.dtype), 0.0)
            attended = self.alpha * attend_to(self.cross_attn, fused, tokens, mask)
            fused = fused + torch.where(mask.any(dim=1, keepdim=True), attended, 0.0)
        score: Tensor = self.w_o(functional.gelu(self.W_1(fused)) + self.W_2(fused))
        return score
