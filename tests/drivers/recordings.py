"""Where the recordings of real devices are. They are not part of the repository (see the README beside them)."""

from pathlib import Path

import pytest

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "recordings"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the repository")
