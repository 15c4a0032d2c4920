"""Several steps at once: the first failure ends the others, an interruption ends all."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from devcluster.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from devcluster.process import Runner

_POLL_S = 0.2


def together(runner: Runner, *jobs: Callable[[], None]) -> None:
    """Run ``jobs`` in threads until all have ended.

    Raises:
        BaseException: What the first failing job raised, after the programs of the others were
            killed.
    """
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        pending: set[Future[None]] = {pool.submit(job) for job in jobs}
        first: BaseException | None = None
        while pending:
            try:
                # With a limit, because a signal is only seen between two waits.
                done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            except BaseException:
                runner.cancel()
                raise
            for future in done:
                error = future.exception()
                if error and (first is None or isinstance(first, CancelledError)):
                    first = error
                    runner.cancel()
        if first:
            raise first
