"""The tailnet: stopped, another package, a shell for everybody, more published than agreed, open to the internet."""

from __future__ import annotations

from tests.lab.sabotage.kind import Sabotage

# The command line refuses a funnel where the tailnet has none; tailscaled itself takes what its own socket is given.
_FUNNEL = r"""
python3 - <<'END'
import http.client, json, socket, subprocess
class Socket(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/tailscale/tailscaled.sock")
def ask(method, body=None, **headers):
    c = Socket("local-tailscaled.sock")
    c.request(method, "/localapi/v0/serve-config", body, headers)
    a = c.getresponse()
    return a.status, a.getheader("Etag", ""), a.read().decode()
name = json.loads(subprocess.run(["tailscale", "status", "--json"], capture_output=True).stdout)["Self"]["DNSName"].rstrip(".")
status, etag, text = ask("GET")
config = json.loads(text)
config["AllowFunnel"] = {name + ":" + port: True for port in config["TCP"]}
status, _, text = ask("POST", json.dumps(config), **{"If-Match": etag})
assert status == 200, text
END
"""

SABOTAGES = [
    Sabotage(
        "the daemon is stopped and disabled", 1,
        "systemctl --quiet disable --now tailscaled",
        {
            "test_tailscale.py::test_unit_is_active_and_enabled": "inactive",
            "test_tailscale.py::test_node_is_online": "tailscaled",
            "test_tailscale.py::test_published_address_answers": "nothing is published",
        },
    ),
    Sabotage(
        "another version of the package", 2,
        """
        sed -i '/^Package: tailscale$/,/^$/s/^Version: .*/Version: 0.0.1/' /var/lib/dpkg/status
        cp /usr/sbin/tailscaled /usr/sbin/tailscaled.new; echo >> /usr/sbin/tailscaled.new
        mv /usr/sbin/tailscaled.new /usr/sbin/tailscaled
        """,
        {
            "test_tailscale.py::test_version_is_as_pinned": "installed 0.0.1",
            "test_tailscale.py::test_running_binary_is_the_depots": "/usr/sbin/tailscaled",
        },
        ("tailscaled",),
    ),
    Sabotage(
        "it sends its logs away", 3,
        "sed -i 's/SUPPORT=true/SUPPORT=false/' /etc/systemd/system/tailscaled.service.d/holdfast.conf",
        {"test_tailscale.py::test_environment_is_as_promised": "'false'"},
        ("tailscaled",),
    ),
    Sabotage(
        "it gives the tailnet a shell", 3,
        "tailscale set --ssh --accept-risk=all",
        {"test_tailscale.py::test_node_is_no_router_and_no_ssh_server": "RunSSH"},
    ),
    Sabotage(
        "a model is published, too", 2,
        "tailscale serve --bg --http 8081 http://127.0.0.1:11434 >/dev/null",
        {"test_tailscale.py::test_only_open_webui_is_published": ":8081"},
    ),
    Sabotage(
        "it is open to the internet", 3,
        _FUNNEL,
        {"test_tailscale.py::test_funnel_is_off": ":80"},
    ),
]  # fmt: skip
