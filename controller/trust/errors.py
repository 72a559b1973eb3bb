"""Errors of trust and authentication.

SecurityFailure
├── AuthenticationFailed   a tag does not fit what was said: the round is destroyed on both sides, its pads stay burnt
├── PadRefused             the peer named a pad position that is not acceptable; nothing was burnt
├── PskRefused             a pre-shared key file is damaged, foreign, readable by others, or was used before
└── TranscriptError        what is to be authenticated is ambiguous or out of bounds
Starved
└── PoolStarved            an authentication pool holds fewer bytes than are needed
"""

from __future__ import annotations

from controller.errors import SecurityFailure, Starved


class AuthenticationFailed(SecurityFailure):
    """A tag did not verify."""


class PadRefused(SecurityFailure):
    """A pad position outside the window that the own counter allows. Nothing was burnt."""


class PskRefused(SecurityFailure):
    """A pre-shared key file that must not be used."""


class TranscriptError(SecurityFailure):
    """Messages that have no unique transcript (repeated sequence number, number out of range, too long)."""


class PoolStarved(Starved):
    """Not enough pad bytes left; the message names the pool, what is needed and what is left."""
