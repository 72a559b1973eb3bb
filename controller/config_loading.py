"""TOML file -> NodeConfig. Every error names file, key path, value and limit, and guesses at typing errors."""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from controller.config import NodeConfig
from controller.errors import ConfigurationError

MAX_FILE_BYTES = 1 << 20
_PORT = re.compile(r"(?<=[:])(\d{2,5})(?=$|::SOCKET)")


def load_config(path: Path, *, port_offset: int = 0) -> NodeConfig:
    """Read and check one node file; `port_offset` is added to every TCP port in it (runs side by side on one machine).

    Raises ConfigurationError with all faults of the file, one per line.
    """
    return parse_config(read_text(path), source=str(path), port_offset=port_offset)


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigurationError if it is absent, too long or not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror})",
            remedy="give the node file with --config, e.g. configs/demo/alice.toml",
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{path}: {len(data)} bytes, the limit for a configuration is {MAX_FILE_BYTES}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: byte {error.start} is not UTF-8") from error


def parse_config(text: str, *, source: str, port_offset: int = 0) -> NodeConfig:
    """As `load_config`, from text; `source` stands in error messages."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source}: not TOML: {error}") from error
    try:
        return NodeConfig.model_validate(_shift_ports(tree, port_offset, source) if port_offset else tree)
    except ValidationError as error:
        lines = [_explain(source, detail) for detail in error.errors()]
        raise ConfigurationError("\n".join(lines)) from error


def _explain(source: str, detail: ErrorDetails) -> str:
    """One line for one fault: file, key path, value, limit."""
    keys = [str(part) for part in detail["loc"]]
    where = f"{source}: {'.'.join(keys) or '(whole file)'}"
    if detail["type"] == "extra_forbidden":
        known = _fields_at(NodeConfig, detail["loc"][:-1])
        close = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{where}: this key is required"
    message = detail["msg"].removeprefix("Value error, ")
    if isinstance(detail["input"], (Mapping, list, BaseModel)):
        return f"{where}: {message}"
    return f"{where} = {detail['input']!r}: {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the table at a key path of the model."""
    for part in location:
        field = model.model_fields.get(str(part))
        candidates = _models_in(field.annotation) if field is not None else [model]
        if not candidates:
            return []
        model = candidates[0]
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The table types that an annotation like `dict[Name, Table]` or `Table | None` mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _shift_ports(tree: Any, offset: int, source: str, key: str = "") -> Any:
    """The same tree with `offset` added to the port of every address and TCP resource string."""
    if isinstance(tree, dict):
        return {name: _shift_ports(value, offset, source, name) for name, value in tree.items()}
    if isinstance(tree, str) and (key in ("listen", "connect") or (key.endswith("resource") and _is_tcp(tree))):
        return _PORT.sub(lambda match: str(_checked_port(int(match[1]) + offset, source, key)), tree)
    if isinstance(tree, int) and key.endswith("port_base"):
        return _checked_port(tree + offset, source, key)
    return tree


def _is_tcp(resource: str) -> bool:
    return resource.startswith(("tcp:", "zmq:tcp:", "visa:TCPIP"))


def _checked_port(port: int, source: str, key: str) -> int:
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"{source}: {key}: port {port} after --port-offset is outside 1..65535")
    return port
