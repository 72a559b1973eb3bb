"""One-way reconciliation: Alice discloses LDPC syndromes, Bob corrects his bits to hers (reverse roles never occur).

Alice: `choose_code` from the key's length and the expected QBER, then `syndrome` of each `frame`.
Bob: `CodePlan.parse`, `require_fits`, then `decode` each frame. For frames that fail, both go to `strengthen(plan)`;
Alice sends `extra_syndrome`, Bob decodes with everything received. When `strengthen` returns None the frame is
disclosed in full.
"""

from postproc.reconciliation.frames import (
    DecodeResult,
    decode,
    extra_syndrome,
    frame,
    require_nested,
    syndrome,
)
from postproc.reconciliation.profiles import EFFICIENT, FAST, Profile
from postproc.reconciliation.rate_adaptation import CodePlan, binary_entropy, choose_code, geometry, strengthen

__all__ = [
    "EFFICIENT",
    "FAST",
    "CodePlan",
    "DecodeResult",
    "Profile",
    "binary_entropy",
    "choose_code",
    "decode",
    "extra_syndrome",
    "frame",
    "geometry",
    "require_nested",
    "strengthen",
    "syndrome",
]
