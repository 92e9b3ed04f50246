"""Open WebUI: up, on loopback, closed to strangers, with both models, and with nothing in it that acts by itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.verify.locks import LOCKS, locked
from tests.verify.machine import Listeners, Machine, Shape, assert_confined

UNIT = "open-webui.service"
ETC = "/etc/holdfast/open-webui"
STATE = "/var/lib/open-webui"


def test_unit_is_active_and_enabled(units: dict[str, Any]) -> None:
    found = units[UNIT]
    assert (found["ActiveState"], found["SubState"], found["UnitFileState"]) == ("active", "running", "enabled")


def test_it_is_ready(page: dict[str, Any]) -> None:
    assert page["ready"]["status"] == 200, page["ready"]
    assert page["page"]["status"] == 200, page["page"]["problem"]


def test_version_is_as_pinned(page: dict[str, Any]) -> None:
    assert page["config"]["json"].get("version") == locked("open-webui", "open-webui"), page["config"]["problem"]


def test_program_is_the_locked_one(machine: Machine) -> None:
    """What runs comes from the current environment, made from this lock; its files are those of the locked wheel."""
    program = (
        "import base64,csv,glob,hashlib,json,os;"
        "top=os.path.realpath('/opt/open-webui/current');"
        "folder=glob.glob(top+'/lib/python3.*/site-packages')[0];"
        "rows=list(csv.reader(open(glob.glob(folder+'/open_webui-*.dist-info/RECORD')[0])));"
        "names=[(r[0],r[1][7:]) for r in rows if r[1].startswith('sha256=') and r[0].endswith(('.py','.js','.html'))];"
        "digest=lambda p:base64.urlsafe_b64encode(hashlib.sha256(open(p,'rb').read()).digest()).decode().rstrip('=');"
        "bad=[n for n,h in names if not os.path.exists(folder+'/'+n) or digest(folder+'/'+n)!=h];"
        "lock=hashlib.sha256(open(top+'/requirements.txt','rb').read()).hexdigest();"
        "print(json.dumps({'files':len(names),'bad':bad,'lock':lock,'top':top}))"
    )
    found = json.loads(machine.sh("/usr/bin/python3 -I -c %s", program).stdout)
    assert found["files"] > 500, f"the reader of the wheel's record is blind: {found}"
    assert found["lock"] == hashlib.sha256((LOCKS / "python" / "open-webui.txt").read_bytes()).hexdigest(), found["top"]
    assert not found["bad"], f"changed since they were installed: {found['bad'][:10]}"
    running = machine.sh("tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value open-webui.service)/cmdline").stdout
    assert running.startswith(found["top"] + "/bin/python"), f"another program runs: {running}"


@pytest.mark.promise("Open WebUI itself listens on this machine only; the tailnet comes in through `tailscale serve`")
def test_listens_on_loopback_only(listeners: Listeners, shape: Shape) -> None:
    assert listeners.of(UNIT) == {f"127.0.0.1:{shape.web_port}"}
    assert not listeners.of(UNIT, "udp")


def test_runs_without_privileges(units: dict[str, Any]) -> None:
    assert units[UNIT]["processes"], "it has no process"
    for process in units[UNIT]["processes"]:
        found = {k: process[k] for k in ("user", "capabilities", "no_new_privileges", "filtered")}
        assert found == {"user": "open-webui", "capabilities": 0, "no_new_privileges": True, "filtered": True}


def test_secrets_are_roots_alone(files: Callable[..., dict[str, Any]]) -> None:
    found = files(f"{ETC}/secret.env", f"{ETC}/admin-password", f"{ETC}/bootstrap.env", ETC, STATE)
    for name in ("secret.env", "admin-password"):
        entry = found[f"{ETC}/{name}"] or {}
        assert (entry.get("mode"), entry.get("user"), entry.get("group")) == ("0600", "root", "root"), f"{name}: {entry}"
        assert entry["size"] > 8, f"{name} is empty"
    # The positive control of the next line: the same look finds what is there.
    assert found[ETC]
    assert found[f"{ETC}/bootstrap.env"] is None, "the file that made the first administrator is still there"


@pytest.mark.promise("Your chats are readable by their server and by root only")
def test_chats_are_private(files: Callable[..., dict[str, Any]]) -> None:
    found = files(STATE, f"{STATE}/data/webui.db")
    folder, database = found[STATE] or {}, found[f"{STATE}/data/webui.db"] or {}
    assert (folder.get("mode"), folder.get("user")) == ("0700", "open-webui"), folder
    assert (database.get("mode"), database.get("user")) == ("0600", "open-webui"), database


@pytest.mark.promise("Nobody can make an account for themselves")
def test_sign_up_is_closed(page: dict[str, Any]) -> None:
    # The positive control: the same machinery answers a login, so a refusal is one of sign-up itself.
    assert page["administrator"]["login"]["status"] == 200, page["administrator"]["login"]
    assert page["signup"]["status"] == 403, page["signup"]
    assert page["config"]["json"]["features"]["enable_signup"] is False


def test_administrator_can_log_in_and_others_cannot(page: dict[str, Any]) -> None:
    login = page["administrator"]["login"]
    assert login["status"] == 200, f"{login}: was the password changed in the browser? Then write it into {ETC}/admin-password"
    assert page["administrator"]["role"] == "admin"
    assert page["unknown_login"]["status"] == 400, page["unknown_login"]
    assert page["models_without_login"]["status"] == 401, page["models_without_login"]


def test_every_model_is_listed_and_no_other(page: dict[str, Any], shape: Shape) -> None:
    assert page["administrator"]["models"] == sorted({i.model for i in shape.instances.values()}), page["administrator"]


def test_own_pages_get_answers_and_foreign_ones_do_not(page: dict[str, Any]) -> None:
    assert page["websocket_own"] == 101, f"the page's own websocket is refused: {page['websocket_own']}"
    assert page["websocket_foreign"] == 403, f"another page may open a websocket: {page['websocket_foreign']}"


def test_it_answers_under_its_tailnet_address(units: dict[str, Any], node: dict[str, Any], shape: Shape) -> None:
    """A page opened under an address that is not among these logs in and then never answers."""
    if not shape.publishes:
        pytest.skip("the settings publish nothing (tailscale.serve: false)")
    origins = units[UNIT]["environment"]["CORS_ALLOW_ORIGIN"].split(";")
    assert f"http://127.0.0.1:{shape.web_port}" in origins
    for port, entry in node["serve"]["TCP"].items():
        scheme = "https" if entry.get("HTTPS") else "http"
        shown = "" if int(port) == {"http": 80, "https": 443}[scheme] else f":{port}"
        assert f"{scheme}://{node['name']}{shown}" in origins, f"{origins} lacks the published address"
    assert "*" not in origins


@pytest.mark.promise("Nothing in the browser acts by itself: no agents, tools, plugins, web search or hidden requests")
def test_nothing_acts_by_itself(units: dict[str, Any]) -> None:
    running = units[UNIT]["environment"]
    off = (
        "ENABLE_PERSISTENT_CONFIG", "ENABLE_SIGNUP", "ENABLE_API_KEYS", "ENABLE_OAUTH", "ENABLE_OPENAI_API",
        "ENABLE_DIRECT_CONNECTIONS", "ENABLE_WEB_SEARCH", "ENABLE_RAG_LOCAL_WEB_FETCH", "ENABLE_TITLE_GENERATION",
        "ENABLE_TAGS_GENERATION", "ENABLE_FOLLOW_UP_GENERATION", "ENABLE_AUTOCOMPLETE_GENERATION",
        "ENABLE_SEARCH_QUERY_GENERATION", "ENABLE_RETRIEVAL_QUERY_GENERATION", "ENABLE_AUTOMATIONS", "ENABLE_SUBAGENTS",
        "ENABLE_MEMORIES", "ENABLE_PLUGINS", "ENABLE_CODE_EXECUTION", "ENABLE_CODE_INTERPRETER", "ENABLE_USER_WEBHOOKS",
        "ENABLE_IMAGE_GENERATION", "ENABLE_COMMUNITY_SHARING", "ENABLE_VERSION_UPDATE_CHECK", "ANONYMIZED_TELEMETRY",
        "ENABLE_PIP_INSTALL_FRONTMATTER_REQUIREMENTS", "ENABLE_ADMIN_CHAT_ACCESS", "ENABLE_ADMIN_EXPORT",
    )  # fmt: skip
    wrong = {key: running.get(key) for key in off if running.get(key) != "false"}
    assert not wrong, f"not off: {wrong}"
    on = {"WEBUI_AUTH": "true", "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1", "DEFAULT_USER_ROLE": "pending", "ENV": "prod"}
    assert {key: running.get(key) for key in on} == on
    assert running.get("WEBUI_SECRET_KEY") == "(set)"
    assert not [key for key in running if key.lower().endswith("_proxy") or "BOOTSTRAP" in key], sorted(running)


def test_servers_are_the_declared_ones(units: dict[str, Any], shape: Shape) -> None:
    urls = units[UNIT]["environment"]["OLLAMA_BASE_URLS"].split(";")
    assert urls == [f"http://127.0.0.1:{i.port}" for i in shape.instances.values()]


@pytest.mark.promise("Open WebUI has no internet, and no way to this machine's network")
def test_it_has_no_internet(confined: dict[str, Any]) -> None:
    assert_confined(confined, [UNIT])


@pytest.mark.promise("What a model writes cannot make your browser send anything elsewhere")
def test_pages_may_load_from_here_only(page: dict[str, Any]) -> None:
    policy = page["page"]["headers"].get("content-security-policy", "")
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";") if " " in part.strip())
    assert rules.get("default-src") == "'self'", f"the page's policy: {policy!r}"
    schemes = {"http:", "https:", "ws:", "wss:"}
    foreign = {k: v for k, v in rules.items() if schemes & set(v.split()) or "*" in v or "//" in v}
    assert not foreign, f"the page may load from elsewhere: {foreign}"
    assert page["page"]["headers"].get("referrer-policy") == "no-referrer"
