"""Any image-text-to-text model of ``transformers``, asked questions in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from foveal.errors import BackboneError, IncompleteBackboneError, MissingExtraError
from foveal.lab.backbones.source import Source, locate
from foveal.lab.reasoning.adapter import find_adapter
from foveal.lab.reasoning.question import Question, StoredFeatures
from foveal.lab.training.recipe import Attention

Inputs = dict[str, Any]
"""Arguments of the model's forward pass."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Number formats of weights."""

_PROBE = "An answer."


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
            raise BackboneError(
                f"{name}: its processor has no chat template, so it cannot be asked questions; its folder "
                "should hold chat_template.jinja or chat_template.json, as models tuned for chat do"
            )
        self.model = model.eval()
        self.processor = processor
        self.name = name
        self._gap = self._find_gap()
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
            name_or_folder: folder in the layout of ``transformers``, or ``owner/model``. A folder of LoRA's
                updates, as :meth:`save` writes it, is put on the model that it names.
            revision: commit on the Hub.
            attention: ``eager`` gives attention maps, at a cost.
            dtype: ``float32``, ``bfloat16`` or ``float16``.
            device: where it runs, such as ``cpu`` or ``cuda``.

        Raises:
            ValueError: another number format.
            BackboneError: it cannot be found or read, or is not such a model; its subclasses say which.
            MissingExtraError: transformers is not installed.
        """
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
        if (adapter := find_adapter(Path(name_or_folder).expanduser())) is not None:
            base = cls.load(
                adapter.base, revision=adapter.revision, attention=attention, dtype=dtype, device=device
            )
            with _as_incomplete(str(adapter.folder), "updates of this model"):
                return cls(adapter.put_on(base.model), base.processor, name=adapter.folder.name)
        source = locate(name_or_folder, revision)
        try:
            from foveal.lab.reasoning.processor import load_processor
            from foveal.lab.reasoning.small import register
        except ImportError as error:
            raise MissingExtraError("transformers", "lab") from error
        register()
        with _as_incomplete(source.name, "an image-text-to-text model"):
            model = _load_model(source, attention, DTYPES[dtype])
            processor = load_processor(source.folder, model.config)
        return cls(model.to(device), processor, name=_last_part(source.name))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write model and processor in the layout of ``transformers``; of LoRA, only the updates."""
        for adapter in getattr(self.model, "peft_config", {}).values():
            adapter.revision = getattr(self.model.config, "_commit_hash", None)
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

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
        """The conversation as text, with one mark for the picture, up to where the model goes on.

        Marks of pictures within the question's own texts are left out: there is no picture for them. Where
        the template sets an answer off from what comes before (SmolVLM's blank after ``Assistant:``), so does
        this.
        """
        mark = self.processor.image_token
        parts: list[dict[str, str]] = [{"type": "text", "text": question.text.replace(mark, "")}]
        if question.picture is not None:
            parts.insert(0, {"type": "image"})
        start = self._render([{"role": "user", "content": parts}], ask=True)
        so_far = question.so_far.replace(mark, "")
        gap = "" if not so_far or so_far.startswith(self._gap) else self._gap
        return start + gap + so_far

    def _render(self, messages: list[dict[str, Any]], *, ask: bool) -> str:
        text: str = self.processor.apply_chat_template(messages, add_generation_prompt=ask, tokenize=False)
        return text

    def _find_gap(self) -> str:
        """What the template writes between the start of the model's turn and the answer."""
        turns = [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in (("user", "Q"), ("assistant", _PROBE))
        ]
        start = self._render(turns[:1], ask=True)
        lead = self._render(turns, ask=False).partition(_PROBE)[0]
        return lead.removeprefix(start) if lead.startswith(start) else ""

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
            BackboneError: stored features, and a model that does more to a picture than project its tokens.
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
            # As PIL images: the order of an array's dimensions would be guessed by its sizes.
            arguments["images"] = [[Image.fromarray(np.asarray(question.picture))] for question in questions]
        read = self.processor(text=texts, **arguments)
        return {name: self._moved(value) for name, value in read.items() if torch.is_tensor(value)}

    def _moved(self, value: Tensor) -> Tensor:
        """Onto the model's device, and in its number format if it is not whole numbers."""
        return value.to(self.device, self.model.dtype if value.is_floating_point() else value.dtype)

    def _read_stored(
        self, questions: Sequence[Question], texts: Sequence[str], arguments: dict[str, Any]
    ) -> Inputs:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        if self.model.config.model_type != "llava":
            raise BackboneError(
                f"{self.name}: stored features can be shown to LLaVA models only, whose projector reads each "
                f"token alone; this is {self.model.config.model_type}: give it the pixels"
            )
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
        # transformers draws from the global generators: they are left as they were found.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
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
            eos_token_id=self._ends(),
            repetition_penalty=1.0,
        )
        new = written[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [texts[start : start + samples] for start in range(0, len(texts), samples)]

    def _ends(self) -> list[int]:
        """Tokens that end an answer: those of the model's generation settings, and the tokenizer's."""
        said = self.model.generation_config.eos_token_id
        several = said if isinstance(said, list) else [said]
        return sorted({token for token in (*several, self.tokenizer.eos_token_id) if token is not None})

    @torch.no_grad()
    def next_token(self, questions: Sequence[Question], *, batch: int = 32) -> Tensor:
        """Logits of the token with which the model would go on.

        Returns:
            float32 (questions, vocabulary) on the CPU.
        """
        parts = [torch.empty(0, self.model.get_output_embeddings().weight.shape[0])]
        for start in range(0, len(questions), batch):
            inputs = self.read(questions[start : start + batch])
            logits = self.model(**inputs, logits_to_keep=1).logits[:, -1]
            parts.append(logits.float().cpu())
        return torch.cat(parts)


def _load_model(source: Source, attention: Attention, dtype: torch.dtype) -> Any:
    """The model with all its weights: transformers would leave those that are not in the files random."""
    from transformers import AutoModelForImageTextToText

    model, report = AutoModelForImageTextToText.from_pretrained(
        source.folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=attention,
        dtype=dtype,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise IncompleteBackboneError(
            f"{source.name}: {len(missing)} weights of a {type(model).__name__} are not in its files, "
            f"such as {missing[0]}; get the folder again from where it comes"
        )
    # What updates of it name as their base: the Hub's name and commit, not a folder of this machine's cache.
    model.name_or_path = source.name if source.revision else str(source.folder.resolve())
    model.config._commit_hash = source.revision
    return model


@contextmanager
def _as_incomplete(name: str, what: str) -> Iterator[None]:
    """Give errors our own type: transformers, tokenizers and peft raise any kind about malformed files."""
    try:
        yield
    except (BackboneError, MissingExtraError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise IncompleteBackboneError(f"{name}: not {what} that can be read: {reason}") from error


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]
