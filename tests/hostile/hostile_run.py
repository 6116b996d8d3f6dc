"""Send every attack to a service in this process, and tell what came of it: one JSON object on standard output.

A process of its own, so that its greatest memory is that of the service under attack, and a crash is one.
"""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import resource
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from hostile_requests import Attack, attacks

import foveal
from constructed_explainer import constructed_explainer
from foveal.explanation.explainer import Explainer
from foveal.service.app import create_app
from foveal.service.batcher import Combiner
from foveal.service.errors import PROBLEMS
from foveal.service.metrics import Metrics
from foveal.service.models import LoadedModel, Models
from foveal.service.settings import MIB, Settings

AT_ONCE = 6
SECONDS = 60.0
SETTINGS = {
    "max_pixels": 4_000_000, "max_image": 16 * MIB, "max_body": 24 * MIB, "max_held": 160 * MIB,
    "request_seconds": SECONDS, "explain_queue": 16,
}  # fmt: skip
PICTURE = (64, 80, 3)


class Log(logging.Handler):
    """Keeps what the service says of itself that it should not have to say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


async def ask(app: Any, attack: Attack, rng: np.random.Generator) -> tuple[int, dict[str, str], bytes]:
    """Send a request in pieces; its answer."""
    sent = [(b"host", b"127.0.0.1"), (b"content-type", attack.kind)]
    taken = {name for name, _ in attack.headers}
    headers = [pair for pair in sent if pair[0] not in taken] + list(attack.headers)
    path, _, query = attack.path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": attack.method,
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": headers, "server": None, "client": None,
    }  # fmt: skip
    step = int(rng.integers(1_000, 200_000))
    pieces = [attack.body[start : start + step] for start in range(0, len(attack.body), step)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False
    received: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        return None

    async def send(message: Any) -> None:
        received.append(message)

    async with asyncio.timeout(2 * SECONDS):
        await app(scope, receive, send)
    start, *rest = received
    shown = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return start["status"], shown, b"".join(message.get("body", b"") for message in rest)


def wrong(attack: Attack, status: int, headers: dict[str, str], body: bytes) -> str | None:
    """What is wrong with an answer; None if it is proper."""
    if status >= 500 or status < 200:
        return f"status {status}: {body[:300]!r}"
    if status in (301, 302, 303, 307, 308) or "set-cookie" in headers:
        return f"status {status}, headers {headers}"
    for secret in (b"Traceback", b"site-packages", b'.py"', b" at 0x", b"/src/foveal"):
        if secret in body:
            return f"tells {secret!r}"
    if attack.path in ("/metrics", "/") and status == 200:
        return None
    answer = json.loads(body)
    if status >= 400:
        code = answer["error"]["code"]
        own = {row["error"]["code"] for row in answer.get("results", [])}
        if code not in PROBLEMS or PROBLEMS[code].status != status or not own <= set(PROBLEMS):
            return f"{status} {code} {own}"
        return None if answer["error"]["message"] else "no message"
    qualities = [row["quality"] for row in answer["results"] if "quality" in row]
    inside = all(1 <= quality <= 5 for quality in qualities)
    return None if qualities and inside else f"results {body[:200]!r}"


async def main(model: str, seed: int) -> dict[str, Any]:
    def load(settings: Settings, metrics: Metrics) -> Models:
        assessor = foveal.load(model, threads=2, limits=settings.limits)
        explainer = Explainer(constructed_explainer(), assessor, limits=settings.limits)
        return Models(
            [LoadedModel(assessor, Combiner(assessor, settings.batch_wait, metrics.batch), explainer)]
        )

    app = create_app(Settings(**SETTINGS), load)  # type: ignore[arg-type]
    service = app.state.service
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (8, 10, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    assert pixels.shape == PICTURE
    codes: collections.Counter[str] = collections.Counter()
    faults: list[str] = []
    begun = asyncio.Semaphore(AT_ONCE)

    async def one(attack: Attack) -> None:
        try:
            status, headers, body = await ask(app, attack, np.random.default_rng(len(attack.body)))
            fault = wrong(attack, status, headers, body)
            codes[json.loads(body)["error"]["code"] if status >= 400 else str(status)] += 1
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        if fault:
            faults.append(f"{attack.name}: {fault}")
        begun.release()

    async def all_of(wave: Iterable[Attack]) -> int:
        count = 0
        async with asyncio.TaskGroup() as tasks:
            for attack in wave:
                await begun.acquire()
                tasks.create_task(one(attack))
                count += 1
        return count

    async with app.router.lifespan_context(app):
        while not service.life.warm:
            await asyncio.sleep(0.01)
        good = Attack("good", next(body for name, body in _good(pixels)))
        first = json.loads((await ask(app, good, rng))[2])["results"]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        count = await all_of(attacks(pixels, seed))
        last = json.loads((await ask(app, good, rng))[2])["results"]
        state = (service.life.at_work, service.budget.used, [pool.depth for pool in service.pools])
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "count": count,
        "codes": dict(sorted(codes.items())),
        "faults": faults,
        "same": first == last and "quality" in first[0],
        "state": state,
        "megabytes before": before * unit / 1e6,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
    }


def _good(pixels: np.ndarray) -> Iterable[tuple[str, bytes]]:
    from hostile_files import whole_files
    from hostile_requests import disposition, form

    files = dict(whole_files(pixels))
    yield "png", form((disposition(), files["PNG RGB"]))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Pillow's plugins warn of all sorts of damage
    log = Log()
    logging.getLogger("foveal.service").addHandler(log)
    found = asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    print(json.dumps({**found, "log": log.records[:20]}))
