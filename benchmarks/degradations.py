"""Does the score fall when a photograph gets worse? Rank correlation of severity and score; -1 is perfect.

Clean photographs are degraded in growing steps: JPEG, blur, noise, downscaling, exposure, loss of contrast.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from _common import EXAMPLES, environment, find_images, load, make_parser, progress, run, show
from foveal.assessor import Assessor
from foveal.evaluation.degradation import SEVERITIES, Trend, TrendReport, severity_trend
from foveal.imaging.decode import decode
from foveal.imaging.degradations import DEGRADATIONS
from foveal.imaging.views import Pixels
from foveal.runtime.ordered import ordered_map


def main() -> None:
    """Degrade, score, print."""
    options = parse()
    files, kinds = find_images(options.images), options.kinds
    severities: tuple[float, ...] = SEVERITIES
    if options.quick:
        files, kinds, severities = files[:2], kinds[:2], (0.0, 0.5, 1.0)
    assessor = load(options.model)
    result = trends(assessor, options.images, files, kinds, severities)
    notes = [
        f"{assessor.card.model} on {len(files)} photographs, severities {', '.join(map(str, severities))}",
        environment("foveal", "openvino"),
    ]
    show(result.table(), notes, markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--images",
        type=Path,
        default=EXAMPLES / "photos",
        metavar="DIR",
        help="clean photographs (default: examples/photos)",
    )
    add("--kinds", nargs="+", choices=tuple(DEGRADATIONS), default=tuple(DEGRADATIONS), help="default: all")
    return parser.parse_args()


def trends(
    assessor: Assessor, folder: Path, files: Iterable[str], kinds: Sequence[str], severities: Sequence[float]
) -> TrendReport:
    """Trends of all photographs, several at once."""

    def quality(pixels: Pixels) -> float:
        return assessor(pixels).quality

    def of_one(file: str) -> TrendReport:
        name = Path(file).relative_to(folder).with_suffix("").as_posix()
        return severity_trend(quality, [(name, decode(file).pixels)], kinds, severities)

    threads = assessor.engine.threads
    collected: list[Trend] = []
    for result in ordered_map(of_one, files, workers=threads, ahead=threads):
        collected += result.trends
        progress(f"{result.trends[0].image}: {result.mean:.3f}")
    return TrendReport(tuple(collected))


if __name__ == "__main__":
    run(main)
