import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from _client import (
    NO_ANSWER,
    Answer,
    Client,
    arrivals,
    closed_loop,
    open_loop,
    paced_loop,
    percentile,
    request,
    statuses,
)

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """Answers every request after a while, or hangs up; remembers what it was sent."""

    def __init__(self, seconds=0.0, status=200, hangs_up=False):
        self.seconds, self.status, self.hangs_up = seconds, status, hangs_up
        self.bodies, self.connections, self.at_once, self.most = [], 0, 0, 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                await asyncio.sleep(self.seconds)
                self.at_once -= 1
                if self.hangs_up:
                    break
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % self.status)
        except asyncio.IncompleteReadError:
            pass
        writer.close()


def test_arrivals_are_a_poisson_process():
    moments = np.array(list(arrivals(200, 50, np.random.default_rng(3))))
    gaps = np.diff(moments, prepend=0)
    assert moments[-1] < 50
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    # Of an exponential distribution mean and standard deviation are equal.
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)


def test_closed_loops_have_as_many_callers_and_no_more():
    async def go():
        server = Server(0.01)
        async with server as port:
            client = Client(port)
            answers = await closed_loop(client, [request([b"a"]), request([b"b", b"c"])], 20, 4)
            await client.close()
        return server, answers

    server, answers = asyncio.run(go())
    assert statuses(answers) == {200: 20}
    assert len(server.bodies) == 20
    assert server.most == server.connections == 4
    assert sum(b"filename" in body and body.count(b"filename") == 2 for body in server.bodies) == 10


@pytest.mark.parametrize(("takes", "rate", "sent"), [(0.0, 40, 20), (0.2, 40, 8)])
def test_paced_loops_keep_the_rate_or_wait_for_answers(takes, rate, sent):
    async def go():
        server = Server(takes)
        async with server as port:
            client = Client(port)
            answers = await paced_loop(client, [request([b"a"])], rate, 0.5, 2)
            await client.close()
        return server, answers

    server, answers = asyncio.run(go())
    assert server.most <= 2
    # Two callers send half of the rate each, or a request an answer: then three each within half a second.
    assert sent - 4 <= len(answers) <= sent + 1


def test_open_loops_do_not_wait_for_answers():
    async def go():
        server = Server(0.5)
        async with server as port:
            client = Client(port)
            answers = await open_loop(client, [request([b"a"])], 40, 0.5, np.random.default_rng(0))
            await client.close()
        return server, answers

    server, answers = asyncio.run(go())
    assert len(answers) == len(list(arrivals(40, 0.5, np.random.default_rng(0))))
    assert server.most > 5
    assert min(answer.seconds for answer in answers) >= 0.5


def test_time_counts_from_the_moment_when_a_request_was_due():
    async def go():
        async with Server() as port:
            client = Client(port)
            answer = await client.ask(request([b"a"]), due=time.perf_counter() - 3)
            await client.close()
        return answer

    assert asyncio.run(go()).seconds > 3


@pytest.mark.parametrize(("settings", "status"), [({"status": 429}, 429), ({"hangs_up": True}, NO_ANSWER)])
def test_what_is_not_a_success_is_told(settings, status):
    async def go():
        async with Server(**settings) as port:
            client = Client(port)
            answers = await closed_loop(client, [request([b"a"])], 3, 1)
            await client.close()
        return answers

    assert statuses(asyncio.run(go())) == {status: 3}


def test_a_service_that_is_not_there_is_no_answer():
    async def go():
        async with Server() as port:
            pass
        return await Client(port).ask(request([b"a"]))

    assert asyncio.run(go()).status == NO_ANSWER


def test_percentiles_are_those_of_successes():
    answers = [Answer(200, 0.1), Answer(200, 0.3), Answer(429, 9.0)]
    assert percentile(answers, 50) == pytest.approx(200)
    assert np.isnan(percentile(answers[2:], 50))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_runs(tiny_model_path):
    command = [sys.executable, "benchmarks/load.py", "--quick", "--markdown", "--model", str(tiny_model_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    found = {row[0].strip(): row[1].strip() for row in rows}
    assert found["... other than 200"] == "0"
    assert found["... other than 200 or 429"] == "0"
    assert float(found["foveal in process"]) > 0
    assert json.loads(found["memory at the end"]) > 10
