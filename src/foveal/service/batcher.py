"""A bounded queue with worker threads, and batches across requests for engines that are quicker with them."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from foveal.assessment import Assessment
from foveal.assessor import Assessor, Prepared
from foveal.errors import FovealError, bare
from foveal.service.errors import is_expected

_T = TypeVar("_T")
_Call = Callable[[], _T]

_MEMORY = 0.9
"""Weight of the past in the mean time of a job: the last ten or so count."""
_FIRST_GUESS = 0.1
"""Seconds of a job before any was measured."""
_MOST_SECONDS = 60.0


class QueueFullError(FovealError):
    """There is no room for more jobs.

    Attributes:
        retry_after: seconds in which about half of the work at hand will be done.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"the queue of {name} is full")
        self.retry_after = retry_after


class Ticket(Generic[_T]):
    """The jobs of one request, taken in together and done in any order.

    Attributes:
        future: one outcome a job, in their order: what it gave, or the exception that it raised (without its
            traceback, if it was to be expected). Cancelling it drops the jobs that no worker has begun.
        waited: seconds that the last of the jobs to be begun waited for a worker.
    """

    def __init__(self, count: int) -> None:
        self.future: Future[list[_T | Exception]] = Future()
        self.waited = 0.0
        self._outcomes: list[Any] = [None] * count
        self._left = count

    def put(self, place: int, outcome: _T | Exception) -> bool:
        """Keep the outcome of one job; True for the last one. The pool's lock is held."""
        self._outcomes[place] = outcome
        self._left -= 1
        return self._left == 0

    def close(self) -> None:
        """Hand the outcomes over, and keep none."""
        outcomes, self._outcomes = self._outcomes, []
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(outcomes)


class Pool(Generic[_T]):
    """Does jobs on threads of its own, first come, first served; takes only as many as it has room for.

    Args:
        name: of its threads, and in errors.
        workers: threads.
        capacity: jobs that may wait or be at work.
    """

    def __init__(self, name: str, *, workers: int, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self._jobs: deque[tuple[_Call[_T], Ticket[_T], int, float]] = deque()
        self._changed = threading.Condition()
        self._depth = 0
        self._mean = _FIRST_GUESS
        self._closing = False
        # Daemons: a job that outlives the grace of a shutdown must not keep the process.
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Jobs that wait or are at work."""
        return self._depth

    @property
    def waiting(self) -> int:
        """Jobs that wait for a worker."""
        return len(self._jobs)

    @property
    def is_full(self) -> bool:
        """Whether not even one more job has room."""
        return self._depth >= self.capacity

    @property
    def retry_after(self) -> float:
        """Seconds in which about half of the jobs at hand will be done, by the pace of the last ones."""
        return min(_MOST_SECONDS, self._depth * self._mean / max(1, len(self._threads)) / 2)

    def full(self) -> QueueFullError:
        """The error for jobs that have no room."""
        return QueueFullError(self.name, self.retry_after)

    def submit(self, calls: Sequence[_Call[_T]]) -> Ticket[_T]:
        """Take in all jobs of a request, or none.

        Args:
            calls: what to do; exceptions become outcomes.

        Raises:
            QueueFullError: there is no room for all of them.
        """
        ticket: Ticket[_T] = Ticket(len(calls))
        if not calls:
            ticket.close()
            return ticket
        with self._changed:
            if self._closing or self._depth + len(calls) > self.capacity:
                raise self.full()
            self._depth += len(calls)
            now = time.monotonic()
            self._jobs.extend((call, ticket, place, now) for place, call in enumerate(calls))
            self._changed.notify(len(calls))
        # A future keeps its callbacks: one that held the ticket, which holds the future, would be a circle.
        known = weakref.ref(ticket)
        ticket.future.add_done_callback(lambda future: self._drop(known()) if future.cancelled() else None)
        return ticket

    def close(self, seconds: float) -> bool:
        """Take nothing more in, and wait until all is done; False if that takes longer than ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    if self._closing:
                        return
                    self._changed.wait()
                call, ticket, place, since = self._jobs.popleft()
            begun = time.monotonic()
            ticket.waited = max(ticket.waited, begun - since)
            outcome: _T | Exception
            try:
                outcome = call()
            except Exception as error:  # the next job is not to suffer from it
                outcome = bare(error) if is_expected(error) else error
            # Neither a job's data nor its outcome may outlive it in this frame, which waits for the next.
            del call
            seconds = time.monotonic() - begun
            with self._changed:
                self._depth -= 1
                self._mean = _MEMORY * self._mean + (1 - _MEMORY) * seconds
                done = ticket.put(place, outcome)
            if done:
                ticket.close()
            del ticket, outcome

    def _drop(self, ticket: Ticket[_T] | None) -> None:
        """Make room: nobody waits for these jobs any more. Those that wait keep their ticket alive."""
        with self._changed:
            kept = [job for job in self._jobs if job[1] is not ticket]
            self._depth -= len(self._jobs) - len(kept)
            self._jobs = deque(kept)


class _Batch:
    """Images that are about to be judged together."""

    def __init__(self) -> None:
        self.images: list[Prepared] = []
        self.full = threading.Event()
        self.done = threading.Event()
        self.outcomes: Sequence[Assessment | Exception] = ()


class Combiner:
    """Judges images that come from several threads in common batches.

    The first thread to come leads: it waits a little for others, then judges for all of them. An engine whose
    best batch is one image (those for CPUs: they run side by side instead) is called at once by each thread.

    Args:
        assessor: judges.
        wait: seconds that the first image waits for company, at most.
        observe: told the size of every batch.
    """

    def __init__(self, assessor: Assessor, wait: float, observe: Callable[[int], None]) -> None:
        self._assessor = assessor
        self._wait = wait
        self._observe = observe
        self._size = assessor.engine.best_batch
        self._lock = threading.Lock()
        self._open: _Batch | None = None

    @property
    def workers(self) -> int:
        """Threads that keep the engine busy: as many as it serves, or two batches full."""
        return self._assessor.engine.threads if self._size == 1 else 2 * self._size

    def __call__(self, image: Prepared) -> Assessment:
        """Judge one image.

        Raises:
            FovealError: the model gives no finite number for it.
        """
        if self._size == 1:
            self._observe(1)
            return self._assessor.judge([image])[0]
        batch, place = self._join(image)
        if place == 0:
            self._lead(batch)
        else:
            batch.done.wait()
        outcome = batch.outcomes[place]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _join(self, image: Prepared) -> tuple[_Batch, int]:
        with self._lock:
            batch = self._open or _Batch()
            batch.images.append(image)
            is_full = len(batch.images) == self._size
            self._open = None if is_full else batch
            if is_full:
                batch.full.set()
            return batch, len(batch.images) - 1

    def _lead(self, batch: _Batch) -> None:
        batch.full.wait(self._wait)
        with self._lock:
            if self._open is batch:
                self._open = None
        try:
            batch.outcomes = self._judge(batch.images)
        finally:
            batch.done.set()

    def _judge(self, images: Sequence[Prepared]) -> Sequence[Assessment | Exception]:
        self._observe(len(images))
        try:
            return self._assessor.judge(images)
        except Exception as error:
            if len(images) == 1:
                return [error]
        # One image can spoil a call for all: each gets its own.
        return [outcome for image in images for outcome in self._judge([image])]
