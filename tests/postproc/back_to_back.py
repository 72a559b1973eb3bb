"""Alice's and Bob's rounds run against each other in one process: messages by hand, everything else as asked for.

For the tests of the session and for the benchmark of its growth with the block size (benchmarks/block_growth.py).
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict, deque

import numpy as np
from numpy.typing import NDArray

from postproc import messages
from postproc.messages import RoundOpen
from postproc.records import BitArray, Detections, LinkParameters
from postproc.session import actions as act
from postproc.session.alice import AliceRound
from postproc.session.bob import BobRound
from postproc.session.round import Round

SLOTS = 30_000_000
DETECTIONS = 300_000
PARAMETERS = LinkParameters(
    link_id="test", protocol="bb84-one-decoy-timebin", slot_rate_hz=625e6, mean_photon_numbers=(0.5, 0.15),
    intensity_probabilities=(0.7, 0.3), key_basis_probability=0.5, block_slots=SLOTS, sync_string_slots=1024,
    eps_sec=1e-3, eps_cor=1e-12, proof="wiesemann2026/1", qber_z_limit=0.05, qber_x_limit=0.06,
    common_dead_time_ps=20_000,
)  # fmt: skip
OPEN = RoundOpen(
    epoch=0, round=7, session_id="0123456789abcdef", first_slot=1000, slots=SLOTS, pads_a_to_b=0, pads_b_to_a=0,
    secret_length_bits=1200, leakage_budget_bits=12_850, min_single_photon_key=25_000, max_phase_error=0.088,
    expected_qber_z=0.02, refill=b"", prelude_sha256=bytes(32),
)  # fmt: skip


class Link:
    """Runs both rounds: carries messages, does what the actions ask for, tags with SHA-256 in place of pads."""

    def __init__(self, seed: int, qber: float, *, opened: RoundOpen = OPEN, detections: int = DETECTIONS) -> None:
        print(f"seed {seed}")
        self.rng = np.random.default_rng(seed)
        self.symbols, block = exchange(self.rng, qber, detections, opened.slots)
        self.seconds: dict[str, float] = defaultdict(float)
        self.alice = AliceRound(opened, PARAMETERS, self.rng.bytes)
        self.bob = BobRound(messages.encode(opened), opened, PARAMETERS)
        self.block = block
        self.looked_up = 0
        self.log: list[tuple[str, object]] = []
        self.secrets: dict[str, BitArray] = {}
        self.durable: dict[str, list[str]] = {"alice": [], "bob": []}
        self.finish: dict[str, act.Finish] = {}
        self.queue: deque[tuple[Round, object]] = deque()

    def run(self) -> None:
        """Until nothing moves any more."""
        self.perform(self.alice, [a for a in self.alice.start() if not isinstance(a, act.Send)])
        self.perform(self.bob, self.bob.handle(act.BlockDetected(self.block)))
        while self.queue:
            who, what = self.queue.popleft()
            self.perform(who, who.receive(what) if isinstance(what, bytes) else who.handle(what))  # type: ignore[arg-type]

    def perform(self, who: Round, actions: list[act.Action]) -> None:
        name = "alice" if who is self.alice else "bob"
        other = self.bob if who is self.alice else self.alice
        for action in actions:
            self.log.append((name, action))
            match action:
                case act.Send():
                    self.queue.append((other, action.payload))
                case act.SignTag():
                    tag = messages.Tag(kind=action.kind.value, pad_offset=0, tag=digest(action.kind, action.entries))
                    self.queue.append((other, messages.encode(tag)))
                case act.CheckTag():
                    is_valid = action.tag == digest(action.kind, action.entries)
                    self.queue.append((who, act.TagChecked(action.kind, is_valid)))
                case act.LookUp():
                    taken = self.symbols[self.looked_up : self.looked_up + action.slots.size]
                    self.looked_up += action.slots.size
                    self.queue.append((who, act.SymbolsRead(taken)))
                case act.Compute():
                    began = time.perf_counter()
                    result = action.job.run()
                    self.seconds[type(action.job).__name__] += time.perf_counter() - began
                    self.queue.append((who, act.Computed(action.job, result)))
                case act.StorePending():
                    self.secrets[name] = action.secret
                    self.durable[name].append("pending")
                    self.queue.append((who, act.Stored()))
                case act.Decide():
                    self.durable[name].append("decided")
                    self.queue.append((who, act.Decided()))
                case act.MakeReady():
                    self.durable[name].append("ready")
                    self.queue.append((who, act.Settled()))
                case act.Finish():
                    self.finish[name] = action


def digest(kind: act.TagKind, entries: tuple[act.Entry, ...]) -> bytes:
    state = hashlib.sha256(kind.value.encode())
    for entry in entries:
        state.update(repr((entry.phase, entry.sender, entry.sequence, entry.type_code)).encode() + entry.payload)
    return state.digest()[:16]


def exchange(
    rng: np.random.Generator, qber: float, detections: int, slots: int
) -> tuple[NDArray[np.uint8], Detections]:
    """Alice's symbols and Bob's detections of random slots, with an error ratio in both bases."""
    drawn = np.sort(rng.integers(0, slots, 2 * detections))
    slot = 1000 + drawn[np.flatnonzero(np.diff(drawn, prepend=-1))][:detections]
    basis = (rng.random(detections) > 0.5).astype(np.uint8)
    bit = rng.integers(0, 2, detections, dtype=np.uint8)
    intensity = (rng.random(detections) > 0.89).astype(np.uint8)
    symbols = (2 * basis + bit + 16 * intensity).astype(np.uint8)
    bob_basis = (rng.random(detections) > 0.5).astype(np.uint8)
    flips = (rng.random(detections) < qber).astype(np.uint8)
    bob_bit = np.where(bob_basis == basis, bit ^ flips, rng.integers(0, 2, detections)).astype(np.uint8)
    return symbols, Detections(1000, slots, slot.astype(np.int64), bob_basis, bob_bit)
