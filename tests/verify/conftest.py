"""The second opinion: what a Holdfast machine promises, checked on the machine itself, sharing no parser with the deploy.

    python -m pytest tests/verify --hosts='ssh://gpu-box?sudo=true' --holdfast-host=gpu-box

Promises are literals in the tests. From the settings comes only the machine's shape: names, ports, models, the login user.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# The helpers beside this file are imported as tests.verify.…, from wherever pytest was started.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.verify.cards import require
from tests.verify.machine import Listeners, Machine, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("holdfast")
    group.addoption("--holdfast-host", metavar="NAME", help="the host of hosts.yml, or the running lab, that --hosts reaches")
    group.addoption(
        "--expect", action="append", default=[], metavar="ROLE=SENTENCE", help="what a role's model answers (lab models)"
    )
    group.addoption("--deep", action="store_true", help="hash the large model files, too (minutes)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(words): a promise to the user, for the table of boundaries")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to run without a host: testinfra would otherwise test the computer that this runs on."""
    ours = any(HERE in item.path.parents for item in items)
    if not ours or config.option.collectonly:
        return
    hosts = config.getoption("--hosts", default=None)
    if not hosts or "," in hosts or not config.getoption("--holdfast-host", default=None):
        given = f"--hosts={hosts!r}, --holdfast-host={config.getoption('--holdfast-host', default=None)!r}"
        raise pytest.UsageError(
            f"tests/verify looks at one machine, which must be named (given: {given})\nFix: ./holdfast verify NAME"
        )


@pytest.fixture(scope="session")
def shape(request: pytest.FixtureRequest) -> Shape:
    """What the machine is: instances, login user, ports. No promise is read from here."""
    from holdfast.settings import load

    return Shape.of(load(request.config.getoption("--holdfast-host")))


@pytest.fixture(scope="session")
def expected(request: pytest.FixtureRequest) -> dict[str, str]:
    """Role -> the sentence its model is known to say; empty on a real machine."""
    return dict(pair.split("=", 1) for pair in request.config.getoption("--expect"))


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Machine:
    """The one machine, as root."""
    import testinfra

    option = request.config.option
    hosts = testinfra.get_hosts(
        [option.hosts], connection=option.connection, ssh_config=option.ssh_config, sudo=option.sudo,
        ssh_identity_file=option.ssh_identity_file,
    )  # fmt: skip
    found = Machine(hosts[0])
    found.require_root()
    return found


@pytest.fixture(scope="session")
def units(machine: Machine, shape: Shape) -> dict[str, Any]:
    """Every unit of ours: state, processes, the environment of its main process, the hash of its program."""
    return machine.look("units", units=shape.units)["units"]


@pytest.fixture(scope="session")
def listeners(machine: Machine, shape: Shape) -> Listeners:
    """Everything that listens on the machine, after the reader has shown that it sees a listener made for it."""
    found = machine.look("listeners")
    assert found["planted"] in [[e["address"], e["port"]] for e in found["listeners"]], "the reader of listeners is blind"
    return Listeners(found["listeners"])


@pytest.fixture(scope="session")
def files(machine: Machine) -> Callable[..., dict[str, Any]]:
    """``files(path, …)`` -> ``{path: {kind, mode, user, group, size}}``; one look for all paths that a test names."""

    def read(*paths: str, hashes: bool = False, below: bool = False) -> dict[str, Any]:
        return machine.look("files", paths=list(paths), hashes=hashes, below=below)

    return read


@pytest.fixture(scope="session")
def answers(machine: Machine, shape: Shape) -> dict[str, Any]:
    """What each Ollama instance answers; the models are really asked, one after the other."""
    instances = {role: [i.port, i.model] for role, i in shape.instances.items()}
    return machine.look("ollama", instances=instances)


@pytest.fixture(scope="session")
def leases(machine: Machine, shape: Shape) -> dict[str, Any]:
    """Who had which lease when each model had just answered, and the files of the leases."""
    instances = {role: [i.port, i.model] for role, i in shape.instances.items()}
    return machine.look("lease", instances=instances, directory="/run/holdfast/lease")


@pytest.fixture(scope="session")
def page(machine: Machine, shape: Shape) -> dict[str, Any]:
    """What Open WebUI answers to strangers and to its administrator."""
    return machine.look("open_webui", port=shape.web_port, email=shape.admin_email)


@pytest.fixture(scope="session")
def confined(machine: Machine, shape: Shape) -> dict[str, Any]:
    """What a probe inside each server's own confinement can reach and write, and the same probe outside."""
    return machine.look("confine", units=[*shape.ollama_units, "open-webui.service"], store=shape.store)


@pytest.fixture(scope="session")
def node(machine: Machine, shape: Shape) -> Iterator[dict[str, Any]]:
    """The machine as a node of the tailnet."""
    if not shape.tailnet:
        pytest.skip("the settings leave Tailscale alone (tailscale.enabled: false)")
    yield machine.look("tailnet")


@pytest.fixture(scope="session")
def cards(machine: Machine, shape: Shape) -> dict[str, Any]:
    """NVIDIA cards and driver. Where there is no card at all it skips if none is required, else each check that needs one fails.
    """
    found: dict[str, Any] = machine.look("nvidia")
    if not found["cards"]:
        if not shape.require_gpu:
            pytest.skip("no NVIDIA GPU on this machine (require_gpu: false)")
        require(found, shape)
    return found
