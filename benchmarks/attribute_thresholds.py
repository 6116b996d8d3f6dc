#!/usr/bin/env python3
"""Make the cuts between the degrees of visual attributes from the images of a rated set.

They are the 10, 30, 70 and 90 % quantiles over images of the official training part of BIQ2021, drawn with a
fixed seed. For what most images lack (blocking, clipping) the first cut is where it can be seen at all, and
the others are the 40, 70 and 90 % quantiles of the images that have it. An attribute that is new needs any
four numbers in the file first. Example:

    python benchmarks/attribute_thresholds.py path/to/BIQ2021/Images names.txt
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.attributes import ATTRIBUTES, Attribute, measure
from foveal.imaging.decode import decode

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "src" / "foveal" / "attributes" / "thresholds.json"
SHARES = (0.1, 0.3, 0.7, 0.9)
SHARES_IF_PRESENT = (0.4, 0.7, 0.9)


def main() -> None:
    options = _options()
    names = options.names.read_text(encoding="utf-8").splitlines()
    # The set's own tables spell a suffix in another case than its files here and there.
    found = {path.name.lower(): path for path in options.images.iterdir()}
    drawn = np.random.default_rng(options.seed).permutation(len(names))[: options.count]
    paths = [found[names[index].lower()] for index in np.sort(drawn)]
    with ProcessPoolExecutor(options.processes) as pool:
        rows = np.array(list(pool.map(_values, paths, chunksize=16)))
    cuts = {name: _cuts(ATTRIBUTES[name], column) for name, column in zip(ATTRIBUTES, rows.T, strict=True)}
    for name, four in cuts.items():
        print(f"{name:16} " + " ".join(f"{cut:9.4f}" for cut in four))
    made_from = f"{len(paths)} images of the official training part of BIQ2021, seed {options.seed}"
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(four)}" for name, four in cuts.items())
    text = f'{{\n  "made_from": {json.dumps(made_from)},\n  "thresholds": {{\n{lines}\n  }}\n}}\n'
    options.out.write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of the images")
    parser.add_argument("names", type=Path, help="file with the name of an image on each line")
    parser.add_argument("--count", type=int, default=1500, help="images drawn (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2021, help="of the draw (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="at once (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=TARGET, help="file to write (default: the package's)")
    return parser.parse_args()


def _values(path: Path) -> list[float]:
    return [reading.value for reading in measure(decode(path).pixels).values()]


def _cuts(attribute: Attribute, values: NDArray[np.float64]) -> list[float]:
    """Four thresholds, rounded as they are stored."""
    if attribute.seen_from is None:
        cuts = np.quantile(values, SHARES)
    else:
        cuts = np.array(
            [attribute.seen_from, *np.quantile(values[values >= attribute.seen_from], SHARES_IF_PRESENT)]
        )
    return [round(float(cut), 4) for cut in cuts]


if __name__ == "__main__":
    main()
