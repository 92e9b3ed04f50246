"""From figures to a verdict: against a roofline that fit computes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.bench.machines import LEFT, PARTLY, PLANNED, RIGHT, instance, look, run

from holdfast.bench.judge import Cost, Result, costs, hand_overs, judge
from holdfast.bench.statistics import Ratio, ratio, spread
from holdfast.fit import CARDS, Verdict
from holdfast.fit import judge as fits
from holdfast.settings.fitting import known_shapes

CODER, REASONER = "qwen2.5-coder:32b", "deepseek-r1:70b"
ONE = {"left": PLANNED["left"]}


def verdict(model: str = CODER, cards: int = 1) -> Verdict:
    names = list(PLANNED)[:cards]
    return fits(known_shapes()[model], [CARDS["rtx-3090"]] * cards, 16384, 1, "q8_0", True, names)


def result(found: dict[str, Any], least: float = 0.6) -> Result:
    return judge("coder", CODER, found, ONE, verdict(), least, 128)


def test_at_speed_and_proven_it_passes() -> None:
    found = result(instance(34.0, LEFT))
    assert (found.state, found.failed, found.reasons) == ("ok", False, ())
    short, long = found.points
    assert (short.length, short.context, short.decode.median) == (128, 193, pytest.approx(34.2))
    # The published ceiling of that model on a 3090, less a little cache; more of it for a longer context.
    assert 47 < short.roofline < 48.5 and long.roofline < short.roofline
    assert found.fraction == pytest.approx(34.2 / short.roofline, abs=0.001)
    assert short.prompt.median == pytest.approx(1500, rel=0.01) and short.first_s.count == 5


def test_below_the_setting_it_fails_with_reasons() -> None:
    found = result(instance(24.0, LEFT))
    assert found.state == "below" and found.failed and "min_roofline asks for 60 %" in found.why and found.reasons
    assert result(instance(24.0, LEFT), 0.4).state == "ok"


def test_one_slow_length_is_enough_and_is_named() -> None:
    runs = [run(128, 35.0) for _ in range(5)] + [run(4096, 20.0) for _ in range(5)]
    found = result(instance(35.0, LEFT, runs=runs))
    assert found.state == "below" and [reason.what[:4] for reason in found.reasons] == ["only"]


@pytest.mark.parametrize(
    ("broken", "state"),
    [
        ({"journal": {"text": PARTLY, "problem": ""}}, "not on its cards"),
        ({"looks": [look(RIGHT)]}, "not on its cards"),
        ({"looks": []}, "not proven"),
        ({"journal": {"text": "", "problem": ""}}, "not proven"),
        ({"problem": "500: out of memory"}, "does not answer"),
    ],
)
def test_speed_alone_is_no_proof(broken: dict[str, Any], state: str) -> None:
    found = result(instance(34.0, LEFT, **broken))
    assert found.state == state and found.failed and found.why


@pytest.mark.parametrize(
    ("broken", "fix"),
    [
        ({"looks": []}, "nvidia-smi --query-compute-apps"),
        ({"journal": {"text": "", "problem": "sudo: a password is required"}}, "sudo journalctl -u ollama@coder"),
        ({"problem": "connection refused"}, "./holdfast status"),
    ],
)
def test_what_is_not_proven_or_silent_says_what_to_do(broken: dict[str, Any], fix: str) -> None:
    found = result(instance(34.0, LEFT, **broken))
    assert any(fix in reason.look for reason in found.reasons), found.reasons
    assert result(instance(34.0, LEFT)).reasons == ()


def test_two_cards_one_after_the_other() -> None:
    found = judge("reasoner", REASONER, instance(15.0, LEFT, RIGHT, looks=[look(LEFT, RIGHT, model=REASONER)]), PLANNED,
                  verdict(REASONER, 2), 0.6, 128)  # fmt: skip
    assert found.state == "ok" and 21.5 < found.points[0].roofline < 22.5


def test_on_the_processor_nothing_is_judged_and_it_is_said() -> None:
    found = instance(900.0, looks=[])
    del found["journal"]
    done = judge("coder", CODER, found, {}, fits(known_shapes()[CODER], [], 16384), 0.6, 128)
    assert (done.state, done.failed, done.fraction, done.why) == (
        "not judged",
        False,
        None,
        "no card: it runs on the processor",
    )


def test_runs_that_waited_and_answers_that_ended_are_counted() -> None:
    runs = [run(128, 35.0), run(128, 35.0, wall_s=60.0), run(128, 35.0, tokens=40)]
    found = result(instance(35.0, LEFT, runs=runs))
    assert (found.waited, found.short) == (1, 1)


def test_hand_overs_by_direction() -> None:
    found = hand_overs([
        {"from": "coder", "to": "reasoner", "first_s": 12.0}, {"from": "reasoner", "to": "coder", "first_s": 6.0},
        {"from": "coder", "to": "reasoner", "first_s": 14.0},
    ])  # fmt: skip
    assert [(one.before, one.after, one.seconds.median) for one in found] == [
        ("coder", "reasoner", 13),
        ("reasoner", "coder", 6),
    ]


def test_a_ratio_is_of_pairs_and_has_its_interval() -> None:
    """The machine gets slower and slower, and both of a pair with it."""
    theirs = [1000.0 / (1 + n) for n in range(20)]
    found = ratio([0.97 * value for value in theirs], theirs)
    assert found == Ratio(pytest.approx(0.97), pytest.approx(0.97), pytest.approx(0.97), 20)
    wide = ratio([1.0, 2.0, 1.0, 2.0, 1.0], [1.0] * 5)
    assert (wide.low, wide.median, wide.high) == (1.0, 1.0, 2.0)
    assert ratio([1.0, 2.0, 3.0], [1.0] * 3) == ratio([1.0, 2.0, 3.0], [1.0] * 3)
    assert spread([3.0, 1.0, 2.0]) == spread([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("interval", "target", "others", "state"),
    [
        ((0.985, 0.97, 1.0), 0.98, 0.0, "ok"),
        ((0.95, 0.93, 0.97), 0.98, 0.0, "below the target"),
        ((0.85, 0.80, 0.95), 0.98, 0.0, "below the target"),
        ((0.85, 0.80, 0.89), 0.98, 0.0, "red"),
        ((0.85, 0.80, 0.89), 0.98, 0.4, "not judged: others used 40 % of the processor meanwhile"),
        ((0.50, 0.40, 0.60), 0.0, 0.0, "for information"),
    ],
)
def test_cost_is_red_only_where_it_surely_is(
    interval: tuple[float, float, float], target: float, others: float, state: str
) -> None:
    assert Cost("coder", "bare", "decode", Ratio(*interval, 20), target, others).state == state


@pytest.mark.parametrize(
    ("plain", "state"),
    [
        ((1.0, 0.95, 1.05), "red"),
        ((0.93, 0.91, 0.95), "red"),
        ((0.82, 0.78, 0.86), "below the target; the same Ollama without our part has 0.820 of it"),
    ],
)
def test_what_ollama_itself_costs_is_no_fault_and_is_said(plain: tuple[float, float, float], state: str) -> None:
    ours, ollama = Ratio(0.80, 0.75, 0.85, 20), Ratio(*plain, 20)
    assert Cost("coder", "bare", "decode", ours, 0.98, 0.0, ollama).state == state
    # That ours is no slower than it is asked of the other comparison.
    assert Cost("coder", "plain", "decode", ours, 0.98, 0.0).state == "red"


def test_costs_have_the_targets_of_what_they_are_against() -> None:
    one = {
        "unit": {"decode": 99.0, "wall": 80.0},
        "plain": {"decode": 100.0, "wall": 82.0},
        "bare": {"decode": 100.0, "wall": 90.0},
    }
    found = {(c.against, c.by): c for c in costs({"role": "coder", "rounds": [one] * 5, "others": 0.0})}
    assert {key: cost.target for key, cost in found.items() if cost.target} == {
        ("bare", "decode"): 0.98,
        ("plain", "decode"): 0.98,
        ("plain", "wall"): 0.97,
    }
    assert found["plain", "decode"].ratio.median == pytest.approx(0.99) and found["plain", "decode"].state == "ok"
    assert found["bare", "wall"].state == "for information" and found["bare", "decode"].state == "ok"
    assert costs({"role": "coder", "rounds": [], "problem": "x"}) == []
