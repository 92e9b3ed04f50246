"""The machine: login, sudo, name, resolver, packages, reboot, and what `up` does with a lab that lives."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from holdfast.depot import lock
from holdfast.lab import Lab, processes, state
from holdfast.lab.layout import DEPOT_URL


def test_the_login_user_logs_in_and_may_sudo_without_a_password(lab: Lab) -> None:
    assert lab.ssh(["id", "-un"]).stdout == "ada\n"
    assert lab.ssh(["sudo", "-n", "id", "-u"]).stdout == "0\n"
    assert lab.ssh(["hostname"]).stdout == f"{lab.name}\n"


def test_plain_ssh_with_the_config_is_all_it_takes(lab: Lab) -> None:
    config = lab.state().ssh_config
    done = subprocess.run(
        ["ssh", "-F", config, lab.name, "echo in"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "in\n")


def test_a_host_key_that_is_not_this_machines_is_refused(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    other = (tmp_path / "other.pub").read_text().split()
    wrong = tmp_path / "ssh_config"
    text = Path(lab.state().ssh_config).read_text()
    wrong.write_text(text.replace(str(lab.layout.known_hosts), str(tmp_path / "known_hosts")))

    def login(key: str) -> int:
        (tmp_path / "known_hosts").write_text(f"10.77.0.1 {key}\n")
        argv = ["ssh", "-F", str(wrong), "-o", "ControlPath=none", lab.name, "true"]
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode

    right = (lab.layout.folder / "ssh_host_key.pub").read_text().split()
    assert login(" ".join(right[:2])) == 0
    assert login(" ".join(other[:2])) == 255


def test_names_resolve_and_packages_come(lab: Lab) -> None:
    try:
        updated = lab.ssh(["sudo", "apt-get", "-q", "update"], timeout=300)
        assert updated.returncode == 0, updated.stderr
        got = lab.ssh(
            ["cd", "/tmp", "&&", "apt-get", "-q", "download", "hello", "&&", "ls", "hello_*.deb"], timeout=120
        )
        assert got.returncode == 0, got.stderr
    finally:  # what later tests find must be the bare machine: without package lists
        lab.ssh(["sudo", "sh", "-c", "'rm -rf /var/lib/apt/lists/* /tmp/hello_*'"])


def test_the_machine_trusts_what_this_computer_trusts(lab: Lab) -> None:
    """Each certificate of the operator's bundle is in the machine's bundle."""
    from holdfast.lab.guest import certificates, operator_bundle

    bundle = operator_bundle()
    assert bundle is not None
    ours, theirs = (
        certificates(t) for t in (bundle.read_text(), lab.ssh(["cat", "/etc/ssl/certs/ca-certificates.crt"]).stdout)
    )
    assert ours
    assert ours <= theirs


def test_a_reboot_brings_the_machine_back_by_itself(lab: Lab) -> None:
    machine = lab.state().process("machine")
    before = lab.ssh(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()
    netns = lab.layout.netns("workstation")
    subprocess.run(["ip", "-n", netns, "rule", "add", "priority", "99", "lookup", "main"], check=True)
    lab.ssh(["touch", "/home/ada/kept"])
    after = lab.reboot()
    assert after
    assert after != before
    assert lab.state().process("machine") == machine, "the supervisor is to be the same process"
    assert lab.ssh(["ls", "/home/ada/kept"]).returncode == 0
    rules = json.loads(subprocess.run(["ip", "-n", netns, "-json", "rule"], capture_output=True, check=True).stdout)
    assert 99 not in [rule["priority"] for rule in rules], "a real reboot forgets policy routes"
    assert {0, 32766, 32767} <= {rule["priority"] for rule in rules}
    lab.ssh(["rm", "/home/ada/kept"])


def test_a_second_up_keeps_the_lab(lab: Lab) -> None:
    before = lab.state()
    lab.up()
    after = lab.state()
    assert (after.nonce, after.processes) == (before.nonce, before.processes)
    assert [s.name for s in state.running() if s.name == lab.name] == [lab.name]


def test_up_starts_again_what_has_died_beside_the_machine(lab: Lab) -> None:
    before = lab.state()
    depot = before.process("depot")
    assert depot is not None
    processes.kill([depot.pid], signal.SIGKILL)
    probe = ["curl", "-sf", "-o", "/dev/null", f"{DEPOT_URL}/{lock.pin('headscale').file}", "-r", "0-0"]
    assert lab.run_in("neighbour", probe).returncode == 7, "the depot is gone: connection refused"
    lab.up()
    assert lab.run_in("neighbour", probe).returncode == 0
    assert lab.state().process("machine") == before.process("machine")


def test_secrets_are_readable_by_root_alone(lab: Lab) -> None:
    folder = lab.layout.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("ssh_key", "ssh_host_key", "workstation_auth_key", "state.json", "control/server.key"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name


def test_phone_and_laptop_meet_in_the_tailnet(lab: Lab) -> None:
    """The phone resolves the laptop's name by MagicDNS and reaches a server there; the neighbour, no member, does not."""
    laptop = lab.run_in("phone", ["getent", "hosts", "laptop.tail.test"])
    address = laptop.stdout.split()[0]
    assert address.startswith("100.64.0.")
    server = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            lab.layout.netns("laptop"),
            "socat",
            "TCP-LISTEN:8123,fork,reuseaddr",
            "SYSTEM:echo laptop",
        ],
        stderr=subprocess.DEVNULL,
    )
    ask = ["socat", "-T", "10", "-", "TCP:laptop.tail.test:8123,connect-timeout=10,retry=20,interval=0.2"]
    try:
        assert lab.run_in("phone", ask).stdout == "laptop\n"
        assert lab.run_in("neighbour", ["socat", "-", f"TCP:{address}:8123,connect-timeout=3"]).stdout == ""
    finally:
        server.terminate()
        server.wait(10)
