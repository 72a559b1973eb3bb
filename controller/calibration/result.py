"""What a calibration found, with its uncertainty, and where it is kept."""

from __future__ import annotations

import hashlib
import os
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from controller.errors import InstrumentFailure, StorageFailure


class CalibrationFailed(InstrumentFailure):
    """A routine cannot reach its target with the bench as it is now."""


class Verdict(StrEnum):
    """PASS: every limit is met. FAIL: no key may depend on it."""

    PASS = "pass"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One numeric limit: `value` with its standard uncertainty, compared with [low, high]."""

    name: str
    value: float
    sigma: float
    low: float
    high: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether the value lies within its limits."""
        return self.low <= self.value <= self.high

    def __str__(self) -> str:
        """For messages: name, value, limits, unit."""
        return (
            f"{self.name} = {self.value:.4g} ± {self.sigma:.2g} {self.unit}, limits [{self.low:.4g}, {self.high:.4g}]"
        )


class CalibrationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a routine. `values` are the settings that it found; units are in the names."""

    routine: str
    time_unix_s: float
    validity_s: float
    checks: tuple[Check, ...]
    values: dict[str, float]
    series: dict[str, list[float]]  # what was measured, for plots
    instruments: dict[str, str]  # name -> serial number

    @property
    def verdict(self) -> Verdict:
        """PASS if every check is met."""
        return Verdict.PASS if all(check.is_met for check in self.checks) else Verdict.FAIL

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that are not met."""
        return tuple(check for check in self.checks if not check.is_met)

    @property
    def identifier(self) -> str:
        """Routine, time and a hash of everything measured: stands in the record of each block that depends on it."""
        digest = hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]
        return f"{self.routine}-{int(self.time_unix_s)}-{digest}"

    def age_s(self, now_unix_s: float) -> float:
        """Seconds since it was made; negative when the clock was set back."""
        return now_unix_s - self.time_unix_s

    def is_valid(self, now_unix_s: float) -> bool:
        """Passed, and neither expired nor from the future."""
        return self.verdict is Verdict.PASS and 0 <= self.age_s(now_unix_s) <= self.validity_s


def document(result: CalibrationResult) -> dict[str, Any]:
    """For the run file: everything, and what follows from it in words."""
    summary = "; ".join(f"{check.name} {check.value:.4g} {check.unit}".strip() for check in result.checks[:4])
    derived = {"id": result.identifier, "verdict": result.verdict.value.upper(), "summary": summary}
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return plain | derived


class CalibrationStore:
    """One JSON file per result in a directory; the newest of a routine is in force."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, result: CalibrationResult) -> Path:
        """Write atomically and durably. Raises StorageFailure."""
        path = self._directory / f"{result.identifier}.json"
        temporary = path.with_suffix(".tmp")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(result)))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise StorageFailure(f"calibration result {path.name} cannot be saved: {error}") from error
        return path

    def latest(self, routine: str) -> CalibrationResult | None:
        """The newest result of a routine that can be read, or None. A damaged file counts as absent: it is measured
        again.
        """
        results = []
        for path in self._directory.glob(f"{routine}-*.json"):
            try:
                results.append(msgspec.json.decode(path.read_bytes(), type=CalibrationResult))
            except (msgspec.DecodeError, OSError):
                continue
        return max(results, key=lambda result: result.time_unix_s, default=None)

    def all(self) -> tuple[CalibrationResult, ...]:
        """The newest result of every routine, by name."""
        routines = sorted({path.name.rsplit("-", 2)[0] for path in self._directory.glob("*.json")})
        return tuple(result for routine in routines if (result := self.latest(routine)) is not None)
