"""Every error that Foveal raises on purpose. Each message names the source, the reason and what to do."""

from __future__ import annotations

from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


class FovealError(Exception):
    """Base of all errors of this package."""


class MissingExtraError(FovealError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'foveal[{extra}]'")
        self.what = what
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Survive the way between processes."""
        return type(self), (self.what, self.extra)


class ImageError(FovealError):
    """An input cannot be judged.

    Attributes:
        source: name of the file, or of the kind of input.
        reason: what is wrong with it.
        advice: what to do about it.
    """

    def __init__(self, source: str, reason: str, advice: str = "") -> None:
        super().__init__(f"{source}: {reason}" + (f"; {advice}" if advice else ""))
        self.source = source
        self.reason = reason
        self.advice = advice

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        """Survive the way between processes."""
        return type(self), (self.source, self.reason, self.advice)


class ImageNotFoundError(ImageError):
    """There is no such file, or it is not a file, or it may not be read."""


class EmptyImageError(ImageError):
    """The input has no bytes."""


class NotAnImageError(ImageError):
    """The bytes are not an image in a known format."""


class TruncatedImageError(ImageError):
    """The image ends too early."""


class CorruptImageError(ImageError):
    """The image is of a known format but cannot be decoded."""


class FileTooLargeError(ImageError):
    """The file has more bytes than the limit."""


class TooManyPixelsError(ImageError):
    """The image declares more pixels than the limit: a very large picture or a decompression bomb."""


class ZeroSizedImageError(ImageError):
    """Width or height is zero."""


class InvalidArrayError(ImageError):
    """An array has the wrong shape or type, or holds NaN, infinities or values out of range."""


class PromptError(FovealError):
    """Prompts cannot be used: the assessor reads none, or they do not fit the images."""


class MissingPromptError(ImageError, PromptError):
    """There is no prompt, and an aspect cannot be judged without one."""


class InvalidPromptError(ImageError, PromptError):
    """A prompt is not text, or cannot be read."""


class ArtifactError(FovealError):
    """A model file cannot be used."""


class UnknownModelError(ArtifactError):
    """No shipped assessor has this name and no file lies at this path."""


class ForeignArtifactError(ArtifactError):
    """The file is not a Foveal artifact, or of a newer format."""


class CorruptArtifactError(ArtifactError):
    """The file is a Foveal artifact, but cut or altered."""


class DeviceError(FovealError):
    """The device or engine asked for is not available here."""


class OutputError(FovealError):
    """Results cannot be written or resumed."""


class SourceError(FovealError):
    """A list or table of images is missing or malformed, or a folder or store of images cannot be listed."""


class StorageError(FovealError):
    """A file system or object store cannot be reached, or what reads it is not installed."""


class ClusterError(FovealError):
    """The cluster cannot be reached, or its workers do not come to an end."""


class RatingsError(FovealError):
    """A table of human scores is missing, incomplete or malformed."""


class BackboneError(FovealError):
    """A pretrained backbone cannot be used."""


class UnknownBackboneError(BackboneError):
    """No well-known backbone has this name, no folder lies at this path, or the Hub cannot give it."""


class UnsupportedArchitectureError(BackboneError):
    """The folder holds a model of a kind that the lab cannot step through."""


class IncompleteBackboneError(BackboneError):
    """A file or a weight of the backbone is missing or malformed."""


class UnsafeWeightsError(BackboneError):
    """The weights are there only as pickles, which may run code when they are read."""


class MissingPartError(BackboneError):
    """The backbone lacks the part asked for: image encoder, text encoder, pooling head or projection."""


def bare(error: _Error) -> _Error:
    """The same error, fit to be kept: without tracebacks, its own and those of what led to it.

    The frames of a traceback hold what a job worked on, and often the error itself: such a circle keeps the
    bytes of an image until the garbage collector comes by, long after their request has ended.
    """
    left: list[BaseException] = [error]
    while left:
        one = left.pop()
        left += filter(None, (one.__cause__, one.__context__))
        one.__traceback__ = one.__cause__ = one.__context__ = None
    return error
