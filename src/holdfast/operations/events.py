"""Lines from a running apply to whoever started it: JSON objects on the descriptor that $HOLDFAST_EVENTS names.

pyinfra's own JSON comes at the very end and not at all when the last host fails, so progress and messages go this way.
"""

from __future__ import annotations

import json
import os
from typing import Any


def emit(kind: str, **fields: Any) -> None:
    """One event; nothing happens where nobody listens."""
    descriptor = os.environ.get("HOLDFAST_EVENTS")
    if not descriptor:
        return
    try:
        os.write(int(descriptor), (json.dumps({"event": kind, **fields}) + "\n").encode())
    except OSError:
        # The listener went away; the apply itself must not fail for that.
        os.environ.pop("HOLDFAST_EVENTS", None)
