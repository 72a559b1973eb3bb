"""Errors of the controller, one tree; the exit code of the command is a property of the class.

QkdError                        an expected fault: one line for the operator, no traceback            exit code 1
├── ConfigurationError          a file, key or option is wrong: nothing was started                    2
├── InstrumentFailure           one or several instruments failed; all of them are in .failures        3
│   ├── StationBroken           latched after a failed hardware step until somebody has looked
│   └── StationNotSafe          an instrument did not confirm that it is safe: go and look
├── PeerFailure                 the other node is absent, silent, or speaks another protocol           4
├── SecurityFailure             continuing would be insecure: no key was made                          5
│   ├── Aborted                 a round or the run was given up; the reason is in words
│   └── Starved                 authentication material is used up: a person must bring new
├── StorageFailure              a disk is full or a store is damaged; nothing was half-written         5
├── ChildFailure                a supervised process ended by itself; .child_exit_code is passed on
└── StoppedByHand               Ctrl-C or `qkd stop`                                                   130

`remedy` says what to try. The message says what, where, which value and which limit.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_INTERNAL = 1
EXIT_CONFIGURATION = 2
EXIT_INSTRUMENT = 3
EXIT_PEER = 4
EXIT_INSECURE = 5
EXIT_STOPPED = 130


class QkdError(Exception):
    """Root. `str()` is the whole line that the operator sees; `remedy` is its last part."""

    exit_code: int = EXIT_INTERNAL

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} — try: {remedy}" if remedy else message)


class ConfigurationError(QkdError):
    """A configuration file, option or environment is wrong."""

    exit_code = EXIT_CONFIGURATION


class InstrumentFailure(QkdError):
    """Instruments failed. `failures` holds one line per instrument, in the order of the configuration."""

    exit_code = EXIT_INSTRUMENT

    def __init__(self, message: str, *, remedy: str = "", failures: Sequence[str] = ()) -> None:
        self.failures = tuple(failures)
        super().__init__(message, remedy=remedy)


class StationBroken(InstrumentFailure):
    """A hardware step failed earlier and nobody has acknowledged it."""


class StationNotSafe(InstrumentFailure):
    """At least one instrument did not confirm its safe state."""


class PeerFailure(QkdError):
    """The other node cannot be reached, fell silent, or disagrees about the link."""

    exit_code = EXIT_PEER


class SecurityFailure(QkdError):
    """Continuing would be insecure."""

    exit_code = EXIT_INSECURE


class Aborted(SecurityFailure):
    """A round or the whole run was given up; no key came of it."""


class Starved(SecurityFailure):
    """No authentication material is left."""


class StorageFailure(QkdError):
    """A disk or a store refuses to take what must be durable."""

    exit_code = EXIT_INSECURE


class ChildFailure(QkdError):
    """A supervised process ended although nobody asked it to. Its exit code becomes ours."""

    def __init__(self, message: str, *, child_exit_code: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.child_exit_code = child_exit_code
        self.exit_code = child_exit_code if child_exit_code in (2, 3, 4, 5) else EXIT_INTERNAL


class StoppedByHand(QkdError):
    """The operator asked for the end."""

    exit_code = EXIT_STOPPED
