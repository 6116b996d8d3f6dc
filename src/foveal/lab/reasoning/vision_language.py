"""Any image-text-to-text model of ``transformers``, asked questions in batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from foveal.errors import BackboneError, IncompleteBackboneError, MissingExtraError
from foveal.lab.backbones.source import locate
from foveal.lab.reasoning.question import Question, StoredFeatures
from foveal.lab.training.recipe import Attention

Inputs = dict[str, Any]
"""Arguments of the model's forward pass."""


class VisionLanguageModel:
    """A model that answers questions about a picture, or about text alone, with its processor.

    The processor's own chat template writes the conversation, and its own image processor reads pictures, so
    that Qwen-VL, SmolVLM, LLaVA and the small model of this package are all asked in the way they know.

    Attributes:
        model: model of ``transformers`` for image-text-to-text, in evaluation mode.
        processor: its processor: tokenizer, image processor and chat template.

    Args:
        model: see above.
        processor: see above.
        name: what to call it in tables.
    """

    def __init__(self, model: Any, processor: Any, *, name: str = "model") -> None:
        if getattr(processor, "chat_template", None) is None:
            raise BackboneError(f"{name}: its processor has no chat template, so it cannot be asked questions")
        self.model = model.eval()
        self.processor = processor
        self.name = name
        tokenizer = processor.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    @classmethod
    def load(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        attention: Attention = "sdpa",
        dtype: str = "float32",
        device: str = "cpu",
    ) -> Self:
        """Load a model from a folder, or from the Hub if a name of the Hub is given.

        Args:
            name_or_folder: folder in the layout of ``transformers``, or ``owner/model``.
            revision: commit on the Hub.
            attention: ``eager`` gives attention maps, at a cost.
            dtype: ``float32``, ``bfloat16`` or ``float16``.
            device: where it runs, such as ``cpu`` or ``cuda``.

        Raises:
            BackboneError: it cannot be found or read, or is not such a model; its subclasses say which.
            MissingExtraError: transformers is not installed.
        """
        source = locate(name_or_folder, revision)
        try:
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise MissingExtraError("transformers", "lab") from error
        from foveal.lab.reasoning.small import register

        register()
        try:
            model: Any = AutoModelForImageTextToText.from_pretrained(
                source.folder,
                local_files_only=True,
                attn_implementation=attention,
                dtype=getattr(torch, dtype),
            )
            processor: Any = AutoProcessor.from_pretrained(source.folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = str(error).strip().splitlines()[0]
            raise IncompleteBackboneError(
                f"{source.name}: not an image-text-to-text model that can be read: {reason}"
            ) from error
        return cls(model.to(device), processor, name=source.folder.name)

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = self.model.device
        return device

    @property
    def image_token(self) -> int:
        """Number of the token that stands for a piece of a picture."""
        config = self.model.config
        for name in ("image_token_id", "image_token_index"):
            if getattr(config, name, None) is not None:
                return int(getattr(config, name))
        raise BackboneError(f"{self.name}: its configuration names no image token")

    def write(self, question: Question) -> str:
        """The conversation as text, with one mark for the picture, up to where the model goes on."""
        parts: list[dict[str, str]] = [{"type": "text", "text": question.text}]
        if question.picture is not None:
            parts.insert(0, {"type": "image"})
        messages = [{"role": "user", "content": parts}]
        start: str = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return start + question.so_far

    def read(
        self, questions: Sequence[Question], *, side: str = "left", texts: Sequence[str] | None = None
    ) -> Inputs:
        """Arguments of the forward pass for a batch of questions.

        Args:
            questions: all with pictures, all with stored features, or all without.
            side: where shorter ones are padded: ``left`` to go on from them, ``right`` for training.
            texts: the conversations as text, if not those of :meth:`write`.

        Returns:
            Tensors on the model's device: ``input_ids`` (questions, length), ``attention_mask``, and what the
            model's processor makes of pictures.

        Raises:
            ValueError: pictures, stored features and text alone are mixed.
        """
        texts = [self.write(question) for question in questions] if texts is None else list(texts)
        kinds = {type(question.picture) for question in questions}
        if len(kinds) > 1:
            raise ValueError("a batch holds questions about pictures, or about stored features, or neither")
        kind = kinds.pop() if kinds else type(None)
        arguments: dict[str, Any] = {
            "return_tensors": "pt",
            "padding": True,
            "padding_side": side,
            "add_special_tokens": False,
        }
        if kind is StoredFeatures:
            return self._read_stored(questions, texts, arguments)
        if kind is not type(None):
            arguments["images"] = [[question.picture] for question in questions]
        read = self.processor(text=texts, **arguments)
        return {name: value.to(self.device) for name, value in read.items() if torch.is_tensor(value)}

    def _read_stored(
        self, questions: Sequence[Question], texts: Sequence[str], arguments: dict[str, Any]
    ) -> Inputs:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        stored = [question.picture for question in questions if isinstance(question.picture, StoredFeatures)]
        mark = self.processor.image_token
        expanded = [
            text.replace(mark, mark * len(features.tokens), 1)
            for text, features in zip(texts, stored, strict=True)
        ]
        read = self.tokenizer(expanded, **arguments)
        inputs: Inputs = {
            name: read[name].to(self.device) for name in ("input_ids", "attention_mask") if name in read
        }
        tokens = torch.from_numpy(np.stack([features.tokens for features in stored]).astype(np.float32))
        projected = self.projector(tokens.to(self.device, self.model.dtype))
        inputs["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=list(projected))}
        return inputs

    @property
    def projector(self) -> Any:
        """The layer that turns the tower's features into tokens of the language model."""
        core = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        for name in ("multi_modal_projector", "connector", "merger"):
            for module_name, module in core.named_modules():
                if module_name.rsplit(".", 1)[-1] == name:
                    return module
        raise BackboneError(f"{self.name}: no projector between vision tower and language model was found")

    @torch.no_grad()
    def go_on(
        self,
        questions: Sequence[Question],
        *,
        samples: int = 1,
        temperature: float = 1.0,
        most_tokens: int = 160,
        seed: int = 0,
        batch: int = 32,
    ) -> list[list[str]]:
        """Let the model write its answers.

        Args:
            questions: what is asked.
            samples: answers to each.
            temperature: 0 takes the likeliest token always; 1 samples as the model believes.
            most_tokens: where an answer is cut off at the latest.
            seed: of the draw.
            batch: questions at a time. Draws depend on it.

        Returns:
            For each question its answers, without ``so_far`` and without special tokens.

        Raises:
            ValueError: several samples were asked for at temperature 0, which are all the same.
        """
        if temperature < 0 or (temperature == 0 and samples > 1):
            raise ValueError(f"{samples} samples at temperature {temperature}: needs a temperature above 0")
        # transformers draws from the global generator: it is left as it was found.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            answers: list[list[str]] = []
            for start in range(0, len(questions), batch):
                answers += self._go_on(questions[start : start + batch], samples, temperature, most_tokens)
        return answers

    def _go_on(
        self, questions: Sequence[Question], samples: int, temperature: float, most_tokens: int
    ) -> list[list[str]]:
        inputs = self.read(questions)
        drawn: dict[str, Any] = (
            {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            if temperature > 0
            else {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        )
        written = self.model.generate(
            **inputs,
            **drawn,
            num_return_sequences=samples,
            max_new_tokens=most_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            repetition_penalty=1.0,
        )
        new = written[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [texts[start : start + samples] for start in range(0, len(texts), samples)]

    @torch.no_grad()
    def next_token(self, questions: Sequence[Question], *, batch: int = 32) -> Tensor:
        """Logits of the token with which the model would go on.

        Returns:
            float32 (questions, vocabulary) on the CPU.
        """
        parts = []
        for start in range(0, len(questions), batch):
            inputs = self.read(questions[start : start + batch])
            logits = self.model(**inputs, logits_to_keep=1).logits[:, -1]
            parts.append(logits.float().cpu())
        return torch.cat(parts)
