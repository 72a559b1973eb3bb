"""Alice's drivers against the simulated instruments, over in-process serial, pyvisa and real sockets, with every fault.

The fakes were written from the manuals without knowledge of the drivers: what both agree on is probably right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from drivers import roles
from drivers.errors import (
    ConnectionLost,
    GarbledReply,
    InstrumentError,
    InstrumentTimeout,
    InterlockOpen,
    WrongInstrument,
)
from drivers.instrument import LinkedInstrument
from drivers.registry import open_instrument
from sim_instruments.faults import FaultKind
from sim_instruments.instruments.base import Device
from sim_instruments.instruments.koheron_ctl200 import KoheronCtl200
from sim_instruments.instruments.thorlabs_mbx import ThorlabsMbx
from sim_instruments.instruments.thorlabs_pm100d import ThorlabsPm100d
from sim_instruments.instruments.txp_transmitter import TxpTransmitter
from sim_instruments.model import BenchModel
from sim_instruments.transports.in_process import plugged
from sim_instruments.transports.tcp import TcpServer
from sim_instruments.transports.terminal import TerminalServer
from sim_instruments.world import World

#: instead of 1 s: the fakes answer at once, and many tests wait for silence
TIMEOUT_S = 0.25


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LinkedInstrument, "timeout_s", TIMEOUT_S)


@dataclass
class Bench:
    """One fake, and how its driver is opened."""

    world: World
    device: Device
    open: Callable[[], LinkedInstrument]


@pytest.fixture
def world() -> World:
    return World(BenchModel(seed=7))


@contextmanager
def _laser(world: World) -> Iterator[Bench]:
    device = KoheronCtl200("laser", world)
    with plugged({"laser": (device, "control")}):
        yield Bench(world, device, lambda: open_instrument("koheron_ctl200", "laser", "serial:twin://laser"))


@contextmanager
def _mbx(world: World) -> Iterator[Bench]:
    device = ThorlabsMbx("mbx", world)
    with plugged({"mbx": (device, "control")}):
        yield Bench(world, device, lambda: open_instrument("thorlabs_mbx", "mbx", "serial:twin://mbx"))


@contextmanager
def _meter(world: World) -> Iterator[Bench]:
    device = ThorlabsPm100d("meter", world)
    with plugged({"USB0::0x1313::0x8078::P0012345::0::INSTR": (device, "control")}):
        resource = "visa:USB0::0x1313::0x8078::P0012345::0::INSTR@twin"
        yield Bench(world, device, lambda: open_instrument("thorlabs_pm100d", "meter", resource))


@contextmanager
def _meter_tcp(world: World) -> Iterator[Bench]:
    device = ThorlabsPm100d("meter", world)
    server = TcpServer(device, "control", "127.0.0.1", 0)
    resource = f"visa:TCPIP0::127.0.0.1::{server.port}::SOCKET"
    yield Bench(world, device, lambda: open_instrument("thorlabs_pm100d", "meter", resource))
    server.close()


@contextmanager
def _transmitter(world: World) -> Iterator[Bench]:
    device = TxpTransmitter("transmitter", world)
    control = TcpServer(device, "control", "127.0.0.1", 0)
    data = TcpServer(device, "data", "127.0.0.1", 0)
    resource, data_resource = f"visa:TCPIP0::127.0.0.1::{control.port}::SOCKET", f"tcp:127.0.0.1:{data.port}"
    yield Bench(
        world,
        device,
        lambda: open_instrument("txp_transmitter", "transmitter", resource, data_resource=data_resource),
    )
    control.close()
    data.close()
    device.close()


MAKERS = {
    "laser": _laser,
    "mbx": _mbx,
    "meter over USBTMC": _meter,
    "meter over TCP": _meter_tcp,
    "transmitter": _transmitter,
}


@pytest.fixture(params=sorted(MAKERS))
def bench(request: pytest.FixtureRequest, world: World) -> Iterator[Bench]:
    with MAKERS[request.param](world) as made:
        yield made


def test_opens_tells_all_and_is_made_safe_twice(bench: Bench) -> None:
    with bench.open() as instrument:
        assert instrument.identity.serial
        snapshot = instrument.snapshot()
        assert set(snapshot.values) == {setting.name for setting in instrument.settings} == set(snapshot.raw)
        instrument.make_safe()
        instrument.make_safe()
    with pytest.raises(ConnectionLost, match="is closed"):
        instrument.snapshot()


def test_the_fake_fulfils_the_role_of_its_driver(bench: Bench) -> None:
    with bench.open() as instrument:
        for role in instrument.role.split(", "):
            assert isinstance(instrument, getattr(roles, role))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (FaultKind.SILENT, InstrumentTimeout),
        (FaultKind.GARBAGE, (GarbledReply, InstrumentTimeout)),
        (FaultKind.HALF, (GarbledReply, InstrumentTimeout)),
        (FaultKind.DISCONNECT, ConnectionLost),
        (FaultKind.WRONG_IDENTITY, WrongInstrument),
    ],
)
def test_fault_at_opening(bench: Bench, fault: FaultKind, error: type[InstrumentError]) -> None:
    bench.device.faults.set(fault)
    started = time.monotonic()
    with pytest.raises(error) as caught:
        bench.open()
    assert caught.value.instrument == bench.device.name
    assert caught.value.remedy
    assert time.monotonic() - started < 4.0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (FaultKind.SILENT, InstrumentTimeout),
        (FaultKind.GARBAGE, (GarbledReply, InstrumentTimeout)),
        (FaultKind.HALF, (GarbledReply, InstrumentTimeout)),
        (FaultKind.DISCONNECT, ConnectionLost),
    ],
)
def test_make_safe_never_claims_what_it_could_not_read_back(
    bench: Bench, fault: FaultKind, error: type[InstrumentError]
) -> None:
    instrument = bench.open()
    bench.device.faults.set(fault)
    with pytest.raises(error):
        instrument.make_safe()
    instrument.close()


@pytest.mark.parametrize("fault", [FaultKind.SILENT, FaultKind.GARBAGE, FaultKind.HALF])
def test_the_driver_recovers_when_the_fault_goes(bench: Bench, fault: FaultKind) -> None:
    instrument = bench.open()
    before = instrument.snapshot()
    bench.device.faults.set(fault)
    with pytest.raises((GarbledReply, InstrumentTimeout)):
        instrument.snapshot()
    bench.device.faults.set(FaultKind.NONE)
    assert instrument.snapshot().identity == before.identity
    instrument.make_safe()
    instrument.close()


@pytest.mark.parametrize("maker", [_laser, _mbx, _meter_tcp])
def test_late_answers_never_end_up_under_another_question(
    maker: Callable[[World], AbstractContextManager[Bench]], world: World
) -> None:
    with maker(world) as bench:
        instrument = bench.open()
        names = [
            setting.name for setting in instrument.settings if not setting.name.startswith(("thermistor", "photo"))
        ]
        before = {name: instrument.read_setting(name) for name in names}
        bench.device.faults.set(FaultKind.LATE, 1.2 * TIMEOUT_S)
        with pytest.raises(InstrumentTimeout):
            instrument.read_setting(names[0])
        bench.device.faults.set(FaultKind.NONE)
        assert {name: instrument.read_setting(name) for name in names} == before
        instrument.close()


def test_less_attenuation_more_light_and_a_safe_station_is_dark(world: World) -> None:
    with (
        _laser(world) as laser_bench,
        _mbx(world) as mbx_bench,
        _meter(world) as meter_bench,
        laser_bench.open() as laser,
        mbx_bench.open() as mbx,
        meter_bench.open() as meter,
    ):
        assert isinstance(laser, roles.Laser)
        assert isinstance(mbx, roles.VariableAttenuator)
        assert isinstance(meter, roles.PowerMeter)
        meter.set_wavelength_nm(1550.12)
        laser.set_current_a(0.05)
        laser.set_emission(True)
        mbx.set_attenuation_db(3.0)
        assert mbx.attenuation_db() == 3.0
        assert laser.is_emitting()
        emitted_w = world.laser_power_w()
        laser.make_safe()
        assert world.laser_power_w() == 0.0 < emitted_w
        assert meter.power_w() < 1e-9


def _wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5.0
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_over_a_pseudo_terminal_and_pulled_out_of_it(world: World, tmp_path: Path) -> None:
    device = KoheronCtl200("laser", world)
    path = tmp_path / "laser"
    server = TerminalServer(device, "control", path)
    laser = open_instrument("koheron_ctl200", "laser", "serial:laser?baud=115200", tmp_path)
    assert isinstance(laser, roles.Laser)
    laser.set_current_a(0.03)
    assert laser.snapshot().values["current_a"] == pytest.approx(0.03)
    device.faults.set(FaultKind.DISCONNECT)
    _wait_until(lambda: not path.exists())
    with pytest.raises(ConnectionLost, match="laser: connection to serial port laser lost"):
        laser.is_emitting()
    laser.close()
    device.faults.set(FaultKind.NONE)
    _wait_until(path.exists)
    again = open_instrument("koheron_ctl200", "laser", "serial:laser", tmp_path)
    again.make_safe()
    again.close()
    server.close()


def test_interlock_switches_the_laser_off_and_latches(world: World) -> None:
    with _laser(world) as bench, bench.open() as laser:
        assert isinstance(laser, roles.Laser)
        laser.set_current_a(0.05)
        laser.set_emission(True)
        bench.device.faults.set(FaultKind.INTERLOCK)
        assert not laser.is_emitting()
        bench.device.faults.set(FaultKind.NONE)
        with pytest.raises(InterlockOpen):
            laser.set_emission(True)
        laser.clear_errors()  # type: ignore[attr-defined]
        laser.set_emission(True)
        assert laser.is_emitting()


def test_symbols_come_once_and_agree_with_the_world(world: World) -> None:
    with _transmitter(world) as bench, bench.open() as transmitter:
        assert isinstance(transmitter, roles.SymbolTransmitter)
        transmitter.set_state_probabilities([0.45, 0.45, 0.05, 0.05])
        transmitter.set_intensity_probabilities([0.7, 0.3])
        transmitter.arm_session("00000000000000aa")
        world.generate(2_000_000_000)
        slots = np.arange(0, 1_000_000, 5, dtype=np.uint64)
        truth = world.symbols(slots)
        assert np.array_equal(transmitter.look_up(slots), truth)
        status = transmitter.session_status()
        assert (status.state, status.consumed, status.is_calibration) == ("RUN", slots.size, False)
        transmitter.stop_session()
        transmitter.end_session()
