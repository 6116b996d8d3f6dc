"""Engines that execute an artifact's graph."""

from foveal.runtime.engine import Engine
from foveal.runtime.select import make_engine

__all__ = ["Engine", "make_engine"]
