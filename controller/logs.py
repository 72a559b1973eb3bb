"""Structured logs: JSON lines in STATE/node.log. Secrets never: what stands under a suspicious name is withheld."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

LOG_NAME = "node.log"
MAX_LOG_BYTES = 20 << 20
_SECRET_WORDS = ("secret_key", "key_bits", "key_material", "pad", "psk", "kek", "password", "private", "seed")
_OPEN_WORDS = ("pads_left", "pad_offset", "key_bits_in_store", "padding")


def open_log(state_dir: Path, node: str) -> structlog.stdlib.BoundLogger:
    """The node's log, appended to across restarts, rotated at 20 MB (three old files are kept)."""
    state_dir.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(state_dir / LOG_NAME, maxBytes=MAX_LOG_BYTES, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    target = logging.getLogger(f"qkd.{node}")
    for old in list(target.handlers):
        target.removeHandler(old)
        old.close()
    target.addHandler(handler)
    target.setLevel(logging.DEBUG)
    target.propagate = False
    return structlog.wrap_logger(
        target,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact_secrets,
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(default=str),
        ],
    ).bind(node=node)


def redact_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace bytes, arrays, and whatever stands under the name of a secret, by a note of their size."""
    for name, value in event.items():
        is_suspicious = any(word in name for word in _SECRET_WORDS) and name not in _OPEN_WORDS
        is_bulk = isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "__array__")
        if is_bulk or (is_suspicious and not isinstance(value, (int, float, bool))):
            size = len(value) if hasattr(value, "__len__") else 1
            event[name] = f"<{type(value).__name__} of size {size} withheld>"
    return event
