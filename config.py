"""pyinfra's own settings: checked before anything is connected."""

from pyinfra import config

config.REQUIRE_PYINFRA_VERSION = "~=3.10"
