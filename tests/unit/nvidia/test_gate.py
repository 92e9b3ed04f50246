"""The reboot gate: only into a kernel that will have its driver, each reason with its own words and way out."""

from __future__ import annotations

import pytest
from tests.unit.nvidia.nearly import HAPPENS, right
from tests.unit.nvidia.walks import NEW, OLD

from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import hindrance

BLIND = {
    "the next kernel has no module": "has no module",
    "the next kernel has no initrd": "initrd",
    "half installed": "dpkg is not done",
}


@pytest.mark.parametrize("what", BLIND)
@pytest.mark.parametrize("reboot", ["auto", "always"])
def test_no_reboot_into_what_would_come_up_without_the_driver(what: str, reboot: str) -> None:
    whole, want = right(OLD, NEW), Want(reboot=reboot)
    assert hindrance(whole, want, "why") is None, "the next kernel has all it needs"
    kept = hindrance(HAPPENS[what](whole), want, "why")
    assert kept is not None and kept.stop.state == "next_kernel_broken"
    assert BLIND[what] in kept.stop.why and kept.stop.fix, kept


def test_an_unsigned_module_under_secure_boot_is_no_matter_of_dpkg() -> None:
    enforced = HAPPENS["Secure Boot, enrolled"](right(OLD, NEW))
    assert hindrance(enforced, Want(), "why") is None, "signed, and the key is enrolled"
    kept = hindrance(HAPPENS["the next kernel's module is not signed"](enforced), Want(), "why")
    assert kept is not None and "dpkg --configure" not in kept.stop.fix and "dpkg" not in kept.stop.why, kept
    assert "sign" in kept.stop.why
