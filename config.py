"""pyinfra's own settings: read first, before the inventory and before anything is connected."""

from pyinfra import config

from holdfast.apply.proxycommand import send_everything

config.REQUIRE_PYINFRA_VERSION = "~=3.10"
send_everything()
