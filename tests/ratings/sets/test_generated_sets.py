"""Sets of generated pictures: prompts, generators, several targets, and what is odd about each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import RatingsError
from foveal.ratings.sets.pku import linked
from foveal.ratings.sources import DATASETS, read_ratings

MakeMini = Callable[[str], Any]
Write = Callable[..., Any]


def test_agiqa_1k_takes_the_workbook_and_leaves_out_the_rows_that_contradict_each_other(
    mini_set: MakeMini,
) -> None:
    ratings = mini_set("agiqa-1k").read()
    assert ratings.names == ("deepai_0_0_0_0.jpg", "deepai_0_5_0_0.jpg", "dreamStudio_0_0_0_0.jpg")
    # Workbooks hold 16 digits, as do the owners'.
    np.testing.assert_allclose(
        ratings.scores["quality"], [2.7934105045636524, 5.0, 2.1342476098301777], rtol=1e-15
    )
    assert ratings.subsets == ("deepai", "deepai", "dreamStudio")
    assert ratings.prompts is not None
    assert ratings.groups[1] == ratings.groups[2] == ratings.prompts[1]
    assert ratings.groups[0] != ratings.groups[1]


def test_agiqa_1k_keeps_the_name_where_the_workbook_is_right_and_refuses_others_that_stand_twice(
    mini_set: MakeMini, write_table: Write, put: Write
) -> None:
    mini = mini_set("agiqa-1k")
    table = mini.folder / "AIGC_MOS_Zscore.xlsx"
    names = ["dreamStudio_8_5_0_0.jpg", "dreamStudio_8_9_1_1.jpg"]
    write_table(table, {"Image": names, "Prompt": ["a", "b"], "MOS": [1, 2]})
    assert mini.read().names == tuple(names)
    write_table(table, {"Image": names[:1] * 2, "Prompt": ["a", "b"], "MOS": [1, 2]})
    with pytest.raises(RatingsError, match=r"1 name \(dreamStudio_8_5_0_0.jpg\) more than once"):
        mini.read()


def test_agiqa_1k_images_may_lie_beside_the_workbook(mini_set: MakeMini) -> None:
    mini = mini_set("agiqa-1k")
    for path in (mini.folder / "file").iterdir():
        path.rename(mini.folder / path.name)
    (mini.folder / "file").rmdir()
    assert mini.read().images[0] == mini.folder / "deepai_0_0_0_0.jpg"


def test_agiqa_3k_has_two_targets_with_deviations(mini_set: MakeMini) -> None:
    ratings = mini_set("agiqa-3k").read()
    assert ratings.scores["quality"].tolist() == [0.965602553, 0.0, 4.488740784]
    assert ratings.scores["correspondence"].tolist() == [0.40889324, 4.286204297, 0.021462288]
    assert ratings.std["quality"].tolist() == [0.223270101, 0.5, 1.0]
    assert ratings.std["correspondence"].tolist() == [0.615607722, 0.6, 0.7]
    assert ratings.subsets == ("AttnGAN", "sd1.5", "sd1.5")
    assert ratings.prompts == ratings.groups == ("statue of a man", "statue of a man", "a tray, of sushi")


def test_aigciqa2023_numbers_images_by_generator_prompt_and_repetition(
    tmp_path: Path, write_mat: Write, write_prompts: Write, put: Write
) -> None:
    # As the owners have it on the Hub: scores and images in folders of their own, deviations beside.
    scores = np.linspace(20, 80, 2400)
    for number in (1, 2, 3):
        write_mat(tmp_path / "DATA" / "MOS" / f"mosz{number}.mat", MOSz=scores[:, None] + number)
        write_mat(tmp_path / "DATA" / "STD" / f"SD{number}.mat", SD=scores[None] / 10)
    texts = [f"prompt text {number}" for number in range(100)]
    write_prompts(tmp_path / "AIGCIQA2023_Prompts.xlsx", [("Basic", "Animals", text) for text in texts])
    wanted = {}
    index = 0
    for model in ("Controlnet", "DALLE", "Glide", "Lafite", "stable-diffusion", "Unidiffuser"):
        for text in texts:
            for _ in range(4):
                wanted[f"{index}.png"] = (model, text)
                index += 1
    some = ["0.png", "3.png", "4.png", "399.png", "400.png", "1203.png", "2399.png"]
    put(tmp_path / "Image" / "allimg", some)
    ratings = read_ratings(tmp_path, dataset="aigciqa2023", missing="drop")
    assert ratings.names == tuple(some)
    assert ratings.prompts is not None
    assert list(zip(ratings.subsets, ratings.prompts, strict=True)) == [wanted[name] for name in some]
    positions = [int(name.removesuffix(".png")) for name in some]
    np.testing.assert_array_equal(ratings.scores["authenticity"], scores[positions] + 2)
    np.testing.assert_array_equal(ratings.std["correspondence"], scores[positions] / 10)
    # 0 and 3 are the first prompt by the first generator, 400 is the first prompt by the second, and 1203
    # the first by the fourth.
    groups = dict(zip(some, ratings.groups, strict=True))
    assert groups["0.png"] == groups["3.png"] == groups["400.png"] == groups["1203.png"]
    assert groups["399.png"] == groups["2399.png"] != groups["4.png"]


def test_aigciqa2023_prompts_may_have_a_heading_but_not_another_number(
    mini_set: MakeMini, write_prompts: Write
) -> None:
    mini = mini_set("aigciqa2023")
    assert mini.read().prompts is None
    rows = [("Basic", "Animals", f"text {number}") for number in range(100)]
    write_prompts(mini.folder / "prompts.xlsx", [("Challenge", "Category", "Prompt"), *rows])
    assert mini.read().prompts[:5] == ("text 0",) * 4 + ("text 1",)
    write_prompts(mini.folder / "prompts.xlsx", rows[:99])
    with pytest.raises(RatingsError, match=r"prompts.xlsx: 99 prompts in its third column, expected 100"):
        mini.read()


def test_aigciqa2023_refuses_files_that_do_not_belong_together(mini_set: MakeMini, write_mat: Write) -> None:
    mini = mini_set("aigciqa2023")
    write_mat(mini.folder / "mosz2.mat", MOSz=np.arange(8.0))
    with pytest.raises(RatingsError, match=r"mosz1.mat has 9, mosz2.mat has 8, mosz3.mat has 9"):
        mini.read()
    for number in (1, 2, 3):
        write_mat(mini.folder / f"mosz{number}.mat", MOSz=np.full(2401, 50.0))
    with pytest.raises(
        RatingsError, match=r"2401 scores, but 6 generators, 100 prompts and 4 images make 2400"
    ):
        mini.read()
    write_mat(mini.folder / "mosz1.mat", MOS=np.full(2401, 50.0))
    with pytest.raises(RatingsError, match=r"mosz1.mat: there is no variable 'MOSz'; there are MOS"):
        mini.read()


def test_aigiqa_20k_has_an_official_split_and_its_prompts(mini_set: MakeMini) -> None:
    ratings = mini_set("aigiqa-20k").read()
    assert ratings.split == ("train", "train", "validation", "test")
    assert ratings.subsets == ("DALLE2", "LCM_Pixart", "SD1.4", "DALLE2")
    assert ratings.prompts == ("a cat, blue", "a dog", "a house", "a dog")
    assert ratings.groups[1] == ratings.groups[3]
    assert ratings.scores["quality"].tolist() == [3.66, 0.12, 4.98, 2.5]


def test_aigiqa_20k_as_the_challenge_handed_it_out(mini_set: MakeMini, write_table: Write) -> None:
    mini = mini_set("aigiqa-20k")
    expected = mini.read()
    for part, label in (("train", "train"), ("val", "validation"), ("test", "test")):
        (mini.folder / part).mkdir()
        for path, split in zip(expected.images, expected.split, strict=True):
            if split == label:
                path.rename(mini.folder / part / path.name)
    (mini.folder / "images").rmdir()
    (mini.folder / "info_val.csv").unlink()
    columns = {"name": ["SD1.4_0002.png"], "prompt": ["a house"], "mos": [4.98]}
    write_table(mini.folder / "info_val.xlsx", columns)
    ratings = mini.read()
    assert ratings.names == expected.names
    assert [path.parent.name for path in ratings.images] == ["train", "train", "val", "test"]
    # The lists handed to participants had no scores in two of the parts.
    write_table(mini.folder / "info_test.csv", {"name": ["DALLE2_0003.png"], "prompt": ["a dog"]})
    with pytest.raises(RatingsError, match=r"info_test.csv: there is no column 'mos'"):
        mini.read()


def test_pku_tells_pictures_from_texts_by_position_and_groups_what_shares_either(
    tmp_path: Path, write_table: Write, put: Write
) -> None:
    names = [f"MJ_{index // 8}_{index % 8:02d}.jpg" for index in range(1600)]
    names += ["DALLE_1000_00.jpg", "SD_1000_11.jpg", "MJ_1001_00.jpg"]
    pictures = [f"{index // 8}.jpg" for index in range(1600)] + [None] * 3
    texts: list[str | None] = [f"text {index // 16}" for index in range(1600)] + ["text 5", None, None]
    score = {f"MOS_{letter}": [2.5] * 1603 for letter in "qac"}
    columns = {"Image_prompt": pictures, "Text_prompt": texts, "Generated_image": names, **score}
    write_table(tmp_path / "annotation.xlsx", columns)
    some = [names[0], names[9], names[16], names[80], *names[1599:]]
    put(tmp_path / "All", some)
    ratings = read_ratings(tmp_path, dataset="pku-aigiqa-4k", missing="drop")
    assert ratings.names == tuple(some)
    assert ratings.subsets == ("I2I MJ",) * 5 + ("T2I DALLE", "T2I SD", "T2I MJ")
    group = dict(zip(some, ratings.groups, strict=True))
    assert group[names[0]] == group[names[9]]  # two pictures, one text
    assert group[names[80]] == group["DALLE_1000_00.jpg"]  # a text in both parts
    assert len({group[name] for name in (names[0], names[16], names[80], *names[1599:])}) == 6
    assert group["SD_1000_11.jpg"] == "prompt 1000"  # without picture and text, by its name
    first = read_ratings(tmp_path, dataset="pku-i2iqa", missing="drop")
    assert first.names == tuple(some[:5])
    assert first.card.name == "PKU-I2IQA"


def test_pku_targets_and_a_workbook_without_texts(mini_set: MakeMini, write_table: Write) -> None:
    mini = mini_set("pku-aigiqa-4k")
    ratings = mini.read()
    assert ratings.scores["quality"].tolist() == [3.94, 1.71, 4.618]
    assert ratings.scores["authenticity"].tolist() == [3.0129, 0.4411, 4.81]
    assert ratings.scores["correspondence"].tolist() == [4.415, 3.5814, 4.9844]
    assert ratings.prompts == ("a lake", "a lake at night", "a tower")
    columns = {
        "Generated_image": ratings.names,
        "Image_prompt": ["0.jpg", "0.jpg", "1.jpg"],
        **{f"MOS_{letter}": [1, 2, 3] for letter in "qac"},
    }
    write_table(mini.folder / "annotation.xlsx", columns)
    ratings = mini.read()
    assert ratings.prompts is None
    assert ratings.groups[0] == ratings.groups[1] != ratings.groups[2]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            *(st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=n, max_size=n),) * 2
        )
    ),
    st.randoms(use_true_random=False),
)
def test_linked_rows_are_the_connected_ones_in_any_order(
    columns: tuple[list[str], list[str]], random: Any
) -> None:
    rows = list(zip(*columns, strict=True))
    labels = linked(*columns)
    # Independent: repeated merging of sets of rows that share a cell of the same column.
    parts = [{index} for index in range(len(rows))]
    for column in (0, 1):
        for value in ("a", "b", "c", "d"):
            together = {index for index, row in enumerate(rows) if row[column] == value}
            touched = [part for part in parts if part & together]
            parts = [part for part in parts if not part & together] + [set().union(*touched)] * bool(touched)
    for i, first in enumerate(rows):
        assert (labels[i] == "") == (first == ("", ""))
    for part in parts:
        members = [index for index in part if rows[index] != ("", "")]
        assert len({labels[index] for index in members}) <= 1
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = linked(*([column[index] for index in order] for column in columns))
    assert [labels[index] for index in order] == list(shuffled)


def test_all_generated_sets_have_groups_by_prompt(mini_set: MakeMini) -> None:
    generated = ["agiqa-1k", "agiqa-3k", "aigciqa2023", "aigiqa-20k", "pku-aigiqa-4k", "pku-i2iqa"]
    assert [key for key in DATASETS if key in generated] == generated
    for key in generated:
        ratings = mini_set(key).read()
        assert len(set(ratings.groups)) < len(ratings)
        assert "" not in ratings.subsets
