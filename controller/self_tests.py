"""Known-answer tests that a node passes before it starts: a failed self-test means no key (protocol §5)."""

from __future__ import annotations

from controller.errors import SecurityFailure
from controller.trust import wegman_carter
from postproc import amplification, verification
from postproc.errors import SelfTestFailed

# RFC 8439 §2.5.2
_PAD = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
_MESSAGE = b"Cryptographic Forum Research Group"
_TAG = bytes.fromhex("a8061dc1305136c6c22b8baf0c0127a9")


def require_self_tests() -> None:
    """Amplification, verification and authentication give their known answers here and now. Raises SecurityFailure."""
    try:
        amplification.self_test()
        verification.self_test()
        is_right = wegman_carter.verify(_PAD, [_MESSAGE], _TAG)
        is_strict = not wegman_carter.verify(_PAD, [_MESSAGE + b"."], _TAG)
    except SelfTestFailed as error:
        raise SecurityFailure(f"self-test: {error}", remedy="qkd doctor; delete numba's cache") from error
    if not (is_right and is_strict):
        raise SecurityFailure("self-test: a one-time tag is not that of RFC 8439", remedy="install the pinned versions")
