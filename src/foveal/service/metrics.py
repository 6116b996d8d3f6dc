"""What Prometheus reads at ``/metrics``. Every label takes one of a few values that are known in advance."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SCORED = "scored"
"""Outcome of an image that was judged; the others are the codes of its error."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts and times of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "foveal_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "foveal_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._in_flight = Gauge("foveal_requests_in_flight", "Requests at work.", registry=self.registry)
        self._images = Counter(
            "foveal_images", "Images by what became of them.", ["route", "outcome"], registry=self.registry
        )
        self._waited = Histogram(
            "foveal_queue_seconds",
            "Longest time that an image of a request waited for a worker.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "foveal_batch_images", "Images judged together.", buckets=_IMAGES, registry=self.registry
        )

    def begin(self) -> None:
        """A request has come."""
        self._in_flight.inc()

    def end(self, route: str, status: int, seconds: float) -> None:
        """A request is answered.

        Args:
            route: one of the service's paths, or ``other``.
            status: of the response; 499 if the client has gone.
            seconds: that it took.
        """
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def image(self, route: str, outcome: str) -> None:
        """An image is judged, or its error known."""
        self._images.labels(route, outcome).inc()

    def waited(self, route: str, seconds: float) -> None:
        """The images of a request have found their workers."""
        self._waited.labels(route).observe(seconds)

    def batch(self, images: int) -> None:
        """An engine was called."""
        self._batches.observe(images)

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge that is looked up when somebody asks."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it, in the format of :data:`CONTENT_TYPE`."""
        return generate_latest(self.registry)
