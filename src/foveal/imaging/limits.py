"""How large an input may be, checked before any memory is spent on it."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.errors import FileTooLargeError, TooManyPixelsError, ZeroSizedImageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest input that is decoded.

    Attributes:
        max_pixels: width times height as the header states it. Decoding takes up to 16 bytes a pixel.
        max_bytes: size of the file, or of the bytes handed over.

    Raises:
        ValueError: a limit is not positive.
    """

    max_pixels: int = 200_000_000
    max_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Refuse limits that would refuse every image."""
        if self.max_pixels < 1 or self.max_bytes < 1:
            raise ValueError(f"{self} refuses every image; expected positive limits")

    def check_pixels(self, name: str, width: int, height: int) -> None:
        """Raise ZeroSizedImageError or TooManyPixelsError unless width x height is within the limit."""
        if width < 1 or height < 1:
            raise zero_sized(name, width, height)
        if width * height > self.max_pixels:
            size, limit = width * height / 1e6, self.max_pixels / 1e6
            raise TooManyPixelsError(
                name,
                f"{width} x {height} is {size:.4g} megapixels, the limit is {limit:.4g}",
                "if it can be trusted, raise the limit with Limits(max_pixels=...), or shrink it first",
            )

    def check_bytes(self, name: str, count: int) -> None:
        """Raise FileTooLargeError if ``count`` bytes are over the limit."""
        if count > self.max_bytes:
            raise FileTooLargeError(
                name,
                f"more than the limit of {self.max_bytes / 2**20:.4g} MiB",
                "if it can be trusted, raise the limit with Limits(max_bytes=...)",
            )


def zero_sized(name: str, width: int, height: int) -> ZeroSizedImageError:
    """The error for an image without pixels."""
    return ZeroSizedImageError(
        name, f"the image is {width} x {height} pixels", "write it again: there is nothing in it"
    )
