"""All that can be set about the service, with its defaults; ``foveal serve`` has an option for each."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, fields

from foveal.errors import TooManyPixelsError
from foveal.imaging.limits import Limits

MIB = 2**20
JSON_COST = 1.75
"""Times its size that a body of JSON takes while it is read: itself, and the images, a quarter smaller than
their base64."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Names by which a service that listens on this machine alone may be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the service behaves. Sizes are in bytes, times in seconds.

    Attributes:
        host: address to listen on.
        port: likewise; 0 takes any that is free.
        queue: images that may wait or be worked on at once; more get 429.
        batch_wait: how long an image waits for company, for engines that are quickest with batches.
        explain_workers: images explained at once; 0 leaves explanations out.
        explain_queue: images that may wait for an explanation or be explained; more get 429.
        max_body: of one request.
        max_image: of one image, encoded.
        max_pixels: width times height of one image. Decoding takes up to 16 bytes a pixel in each worker.
        max_images: in one request.
        max_held: of all requests together; what comes in above it gets 429.
        max_json_depth: arrays and objects inside each other in a JSON body.
        max_prompt: characters.
        max_name: characters of an image's name.
        header_seconds: for a client to send the whole head of a request.
        body_seconds: for a client to send the whole body.
        request_seconds: from the end of the body to the answer; longer gets 504.
        write_seconds: for a client to take what it is sent.
        idle_seconds: how long a connection stays open between requests.
        max_connections: at once; more get 429.
        grace: after SIGTERM, for what is in flight.
        lame_duck: after SIGTERM, for which new work is refused by 503 before the port is closed, though
            nothing is in flight: load balancers take a while to notice.
        allow_fetch: whether images may be named by URL.
        fetch_seconds: for one such image, redirects included.
        fetch_workers: of them fetched at once.
        fetch_ports: of other servers that may be connected to.
        token: clients must show it; None lets everyone in.
        open_metrics: whether ``/metrics`` needs no token.
        allowed_hosts: names by which clients may call the service, port aside; empty takes those of this
            machine if it listens on loopback alone, else all.

    Raises:
        ValueError: a number is out of range, or the token cannot be sent in a header.
    """

    host: str = "127.0.0.1"
    port: int = 8321
    queue: int = 128
    batch_wait: float = 0.003
    explain_workers: int = 1
    explain_queue: int = 8
    max_body: int = 64 * MIB
    max_image: int = 32 * MIB
    max_pixels: int = 50_000_000
    max_images: int = 32
    max_held: int = 512 * MIB
    max_json_depth: int = 8
    max_prompt: int = 4_000
    max_name: int = 255
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    request_seconds: float = 30.0
    write_seconds: float = 30.0
    idle_seconds: float = 15.0
    max_connections: int = 512
    grace: float = 30.0
    lame_duck: float = 0.0
    allow_fetch: bool = False
    fetch_seconds: float = 10.0
    fetch_workers: int = 4
    fetch_ports: tuple[int, ...] = (80, 443)
    token: str | None = None
    open_metrics: bool = False
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            least = 0 if item.name in _MAY_BE_ZERO else 1 if isinstance(value, int) else 1e-3
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{item.name} is {value}, expected {least:g} or more")
        if self.max_images > self.queue:
            raise ValueError(
                f"queue is {self.queue}: a request of {self.max_images} images (max_images) never fits"
            )
        if JSON_COST * self.max_body > self.max_held:
            raise ValueError(
                f"max_held is {self.max_held}: a body of {self.max_body} (max_body) never fits; "
                f"as JSON it takes {JSON_COST:g} times as much"
            )
        if self.token is not None and not _is_token(self.token):
            raise ValueError("the token is not one word of printable ASCII of 8 to 512 characters")

    @property
    def limits(self) -> Limits:
        """Sizes of images that are accepted."""
        return ShapeLimits(max_pixels=self.max_pixels, max_bytes=self.max_image)

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it."""
        return not is_loopback(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names by which clients may call it, lower case; empty for all.

        A page of somebody else's may point its own name at this machine (DNS rebinding) and would then count
        as the same origin: so a service for this machine alone answers to this machine's names only.
        """
        if self.allowed_hosts or self.is_public:
            return tuple(name.lower() for name in self.allowed_hosts)
        return (*LOOPBACK_NAMES, f"[{self.host}]" if ":" in self.host else self.host.lower())


_ALWAYS_ENLARGED = 2**22
"""Pixels that an enlarged image may always have, however few are allowed to begin with."""


class ShapeLimits(Limits):
    """Limits that count the pixels of an image as it is judged, too.

    A line of 30,000 pixels is a small file and a small image, and is enlarged to 67 megapixels before crops
    are cut from it: without this, it would take more memory than the limit promises.
    """

    def check_pixels(self, name: str, width: int, height: int) -> None:
        """Raise what :class:`Limits` raises, and TooManyPixelsError for shapes that become too large."""
        Limits.check_pixels(self, name, width, height)
        from foveal.imaging.views import SIDE, enlarged_size

        needed = math.prod(enlarged_size(height, width, SIDE))
        if needed > max(self.max_pixels, _ALWAYS_ENLARGED):
            size, limit = needed / 1e6, self.max_pixels / 1e6
            reason = f"{width} x {height} is too narrow: enlarged to be judged it has {size:.4g} megapixels"
            raise TooManyPixelsError(name, f"{reason}, the limit is {limit:.4g}")


_MAY_BE_ZERO = frozenset({"port", "batch_wait", "explain_workers", "grace", "lame_duck"})


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is one of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_token(text: str) -> bool:
    return 8 <= len(text) <= 512 and all("!" <= mark <= "~" for mark in text)
