"""Count rates against what they should be: the first symptom that names a fault of the light or of a detector."""

from __future__ import annotations

DARK_RATIO = 0.05  # of the expected rate of all detectors together
LOW_RATIO = 0.6
DEAD_SHARE = 0.02  # of an equal share: a detector that is on always counts more


def rate_fault(rates_hz: tuple[float, ...], expected_sum_hz: float, max_rate_hz: float) -> tuple[str, str] | None:
    """Alarm id and words, or None when the rates are as they should be.

    rates_hz: clicks per second of each detector; expected_sum_hz: of all together; max_rate_hz: of any single one,
    above which a detector is taken to be saturated or driven by bright light. The first that applies is named.
    """
    for number, rate_hz in enumerate(rates_hz, start=1):
        if rate_hz > max_rate_hz:
            return "detector-saturated", f"detector {number} counts {rate_hz:.3g} /s, limit {max_rate_hz:.3g} /s"
    ratio = sum(rates_hz) / expected_sum_hz
    if ratio < DARK_RATIO:
        return "no-light", f"count rate is {ratio:.3f} of the expected one"
    for number, rate_hz in enumerate(rates_hz, start=1):
        if rate_hz < DEAD_SHARE * sum(rates_hz) / len(rates_hz):
            return "detector-dead", f"detector {number} counts {rate_hz:.3g} /s while the others count"
    if ratio < LOW_RATIO:
        return "low-counts", f"count rate is {ratio:.2f} of the expected one, limit {LOW_RATIO}"
    return None
