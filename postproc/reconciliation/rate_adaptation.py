"""Which code at which leakage: a base matrix with as many rows as needed, and nested row splittings for retries.

The leakage is fixed before decoding from the QBER that is expected. A frame of n bits has errors beyond the expectation
by chance, and the expectation itself was estimated from a block of finite size; both are covered by designing for

    Q + margin * sqrt(Q (1 - Q) (1 / frame_bits + 1 / prior_bits)).

On top comes the overhead of the codes themselves, measured per profile and base size (benchmarks/reconcile.py). The
margin is the profile's: what it does not cover, the next attempt does, with a little more disclosed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.reconciliation.codes import QcCode, build_code
from postproc.reconciliation.ensembles import overhead, row_limits
from postproc.reconciliation.profiles import FAST, Profile, profile

MIN_KEY_BITS = 4096
MAX_KEY_BITS = 1 << 25
MAX_FRAME_BITS = 5 << 18

_MIN_CIRCULANT = 16
_SHORTEST_KEY = {1024: 1 << 18, 512: 1 << 16, 256: 0}  # by number of columns, where padding permits
_NAME = re.compile(r"(fast|efficient)-qc([0-9]{1,4})-m([0-9]{1,3})-z([0-9]{1,4})-s([0-9]{1,4})-f([0-9]{1,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class CodePlan:
    """A code for all frames of a block. Both nodes derive everything from these six values, and from `name` alone.

    columns * circulant bits per frame; the base matrix has `rows` rows, of which `splits` are split; `profile` decides
    how the code was chosen, how it is strengthened and how long the decoder iterates. Raises InputOutOfRange when a
    value is outside its limits.
    """

    profile: str
    columns: int
    rows: int
    circulant: int
    splits: int
    frames: int

    def __post_init__(self) -> None:
        profile(self.profile)
        limits = {
            "rows": (self.rows, *row_limits(self.columns)),
            "circulant": (self.circulant, _MIN_CIRCULANT, MAX_FRAME_BITS // self.columns),
            "frames": (self.frames, 1, -(-MAX_KEY_BITS // MAX_FRAME_BITS)),
            "splits": (self.splits, 0, max_splits(self.columns, self.rows)),
        }
        for what, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise InputOutOfRange(f"code plan: {what} = {value} is outside {low}..{high}")

    @property
    def name(self) -> str:
        """Canonical name, e.g. fast-qc1024-m154-z977-s0-f1."""
        return f"{self.profile}-qc{self.columns}-m{self.rows}-z{self.circulant}-s{self.splits}-f{self.frames}"

    @classmethod
    def parse(cls, name: str) -> CodePlan:
        """The plan of that name. Raises ProtocolViolation unless it is the canonical name of a plan within the limits.

        A name that came from the peer must also pass `require_fits`.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ProtocolViolation(f"{name[:60]!r} is not the name of a code")
        try:
            plan = cls(match.group(1), *map(int, match.groups()[1:]))
        except InputOutOfRange as error:
            raise ProtocolViolation(f"the code {name!r} cannot be used: {error}") from error
        if plan.name != name:
            raise ProtocolViolation(f"{name!r} is not the canonical name of {plan.name}")
        return plan

    def require_fits(self, key_bits: int) -> None:
        """Raise ProtocolViolation unless the frames are those that `key_bits` bits are cut into."""
        expected = geometry(key_bits)
        if (self.columns, self.circulant, self.frames) != expected:
            raise ProtocolViolation(
                f"code {self.name} does not fit {key_bits} key bits: (columns, circulant, frames) must be {expected}"
            )

    @property
    def frame_bits(self) -> int:
        """Key bits per frame, padding of the last frame included."""
        return self.columns * self.circulant

    @property
    def parity_rows(self) -> int:
        """Disclosed rows of `circulant` parities each."""
        return self.rows + self.splits

    @property
    def syndrome_bits(self) -> int:
        """Leakage per frame, bits."""
        return self.parity_rows * self.circulant

    def code(self) -> QcCode:
        """The matrix behind the name (built once per process)."""
        return build_code(self.columns, self.rows, self.circulant)


def geometry(key_bits: int) -> tuple[int, int, int]:
    """(columns, circulant, frames) for a key: equal frames, padding below 0.5 % from 61 000 bits on.

    Fewer columns for short keys keep the circulant, and with it the padding's granularity and the girth, reasonable.
    """
    if not MIN_KEY_BITS <= key_bits <= MAX_KEY_BITS:
        raise InputOutOfRange(f"key of {key_bits} bits is outside {MIN_KEY_BITS}..{MAX_KEY_BITS} for reconciliation")
    frames = -(-key_bits // MAX_FRAME_BITS)
    for columns, shortest in _SHORTEST_KEY.items():
        circulant = -(-key_bits // (frames * columns))
        padding = frames * columns * circulant - key_bits
        if key_bits >= shortest and (200 * padding < key_bits or columns == min(_SHORTEST_KEY)):
            return columns, circulant, frames
    raise AssertionError("the fewest columns take any key")


def choose_code(
    key_bits: int, expected_qber: float, *, mode: Profile = FAST, prior_bits: int | None = None
) -> CodePlan:
    """The plan that leaks least and still should decode `key_bits` bits at about `expected_qber`.

    expected_qber: 0..0.5, a ratio known before the block; key_bits: 4096..2^25; prior_bits: how many bits the
    expectation was counted on, if not on as many as the key has. Above a QBER of about 0.17 nearly everything is
    disclosed. Raises InputOutOfRange.
    """
    if not 0 <= expected_qber <= 0.5:
        raise InputOutOfRange(f"expected QBER {expected_qber} is outside 0..0.5")
    known_from = key_bits if prior_bits is None else prior_bits
    if known_from < 1:
        raise InputOutOfRange(f"prior_bits = {known_from}: an expectation comes from one bit at least")
    columns, circulant, frames = geometry(key_bits)
    variance = expected_qber * (1 - expected_qber) * (1 / (columns * circulant) + 1 / known_from)
    entropy = binary_entropy(min(0.5, expected_qber + mode.margin_sigmas * math.sqrt(variance)))
    fewest, most = row_limits(columns)
    needed = fewest
    while needed < columns and needed < columns * entropy * overhead(mode.name, columns, needed / columns):
        needed += 1
    rows = min(needed, most)
    return CodePlan(mode.name, columns, rows, circulant, min(needed - rows, max_splits(columns, rows)), frames)


def strengthen(plan: CodePlan) -> CodePlan | None:
    """The next plan for frames that failed: the same matrix with more rows split, so it only adds to what was
    disclosed.

    Each step adds what the profile says, at least one row. None when no rows are left: then disclose the frame in full.
    """
    most = max_splits(plan.columns, plan.rows)
    if plan.splits == most:
        return None
    more = math.ceil(plan.parity_rows * profile(plan.profile).strengthen_percent / 100)
    return replace(plan, splits=min(most, plan.splits + more))


def max_splits(columns: int, rows: int) -> int:
    """Every row can be split once, as long as less than 95 % of the frame is disclosed."""
    return min(rows, columns * 95 // 100 - rows)


def binary_entropy(p: float) -> float:
    """h(p) in bits."""
    return 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
