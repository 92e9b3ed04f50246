"""Open WebUI: stopped, another program, open to strangers, privileged, busy by itself."""

from __future__ import annotations

from tests.lab.sabotage.kind import Sabotage

_ENV = "/etc/holdfast/open-webui/open-webui.env"
_UNIT = "/etc/systemd/system/open-webui.service"
_RESTART = ("open-webui",)


def _variable(name: str, value: str) -> str:
    return f"sed -i 's|^{name}=.*|{name}={value}|' {_ENV}; grep -qxF '{name}={value}' {_ENV}"


SABOTAGES = [
    Sabotage(
        "it is stopped and disabled", 1,
        "systemctl --quiet disable --now open-webui",
        {
            "test_open_webui.py::test_unit_is_active_and_enabled": "inactive",
            "test_open_webui.py::test_it_is_ready": "Connection refused",
        },
    ),
    Sabotage(
        "another build of it runs", 3,
        """
        cd /opt/open-webui; new=000000000000-py3.11; rm -rf $new; cp -al "$(readlink current)" $new
        d=$(echo $new/lib/python3.*/site-packages)
        for f in $new/bin/open-webui "$d/open_webui/main.py" "$d"/open_webui-*.dist-info/METADATA; do
            cp -p "$f" "$f.new"; mv "$f.new" "$f"
        done
        sed -i "1s|/opt/open-webui/[^/]*/|$PWD/$new/|" $new/bin/open-webui
        echo '# changed' >> "$d/open_webui/main.py"
        sed -i '0,/^Version: /s/^Version: .*/Version: 0.0.1/' "$d"/open_webui-*.dist-info/METADATA
        ln -sfn $new current
        """,
        {
            "test_open_webui.py::test_version_is_as_pinned": "0.0.1",
            "test_open_webui.py::test_program_is_the_locked_one": "open_webui/main.py",
        },
        _RESTART,
    ),
    Sabotage(
        "it listens on every address", 3,
        f"sed -i 's/ --host 127.0.0.1 / --host 0.0.0.0 /' {_UNIT}; grep -q 'host 0.0.0.0' {_UNIT}",
        {"test_open_webui.py::test_listens_on_loopback_only": "0.0.0.0:8080"},
        _RESTART,
    ),
    Sabotage(
        "it runs as root", 3,
        f"sed -i -e 's/^User=.*/User=root/' -e '/^NoNewPrivileges=/d' {_UNIT}",
        {
            "test_open_webui.py::test_runs_without_privileges": "'user': 'root'",
            "test_open_webui.py::test_chats_are_private": "'user': 'root'",
        },
        _RESTART,
    ),
    Sabotage(
        "it may go anywhere", 3,
        f"sed -i -e '/^IPAddressDeny=/d' -e '/^IPAddressAllow=/d' {_UNIT}",
        {"test_open_webui.py::test_it_has_no_internet": "a program inside open-webui.service reaches"},
        _RESTART,
    ),
    Sabotage(
        "anybody may sign up", 3,
        _variable("ENABLE_SIGNUP", "true"),
        {"test_open_webui.py::test_sign_up_is_closed": "'status': 400"},
        _RESTART,
    ),
    Sabotage(
        "it searches the web by itself", 3,
        _variable("ENABLE_WEB_SEARCH", "true"),
        {"test_open_webui.py::test_nothing_acts_by_itself": "ENABLE_WEB_SEARCH"},
        _RESTART,
    ),
    Sabotage(
        "it asks another server", 3,
        _variable("OLLAMA_BASE_URLS", "http://127.0.0.1:11434"),
        {
            "test_open_webui.py::test_servers_are_the_declared_ones": "11435",
            "test_open_webui.py::test_every_model_is_listed_and_no_other": "deepseek-r1:70b",
        },
        _RESTART,
    ),
    Sabotage(
        "any page may use it, and none of its own is known", 3,
        f"sed -i -e '/origin.env$/d' -e '/origin.py/d' {_UNIT}; " + _variable("CORS_ALLOW_ORIGIN", "*"),
        {
            "test_open_webui.py::test_own_pages_get_answers_and_foreign_ones_do_not": "another page may open a websocket",
            "test_open_webui.py::test_it_answers_under_its_tailnet_address": "['*']",
        },
        _RESTART,
    ),
    Sabotage(
        "its pages may load from anywhere", 3,
        f"sed -i '/^CONTENT_SECURITY_POLICY=/d' {_ENV}",
        {"test_open_webui.py::test_pages_may_load_from_here_only": "the page's policy"},
        _RESTART,
    ),
    Sabotage(
        "nobody can log in", 2,
        f"echo ENABLE_PASSWORD_AUTH=false >> {_ENV}",
        {"test_open_webui.py::test_administrator_can_log_in_and_others_cannot": "403"},
        _RESTART,
    ),
]  # fmt: skip
