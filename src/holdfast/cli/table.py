"""The tables of the verbs' screens: what a machine or a file said stands in them letter by letter."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from holdfast.errors import visible


class Columns(Table):
    """Rich's table, without its markup: ``[/usr/src …]`` is a path, ``[nv-pci.o]`` a file and ``:ab:`` part of an address."""

    def __init__(self, *headers: str, title: str, **options: Any) -> None:
        super().__init__(*headers, title=Text(visible(title)), title_justify="left", **options)

    def line(self, *cells: str) -> None:
        """Add a row of these words."""
        self.add_row(*(Text(visible(cell)) for cell in cells))
