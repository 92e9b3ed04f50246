"""Runs on the machine: Open WebUI as a stranger and as its administrator meet it. No secret leaves the machine."""

import base64
import http.client
import json
import os
import sys

PASSWORD = "/etc/holdfast/open-webui/admin-password"
given = json.loads(sys.argv[1])
PORT = given["port"]


def ask(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        # 101 has no end: after it the connection is the websocket's.
        text = "" if answer.status == 101 else answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "problem": str(error) or type(error).__name__, "json": {}, "headers": {}}
    finally:
        connection.close()
    try:
        found = json.loads(text)
    except ValueError:
        found = {}
    return {
        "status": answer.status, "problem": "" if answer.status in (101, 200) else text[:300], "json": found,
        "headers": {k.lower(): v for k, v in answer.getheaders() if k.lower() != "set-cookie"},
    }


def websocket(origin):
    """The handshake a browser makes for the page of ``origin``."""
    return ask(
        "GET", "/ws/socket.io/?EIO=4&transport=websocket", Origin=origin, Upgrade="websocket", Connection="Upgrade",
        **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()},
    )["status"]


def administrator():
    try:
        with open(PASSWORD) as f:
            password = f.read().strip()
    except OSError as error:
        return {"login": {"status": 0, "problem": f"{PASSWORD}: {error.strerror}"}, "models": [], "role": ""}
    login = ask("POST", "/api/v1/auths/signin", {"email": given["email"], "password": password})
    token = login["json"].get("token", "")
    models = ask("GET", "/api/models", Authorization="Bearer " + token)["json"].get("data") or []
    if token:
        ask("POST", "/api/v1/auths/signout", Authorization="Bearer " + token)
    return {
        "login": {"status": login["status"], "problem": login["problem"]},
        "role": login["json"].get("role", ""),
        "models": sorted(m["id"] for m in models),
    }


# An address that is none: an open sign-up refuses it with 400, before an account is made, a closed one with 403.
stranger = {"email": "no-address", "password": "x" * 12, "name": "Verify"}
print(json.dumps({
    "ready": ask("GET", "/ready"),
    "page": ask("GET", "/"),
    "config": ask("GET", "/api/config"),
    "signup": ask("POST", "/api/v1/auths/signup", stranger),
    "unknown_login": ask("POST", "/api/v1/auths/signin", {"email": "nobody@verify.invalid", "password": "wrong"}),
    "models_without_login": ask("GET", "/api/models"),
    "administrator": administrator(),
    "websocket_own": websocket(f"http://127.0.0.1:{PORT}"),
    "websocket_foreign": websocket("http://evil.example"),
}))
