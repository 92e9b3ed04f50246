"""``python -m holdfast``: the command line."""

from __future__ import annotations

import sys

from holdfast.cli import main

sys.exit(main())
