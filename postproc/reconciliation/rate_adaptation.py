"""Which code at which leakage: a ladder of base matrices with nested row splittings in between.

The leakage is fixed before decoding from the QBER that is expected. A frame of n bits has errors beyond the expectation
by chance, and the expectation itself was estimated from a block of finite size; both are covered by designing for

    Q + margin * sqrt(Q (1 - Q) (1 / frame_bits + 1 / key_bits)),

which for margin 3 is about what the normal approximation of finite-length coding asks at a frame error rate of 1e-3. On
top comes the overhead of the codes themselves, measured per ensemble and split fraction (benchmarks/reconcile.py).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.reconciliation.base_matrix import Ensemble, base_rows, ladder
from postproc.reconciliation.codes import QcCode, build_code

MIN_KEY_BITS = 4096
MAX_KEY_BITS = 1 << 25
MAX_FRAME_BITS = 5 << 18
DEFAULT_MARGIN_SIGMAS = 3.0

_MIN_CIRCULANT = 16
_STRENGTHEN_PERCENT = 6
_NAME = re.compile(r"qc([0-9]{1,4})-(q[0-9]{4})-z([0-9]{1,4})-s([0-9]{1,4})-f([0-9]{1,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class CodePlan:
    """A code for all frames of a block. Both nodes derive everything from these five values, and from `name` alone.

    columns * circulant bits per frame; `splits` rows of the base matrix are split. Raises InputOutOfRange when a value
    is outside its limits.
    """

    ensemble: str
    columns: int
    circulant: int
    splits: int
    frames: int

    def __post_init__(self) -> None:
        if self.columns not in (256, 512, 1024):
            raise InputOutOfRange(f"code plan: columns = {self.columns} is none of 256, 512, 1024")
        limits = {
            "circulant": (self.circulant, _MIN_CIRCULANT, MAX_FRAME_BITS // self.columns),
            "frames": (self.frames, 1, -(-MAX_KEY_BITS // MAX_FRAME_BITS)),
        }
        for what, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise InputOutOfRange(f"code plan: {what} = {value} is outside {low}..{high}")
        most = max_splits(_ensemble(self.ensemble), self.columns)
        if not 0 <= self.splits <= most:
            raise InputOutOfRange(f"code plan: splits = {self.splits} is outside 0..{most}")

    @property
    def name(self) -> str:
        """Canonical name, e.g. qc1024-q0200-z977-s12-f1."""
        return f"qc{self.columns}-{self.ensemble}-z{self.circulant}-s{self.splits}-f{self.frames}"

    @classmethod
    def parse(cls, name: str) -> CodePlan:
        """The plan of that name. Raises ProtocolViolation unless it is the canonical name of a plan within the limits.

        A name that came from the peer must also pass `require_fits`.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ProtocolViolation(f"{name[:60]!r} is not the name of a code")
        columns, ensemble, circulant, splits, frames = match.groups()
        try:
            plan = cls(ensemble, int(columns), int(circulant), int(splits), int(frames))
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
        return base_rows(_ensemble(self.ensemble), self.columns) + self.splits

    @property
    def syndrome_bits(self) -> int:
        """Leakage per frame, bits."""
        return self.parity_rows * self.circulant

    def code(self) -> QcCode:
        """The matrix behind the name (built once per process)."""
        return build_code(_ensemble(self.ensemble), self.columns, self.circulant)


def geometry(key_bits: int) -> tuple[int, int, int]:
    """(columns, circulant, frames) for a key: equal frames, padding below 0.5 % from 61 000 bits on.

    Fewer columns for short keys keep the circulant, and with it the padding's granularity and the girth, reasonable.
    """
    if not MIN_KEY_BITS <= key_bits <= MAX_KEY_BITS:
        raise InputOutOfRange(f"key of {key_bits} bits is outside {MIN_KEY_BITS}..{MAX_KEY_BITS} for reconciliation")
    columns = 1024 if key_bits >= 1 << 18 else 512 if key_bits >= 110_000 else 256
    frames = -(-key_bits // MAX_FRAME_BITS)
    return columns, -(-key_bits // (frames * columns)), frames


def choose_code(key_bits: int, expected_qber: float, *, margin_sigmas: float = DEFAULT_MARGIN_SIGMAS) -> CodePlan:
    """The plan that leaks least and still should decode `key_bits` bits at about `expected_qber`.

    expected_qber: 0..0.5, a ratio known before the block; key_bits: 4096..2^25. Above a QBER of about 0.17 nearly
    everything is disclosed. Raises InputOutOfRange.
    """
    if not 0 <= expected_qber <= 0.5:
        raise InputOutOfRange(f"expected QBER {expected_qber} is outside 0..0.5")
    if not 0 <= margin_sigmas <= 20:
        raise InputOutOfRange(f"margin of {margin_sigmas} standard deviations is outside 0..20")
    columns, circulant, frames = geometry(key_bits)
    variance = expected_qber * (1 - expected_qber) * (1 / (columns * circulant) + 1 / key_bits)
    entropy = binary_entropy(min(0.5, expected_qber + margin_sigmas * math.sqrt(variance)))
    candidates = []
    for ensemble in ladder():
        splits = _splits_needed(ensemble, columns, entropy)
        candidates.append((base_rows(ensemble, columns) + splits, splits, ensemble.name))
    strongest = candidates[-1]
    possible = [c for c in candidates if c[1] <= max_splits(_ensemble(c[2]), columns)]
    _, splits, name = min(possible, default=strongest)
    return CodePlan(name, columns, circulant, min(splits, max_splits(_ensemble(name), columns)), frames)


def strengthen(plan: CodePlan) -> CodePlan | None:
    """The next plan for frames that failed: the same matrix with more rows split, so it only adds to what was
    disclosed.

    Each step adds 6 % to the leakage. None when no rows are left: then disclose the frame in full.
    """
    most = max_splits(_ensemble(plan.ensemble), plan.columns)
    if plan.splits == most:
        return None
    more = -(-plan.parity_rows * _STRENGTHEN_PERCENT // 100)
    return replace(plan, splits=min(most, plan.splits + more))


def max_splits(ensemble: Ensemble, columns: int) -> int:
    """Every row can be split once, as long as less than 95 % of the frame is disclosed."""
    rows = base_rows(ensemble, columns)
    return min(rows, columns * 95 // 100 - rows)


def binary_entropy(p: float) -> float:
    """h(p) in bits."""
    return 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def _splits_needed(ensemble: Ensemble, columns: int, entropy: float) -> int:
    """Smallest number of splits with (rows + splits) / columns >= overhead * entropy; more than all rows if none is."""
    rows = base_rows(ensemble, columns)
    base, slope = next((a, b) for n, a, b in ensemble.overheads if n == columns)
    splits = 0
    while rows + splits < columns * entropy * (base + slope * splits / rows) and splits <= rows:
        splits += 1
    return splits


def _ensemble(name: str) -> Ensemble:
    for ensemble in ladder():
        if ensemble.name == name:
            return ensemble
    raise InputOutOfRange(f"code plan: there is no ensemble {name!r}; known are {[e.name for e in ladder()]}")
