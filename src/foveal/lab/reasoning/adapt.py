"""What of a vision-language model is trained: its language model whole or by LoRA, and its projector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from foveal.errors import BackboneError, MissingExtraError
from foveal.lab.reasoning.vision_language import VisionLanguageModel

_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Adaptation:
    """Which weights learn. The vision tower never does.

    Attributes:
        language: ``full``, ``lora`` (Hu et al., ICLR 2022) or ``frozen``.
        projector: whether the layer between tower and language model learns: in stage 1, where images are
            read. Stage 2 reads none.
        rank: of LoRA's updates.
        alpha: their strength; they are scaled by ``alpha / rank``.
        dropout: probability that a feature does not enter an update in training.
        targets: names of the linear layers of the language model that get one.
    """

    language: Literal["full", "lora", "frozen"] = "full"
    projector: bool = True
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] = _TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"rank {self.rank}, alpha {self.alpha}, dropout {self.dropout}: expected 1 or more, above 0, "
                "and 0 to below 1"
            )
        if self.language == "frozen" and not self.projector:
            raise ValueError("nothing would be trained: set language or projector")


def adapt(model: VisionLanguageModel, adaptation: Adaptation) -> VisionLanguageModel:
    """Freeze what stays, free what learns, and put LoRA's layers in.

    Returns:
        The model to train: the same one, or one wrapped by ``peft``, with the same processor.

    Raises:
        MissingExtraError: peft is not installed.
        BackboneError: the model has none of the target layers, or no projector.
    """
    core = model.model
    core.requires_grad_(False)
    language = _language(model)
    if adaptation.language == "full":
        language.requires_grad_(True)
        core.get_output_embeddings().requires_grad_(True)
    if adaptation.language == "lora":
        # peft keeps a copy of the projector that learns, and saves it with the updates.
        core = _with_lora(model, language, adaptation)
    elif adaptation.projector:
        model.projector.requires_grad_(True)
    return VisionLanguageModel(core, model.processor, name=model.name)


def merged(model: VisionLanguageModel) -> VisionLanguageModel:
    """The same model with LoRA's updates added to its weights; others as they are."""
    core: Any = model.model
    if hasattr(core, "merge_and_unload"):
        core = core.merge_and_unload()
    return VisionLanguageModel(core, model.processor, name=model.name)


def trainable(model: VisionLanguageModel) -> list[Any]:
    """Parameters that learn."""
    return [parameter for parameter in model.model.parameters() if parameter.requires_grad]


def _language(model: VisionLanguageModel) -> Any:
    for name in ("language_model", "text_model"):
        for module_name, module in model.model.named_modules():
            if module_name.rsplit(".", 1)[-1] == name:
                return module
    raise BackboneError(f"{model.name}: no language model was found in it")


def _with_lora(model: VisionLanguageModel, language: Any, adaptation: Adaptation) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "lab") from error
    prefix = _name_of(model, language)
    wanted = [
        name
        for name, module in model.model.named_modules()
        if name.startswith(prefix + ".") and name.rsplit(".", 1)[-1] in adaptation.targets
    ]
    if not wanted:
        raise BackboneError(f"{model.name}: its language model has no layer named {adaptation.targets}")
    config = LoraConfig(
        r=adaptation.rank,
        lora_alpha=adaptation.alpha,
        lora_dropout=adaptation.dropout,
        target_modules=wanted,
        bias="none",
        modules_to_save=[_name_of(model, model.projector)] if adaptation.projector else None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model.model, config)


def _name_of(model: VisionLanguageModel, wanted: Any) -> str:
    found: str = next(name for name, module in model.model.named_modules() if module is wanted)
    return found
