"""What the tests of all of cgdet_core share."""

from __future__ import annotations

import sys
from pathlib import Path

# for the tests of these folders, which the import mode leaves without it
sys.path.insert(0, str(Path(__file__).parent))
