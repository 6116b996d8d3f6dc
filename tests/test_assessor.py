"""The assessor: one score for one image, however it is asked for; streams that keep order and end well."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import foveal
from foveal import assessor as assessor_module
from foveal.artifact import Artifact, SideRange
from foveal.assessment import Assessment, Failure
from foveal.assessor import Assessor, cut_views
from foveal.errors import (
    CorruptImageError,
    FovealError,
    ImageError,
    ImageNotFoundError,
    InvalidArrayError,
    TooManyPixelsError,
)
from foveal.imaging.limits import Limits
from foveal.imaging.views import Pixels, fragment_view, whole_view
from foveal.runtime import Engine, make_engine

Photo = NDArray[np.uint8]
MakePhoto = Callable[..., Photo]


@pytest.fixture(scope="module")
def assessor(tiny_artifact: Artifact) -> Assessor:
    return Assessor(tiny_artifact, make_engine(tiny_artifact, threads=2))


@pytest.fixture(scope="module")
def photos(make_photo: MakePhoto) -> list[Photo]:
    return [make_photo(240 + 10 * seed, 300, seed) for seed in range(9)]


class BatchingEngine:
    """An engine like the one for CUDA: takes whole batches. Counts the images of each."""

    name = "batching"
    device = "cpu"
    best_batch = 4
    threads = 2

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.counts: list[int] = []

    def run(self, views: Mapping[str, Photo]) -> dict[str, NDArray[np.float32]]:
        self.counts.append(len(views["whole"]))
        return self._engine.run(views)


def qualities(rows: Iterator[Assessment | Failure]) -> list[float]:
    return [row.quality for row in rows if isinstance(row, Assessment)]


def test_an_assessment_is_complete(assessor: Assessor, photo: Photo) -> None:
    result = assessor(photo)
    assert 1 <= result.interval.low < result.quality < result.interval.high <= 5
    assert result.interval.coverage == 0.9
    assert result.model == "tiny@0.0.1"
    assert result.source is None
    assert result.warnings == ()
    assert assessor(photo, name="mine").source == "mine"


def test_quality_and_interval_come_from_the_graph(
    tiny_artifact: Artifact, assessor: Assessor, photo: Photo
) -> None:
    views = {
        "whole": foveal.imaging.views.whole_view(photo),
        "fragments": foveal.imaging.views.fragment_view(photo),
    }
    outputs = make_engine(tiny_artifact, threads=1).run({name: view[None] for name, view in views.items()})
    quality, reach = float(outputs["quality"][0]), 1.5 * float(outputs["spread"][0])
    result = assessor(photo)
    assert result.quality == quality
    assert result.interval.low == max(1.0, quality - reach)
    assert result.interval.high == min(5.0, quality + reach)


def test_all_sources_of_the_same_pixels_score_alike(assessor: Assessor, photo: Photo, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.fromarray(photo).save(path)
    content = path.read_bytes()
    sources = [photo, path, str(path), content, io.BytesIO(content), Image.fromarray(photo)]
    assert {assessor(source).quality for source in sources} == {assessor(photo).quality}
    assert assessor(path).source == str(path)


def test_an_array_stays_as_it_was(assessor: Assessor, photo: Photo) -> None:
    before = photo.copy()
    assessor(photo)
    np.testing.assert_array_equal(photo, before)
    assert photo.flags.writeable


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_score_depends_on_the_image_alone(
    tiny_artifact: Artifact, assessor: Assessor, photos: list[Photo], engine: str, threads: int
) -> None:
    alone = [assessor(photo).quality for photo in photos]
    assert max(alone) - min(alone) > 0.05
    other = Assessor(tiny_artifact, make_engine(tiny_artifact, engine=engine, threads=threads))
    np.testing.assert_allclose(qualities(other.stream(photos)), alone, atol=1e-3)
    np.testing.assert_allclose(qualities(other.stream(photos[::-1]))[::-1], alone, atol=1e-3)
    np.testing.assert_allclose(qualities(other.stream(photos, workers=4)), alone, atol=1e-3)


def test_engines_that_like_batches_get_them(
    tiny_artifact: Artifact, assessor: Assessor, photos: list[Photo], photo_folder: Path
) -> None:
    engine = BatchingEngine(make_engine(tiny_artifact, threads=1))
    batching = Assessor(tiny_artifact, engine)
    assert qualities(batching.stream(photos)) == [assessor(photo).quality for photo in photos]
    assert engine.counts == [4, 4, 1]
    mixed = [photo_folder / "broken.jpg", *photos[:4], photo_folder / "notes.txt", photo_folder / "a.jpg"]
    rows = list(batching.stream(mixed, on_error="yield"))
    assert [isinstance(row, Failure) for row in rows] == [True, False, False, False, False, True, False]
    assert qualities(iter(rows)) == [
        assessor(image).quality for image in [*photos[:4], photo_folder / "a.jpg"]
    ]
    broken = [photo_folder / "notes.txt"] * 9
    assert len(list(batching.stream(broken, on_error="yield"))) == 9
    stream = batching.stream(mixed[1:])
    assert qualities(next(stream) for _ in range(4)) == qualities(iter(rows[1:5]))
    with pytest.raises(ImageError, match=r"notes\.txt"):
        next(stream)


def test_failures_come_in_their_place(assessor: Assessor, photo_folder: Path, photo: Photo) -> None:
    names = ["a.jpg", "broken.jpg", "inner/d.jpg", "nowhere.jpg", "notes.txt", "b.png"]
    images: list[Any] = [photo_folder / name for name in names]
    rows = list(assessor.stream([*images, photo, np.zeros((2, 2, 7)), b"text", None], on_error="yield"))
    assert [row.source for row in rows] == [*map(str, images), "image 6", "image 7", "image 8", "image 9"]
    failed = [isinstance(row, Failure) for row in rows]
    assert failed == [False, True, False, True, True, False, False, True, True, True]
    for row in rows:
        if isinstance(row, Failure):
            assert isinstance(row.error, ImageError)
            assert str(row.error).startswith(row.source)
    missing, array = rows[3], rows[7]
    assert isinstance(missing, Failure)
    assert isinstance(missing.error, ImageNotFoundError)
    assert isinstance(array, Failure)
    assert isinstance(array.error, InvalidArrayError)


def test_errors_are_raised_in_their_place_by_default(assessor: Assessor, photo_folder: Path) -> None:
    stream = assessor.stream([photo_folder / "a.jpg", photo_folder / "b.png", photo_folder / "broken.jpg"])
    assert [next(stream).source for _ in range(2)] == [
        str(photo_folder / "a.jpg"),
        str(photo_folder / "b.png"),
    ]
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        next(stream)
    assert not worker_threads()


def test_an_error_carries_the_name_that_was_given(assessor: Assessor) -> None:
    with pytest.raises(ImageError, match=r"^upload 7: "):
        assessor(b"not a picture", name="upload 7")


def test_unexpected_failures_of_decoding_become_rows(
    assessor: Assessor, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("in a codec")

    monkeypatch.setattr(assessor_module, "decode", explode)
    (row,) = assessor.stream([photo], on_error="yield")
    assert isinstance(row, Failure)
    assert isinstance(row.error, CorruptImageError)
    assert "ZeroDivisionError: in a codec" in str(row.error)


def test_a_broken_model_is_an_error_and_no_row(tiny_artifact: Artifact, photo: Photo) -> None:
    head = np.full((16, 2), np.nan, np.float32)
    artifact = dataclasses.replace(tiny_artifact, weights={**tiny_artifact.weights, "head.weight": head})
    broken = Assessor(artifact, make_engine(artifact, threads=1))
    with pytest.raises(FovealError, match=r"tiny@0\.0\.1 gives quality nan"):
        broken(photo)
    with pytest.raises(FovealError, match="image 0"):
        list(broken.stream([photo], on_error="yield"))


def test_quality_never_leaves_the_scale(tiny_artifact: Artifact, photo: Photo) -> None:
    for offset, end in [(100.0, 5.0), (-100.0, 1.0)]:
        weights = {**tiny_artifact.weights, "one": np.array(offset, np.float32)}
        artifact = dataclasses.replace(tiny_artifact, weights=weights)
        result = Assessor(artifact, make_engine(artifact, threads=1))(photo)
        assert result.quality == end
        assert 1 <= result.interval.low <= result.interval.high <= 5


def test_a_stream_takes_its_images_lazily(assessor: Assessor, photo: Photo) -> None:
    taken = 0

    def images() -> Iterator[Photo]:
        nonlocal taken
        for _ in range(60):
            taken += 1
            yield photo

    for done, _ in enumerate(assessor.stream(images(), workers=2)):
        assert taken - done <= 6
    assert taken == 60


def worker_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("foveal")]


@pytest.mark.parametrize("batching", [False, True])
def test_an_abandoned_stream_leaves_no_threads(
    tiny_artifact: Artifact, assessor: Assessor, photo: Photo, batching: bool
) -> None:
    if batching:
        assessor = Assessor(tiny_artifact, BatchingEngine(make_engine(tiny_artifact, threads=1)))
    stream = assessor.stream(photo for _ in range(1000))
    next(stream)
    assert worker_threads()
    del stream
    assert not worker_threads()
    assert list(assessor.stream([])) == []
    assert not worker_threads()


def test_bad_arguments_are_told_at_once(assessor: Assessor) -> None:
    with pytest.raises(ValueError, match="workers is 0"):
        assessor.stream([], workers=0)
    with pytest.raises(ValueError, match="'ignore'"):
        assessor.stream([], on_error="ignore")


@pytest.mark.parametrize(
    ("shape", "warning"),
    [
        ((1, 300), "narrow strip of 300 x 1"),
        ((300, 30), "narrow strip of 30 x 300"),
        ((40, 50), "much smaller than the images it was trained on: 50 x 40"),
        (
            (500, 2100),
            "much larger than the images it was trained on: 2100 x 500, its training images have 224 to 1024",
        ),
        ((150, 200), None),
        ((2000, 1500), None),
    ],
)
def test_unusual_sizes_earn_a_warning(
    assessor: Assessor, make_photo: MakePhoto, shape: tuple[int, int], warning: str | None
) -> None:
    warnings = assessor(make_photo(*shape)).warnings
    if warning is None:
        assert warnings == ()
    else:
        (only,) = warnings
        assert warning in only


def test_unknown_training_sizes_earn_none(tiny_artifact: Artifact, make_photo: MakePhoto) -> None:
    artifact = dataclasses.replace(
        tiny_artifact, card=dataclasses.replace(tiny_artifact.card, trained_on=None)
    )
    assessor = Assessor(artifact, make_engine(artifact, threads=1))
    assert assessor(make_photo(40, 50)).warnings == ()
    small = dataclasses.replace(tiny_artifact.card, trained_on=SideRange(min_side=20, max_side=30))
    assert Assessor(dataclasses.replace(artifact, card=small), make_engine(artifact))(
        make_photo(70, 70)
    ).warnings


def test_warnings_of_the_decoder_are_passed_on(
    assessor: Assessor, make_photo: MakePhoto, tmp_path: Path
) -> None:
    frames = [Image.fromarray(make_photo(seed=seed)) for seed in range(3)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    (warning,) = assessor(path).warnings
    assert "frame" in warning


def test_limits_are_kept(tiny_model_path: Path, photo: Photo) -> None:
    strict = foveal.load(tiny_model_path, limits=Limits(max_pixels=1000))
    with pytest.raises(TooManyPixelsError, match="limit"):
        strict(photo)


def test_describes_itself(assessor: Assessor, tiny_artifact: Artifact) -> None:
    assert assessor.card == tiny_artifact.card
    assert assessor.engine.threads == 2
    assert repr(assessor) == "Assessor(tiny@0.0.1, openvino on cpu)"


def test_views_are_those_that_the_functions_cut(tiny_artifact: Artifact, photo: Pixels) -> None:
    views = cut_views(photo, tiny_artifact.card.views)
    assert set(views) == {"whole", "fragments"}
    np.testing.assert_array_equal(views["whole"], whole_view(photo))
    np.testing.assert_array_equal(views["fragments"], fragment_view(photo))
