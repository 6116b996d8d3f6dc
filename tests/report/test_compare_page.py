"""Comparisons: what is computed from pairs of rows, and what the page says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pytest

from foveal.evaluation.paired import paired_difference
from foveal.pipeline.rows import Row
from foveal.report import compare_page as module
from foveal.report.compare import Compared, Side, compared, half_width
from foveal.report.compare_page import Content, compare_page
from foveal.report.pairing import Pairing, Partners
from foveal.report.thumbnails import Album
from foveal.report.wording import interval, p_value, verdict
from report_pages import Page, card, row

OLD, NEW = Side("old/", "paper@1"), Side("new/", "paper@1")


def pairs(
    qualities: Sequence[tuple[float | None, float | None]], only: tuple[str, ...] = (), *, same: bool = False
) -> Compared:
    rows = [
        (row(f"old/{place}.png", old), row(f"{'old' if same else 'new'}/{place}.png", new))
        for place, (old, new) in enumerate(qualities)
    ]
    partners = tuple(
        Partners(f"{place}.png", old.source, new.source) for place, (old, new) in enumerate(rows)
    )
    sides = [[pair[side] for pair in rows] for side in (0, 1)]
    return compared(Pairing(partners, only, ()), OLD, NEW, sides)


RNG = np.random.default_rng(5)
BEFORE = RNG.uniform(1.5, 4.5, 60)
AFTER = np.clip(BEFORE + RNG.normal(0.1, 0.5, 60), 1, 5)
SIXTY = pairs(list(zip(BEFORE.tolist(), AFTER.tolist(), strict=True)))


def made(found: Compared, album: Album | None = None) -> Page:
    return Page(compare_page(Content.of(found, (card(), card())), album or Album()))


def test_statistics_are_those_of_the_differences() -> None:
    differences = AFTER - BEFORE
    assert SIXTY.difference == paired_difference(differences)
    rose = [pair.name for pair in SIXTY.most(3, 1)]
    fell = [pair.name for pair in SIXTY.most(3, -1)]
    order = np.argsort(differences)
    assert rose == [f"{place}.png" for place in order[:-4:-1]]
    assert fell == [f"{place}.png" for place in order[:3]]
    reach = [max(half_width(pair.old), half_width(pair.new)) for pair in SIXTY.pairs]
    assert SIXTY.beyond(1) == int((differences > reach).sum())
    assert SIXTY.beyond(-1) == int((-differences > reach).sum())


@pytest.mark.parametrize(
    ("quality", "low", "high", "half"),
    [(3.0, 2.5, 3.5, 0.5), (1.1, 1.0, 1.6, 0.5), (4.9, 4.4, 5.0, 0.5), (3.0, 3.0, 3.0, 0.0)],
)
def test_the_end_of_the_scale_does_not_make_an_interval_narrow(
    quality: float, low: float, high: float, half: float
) -> None:
    assert half_width(Row("x", quality, low, high, "m@1")) == pytest.approx(half)


def test_a_change_counts_only_beyond_the_wider_interval() -> None:
    wide, narrow = Row("a", 2.0, 1.2, 2.8, "m@1"), Row("b", 2.6, 2.5, 2.7, "m@1")
    found = compared(Pairing((Partners("a", "a", "b"),)), OLD, NEW, [[wide], [narrow]])
    assert not found.pairs[0].beyond
    far = Row("b", 2.9, 2.8, 3.0, "m@1")
    assert compared(Pairing((Partners("a", "a", "b"),)), OLD, NEW, [[wide], [far]]).pairs[0].beyond


def test_failures_and_partners_that_are_not_there_are_kept_apart() -> None:
    found = pairs([(2.0, 3.0), (None, 3.0), (2.0, None), (None, None)], only=("old/x.png",))
    assert [pair.name for pair in found.failed] == ["1.png", "2.png", "3.png"]
    assert found.difference is not None
    assert found.difference.pairs == 1
    assert found.to_dict()["only_old"] == ["old/x.png"]
    words = made(found).words
    assert "4 pairs, 3 without both scores, 1 image without a partner" in words
    assert "3 pairs without both scores" in words
    assert "old/3.pngold/3.png is broken" in words
    assert "1 only in old/old/x.png" in words
    nothing = pairs([(None, 2.0)])
    assert nothing.difference is None
    assert "No pair has both scores" in made(nothing).words


def test_what_machines_get_is_plain_and_whole() -> None:
    values = json.loads(json.dumps(SIXTY.to_dict(), allow_nan=False))
    assert values["pairs"] == values["judged"] == 60
    assert values["difference"]["mean"] == float(np.mean(AFTER - BEFORE))
    assert [one["difference"] for one in values["images"]] == (AFTER - BEFORE).tolist()
    assert values["images"][0]["old"] == {
        "source": "old/0.png",
        "quality": BEFORE[0],
        "interval": [BEFORE[0] - 0.5, BEFORE[0] + 0.5],
    }
    failed = pairs([(None, 2.0)]).to_dict()
    assert failed["difference"] is None
    assert failed["images"][0]["old"] == {
        "source": "old/0.png",
        "quality": None,
        "error": "old/0.png is broken",
    }


def test_the_page_says_the_same() -> None:
    page, found = made(SIXTY), SIXTY.difference
    assert found is not None
    words = page.words.replace("\N{MINUS SIGN}", "-")
    for said in (
        f"{found.mean:+.2f}mean difference",
        interval(found, 3),
        verdict(found),
        p_value(found.sign_p),
        p_value(found.wilcoxon_p),
        f"{SIXTY.beyond(1)} higher, {SIXTY.beyond(-1)} lower",
        "new/ against old/",
    ):
        assert said in words
    data = page.data
    assert data["difference"] == [round(one, 4) for one in (AFTER - BEFORE).tolist()]
    assert [data["sides"][1]["root"] + name for name in data["sides"][1]["sources"]] == [
        f"new/{place}.png" for place in range(60)
    ]
    assert data["sides"][0]["quality"] == [round(one, 4) for one in BEFORE.tolist()]
    assert data["beyond"] == [place for place, pair in enumerate(SIXTY.pairs) if pair.beyond]


def test_every_pair_is_a_point_at_its_place() -> None:
    html = made(SIXTY).html
    paths = dict(re.findall(r'class="dots (\w+)" d="([^"]*)"', html))
    drawn = {kind: len(re.findall("h0", path)) for kind, path in paths.items()}
    assert drawn == {
        "up": SIXTY.beyond(1),
        "down": SIXTY.beyond(-1),
        "same": 60 - SIXTY.beyond(1) - SIXTY.beyond(-1),
    }
    points = {
        tuple(map(float, point))
        for path in paths.values()
        for point in re.findall(r"M([\d.]+) ([\d.]+)h0", path)
    }
    # The plot reaches from 34 to 394 and the scale from 1 to 5: 90 a step, upwards on the vertical axis.
    for old, new in zip(BEFORE, AFTER, strict=True):
        expected = (34 + 90 * (old - 1), 394 - 90 * (new - 1))
        assert any(abs(x - expected[0]) < 0.06 and abs(y - expected[1]) < 0.06 for x, y in points)


def test_pictures_are_of_what_changed_most_two_a_pair() -> None:
    content = Content.of(SIXTY, (card(), card()))
    order = np.argsort(-np.abs(AFTER - BEFORE))
    expected = [(2 * place, f"old/{place}.png") for place in order[:2]]
    assert [one for one in content.sources(5) if one[0] % 2 == 0] == expected
    assert [key for key, _ in content.sources(4)] == [key + odd for key, _ in expected for odd in (0, 1)]
    twice = pairs(list(zip(BEFORE.tolist(), AFTER.tolist(), strict=True)), same=True)
    models = Content.of(twice, (card(), card()))
    assert [key for key, _ in models.sources(3)] == [2 * place for place in order[:3]]
    page = made(SIXTY, Album({2: "aa", 3: "bb"}))
    assert page.data["pictures"] == {"2": "aa", "3": "bb"}
    assert "Pictures of the pairs that changed most" in page.words


def test_hostile_names_are_never_markup() -> None:
    name = "</script><img src=x onerror=alert(1)>\udce9"
    rows = [Row(name, 2.0, 1.5, 2.5, "m@1"), Row(name, None, None, None, "m@1", error=name)]
    partners = (Partners(name, name, name),)
    page = made(
        compared(
            Pairing(partners, (name,), (name,)), Side(name, "m@1"), Side(name, "m@1"), [[one] for one in rows]
        )
    )
    assert page.data["names"] == page.data["labels"][:1] == [name]
    assert "img" not in page.tags()
    page.html.encode()


def test_a_page_takes_no_more_pairs_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROW_BYTES", 3000)
    page = made(SIXTY)
    order = np.argsort(-np.abs(AFTER - BEFORE), kind="stable")
    kept = page.data["names"]
    assert 5 < len(kept) < 30
    assert set(kept) == {f"{place}.png" for place in order[: len(kept)]}
    assert f"The table lists {len(kept)} of 60 pairs" in page.words


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([0.1, 0.2], "2 pairs are too few"),
        ([0.0] * 9, "No image changed its score."),
        (np.linspace(0.2, 0.5, 20), "The new scores are higher on average, by 0.35"),
        (-np.linspace(0.2, 0.5, 20), "The new scores are lower on average, by 0.35"),
        (np.linspace(-1, 1, 21), "No difference on average is shown"),
    ],
)
def test_the_verdict_claims_no_more_than_the_interval(differences: Sequence[float], said: str) -> None:
    assert verdict(paired_difference(differences)).startswith(said)


def test_p_values_in_words() -> None:
    assert p_value(0.04321) == "p = 0.0432"
    assert p_value(1e-9) == "p < 0.0001"


def test_the_same_input_gives_the_same_bytes() -> None:
    content = Content.of(SIXTY, (card(), card()))
    assert compare_page(content, Album()) == compare_page(content, Album())
