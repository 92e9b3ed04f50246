"""A recording with a wrong type is refused by field, value and what belongs there; it is never judged."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.nvidia.odd_states import MENU, OWN, WORKS
from tests.unit.nvidia.trees import NEW, OLD, OWN_KEY, dpkg, holder, make_log, package, tree

from holdfast.cli.main import run
from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.recording import checked

# What may be unknown.
MAY_BE_NULL = {"bound", "signed", "nouveau_cards", "boot", "boot_free_mib"}
# What has keys of its own choice.
OPEN = {("kernels",), ("packages",), ("release",)}
# Objects of which each field has a default; what they do not know is a newer release's.
ALL_MAY_LACK = {("boot",), ("key",)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A machine of which every kind of thing is known."""
    files = {
        **WORKS, **make_log(NEW), **holder(77, "python3", "/system.slice/a.service"), **OWN_KEY, "boot.free_mib": "900",
        "etc/crypttab": "root UUID=x none luks\n", "boot/grub/grub.cfg": MENU, "run/reboot-required": "",
        **dpkg(package("libcuda1", "1", "hold ok half-configured"), package(OWN[0])),
    }  # fmt: skip
    found = read_machine(str(tree(tmp_path_factory.mktemp("root"), files, links={"proc/77/fd/3": "/dev/nvidia0"})))
    assert all(found[name] for name in ("gpus", "failures", "holders", "key", "passphrases", "broken_packages", "reboot_for"))
    return dict(json.loads(json.dumps(found)))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield at, value
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def put(document: dict[str, Any], at: tuple[Any, ...], value: Any) -> Any:
    if not at:
        return value
    document = copy.deepcopy(document)
    here: Any = document
    for key in at[:-1]:
        here = here[key]
    here[at[-1]] = value
    return document


def test_what_was_recorded_is_taken_and_so_is_what_a_newer_release_adds(recorded: dict[str, Any]) -> None:
    known = from_json(recorded)
    assert known == from_json(json.dumps(recorded))
    objects = [at for at, value in places(recorded) if isinstance(value, dict) and at not in OPEN]
    assert {(), ("gpus", 0), ("kernels", OLD), ("boot", "entries", 0), ("holders", 0), ("key",), ("failures", 0)} <= {*objects}
    for at in objects:
        assert from_json(put(recorded, (*at, "fans"), [1])) == known, at


def test_nothing_that_is_read_is_lost_on_the_way(recorded: dict[str, Any]) -> None:
    """A field that the reader has and the check does not know would be passed over as a newer release's."""
    assert checked(recorded) == recorded


def test_what_an_older_release_recorded_of_a_module_that_was_being_unloaded(recorded: dict[str, Any]) -> None:
    assert [from_json({**recorded, "drm_users": users}).drm_users for users in (-1, 0, 3)] == [0, 0, 3]


def test_a_wrong_type_anywhere_is_named(recorded: dict[str, Any]) -> None:
    tried = 0
    for at, value in places(recorded):
        for wrong in ("", "no", None, 1, 1.5, True, [], {}, [None], {"a": 1}, float("nan")):
            if value is None or (type(wrong) is type(value) and wrong not in ([None], {"a": 1})):
                continue
            if wrong is None and at and at[-1] in MAY_BE_NULL:
                continue
            if wrong == {"a": 1} and at in ALL_MAY_LACK | {("kernels", k) for k in recorded["kernels"]}:
                continue
            with pytest.raises(ValueError) as error:
                from_json(put(recorded, at, wrong))
            tried += 1
            said = str(error.value)
            assert (".".join(map(str, at)) or "all of it") in said or isinstance(value, list | dict), (at, wrong, said)
            assert not any(word in said for word in ("KeyError", "NoneType", "object is not", "validation error")), said
    assert tried > 1000


def test_what_is_missing_is_named(recorded: dict[str, Any]) -> None:
    for name in ("gpus", "kernels", "secure_boot", "libraries", "broken_packages"):
        with pytest.raises(ValueError, match=f"{name} is missing"):
            from_json({key: value for key, value in recorded.items() if key != name})
    with pytest.raises(ValueError, match=f'kernels says nothing of "{OLD}"'.replace("+", r"\+")):
        from_json({**recorded, "kernels": {}})


@pytest.mark.parametrize(
    ("at", "wrong", "said"),
    [
        (("gpus",), "", 'gpus is "", where a list belongs'),
        (("kernels", OLD, "initrd"), "false", f'kernels.{OLD}.initrd is "false", where true or false belongs'),
        (("secure_boot",), "no", 'secure_boot is "no", where true or false belongs'),
        (("libraries",), "580.1", 'libraries is "580.1", where a list belongs'),
        (("libraries",), ["x"], 'libraries.0 is "x", where text of the form'),
        (("wsl",), "x", 'wsl is "x", where true or false belongs'),
        (("gpus",), None, "gpus is null, where a list belongs"),
        (("packages", "libcuda1", "state"), "i", 'packages.libcuda1.state is "i", where text of the form'),
    ],
)
def test_the_error_and_its_exit_code(
    at: tuple[str, ...], wrong: Any, said: str, recorded: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(put(recorded, at, wrong)))
    assert run(["status", "--facts", str(file)]) == 2
    told = capsys.readouterr()
    assert said in told.err and "Fix: ./holdfast status HOST --json" in told.err and not told.out


def test_what_a_terminal_would_obey_and_what_is_nested_without_end(
    recorded: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "facts.json"
    file.write_text("[" * 200_000)
    assert run(["status", "--facts", str(file)]) == 2
    said = capsys.readouterr().err
    assert "nested too deep" in said and "unexpected" not in said
    for wrong in ("\x1b[2J\x1b]0;x\x07", "\x1b[31m\ud800"):
        file.write_text(json.dumps(put(recorded, ("gpus", 0, "address"), wrong)))
        assert run(["status", "--facts", str(file)]) in (1, 2)
        told = capsys.readouterr()
        assert "\x1b" not in told.out + told.err and "x1b[" in told.out + told.err.replace("\\u00", "x")
