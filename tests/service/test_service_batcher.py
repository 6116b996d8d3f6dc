"""The queue and its threads: order, room, cancellation, batches across callers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_helpers import GatedEngine, MakePhoto, wait_until

from foveal.artifact.file import Artifact
from foveal.assessor import Assessor
from foveal.runtime import Engine
from foveal.service.batcher import Combiner, Pool, QueueFullError


@contextmanager
def pool(workers: int = 1, capacity: int = 8) -> Iterator[Pool[Any]]:
    made: Pool[Any] = Pool("test", workers=workers, capacity=capacity)
    yield made
    assert made.close(30), "its threads end"


class Gate:
    """A job that waits until it may end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(60)
        return "gate"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(-3, 3), max_size=6), max_size=12),
    st.integers(1, 4),
)
def test_outcomes_are_those_of_the_jobs_in_their_order(requests: list[list[int]], workers: int) -> None:
    def job(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    with pool(workers, capacity=100) as made:
        tickets = [made.submit([partial(job, value) for value in request]) for request in requests]
        for request, ticket in zip(requests, tickets, strict=True):
            outcomes = ticket.future.result(30)
            assert [str(outcome) for outcome in outcomes] == [str(value) for value in request]
            assert [isinstance(outcome, ValueError) for outcome in outcomes] == [v < 0 for v in request]
        wait_until(lambda: made.depth == 0)


def test_requests_are_taken_whole_or_not_at_all() -> None:
    gate = Gate()
    with pool(capacity=4) as made:
        first = made.submit([gate, lambda: "second"])
        assert gate.begun.wait(30)
        assert (made.depth, made.waiting) == (2, 1)
        with pytest.raises(QueueFullError) as caught:
            made.submit([lambda: "x"] * 3)
        assert made.depth == 2
        assert caught.value.retry_after >= 0
        made.submit([lambda: "x"] * 2)
        assert made.is_full
        with pytest.raises(QueueFullError):
            made.submit([lambda: "x"])
        gate.may_end.set()
        assert first.future.result(30) == ["gate", "second"]
        wait_until(lambda: not made.is_full)


def test_nobody_does_what_nobody_waits_for() -> None:
    gate, done = Gate(), []
    with pool(capacity=4) as made:
        made.submit([gate])
        assert gate.begun.wait(30)
        dropped = made.submit([lambda: done.append(1)] * 3)
        assert made.is_full
        assert dropped.future.cancel()
        assert made.depth == 1, "their room is free at once"
        kept = made.submit([lambda: done.append(2)])
        gate.may_end.set()
        kept.future.result(30)
    assert done == [2]
    with pytest.raises(CancelledError):
        dropped.future.result()


def test_cancelling_what_is_at_work_keeps_the_books() -> None:
    gate = Gate()
    with pool(capacity=2) as made:
        ticket = made.submit([gate, lambda: "never"])
        assert gate.begun.wait(30)
        ticket.future.cancel()
        gate.may_end.set()
        wait_until(lambda: made.depth == 0)
        assert made.submit([lambda: "next"]).future.result(30) == ["next"]


def test_closing_ends_what_was_taken_in_and_takes_nothing_more() -> None:
    made: Pool[str] = Pool("test", workers=1, capacity=4)
    gate = Gate()
    taken = made.submit([gate, lambda: "second"])
    assert gate.begun.wait(30)
    assert not made.close(0.01)
    with pytest.raises(QueueFullError):
        made.submit([lambda: "x"])
    gate.may_end.set()
    assert made.close(30)
    assert taken.future.result(0) == ["gate", "second"]


def test_when_to_come_again_follows_the_pace() -> None:
    with pool(workers=2, capacity=200) as made:
        assert made.retry_after == 0
        for _ in range(100):
            made.submit([lambda: None]).future.result(30)
        gates = [Gate(), Gate()]
        tickets = [made.submit([gate]) for gate in gates] + [made.submit([lambda: None] * 100)]
        quick = made.retry_after
        made._mean = 1.0
        assert quick < 1 < made.retry_after <= 60
        assert made.retry_after == pytest.approx(102 * 1.0 / 2 / 2)
        for gate in gates:
            gate.may_end.set()
        for ticket in tickets:
            ticket.future.result(30)


@pytest.fixture
def batching(tiny_artifact: Artifact, tiny_engine: Engine) -> Iterator[Callable[..., tuple[Any, ...]]]:
    engines = []

    def make(best_batch: int, wait: float = 5.0) -> tuple[GatedEngine, Assessor, Combiner, list[int]]:
        engine, observed = GatedEngine(tiny_engine, best_batch=best_batch), list[int]()
        engines.append(engine)
        assessor = Assessor(tiny_artifact, engine)
        return engine, assessor, Combiner(assessor, wait, observed.append), observed

    yield make
    for engine in engines:
        engine.gate.set()


def test_images_of_several_callers_are_judged_together(
    batching: Callable[..., tuple[Any, ...]], make_photo: MakePhoto
) -> None:
    engine, assessor, judge, observed = batching(4)
    photos = [make_photo(100, 120 + seed, seed) for seed in range(8)]
    alone = [assessor(photo).quality for photo in photos]
    engine.batches.clear()
    with ThreadPoolExecutor(8) as callers:
        prepared = [assessor.prepare(photo) for photo in photos]
        together = [assessment.quality for assessment in callers.map(judge, prepared)]
    assert together == alone
    assert engine.batches == observed == [4, 4]


def test_a_lonely_image_does_not_wait_for_ever(
    batching: Callable[..., tuple[Any, ...]], make_photo: MakePhoto
) -> None:
    engine, assessor, judge, _ = batching(4, wait=0.01)
    photo = make_photo(90, 90)
    assert judge(assessor.prepare(photo)).quality == assessor(photo).quality
    assert engine.batches == [1, 1]


def test_engines_that_like_single_images_get_them_at_once(
    batching: Callable[..., tuple[Any, ...]], make_photo: MakePhoto
) -> None:
    engine, assessor, judge, observed = batching(1, wait=3600)
    photo = assessor.prepare(make_photo(90, 90))
    engine.gate.clear()
    with ThreadPoolExecutor(3) as callers:
        waiting = [callers.submit(judge, photo) for _ in range(3)]
        for _ in waiting:
            assert engine.called.acquire(timeout=30)  # all three are inside at the same time
        engine.gate.set()
        assert len({one.result(30).quality for one in waiting}) == 1
    assert observed == [1, 1, 1]


def test_one_bad_image_does_not_spoil_its_batch(tiny_artifact: Artifact, make_photo: MakePhoto) -> None:
    class Moody:
        """Cannot bear black."""

        device, name, best_batch, threads = "cpu", "moody", 3, 1

        def run(self, views: Any) -> dict[str, Any]:
            means = views["whole"].reshape(len(views["whole"]), -1).mean(axis=1)
            if not means.all():
                raise RuntimeError("black")
            return {"quality": (1 + means / 100).astype(np.float32), "spread": np.ones_like(means)}

    assessor = Assessor(tiny_artifact, Moody())
    judge = Combiner(assessor, 5.0, lambda _: None)
    photos = [make_photo(64, 64), np.zeros((64, 64, 3), np.uint8), make_photo(64, 64, 3)]
    with ThreadPoolExecutor(3) as callers:
        waiting = [callers.submit(judge, assessor.prepare(photo)) for photo in photos]
        assert waiting[0].result(30).quality == assessor(photos[0]).quality
        assert waiting[2].result(30).quality == assessor(photos[2]).quality
        with pytest.raises(RuntimeError, match="black"):
            waiting[1].result(30)
