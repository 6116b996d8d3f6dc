"""The artifact: the one safe file that holds an assessor. The lab writes it, the ground floor runs it."""

from foveal.artifact.card import AspectSpec, Calibration, Card, PromptSpec, SideRange, ViewSpec
from foveal.artifact.file import Artifact, read_artifact, write_artifact

__all__ = [
    "Artifact",
    "AspectSpec",
    "Calibration",
    "Card",
    "PromptSpec",
    "SideRange",
    "ViewSpec",
    "read_artifact",
    "write_artifact",
]
