"""Blocking steps in a thread that are never left behind: on cancellation the caller waits for the step's end.

A thread cannot be cancelled. If nobody waited, a decision, a burnt pad or an order to an instrument could still happen
after its round was given up, side by side with the next connection, which has already told the peer another state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


async def to_the_end(
    step: Callable[Arguments, Result], /, *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """Run `step(*arguments)` in a thread and return what it returns. A cancellation is passed on when it is over."""
    return await to_the_end_in(None, partial(step, *arguments, **options))


async def to_the_end_in(executor: Executor | None, step: Callable[[], Result]) -> Result:
    """The same with a thread of this executor (None: the event loop's own)."""
    job = asyncio.get_running_loop().run_in_executor(executor, step)
    cancelled: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait({job})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        job.exception()  # seen; what ended the caller goes first
        raise cancelled
    return job.result()
