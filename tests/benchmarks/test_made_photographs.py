import io
from pathlib import Path

import numpy as np
from PIL import Image

from _photographs import encode, mean_kilobytes, small_photographs, vary


def test_small_photographs_are_of_the_stated_size_differ_and_repeat(tmp_path):
    first, second = (small_photographs(tmp_path / name, 7) for name in ("a", "b"))
    contents = [Path(file).read_bytes() for file in first]
    assert contents == [Path(file).read_bytes() for file in second]
    assert len(set(contents)) == 7
    for content in contents:
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (512, 512), "RGB")
    assert 30 < mean_kilobytes(first) < 60


def test_a_variation_has_the_size_asked_for_whatever_the_photograph(make_photo):
    tall = Image.fromarray(make_photo(400, 150))
    for seed in range(5):
        assert vary(tall, (640, 480), np.random.default_rng(seed)).size == (640, 480)


def test_a_smooth_picture_gets_grain_until_it_fills_its_bytes():
    smooth = Image.linear_gradient("L").resize((1024, 768)).convert("RGB")
    plain, grainy = (encode(smooth, 85, least, np.random.default_rng(0)) for least in (1, 100_000))
    assert len(plain) < 50_000
    assert 90_000 < len(grainy) < 250_000
