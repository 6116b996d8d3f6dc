"""Agreement against real file size for every quantiser and allocator, nothing re-fitted: a table and a plot.

    python benchmarks/compression_curve.py MODEL RATINGS [--images N] [--out DIR]

MODEL is the folder of a trained model, RATINGS a recipe (TOML) or the data.json of a training run. A point is
the whole model written to a compact file and judged on validation images; the test part is not looked at.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.artifact.file import Artifact, write_artifact
from foveal.evaluation.correlation import plcc, srcc
from foveal.lab.compression.allocation import (
    even_steps,
    steps_by_chance,
    steps_by_rank,
    steps_by_sensitivity,
    steps_for_bits,
)
from foveal.lab.compression.data import rated_views, read_parts
from foveal.lab.compression.importance import importance
from foveal.lab.compression.integer import with_levels
from foveal.lab.compression.layers import Matrix, find_layers, read_weights, with_weights
from foveal.lab.compression.minmax import quantize_minmax
from foveal.lab.compression.moments import Moments, collect_moments
from foveal.lab.compression.quantizers import (
    Quantized,
    Scale,
    clipped_scale,
    compensate,
    half_range,
    round_to,
    spread_scale,
)
from foveal.lab.compression.rated_views import RatedViews
from foveal.lab.compression.sensitivity import measure_sensitivity
from foveal.lab.compression.subject import Subject, subject_of_model
from foveal.lab.export import to_artifact
from foveal.lab.trained import load_trained
from foveal.lab.training.inference import OrderedInference
from foveal.runtime.engine import input_shapes

FIXED_BITS = (3, 4, 5, 6)
MEAN_BITS = (1.4, 2.0, 2.8, 4.0)
BETA = 0.5
TRUST = 0.75
CHANCES = 2
HEAD_STEP = 2.0
"""Step of layers that read pooled features, as in 'foveal compress'; bits are those of the others."""


@dataclass(frozen=True)
class Method:
    """A way to put weights on grids.

    Attributes:
        name: in the table.
        settings: bits that are tried.
        quantize: from bits to levels and scales by layer, and the weights that the model then has.
    """

    name: str
    settings: tuple[float, ...]
    quantize: Callable[[float], Mapping[str, Quantized]]
    weights: Callable[[float], Mapping[str, Matrix]] | None = None


class Bench:
    """One model and what all methods need of it."""

    def __init__(self, subject: Subject, train: RatedViews, validation: RatedViews) -> None:
        import onnx

        self.artifact = subject.original
        self.model = onnx.load_from_string(self.artifact.model_bytes())
        self.layers = find_layers(self.model)
        self.weights = read_weights(self.model, self.layers)
        self.validation = list(validation)
        self.rated = np.zeros(len(validation)) if validation.rated is None else validation.rated[:, 0]
        self.original_size = self.file_size(self.artifact, compact=False)
        calibration = list(train)
        body = find_layers(subject.body)
        self.moments: dict[str, Moments] = collect_moments(subject.body, body, calibration, 96)
        self.sensitivity = measure_sensitivity(subject.body, body, self.moments, calibration[::4])

    def compensated(self, name: str, scale: Scale, most: int = 127) -> Quantized:
        """Levels of a layer, with error compensation where its inputs are known."""
        if name not in self.moments:
            return round_to(self.weights[name], scale, most)
        return compensate(self.weights[name], self.moments[name].second, scale, most)

    def judged(self, weights: Mapping[str, Matrix]) -> tuple[float, float]:
        """SRCC and PLCC on the validation images."""
        model = with_weights(self.model, self.layers, weights)
        shapes = {name: [1, *shape] for name, shape in input_shapes(self.artifact.card).items()}
        infer = OrderedInference(model.SerializeToString(), shapes)
        quality = np.array([float(row[0]) for row in infer(self.validation)])
        return srcc(quality, self.rated), plcc(quality, self.rated)

    def compact_size(self, quantized: Mapping[str, Quantized]) -> int:
        """Bytes of the whole model with these levels."""
        model = with_levels(self.model, self.layers, quantized)
        artifact = to_artifact(model.SerializeToString(), self.artifact.card)
        return self.file_size(artifact, compact=True)

    @staticmethod
    def file_size(artifact: Artifact, *, compact: bool) -> int:
        """Bytes of an artifact's file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial"
            write_artifact(path, artifact, store_float16=compact, compact=compact)
            return path.stat().st_size


def methods(bench: Bench) -> Iterator[Method]:
    weights, names = bench.weights, [layer.name for layer in bench.layers]
    head = [name for name in names if name not in bench.moments]
    body = {name: weights[name] for name in names if name not in head}
    sizes = {name: matrix.size for name, matrix in body.items()}

    def minmax_levels(bits: float) -> dict[str, Quantized]:
        # The file is as large as with these codes; one scale a tensor.
        return {
            name: Quantized(
                (made.codes.astype(np.int16) - 2 ** (int(bits) - 1)).astype(np.int8),
                np.full(len(matrix), made.scale, np.float32),
            )
            for name, matrix in weights.items()
            for made in [quantize_minmax(matrix, int(bits))]
        }

    def minmax_weights(bits: float) -> dict[str, Matrix]:
        return {name: quantize_minmax(matrix, int(bits)).weights for name, matrix in weights.items()}

    def clipped(bits: float) -> dict[str, Quantized]:
        return {
            name: round_to(matrix, clipped_scale(matrix, bits), half_range(bits))
            for name, matrix in weights.items()
        }

    def clipped_compensated(bits: float) -> dict[str, Quantized]:
        return {
            name: bench.compensated(name, clipped_scale(matrix, bits), half_range(bits))
            for name, matrix in weights.items()
        }

    def spread(relative: Mapping[str, float]) -> Callable[[float], dict[str, Quantized]]:
        def quantize(bits: float) -> dict[str, Quantized]:
            steps = steps_for_bits(body, relative, bits) | dict.fromkeys(head, HEAD_STEP)
            return {name: bench.compensated(name, spread_scale(weights[name], steps[name])) for name in names}

        return quantize

    found = importance(body)
    yield Method("paper: min-max, one scale a tensor", FIXED_BITS, minmax_levels, minmax_weights)
    yield Method("clipped, a scale a row", FIXED_BITS, clipped)
    yield Method("clipped, error-compensated", FIXED_BITS, clipped_compensated)
    yield Method("unclipped, error-compensated, even", MEAN_BITS, spread(even_steps(list(body))))
    yield Method(
        "... by sensitivity", MEAN_BITS, spread(steps_by_sensitivity(bench.sensitivity, sizes, TRUST))
    )
    for sign, text in (("paper", "as in Eq. 8"), ("text", "as in the text")):
        scores = {name: item.qlis(BETA, sign) for name, item in found.items()}
        yield Method(f"... by QLIS, sign {text}", MEAN_BITS, spread(steps_by_rank(scores)))
    for seed in range(CHANCES):
        yield Method(f"... by chance, seed {seed}", MEAN_BITS, spread(steps_by_chance(list(body), seed)))


def measure(bench: Bench, method: Method, bits: float) -> dict[str, float | str]:
    quantized = method.quantize(bits)
    weights = (
        method.weights(bits)
        if method.weights is not None
        else {name: item.weights for name, item in quantized.items()}
    )
    count = sum(item.levels.size for item in quantized.values())
    entropy = sum(item.entropy * item.levels.size for item in quantized.values()) / count
    agreement = bench.judged(weights)
    size = bench.compact_size(quantized)
    return {
        "method": method.name,
        "bits": bits,
        "entropy": round(entropy, 3),
        "bytes": size,
        "CR_file": round(bench.original_size / size, 2),
        "SRCC": round(agreement[0], 4),
        "PLCC": round(agreement[1], 4),
    }


def plot(rows: list[dict[str, float | str]], baseline: float, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    axes.axhline(baseline, color="0.6", linewidth=1, linestyle="--", label="fp32")
    for name in dict.fromkeys(str(row["method"]) for row in rows):
        points = sorted((float(r["CR_file"]), float(r["SRCC"])) for r in rows if r["method"] == name)
        chance = "chance" in name
        axes.plot(
            *zip(*points, strict=True),
            marker="." if chance else "o",
            color="0.75" if chance else None,
            label=None if chance and "seed 0" not in name else name.replace(", seed 0", " (two seeds)"),
        )
    axes.set_xscale("log", base=2)
    ticks = [4, 6, 8, 12, 16, 22, 32]
    axes.set_xticks(ticks, [f"{tick} x" for tick in ticks])
    axes.set(xlabel="CR_file: fp32 file / compressed file", ylabel="SRCC, validation images", ylim=(0, 0.95))
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a trained model with a head of its own")
    parser.add_argument("--backbone", help="that it stands on, if not found by its name")
    parser.add_argument("ratings", type=Path, help="recipe (TOML), or data.json of a training run")
    parser.add_argument("--images", type=int, default=500, help="validation images")
    parser.add_argument("--out", type=Path, default=Path("runs/compression-curve"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    subject = subject_of_model(load_trained(options.model, backbone=options.backbone))
    parts = read_parts(options.ratings)
    train, validation = (
        rated_views(part, subject.views, ("quality",)) for part in (parts.train, parts.validation)
    )
    bench = Bench(subject, train.some(96), validation.some(options.images))
    baseline = bench.judged({})
    print(f"fp32: {bench.original_size} bytes, SRCC {baseline[0]:.4f}, PLCC {baseline[1]:.4f}", flush=True)
    rows = []
    with (options.out / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        writer = None
        for method in methods(bench):
            for bits in method.settings:
                row = measure(bench, method, bits)
                rows.append(row)
                if writer is None:
                    writer = csv.DictWriter(file, list(row))
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    plot(rows, baseline[0], options.out / "curve.svg")


if __name__ == "__main__":
    main()
