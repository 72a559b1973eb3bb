"""Set calibration results aside, so that a node measures them anew at its next start. Nothing is deleted."""

from __future__ import annotations

from pathlib import Path

from controller.calibration.result import CalibrationStore
from controller.config import NodeConfig
from controller.doctor import is_running
from controller.errors import ConfigurationError

OLD = "set-aside"


def forget(config: NodeConfig, workspace: Path, routines: list[str]) -> list[str]:
    """Move the results of these routines (all, if none is named) out of force. Returns what was set aside.

    Raises ConfigurationError for an unknown routine, and while the node is running: it would not notice.
    """
    if is_running(config, workspace):
        raise ConfigurationError(f"node {config.node.name} is running", remedy="qkd stop, then again")
    directory = config.state_dir(workspace) / "calibrations"
    known = [result.routine for result in CalibrationStore(directory).all()]
    if wrong := sorted(set(routines) - set(known)):
        raise ConfigurationError(
            f"no result of {', '.join(wrong)} in force", remedy=f"one of {', '.join(known) or 'none'}"
        )
    chosen = routines or known
    (directory / OLD).mkdir(parents=True, exist_ok=True)
    for path in [path for routine in chosen for path in directory.glob(f"{routine}-*.json")]:
        path.rename(directory / OLD / path.name)
    return chosen
