"""A map over many items on threads: lazy, bounded, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ordered_map(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int, ahead: int
) -> Generator[_Result, None, None]:
    """Apply a function to items on several threads and give the results in the order of the items.

    Args:
        function: called on worker threads.
        items: taken lazily, on the caller's thread.
        workers: threads, at least 1.
        ahead: items taken whose results are not yet given, at most; at least 1.

    Yields:
        One result an item. An exception of the function is raised in its place, one of ``items`` at once.
        After it, and when the caller stops early, waiting items are dropped and the threads ended.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="foveal")
    try:
        source = iter(items)
        running: deque[Future[_Result]] = deque(pool.submit(function, item) for item in islice(source, ahead))
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(function, item) for item in islice(source, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
