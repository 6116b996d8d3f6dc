"""One miniature of each known set, in exactly its owners' layout, with images of 8 x 8 pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import scipy.io
from PIL import Image

from foveal.ratings.sets.known import KnownSet
from foveal.ratings.sources import DATASETS
from foveal.ratings.table import Ratings

Write = Callable[[Path, Mapping[str, Sequence[object]]], Path]


@dataclass(frozen=True)
class Mini:
    """A miniature copy, and the set with the miniature's size."""

    folder: Path
    known: KnownSet

    def read(self, **arguments: str) -> Ratings:
        return self.known(self.folder, **arguments)  # type: ignore[arg-type]


@cache
def picture(suffix: str) -> bytes:
    """An encoded image in the format that the suffix says."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(file, {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}[suffix.lower()])
    return file.getvalue()


def put_images(folder: Path, names: Iterable[str]) -> None:
    """Write an image for each name, which may hold folders."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(path.suffix))


def put_mat(path: Path, **variables: object) -> None:
    """Write variables as MATLAB does: numbers as a row or column, texts as cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables)


def cells(texts: Sequence[str], *, column: bool = False) -> np.ndarray:
    """A cell array of texts, one row or one column."""
    array = np.empty((len(texts), 1) if column else (1, len(texts)), object)
    array.reshape(-1)[:] = list(texts)
    return array


def _agiqa_1k(folder: Path, write: Write) -> int:
    shared = "bird, having pizza, city, anime style"
    # As shipped: the last name twice, dreamStudio_8_5_0_0.jpg never.
    names = ["deepai_0_0_0_0.jpg", "deepai_0_5_0_0.jpg", "dreamStudio_0_0_0_0.jpg"]
    names += ["dreamStudio_8_9_1_1.jpg"] * 2
    prompts = ["bird, driving aircraft, city, anime style", shared, shared, "alien", "alien"]
    scores = [2.7934105045636524, 5.0, 2.1342476098301777, 0.4414155439958131, 2.084115711537598]
    write(folder / "AIGC_MOS_Zscore.xlsx", {"Image": names, "Prompt": prompts, "MOS": scores})
    write(folder / "AIGC_all.csv", {"Image": sorted(set(names)), "Score": [1.0, 1.5, 2.0, 2.5]})
    put_images(folder / "file", [*set(names), "dreamStudio_8_5_0_0.jpg"])
    return len(names)


def _agiqa_3k(folder: Path, write: Write) -> int:
    names = ["AttnGAN_normal_000.jpg", "sd1.5_highcorr_000.jpg", "sd1.5_lowstep_001.jpg"]
    columns: dict[str, list[object]] = {
        "name": list(names),
        "prompt": ["statue of a man", "statue of a man", "a tray, of sushi"],
        "adj1": ["", "", "baroque style"],
        "adj2": ["", "", ""],
        "style": ["", "", "realistic"],
        "mos_quality": [0.965602553, 0.0, 4.488740784],
        "std_quality": [0.223270101, 0.5, 1.0],
        "mos_align": [0.40889324, 4.286204297, 0.021462288],
        "std_align": [0.615607722, 0.6, 0.7],
    }
    write(folder / "data.csv", columns)
    put_images(folder, names)
    return len(names)


def _aigciqa2023(folder: Path, write: Write) -> int:
    for number in (1, 2, 3):
        put_mat(folder / f"mosz{number}.mat", MOSz=np.arange(9.0)[:, None] * 10 + number)
    put_images(folder / "allimg", [f"{index}.png" for index in range(9)])
    return 9


def _aigiqa_20k(folder: Path, write: Write) -> int:
    parts = {
        "train": (["DALLE2_0000.png", "LCM_Pixart_0001.png"], ["a cat, blue", "a dog"], [3.66, 0.12]),
        "val": (["SD1.4_0002.png"], ["a house"], [4.98]),
        "test": (["DALLE2_0003.png"], ["a dog"], [2.5]),
    }
    for part, (names, prompts, scores) in parts.items():
        write(folder / f"info_{part}.csv", {"name": names, "prompt": prompts, "mos": scores})
        put_images(folder / "images", names)
    return 4


def _pku(folder: Path, write: Write) -> int:
    names = ["MJ_0_00.jpg", "SD_0_01.jpg", "SD_1_00.jpg"]
    columns: dict[str, list[object]] = {
        "Image_prompt": ["0.jpg", "0.jpg", "1.jpg"],
        "Text_prompt": ["a lake", "a lake at night", "a tower"],
        "Generated_image": list(names),
        "MOS_q": [3.94, 1.71, 4.618],
        "MOS_a": [3.0129, 0.4411, 4.81],
        "MOS_c": [4.415, 3.5814, 4.9844],
    }
    write(folder / "annotation.xlsx", columns)
    put_images(folder / "All", names)
    return len(names)


LIVE_KINDS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
# Where the distorted images of the miniature stand among all 982: the ends of each distortion's stretch.
LIVE_DISTORTED = {0: "jp2k/img1.bmp", 226: "jp2k/img227.bmp", 227: "jpeg/img1.bmp", 459: "jpeg/img233.bmp"}
LIVE_DISTORTED |= {460: "wn/img1.bmp", 634: "gblur/img1.bmp", 808: "fastfading/img1.bmp"}
LIVE_DISTORTED |= {981: "fastfading/img174.bmp"}


def _live_r2(folder: Path, write: Write) -> int:
    originals = np.ones((1, 982), np.uint8)
    originals[0, list(LIVE_DISTORTED)] = 0
    dmos = np.where(originals == 1, 0.0, np.linspace(-2.64, 111.77, 982))
    put_mat(folder / "dmos_realigned.mat", dmos_new=dmos, dmos_std=np.full((1, 982), 3.5), orgs=originals)
    references = ["bikes.bmp" if index % 2 else "womanhat.bmp" for index in range(982)]
    put_mat(folder / "refnames_all.mat", refnames_all=cells(references))
    put_images(folder, LIVE_DISTORTED.values())
    put_images(folder, ["jp2k/img2.bmp", "refimgs/bikes.bmp"])  # a copy of a reference, and the reference
    return len(LIVE_DISTORTED)


def _csiq(folder: Path, write: Write) -> int:
    rows = {"1600.AWGN.1.png": 0.061989, "1600.BLUR.5.png": 1.0, "boston.JPEG.2.png": 0.2}
    rows |= {"boston.jpeg2000.1.png": 0.1, "woman.contrast.4.png": 0.468556, "woman.fnoise.3.png": 0.0}
    lines = "".join(f"{name}\t{dmos:.6f}\r\n" for name, dmos in rows.items())
    (folder / "csiq_label.txt").write_bytes(lines.encode())
    put_images(folder / "dst_imgs", [f"{name.split('.')[1].lower()}/{name}" for name in rows])
    put_images(folder / "src_imgs", ["1600.png", "boston.png", "woman.png"])
    return len(rows)


def _tid2013(folder: Path, write: Write) -> int:
    rows = {"I01_01_1.bmp": "5.51429", "i01_01_2.bmp": "5.56757", "I01_11_1.BMP": "5.91429"}
    rows |= {"i25_24_5.bmp": "0.45946"}
    lines = "".join(f"{mos} {name}\r\n" for name, mos in rows.items())
    (folder / "mos_with_names.txt").write_bytes(lines.encode())
    (folder / "mos_std.txt").write_bytes(b"0.13013\r\n0.16008\r\n0.15186\r\n0.1\r\n")
    on_disk = ["i01_01_1.bmp", "I01_01_2.BMP", "i01_11_1.bmp", "i25_24_5.BMP"]
    put_images(folder / "distorted_images", on_disk)
    put_images(folder / "reference_images", ["I01.BMP", "i25.bmp"])
    return len(rows)


def _kadid_10k(folder: Path, write: Write) -> int:
    names = ["I01_01_01.png", "I01_25_05.png", "I81_10_03.png"]
    references = ["I01.png", "I01.png", "I81.png"]
    columns: dict[str, list[object]] = {"dist_img": list(names), "ref_img": list(references)}
    write(folder / "dmos.csv", {**columns, "dmos": [4.57, 1.0, 5.0], "var": [0.496, 0.0, 0.0]})
    put_images(folder / "images", [*names, *set(references)])
    return len(names)


def _live_challenge(folder: Path, write: Write) -> int:
    practice = [f"t{number}.bmp" for number in range(1, 8)]
    names = [*practice, "3.bmp", "5.JPG", "1169.bmp"]
    put_mat(folder / "Data" / "AllImages_release.mat", AllImages_release=cells(names, column=True))
    mos = [*np.linspace(60, 66, 7), 63.9634, 3.42, 92.43]
    put_mat(folder / "Data" / "AllMOS_release.mat", AllMOS_release=np.array([mos]))
    put_mat(folder / "Data" / "AllStdDev_release.mat", AllStdDev_release=np.arange(10.0)[None] + 15)
    put_images(folder / "Images", names[7:])
    put_images(folder / "Images" / "trainingImages", practice)
    return 3


def _koniq_10k(folder: Path, write: Write) -> int:
    names = ["10004473376.jpg", "10007357496.jpg", "10007903636.jpg", "10009096245.jpg"]
    columns: dict[str, list[object]] = {
        "image_name": list(names),
        **{f"c{level}": [0.2] * 4 for level in range(1, 6)},
        "c_total": [105, 96, 100, 101],
        "MOS": [77.3836206897, 3.91176470588, 88.3888888889, 50],
        "SD": [0.527277894494, 0.58, 0.6, 0.7],
        "set": ["training", "test", "validation", "training"],
    }
    write(folder / "koniq10k_distributions_sets.csv", columns)
    put_images(folder / "1024x768", names)
    return len(names)


def _spaq(folder: Path, write: Write) -> int:
    names = ["00001.jpg", "00002.jpg"]
    attributes = ["Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    columns: dict[str, list[object]] = {"Image name": list(names), "MOS": [31.5, 100]}
    columns |= {name: [10 + number, 0] for number, name in enumerate(attributes)}
    (folder / "Annotations").mkdir()
    write(folder / "Annotations" / "MOS and Image attribute scores.xlsx", columns)
    put_images(folder / "TestImage", names)
    return len(names)


def _flive(folder: Path, write: Write) -> int:
    names = ["blur_dataset/motion0044.jpg", "voc_emotic_ava/AVA__1.jpg", "voc_emotic_ava/EMOTIC__b.jpg"]
    write(folder / "labels_image.csv", {"name": names, "mos": [75.44372347614072, 0.0, 59.648718683045665]})
    put_images(folder / "database", names)
    write(folder / "database" / "labels640.csv", {"mos_image": [59.64871868], "name_image": names[2:]})
    return len(names)


def _biq2021(folder: Path, write: Write) -> int:
    train = b"Image Name,MOS,,\r\nss03 (3753).jpg,0.8471,,\r\nss02 (1014).jpg,0.4357,,\r\n"
    (folder / "Train (Images and MOS).csv").write_bytes(train)
    (folder / "Test (Images and MOS).csv").write_bytes(b"Image Name,MOS\r\nss01 (9).jpg,0.0000\r\n")
    put_images(folder / "Images", ["ss03 (3753).jpg", "ss02 (1014).JPG", "ss01 (9).jpg"])
    return 3


_MAKERS: Mapping[str, Callable[[Path, Write], int]] = {
    "agiqa-1k": _agiqa_1k,
    "agiqa-3k": _agiqa_3k,
    "aigciqa2023": _aigciqa2023,
    "aigiqa-20k": _aigiqa_20k,
    "pku-aigiqa-4k": _pku,
    "pku-i2iqa": _pku,
    "live-r2": _live_r2,
    "csiq": _csiq,
    "tid2013": _tid2013,
    "kadid-10k": _kadid_10k,
    "live-challenge": _live_challenge,
    "koniq-10k": _koniq_10k,
    "spaq": _spaq,
    "flive": _flive,
    "biq2021": _biq2021,
}


@pytest.fixture
def mini_set(tmp_path: Path, write_table: Write) -> Callable[[str], Mini]:
    """Makes a miniature: ``mini_set("koniq-10k")``."""

    def make(key: str) -> Mini:
        folder = tmp_path / f"{key} copy"
        folder.mkdir()
        size = _MAKERS[key](folder, write_table)
        return Mini(folder, replace(DATASETS[key], size=size))

    return make


@pytest.fixture(scope="session")
def put() -> Callable[[Path, Iterable[str]], None]:
    """Writes images: ``put(folder, names)``."""
    return put_images


@pytest.fixture(scope="session")
def write_mat() -> Callable[..., None]:
    """Writes a MAT file: ``write_mat(path, name=array)``."""
    return put_mat


@pytest.fixture(scope="session")
def write_prompts() -> Callable[[Path, Sequence[Sequence[object]]], None]:
    """Writes rows of a sheet that has no headings: ``write_prompts(path, rows)``."""

    def write(path: Path, rows: Sequence[Sequence[object]]) -> None:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(list(row))
        book.save(path)

    return write
