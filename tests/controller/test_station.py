"""The station: opens together, tells all failures at once, and is made safe on every way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from shell_samples import ROOT, FakeLaser, FakeMeter, alice

from controller.config import InstrumentSection
from controller.errors import ConfigurationError, InstrumentFailure, StationBroken, StationNotSafe
from controller.station import Station, fulfils, open_configured
from drivers.errors import InstrumentError, InstrumentTimeout
from drivers.roles import Laser, ModulatorBias, PowerMeter


def make(tmp_path: Path, fault: str = "") -> tuple[Station, list[str]]:
    calls: list[str] = []
    devices = {"meter": FakeMeter("meter", calls), "laser": FakeLaser("laser", calls, fault)}
    return Station(devices, state_dir=tmp_path), calls


def test_all_failures_are_in_one_error_and_what_opened_is_made_safe(tmp_path: Path) -> None:
    calls: list[str] = []

    def opener(name: str, section: InstrumentSection, workspace: Path) -> FakeLaser:
        if name in ("modulator", "transmitter"):
            raise InstrumentTimeout(f"nothing at {section.resource}", instrument=name)
        return FakeLaser(name, calls)

    with pytest.raises(InstrumentFailure) as caught:
        Station.open(alice(), tmp_path, opener=opener)
    assert [line.split(":")[0] for line in caught.value.failures] == ["modulator", "transmitter"]
    assert "2 of 4 instruments failed" in str(caught.value)
    assert {"laser.make_safe", "laser.close", "power_meter.make_safe", "power_meter.close"} == set(calls)


def test_a_driver_option_that_does_not_exist_is_a_configuration_error(tmp_path: Path) -> None:
    def opener(name: str, section: InstrumentSection, workspace: Path) -> FakeLaser:
        raise TypeError("unexpected option 'baudrat'")

    with pytest.raises(ConfigurationError, match=r"instruments\.laser: unexpected option"):
        Station.open(alice(), tmp_path, opener=opener)


def test_another_unit_of_the_same_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("drivers.registry.open_instrument", lambda *_, **__: FakeLaser("laser", calls, serial="S9"))
    section = InstrumentSection(driver="koheron_ctl200", resource="serial:x", serial="S1")
    with pytest.raises(InstrumentError, match=r"'S9'.*'S1'"):
        open_configured("laser", section, tmp_path)
    assert calls == ["laser.close"]


def test_roles_are_found_by_what_a_class_can_do(tmp_path: Path) -> None:
    station, _ = make(tmp_path)
    assert isinstance(station.find(Laser), FakeLaser)
    assert isinstance(station.find(PowerMeter), FakeMeter)
    assert not fulfils(FakeMeter, Laser)
    with pytest.raises(ConfigurationError, match="0 instruments for the role ModulatorBias"):
        station.find(ModulatorBias)
    station.close()


def test_light_goes_off_before_anything_else_and_everything_is_tried(tmp_path: Path) -> None:
    station, calls = make(tmp_path, fault="make_safe")
    with pytest.raises(StationNotSafe, match="laser: make_safe failed"):
        station.close()
    assert calls[:2] == ["laser.make_safe", "meter.make_safe"]
    assert set(calls[2:]) == {"laser.close", "meter.close"}
    station.close()  # idempotent
    assert len(calls) == 4


def test_an_exception_leaves_the_station_safe(tmp_path: Path) -> None:
    station, calls = make(tmp_path)
    with pytest.raises(ZeroDivisionError), station:
        _ = 1 / 0
    assert calls[0] == "laser.make_safe"
    assert "laser.close" in calls


def test_a_failed_step_latches_the_station_until_somebody_has_looked(tmp_path: Path) -> None:
    station, _ = make(tmp_path, fault="set_emission")
    with pytest.raises(InstrumentFailure, match="light on: laser: set_emission failed"), station.step("light on"):
        station.find(Laser).set_emission(True)
    with pytest.raises(StationBroken, match="light on"), station.step("again"):
        pytest.fail("a step ran on a broken station")
    station.close()
    again, _ = make(tmp_path)  # a restart does not forget
    with pytest.raises(StationBroken):
        again.require_sound()
    again.acknowledge()
    again.require_sound()
    again.close()


def test_snapshot_names_every_instrument_that_does_not_answer(tmp_path: Path) -> None:
    station, _ = make(tmp_path, fault="snapshot")
    with pytest.raises(InstrumentFailure, match="laser: snapshot failed"):
        station.snapshot()
    station.close()


def test_the_end_of_the_interpreter_makes_safe(tmp_path: Path) -> None:
    """A caller that forgot `close` and died of an exception."""
    program = (
        "import sys; sys.path.insert(0, 'tests/controller')\n"
        "from pathlib import Path\nfrom shell_samples import FakeLaser\nfrom controller.station import Station\n"
        "class Said(list):\n    def append(self, what): print(what, flush=True)\n"
        f"Station({{'laser': FakeLaser('laser', Said())}}, state_dir=Path({str(tmp_path)!r}))\n"
        "raise SystemExit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7
    assert done.stdout.split() == ["laser.make_safe", "laser.close"]
