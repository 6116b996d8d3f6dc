"""Every choice of MST-CLIPIQA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foveal.artifact.card import VIEW_KINDS
from foveal.lab.models.regressor import ViewKind

FusionKind = Literal["gate", "average", "concat", "coarse", "fine"]
Features = Literal["pooled", "layers"]
Levels = Literal["auto", "text", "learned"]
Compat = Literal["none", "authors"]

COARSE, FINE = "coarse", "fine"
"""Inputs: one view for each stream."""
LEVELS = ("bad", "poor", "fair", "good", "perfect")
"""Names of the five levels of quality, 1 to 5."""
NEEDS_PROMPT = "correspondence"
"""The target that is about the prompt."""


@dataclass(frozen=True)
class MstConfig:
    """Every choice of the method; the defaults are the paper's without prompts, but for the dropout.

    Attributes:
        coarse_view: what the coarse stream sees: ``whole``, ``fragments`` or ``crop``.
        fine_view: what the fine stream sees; the paper shows both the whole image.
        features: what is read of each stream: ``pooled``, the projected CLS token (without a space shared
            with text the CLS token after the final normalisation), as in the paper; or ``layers``, CLS and
            mean patch token of several layers, where a frozen ViT keeps what is seen of distortions.
        layers: whose tokens ``layers`` reads, counted from 1.
        fine_layers: those of the fine stream; the same ones if empty.
        fusion: ``gate``, the paper's; for ablations ``average`` of the mapped streams, ``concat``, a network
            of the gate's shape that maps both to the fused vector itself, or one stream alone.
        width: features of the fused vector; 0 for those of the space shared with text, without a text encoder
            for those that the coarse stream gives (with ``layers``: that its tokens have).
        gate_width: hidden features of the gate; the authors' code has 128, their appendix 256.
        levels: what the no-prompt head compares with: ``text``, frozen embeddings of the templates;
            ``learned``, five vectors that training moves, which begin with those of the templates if there is
            a text encoder; ``auto``, text where there is a text encoder whose space has the fused vector's
            width, else learned.
        template: of a level's text; ``{level}`` stands for the level's name, ``{target}`` for the target's.
        prompt: whether there is a prompt head (the paper's variant with a star).
        prompted: targets that the prompt head judges; all of them if empty. The no-prompt head judges the
            others, and never looks at the prompt.
        needs_prompt: targets that mean nothing without a prompt; by default ``correspondence``, if the prompt
            head judges it.
        heads: attention heads of the prompt head; divides the width.
        dropout: on what is read of the streams, and on what the heads read, in training.
        compat: ``authors`` builds exactly the layers of the authors' code, for state dicts of theirs: gate of
            128, no normalisation behind the attention, prompts' tokens as the text encoder gives them, and
            no dropout, whatever is said here of these.
    """

    coarse_view: ViewKind = "whole"
    fine_view: ViewKind = "whole"
    features: Features = "pooled"
    layers: tuple[int, ...] = (3, 6, 9, 12)
    fine_layers: tuple[int, ...] = ()
    fusion: FusionKind = "gate"
    width: int = 0
    gate_width: int = 256
    levels: Levels = "auto"
    template: str = "a photo with {level} {target}"
    prompt: bool = False
    prompted: tuple[str, ...] = ()
    needs_prompt: tuple[str, ...] | None = None
    heads: int = 8
    dropout: float = 0.1
    compat: Compat = "none"

    def __post_init__(self) -> None:
        for name in ("layers", "fine_layers", "prompted"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.needs_prompt is not None:
            object.__setattr__(self, "needs_prompt", tuple(self.needs_prompt))
        self._check_words()
        self._check_numbers()
        self._check_prompt()
        self._check_compat()

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that are looked at."""
        return (self.fusion,) if self.fusion in (COARSE, FINE) else (COARSE, FINE)

    def view(self, stream: str) -> ViewKind:
        """What a stream sees."""
        return self.coarse_view if stream == COARSE else self.fine_view

    def read_layers(self, stream: str) -> tuple[int, ...]:
        """Layers that are read of a stream; empty for the pooled vector."""
        if self.features == "pooled":
            return ()
        return self.fine_layers or self.layers if stream == FINE else self.layers

    def judged_with_prompt(self, targets: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the targets that the prompt head judges, in their order.

        Raises:
            ValueError: ``prompted`` names another one.
        """
        _require_known("prompted", self.prompted, targets)
        if not self.prompt:
            return ()
        return tuple(target for target in targets if target in (self.prompted or targets))

    def meaningless_without_prompt(self, targets: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the targets that cannot be judged without a prompt.

        Raises:
            ValueError: ``needs_prompt`` names one that the prompt head does not judge.
        """
        judged = self.judged_with_prompt(targets)
        if self.needs_prompt is None:
            return tuple(target for target in judged if target == NEEDS_PROMPT)
        _require_known("needs_prompt", self.needs_prompt, judged)
        return self.needs_prompt

    def level_texts(self, target: str) -> list[str]:
        """Texts of the five levels of a target, worst first."""
        return [self.template.format(level=level, target=target) for level in LEVELS]

    def _check_words(self) -> None:
        for name, known in (
            ("coarse_view", VIEW_KINDS),
            ("fine_view", VIEW_KINDS),
            ("features", ("pooled", "layers")),
            ("fusion", ("gate", "average", "concat", COARSE, FINE)),
            ("levels", ("auto", "text", "learned")),
            ("compat", ("none", "authors")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {', '.join(known)}")
        try:
            texts = self.level_texts("quality")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"template is {self.template!r}, expected text in which {{level}} and {{target}} alone "
                f"stand in braces ({error})"
            ) from error
        if len(set(texts)) < len(LEVELS):
            raise ValueError(f"template is {self.template!r}, expected text with {{level}} in it")

    def _check_numbers(self) -> None:
        for name in ("layers", "fine_layers"):
            if any(layer < 1 for layer in getattr(self, name)) or not self.layers:
                raise ValueError(
                    f"{name} are {list(getattr(self, name))}, expected numbers of blocks from 1 on"
                )
        for name, least in (("width", 0), ("gate_width", 1), ("heads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected 0 to below 1")

    def _check_prompt(self) -> None:
        for name in ("prompted", "needs_prompt"):
            if getattr(self, name) and not self.prompt:
                raise ValueError(
                    f"{name} is {list(getattr(self, name))}, but there is no prompt head; "
                    "set prompt to true, or leave it out"
                )

    def _check_compat(self) -> None:
        if self.compat == "none":
            return
        for name, theirs in (
            ("features", ("pooled",)),
            ("fusion", ("gate",)),
            ("levels", ("auto", "text")),
        ):
            if getattr(self, name) not in theirs:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but the authors' layers know {theirs[-1]!r} only; "
                    "leave it out, or leave out compat"
                )


def _require_known(name: str, said: tuple[str, ...], known: tuple[str, ...]) -> None:
    if odd := [target for target in said if target not in known]:
        raise ValueError(
            f"{name} has {odd[0]!r}, which the prompt head does not judge; it judges "
            f"{', '.join(known) or 'nothing'}"
        )
