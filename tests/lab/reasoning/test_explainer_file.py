"""Models of the lab, written as a file that explains without torch: it says what they say."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.explanation.card import ExplainerCard
from foveal.explanation.decoder import Decoder, DecoderShape
from foveal.explanation.eyes import Eyes
from foveal.explanation.file import read_explainer_file
from foveal.lab.reasoning import explainer_file
from foveal.lab.reasoning.explainer_file import (
    Agreement,
    ExplainerError,
    conversation,
    decoder_weights,
    eyes_graph,
    vocabulary,
    write_explainer,
)
from foveal.lab.reasoning.levels import Q_ALIGN
from foveal.lab.reasoning.place_map import PlaceMap
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import DESCRIBE, judge_question
from foveal.lab.reasoning.small.image_processor import two_views
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from tiny_vlms import FAMILIES, TEXTS, checkered, train_family_tokenizer

Models = tuple[VisionLanguageModel, VisionLanguageModel]
CARD = ExplainerCard(name="tiny", version="1", licence="Apache-2.0", summary="Random.", training_data="none")
PICTURES = [checkered(40, 60, seed) for seed in range(3)]
FEATURES = 16

# The export of the eyes alone takes seconds.
pytestmark = pytest.mark.slow


def shaken(model: VisionLanguageModel, seed: int) -> VisionLanguageModel:
    """A copy with larger weights, so that pictures and texts make a difference."""
    made = copy.deepcopy(model.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "vision_tower" not in name:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return VisionLanguageModel(made, model.processor, name=f"shaken-{seed}")


@pytest.fixture(scope="module")
def models(small_vlm: VisionLanguageModel) -> Models:
    return shaken(small_vlm, 0), shaken(small_vlm, 1)


@pytest.fixture(scope="module")
def place_map() -> PlaceMap:
    torch.manual_seed(3)
    made = PlaceMap(FEATURES, 8)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4)
    return made


@pytest.fixture(scope="module")
def graph(models: Models, place_map: PlaceMap) -> bytes:
    """The eyes, exported once: the exporter takes seconds."""
    return eyes_graph(models[0], place_map)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, graph: bytes) -> None:
    """Let writing take the eyes that are there."""
    monkeypatch.setattr(explainer_file, "eyes_graph", lambda model, place_map: graph)


def write(models: Any, place_map: PlaceMap, path: Path, **changes: Any) -> Agreement:
    options = {"card": CARD, "images": PICTURES, "most_tokens": 12} | changes
    return write_explainer(*models, place_map, path, **options)


@pytest.mark.parametrize("theta", [10000.0, 500.0])
def test_the_decoder_is_that_of_transformers(theta: float) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=40,
        tie_word_embeddings=True,
        initializer_range=0.3,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
    )
    torch.manual_seed(0)
    llama = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in llama.named_parameters():
            if "norm" in name:
                weight.add_(0.2 * torch.randn_like(weight))
    tokens = np.random.default_rng(0).integers(0, 50, (3, 40))
    with torch.no_grad():
        wanted = llama(torch.from_numpy(tokens)).logits.numpy()
    decoder = Decoder(decoder_weights(llama.model), DecoderShape(3, 4, theta, config.rms_norm_eps))
    cache = decoder.start(3, 40)
    parts = [
        decoder.read(decoder.embedding[tokens[:, part]], cache) for part in (slice(0, 30), slice(30, 40))
    ]
    np.testing.assert_allclose(decoder.logits(np.concatenate(parts, axis=1)), wanted, atol=1e-4)


def test_tokens_are_the_tokenizers(small_vlm: VisionLanguageModel) -> None:
    own = vocabulary(small_vlm.tokenizer)
    for text in (*TEXTS, "User: <image>Ünïcode,\n\n  what?</s> " + " ".join(Q_ALIGN.words)):
        ids = small_vlm.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert own.encode(text) == ids
        assert own.decode(ids) == small_vlm.tokenizer.decode(ids, skip_special_tokens=True)


def test_conversations_are_those_of_the_models(small_vlm: VisionLanguageModel) -> None:
    asked = conversation(small_vlm, small_vlm, Q_ALIGN, 50)
    text = "Very sharp, noisy."
    assert asked.before_text + text + asked.behind_text == small_vlm.write(judge_question(text))
    written = small_vlm.write(Question(DESCRIBE, PICTURES[0]))
    assert f"{asked.before_image}<image>{asked.behind_image}" == written
    assert (asked.end, asked.image, asked.statement) == ("</s>", "<image>", Q_ALIGN.statement)


def test_eyes_see_what_tower_projector_and_place_map_see(
    models: Models, place_map: PlaceMap, graph: bytes
) -> None:
    eyes = Eyes(graph, "tiny", callers=1)
    llava = models[0].model.model
    maps = []
    for picture in PICTURES:
        tokens, quality_map = eyes.look(picture)
        with torch.no_grad():
            seen = llava.vision_tower(torch.from_numpy(two_views(picture))[None].float()).last_hidden_state
            np.testing.assert_allclose(tokens, models[0].projector(seen)[0], atol=1e-3)
            np.testing.assert_allclose(quality_map.ravel(), place_map(seen)[0], atol=1e-3)
        maps.append(quality_map)
    assert np.ptp(maps[0]) > 0.01
    assert np.abs(maps[0] - maps[1]).max() > 0.01


@pytest.mark.usefixtures("quick")
def test_the_file_says_what_its_models_say(models: Models, place_map: PlaceMap, tmp_path: Path) -> None:
    path = tmp_path / "tiny.foveal-explainer.safetensors"
    found = write(models, place_map, path, store_float16=False)
    assert (found.images, found.stored_same) == (3, 1.0)
    assert found.probability < 1e-4
    assert found.stored_probability == pytest.approx(found.probability, abs=1e-6)
    back = read_explainer_file(path)
    assert back.card == CARD
    assert back.settings.levels == pytest.approx(
        dict(zip(Q_ALIGN.words, (4.6, 3.8, 3.0, 2.2, 1.4), strict=True))
    )
    # Rounded to half floats the file is smaller, and says nearly the same.
    half = write(models, place_map, tmp_path / "half")
    assert 1e-7 < half.stored_probability < 0.02
    assert (tmp_path / "half").stat().st_size < path.stat().st_size


@pytest.mark.usefixtures("quick")
def test_a_file_that_would_say_something_else_is_not_written(
    models: Models,
    place_map: PlaceMap,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = decoder_weights

    def wrong(language: Any, name: str, factor: float) -> Any:
        return {key: value * (factor if key == name else 1) for key, value in exact(language).items()}

    monkeypatch.setattr(explainer_file, "decoder_weights", lambda one: wrong(one, "1.down", -1))
    with pytest.raises(ExplainerError, match=r"it would say .* its models say"):
        write(models, place_map, tmp_path / "a")
    monkeypatch.setattr(explainer_file, "decoder_weights", exact)
    with pytest.raises(ExplainerError, match=r"probabilities would be up to .* more than 1e-12"):
        write(models, place_map, tmp_path / "a", tolerance=1e-12)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_models_that_cannot_be_written_are_named(models: Models, place_map: PlaceMap, tmp_path: Path) -> None:
    with pytest.raises(ExplainerError, match="there is no image to compare"):
        write(models, place_map, tmp_path / "a", images=[])
    untied = shaken(models[0], 2)
    untied.model.lm_head.weight = torch.nn.Parameter(untied.model.lm_head.weight.detach().clone())
    with pytest.raises(ExplainerError, match="its output layer is not its embedding"):
        write((models[0], untied), place_map, tmp_path / "a")
    with pytest.raises(ExplainerError, match="not one of train_tokenizer"):
        vocabulary(train_family_tokenizer(FAMILIES["qwen3-vl"]))


def test_a_place_map_of_another_tower_is_named(
    models: Models,
) -> None:
    with pytest.raises(ExplainerError, match="reads 5 features, the tower gives 16"):
        eyes_graph(models[0], PlaceMap(5))


@pytest.mark.slow
def test_writing_from_folders(models: Models, place_map: PlaceMap, tmp_path: Path) -> None:
    for model, name in zip(models, ("describer", "judge"), strict=True):
        model.model.save_pretrained(tmp_path / name)
        model.processor.save_pretrained(tmp_path / name)
    found = write(
        (tmp_path / "describer", tmp_path / "judge"), place_map, tmp_path / "a", store_float16=False
    )
    assert found.stored_same == 1.0
