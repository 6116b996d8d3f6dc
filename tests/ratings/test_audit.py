"""The audit of a split: fingerprints of files, what two parts share, the report and its files."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from foveal.errors import DeviceError, OutputError, RatingsError
from foveal.evaluation.leave_out import read_leave_out
from foveal.ratings import audit as audit_module
from foveal.ratings.audit import AuditReport, Finding, Fingerprints, audit, read_fingerprints
from foveal.ratings.perceptual_hash import SIDE, thumbnail
from foveal.ratings.table import DatasetCard, Ratings

CARD = DatasetCard("made", 0, 1)


def picture(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """Fields of noise of several sizes, coarse ones strongest."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24):
        field = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(field.resize((width, height), Image.Resampling.BICUBIC), np.float64) / cells
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


def rated(
    split: Sequence[str],
    *,
    names: Sequence[str] = (),
    groups: Sequence[str] = (),
    prompts: Sequence[str] | None = None,
    folder: Path = Path(),
) -> Ratings:
    names = tuple(names) or tuple(f"{index:02d}.jpg" for index in range(len(split)))
    return Ratings(
        card=CARD,
        images=tuple(folder / name for name in names),
        names=names,
        scores={"quality": np.full(len(split), 0.5)},
        groups=tuple(groups),
        split=tuple(split),
        prompts=None if prompts is None else tuple(prompts),
    )


def blank_prints(contents: Sequence[bytes]) -> Fingerprints:
    """Files of these contents and no looks."""
    return Fingerprints(
        tuple(contents), np.zeros((len(contents), SIDE, SIDE), np.uint8), MappingProxyType({})
    )


def unique_prints(count: int) -> Fingerprints:
    return blank_prints([str(index).encode() for index in range(count)])


@pytest.fixture
def leaky(tmp_path: Path) -> Ratings:
    """Nine images, of which the test part has one with the bytes, one with the looks and one mirrored."""
    pictures = {
        "a.png": picture(0),
        "b.png": picture(1),
        "c.png": picture(2),
        "d.png": picture(3),
        "v.png": picture(4),
        "bytes.png": picture(0),
        "looks.jpg": picture(1).resize((80, 60)),
        "mirror.jpg": ImageOps.mirror(picture(2)),
        "fresh.png": picture(5),
    }
    for name, one in pictures.items():
        one.save(tmp_path / name)
    split = ["train"] * 4 + ["validation"] + ["test"] * 4
    return rated(split, names=tuple(pictures), folder=tmp_path)


class TestFingerprints:
    def test_contents_and_thumbnails(self, leaky: Ratings) -> None:
        calls: list[None] = []
        prints = read_fingerprints(leaky.images, threads=2, advance=lambda: calls.append(None))
        assert len(calls) == len(leaky)
        assert prints.contents == tuple(hashlib.sha256(path.read_bytes()).digest() for path in leaky.images)
        assert not prints.unreadable
        for path, small in zip(leaky.images, prints.thumbnails, strict=True):
            np.testing.assert_array_equal(small, thumbnail(Image.open(path).convert("RGB")))

    def test_a_large_jpeg_is_shrunk_while_it_is_decoded_without_harm(self, tmp_path: Path) -> None:
        picture(0, 1000, 800).save(tmp_path / "large.jpg", quality=95)
        prints = read_fingerprints([tmp_path / "large.jpg"], threads=1)
        whole = thumbnail(Image.open(tmp_path / "large.jpg").convert("RGB"))
        assert np.abs(prints.thumbnails[0].astype(int) - whole).max() <= 6

    def test_orientation_is_undone_and_transparency_laid_on_white(self, tmp_path: Path) -> None:
        upright = picture(0)
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise to view
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
        clear = upright.convert("RGBA")
        clear.paste((0, 0, 0, 0), (0, 0, 80, 120))
        clear.save(tmp_path / "clear.png")
        paths = [tmp_path / "turned.png", tmp_path / "clear.png"]
        turned, laid = read_fingerprints(paths, threads=1).thumbnails
        np.testing.assert_array_equal(turned, thumbnail(upright))
        assert (laid[:, : SIDE // 2 - 1] == 255).all()
        np.testing.assert_array_equal(laid[:, SIDE // 2 + 1 :], thumbnail(upright)[:, SIDE // 2 + 1 :])

    def test_what_cannot_be_read_is_a_reason(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        picture(0).save(file, "JPEG")
        (tmp_path / "cut.jpg").write_bytes(file.getvalue()[:900])
        (tmp_path / "text.jpg").write_text("no picture")
        picture(1).save(tmp_path / "good.jpg")
        names = ["cut.jpg", "text.jpg", "absent.jpg", "good.jpg"]
        prints = read_fingerprints([tmp_path / name for name in names], threads=3)
        assert list(prints.unreadable) == [0, 1, 2]
        assert "ends too early" in prints.unreadable[0]
        assert "not an image" in prints.unreadable[1]
        assert "no such file" in prints.unreadable[2]
        assert prints.contents[1] == hashlib.sha256(b"no picture").digest()
        assert prints.contents[2] == b""
        assert not prints.thumbnails[:3].any()

    def test_threads_must_be_some(self) -> None:
        with pytest.raises(DeviceError, match="threads is 0"):
            read_fingerprints([], threads=0)


class TestCache:
    def test_known_files_are_not_decoded_again(
        self, leaky: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = tmp_path / "thumbnails"
        first = read_fingerprints(leaky.images[:5], cache=cache)
        decoded: list[str] = []
        decode = audit_module._thumbnail
        monkeypatch.setattr(
            audit_module,
            "_thumbnail",
            lambda stream, name: decoded.append(Path(name).name) or decode(stream, name),
        )
        # Found by content: a renamed file is known, a changed one is not.
        leaky.images[0].rename(tmp_path / "renamed.png")
        picture(9).save(leaky.images[1])
        images = [tmp_path / "renamed.png", *leaky.images[1:6]]
        second = read_fingerprints(images, cache=cache, threads=1)
        assert decoded == ["b.png"]
        np.testing.assert_array_equal(second.thumbnails[[0, 2, 3, 4]], first.thumbnails[[0, 2, 3, 4]])
        third = read_fingerprints(images, cache=cache)
        assert decoded == ["b.png"]
        np.testing.assert_array_equal(third.thumbnails, second.thumbnails)
        assert third.contents == second.contents

    def test_an_interrupted_run_is_kept(self, leaky: Ratings, tmp_path: Path) -> None:
        seen: list[None] = []

        def interrupt() -> None:
            seen.append(None)
            if len(seen) == 3:
                raise KeyboardInterrupt

        cache = tmp_path / "thumbnails"
        with pytest.raises(KeyboardInterrupt):
            read_fingerprints(leaky.images, cache=cache, threads=1, advance=interrupt)
        with np.load(cache) as stored:
            assert len(stored["contents"]) == 3
        assert [path.name for path in tmp_path.glob("thumbnails*")] == ["thumbnails"]

    @pytest.mark.parametrize("kind", ["text", "array", "arrays", "version", "folder"])
    def test_other_files_are_refused_and_left_alone(self, leaky: Ratings, tmp_path: Path, kind: str) -> None:
        cache = tmp_path / "cache"
        with io.BytesIO() as file:
            if kind == "array":
                np.save(file, np.zeros(3))
            elif kind == "arrays":
                np.savez(file, contents=np.zeros(3))
            elif kind == "version":
                np.savez(file, foveal_thumbnails=np.array([0]), contents=np.zeros(0), thumbnails=np.zeros(0))
            content = file.getvalue() or b"my notes"
        cache.mkdir() if kind == "folder" else cache.write_bytes(content)
        with pytest.raises(RatingsError, match="cache: not a cache of thumbnails"):
            read_fingerprints(leaky.images, cache=cache)
        assert kind == "folder" or cache.read_bytes() == content

    def test_a_missing_folder_is_refused_before_any_work(self, leaky: Ratings, tmp_path: Path) -> None:
        calls: list[None] = []
        with pytest.raises(OutputError, match="no folder for this cache"):
            read_fingerprints(
                leaky.images, cache=tmp_path / "none" / "cache", advance=lambda: calls.append(None)
            )
        assert not calls


class TestFindings:
    def test_bytes_looks_and_mirror_images_between_parts(self, leaky: Ratings) -> None:
        report = audit(leaky, read_fingerprints(leaky.images))
        found = [(f.kind, f.part_a, f.part_b, f.image_a, f.image_b) for f in report.findings]
        assert found == [
            ("duplicate", "train", "test", "a.png", "bytes.png"),
            ("near copy", "train", "test", "b.png", "looks.jpg"),
            ("mirror image", "train", "test", "c.png", "mirror.jpg"),
        ]
        assert report.findings[0].measure == 1
        assert all(0.95 <= f.measure <= 1.0001 for f in report.findings[1:])
        assert report.leave_out() == ("bytes.png", "looks.jpg", "mirror.jpg")
        assert report.leave_out("validation") == ()
        assert report.kinds == ("duplicate", "near copy", "mirror image")

    def test_a_higher_limit_finds_less(self, leaky: Ratings) -> None:
        prints = read_fingerprints(leaky.images)
        looks = next(f for f in audit(leaky, prints).findings if f.image_b == "looks.jpg")
        assert audit(leaky, prints, correlation=looks.measure + 1e-4).leave_out() != ()
        strict = audit(leaky, prints, correlation=min(1.0, looks.measure + 1e-4))
        assert "looks.jpg" not in strict.leave_out()
        with pytest.raises(ValueError, match="correlation is 2"):
            audit(leaky, prints, correlation=2)

    def test_inside_parts_only_if_asked(self, leaky: Ratings) -> None:
        joined = rated(["train"] * len(leaky), names=leaky.names, folder=leaky.images[0].parent)
        prints = read_fingerprints(joined.images)
        report = audit(joined, prints, within=True)
        assert [(f.image_a, f.image_b) for f in report.findings] == [
            ("a.png", "bytes.png"), ("b.png", "looks.jpg"), ("c.png", "mirror.jpg"),
        ]  # fmt: skip
        assert report.compared == (("train", "train"),)
        assert report.leave_out("train") == ()
        with pytest.raises(RatingsError, match="not two parts among its 9 images; give a split"):
            audit(joined, prints)

    def test_counts_of_duplicates(self) -> None:
        split = ["train"] * 3 + ["test"] * 2 + [""]
        prints = blank_prints([b"x", b"x", b"y", b"x", b"z", b"x"])
        between = audit(rated(split), prints)
        assert between.findings == (Finding("duplicate", "train", "test", "00.jpg", "03.jpg", 2),)
        within = audit(rated(split), prints, within=True)
        assert within.findings[1:] == (Finding("duplicate", "train", "train", "00.jpg", "01.jpg", 1),)

    def test_groups_and_prompts(self) -> None:
        ratings = rated(
            ["train", "train", "validation", "test", "test", "test"],
            groups=["g", "g", "h", "g", "h", "k"],
            prompts=["a cat", "A  dog", "", "a Dog ", "", "a bird"],
        )
        report = audit(ratings, unique_prints(6))
        assert report.findings == (
            Finding("group", "train", "test", "00.jpg", "03.jpg", 2),
            Finding("group", "validation", "test", "02.jpg", "04.jpg", 1),
            Finding("prompt", "train", "test", "01.jpg", "03.jpg", 1),
        )
        assert report.kinds == ("group", "prompt", "duplicate", "near copy", "mirror image")

    def test_unreadable_and_plain_images_are_named(self, leaky: Ratings) -> None:
        Image.new("RGB", (90, 90), "white").save(leaky.images[3])
        leaky.images[4].write_bytes(b"no picture")
        report = audit(leaky, read_fingerprints(leaky.images))
        assert dict(report.unreadable) == {"v.png": "is not an image in a known format"}
        assert report.plain == ("d.png",)
        text = report.to_text()
        assert "1 image (v.png: is not an image in a known format)" in text
        assert "1 image (d.png)" in text

    def test_fingerprints_must_be_of_these_images(self, leaky: Ratings) -> None:
        with pytest.raises(ValueError, match="fingerprints of 3 images for 9"):
            audit(leaky, unique_prints(3))


LABELS = st.lists(
    st.tuples(st.sampled_from(["train", "validation", "test", ""]), st.integers(0, 4), st.integers(0, 9)),
    min_size=2,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(rows=LABELS)
def test_leave_out_is_what_has_a_label_of_an_earlier_part(rows: list[tuple[str, int, int]]) -> None:
    split = [part for part, _, _ in rows]
    ratings = rated(split, groups=[f"group {group}" for _, group, _ in rows])
    prints = blank_prints([bytes([content]) for _, _, content in rows])
    if len({part for part in split if part}) < 2:
        with pytest.raises(RatingsError, match="nothing to compare"):
            audit(ratings, prints)
        return
    report = audit(ratings, prints)
    order = ["train", "validation", "test"]
    shares_groups = len({group for _, group, _ in rows}) < len(rows)
    for part in order:
        earlier = [row for row in rows if row[0] in order[: order.index(part)]]
        expected = {
            name
            for name, (own, group, content) in zip(ratings.names, rows, strict=True)
            if own == part
            and any((shares_groups and group == other[1]) or content == other[2] for other in earlier)
        }
        assert set(report.leave_out(part)) == expected
    for finding in report.findings:
        one, other = ratings.names.index(finding.image_a), ratings.names.index(finding.image_b)
        column = 1 if finding.kind == "group" else 2
        assert rows[one][column] == rows[other][column]
        assert (split[one], split[other]) == (finding.part_a, finding.part_b)
        of_a = [row for row in rows if row[0] == finding.part_a and row[column] == rows[one][column]]
        assert finding.measure == len(of_a)


class TestReport:
    @pytest.fixture
    def report(self) -> AuditReport:
        """Thirty images; all of the test part share a group with the training part, two a file."""
        split = ["train"] * 12 + ["test"] * 15 + [""] * 3
        names = [f"{index:02d}, |x|.jpg" for index in range(30)]
        contents = [str(index).encode() for index in range(30)]
        contents[12], contents[13] = contents[0], contents[1]
        return audit(rated(split, names=names, groups=["one"] * 30), blank_prints(contents), within=True)

    def test_summary(self, report: AuditReport) -> None:
        rows = {tuple(row[:3]): row[3:] for row in report.summary().rows}
        assert rows["group", "train", "test"] == (15, 1, 15, "100.0%")
        assert rows["duplicate", "train", "test"] == (2, 2, 2, "13.3%")
        assert rows["near copy", "train", "test"] == (0, 0, 0, "0.0%")
        assert rows["any", "train", "test"] == (17, 2, 15, "100.0%")
        assert rows["any", "(no part)", "(no part)"] == (0, 0, 0, "0.0%")
        # A group has its place inside a part.
        assert ("group", "train", "train") not in rows

    def test_texts(self, report: AuditReport) -> None:
        for text in (report.to_text(), report.to_markdown()):
            assert "made: train 12, test 15, (no part) 3" in text
            assert "group: 15, first 10" in text
            assert "duplicate: 2\n" in text
            assert "Images of part test that share something with an earlier part: 15." in text
            assert "The table tells no prompts." in text
        assert r"00, \|x\|.jpg" in report.to_markdown()

    def test_files(self, report: AuditReport, tmp_path: Path) -> None:
        files = report.files()
        assert set(files) == {"audit.md", "summary.csv", "findings.csv", "leave-out-test.csv"}
        rows = list(csv.DictReader(io.StringIO(files["findings.csv"])))
        assert [row["image_b"] for row in rows] == [f.image_b for f in report.findings]
        assert [float(row["measure"]) for row in rows] == [f.measure for f in report.findings]
        (tmp_path / "list.csv").write_text(files["leave-out-test.csv"], encoding="utf-8")
        assert read_leave_out(tmp_path / "list.csv") == report.leave_out()
        first = next(csv.DictReader(io.StringIO(files["leave-out-test.csv"])))
        assert first == {
            "image": "12, |x|.jpg", "kind": "group", "part": "train", "like": "00, |x|.jpg", "measure": "12",
        }  # fmt: skip

    def test_a_clean_split(self) -> None:
        report = audit(rated(["train", "test", ""]), unique_prints(3))
        assert report.findings == ()
        assert "Images in no part, not compared: 1." in report.to_text()
        assert set(report.files()) == {"audit.md", "summary.csv", "findings.csv"}
