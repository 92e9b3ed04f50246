"""What `up` tells at the end: the machine as it answers now, not as it was meant to be."""

from __future__ import annotations

from typing import Any

from holdfast.apply.result import Result
from holdfast.cli import remote
from holdfast.cli.table import Columns
from holdfast.cli.verify import Checks
from holdfast.errors import HoldfastError
from holdfast.settings.workstation import Workstation

# A cold model of 40 GB from a slow disk: minutes.
PATIENCE_S = 900
# The control server: a real workstation's is not Holdfast's.
LAB_ONLY = {"headscale"}


def look(ws: Workstation) -> dict[str, Any]:
    """The machine as it answers, read as `apply` and `status` read it; waits for models that are still being loaded.

    ``instances`` by role (see read_replies), and ``tailnet``: name, online, ipv4, ipv6. Raises when one does not answer.
    """
    # Late: they bring pyinfra along.
    from holdfast.components.ollama.facts import Replies
    from holdfast.components.ollama.files import unit_name
    from holdfast.components.tailscale.facts import CLI, TailnetNode
    from holdfast.components.tailscale.node import parse
    from holdfast.operations.answers import Answer

    instances = {role: [i.port, i.model] for role, i in ws.instances.items()}
    replies = remote.fact(
        ws, Replies, instances=instances, patience_s=PATIENCE_S, timeout=PATIENCE_S * len(instances) + 60
    )
    for role, found in replies.items():
        if found["state"] != "answers":
            raise HoldfastError(
                f"the {role} on {ws.name} does not answer: {found['why']}",
                fix=f"on the machine: journalctl -u {unit_name(role)} -e", where=f"127.0.0.1:{ws.instances[role].port}",
            )  # fmt: skip
    url = f"http://127.0.0.1:{ws.open_webui.port}/ready"
    status = remote.fact(ws, Answer, url=url, unit="")["status"]
    if status != 200:
        said = f"HTTP status {status}" if status else "no answer"
        fix = "on the machine: journalctl -u open-webui -e"
        raise HoldfastError(f"Open WebUI on {ws.name} does not answer: {said}", where=url, fix=fix)
    node = parse(remote.fact(ws, TailnetNode, cli=list(CLI), settle_s=0, label=""))
    return {"instances": replies, "tailnet": {
        "name": node.name, "online": node.online,
        "ipv4": next((a for a in node.addresses if ":" not in a), ""), "ipv6": next((a for a in node.addresses if ":" in a), ""),
    }}  # fmt: skip


def data(
    ws: Workstation, state: Any, result: Result, seen: dict[str, Any], checks: Checks | None, seconds: dict[str, float]
) -> dict[str, Any]:
    """The object of ``--json``; null: only a throw-away machine has it. Seconds by phase, and by the apply's components."""
    tailnet = seen["tailnet"]
    published = ws.tailscale.enabled and ws.tailscale.serve and tailnet.get("name")
    url = f"{ws.tailscale.scheme}://{tailnet['name']}" if published else f"http://127.0.0.1:{ws.open_webui.port}"
    placed = ("bytes", "bytes_in_vram", "context")
    return {
        "host": {
            "name": ws.name, "ssh_config": remote.config_file(ws),
            "lan": dict(state.lan) if state else dict.fromkeys(("ipv4", "ipv6", "link_local")),
            "tailnet": {
                "name": tailnet.get("name", ""), "ipv4": tailnet.get("ipv4", ""), "ipv6": tailnet.get("ipv6", ""),
                "control_url": ws.tailscale.login_server,
            },
        },
        "instances": [
            {"name": role, "model": i.model, "url": f"http://127.0.0.1:{i.port}", "gpus": list(i.gpus)}
            for role, i in ws.instances.items()
        ],
        "open_webui": {"url": url, "admin_email": ws.open_webui.admin_email, "password_file": password_file()},
        # What its virtual machine runs with, "kvm" or "tcg" (software); "": it has this computer's kernel.
        "vm": state.vm if state else None,
        "namespaces": dict(state.namespaces) if state else dict.fromkeys(("neighbour", "phone", "laptop")),
        # As measured after loading: what is not in VRAM is in memory.
        "fit": {role: {k: found[k] for k in placed if k in found} for role, found in seen["instances"].items()},
        "changes": len(result.changed),
        "verify": checks.data() if checks else None,
        "seconds": {**seconds, **{f"apply: {name}": round(spent, 2) for name, spent in result.seconds.items()}},
        "built_here": built_here(lab=state is not None) if ws.depot else [],
    }  # fmt: skip


def password_file() -> str:
    """Where the first password lies on the machine."""
    from holdfast.components.open_webui.files import PASSWORD

    return PASSWORD


def built_here(lab: bool) -> list[dict[str, str]]:
    """What the local depot has that no vendor made; ``lab``: also what serves only a throw-away machine."""
    from holdfast import depot

    keys = ("name", "version", "sha256")
    made = [e for e in depot.recorded().values() if e.origin == "built here" and (lab or e.name not in LAB_ONLY)]
    return [{k: getattr(e, k) for k in keys} for e in made]


def lines(
    ws: Workstation, data: dict[str, Any], result: Result, seen: dict[str, Any], checks: Checks | None
) -> list[Any]:
    """The same for a person."""
    table = Columns("instance", "model", "port", "GPUs", "state", title=ws.name)
    for role, instance in ws.instances.items():
        found = seen["instances"][role]
        where = "CPU" if not found.get("bytes_in_vram") else "GPU"
        state = f"answers ({found['seconds']:.1f} s, {where})"
        table.line(role, instance.model, str(instance.port), ", ".join(instance.gpus) or "-", state)
    web, host = data["open_webui"], data["host"]
    out: list[Any] = [table]
    out.append(
        f"Open WebUI: {web['url']}  as {web['admin_email']}, password: {enter(ws, 'sudo cat ' + web['password_file'])}"
    )
    if host["tailnet"]["name"]:
        online = "online" if seen["tailnet"].get("online") else "offline"
        out.append(f"tailnet:    {host['tailnet']['name']}  {host['tailnet']['ipv4']}  ({online})")
    out.append(f"log in:     {ws.login}")
    if data["namespaces"]["phone"]:
        out.append(f"as a phone: ip netns exec {data['namespaces']['phone']} curl {web['url']}")
    if data["built_here"]:
        names = ", ".join(f"{e['name']} {e['version']}" for e in data["built_here"])
        cuda = any(e["name"] == "ollama" for e in data["built_here"])
        refused = " (ollama: no CUDA in it; refused on a machine with a GPU)" if cuda else ""
        out.append(f"built here, not the vendor's: {names}{refused}")
    out.append(
        "seconds:    " + ", ".join(f"{name} {spent:.1f}" for name, spent in data["seconds"].items() if spent >= 0.05)
    )
    out.append(f"changes:    {len(result.changed)} of {result.operations} operations")
    if checks is not None:
        out += checks.lines()
    return out


def enter(ws: Workstation, command: str) -> str:
    """How to run one command there."""
    return command if ws.local else f"{ws.login} {command}"
