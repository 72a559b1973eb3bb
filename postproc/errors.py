"""Errors of the post-processing, one tree.

PostprocError
├── ProtocolViolation     the peer said something malformed, out of order or contradictory: the block is destroyed
├── InputOutOfRange       a caller's argument is outside its limits
├── SynchronisationLost   no period or no offset can be confirmed in the tags (no light, wrong rate, a clock step)
└── SelfTestFailed        a kernel does not reproduce its known answer
"""

from __future__ import annotations


class PostprocError(Exception):
    """Root of the tree."""


class ProtocolViolation(PostprocError):
    """What the peer sent cannot be part of this round."""


class InputOutOfRange(PostprocError, ValueError):
    """An argument outside its limits; the message names it, the value and the limit."""


class SynchronisationLost(PostprocError):
    """The clocks of transmitter and receiver cannot be related to each other."""


class SelfTestFailed(PostprocError):
    """A known-answer test failed."""
