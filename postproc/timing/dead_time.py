"""The common dead time in slots: it is counted from slot to slot, not from click to click (postproc.timing.gating)."""

from __future__ import annotations

import math

from postproc.errors import InputOutOfRange

SLOT_TOLERANCE = 1e-3  # of a slot: a dead time that is a whole number of slots stays that number when the clock drifts


def dead_slots(common_dead_time_ps: int, slot_period_ps: float) -> int:
    """The common dead time in whole slots, rounded up: from the end of a slot with a click to the start of the first
    live one at least common_dead_time_ps pass. Raises InputOutOfRange below 0."""
    if common_dead_time_ps < 0:
        raise InputOutOfRange(f"common dead time {common_dead_time_ps} ps must not be negative")
    return max(0, math.ceil(common_dead_time_ps / slot_period_ps - SLOT_TOLERANCE))
