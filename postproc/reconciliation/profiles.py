"""Operating points of the decoder: how much is disclosed beyond the ideal code, against how long it may iterate."""

from __future__ import annotations

from dataclasses import dataclass

from postproc.errors import InputOutOfRange


@dataclass(frozen=True, slots=True)
class Profile:
    """margin_sigmas: standard deviations of the error count and of its estimate that the first attempt covers;
    strengthen_percent: leakage added for frames that failed; max_iterations: after which a frame has failed."""

    name: str
    margin_sigmas: float
    strengthen_percent: float
    max_iterations: int


FAST = Profile("fast", margin_sigmas=2.5, strengthen_percent=6.0, max_iterations=120)
"""First attempts nearly always succeed, in few iterations: least latency and most throughput."""

EFFICIENT = Profile("efficient", margin_sigmas=1.5, strengthen_percent=1.0, max_iterations=250)
"""Close to the threshold of the codes; some frames in a hundred need a second, slightly stronger attempt."""

_PROFILES = {profile.name: profile for profile in (FAST, EFFICIENT)}


def profile(name: str) -> Profile:
    """The profile of that name. Raises InputOutOfRange."""
    if name not in _PROFILES:
        raise InputOutOfRange(f"there is no reconciliation profile {name[:40]!r}; known are {sorted(_PROFILES)}")
    return _PROFILES[name]
