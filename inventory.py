"""The hosts: those of hosts.yml, and a throw-away machine while it runs. Everything is validated here (docs/development.md)."""

from pyinfra.api.exceptions import InventoryError

from holdfast.errors import HoldfastError
from holdfast.settings.inventory import groups

try:
    globals().update(groups())
except HoldfastError as error:
    raise InventoryError(error.render()) from None
