"""What the simulated bench delivers: tags through the ID900 fake, look-ups through the TXP fake, queries per second.

    python benchmarks/simulated_bench.py [SECONDS]

The tag stream runs over its real transport (three ZeroMQ PAIR streams over local TCP) to a reader in this process
that only counts. "transport alone" replaces the physics by a fixed pattern of tags; "demo's world" is the demo's bench
at its working point, so that both the physics and the path share this machine's cores.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np
import zmq
from numpy.typing import NDArray

from sim_instruments.bench_file import read_bench_file
from sim_instruments.instruments.id900 import Id900
from sim_instruments.instruments.thorlabs_pm100d import ThorlabsPm100d
from sim_instruments.instruments.txp_transmitter import TxpTransmitter
from sim_instruments.model import BenchModel
from sim_instruments.transports.link import Link
from sim_instruments.transports.tcp import TcpServer
from sim_instruments.transports.zeromq import PairStream
from sim_instruments.world import World

CHANNELS = (1, 2, 3)
FIRST_PORT = 47_700
GAP_PS = 50_000
LOOK_UPS = 1_800_000


class PatternWorld(World):
    """20 Mtags/s on three channels at no cost."""

    def __init__(self, bench: BenchModel) -> None:
        super().__init__(bench)
        self._times = np.empty(0, dtype=np.int64)
        self._channels = np.empty(0, dtype=np.uint8)

    def generate(self, duration_ps: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        count = duration_ps // GAP_PS
        if self._times.size < count:
            self._times = np.arange(count, dtype=np.int64) * GAP_PS
            self._channels = (np.arange(count) % len(CHANNELS) + 1).astype(np.uint8)
        start, self.now_ps = self.now_ps, self.now_ps + duration_ps
        return self._times[:count] + start, self._channels[:count]


def demo_world() -> World:
    """The demo's bench with everything on."""
    world = World(read_bench_file(Path("configs/demo/bench.toml")).world)
    world.set_laser(0.120, True)
    world.set_attenuator_db(15.5)
    world.set_modulator_bias(2, 0.0)
    world.set_intensity_level(0, 40_000)
    world.set_intensity_level(1, 18_000)
    world.set_intensity_probabilities((0.7, 0.3))
    world.set_state_probabilities((0.4, 0.4, 0.1, 0.1))
    world.set_detector_bias_a([20e-6] * 4)
    world.set_trigger_levels_v([0.15] * 4)
    world.set_detector_enabled(True)
    world.set_transmitter_on(True)
    world.start_session("00000000000000a1")
    return world


def tag_stream(world: World, seconds: float) -> float:
    """Tags per second of wall time that arrive."""
    device = Id900("tagger", world, open_sink=lambda port: PairStream(f"tcp://127.0.0.1:{port}"))
    scpi = Link(device, "scpi", lambda _: None, lambda: None)
    datalink = Link(device, "datalink", lambda _: None, lambda: None)
    poller = zmq.Poller()
    scpi.receive(b"REC:ENABle ON;NUM 1;DURation 1e18")
    for channel in CHANNELS:
        port = FIRST_PORT + channel
        reader = zmq.Context.instance().socket(zmq.PAIR)
        reader.connect(f"tcp://127.0.0.1:{port}")
        poller.register(reader, zmq.POLLIN)
        scpi.receive(f"INPU{channel}:ENAB ON;:RAW{channel}:SEND ON".encode())
        datalink.receive(f"start-stream --address 127.0.0.1 --channel {channel} --stream-port {port}".encode())
    scpi.receive(b"REC:PLAY")
    poller.poll(5000)
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        for reader, _ in poller.poll(1000):
            count += len(reader.recv(copy=False)) // 8
    device.close()
    for reader, _ in list(poller.sockets):
        reader.close(linger=0)
    return count / elapsed


def look_ups() -> float:
    """Look-ups per second in one batch, the bytes on both sides included."""
    world = demo_world()
    device = TxpTransmitter("transmitter", world)
    received = bytearray()
    control = Link(device, "control", lambda _: None, lambda: None)
    data = Link(device, "data", received.extend, lambda: None)
    control.receive(b"SESS:ARM 00000000000000A1,IMM\n")
    world.generate(20_000_000_000)
    slots = np.sort(np.random.default_rng(1).choice(10_000_000, LOOK_UPS + 1, replace=False)).astype("<u8")
    for part in (slots[:1], slots[1:]):  # the first loads the kernels
        body = struct.pack("<QII", 0xA1, part.size, 0) + part.tobytes()
        command = b"LOOK #" + f"{len(str(len(body)))}{len(body)}".encode() + body + b"\n"
        began = time.perf_counter()
        data.receive(command)
        elapsed = time.perf_counter() - began
    if len(received) < LOOK_UPS:
        raise RuntimeError(f"the look-up was refused: {bytes(received[-100:])!r}")
    device.close()
    return LOOK_UPS / elapsed


def queries(seconds: float) -> float:
    """Queries per second over TCP, one after the other."""
    server = TcpServer(ThorlabsPm100d("meter", demo_world()), "control", "127.0.0.1", 0)
    count, began = 0, time.perf_counter()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        while (elapsed := time.perf_counter() - began) < seconds:
            client.sendall(b"SENS:CORR:WAV?\n")
            client.recv(100)
            count += 1
    server.close()
    return count / elapsed


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    model = read_bench_file(Path("configs/demo/bench.toml")).world
    print(f"tag stream, transport alone: {tag_stream(PatternWorld(model), seconds) / 1e6:8.1f} Mtags/s")
    print(f"tag stream, demo's world:    {tag_stream(demo_world(), seconds) / 1e6:8.1f} Mtags/s")
    print(f"look-ups, one batch of 1.8M: {look_ups() / 1e6:8.1f} M/s")
    print(f"queries over TCP:            {queries(min(seconds, 2.0)):8.0f} /s")


if __name__ == "__main__":
    main()
