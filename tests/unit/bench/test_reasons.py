"""Why it is slow: each reason by what shows it, and none without."""

from __future__ import annotations

import pytest
from tests.unit.bench.machines import LEFT, PLANNED, card, look

from holdfast.bench.evidence import seen
from holdfast.bench.proofs import Proof
from holdfast.bench.reasons import Reason, reasons

ONE = {"left": PLANNED["left"]}


def why(
    *, events: str = "0x0", kind: str = "GeForce RTX 3090", waited: int = 0, long_only: bool = False, **row: str
) -> list[Reason]:
    looks = [look(LEFT, cards=card(LEFT, ONE["left"], **row), events=f"{LEFT}, {events}\n")]
    return reasons([], [], seen(looks, ONE), {"left": kind}, waited=waited, runs=10, long_only=long_only)


def test_without_any_sign_it_says_what_was_looked_at() -> None:
    (only,) = why()
    assert "none of the usual reasons" in only.what and "nvidia-smi -q" in only.look


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"memory": "5001"}, "5001 of 9751 MHz"),
        ({"events": "0x0000000000000020"}, "takes the clocks back"),
        ({"celsius": "88"}, "hot: 88 degrees"),
        ({"events": "0x4", "limit": "200.00", "draw": "199.80"}, "power limit: 200 W of 200 (the card's own limit: 350)"),
        ({"limit": "200.00", "draw": "199.80"}, "power limit"),
        ({"events": "0x8"}, "hardware slows it down"),
        ({"lanes": "4"}, "PCIe link is generation 4 x4 of generation 4 x16"),
        ({"gen": "1"}, "generation 1 x16"),
        ({"name": "NVIDIA GeForce RTX 3060"}, "is a NVIDIA GeForce RTX 3060, and the settings say GeForce RTX 3090"),
        ({"waited": 3}, "in 3 of 10 runs"),
        ({"long_only": True}, "only at long prompts"),
    ],
)  # fmt: skip
def test_each_sign_is_its_reason(given: dict[str, str], words: str) -> None:
    (only,) = why(**given)  # type: ignore[arg-type]
    assert words in only.what and only.look


def test_a_low_limit_that_is_not_reached_is_no_reason() -> None:
    assert "none of the usual" in why(limit="290.00", draw="240.00")[0].what


def test_what_is_likelier_comes_first() -> None:
    looks = [look(LEFT, cards=card(LEFT, ONE["left"], lanes="4", celsius="90", memory="405"))]
    proof = Proof("journal", False, "offloaded 48/65")
    stranger = {"card": "left", "pid": "999", "program": "game", "mib": ""}
    found = reasons([proof], [stranger], seen(looks, ONE), {}, waited=0, runs=5, long_only=False)
    order = (
        "offloaded 48/65",
        "another process works on card left: game, pid 999, ? MiB",
        "hot",
        "memory runs",
        "PCIe",
    )
    assert [word in reason.what for word, reason in zip(order, found, strict=True)] == [True] * 5


def test_evidence_is_the_most_of_all_looks() -> None:
    looks = [
        look(LEFT, cards=card(LEFT, ONE["left"], draw="100", memory="405", gen="1"), events=f"{LEFT}, 0x1\n"),
        look(LEFT, cards=card(LEFT, ONE["left"], draw="[N/A]", memory="9501", gen="4"), events=f"{LEFT}, 0x40\n"),
    ]
    (found,) = seen(looks, ONE)
    assert (found.draw_w, found.memory_mhz, found.pcie) == (100, 9501, (4, 16))
    assert (found.heat, found.power, found.slowdown) == (True, False, False)
    assert seen([], ONE) == [] and len(seen([look(LEFT)], PLANNED)) == 2
