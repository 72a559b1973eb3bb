"""A blocking step is never left behind by a cancellation; a refill fits into the share of the block it may take."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.to_the_end import to_the_end
from controller.trust.pads import RefillSizes


def test_cancellation_waits_for_the_step() -> None:
    begun, may_end, has_ended = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        begun.set()
        may_end.wait(10)
        has_ended.set()

    async def scenario() -> None:
        task = asyncio.ensure_future(to_the_end(step))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert has_ended.is_set()

    asyncio.run(scenario())


def test_result_and_error_come_through() -> None:
    assert asyncio.run(to_the_end(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(to_the_end(divmod, 7, 0))


SIZES = st.integers(min_value=0, max_value=1 << 20)


@given(SIZES, SIZES, SIZES, SIZES)
def test_refill_within_a_limit(round_bytes: int, resync_bytes: int, notice_bytes: int, limit: int) -> None:
    wanted = RefillSizes(round_bytes, resync_bytes, notice_bytes)
    taken = wanted.within(limit)
    assert taken.total_bytes <= limit
    assert all(taken.of(region) <= wanted.of(region) for region in ("round", "resync", "notice"))
    assert all(taken.of(region) % 32 == 0 for region in ("round", "resync", "notice"))
    is_short = any(wanted.of(region) - taken.of(region) >= 32 for region in ("round", "resync", "notice"))
    assert not is_short or limit - taken.total_bytes < 64 + 3 * 64  # what is missing would not have fitted
