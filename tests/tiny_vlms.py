"""Tiny random vision-language models of real families, in the layout in which the Hub has them.

Nothing is saved by a processor: on machines without torchvision there is none that reads videos. The files
are those of the families' repositories on the Hub, written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

TEXTS = (
    "Describe the visual features of the image.",
    "The picture is sharp and bright, with vivid colours and little noise.",
    "The picture is blurry and dark; colours are dull, and there is much noise.",
    "Rate the quality of the image. The quality of the image is",
)
# Level words are frequent, so that each is one token, as in the families' own vocabularies.
_WORDS = [" excellent", " good", " fair", " poor", " bad", " average"] * 1000

_SIDE, _PATCH, _WIDTH = 32, 8, 32
_MEANS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "rescale_factor": 1 / 255}
_SWITCHES = {"do_convert_rgb": True, "do_resize": True, "do_rescale": True, "do_normalize": True}
_LANGUAGE = {
    "hidden_size": _WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,  # large enough that a wrong position or a wrong picture shows
}
_EYES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": _SIDE,
    "patch_size": _PATCH,
    "initializer_range": 0.2,
}

_QWEN_CHAT = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for content in message.content %}
            {%- if content.type == 'image' or 'image' in content %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif content.type == 'video' or 'video' in content %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- elif 'text' in content %}
                {{- content.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
_SMOL_CHAT = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_LLAVA_CHAT = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\n' + content['text'] }}{% endfor %}{{'<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """What tests need to know of a family.

    Attributes:
        mark: the picture's mark in a written conversation.
        asked: how its template writes a question ``{text}`` about a picture.
        plain: how its template writes a question without picture.
        end: token that ends an answer.
        pad: token that fills up.
        special: all its special tokens.
        build: makes the model for its tokenizer.
        files: JSON files of its repository by name.
        gap: what its template writes between the start of the model's turn and an answer.
        start: token that begins a text.
    """

    mark: str
    asked: str
    plain: str
    end: str
    pad: str
    special: tuple[str, ...]
    build: Callable[[Any], Any]
    files: Callable[[], dict[str, Any]]
    gap: str = ""
    start: str | None = None


def _ids(tokenizer: Any, names: dict[str, str]) -> dict[str, int]:
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _qwen(tokenizer: Any) -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    }
    config = Qwen3VLConfig(
        text_config={**_LANGUAGE, "head_dim": 8, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "patch_size": _PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": _WIDTH,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.2,
        },
        tie_word_embeddings=True,
        **_ids(
            tokenizer,
            {
                "image": "<|image_pad|>",
                "video": "<|video_pad|>",
                "vision_start": "<|vision_start|>",
                "vision_end": "<|vision_end|>",
            },
        ),
    )
    return Qwen3VLForConditionalGeneration(config)


def _qwen_files() -> dict[str, Any]:
    sizes = {"size": {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}}
    patches = {"patch_size": _PATCH, "temporal_patch_size": 2, "merge_size": 2}
    kinds = {"processor_class": "Qwen3VLProcessor"}
    return {
        "preprocessor_config.json": {
            **_MEANS,
            **sizes,
            **patches,
            **kinds,
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
        "video_preprocessor_config.json": {
            **_MEANS,
            **sizes,
            **patches,
            **kinds,
            "video_processor_type": "Qwen3VLVideoProcessor",
        },
        "chat_template.json": {"chat_template": _QWEN_CHAT},
    }


def _smol_language(tokenizer: Any) -> dict[str, Any]:
    return {
        **_LANGUAGE,
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _smolvlm(tokenizer: Any) -> Any:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        text_config=_smol_language(tokenizer),
        vision_config=_EYES,
        scale_factor=2,
        tie_word_embeddings=False,
        **_ids(tokenizer, {"image": "<image>"}),
    )
    return SmolVLMForConditionalGeneration(config)


def _idefics3(tokenizer: Any) -> Any:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    config = Idefics3Config(
        text_config=_smol_language(tokenizer),
        vision_config=_EYES,
        scale_factor=2,
        tie_word_embeddings=False,
        **_ids(tokenizer, {"image": "<image>"}),
    )
    return Idefics3ForConditionalGeneration(config)


def _smol_files(kind: str) -> dict[str, Any]:
    sizes = {
        "do_image_splitting": True,
        "do_pad": True,
        "max_image_size": {"longest_edge": _SIDE},
        "size": {"longest_edge": 2 * _SIDE},
        "resample": 1,
    }
    return {
        # (32 / 8) x (32 / 8) patches, four of which become one token
        "processor_config.json": {"image_seq_len": 4, "processor_class": f"{kind}Processor"},
        "preprocessor_config.json": {
            **_MEANS,
            **_SWITCHES,
            **sizes,
            "image_processor_type": f"{kind}ImageProcessor",
            "processor_class": f"{kind}Processor",
        },
        "chat_template.json": {"chat_template": _SMOL_CHAT},
    }


def _llava_onevision(tokenizer: Any) -> Any:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    config = LlavaOnevisionConfig(
        text_config={**_LANGUAGE, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config={**_EYES, "model_type": "siglip_vision_model", "vision_use_head": False},
        image_grid_pinpoints=_PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        **_ids(tokenizer, {"image": "<image>", "video": "<video>"}),
    )
    return LlavaOnevisionForConditionalGeneration(config)


_PINPOINTS = [[_SIDE, _SIDE], [_SIDE, 2 * _SIDE], [2 * _SIDE, _SIDE], [2 * _SIDE, 2 * _SIDE]]


def _llava_files() -> dict[str, Any]:
    kinds = {"processor_class": "LlavaOnevisionProcessor"}
    settings = {"size": {"height": _SIDE, "width": _SIDE}, "resample": 3, **_MEANS, **_SWITCHES}
    return {
        "processor_config.json": {
            "image_token": "<image>",
            "video_token": "<video>",
            "num_image_tokens": (_SIDE // _PATCH) ** 2,
            "vision_feature_select_strategy": "full",
            **kinds,
        },
        "preprocessor_config.json": {
            **settings,
            **kinds,
            "do_pad": True,
            "image_grid_pinpoints": _PINPOINTS,
            "image_processor_type": "LlavaOnevisionImageProcessor",
        },
        "video_preprocessor_config.json": {
            **settings,
            **kinds,
            "video_processor_type": "LlavaOnevisionVideoProcessor",
        },
        "chat_template.json": {"chat_template": _LLAVA_CHAT},
    }


_SMOL_SPECIAL = (
    "<|im_start|>",
    "<end_of_utterance>",
    "<|im_end|>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
)
_SMOL = {
    "mark": "<image>",
    "asked": "<|im_start|>User:<image>{text}<end_of_utterance>\nAssistant:",
    "plain": "<|im_start|>User: {text}<end_of_utterance>\nAssistant:",
    "start": "<|im_start|>",
    "end": "<end_of_utterance>",
    "pad": "<|im_end|>",
    "special": _SMOL_SPECIAL,
    "gap": " ",
}
FAMILIES: dict[str, Family] = {
    "qwen3-vl": Family(
        mark="<|image_pad|>",
        asked="<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{text}<|im_end|>\n"
        "<|im_start|>assistant\n",
        plain="<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>",
        pad="<|endoftext|>",
        special=(
            "<|endoftext|>",
            "<|im_start|>",
            "<|im_end|>",
            "<|vision_start|>",
            "<|vision_end|>",
            "<|image_pad|>",
            "<|video_pad|>",
        ),
        build=_qwen,
        files=_qwen_files,
    ),
    # SmolVLM-256M and -500M are Idefics 3 on the Hub; SmolVLM 2 has classes of its own.
    "idefics3": Family(**_SMOL, build=_idefics3, files=lambda: _smol_files("Idefics3")),  # type: ignore[arg-type]
    "smolvlm": Family(**_SMOL, build=_smolvlm, files=lambda: _smol_files("SmolVLM")),  # type: ignore[arg-type]
    "llava-onevision": Family(
        mark="<image>",
        asked="<|im_start|>user <image>\n{text}<|im_end|><|im_start|>assistant\n",
        plain="<|im_start|>user \n{text}<|im_end|><|im_start|>assistant\n",
        end="<|im_end|>",
        pad="<|endoftext|>",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
        build=_llava_onevision,
        files=_llava_files,
    ),
}


def train_family_tokenizer(family: Family) -> Any:
    """A byte-level tokenizer, split as GPT-2's, with the family's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        min_frequency=2,
        special_tokens=list(family.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXTS, *_WORDS], trainer)
    names = {"eos_token": family.end, "pad_token": family.pad}
    if family.start is not None:
        names["bos_token"] = family.start
    others = [token for token in family.special if token not in names.values()]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=others, **names)


def write_family(name: str, folder: Path) -> None:
    """Write a random model of a family into an empty folder."""
    import torch

    family = FAMILIES[name]
    tokenizer = train_family_tokenizer(family)
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(list(FAMILIES).index(name))
        model = family.build(tokenizer)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    # What families set for chat must not get into our draws.
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=3, top_p=0.8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file, content in family.files().items():
        (folder / file).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="session")
def vlm_folder(tmp_path_factory: pytest.TempPathFactory, without_num2words: None) -> Callable[[str], Path]:
    """Folder of a tiny model of :data:`FAMILIES` by name; written once, not to be changed."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            write_family(name, made[name])
        return made[name]

    return make


@pytest.fixture(scope="session")
def without_num2words() -> Iterator[None]:
    """SmolVLM's processor wants a package that spells numbers of video frames; pictures need none of it."""
    pytest.importorskip("transformers")
    from transformers.models.smolvlm import processing_smolvlm

    with pytest.MonkeyPatch.context() as patch:
        if processing_smolvlm.num2words is None:
            patch.setattr(processing_smolvlm, "num2words", str)
        yield


@pytest.fixture(scope="session")
def vlm(vlm_folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """A tiny model of :data:`FAMILIES` by name, loaded from its folder; shared, not to be changed."""
    from foveal.lab.reasoning.vision_language import VisionLanguageModel

    made: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in made:
            made[name] = VisionLanguageModel.load(vlm_folder(name))
        return made[name]

    return load


@pytest.fixture(scope="session")
def small_vlm() -> Any:
    """The package's own small model at its tiniest, all weights random; shared, not to be changed."""
    import torch

    from foveal.lab.reasoning.small.build import build_small
    from foveal.lab.reasoning.small.shape import DecoderShape
    from foveal.lab.reasoning.small.tower import TwoViewConfig, TwoViewTower

    trunk = {"widths": [4, 4, 8, 8], "depths": [1, 1, 1, 1]}
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tower = TwoViewTower(TwoViewConfig(trunk="compact", trunk_config=trunk, layers=[4])).eval()
    shape = DecoderShape(width=16, depth=2, heads=2, inner=32, vocabulary=400)
    return build_small(tower, [*TEXTS, *_WORDS], shape)


def checkered(height: int = 40, width: int = 60, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of coarse random tiles, so that small models see different ones differently."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 256, ((height + 7) // 8, (width + 7) // 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(tiles.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])
