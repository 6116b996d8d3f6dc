"""Distillation: what a batch is made of, that it learns, and that a killed run ends where it would have."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from foveal.lab.models.compact import CompactConfig, CompactNet
from foveal.lab.training import distill as module
from foveal.lab.training.distill import (
    Bank,
    DistillConfig,
    Student,
    distill,
    draw_batch,
    load_network,
    losses,
    read_batch,
)

SHORT = DistillConfig(
    steps=7, decay_steps=4, warmup_steps=2, small_steps=5, rated=4, unrated=2, series=2,
    log_every=2, checkpoint_every=3,
)  # fmt: skip
"""Seven steps, five of them on small windows."""
SOURCES = 12


def make_bank() -> Bank:
    """Views are 7 x 7 tiles of one colour: red tells the row, green the column, blue the view.

    Tokens repeat the colours of their tiles, scaled; pooled features are the view's mean and contrast; the
    quality of a source is its brightness. Sources 0-7 are rated, 8-11 are not, 0-5 have a series.
    """
    generator = np.random.default_rng(0)
    views = 4 * SOURCES + 4 * 6
    colours = generator.integers(0, 256, (views, 7, 7, 3))
    colours[:, :, :, 0] = 30 * np.arange(7)[:, None] + generator.integers(0, 20, (views, 1, 1))
    colours[:, :, :, 1] = 30 * np.arange(7)[None] + generator.integers(0, 20, (views, 1, 1))
    colours[:, :, :, 2] = np.arange(views)[:, None, None] * 2
    tokens = (colours / 64 - 2).astype(np.float16)
    rows = np.arange(4 * SOURCES).reshape(SOURCES, 4)
    brightness = colours[:, :, :, 2].mean((1, 2)) / 40 + 1
    series = []
    for source in range(6):
        first = 4 * SOURCES + 4 * source
        series.append((source, (first, first + 1, 2.0 + source / 10), (first + 2, first + 3, 1.0)))
    return Bank(
        pixels=colours.astype(np.uint8).repeat(32, axis=1).repeat(32, axis=2),
        tokens=tokens,
        pooled=np.stack([tokens.mean((1, 2, 3)), tokens.std((1, 2, 3))], axis=1).astype(np.float32),
        whole=[[int(a), int(b)] for a, b, _, _ in rows],
        fragments=[[int(c), int(d)] for _, _, c, d in rows],
        target=brightness[rows[:, 0]].astype(np.float32),
        rated=np.arange(8),
        unrated=np.arange(8, SOURCES),
        series=series,
    )


BANK = make_bank()


@pytest.fixture
def network(tiny_config: CompactConfig) -> Callable[[], CompactNet]:
    def make() -> CompactNet:
        torch.manual_seed(0)
        return CompactNet(tiny_config)

    return make


Make = Callable[[], CompactNet]


def read_log(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_batch_has_every_role_in_its_place(seed: int) -> None:
    batch = draw_batch(BANK, SHORT, np.random.default_rng(seed))
    assert len(batch.whole) == len(batch.fragments) == len(batch.target) == SHORT.pairs == 12
    source = {row: i for kind in (BANK.whole, BANK.fragments) for i, rows in enumerate(kind) for row in rows}
    whole = [source[row] for row in batch.whole[:8]]
    assert whole == [source[row] for row in batch.fragments[:8]]
    assert all(row in rows for row, rows in zip(batch.whole, (BANK.whole[s] for s in whole), strict=False))
    assert len(set(whole[:4])) == 4
    assert set(whole[:4]) <= set(BANK.rated)
    assert len(set(whole[4:6])) == 2
    assert set(whole[4:6]) <= set(BANK.unrated)
    assert batch.target[:8].tolist() == pytest.approx([BANK.target[s] for s in whole])
    for strength in (1, 2):
        for place in range(2):
            row = 6 + 2 * strength + place
            pair = BANK.series[whole[6 + place]][strength]
            assert (batch.whole[row], batch.fragments[row]) == pair[:2]
            assert float(batch.target[row]) == pytest.approx(pair[2])


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), side=st.sampled_from([96, 160, 192, 224]))
@settings(max_examples=60, deadline=None)
def test_windows_of_views_and_tokens_stay_aligned(seed: int, side: int) -> None:
    generator = np.random.default_rng(seed)
    batch = draw_batch(BANK, SHORT, generator)
    views, tokens, pooled = read_batch(BANK, batch, side, generator)
    assert views.shape == (24, side, side, 3)
    assert views.dtype == torch.uint8
    assert tokens.shape == (24, side // 32, side // 32, 3)
    tiles = views.numpy().reshape(24, side // 32, 32, side // 32, 32, 3)
    # Each tile has one colour, and the token at its place tells that colour: row, column and view agree.
    assert (tiles.max((2, 4)) == tiles.min((2, 4))).all()
    np.testing.assert_allclose(tiles[:, :, 0, :, 0], 64 * (tokens.numpy() + 2), atol=0.15)
    rows = np.concatenate([batch.whole, batch.fragments])
    np.testing.assert_array_equal(tiles[:, 0, 0, 0, 0, 2], 2 * rows)
    np.testing.assert_array_equal(pooled.numpy(), BANK.pooled[rows])


def test_windows_move_and_are_mirrored() -> None:
    seen = set()
    for seed in range(60):
        generator = np.random.default_rng(seed)
        views, _, _ = read_batch(BANK, draw_batch(BANK, SHORT, generator), 160, generator)
        red, green = views[0, :, :, 0].int(), views[0, :, :, 1].int()
        seen.add((int(red[0, 0]) // 30, int(green.min()) // 30, bool(green[0, 0] > green[0, -1])))
        assert red[0, 0] < red[-1, 0]  # never upside down
    assert seen == {(top, left, flip) for top in range(3) for left in range(3) for flip in (False, True)}


def test_batches_depend_on_seed_and_step_alone(
    network: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bytes] = []
    forward = Student.forward

    def watch(self: Student, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shown.append(views.numpy().tobytes())
        return forward(self, views)

    monkeypatch.setattr(Student, "forward", watch)
    distill(network(), BANK, SHORT, tmp_path / "a", compiled=False)
    first, shown[:] = list(shown), []
    np.random.default_rng(9).random(5)
    torch.manual_seed(77)
    # Other weights, other rates, another length: the same batches.
    other = replace(SHORT, steps=4, muon_lr=0.001)
    distill(CompactNet(network().config), BANK, other, tmp_path / "b", compiled=False)
    assert shown == first[:4]
    shown.clear()
    distill(network(), BANK, replace(SHORT, seed=2), tmp_path / "c", compiled=False)
    assert set(shown).isdisjoint(first)
    assert len(set(first)) == SHORT.steps


@pytest.mark.slow
def test_the_loss_falls(network: Make, tmp_path: Path) -> None:
    config = replace(
        SHORT, steps=60, decay_steps=40, warmup_steps=5, small_steps=60, small_side=96, log_every=10
    )
    trained = distill(network(), BANK, config, tmp_path, compiled=False)
    assert not trained.training
    log = read_log(tmp_path)
    assert [row["step"] for row in log] == [10, 20, 30, 40, 50, 60]
    assert log[-1]["tokens"] < 0.5 * log[0]["tokens"]
    assert log[-1]["quality"] < 0.7 * log[0]["quality"]
    total = [row["tokens"] + row["pooled"] + row["quality"] + 0.5 * row["rank"] for row in log]
    assert total[-1] < 0.6 * total[0]


class Killed(BaseException):
    """Ends a run as a signal does."""


def test_a_killed_run_ends_where_it_would_have(
    network: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distill(network(), BANK, SHORT, tmp_path / "whole", compiled=False).state_dict()
    folder, steps = tmp_path / "killed", iter(range(100))
    original = module.losses

    def dying(*arguments: object) -> dict[str, Tensor]:
        if next(steps) in (2, 7):  # before the first checkpoint; two steps after it
            raise Killed
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "losses", dying)
    for checkpoint in (False, True):
        with pytest.raises(Killed):
            distill(network(), BANK, SHORT, folder, compiled=False)
        assert (folder / "checkpoint.pt").exists() is checkpoint
    (folder / "checkpoint.tmp").write_bytes(b"cut while it was written")
    torch.manual_seed(5)
    stranger = CompactNet(network().config)  # what it begins with must not matter
    resumed = distill(stranger, BANK, SHORT, folder, compiled=False).state_dict()
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    log, undisturbed = read_log(folder), read_log(tmp_path / "whole")
    assert [row["step"] for row in log] == [2, 4, 6]
    for mine, theirs in zip(log[-1:], undisturbed[-1:], strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


def test_a_finished_run_is_left_as_it_is(network: Make, tmp_path: Path) -> None:
    first = distill(network(), BANK, replace(SHORT, steps=3), tmp_path, compiled=False).state_dict()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files.keys() == {"checkpoint.pt", "config.json", "log.csv"}
    again = distill(network(), BANK, replace(SHORT, steps=3), tmp_path, compiled=False).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded = network()
    load_network(tmp_path, loaded)
    assert all(torch.equal(first[name], value) for name, value in loaded.state_dict().items())
    config = json.loads(files["config.json"])
    assert config["steps"] == 3
    assert config["network"]["widths"] == [8, 8, 16, 16]


def test_a_loss_that_is_not_a_number_stops_the_run(network: Make, tmp_path: Path) -> None:
    distill(network(), BANK, replace(SHORT, steps=3), tmp_path, compiled=False)
    good = (tmp_path / "checkpoint.pt").read_bytes()
    broken = replace(BANK, pooled=np.full_like(BANK.pooled, np.nan))
    with pytest.raises(FloatingPointError, match=r"nan at step 3"):
        distill(network(), broken, SHORT, tmp_path, compiled=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == good


def test_losses_by_hand() -> None:
    generator = np.random.default_rng(0)
    tokens, wanted_tokens = generator.normal(size=(2, 8, 5, 5, 3))
    pooled, wanted_pooled = generator.normal(size=(2, 8, 4))
    quality, wanted = np.array([3.0, 4.0, 3.9, 1.0]), np.array([3.2, 3.0, 3.9, 1.0])
    outputs = tuple(torch.from_numpy(array) for array in (tokens, pooled, quality))
    targets = tuple(torch.from_numpy(array) for array in (wanted_tokens, wanted_pooled, wanted))
    parts = losses(outputs, targets, replace(SHORT, rank_margin=0.15), series=1)
    assert float(parts["tokens"]) == pytest.approx(((tokens - wanted_tokens) ** 2).mean())
    assert float(parts["pooled"]) == pytest.approx(((pooled - wanted_pooled) ** 2).mean())
    # Huber at 0.5: half the square over 0.5 within, the distance less 0.25 beyond.
    assert float(parts["quality"]) == pytest.approx((0.2**2 + 0.75 + 0 + 0) / 4)
    # Mild is 0.1 below clean, 0.05 short of the margin; strong is far enough below mild.
    assert float(parts["rank"]) == pytest.approx(0.05)


@given(st.integers(1, 200), st.integers(1, 300), st.integers(0, 500))
def test_the_rate_warms_up_stays_and_falls_to_zero(warmup: int, decay: int, plateau: int) -> None:
    steps = warmup + plateau + decay
    config = DistillConfig(steps=steps, warmup_steps=warmup, decay_steps=decay)
    rates = np.array([config.rate(step) for step in range(steps)])
    assert (rates > 0).all()
    assert rates.max() <= 1
    assert rates[0] <= 1 / warmup
    assert rates[-1] <= 1 / decay + 1e-12
    assert config.rate(steps) == 0
    np.testing.assert_allclose(rates[warmup - 1 : steps - decay + 1], 1)
    assert (np.diff(rates[:warmup]) > 0).all()
    assert (np.diff(rates[steps - decay :]) < 0).all()


def test_the_student_gives_tokens_in_the_place_of_their_tiles(network: Make) -> None:
    student = Student(network(), tokens=3, pooled=2).eval()
    views = torch.from_numpy(BANK.pixels[:4].copy())
    with torch.inference_mode():
        tokens, pooled, quality = student(views)
        assert tokens.shape == (4, 7, 7, 3)
        assert pooled.shape == (4, 2)
        expected, _ = student.network(views[:2], views[2:])
        torch.testing.assert_close(quality, expected)
        # What is changed far to the lower right leaves the token at the upper left alone.
        changed = views.clone()
        changed[:, 192:, 192:] = 255 - changed[:, 192:, 192:]
        moved = (student(changed)[0] - tokens).abs().amax(dim=(0, 3))
    assert float(moved[6, 6]) == float(moved.max()) > 0
    assert float(moved[0, 0]) == 0
