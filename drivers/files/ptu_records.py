"""PicoQuant TTTR records (u32) to events: one kernel per layout. Numbers after PicoQuant's published record tables.

T2, HydraHarp family:  special[31] channel[30:25] time[24:0]
                       special: channel 63 overflow of 2^25 x count (HydraHarp V1: always one of 33552000),
                       0 sync, 1-15 markers
T2, PicoHarp 300:      channel[31:28] time[27:0]; channel 15: low 4 bits 0 = overflow of 210698240,
                       else marker bits
T3, HydraHarp family:  special[31] channel[30:25] dtime[24:10] nsync[9:0]
                       special: channel 63 overflow of 1024 x count, 1-15 markers
T3, PicoHarp 300:      channel[31:28] dtime[27:16] nsync[15:0]; channel 15: dtime 0 = overflow of 65536,
                       else marker bits

Source: PicoQuant-Time-Tagged-File-Format-Demos, doc/apx_tttrrecords.html. `ptufile` reports channel 0 for sync as well
as for input 1 in T2, which is why the records are taken apart here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drivers.tags import TagFlag

CHANNEL_SYNC: Final = 0  # of the tags; inputs are counted from 1, as PicoQuant's own demonstration does
CHANNEL_MARKER: Final = 100  # + marker bits 1..15
_MARKER_FLAG: Final = int(TagFlag.MARKER)


@njit(nogil=True, cache=True)
def decode_hydra(
    records: NDArray[np.int64],
    is_t3: bool,
    wrap: int,
    is_wrap_counted: bool,
    overflow: int,
    limit: int,
    coarse: NDArray[np.int64],
    fine: NDArray[np.int64],
    channel: NDArray[np.uint8],
    flags: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """HydraHarp, MultiHarp, TimeHarp 260, PicoHarp 330. `records` are the u32 words, widened.

    coarse [n]: T2 time or T3 sync number, with overflows; fine [n]: T3 dtime, 0 in T2. Returns (events written, records
    read, overflow so far); fewer records read than given: the next one is impossible, or the time passed `limit`.
    """
    written = 0
    for i in range(records.size):
        word = int(records[i])
        where = (word >> 25) & 0x3F
        low = word & 0x3FF if is_t3 else word & 0x1FFFFFF
        mark = 0
        name = where + 1
        if word >> 31:
            if where == 63:
                overflow += wrap * (low if is_wrap_counted and low > 0 else 1)
                if overflow > limit:
                    return written, i, overflow
                continue
            if where > 15 or (is_t3 and where == 0):
                return written, i, overflow
            mark = _MARKER_FLAG
            name = CHANNEL_SYNC if where == 0 else CHANNEL_MARKER + where
        coarse[written] = overflow + low
        fine[written] = (word >> 10) & 0x7FFF if is_t3 else 0
        channel[written] = name
        flags[written] = mark
        written += 1
    return written, records.size, overflow


@njit(nogil=True, cache=True)
def decode_pico(
    records: NDArray[np.int64],
    is_t3: bool,
    wrap: int,
    overflow: int,
    limit: int,
    coarse: NDArray[np.int64],
    fine: NDArray[np.int64],
    channel: NDArray[np.uint8],
    flags: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """PicoHarp 300; arguments and result as in `decode_hydra`. T3 channels already count from 1."""
    written = 0
    for i in range(records.size):
        word = int(records[i])
        where = word >> 28
        low = word & 0xFFFF if is_t3 else word & 0xFFFFFFF
        dtime = (word >> 16) & 0xFFF if is_t3 else 0
        mark = 0
        name = where if is_t3 else where + 1
        if where == 15:
            bits = dtime & 0xF if is_t3 else low & 0xF
            if (is_t3 and dtime == 0) or (not is_t3 and bits == 0):
                overflow += wrap
                if overflow > limit:
                    return written, i, overflow
                continue
            if bits == 0:
                return written, i, overflow
            mark = _MARKER_FLAG
            name = CHANNEL_MARKER + bits
            if not is_t3:
                low -= bits
        elif where > 4:
            return written, i, overflow
        coarse[written] = overflow + low
        fine[written] = dtime if mark == 0 else 0
        channel[written] = name
        flags[written] = mark
        written += 1
    return written, records.size, overflow
