import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _race import Contestant, fastest, figure, images_for, on_threads, race, ratio, taken


class Clockwork:
    """Time that passes only while contestants work."""

    def __init__(self):
        self.now = 0.0
        self.runs = []

    def __call__(self):
        return self.now

    def contestant(self, name, rate, step=1, threads=1):
        def work(count):
            self.runs.append((name, count))
            self.now += count / rate

        return Contestant(name, threads, work, step)


def test_rates_are_images_per_second_of_each_round():
    clock = Clockwork()
    rates = race(
        [clock.contestant("slow", 4), clock.contestant("fast", 100)], rounds=3, seconds=2, clock=clock
    )
    assert rates == {"slow": pytest.approx([4] * 3), "fast": pytest.approx([100] * 3)}


def test_every_contestant_runs_once_a_round_and_the_order_changes():
    clock = Clockwork()
    names = ["a", "b", "c", "d"]
    rounds = 6
    race([clock.contestant(name, 10) for name in names], rounds=rounds, seconds=1, clock=clock)
    timed = [name for name, _ in clock.runs][-rounds * len(names) :]
    by_round = [timed[i : i + len(names)] for i in range(0, len(timed), len(names))]
    assert all(sorted(order) == names for order in by_round)
    assert len({tuple(order) for order in by_round}) > 1


@settings(deadline=None)
@given(st.floats(0.1, 1e4), st.integers(1, 64), st.floats(0.01, 10))
def test_a_turn_is_whole_batches_and_about_as_long_as_wanted(rate, step, seconds):
    clock = Clockwork()
    count = images_for(clock.contestant("x", rate, step), seconds, clock)
    assert count >= step
    assert count % step == 0
    assert abs(count - rate * seconds) <= step


def test_a_ratio_is_taken_round_by_round():
    # A machine that becomes twice as slow half way leaves the ratio as it is.
    rates = {"a": [40.0, 40.0, 20.0], "b": [10.0, 10.0, 5.0]}
    assert ratio(rates, "a", "b") == figure([4.0])


def test_fastest_goes_by_the_median():
    assert fastest({"steady": [5, 5, 5], "lucky": [1, 1, 90]}, ["lucky", "steady"]) == "steady"


def test_items_start_again_when_they_run_out():
    assert "".join(taken("abc", 7)) == "abcabca"


def test_work_on_threads_is_done_once_for_each_item():
    counter = itertools.count()
    on_threads(lambda _: next(counter), range(50), 3)
    assert next(counter) == 50
