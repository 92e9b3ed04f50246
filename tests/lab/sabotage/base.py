"""The base: a package, a program, a mode, uv, an authority."""

from __future__ import annotations

from tests.lab.sabotage.kind import Sabotage

SABOTAGES = [
    Sabotage(
        "a base package is removed", 1,
        "dpkg --remove --force-depends zstd >/dev/null 2>&1",
        {"test_base.py::test_packages_are_installed": "zstd"},
    ),
    Sabotage(
        "a program on the machine is edited", 1,
        "echo '# changed' >> /usr/local/lib/holdfast/holdfast_onhost/fetch_disk.py",
        {"test_base.py::test_programs_on_the_machine_are_those_of_this_checkout": "fetch_disk.py"},
    ),
    Sabotage(
        "anybody may write a server's settings", 1,
        "chmod 0666 /etc/holdfast/open-webui/open-webui.env",
        {"test_base.py::test_nobody_but_root_can_change_what_we_installed": "open-webui.env"},
    ),
    Sabotage(
        "uv is gone", 1,
        "rm /opt/holdfast/uv",
        {"test_base.py::test_uv_is_as_pinned": "not found"},
    ),
    Sabotage(
        "a declared authority is no longer trusted", 1,
        "rm /usr/local/share/ca-certificates/holdfast-*.crt; update-ca-certificates >/dev/null 2>&1",
        {"test_base.py::test_declared_authorities_are_trusted": "is not trusted on the machine"},
    ),
    Sabotage(
        "an authority that nobody declares is left over", 2,
        'cp "$(ls /usr/share/ca-certificates/mozilla/*.crt | head -n 1)" '
        "/usr/local/share/ca-certificates/holdfast-old-01234567.crt; "
        "update-ca-certificates >/dev/null 2>&1",
        {"test_base.py::test_no_other_authority_of_ours_is_left": "ca-certificates/holdfast-old-01234567.crt"},
    ),
    Sabotage(
        "anybody may read the administrator's password", 1,
        "chmod 0644 /etc/holdfast/open-webui/admin-password",
        {
            "test_base.py::test_secrets_are_nowhere_to_be_read": "admin-password",
            "test_open_webui.py::test_secrets_are_roots_alone": "0644",
        },
    ),
]  # fmt: skip
