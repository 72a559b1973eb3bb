"""What count rates are called."""

from __future__ import annotations

import pytest

from controller.monitoring.alarms import CATALOGUE
from controller.monitoring.rates import rate_fault

EXPECTED_HZ = 10e6
MAX_HZ = 50e6


@pytest.mark.parametrize(
    ("rates_hz", "code"),
    [
        ((6e6, 2e6, 2e6), None),
        ((60e6, 2e6, 2e6), "detector-saturated"),
        ((100.0, 90.0, 110.0), "no-light"),
        ((6e6, 2e6, 100.0), "detector-dead"),
        ((2e6, 1e6, 1e6), "low-counts"),
        ((0.0, 0.0, 0.0), "no-light"),
    ],
)
def test_the_fault_has_a_name(rates_hz: tuple[float, ...], code: str | None) -> None:
    fault = rate_fault(rates_hz, EXPECTED_HZ, MAX_HZ)
    assert (fault[0] if fault else None) == code
    assert code is None or code in CATALOGUE
