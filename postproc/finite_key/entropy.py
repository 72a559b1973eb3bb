"""Binary entropy, as bounds use it."""

from __future__ import annotations

import math


def binary_entropy(x: float) -> float:
    """h(x) in bits for 0 <= x <= 1; 1 above 1/2 (a bound on an error ratio that large leaves nothing)."""
    if x >= 0.5:
        return 1.0
    if x <= 0:
        return 0.0
    return -x * math.log2(x) - (1 - x) * math.log2(1 - x)
