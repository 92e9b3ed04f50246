"""System accounts: one a service, no login, no skeleton files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.remote import PythonFact


def read_account(user: str) -> Any:
    """Runs on the host: home, shell and groups of ``user``, or None; and which groups exist."""
    import grp
    import pwd

    groups = [g.gr_name for g in grp.getgrall()]
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return {"exists": False, "groups": [], "known": groups}
    member = [g.gr_name for g in grp.getgrall() if user in g.gr_mem]
    return {"exists": True, "home": entry.pw_dir, "shell": entry.pw_shell, "groups": member, "known": groups}


class Account(PythonFact):
    """One account; see read_account."""

    reader = staticmethod(read_account)


@operation()
def account(user: str, home: str, groups: Sequence[str] = ()) -> Iterator[StringCommand]:
    """A system account without a login shell. ``groups`` that the machine does not know are left out (video, render)."""
    found: dict[str, Any] = Account.read(host, user=user) or {"exists": False, "groups": [], "known": []}
    extra = [g for g in groups if g in found["known"] and g not in found["groups"]]
    name = shlex.quote(user)
    if not found["exists"]:
        # -M: useradd would copy /etc/skel into the service's state folder.
        member = f" -G {','.join(map(shlex.quote, extra))}" if extra else ""
        yield StringCommand(f"useradd --system -U -M -d {shlex.quote(home)} -s /usr/sbin/nologin{member} {name}")
        return
    todo = []
    if found["home"] != home or not found["shell"].endswith("nologin"):
        todo.append(f"usermod -d {shlex.quote(home)} -s /usr/sbin/nologin {name}")
    if extra:
        todo.append(f"usermod -a -G {','.join(map(shlex.quote, extra))} {name}")
    if not todo:
        host.noop(f"account {user} is as it should be")
        return
    yield StringCommand(" && ".join(todo))
