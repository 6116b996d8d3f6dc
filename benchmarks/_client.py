"""A client of the service that costs little: requests are built once, answers are read only as far as needed.

It shares the machine with the service that it measures, so every microsecond that it takes is taken from it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle

import numpy as np

BOUNDARY = b"foveal-load"
NO_ANSWER = 0
"""What counts as the status of a request that got none."""
_TIMEOUT = 120.0


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        status: of the answer.
        seconds: from the moment when it was due to the end of its answer. A client that is late does not make
            a slow service look quick (coordinated omission).
    """

    status: int
    seconds: float


def request(images: Sequence[bytes]) -> bytes:
    """A request for the scores of images, as it goes over the wire."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="image"; filename="%d.jpg"\r\n\r\n%b\r\n'
        % (BOUNDARY, number, image)
        for number, image in enumerate(images)
    ]
    body = b"".join([*parts, b"--%b--\r\n" % BOUNDARY])
    head = (
        b"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=%b\r\n"
        b"Content-Length: %d\r\n\r\n" % (BOUNDARY, len(body))
    )
    return head + body


class Client:
    """Connections to one service, kept open and used again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, wire: bytes, due: float | None = None) -> Answer:
        """Send a request and wait for its answer; ``due`` is its moment, by ``time.perf_counter``."""
        begun = time.perf_counter() if due is None else due
        try:
            async with asyncio.timeout(_TIMEOUT), self._connection() as (reader, writer):
                writer.write(wire)
                status, stays = await _status(reader)
                if not stays:
                    writer.close()
        except (OSError, EOFError, ValueError):
            status = NO_ANSWER
        return Answer(status, time.perf_counter() - begun)

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self._idle.clear()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """An idle connection, or a new one; kept if all goes well."""
        while self._idle:
            pair = self._idle.pop()
            if not pair[0].at_eof():  # the service closes what was idle for long, as it may
                break
            pair[1].close()
        else:
            pair = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield pair
        except BaseException:
            pair[1].close()
            raise
        if not pair[1].is_closing():
            self._idle.append(pair)


async def closed_loop(client: Client, wires: Sequence[bytes], count: int, at_once: int) -> list[Answer]:
    """Send requests, each as soon as one of so many callers has got its last answer.

    Args:
        client: sends.
        wires: requests, taken in turn.
        count: how many.
        at_once: callers.
    """
    waiting: Iterator[bytes] = (wire for _, wire in zip(range(count), cycle(wires), strict=False))

    async def caller() -> list[Answer]:
        return [await client.ask(wire) for wire in waiting]

    return [
        answer for answers in await asyncio.gather(*(caller() for _ in range(at_once))) for answer in answers
    ]


async def paced_loop(
    client: Client, wires: Sequence[bytes], rate: float, seconds: float, at_once: int
) -> list[Answer]:
    """Send requests in a closed loop at a rate: callers think between an answer and their next request.

    Where answers come too slowly for the rate, callers do not think, and fewer requests are sent.

    Args:
        client: sends.
        wires: requests, taken in turn.
        rate: requests a second, of all callers.
        seconds: how long.
        at_once: callers; each waits for an answer before it asks again.
    """
    waiting, begun = cycle(wires), time.perf_counter()

    async def caller(number: int) -> list[Answer]:
        answers: list[Answer] = []
        due = begun + number / rate
        while max(due, time.perf_counter()) < begun + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            answers.append(await client.ask(next(waiting)))
            due += at_once / rate
        return answers

    return [answer for answers in await asyncio.gather(*map(caller, range(at_once))) for answer in answers]


async def open_loop(
    client: Client, wires: Sequence[bytes], rate: float, seconds: float, rng: np.random.Generator
) -> list[Answer]:
    """Send requests at moments of a Poisson process, whether or not earlier ones are answered.

    Args:
        client: sends.
        wires: requests, taken in turn.
        rate: requests a second, on average.
        seconds: how long.
        rng: of the moments.
    """
    begun, tasks = time.perf_counter(), []
    for wire, moment in zip(cycle(wires), arrivals(rate, seconds, rng), strict=False):
        due = begun + moment
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(client.ask(wire, due)))
    return list(await asyncio.gather(*tasks))


def arrivals(rate: float, seconds: float, rng: np.random.Generator) -> Iterator[float]:
    """Moments of a Poisson process, in seconds from its beginning."""
    moment = rng.exponential(1 / rate)
    while moment < seconds:
        yield moment
        moment += rng.exponential(1 / rate)


def statuses(answers: Sequence[Answer]) -> Counter[int]:
    """How many answers have each status."""
    return Counter(answer.status for answer in answers)


def percentile(answers: Sequence[Answer], share: float) -> float:
    """Time of the answers with status 200, in milliseconds; NaN if there are none."""
    times = [answer.seconds for answer in answers if answer.status == 200]
    return 1e3 * float(np.percentile(times, share)) if times else float("nan")


async def _status(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read an answer to its end; give its status, and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1]), b"connection: close" not in head
