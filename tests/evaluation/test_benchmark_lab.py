"""Assessors of the lab in a benchmark: what it takes without torch, and a real recipe on tiny sets."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from foveal.errors import MissingExtraError
from foveal.evaluation.benchmark.config import Benchmark, BenchmarkError, benchmark_from
from foveal.evaluation.benchmark.enter import load_entrants, load_sets
from foveal.evaluation.benchmark.plan import make_plan
from foveal.evaluation.benchmark.prepared import prepare
from foveal.evaluation.benchmark.run import run


@pytest.mark.parametrize("assessor", [{"recipe": "mine.toml"}, {"trained": "runs/mine"}])
def test_without_the_lab_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assessor: dict[str, str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("foveal.lab")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    sets = {"one": {"path": "r.csv", "low": 0, "high": 1, "split": "seeded"}}
    benchmark = benchmark_from({"sets": sets, "assessors": {"a": assessor}}, tmp_path)
    with pytest.raises(MissingExtraError, match=r"the lab needs .* pip install 'foveal\[lab\]'"):
        load_entrants(benchmark)


def test_the_rest_of_a_benchmark_imports_no_torch() -> None:
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import foveal.evaluation.benchmark.run, foveal.evaluation.benchmark.prepared\n"
        "import foveal.evaluation.benchmark.lab_models, foveal.evaluation.benchmark.model_files\n"
        "print(sorted({'torch', 'transformers', 'foveal.lab'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


RECIPE = """
targets = ["quality"]
[ratings]
path = "unused.csv"
low = 0
high = 10
[split]
limit = 20
[backbone]
name = "vit"
[model]
kind = "probe"
hidden = 6
[training]
epochs = 2
batch = 10
[card]
name = "mine"
"""


@dataclass
class Lab:
    """Two sets, a tiny random backbone and a recipe in a folder."""

    folder: Path
    sets: dict[str, Any]

    def benchmark(self, **assessors: dict[str, Any]) -> Benchmark:
        run = {"resamples": 100, "out": "out", "cpu": True}
        values = {"sets": self.sets, "assessors": assessors, "run": run, "gmad": {"levels": 1}}
        return benchmark_from(values, self.folder)

    def judges(self, **assessors: dict[str, Any]) -> list[str]:
        """Keys of what would judge, in the plan's order."""
        benchmark = self.benchmark(**assessors)
        entrants = load_entrants(benchmark)
        plan = make_plan(benchmark, load_sets(benchmark, entrants), entrants)
        return list(dict.fromkeys(cell.judge for cell in plan.cells))

    def rewrite(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def lab(make_set: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(1)
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(3)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=112,
        patch_size=16,
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(size={"height": 112, "width": 112}).save_pretrained(tmp_path / "vit")
    (tmp_path / "mine.toml").write_text(RECIPE, encoding="utf-8")
    one, two = make_set("one", 60), make_set("two", 60, seed=1)
    fields = {"validation": 0.35, "test": 0.25}
    return Lab(tmp_path, {"one": one.table(splits=2, **fields), "two": two.table(split="official", **fields)})


@pytest.mark.slow
def test_a_recipe_is_trained_on_each_split_and_goes_on_where_it_was(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.lab import training_run

    trained: list[tuple[int, int]] = []
    train = training_run.train

    def counted(recipe: Any, ratings: Any, **options: Any) -> Any:
        if len(trained) == 2:
            raise KeyboardInterrupt
        done = train(recipe, ratings, **options)
        trained.append((len(done.parts.train), len(done.parts.validation)))
        return done

    monkeypatch.setattr(training_run, "train", counted)
    benchmark = lab.benchmark(mine={"recipe": "mine.toml"})
    with pytest.raises(KeyboardInterrupt):
        run(prepare(benchmark))
    # Limits of the recipe's split count, its shares do not.
    assert [learnt for learnt, _ in trained] == [20, 20]
    assert all(10 <= chose <= 20 for _, chose in trained)
    stored = {path: path.read_bytes() for path in (lab.folder / "out" / "cells").rglob("*.json")}
    assert len(stored) == 4  # two models, on their own test part and on that of the other set
    trained.clear()
    outcome, failed = run(prepare(benchmark))
    assert (failed, len(trained)) == ({}, 1)
    assert all(path.read_bytes() == content for path, content in stored.items())
    assert len(list((lab.folder / "out" / "cells").rglob("*.json"))) == 7
    with (lab.folder / "out" / "results.csv").open(newline="", encoding="utf-8") as file:
        means = [row for row in csv.DictReader(file) if row["row"] == "mean" and row["figure"] == "srcc"]
    assert {(row["trained_on"], row["set"]) for row in means} == {
        (source, tested) for source in ("one", "two") for tested in ("one", "two")
    }
    assert outcome.absent == {}

    # The trained model, entered as it is, gives the very same scores.
    (folder,) = {
        path.parent.name
        for path in stored
        if (about := json.loads(path.read_text(encoding="utf-8"))["about"])["trained_split"] == 0
        and about["trained_on"] == "one"
    }
    again = {"trained": f"out/runs/{folder}/model", "backbone": "vit"}
    trained.clear()
    outcome, failed = run(prepare(lab.benchmark(mine={"recipe": "mine.toml"}, again=again)))
    assert (failed, trained) == ({}, [])
    prepared = prepare(lab.benchmark(mine={"recipe": "mine.toml"}, again=again))
    scores = {
        (
            cell.line.assessor,
            cell.line.source,
            cell.line.tested,
            cell.source_split,
            cell.split,
        ): prepared.scores(cell)
        for cell in prepared.plan.cells
    }
    first, second = scores["again", "", "one", None, 0], scores["mine", "one", "one", 0, 0]
    assert first is not None
    assert second is not None
    assert first.tolist() == pytest.approx(second.tolist(), abs=1e-4)


@pytest.mark.slow
def test_what_a_training_depends_on(lab: Lab) -> None:
    mine = {"recipe": "mine.toml"}
    first = lab.judges(mine=mine)
    assert len(first) == len(set(first)) == 3
    assert lab.judges(mine=mine) == first
    for old, new in (
        ("epochs = 2", "epochs = 2\nworkers = 2\ncheckpoint_steps = 9\nvalidation_batch = 7"),
        ('path = "unused.csv"', 'path = "other.csv"'),
        ('name = "mine"', 'name = "other"\nsummary = "x"'),
    ):
        lab.rewrite("mine.toml", old, new)
        assert lab.judges(mine=mine) == first
    for old, new in (
        ("epochs = 2", "epochs = 3"),
        ("limit = 20", "limit = 19"),
        ("hidden = 6", "hidden = 5"),
    ):
        lab.rewrite("mine.toml", old, new)
        assert not set(lab.judges(mine=mine)) & set(first)
        lab.rewrite("mine.toml", new, old)
    weights = lab.folder / "vit" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert not set(lab.judges(mine=mine)) & set(first)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assessor", "message"),
    [
        ({"recipe": "gone.toml"}, "assessors.a: .*gone.toml: there is no such file"),
        ({"trained": "gone"}, "assessors.a: .*config.json: there is no such file"),
        ({"trained": "glia-vit-tiny"}, r"does not judge 'beauty', only quality"),
        (
            {"recipe": "mine.toml"},
            "mine.toml: is not trained to judge 'beauty', only quality; add it to targets",
        ),
        ({"model": "foveal-compact"}, r"assessors.a: .* does not judge 'beauty', only quality"),
        ({"model": "gone"}, r"assessors.a: .*gone: neither a shipped assessor .* nor a model file"),
    ],
)
def test_what_cannot_take_part_is_refused_before_any_work(
    lab: Lab, assessor: dict[str, str], message: str
) -> None:
    benchmark = lab.benchmark(a=assessor)
    if "beauty" in message:
        benchmark = benchmark_from(
            {"sets": lab.sets, "assessors": {"a": assessor}, "run": {"target": "beauty"}}, lab.folder
        )
    with pytest.raises(BenchmarkError, match=message):
        load_entrants(benchmark)


@pytest.mark.slow
def test_what_a_start_was_trained_on_is_known(lab: Lab) -> None:
    lab.rewrite("mine.toml", "[ratings]", 'start = "glia-vit-tiny"\n[ratings]')
    entrant = load_entrants(lab.benchmark(mine={"recipe": "mine.toml"}))["mine"]
    assert "BIQ2021" in entrant.training_data
    shipped = load_entrants(lab.benchmark(a={"trained": "glia-vit-tiny"}))["a"]
    assert shipped.training_data == entrant.training_data
