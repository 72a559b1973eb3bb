"""How many time stamps per second does the ID900 driver take in, merge and hand over?

    python benchmarks/id900_stream.py [MTAGS]

A second process sends the streams of three channels as the DataLinkTargetService does (ZeroMQ PAIR over local TCP,
100 000 tags per message); this process runs the driver. "Per core" divides by the CPU time of this process alone, all
its threads included.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time

import numpy as np
import zmq

CHANNELS = (1, 2, 3)
MESSAGE_TAGS = 100_000
GAP_PS = 150_000  # 20 Mtags/s over three channels
PORTS = {"scpi": 47_555, "datalink": 47_560, "stream": 47_600}


def send_streams(mtags: int) -> None:
    """Child process: channel by channel, as the service does, until everything is out."""
    context = zmq.Context()
    sockets = []
    for channel in CHANNELS:
        socket = context.socket(zmq.PAIR)
        socket.setsockopt(zmq.SNDHWM, 2)
        socket.bind(f"tcp://127.0.0.1:{PORTS['stream'] + channel}")
        sockets.append(socket)
    rng = np.random.default_rng(1)
    shapes = [np.cumsum(rng.integers(1, 2 * GAP_PS, MESSAGE_TAGS)).astype(np.uint64) for _ in CHANNELS]
    span = np.uint64(MESSAGE_TAGS * GAP_PS * 1.05)
    for k in range(mtags * 1_000_000 // MESSAGE_TAGS // len(CHANNELS) + 1):
        for socket, shape in zip(sockets, shapes, strict=True):
            socket.send((shape + np.uint64(k) * span).tobytes())
    for socket in sockets:
        socket.send(b"")
    time.sleep(2)
    context.destroy(linger=0)


def answer(command: str) -> str:
    """Just enough of the time controller and of the service."""
    if command.startswith("start-stream"):
        return json.dumps({"id": command.split()[4]})
    if command == "list":
        return "[]"
    status = {"acquisitions_count": 0, "timestamps_count": 0, "errors": []}
    if command.startswith(("status", "stop")):
        return json.dumps(status if command.startswith("status") else {"status": status})
    replies = {"*IDN?": "IDQ,ID900,1,1", "SYST:ERR?": '0,"No error"', "DEVI:RES:BWID?": "1", "REC:STAGe?": "STOPPED"}
    return replies.get(command, "0" if command.endswith("?") else "")


def serve(port: int) -> None:
    socket = zmq.Context.instance().socket(zmq.REP)
    socket.bind(f"tcp://127.0.0.1:{port}")
    while True:
        socket.send_string(answer(socket.recv_string()))


def main() -> None:
    mtags = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    from drivers.time_taggers.id900 import Id900

    for name in ("scpi", "datalink"):
        threading.Thread(target=serve, args=(PORTS[name],), daemon=True).start()
    sender = multiprocessing.get_context("spawn").Process(target=send_streams, args=(mtags,), daemon=True)
    sender.start()
    tagger = Id900.open(
        "tagger",
        f"zmq:tcp://127.0.0.1:{PORTS['scpi']}",
        datalink_resource=f"zmq:tcp://127.0.0.1:{PORTS['datalink']}",
        stream_port_base=PORTS["stream"],
    )
    tagger.start(CHANNELS)
    tags = len(tagger.read(30.0))  # the first batch waits for the sender and loads the kernel
    began_s, cpu_s = time.perf_counter(), time.process_time()
    counted = 0
    while counted + tags < mtags * 1_000_000 - 2 * MESSAGE_TAGS:
        batch = tagger.read(10.0)
        counted += len(batch)
        if batch.anomalies:
            raise SystemExit(f"unexpected: {batch.anomalies}")
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    print(
        f"{counted / 1e6:.1f} Mtags: {counted / wall_s / 1e6:.1f} Mtags/s, {counted / cpu_s / 1e6:.1f} Mtags/s per core"
    )
    sender.terminate()


if __name__ == "__main__":
    main()
