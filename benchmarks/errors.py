"""What stops a benchmark."""


class BenchError(Exception):
    """Raised when something could not be measured; the sentence says why."""
