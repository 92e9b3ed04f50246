"""Settings are valid only if the models fit; applying the Fix that is told makes them valid."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import SettingsError
from holdfast.settings import fitting
from holdfast.settings.loader import resolve
from holdfast.settings.merge import merge

BLOCK: dict[str, Any] = {
    "name": "gpu-box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"},
}  # fmt: skip


def site(**changes: Any) -> dict[str, Any]:
    return merge(BLOCK, changes)


def refused(given: dict[str, Any]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        resolve(given)
    assert caught.value.code == 2
    return caught.value


def as_told(error: SettingsError) -> dict[str, Any]:
    """The settings that the Fix line names: instances.ROLE: {key: value}."""
    found = re.findall(r"instances\.(\w+): (\{[^}]*\})", error.fix)
    return {"instances": {role: yaml.safe_load(text) for role, text in found}}


def test_the_profiles_fit_with_something_to_spare() -> None:
    for profile, gpus in (("dual_3090", BLOCK["gpus"]), ("single_24gb", {"card": "01:00.0"})):
        found = fitting.verdicts(resolve({**BLOCK, "profile": profile, "gpus": gpus}))
        assert {role: verdict.fits for role, verdict in found.items()} == {"coder": True, "reasoner": True}
        assert all(gpu.spare > 0 for verdict in found.values() for gpu in verdict.gpus)


def test_a_context_that_is_too_large_is_refused_with_the_arithmetic() -> None:
    error = refused(site(instances={"coder": {"context": 32768}}))
    text = error.render()
    for word in ("gpu-box.instances.coder", "qwen2.5-coder:32b", "left", "RTX 3090", "weights 18,508", "of 24,576 MiB"):
        assert word in text
    assert error.fix == "instances.coder: {context: 29184}"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["coder", "reasoner"]), st.integers(512, 300_000), st.integers(1, 8),
    st.sampled_from(["f16", "q8_0", "q4_0"]), st.lists(st.sampled_from(["left", "right"]), min_size=1, unique=True),
)  # fmt: skip
def test_applying_the_fix_fits(role: str, context: int, parallel: int, kind: str, gpus: list[str]) -> None:
    given = site(instances={role: {"context": context, "parallel": parallel, "kv_type": kind, "gpus": gpus}})
    try:
        resolve(given)
        return
    except SettingsError as error:
        change = as_told(error)
    fixed = resolve(merge(given, change))
    if "context" in change["instances"][role]:
        more = {"instances": {role: {"context": fixed.instances[role].context + 256}}}
        refused(merge(merge(given, change), more))


def test_what_never_fits_is_said_so() -> None:
    error = refused({**BLOCK, "profile": "single_24gb", "gpus": {"card": "01:00.0"},
                     "instances": {"reasoner": {"model": "deepseek-r1:70b"}}})  # fmt: skip
    assert "smaller model" in error.fix


def test_another_card_changes_the_verdict() -> None:
    large = {"instances": {"coder": {"context": 32768}}}
    refused(site(**large))
    resolve(site(**large, card="rtx-5090"))
    resolve(site(**large, gpus={"left": {"address": "01:00.0", "card": "rtx-5090"}}))
    resolve(site(**large, gpus={"left": {"address": "01:00.0", "vram_mib": 49152}}))
    resolve(site(instances={"coder": {"context": 28672}}))
    refused(site(instances={"coder": {"context": 28672}}, gpus={"left": {"address": "01:00.0", "display": True}}))


def test_what_is_not_known_is_no_error() -> None:
    found = fitting.verdicts(resolve(site(instances={"coder": {"model": "somebody/model:7b", "context": 262144}})))
    assert found["coder"].fits is None and found["reasoner"].fits is True
    found = fitting.verdicts(resolve(site(card="")))
    assert {verdict.fits for verdict in found.values()} == {None}


def test_a_card_is_an_address_or_a_mapping() -> None:
    ws = resolve(site(gpus={"right": {"address": "21:00.0", "card": "rtx-4090"}}))
    assert ws.gpus["left"].address == "0000:01:00.0" and ws.gpus["right"].card == "rtx-4090"
    error = refused(site(gpus={"right": {"address": "21:00.0", "card": "rtx 309"}}))
    assert "rtx-3090" in error.render()
    assert "gpu-box.gpus.left.cart" in refused(site(gpus={"left": {"address": "01:00.0", "cart": 1}})).render()


def test_speed_of_a_card_of_ones_own() -> None:
    slow = resolve(site(gpus={"left": {"address": "01:00.0", "bandwidth_gb_s": 468}}))
    assert round(fitting.verdicts(slow)["coder"].speed, 1) == 24.1


def test_leases_that_would_let_both_load_at_once_are_refused() -> None:
    error = refused(site(instances={"coder": {"lease": ["memory"]}}))
    assert "instances.coder.lease is [memory] and instances.reasoner.lease is [left, right]" in error.message
    assert error.fix.startswith("take lease out")
    resolve(site(instances={"coder": {"lease": ["memory"]}, "reasoner": {"lease": ["fan", "memory"]}}))
    # Two that fit on the cards together need not wait for each other.
    small = {"model": "qwen2.5-coder:1.5b", "gpus": ["left"]}
    found = {"coder": {**small, "lease": []}, "reasoner": {**small, "model": "deepseek-r1:1.5b"}}
    resolve(site(instances=found))
    # What nobody can compute is a person's own business.
    resolve(site(instances={"coder": {"lease": ["memory"]}}, card=""))


def test_leases_are_what_the_arithmetic_demands() -> None:
    def held(**changes: Any) -> dict[str, tuple[str, ...]]:
        return {role: one.held for role, one in resolve(site(**changes)).instances.items()}

    assert held() == {"coder": ("left",), "reasoner": ("left", "right")}
    assert held(card="rtx-pro-6000") == {"coder": (), "reasoner": ("right",)}
    assert held(card="rtx-pro-6000", instances={"coder": {"lease": ["left"]}, "reasoner": {"lease": ["left"]}}) == {
        "coder": ("left",), "reasoner": ("left",),
    }  # fmt: skip
    assert held(card="") == {"coder": ("left",), "reasoner": ("left", "right")}, "nobody knows: they take turns"


def test_three_that_only_do_not_all_fit_must_not_be_let_in_together() -> None:
    coder = {"model": "qwen2.5-coder:32b", "gpus": ["left"], "context": 14336, "kv_type": "f16", "lease": []}
    small = {"model": "qwen2.5-coder:1.5b", "gpus": ["left"], "context": 32768, "kv_type": "f16", "lease": []}
    other = {**coder, "model": "deepseek-r1:32b"}
    error = refused(site(card="rtx-a6000", instances={"coder": coder, "reasoner": other, "third": {**small, "port": 11436}}))
    assert "coder, reasoner and third would not wait" in error.message
    left = {role: {**one, "lease": None} for role, one in (("coder", coder), ("reasoner", other))}
    resolve(site(card="rtx-a6000", instances={**left, "third": {**small, "port": 11436, "lease": None}}))


def test_a_larger_batch_is_counted() -> None:
    small, large = (
        fitting.verdicts(resolve(site(card="rtx-5090", instances={"coder": {"batch": batch}})))["coder"].gpus[0]
        for batch in (512, 2048)
    )
    # The output stage alone: (152064 + 5120) x 4 bytes for each token.
    assert round(large.buffers - small.buffers) == 921
    assert large.weights == small.weights and large.kv == small.kv
    error = refused(site(instances={"coder": {"batch": 4096}}))
    assert error.fix == "instances.coder: {batch: 512}"
    resolve(merge(site(instances={"coder": {"batch": 4096}}), as_told(error)))
