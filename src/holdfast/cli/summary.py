"""What `up` tells at the end: the machine as it answers now, not as it was meant to be."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from holdfast.apply.result import Result
from holdfast.cli import remote
from holdfast.cli.verify import Checks
from holdfast.errors import HoldfastError
from holdfast.settings.workstation import Workstation

PASSWORD_FILE = "/etc/holdfast/open-webui/admin-password"
# A cold model of 40 GB from a slow disk: minutes.
PATIENCE_S = 900


def read_machine(instances: dict[str, list[Any]], web_port: int, patience_s: float) -> Any:
    """Runs on the machine: asks each model for one word, the page for its health, tailscaled who it is."""
    import json
    import subprocess
    import time
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url: str, body: Any = None, timeout: float = 10) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with opener.open(urllib.request.Request(url, data), timeout=timeout) as answer:
            return json.load(answer)

    out: dict[str, Any] = {"instances": {}, "web": "", "tailnet": {}}
    for role, (port, model, shares) in instances.items():
        start = time.monotonic()
        try:
            get(f"http://127.0.0.1:{port}/api/generate", {
                "model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 1},
            }, patience_s)  # fmt: skip
            loaded = [m for m in get(f"http://127.0.0.1:{port}/api/ps")["models"] if m["name"] == model]
            found = {"state": "answers", "seconds": round(time.monotonic() - start, 2)}
            if loaded:
                found["bytes"], found["bytes_in_vram"] = loaded[0].get("size", 0), loaded[0].get("size_vram", 0)
                found["context"] = loaded[0].get("context_length", 0)
            if shares:
                # The next one needs the same card, and this model would keep it for its keep_alive.
                get(f"http://127.0.0.1:{port}/api/generate", {"model": model, "keep_alive": 0}, patience_s)
        except (OSError, ValueError, KeyError) as error:
            found = {"state": "does not answer", "why": str(error)[:200]}
        out["instances"][role] = found
    try:
        get(f"http://127.0.0.1:{web_port}/health")
        out["web"] = "answers"
    except (OSError, ValueError) as error:
        out["web"] = f"does not answer: {error}"
    try:
        # One reading a person may make; what it holds beyond our own node is not wanted.
        asked = subprocess.run(["tailscale", "status", "--json"], capture_output=True, text=True, timeout=10)
        status = json.loads(asked.stdout)
        self = status.get("Self") or {}
        addresses = self.get("TailscaleIPs") or []
        out["tailnet"] = {
            "name": self.get("DNSName", "").rstrip("."), "online": bool(self.get("Online")),
            "ipv4": next((a for a in addresses if ":" not in a), ""), "ipv6": next((a for a in addresses if ":" in a), ""),
        }  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
    return out


def look(ws: Workstation) -> dict[str, Any]:
    """The machine as it answers; waits for models that are still being loaded. Raises when one does not answer."""
    instances = {
        role: [i.port, i.model, any(set(i.gpus) & set(o.gpus) for r, o in ws.instances.items() if r != role)]
        for role, i in ws.instances.items()
    }
    seen: dict[str, Any] = remote.ask(
        ws, read_machine, instances=instances, web_port=ws.open_webui.port, patience_s=PATIENCE_S,
        timeout=PATIENCE_S * len(instances) + 60,
    )  # fmt: skip
    for role, found in seen["instances"].items():
        if found["state"] != "answers":
            raise HoldfastError(
                f"the {role} on {ws.name} does not answer: {found['why']}",
                fix=f"on the machine: journalctl -u ollama@{role} -e", where=f"127.0.0.1:{ws.instances[role].port}",
            )  # fmt: skip
    if seen["web"] != "answers":
        raise HoldfastError(f"Open WebUI on {ws.name} {seen['web']}", fix="on the machine: journalctl -u open-webui -e")
    return seen


def data(
    ws: Workstation, state: Any, result: Result, seen: dict[str, Any], checks: Checks | None, seconds: dict[str, float]
) -> dict[str, Any]:
    """The object of ``--json``. Seconds by phase; those of the apply's components beside them."""
    tailnet = seen["tailnet"]
    published = ws.tailscale.enabled and ws.tailscale.serve and tailnet.get("name")
    url = f"{ws.tailscale.scheme}://{tailnet['name']}" if published else f"http://127.0.0.1:{ws.open_webui.port}"
    placed = ("bytes", "bytes_in_vram", "context")
    return {
        "host": {
            "name": ws.name, "ssh_config": ws.ssh.config_file or None, "lan": dict(state.lan) if state else {},
            "tailnet": {
                "name": tailnet.get("name", ""), "ipv4": tailnet.get("ipv4", ""), "ipv6": tailnet.get("ipv6", ""),
                "control_url": ws.tailscale.login_server,
            },
        },
        "instances": [
            {"name": role, "model": i.model, "url": f"http://127.0.0.1:{i.port}", "gpus": list(i.gpus)}
            for role, i in ws.instances.items()
        ],
        "open_webui": {"url": url, "admin_email": ws.open_webui.admin_email, "password_file": PASSWORD_FILE},
        "namespaces": dict(state.namespaces) if state else {},
        # As measured after loading: what is not in VRAM is in memory.
        "fit": {role: {k: found[k] for k in placed if k in found} for role, found in seen["instances"].items()},
        "changes": len(result.changed),
        "verify": checks.data() if checks else None,
        "seconds": {**seconds, **{f"apply: {name}": round(spent, 2) for name, spent in result.seconds.items()}},
        "built_here": built_here() if ws.depot else [],
    }  # fmt: skip


def built_here() -> list[dict[str, str]]:
    """What the local depot has that no vendor made."""
    from holdfast import depot

    keys = ("name", "version", "sha256")
    return [{k: getattr(e, k) for k in keys} for e in depot.recorded().values() if e.origin == "built here"]


def lines(
    ws: Workstation, data: dict[str, Any], result: Result, seen: dict[str, Any], checks: Checks | None
) -> list[Any]:
    """The same for a person."""
    table = Table("instance", "model", "port", "GPUs", "state", title=ws.name, title_justify="left")
    for role, instance in ws.instances.items():
        found = seen["instances"][role]
        where = "CPU" if not found.get("bytes_in_vram") else "GPU"
        state = f"answers ({found['seconds']:.1f} s, {where})"
        table.add_row(role, instance.model, str(instance.port), ", ".join(instance.gpus) or "-", state)
    web, host = data["open_webui"], data["host"]
    out: list[Any] = [table]
    out.append(f"Open WebUI: {web['url']}  as {web['admin_email']}, password: {enter(ws, f'sudo cat {PASSWORD_FILE}')}")
    if host["tailnet"]["name"]:
        online = "online" if seen["tailnet"].get("online") else "offline"
        out.append(f"tailnet:    {host['tailnet']['name']}  {host['tailnet']['ipv4']}  ({online})")
    out.append(f"log in:     {remote.ssh_hint(ws)}")
    if data["namespaces"]:
        out.append(f"as a phone: ip netns exec {data['namespaces'].get('phone', 'phone')} curl {web['url']}")
    if data["built_here"]:
        names = ", ".join(f"{e['name']} {e['version']}" for e in data["built_here"])
        out.append(f"built here, not the vendor's: {names} (no CUDA in it; refused on a machine with a GPU)")
    out.append("seconds:    " + ", ".join(f"{name} {spent:.1f}" for name, spent in data["seconds"].items() if spent >= 0.05))
    out.append(f"changes:    {len(result.changed)} of {result.operations} operations")
    if checks is not None:
        out += checks.lines()
    return out


def enter(ws: Workstation, command: str) -> str:
    """How to run one command there."""
    return command if ws.local else f"{remote.ssh_hint(ws)} {command}"
