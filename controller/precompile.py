"""Compile every kernel into numba's cache, with progress. `python -m controller.precompile`, called by ./run set-up."""

from __future__ import annotations


def main() -> None:
    """Placeholder until the kernels stand."""


if __name__ == "__main__":
    main()
