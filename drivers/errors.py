"""Errors of the instrument layer, one tree.

InstrumentError                 something about an instrument; every subclass says what, where, and what to try
├── ConnectionLost              the link broke or never opened (unplugged, refused, end of file)
├── InstrumentTimeout           the link is open and nothing came in time (silent instrument)
├── GarbledReply                bytes came that are not an answer to the question (garbage, wrong type, too long)
├── WrongInstrument             the identity does not match the driver or the configuration
├── SettingOutOfRange           refused before a byte was sent: nothing has changed
├── CommandRejected             the instrument answered with an error (its whole queue is in .entries)
├── ReadBackMismatch            the instrument confirmed another value than the one that was set
├── InterlockOpen               the instrument refuses to emit; latched until somebody has looked
├── TagsLost                    a tagger lost events (overflow): data from .time_ps on are not to be used for a key
└── DamagedFile                 a file of tags ends early or contradicts itself; everything before the damage was given
"""

from __future__ import annotations


class InstrumentError(Exception):
    """Root. `instrument` names the device as in the configuration, `remedy` says what to try."""

    def __init__(self, message: str, *, instrument: str = "", remedy: str = "") -> None:
        self.instrument = instrument
        self.remedy = remedy
        where = f"{instrument}: " if instrument else ""
        hint = f" — try: {remedy}" if remedy else ""
        super().__init__(f"{where}{message}{hint}")


class ConnectionLost(InstrumentError):
    """The link broke, or could not be opened."""


class InstrumentTimeout(InstrumentError):
    """Nothing came within the time limit of the command."""


class GarbledReply(InstrumentError):
    """The bytes received are no answer to the question."""


class WrongInstrument(InstrumentError):
    """What answers is not the instrument that the configuration names."""


class SettingOutOfRange(InstrumentError):
    """A value outside the limits; it was not sent."""


class CommandRejected(InstrumentError):
    """The instrument's own error queue, drained; `entries` holds (code, text) in order."""

    def __init__(self, entries: tuple[tuple[int, str], ...], *, instrument: str = "", remedy: str = "") -> None:
        self.entries = entries
        super().__init__("; ".join(f"{code} {text}" for code, text in entries), instrument=instrument, remedy=remedy)


class ReadBackMismatch(InstrumentError):
    """The instrument reports another value than the one that was set."""


class InterlockOpen(InstrumentError):
    """An interlock forbids the action."""


class TagsLost(InstrumentError):
    """A time tagger lost events. Before `time_ps` its tags are whole; nothing after it is to be used for a key."""

    def __init__(self, message: str, *, time_ps: int = 0, instrument: str = "", remedy: str = "") -> None:
        self.time_ps = time_ps
        super().__init__(message, instrument=instrument, remedy=remedy)


class DamagedFile(InstrumentError):
    """A tag file is truncated or corrupt."""
