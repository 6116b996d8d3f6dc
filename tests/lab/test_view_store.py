"""The store of views: plans survive, views are cut again bit for bit, draw 0 is what the assessor sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from foveal.artifact import Artifact
from foveal.assessor import Assessor
from foveal.imaging.degradations import DEGRADATIONS, degrade
from foveal.imaging.views import fragment_view, whole_view
from foveal.lab.training.view_store import (
    ViewPlan,
    cut,
    iterate_views,
    open_pixels,
    read_pixels,
    read_plans,
    write_plans,
)

Pixels = NDArray[np.uint8]
KINDS = ("whole", "fragments")


class Witness:
    """An engine that keeps the views it is shown."""

    name, device, best_batch, threads = "witness", "cpu", 1, 1

    def __init__(self) -> None:
        self.views: dict[str, Pixels] = {}

    def run(self, views: dict[str, Pixels]) -> dict[str, NDArray[np.float32]]:
        self.views = {name: batch[0] for name, batch in views.items()}
        return {"quality": np.array([3.0], np.float32), "spread": np.array([0.5], np.float32)}


plans = st.builds(
    ViewPlan,
    source=st.text(
        st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=30
    ),  # names with commas, quotes, spaces and all scripts
    kind=st.sampled_from(KINDS),
    draw=st.integers(0, 9),
    degradation=st.sampled_from(["", *DEGRADATIONS]),
    severity=st.floats(0, 1),
)


@given(rows=st.lists(plans, max_size=8))
@settings(deadline=None)
def test_plans_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[ViewPlan]) -> None:
    folder = tmp_path_factory.mktemp("plans")
    write_plans(folder, rows)
    assert read_plans(folder) == rows


@pytest.mark.parametrize("size", [(512, 384), (300, 400), (120, 90)])
def test_draw_0_is_what_the_assessor_sees(
    make_photo: Callable[..., Pixels], tiny_artifact: Artifact, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "a photo.jpg"
    Image.fromarray(make_photo(*size)).save(path, quality=90)
    engine = Witness()
    Assessor(tiny_artifact, engine)(path)
    stored = iterate_views([ViewPlan("c/a photo.jpg", kind) for kind in KINDS], {"c": tmp_path})
    for kind, view in zip(KINDS, stored, strict=True):
        np.testing.assert_array_equal(view, engine.views[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_other_draws_differ_and_can_be_cut_again(photo: Pixels, kind: str) -> None:
    sources = ["c/one.jpg", "c/two.jpg"]
    views = {(name, draw): cut(ViewPlan(name, kind, draw), photo) for name in sources for draw in range(4)}
    for (name, draw), view in views.items():
        assert view.shape == (224, 224, 3)
        assert view.dtype == np.uint8
        np.testing.assert_array_equal(view, cut(ViewPlan(name, kind, draw), photo))
    # Draw 0 goes by the pixels alone; the others go by the name and the number of the draw as well.
    np.testing.assert_array_equal(views["c/one.jpg", 0], views["c/two.jpg", 0])
    rest = [view.tobytes() for (_, draw), view in views.items() if draw]
    assert len({*rest, views["c/one.jpg", 0].tobytes()}) == 7


def test_draws_are_sometimes_mirrored_and_keep_most_of_the_picture() -> None:
    # Brightness grows to the right and downwards: a mirrored crop falls to the right, a crop keeps a range.
    down, right = np.mgrid[0:256, 0:256]
    ramp = np.stack([right, down, np.zeros_like(down)], axis=-1).astype(np.uint8)
    mirrored = []
    for draw in range(1, 41):
        view = cut(ViewPlan("c/ramp.png", "whole", draw), ramp).astype(int)
        across, along = view[100, :, 0], view[:, 100, 1]
        mirrored.append(across[0] > across[-1])
        assert along[-1] > along[0]  # never upside down
        for span in (np.ptp(across), np.ptp(along)):  # 80 % of the area is at least 89 % of each side
            assert 0.88 * 255 <= span <= 255
    assert 8 <= sum(mirrored) <= 32


def test_mirroring_does_not_change_the_pixels_it_is_given(photo: Pixels) -> None:
    before = photo.copy()
    for draw in range(6):
        cut(ViewPlan("c/x", "fragments", draw, "noise", 0.5), photo)
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degradation", ["jpeg", "underexposure"])
def test_a_degraded_view_is_the_view_of_the_degraded_picture(
    photo: Pixels, kind: str, degradation: str
) -> None:
    view_of = whole_view if kind == "whole" else fragment_view
    view = cut(ViewPlan("c/x", kind, 0, degradation, 0.6), photo)
    np.testing.assert_array_equal(view, view_of(degrade(photo, degradation, 0.6)))
    assert not np.array_equal(view, view_of(photo))


def test_views_come_in_the_order_of_the_plans(make_photo: Callable[..., Pixels], tmp_path: Path) -> None:
    for collection in ("one", "two"):
        (tmp_path / collection / "deep er").mkdir(parents=True)
        for seed in range(6):
            pixels = make_photo(150 + 20 * seed, 200, seed + (collection == "two"))
            Image.fromarray(pixels).save(tmp_path / collection / "deep er" / f"{seed}.png")
    roots = {name: tmp_path / name for name in ("one", "two")}
    names = [f"{collection}/deep er/{seed}.png" for seed in range(6) for collection in roots]
    rows = [ViewPlan(name, kind, draw) for name in names for kind in KINDS for draw in (0, 1)]
    rows += [ViewPlan(name, "whole", 0, "blur", 0.5) for name in reversed(names)]  # sources come back
    views = list(iterate_views(rows, roots))
    assert len(views) == len(rows)
    for plan, view in zip(rows, views, strict=True):
        collection, _, rest = plan.source.partition("/")
        np.testing.assert_array_equal(view, cut(plan, read_pixels(roots[collection] / rest)))


def test_a_source_is_decoded_once_for_a_run_of_plans(
    photo: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda path: (opened.append(path), original(path))[1])
    rows = [ViewPlan("c/a.png", "whole", draw) for draw in range(5)]
    assert len(list(iterate_views(rows, {"c": tmp_path}))) == 5
    assert len(opened) == 1


def test_an_unreadable_source_stops_the_stage(photo: Pixels, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    rows = [ViewPlan(f"c/{name}.png", "whole") for name in "ab"]
    views = iterate_views(rows, {"c": tmp_path})
    assert next(views).shape == (224, 224, 3)
    with pytest.raises(OSError, match=r"b\.png"):
        next(views)


@pytest.mark.parametrize(
    ("size", "expected"), [((1000, 1500), (341, 512)), ((1500, 600), (512, 205)), ((512, 300), (512, 300))]
)
def test_large_pictures_are_reduced_to_the_size_of_rated_ones(
    make_photo: Callable[..., Pixels], tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    photo = make_photo(*size)
    Image.fromarray(photo).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png")
    assert pixels.shape == (*expected, 3)
    if size == expected:
        np.testing.assert_array_equal(pixels, photo)
    else:  # the same picture: equal to plain averaging but for the grain
        reduced = np.asarray(Image.fromarray(photo).resize(expected[::-1], Image.Resampling.BOX), float)
        assert np.abs(pixels - reduced).mean() < 4


def test_orientation_and_grey_are_seen_to(make_photo: Callable[..., Pixels], tmp_path: Path) -> None:
    grey = Image.fromarray(make_photo(100, 160)[:, :, 0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    grey.save(tmp_path / "turned.png", exif=exif)
    pixels = read_pixels(tmp_path / "turned.png")
    assert pixels.shape == (160, 100, 3)
    np.testing.assert_array_equal(pixels[:, :, 0], np.rot90(np.asarray(grey), -1))


def test_pixels_are_mapped_and_read_back(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    mapped = open_pixels(tmp_path, 3)
    assert mapped.shape == (3, 224, 224, 3)
    values = generator.integers(0, 256, mapped.shape, np.uint8)
    mapped[:] = values
    mapped.flush()
    again = open_pixels(tmp_path)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    np.testing.assert_array_equal(again, values)
