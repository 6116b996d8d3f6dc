import numpy as np
from PIL import Image

import agreement
import degradations
import foveal


def test_difference_row_tells_the_largest_and_the_mean():
    reference = np.array([[3.0, 2.0, 4.0], [2.0, 1.0, 3.0]])
    moved = reference + np.array([[0.5, 0.0, 0.0], [-0.25, 0.0, -0.75]])
    name, largest, mean, ends = agreement.difference_row("x", moved, reference)
    assert name == "x"
    assert [float(figure) for figure in (largest, mean, ends)] == [0.5, 0.38, 0.75]


def test_every_way_starts_with_the_reference_and_scores_all_images(tiny_model_path, photo_folder):
    files = [str(photo_folder / name) for name in ("a.jpg", "b.png", "c.webp")]
    ways = list(agreement.every_way(str(tiny_model_path), files, []))
    names = [name for name, _ in ways]
    assert names[0] == "openvino, alone, 1 thread"
    assert len(set(names)) == len(names) > 5
    reference = ways[0][1]
    assert reference.shape == (3, 3)
    for name, values in ways:
        assert np.abs(values - reference).max() < (0.02 if "bf16" in name else 1e-3), name


def test_trends_of_a_folder_are_in_its_order_with_paths_as_names(tiny_model_path, tmp_path, make_photo):
    files = []
    for name in ("b/same", "a/same", "c"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(make_photo(64, 80, len(files))).save(path)
        files.append(str(path))
    assessor = foveal.load(tiny_model_path, threads=2)
    result = degradations.trends(assessor, tmp_path, files, ["blur", "noise"], (0.0, 0.5, 1.0))
    assert [trend.image for trend in result.trends[::2]] == ["b/same", "a/same", "c"]
    assert {trend.kind for trend in result.trends} == {"blur", "noise"}
    assert result.trends[0].scores[0] == assessor(files[0]).quality
