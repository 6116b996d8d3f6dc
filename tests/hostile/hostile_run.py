"""Send every attack to a service in this process, and tell what came of it: a JSON object on standard output.

A process of its own, so that its greatest memory is that of the service under attack, and a crash is one.
"""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from hostile_files import whole_files
from hostile_requests import Attack, attacks, disposition, form

import foveal
from constructed_explainer import constructed_explainer
from foveal.explanation.explainer import Explainer
from foveal.service.app import create_app
from foveal.service.batcher import Combiner
from foveal.service.errors import PROBLEMS
from foveal.service.metrics import Metrics
from foveal.service.models import LoadedModel, Models
from foveal.service.settings import MIB, Settings
from peak_memory import peak_bytes

AT_ONCE = 6
SECONDS = 60.0
SETTINGS = {
    "max_pixels": 4_000_000, "max_image": 16 * MIB, "max_body": 24 * MIB, "max_held": 160 * MIB,
    "request_seconds": SECONDS, "explain_queue": 16,
}  # fmt: skip
SECRETS = (b"Traceback", b"site-packages", b'.py"', b" at 0x", b"/src/foveal")
PAGES = ("/", "/metrics")


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
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": attack.method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "server": None,
        "client": None,
    }
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
    told = [secret for secret in SECRETS if secret in body]
    if not (200 <= status < 300 or 400 <= status < 500) or told or "set-cookie" in headers:
        return f"status {status}, headers {headers}, tells {told}: {body[:300]!r}"
    if attack.path in PAGES and status == 200:
        return None
    answer = json.loads(body)
    return _wrong_error(status, answer) if status >= 400 else _wrong_results(answer)


def _wrong_error(status: int, answer: dict[str, Any]) -> str | None:
    code, message = answer["error"]["code"], answer["error"]["message"]
    own = {row["error"]["code"] for row in answer.get("results", [])}
    known = code in PROBLEMS and PROBLEMS[code].status == status and own <= set(PROBLEMS)
    return None if known and message else f"{status} {answer}"


def _wrong_results(answer: dict[str, Any]) -> str | None:
    qualities = [row["quality"] for row in answer["results"] if "quality" in row]
    proper = qualities and all(1 <= quality <= 5 for quality in qualities)
    return None if proper else f"results {answer}"


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
        good = Attack("good", form((disposition(), dict(whole_files(pixels))["PNG RGB"])))
        first = json.loads((await ask(app, good, rng))[2])["results"]
        before = peak_bytes()
        count = await all_of(attacks(pixels, seed))
        last = json.loads((await ask(app, good, rng))[2])["results"]
        state = (service.life.at_work, service.budget.used, [pool.depth for pool in service.pools])
    return {
        "count": count,
        "codes": dict(sorted(codes.items())),
        "faults": faults,
        "same": first == last and "quality" in first[0],
        "state": state,
        "megabytes before": before / 1e6,
        "megabytes": peak_bytes() / 1e6,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Pillow's plugins warn of all sorts of damage
    log = Log()
    logging.getLogger("foveal.service").addHandler(log)
    found = asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    print(json.dumps({**found, "log": log.records[:20]}))
