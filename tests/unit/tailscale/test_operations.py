"""The operations on pyinfra's @fake connector, against a node that answers as tailscaled does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.connectors.fake import FakeConnector

from holdfast.components.tailscale import operations
from holdfast.components.tailscale.facts import TailnetNode
from holdfast.components.tailscale.key import AuthKey
from holdfast.components.tailscale.steps import Run, Want

KEY = "hskey-auth-CANARY"
WANT = Want(login_server="https://hs.example", hostname="ws", scheme="http", port=80, publish=8080)
PREFERENCES = {"accept-dns": False, "hostname": "", "ssh": False}


class Tailscaled:
    """Answers the fact; takes the commands that were run so far as its history."""

    def __init__(self, backend: str = "NeedsLogin", **preferences: Any) -> None:
        self.backend, self.preferences, self.served = backend, {**PREFERENCES, **preferences}, False
        self.seen = 0
        self.ran: list[tuple[str, str]] = []

    def __call__(self, fact: type) -> Any:
        assert fact is TailnetNode
        for line, stdin in self.ran[self.seen :]:
            self.take(line, stdin.strip())
        self.seen = len(self.ran)
        me = {"DNSName": "ws.tail.test." if self.backend == "Running" else ""}
        web = {"ws.tail.test:80": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:8080"}}}}
        return {
            "version": "1.102.5", "unit": "active", "control_url": "https://hs.example", "auto_update": False,
            "preferences": dict(self.preferences), "status": {"BackendState": self.backend, "TUN": True, "Self": me},
            "serve": {"TCP": {"80": {"HTTP": True}}, "Web": web} if self.served else {},
        }  # fmt: skip

    def take(self, line: str, stdin: str) -> None:
        if " up" in line and (stdin == KEY or self.backend == "Stopped"):
            self.backend = "Running"
        if " set " in line:
            self.preferences.update(hostname="ws", ssh=False)
        if " serve " in line:
            self.served = "reset" not in line


@pytest.fixture
def key(tmp_path: Path) -> AuthKey:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    file.chmod(0o600)
    return AuthKey(file=str(file))


def converge(apply: Callable[..., Any], daemon: Tailscaled, reference: AuthKey | None, responses: Any = None) -> Any:
    """Run membership; the daemon sees each command as soon as it has been run."""
    original = FakeConnector._lookup_response

    def lookup(self: Any, line: str) -> Any:
        ok, output = original(self, line)
        if ok:
            daemon.ran.append((line, KEY if "--auth-key=file:/dev/stdin" in line else ""))
        return ok, output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeConnector, "_lookup_response", lookup)
        return apply(operations.membership, daemon, responses, want=WANT, reference=reference)


def test_from_a_bare_machine_to_a_member_and_then_nothing(apply: Callable[..., Any], key: AuthKey) -> None:
    daemon = Tailscaled()
    first = converge(apply, daemon, key)
    assert first.planned and first.changed and not first.failed
    assert [line.partition("tailscale ")[2].split()[0] for line, _ in first.ran] == ["up", "set", "serve"]
    again = converge(apply, daemon, None)
    assert not again.planned and not again.changed and not again.failed and not again.ran


def test_the_key_goes_in_by_stdin_and_nowhere_else(apply: Callable[..., Any], key: AuthKey) -> None:
    out = converge(apply, Tailscaled(), key)
    assert [stdin for _, stdin in out.ran] == [KEY, "", ""]
    assert not any("CANARY" in line for line, _ in out.ran)


def test_a_refused_key_is_told_without_it(apply: Callable[..., Any], key: AuthKey) -> None:
    out = converge(apply, Tailscaled(), key, {" up ": {"success": False, "stderr": f"invalid key {KEY}"}})
    assert out.failed and len(out.ran) == 1
    [error] = out.errors
    assert "invalid key (key)" in error["message"] and "mint a new one" in error["fix"] and KEY not in repr(error)


def test_a_refused_client_secret_is_told_without_it(apply: Callable[..., Any], tmp_path: Path) -> None:
    """Its parameters are ours: tailscale may name it with them or without."""
    file = tmp_path / "key"
    file.write_text("tskey-client-CANARY\n")
    file.chmod(0o600)
    said = "bad tskey-client-CANARY, tskey-client-CANARY?ephemeral=false&preauthorized=true"
    out = converge(apply, Tailscaled(), AuthKey(file=str(file)), {" up ": {"success": False, "stderr": said}})
    [error] = out.errors
    assert "bad (key), (key)" in error["message"] and "CANARY" not in repr(error)


def test_without_a_key_nothing_is_run(apply: Callable[..., Any]) -> None:
    out = converge(apply, Tailscaled(), None)
    assert out.planned and out.failed and not out.ran and "names no key" in out.errors[0]["message"]


def test_drift_needs_no_key(apply: Callable[..., Any]) -> None:
    out = converge(apply, Tailscaled("Stopped", ssh=True), None)
    assert not out.failed and [line.partition("tailscale ")[2].split()[0] for line, _ in out.ran] == [
        "up",
        "set",
        "serve",
    ]


def test_a_node_that_never_gets_right_ends(apply: Callable[..., Any]) -> None:
    daemon = Tailscaled("Running", hostname="ws")
    daemon.take = lambda line, stdin: None  # type: ignore[method-assign]
    out = converge(apply, daemon, None)
    assert out.failed and len(out.ran) == operations.ROUNDS and "still to do: publish" in out.errors[0]["message"]


def test_a_bare_machine_reads_as_would_change(apply: Callable[..., Any], key: AuthKey) -> None:
    out = apply(operations.membership, lambda fact: None, want=WANT, reference=key)
    assert out.planned and out.failed and not out.ran and "not installed" in out.errors[0]["message"]


@pytest.mark.parametrize(
    ("found", "with_key", "fails"),
    [
        (None, True, False),
        (None, False, True),
        ({"version": "1.102.5", "status": {"BackendState": "NeedsLogin"}}, False, True),
        ({"version": "1.102.5", "status": {"BackendState": "NeedsLogin"}}, True, False),
        ({"version": "1.102.5", "status": {"BackendState": "Running"}}, False, False),
        ({"version": "1.102.5", "status": {"BackendState": "Stopped"}}, False, False),
        ({"version": "1.102.5", "status": None}, False, False),
    ],
)
def test_require_key(apply: Callable[..., Any], key: AuthKey, found: Any, with_key: bool, fails: bool) -> None:
    out = apply(operations.require_key, lambda fact: found, reference=key if with_key else None)
    assert (out.planned, out.failed) == (False, fails) and not out.changed and not out.ran
    if fails:
        assert "hosts.yml" in out.errors[0]["fix"]


def test_the_shell_line() -> None:
    step = Run("why", ("up", "--hostname=a b"), 75, "fix", key=True)
    assert operations.command_line(step) == "cat | timeout -k 5 75 tailscale up '--hostname=a b'"
    assert operations.command_line(Run("why", ("serve", "reset"), 9, "fix")).endswith("serve reset </dev/null")
