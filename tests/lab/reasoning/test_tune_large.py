"""Tuning models of real families: what is learnt, what stays, and what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from foveal.errors import IncompleteBackboneError
from foveal.lab.reasoning.adapt import Adaptation, adapt, merged, trainable
from foveal.lab.reasoning.levels import Q_ALIGN
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import ASSESS, DESCRIBE, OneStage, answer, judge_question
from foveal.lab.reasoning.recipe import read_reasoning_recipe
from foveal.lab.reasoning.records import IGNORED, Record, make_batch
from foveal.lab.reasoning.tune import Tuning, batch_loss, tune
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from foveal.strict import RecipeError
from tiny_vlms import FAMILIES, checkered

Load = Callable[[str], VisionLanguageModel]
Folder = Callable[[str], Path]
every_family = pytest.mark.parametrize("name", FAMILIES)
# Training takes seconds: one family each time, the others on demand.
one_family = pytest.mark.parametrize(
    "name", [name if name == "smolvlm" else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
REPOSITORY = Path(__file__).resolve().parents[3]
RECIPES = {
    "two-stage-qwen3-vl": "Qwen/Qwen3-VL-2B-Instruct",
    "two-stage-smolvlm": "HuggingFaceTB/SmolVLM-256M-Instruct",
    "two-stage-llava-onevision": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
}

SHARP, BLURRY = "The picture is sharp and bright.", "The picture is blurry and dark, with much noise."
WEIGHTS = (0.1, 0.6, 0.2, 0.1, 0.0)
LORA = Adaptation("lora", rank=4, alpha=16, dropout=0.0)


def _describing() -> list[Record]:
    return [
        Record(Question(DESCRIBE, checkered(40, 60, 0)), SHARP),
        Record(Question(DESCRIBE, checkered(90, 30, 1)), BLURRY),
    ]


def _judging(verdict: tuple[float, ...] | None = None) -> list[Record]:
    return [
        Record(judge_question(SHARP), " good", verdict),
        Record(judge_question(BLURRY), " poor", verdict),
    ]


def _assessing(verdict: tuple[float, ...] | None = None) -> list[Record]:
    return [
        Record(Question(ASSESS, checkered(40, 60, seed)), f"{text} {Q_ALIGN.statement} {word}.", verdict)
        for seed, (text, word) in enumerate([(SHARP, "good"), (BLURRY, "poor")])
    ]


def _tuning(adaptation: Adaptation = LORA, **more: Any) -> Tuning:
    return Tuning(**{"epochs": 6, "batch": 2, "rate": 2e-2, "adaptation": adaptation, **more})


def _state(model: VisionLanguageModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.model.state_dict().items()}


def _plain(name: str) -> str:
    """Name of a weight before ``peft`` wrapped the model."""
    for part in ("base_model.model.", "base_layer.", "original_module."):
        name = name.replace(part, "")
    return name


class TestLabels:
    @every_family
    @pytest.mark.parametrize("records", [_describing, _judging, _assessing])
    def test_only_the_answer_and_its_end_are_learnt(
        self, name: str, records: Callable[[], list[Record]], vlm: Load
    ) -> None:
        model, family = vlm(name), FAMILIES[name]
        batch = make_batch(model, records(), Q_ALIGN)
        for row, record in enumerate(records()):
            gap = "" if record.question.so_far else family.gap
            wanted = model.tokenizer(f"{gap}{record.answer}{family.end}", add_special_tokens=False)[
                "input_ids"
            ]
            length = int(batch.inputs["attention_mask"][row].sum())
            mask = torch.zeros(batch.labels.shape[1], dtype=torch.bool)
            mask[length - len(wanted) : length] = True
            assert torch.equal(batch.labels[row] != IGNORED, mask)
            assert batch.labels[row][mask].tolist() == wanted
            assert wanted[-1] == model.tokenizer.eos_token_id
            assert torch.equal(batch.inputs["input_ids"][row][mask], batch.labels[row][mask])
        assert not (batch.labels == model.image_token).any()

    @every_family
    @pytest.mark.parametrize("records", [_judging, _assessing])
    def test_a_shared_verdict_stands_at_its_word(
        self, name: str, records: Callable[..., list[Record]], vlm: Load
    ) -> None:
        model = vlm(name)
        batch, plain = (make_batch(model, records(weights), Q_ALIGN) for weights in (WEIGHTS, None))
        assert batch.rows.tolist() == [0, 1]
        assert plain.rows.tolist() == []
        for row, word in enumerate([" good", " poor"]):
            place = batch.places[row]
            assert model.tokenizer.decode(batch.inputs["input_ids"][row][place]) == word
            # the word is learnt once: as a distribution, not as a token too
            assert torch.equal((plain.labels[row] != batch.labels[row]).nonzero()[:, 0], place[None])
        assert batch.weights == pytest.approx(torch.tensor([WEIGHTS, WEIGHTS]))

    @every_family
    def test_padding_is_not_learnt_even_where_it_is_the_end_token(
        self, name: str, vlm_folder: Folder
    ) -> None:
        model = VisionLanguageModel.load(vlm_folder(name))
        model.tokenizer.pad_token = model.tokenizer.eos_token
        batch = make_batch(model, _describing(), Q_ALIGN)
        ends = (batch.labels == model.tokenizer.eos_token_id).sum(dim=1)
        assert ends.tolist() == [1, 1]


class TestLoss:
    @every_family
    @pytest.mark.parametrize("records", [_describing, _judging, _assessing])
    def test_is_that_of_transformers(self, name: str, records: Callable[[], list[Record]], vlm: Load) -> None:
        model = vlm(name)
        batch = make_batch(model, records(), Q_ALIGN)
        with torch.no_grad():
            own = batch_loss(model, batch, Q_ALIGN)
            theirs = model.model(**batch.inputs, labels=batch.labels).loss
        assert float(own) == pytest.approx(float(theirs), rel=1e-5)

    @every_family
    @pytest.mark.parametrize("weight", [1.0, 4.0])
    def test_of_a_shared_verdict_is_its_cross_entropy(self, name: str, weight: float, vlm: Load) -> None:
        model = vlm(name)
        (record, _) = _judging(WEIGHTS)
        batch = make_batch(model, [record], Q_ALIGN)
        with torch.no_grad():
            own = float(batch_loss(model, batch, Q_ALIGN, weight))
        # independently: the answer is one word and the end of the text
        after = record.question.answered(record.answer)
        words, end = (
            torch.log_softmax(model.next_token([question])[0].double(), dim=0)
            for question in (record.question, after)
        )
        verdict = -sum(
            share * float(words[token])
            for share, token in zip(WEIGHTS, Q_ALIGN.tokens(model.tokenizer), strict=True)
        )
        expected = (weight * verdict - float(end[model.tokenizer.eos_token_id])) / (weight + 1)
        assert own == pytest.approx(expected, rel=1e-4)

    @every_family
    def test_of_a_batch_is_the_mean_over_its_tokens(self, name: str, vlm: Load) -> None:
        model, records = vlm(name), _describing()
        sums, counts = [], []
        with torch.no_grad():
            for record in records:
                alone = make_batch(model, [record], Q_ALIGN)
                counts.append(int((alone.labels != IGNORED).sum()))
                sums.append(float(batch_loss(model, alone, Q_ALIGN)) * counts[-1])
            together = float(batch_loss(model, make_batch(model, records, Q_ALIGN), Q_ALIGN))
        assert together == pytest.approx(sum(sums) / sum(counts), rel=1e-4)


class TestLora:
    @every_family
    @pytest.mark.parametrize("projector", [True, False])
    def test_learns_two_records_and_leaves_the_rest_alone(
        self, name: str, projector: bool, vlm_folder: Folder
    ) -> None:
        """Stage 1 with the projector, stage 2 without."""
        model = VisionLanguageModel.load(vlm_folder(name))
        before, bridge = _state(model), _name_of_projector(model)
        records = _describing() if projector else _judging(WEIGHTS)
        adaptation = Adaptation("lora", projector=projector, rank=4, alpha=16, dropout=0.0)
        tuned = tune(model, lambda _: records, _tuning(adaptation))
        assert tuned.losses[-1] < 0.8 * tuned.losses[0]
        assert not tuned.model.model.training
        after = tuned.model.model.state_dict()
        updates, copies = 0, set()
        for key, value in after.items():
            if "lora_" in key:
                assert any(part in key for part in ("language_model", "text_model"))
                updates += 1
            elif "modules_to_save" in key:
                copies.add(key)
                assert bridge in key
            else:
                assert torch.equal(value, before[_plain(key)]), key
        assert updates == 2 * 2 * 7  # blocks, halves of an update, linear layers of a block
        assert bool(copies) == projector
        for key in copies:
            original = key.replace("modules_to_save.default", "original_module")
            assert not torch.equal(after[key], after[original])

    @one_family
    @pytest.mark.parametrize("projector", [True, False])
    def test_saved_updates_load_again(
        self, name: str, projector: bool, vlm_folder: Folder, tmp_path: Path
    ) -> None:
        adaptation = Adaptation("lora", projector=projector, rank=2)
        model = VisionLanguageModel.load(vlm_folder(name))
        asked = [record.question for record in _describing()]
        start = model.next_token(asked)
        tuned = tune(model, lambda _: _describing(), _tuning(adaptation, epochs=2)).model
        tuned.save(tmp_path / "run")
        assert not (tmp_path / "run" / "model.safetensors").exists()
        again = VisionLanguageModel.load(tmp_path / "run")
        assert again.name == "run"
        learnt = tuned.next_token(asked)
        assert torch.equal(again.next_token(asked), learnt)
        assert (learnt - start).abs().max() > 0.01

    @one_family
    def test_merged_it_is_a_model_of_its_own(self, name: str, vlm_folder: Folder, tmp_path: Path) -> None:
        model = VisionLanguageModel.load(vlm_folder(name))
        asked = [record.question for record in _describing()]
        tuned = tune(model, lambda _: _describing(), _tuning(epochs=2)).model
        learnt = tuned.next_token(asked)
        merged(tuned).save(tmp_path / "whole")
        again = VisionLanguageModel.load(tmp_path / "whole")
        assert torch.allclose(again.next_token(asked), learnt, atol=2e-4)

    @pytest.mark.slow
    @every_family
    def test_answers_as_any_model_does(self, name: str, vlm_folder: Folder) -> None:
        model = VisionLanguageModel.load(vlm_folder(name))
        tuned = tune(model, lambda _: _assessing(), _tuning(LORA, epochs=60)).model
        asked = [record.question for record in _assessing()]
        expected = [[f"{FAMILIES[name].gap}{record.answer}"] for record in _assessing()]
        assert tuned.go_on(asked, temperature=0, most_tokens=60) == expected
        pictures = [record.question.picture for record in _assessing()]
        answers = answer(OneStage(tuned), pictures)  # type: ignore[arg-type]
        assert [[one.description for one in several] for several in answers] == [[SHARP], [BLURRY]]
        assert [[one.verdict for one in several] for several in answers] == [["good"], ["poor"]]

    def test_same_seed_same_weights_and_no_trace_in_the_generator(self, vlm_folder: Folder) -> None:
        adaptation = Adaptation("lora", rank=2, dropout=0.2)

        def run(seed: int) -> Tensor:
            model = VisionLanguageModel.load(vlm_folder("qwen3-vl"))
            tuned = tune(model, lambda _: _judging(), _tuning(adaptation, epochs=2, seed=seed)).model
            return torch.cat([parameter.detach().flatten() for parameter in trainable(tuned)])

        torch.manual_seed(3)
        before = torch.get_rng_state()
        first = run(1)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(4)
        assert torch.equal(run(1), first)
        assert not torch.equal(run(2), first)

    def test_updates_without_their_weights(self, vlm_folder: Folder, tmp_path: Path) -> None:
        folder = _saved_updates(vlm_folder, tmp_path)
        (folder / "adapter_model.safetensors").unlink()
        with pytest.raises(IncompleteBackboneError, match=r"no adapter_model\.safetensors"):
            VisionLanguageModel.load(folder)

    def test_updates_of_another_model(self, vlm_folder: Folder, tmp_path: Path) -> None:
        folder = _saved_updates(vlm_folder, tmp_path)
        settings = json.loads((folder / "adapter_config.json").read_text())
        settings["base_model_name_or_path"] = str(vlm_folder("smolvlm"))
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        with pytest.raises(IncompleteBackboneError, match=r"run: not updates of this model that can be read"):
            VisionLanguageModel.load(folder)

    def test_updates_that_name_no_model(self, vlm_folder: Folder, tmp_path: Path) -> None:
        folder = _saved_updates(vlm_folder, tmp_path)
        (folder / "adapter_config.json").write_text("{}")
        with pytest.raises(IncompleteBackboneError, match="base_model_name_or_path names no model"):
            VisionLanguageModel.load(folder)


def _saved_updates(vlm_folder: Folder, tmp_path: Path) -> Path:
    model = VisionLanguageModel.load(vlm_folder("qwen3-vl"))
    adapt(model, Adaptation("lora", projector=False, rank=1)).save(tmp_path / "run")
    return tmp_path / "run"


def _name_of_projector(model: VisionLanguageModel) -> str:
    return next(name for name, module in model.model.named_modules() if module is model.projector)


class TestWhole:
    @one_family
    def test_trains_the_language_model_and_never_the_eyes(self, name: str, vlm_folder: Folder) -> None:
        model = VisionLanguageModel.load(vlm_folder(name))
        before, bridge = _state(model), _name_of_projector(model)
        adaptation = Adaptation("full", projector=False)
        tuned = tune(model, lambda _: _describing(), _tuning(adaptation, rate=1e-3))
        assert tuned.losses[-1] < tuned.losses[0]
        changed = {
            key
            for key, value in tuned.model.model.state_dict().items()
            if not torch.equal(value, before[key])
        }
        assert any("self_attn.q_proj" in key for key in changed)
        assert not [key for key in changed if key.startswith(bridge)]
        assert not [
            key
            for key in changed
            if not any(part in key for part in ("language_model", "text_model", "lm_head"))
        ]

    @one_family
    def test_the_projector_alone(self, name: str, vlm_folder: Folder) -> None:
        model = VisionLanguageModel.load(vlm_folder(name))
        before, bridge = _state(model), _name_of_projector(model)
        tuned = tune(model, lambda _: _describing(), _tuning(Adaptation("frozen"), rate=1e-2))
        assert tuned.losses[-1] < tuned.losses[0]
        changed = {
            key
            for key, value in tuned.model.model.state_dict().items()
            if not torch.equal(value, before[key])
        }
        assert changed
        assert all(key.startswith(bridge) for key in changed)


class TestRecipes:
    @pytest.mark.parametrize("name", RECIPES)
    def test_every_field_is_built(self, name: str) -> None:
        recipe = read_reasoning_recipe(REPOSITORY / "recipes" / f"{name}.toml")
        assert recipe.large is not None
        assert recipe.large.name == RECIPES[name]
        assert recipe.small is None
        stages = [recipe.describe, recipe.judge, recipe.one_stage]
        assert all(stage is not None and stage.adaptation.language == "lora" for stage in stages)
        # stage 2 reads no image: there is nothing for its projector to learn
        assert [stage.adaptation.projector for stage in stages if stage is not None] == [True, False, True]
        # the baseline has the same budget
        assert recipe.one_stage is not None
        assert recipe.one_stage.epochs == recipe.describe.epochs
        assert recipe.one_stage.rate == recipe.describe.rate

    @pytest.mark.parametrize("name", RECIPES)
    def test_its_stages_can_be_trained(self, name: str, vlm_folder: Folder) -> None:
        """The recipe's own settings on a tiny model of the recipe's family."""
        family = {"two-stage-smolvlm": "idefics3"}.get(name, name.removeprefix("two-stage-"))
        recipe = read_reasoning_recipe(REPOSITORY / "recipes" / f"{name}.toml", {"large.device": "cpu"})
        assert recipe.large is not None
        for tuning, records in ((recipe.describe, _describing()), (recipe.judge, _judging())):
            model = VisionLanguageModel.load(
                vlm_folder(family), dtype=recipe.large.dtype, attention=recipe.large.attention
            )
            tuned = tune(model, lambda _, records=records: records, replace(tuning, epochs=1))  # type: ignore[misc]
            assert len(tuned.losses) == 1
            learnt = sum(parameter.numel() for parameter in trainable(tuned.model))
            assert 0 < learnt < sum(parameter.numel() for parameter in tuned.model.model.parameters())

    def test_a_wrong_field_is_named(self) -> None:
        file = REPOSITORY / "recipes" / "two-stage-smolvlm.toml"
        with pytest.raises(RecipeError, match=r"describe\.adaptation.*rank 0"):
            read_reasoning_recipe(file, {"describe.adaptation.rank": 0})
