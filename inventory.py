"""The hosts: those of hosts.yml, and a throw-away machine while it runs. Everything is validated here (docs/development.md)."""

from pyinfra.api.exceptions import InventoryError

from holdfast.apply.limit import check_limits
from holdfast.errors import HoldfastError
from holdfast.settings.inventory import groups

try:
    found = groups()
    check_limits(found)
    globals().update(found)
except HoldfastError as error:
    raise InventoryError(error.render()) from None
