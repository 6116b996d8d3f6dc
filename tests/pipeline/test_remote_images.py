"""Images behind URLs: fetched ahead, in order, and whatever a server answers becomes a row."""

from __future__ import annotations

import threading
import uuid
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from foveal.errors import EmptyImageError, FileTooLargeError, ImageNotFoundError
from foveal.imaging.decode import decode
from foveal.imaging.limits import Limits
from foveal.pipeline.inputs import find_shards
from foveal.pipeline.remote import Fetched, NotFetched, fetch, fetched_ahead

LIMITS = Limits()


class Moody(SimpleHTTPRequestHandler):
    """A folder over HTTP; names that begin with a status get that answer, at first or always."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        status, _, rest = name.partition("-")
        if status.isdigit() and (rest.startswith("always") or self.asked.count(name) == 1):
            self.send_error(int(status))
            return
        if status.isdigit():
            self.path = self.path.replace(name, rest)
        super().do_GET()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(photo_folder: Path) -> Iterator[str]:
    """URL of ``photo_folder``."""

    def handler(*args: Any) -> BaseHTTPRequestHandler:
        return Moody(*args, directory=str(photo_folder))

    Moody.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_folder_is_listed_and_fetched(server: str, photo_folder: Path) -> None:
    (shard,) = find_shards([f"{server}/"], 10)
    found = [name.removeprefix(f"{server}/") for name, _ in shard.items({})]
    assert found == ["a.jpg", "b.png", "broken.jpg", "c.webp", "inner/d.jpg"]
    for name in found:
        assert fetch(f"{server}/{name}", {}, LIMITS) == (photo_folder / name).read_bytes()


def test_a_table_over_http(server: str, photo_folder: Path) -> None:
    (photo_folder / "t.csv").write_text("image,prompt\na.jpg,a fox\n")
    (shard,) = find_shards([f"{server}/t.csv"], 10)
    assert list(shard.items({})) == [("a.jpg", "a fox")]
    assert shard.base == server


def test_a_busy_server_is_asked_again(
    server: str, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.pipeline.retry.time.sleep", lambda seconds: None)
    assert fetch(f"{server}/503-a.jpg", {}, LIMITS) == (photo_folder / "a.jpg").read_bytes()
    assert Moody.asked.count("503-a.jpg") == 2


@pytest.mark.parametrize(
    ("name", "said", "asked"),
    [
        ("gone.jpg", "there is no such file; check the URL", 1),
        ("403-always", "may not be read; check the permissions", 1),
        ("401-always", "may not be read", 1),
        ("410-always", "there is no such file", 1),
        ("500-always", "cannot be read (500", 4),
    ],
)
def test_answers_that_give_no_image(
    server: str, name: str, said: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.pipeline.retry.time.sleep", lambda seconds: None)
    with pytest.raises(ImageNotFoundError) as raised:
        fetch(f"{server}/{name}", {}, LIMITS)
    assert said in str(raised.value)
    assert Moody.asked.count(name) == asked


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.pipeline.retry.time.sleep", lambda seconds: None)
    with pytest.raises(ImageNotFoundError, match="cannot be read"):
        fetch("http://127.0.0.1:9/a.jpg", {}, LIMITS)


def test_nobody_speaks_the_protocol() -> None:
    with pytest.raises(ImageNotFoundError, match=r"^nonsense://b/a.jpg: Protocol not known"):
        fetch("nonsense://b/a.jpg", {}, LIMITS)


NAMES = ["a::b.jpg", "memory::a.jpg", "a#1.jpg", "a?x.jpg", "[1].jpg", "a%20b.jpg"]


def test_what_is_listed_can_be_fetched_whatever_its_name() -> None:
    folder = f"/{uuid.uuid4()}"
    for name in NAMES:
        fsspec.filesystem("memory").pipe_file(f"{folder}/{name}", name.encode())
    (shard,) = find_shards([f"memory://{folder}"], 10)
    found = [name for name, _ in shard.items({})]
    assert [fetch(name, {}, LIMITS).decode() for name in found] == sorted(NAMES)


def test_file_systems_can_be_chained(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.jpg", b"inside")
    assert fetch(f"zip://a.jpg::file://{tmp_path}/x.zip", {}, LIMITS) == b"inside"


def memory(content: bytes) -> str:
    url = f"memory://{uuid.uuid4()}.jpg"
    with fsspec.open(url, "wb") as file:
        file.write(content)
    return url


def test_images_are_decoded_as_their_files_are(photo_folder: Path) -> None:
    for name in ("a.jpg", "b.png"):
        url = memory((photo_folder / name).read_bytes())
        with fetched_ahead([url], options={}, limits=LIMITS) as images:
            decoded = decode(next(images))  # type: ignore[arg-type]
        assert decoded.name == url
        assert (decoded.pixels == decode(photo_folder / name).pixels).all()


def test_limits_hold_for_what_is_fetched() -> None:
    limits = Limits(max_bytes=100)
    url, empty = memory(b"x" * 100_000), memory(b"")
    assert len(fetch(url, {}, limits)) == 101
    with fetched_ahead([url, empty], options={}, limits=limits) as images:
        with pytest.raises(FileTooLargeError):
            decode(next(images), limits=limits)  # type: ignore[arg-type]
        with pytest.raises(EmptyImageError):
            decode(next(images), limits=limits)  # type: ignore[arg-type]


def test_order_is_kept_and_failures_are_in_their_place() -> None:
    urls = [memory(str(number).encode()) for number in range(40)]
    urls[3], urls[5], urls[7] = "memory://gone.jpg", "/a/path.jpg", ""
    with fetched_ahead(urls, options={}, limits=LIMITS, fetchers=4) as images:
        found = list(images)
    assert found[5] == "/a/path.jpg"
    for place in (3, 7):
        missing = found[place]
        assert isinstance(missing, NotFetched)
        with pytest.raises(ImageNotFoundError):
            missing.read()
    for number, image in enumerate(found):
        if number not in (3, 5, 7):
            assert isinstance(image, Fetched)
            assert (image.name, image.read()) == (urls[number], str(number).encode())


def test_only_so_many_images_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def counted(url: str, *rest: Any) -> bytes:
        begun.append(url)
        return b""

    monkeypatch.setattr("foveal.pipeline.remote.fetch", counted)
    urls = [f"memory://{number}" for number in range(100)]
    with fetched_ahead(urls, options={}, limits=LIMITS, fetchers=3) as images:
        for taken, _ in enumerate(images):
            assert len(begun) <= taken + 1 + 2 * 3
            if taken == 20:
                break
    assert len(begun) <= 21 + 2 * 3


def test_paths_alone_start_no_threads() -> None:
    before = threading.active_count()
    with fetched_ahead(["a.jpg", "b.jpg"], options={}, limits=LIMITS) as images:
        assert next(images) == "a.jpg"
        assert threading.active_count() == before
