"""The counters of a server, in Prometheus format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "foveate_requests",
            "Requests that were answered, by path and status.",
            ("path", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "foveate_request_seconds",
            "From the headers of a request to the end of its answer.",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self.rejected = Counter(
            "foveate_rejected",
            "Requests that were refused, by reason.",
            ("why",),
            registry=registry,
        )
        self.queue = Gauge("foveate_queue_depth", "Images waiting.", registry=registry)
        self.working = Gauge("foveate_images_at_work", "Images being segmented.", registry=registry)
        self.batch = Histogram(
            "foveate_batch_images",
            "Images per engine call.",
            buckets=IMAGES,
            registry=registry,
        )

        self.info = Info(
            "foveate", "The bundle with 12 digits of its hash, and what runs it.", registry=registry
        )

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
