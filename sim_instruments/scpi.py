"""The little of SCPI that several fakes share: headers in short and long form, compound lines, the error queue.

Sources: SCPI-1999 volume 1 (§5 headers, §6.2.4 compound messages, volume 2 §21.8 error queue) and IEEE 488.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache

Handler = Callable[[str], str | None]


class ScpiError(Exception):
    """Raised by a handler: goes to the error queue of the device instead of an answer."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f'{code},"{text}"')


UNDEFINED_HEADER = (-113, "Undefined header")
DATA_TYPE = (-104, "Data type error")
OUT_OF_RANGE = (-222, "Data out of range")


class ErrorQueue:
    """First in, first out; a full queue ends in -350 (SCPI-1999 vol. 2 §21.8.1)."""

    def __init__(self, size: int = 20) -> None:
        self._entries: deque[tuple[int, str]] = deque()
        self._size = size

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, code: int, text: str) -> None:
        if len(self._entries) < self._size:
            self._entries.append((code, text))
        else:
            self._entries[-1] = (-350, "Queue overflow")

    def pop(self) -> tuple[int, str]:
        return self._entries.popleft() if self._entries else (0, "No error")

    def clear(self) -> None:
        self._entries.clear()


@cache
def _node(node: str) -> tuple[str, int, str, bool]:
    """'SENSe1?' -> ('SENSE', 4, '1', True): long form, length of the short form, channel suffix, is it a query."""
    bare = node.rstrip("?")
    word = bare.rstrip("0123456789")
    return word.upper(), sum(not c.islower() for c in word), bare[len(word) :], node.endswith("?")


def matches(pattern: str, header: str) -> bool:
    """True if `header` (upper case) is `pattern`, node by node: 'SENSe:POWer?' fits 'SENS:POW?' and 'SENSE:POWER?'.

    Whatever lies between the short and the long form fits too: some write `INTEgration` where others write `INT`.
    """
    wanted, got = pattern.split(":"), header.split(":")
    return len(wanted) == len(got) and all(_node_fits(w, g) for w, g in zip(wanted, got, strict=True))


def _node_fits(node: str, text: str) -> bool:
    word, short_length, suffix, is_query = _node(node)
    text_word, _, text_suffix, text_is_query = _node(text)
    if (suffix, is_query) != (text_suffix, text_is_query):
        return False
    return len(text_word) >= short_length and word.startswith(text_word)


class CommandTable:
    """Patterns to handlers; after `;` a header without a colon stays in the subsystem of the one before."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, Handler]] = []
        self._found: dict[str, Handler] = {}

    def add(self, pattern: str, handler: Handler) -> None:
        self._entries.append((pattern, handler))

    def find(self, header: str) -> Handler:
        """Handler of `header` (any case, no leading colon). Raises ScpiError -113."""
        key = header.upper()
        if key not in self._found:
            handler = next((h for pattern, h in self._entries if matches(pattern, key)), None)
            if handler is None:
                raise ScpiError(UNDEFINED_HEADER[0], f"{UNDEFINED_HEADER[1]}; {header[:64]}")
            if len(self._found) < 4096:
                self._found[key] = handler
        return self._found[key]

    def execute(self, line: str, errors: ErrorQueue) -> list[str]:
        """Run all commands of a line; answers in order. What fails is pushed to `errors` and the rest goes on."""
        answers: list[str] = []
        path = ""
        for part in filter(None, (p.strip() for p in line.split(";"))):
            header, _, argument = part.partition(" ")
            if header.startswith(":") or header.startswith("*"):
                header = header.removeprefix(":")
            elif path:
                header = f"{path}:{header}"
            if not header.startswith("*"):
                path = header.rpartition(":")[0]
            try:
                answer = self.find(header)(argument.strip())
            except ScpiError as error:
                errors.push(error.code, error.text)
                continue
            if answer is not None:
                answers.append(answer)
        return answers


def number(text: str, least: float, most: float) -> float:
    """A decimal number within [least, most]. Raises ScpiError -104 or -222; nothing has changed then."""
    try:
        value = float(text)
    except ValueError:
        raise ScpiError(*DATA_TYPE) from None
    if not least <= value <= most:
        raise ScpiError(*OUT_OF_RANGE)
    return value


def boolean(text: str) -> bool:
    """ON, OFF, 1 or 0. Raises ScpiError -104."""
    if text.upper() not in ("ON", "OFF", "1", "0"):
        raise ScpiError(*DATA_TYPE)
    return text.upper() in ("ON", "1")
