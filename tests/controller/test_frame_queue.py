"""The queue of round messages holds a budget of bytes, loses nothing and keeps the order."""

from __future__ import annotations

import asyncio

from controller.frame_queue import FrameQueue


def test_order_and_budget() -> None:
    async def run() -> None:
        queue = FrameQueue(100)
        await queue.put(1, bytes(60))
        await queue.put(1, bytes(40))
        third = asyncio.ensure_future(queue.put(2, bytes(1)))
        await asyncio.sleep(0.01)
        assert not third.done()
        assert queue.waiting_bytes == 100
        assert await queue.get() == (1, bytes(60))
        await asyncio.wait_for(third, 1.0)
        assert await queue.get() == (1, bytes(40))
        assert await queue.get() == (2, bytes(1))
        assert queue.waiting_bytes == 0

    asyncio.run(run())


def test_a_frame_above_the_budget_passes_alone() -> None:
    async def run() -> None:
        queue = FrameQueue(10)
        await queue.put(1, bytes(1000))
        second = asyncio.ensure_future(queue.put(2, b"x"))
        await asyncio.sleep(0.01)
        assert not second.done()
        assert (await queue.get())[0] == 1
        await asyncio.wait_for(second, 1.0)

    asyncio.run(run())


def test_a_cancelled_reader_takes_nothing() -> None:
    async def run() -> None:
        queue = FrameQueue(10)
        reader = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await queue.put(1, b"abc")
        assert await asyncio.wait_for(queue.get(), 1.0) == (1, b"abc")

    asyncio.run(run())
