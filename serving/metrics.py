"""What a server counts of itself, in Prometheus' words: requests, time, batches, abstentions, sources, money."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.verdicts import Verdict

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """A registry of its own, so that two servers in one process do not count together. Texts are never in it."""

    def __init__(self, model_id: str) -> None:
        self.registry = own = CollectorRegistry()
        self._requests = Counter(
            "stillhouse_requests", "Requests by path and status.", ["path", "status"], registry=own
        )
        self._seconds = Histogram(
            "stillhouse_request_seconds", "Time of a request.", ["path"], buckets=SECONDS, registry=own
        )
        self._sizes = Histogram(
            "stillhouse_batch_texts", "Texts the student read together.", buckets=SIZES, registry=own
        )
        self._texts = Counter("stillhouse_texts", "Texts by who said their label.", ["source"], registry=own)
        self._abstained = Counter("stillhouse_abstained", "Texts that nobody was sure of.", registry=own)
        self._failed = Counter(
            "stillhouse_next_step_failures", "Teacher or desk could not be asked.", ["why"], registry=own
        )
        self._paid = Counter("stillhouse_teacher_usd", "US dollars behind the teacher's answers.", registry=own)
        self.waiting = Gauge("stillhouse_waiting_texts", "Texts that wait for the student.", registry=own)
        Gauge("stillhouse_model", "The student that is served.", ["model"], registry=own).labels(model_id).set(1)

    def request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, texts: int) -> None:
        self._sizes.observe(texts)

    def verdict(self, verdict: Verdict) -> None:
        self._texts.labels(verdict.source).inc()
        if verdict.abstained:
            self._abstained.inc()

    def failed(self, why: str) -> None:
        self._failed.labels(why).inc()

    def paid(self, cost_usd: float) -> None:
        self._paid.inc(cost_usd)

    def text(self) -> bytes:
        """The exposition format, for GET /metrics."""
        return generate_latest(self.registry)
