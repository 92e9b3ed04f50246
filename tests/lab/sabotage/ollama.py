"""The servers: stopped, another program, open to the network, privileged, wired to the cloud."""

from __future__ import annotations

from tests.lab.sabotage.kind import Sabotage

_ENV = "/etc/holdfast/ollama"
_UNIT = "/etc/systemd/system/ollama@.service"

SABOTAGES = [
    Sabotage(
        "a server is stopped and disabled", 1,
        "systemctl --quiet disable --now ollama@reasoner",
        {"test_ollama.py::test_units_are_active_and_enabled": "inactive"},
    ),
    Sabotage(
        "another build of the server runs", 3,
        # The same program with another version in it, as a downgrade by hand would leave it.
        """
        cd /opt/ollama; v=$(readlink current); rm -rf 0.0.1; cp -al "$v" 0.0.1
        python3 - "${v%-*}" <<'END'
import os, sys
v = sys.argv[1].encode()
data = open("0.0.1/bin/ollama", "rb").read()
os.unlink("0.0.1/bin/ollama")
with open("0.0.1/bin/ollama", "wb") as f:
    f.write(data.replace(v, v[:-1] + b"0"))
os.chmod("0.0.1/bin/ollama", 0o755)
os.unlink("0.0.1/serve/bin/ollama")
os.link("0.0.1/bin/ollama", "0.0.1/serve/bin/ollama")
END
        ln -sfn 0.0.1 current
        """,
        {
            "test_ollama.py::test_version_is_as_pinned": "'coder': '0.32.10'",
            "test_ollama.py::test_running_binary_is_the_depots": "runs /opt/ollama/0.0.1/serve/bin/ollama",
            "test_ollama.py::test_vendors_files_are_the_depots": "not as in the depot: ['bin/ollama'",
        },
        ("ollama@coder", "ollama@reasoner"),
    ),
    Sabotage(
        "the vendor's llama-server stands where the supervisor was", 1,
        "ln -sfn ../../../lib/ollama/llama-server /opt/ollama/current/serve/lib/ollama/llama-server",
        {"test_ollama.py::test_supervisor_stands_where_ollama_starts_its_server": "'kind': 'link'"},
    ),
    Sabotage(
        "everybody may open a lease", 1,
        "chmod 666 /run/holdfast/lease/left.lease",
        {"test_ollama.py::test_leases_are_the_instances_own": "left.lease: ('file', '0666'"},
    ),
    Sabotage(
        "holdfast-gpu is gone", 1,
        "rm /usr/local/bin/holdfast-gpu",
        {"test_ollama.py::test_person_can_ask_who_holds_what": "holdfast-gpu"},
    ),
    Sabotage(
        "a server waits for nobody", 3,
        f"sed -i 's/^HOLDFAST_LEASE=.*/HOLDFAST_LEASE=/' {_ENV}/coder.env",
        {"test_ollama.py::test_whoever_answers_holds_its_leases": "coder has {"},
        ("ollama@coder",),
    ),
    Sabotage(
        "a server listens on every address", 3,
        f"sed -i 's/^OLLAMA_HOST=127.0.0.1/OLLAMA_HOST=0.0.0.0/' {_ENV}/coder.env",
        {
            "test_ollama.py::test_listens_on_loopback_only": ":::11434",
            "test_tailscale.py::test_listens_on_the_tailnet_only": "open on every address",
        },
        ("ollama@coder",),
    ),
    Sabotage(
        "another context than declared", 3,
        f"sed -i 's/^OLLAMA_CONTEXT_LENGTH=.*/OLLAMA_CONTEXT_LENGTH=4096/' {_ENV}/reasoner.env",
        {"test_ollama.py::test_context_is_as_declared": "reasoner holds {'deepseek-r1:70b': 4096}"},
        ("ollama@reasoner",),
    ),
    Sabotage(
        "the cloud is switched on", 3,
        f"sed -i 's/^OLLAMA_NO_CLOUD=1/OLLAMA_NO_CLOUD=0/' {_ENV}/reasoner.env",
        {"test_ollama.py::test_cloud_is_off": "False"},
        ("ollama@reasoner",),
    ),
    Sabotage(
        "every page may talk to a model", 3,
        f"echo 'OLLAMA_ORIGINS=*' >> {_ENV}/reasoner.env",
        {
            "test_ollama.py::test_foreign_pages_are_refused": "takes a request",
            "test_ollama.py::test_nothing_in_the_environment_leads_out": "OLLAMA_ORIGINS",
        },
        ("ollama@reasoner",),
    ),
    Sabotage(
        "the servers run as root", 3,
        f"sed -i -e 's/^User=.*/User=root/' -e '/^NoNewPrivileges=/d' {_UNIT}",
        {"test_ollama.py::test_runs_without_privileges": "'user': 'root'"},
        ("ollama@coder", "ollama@reasoner"),
    ),
    Sabotage(
        "the servers may go anywhere", 3,
        f"sed -i -e '/^IPAddressDeny=/d' -e '/^IPAddressAllow=/d' {_UNIT}",
        {"test_ollama.py::test_models_have_no_internet": "a program inside ollama@coder.service reaches"},
        ("ollama@coder", "ollama@reasoner"),
    ),
]  # fmt: skip
