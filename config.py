"""pyinfra's own settings: read first, before the inventory and before anything is connected."""

from pyinfra import config

from holdfast.apply.proxycommand import mend_proxycommand

config.REQUIRE_PYINFRA_VERSION = "~=3.10"
mend_proxycommand()
