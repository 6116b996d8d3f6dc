"""Every family is asked in its own way, and a question's answer does not depend on its neighbours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from foveal.errors import BackboneError, IncompleteBackboneError, UnknownBackboneError
from foveal.lab.reasoning.question import Question, StoredFeatures
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from tiny_vlms import FAMILIES, TEXTS, checkered

Load = Callable[[str], VisionLanguageModel]

CLASSES = {
    "qwen3-vl": ("Qwen3VLForConditionalGeneration", "Qwen3VLProcessor"),
    "idefics3": ("Idefics3ForConditionalGeneration", "Idefics3Processor"),
    "smolvlm": ("SmolVLMForConditionalGeneration", "SmolVLMProcessor"),
    "llava-onevision": ("LlavaOnevisionForConditionalGeneration", "LlavaOnevisionProcessor"),
}

every_family = pytest.mark.parametrize("name", FAMILIES)


def _questions() -> list[Question]:
    """Texts, answers so far and pictures of all lengths and shapes, the flattest ones too."""
    return [
        Question("Describe.", checkered(40, 60)),
        Question(TEXTS[0], checkered(16, 160, 1), "The picture is"),
        Question("Is it sharp and bright?", checkered(90, 30, 2), " It"),
        Question("Look.", checkered(3, 50, 3)),
    ]


def _texts_only() -> list[Question]:
    return [Question(question.text, None, question.so_far) for question in _questions()]


def _stored(model: VisionLanguageModel, questions: list[Question]) -> list[Question]:
    """The questions with what the tower makes of their pictures."""
    pixels = [model.read([question])["pixel_values"] for question in questions]
    with torch.no_grad():
        tokens = model.model.model.vision_tower(torch.cat(pixels)).last_hidden_state.numpy()
    return [
        Question(question.text, StoredFeatures(rows), question.so_far)
        for question, rows in zip(questions, tokens, strict=True)
    ]


class TestLoading:
    @every_family
    def test_gives_the_familys_own_classes(self, name: str, vlm: Load) -> None:
        model = vlm(name)
        assert (type(model.model).__name__, type(model.processor).__name__) == CLASSES[name]
        assert not model.model.training

    @every_family
    def test_reads_pictures_with_pillow_whatever_is_installed(self, name: str, vlm: Load) -> None:
        assert type(vlm(name).processor.image_processor).__name__.endswith("Pil")

    @every_family
    def test_gives_the_weights_of_the_file(self, name: str, vlm: Load, vlm_folder: Callable) -> None:
        loaded = vlm(name).model.get_input_embeddings().weight
        file = load_file(vlm_folder(name) / "model.safetensors")
        (stored,) = (value for key, value in file.items() if key.endswith("embed_tokens.weight"))
        assert torch.equal(loaded, stored)

    @every_family
    def test_what_is_saved_loads_again(self, name: str, vlm: Load, tmp_path: Path) -> None:
        model, questions = vlm(name), _questions()[:2]
        model.model.save_pretrained(tmp_path)
        model.processor.save_pretrained(tmp_path)
        again = VisionLanguageModel.load(tmp_path)
        assert torch.equal(again.next_token(questions), model.next_token(questions))
        assert (
            json.loads((tmp_path / "processor_config.json").read_text())["processor_class"]
            == CLASSES[name][1]
        )

    def test_the_small_model_saved_loads_again(self, small_vlm: VisionLanguageModel, tmp_path: Path) -> None:
        small_vlm.model.save_pretrained(tmp_path)
        small_vlm.processor.save_pretrained(tmp_path)
        again = VisionLanguageModel.load(tmp_path)
        assert torch.equal(again.next_token(_questions()), small_vlm.next_token(_questions()))

    @every_family
    def test_half_precision_and_attention_maps(self, name: str, vlm_folder: Callable, vlm: Load) -> None:
        model = VisionLanguageModel.load(vlm_folder(name), dtype="bfloat16", attention="eager")
        questions = _questions()[:2]
        logits = model.next_token(questions)
        assert logits.dtype == torch.float32
        assert model.model.dtype == torch.bfloat16
        # bfloat16 keeps 8 bits: near the full model's logits, not at them
        full = vlm(name).next_token(questions)
        assert np.corrcoef(logits.flatten(), full.flatten())[0, 1] > 0.98
        with torch.no_grad():
            output = model.model(**model.read(questions), output_attentions=True)
        sums = output.attentions[-1].float().sum(dim=-1)[0, 0, -1]
        assert sums == pytest.approx(1, abs=0.02)

    def test_takes_its_name_from_the_folder(self, vlm: Load, vlm_folder: Callable) -> None:
        assert vlm("qwen3-vl").name == vlm_folder("qwen3-vl").name

    def test_runs_no_code_of_a_folder(self, vlm_folder: Callable, tmp_path: Path) -> None:
        folder = _copy(vlm_folder("qwen3-vl"), tmp_path)
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "unheard-of", "auto_map": {"AutoModelForImageTextToText": "own.Model"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "own.py").write_text("raise SystemExit('code of the folder ran')")
        with pytest.raises(IncompleteBackboneError, match="not an image-text-to-text model"):
            VisionLanguageModel.load(folder)


def _copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


class TestWrongFolders:
    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownBackboneError, match="no folder lies there"):
            VisionLanguageModel.load(tmp_path / "absent")

    def test_a_plain_vision_transformer(self, tiny_vit: Path) -> None:
        with pytest.raises(IncompleteBackboneError, match=r"not an image-text-to-text model.*ViTConfig"):
            VisionLanguageModel.load(tiny_vit)

    def test_no_weights(self, vlm_folder: Callable, tmp_path: Path) -> None:
        folder = _copy(vlm_folder("idefics3"), tmp_path)
        (folder / "model.safetensors").unlink()
        with pytest.raises(IncompleteBackboneError, match=r"no model\.safetensors"):
            VisionLanguageModel.load(folder)

    def test_weights_that_are_not_all_there(self, vlm_folder: Callable, tmp_path: Path) -> None:
        folder = _copy(vlm_folder("llava-onevision"), tmp_path)
        weights = load_file(folder / "model.safetensors")
        gone = next(name for name in weights if "multi_modal_projector" in name)
        save_file(
            {k: v for k, v in weights.items() if k != gone}, folder / "model.safetensors", {"format": "pt"}
        )
        with pytest.raises(IncompleteBackboneError, match=r"1 weights.*multi_modal_projector"):
            VisionLanguageModel.load(folder)

    @every_family
    def test_no_chat_template(self, name: str, vlm_folder: Callable, tmp_path: Path) -> None:
        folder = _copy(vlm_folder(name), tmp_path)
        (folder / "chat_template.json").unlink()
        with pytest.raises(BackboneError, match=r"copy: its processor has no chat template.*chat_template"):
            VisionLanguageModel.load(folder)

    def test_no_tokenizer(self, vlm_folder: Callable, tmp_path: Path) -> None:
        folder = _copy(vlm_folder("smolvlm"), tmp_path)
        (folder / "tokenizer.json").unlink()
        with pytest.raises(IncompleteBackboneError, match=r"no tokenizer.*tokenizer\.json"):
            VisionLanguageModel.load(folder)

    def test_no_image_processor(self, vlm_folder: Callable, tmp_path: Path) -> None:
        folder = _copy(vlm_folder("idefics3"), tmp_path)
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(IncompleteBackboneError, match=r"preprocessor_config\.json"):
            VisionLanguageModel.load(folder)

    def test_malformed_settings(self, vlm_folder: Callable, tmp_path: Path) -> None:
        folder = _copy(vlm_folder("idefics3"), tmp_path)
        (folder / "processor_config.json").write_text("{")
        with pytest.raises(IncompleteBackboneError, match=r"processor_config\.json"):
            VisionLanguageModel.load(folder)

    def test_the_missing_package_of_smolvlm_is_named(
        self, vlm_folder: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from transformers.models.smolvlm import processing_smolvlm

        folder = vlm_folder("smolvlm")
        monkeypatch.setattr(processing_smolvlm, "num2words", None)
        with pytest.raises(IncompleteBackboneError, match="pip install num2words"):
            VisionLanguageModel.load(folder)

    def test_unknown_number_format(self, vlm_folder: Callable) -> None:
        with pytest.raises(ValueError, match="dtype is 'int8', expected one of float32, bfloat16, float16"):
            VisionLanguageModel.load(vlm_folder("qwen3-vl"), dtype="int8")


class TestWriting:
    @every_family
    def test_as_the_familys_template_has_it(self, name: str, vlm: Load) -> None:
        family, model = FAMILIES[name], vlm(name)
        asked = model.write(Question("Is it sharp?", checkered()))
        assert asked == family.asked.format(text="Is it sharp?")
        assert asked.count(family.mark) == 1
        assert model.write(Question("Is it sharp?")) == family.plain.format(text="Is it sharp?")

    @every_family
    def test_the_answer_stands_where_the_familys_answers_stand(self, name: str, vlm: Load) -> None:
        family, model = FAMILIES[name], vlm(name)
        question = Question("Is it sharp?")
        start = family.plain.format(text="Is it sharp?")
        assert model.write(question.answered("Yes.")) == f"{start}{family.gap}Yes."
        # what the model wrote itself begins with the gap already
        assert model.write(question.answered(f"{family.gap}Yes.")) == f"{start}{family.gap}Yes."

    @every_family
    def test_marks_within_the_texts_stand_for_no_picture(self, name: str, vlm: Load) -> None:
        family, model = FAMILIES[name], vlm(name)
        question = Question(f"{family.mark}Is it{family.mark} sharp?", checkered(), f"Yes{family.mark}.")
        plain = Question("Is it sharp?", question.picture, "Yes.")
        assert model.write(question) == model.write(plain)
        text = Question(question.text, None, question.so_far)
        assert model.image_token not in model.read([text])["input_ids"]


class TestReading:
    @every_family
    def test_a_picture_becomes_as_many_tokens_as_the_model_makes_of_it(self, name: str, vlm: Load) -> None:
        model = vlm(name)
        inputs = model.read(_questions())
        marks = int((inputs["input_ids"] == model.image_token).sum())
        with torch.no_grad():
            seen = model.model.get_image_features(
                **{
                    key: value
                    for key, value in inputs.items()
                    if key not in ("input_ids", "attention_mask", "mm_token_type_ids")
                }
            ).pooler_output
        assert marks == sum(part.shape[:-1].numel() for part in seen) > 0

    @every_family
    def test_no_image_token_without_a_picture(self, name: str, vlm: Load) -> None:
        inputs = vlm(name).read(_texts_only())
        assert vlm(name).image_token not in inputs["input_ids"]
        assert "pixel_values" not in inputs

    @every_family
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_pads_on_the_side_asked_for(self, name: str, side: str, vlm: Load) -> None:
        model, questions = vlm(name), _questions()
        together = model.read(questions, side=side)
        lengths = []
        for row, question in enumerate(questions):
            alone = model.read([question])["input_ids"][0]
            kept = together["attention_mask"][row].bool()
            assert torch.equal(together["input_ids"][row][kept], alone)
            expected = torch.zeros(len(kept), dtype=torch.bool)
            expected[slice(-len(alone), None) if side == "left" else slice(len(alone))] = True
            assert torch.equal(kept, expected)
            lengths.append(len(alone))
        assert len(set(lengths)) == len(lengths)

    @every_family
    def test_texts_of_ones_own_are_taken_as_they_stand(self, name: str, vlm: Load) -> None:
        model, question = vlm(name), Question("Is it sharp?")
        text = f"{model.write(question)} Yes.{FAMILIES[name].end}"
        read = model.read([question], side="right", texts=[text])["input_ids"][0]
        assert model.tokenizer.decode(read) == text
        assert read[-1] == model.tokenizer.eos_token_id

    @every_family
    def test_kinds_are_not_mixed(self, name: str, vlm: Load) -> None:
        with pytest.raises(ValueError, match="pictures, or about stored features, or neither"):
            vlm(name).read([_questions()[0], _texts_only()[0]])

    @every_family
    def test_stored_features_are_for_llava(self, name: str, vlm: Load) -> None:
        with pytest.raises(BackboneError, match=r"LLaVA models only.*give it the pixels"):
            vlm(name).read([Question("Look.", StoredFeatures(np.zeros((4, 16), np.float32)))])

    @every_family
    def test_the_picture_is_looked_at(self, name: str, vlm: Load) -> None:
        first, second = (Question("Look.", checkered(40, 60, seed)) for seed in (0, 1))
        logits = vlm(name).next_token([first, second])
        assert (logits[0] - logits[1]).abs().max() > 0.01


class TestNextToken:
    @every_family
    @pytest.mark.parametrize("questions", [_questions, _texts_only])
    def test_of_a_batch_is_that_of_each_alone(
        self, name: str, questions: Callable[[], list[Question]], vlm: Load
    ) -> None:
        model = vlm(name)
        # in this order, what a model remembers of one question would show in the next
        alone = torch.cat([model.next_token([question]) for question in questions()])
        together = model.next_token(questions())
        assert together.dtype == torch.float32
        assert torch.allclose(together, alone, atol=2e-5)
        assert torch.allclose(model.next_token(questions(), batch=3), alone, atol=2e-5)
        assert (alone[0] - alone[1]).abs().max() > 0.1

    @every_family
    def test_texts_and_pictures_in_turn(self, name: str, vlm: Load) -> None:
        model = vlm(name)
        first = model.next_token(_texts_only())
        model.go_on(_questions(), most_tokens=3)
        model.next_token(_questions())
        assert torch.equal(model.next_token(_texts_only()), first)

    def test_of_the_small_model(self, small_vlm: VisionLanguageModel) -> None:
        alone = torch.cat([small_vlm.next_token([question]) for question in _questions()])
        assert torch.allclose(small_vlm.next_token(_questions()), alone, atol=1e-6)

    @every_family
    def test_of_nothing(self, name: str, vlm: Load) -> None:
        assert vlm(name).next_token([]).shape == (0, len(vlm(name).tokenizer))


class TestGoingOn:
    @every_family
    def test_at_temperature_0_takes_the_likeliest_token_each_time(self, name: str, vlm: Load) -> None:
        model, questions = vlm(name), _questions()
        written = model.go_on(questions, temperature=0, most_tokens=6)
        assert written == [[_by_hand(model, question, 6)] for question in questions]

    @every_family
    def test_same_seed_same_answers(self, name: str, vlm: Load) -> None:
        model, questions = vlm(name), _questions()[:2]
        first = model.go_on(questions, samples=3, most_tokens=6, seed=1)
        assert model.go_on(questions, samples=3, most_tokens=6, seed=1) == first
        assert model.go_on(questions, samples=3, most_tokens=6, seed=2) != first
        assert [len(answers) for answers in first] == [3, 3]
        assert len(set(first[0])) > 1

    def test_leaves_the_global_generator_alone(self, vlm: Load) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        vlm("qwen3-vl").go_on(_questions()[:1], most_tokens=3, seed=9)
        assert torch.equal(torch.get_rng_state(), before)

    def test_draws_from_the_whole_distribution(self, vlm: Load) -> None:
        """The folder's own chat settings (top 3 at temperature 0.7) do not get into the draw."""
        model, question = vlm("idefics3"), Question("Look.")
        count = 3000
        (drawn,) = model.go_on([question], samples=count, most_tokens=1, seed=0)
        expected = torch.softmax(model.next_token([question])[0].double(), 0)
        texts = model.tokenizer.batch_decode(torch.arange(len(expected))[:, None], skip_special_tokens=True)
        chances: dict[str, float] = {}
        for text, chance in zip(texts, expected.tolist(), strict=True):
            chances[text] = chances.get(text, 0) + chance
        likely = sorted(chances, key=lambda text: -chances[text])[:5]
        for text in likely:
            # five standard deviations of a share
            deviation = (chances[text] * (1 - chances[text]) / count) ** 0.5
            assert drawn.count(text) / count == pytest.approx(chances[text], abs=5 * deviation)
        assert len(set(drawn)) > 50

    def test_stops_at_the_tokenizers_end_even_if_the_settings_forget_it(
        self, vlm_folder: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = VisionLanguageModel.load(vlm_folder("llava-onevision"))
        model.model.generation_config.eos_token_id = None
        calls: list[int] = []
        end = model.tokenizer.eos_token_id

        def forced(_module: Any, _inputs: Any, output: Any) -> Any:
            calls.append(1)
            output.logits[:, -1, end] = 1e4 if len(calls) == 3 else -1e4
            return output

        hook = model.model.register_forward_hook(forced)
        model.go_on([Question("Look.")], temperature=0, most_tokens=20)
        hook.remove()
        assert len(calls) == 3

    @pytest.mark.parametrize(("samples", "temperature"), [(2, 0.0), (1, -0.5)])
    def test_several_samples_need_a_temperature(self, samples: int, temperature: float, vlm: Load) -> None:
        with pytest.raises(ValueError, match="needs a temperature above 0"):
            vlm("qwen3-vl").go_on(_questions(), samples=samples, temperature=temperature)


def _by_hand(model: VisionLanguageModel, question: Question, count: int) -> str:
    """Greedy decoding without cache or padding: the whole text is read anew for each token."""
    inputs = model.read([question])
    start = inputs["input_ids"].shape[1]
    for _ in range(count):
        with torch.no_grad():
            token = model.model(**inputs).logits[0, -1].argmax()
        if int(token) in (model.tokenizer.eos_token_id, model.tokenizer.pad_token_id):
            break
        for name, value in (("input_ids", token), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in inputs:
                more = torch.as_tensor(value, dtype=inputs[name].dtype).reshape(1, 1)
                inputs[name] = torch.cat([inputs[name], more], dim=1)
    text: str = model.tokenizer.decode(inputs["input_ids"][0, start:], skip_special_tokens=True)
    return text


class TestStoredFeatures:
    def test_are_as_good_as_the_pixels(self, small_vlm: VisionLanguageModel) -> None:
        questions = _questions()
        stored = _stored(small_vlm, questions)
        assert torch.allclose(small_vlm.next_token(stored), small_vlm.next_token(questions), atol=1e-6)
        for samples, temperature in ((1, 0.0), (3, 1.0)):
            drawn = {"samples": samples, "temperature": temperature, "most_tokens": 8, "seed": 4}
            assert small_vlm.go_on(stored, **drawn) == small_vlm.go_on(questions, **drawn)  # type: ignore[arg-type]

    def test_teach_the_projector(self, small_vlm: VisionLanguageModel) -> None:
        inputs = small_vlm.read(_stored(small_vlm, _questions()), side="right")
        loss = small_vlm.model(**inputs).logits.logsumexp(dim=-1).sum()
        (gradient,) = torch.autograd.grad(loss, next(small_vlm.projector.parameters()))
        assert gradient.abs().max() > 0


@every_family
def test_the_projector_is_what_meets_the_language_model(name: str, vlm: Load) -> None:
    model = vlm(name)
    width = model.model.get_input_embeddings().weight.shape[1]
    assert any(width in parameter.shape for parameter in model.projector.parameters())
