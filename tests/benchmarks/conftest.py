"""Benchmarks are scripts: their folder is put where Python looks for modules, as when they run."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
