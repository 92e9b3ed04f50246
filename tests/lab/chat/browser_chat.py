"""A chat with each model as Open WebUI's own page has it: over the websocket, with an Origin, stored. Prints JSON.

    echo PASSWORD | python browser_chat.py --url http://ws.tail.test --email admin@… MODEL…

A plain API call would take another path in the server and hide faults that every browser meets (tools sent along, an
origin refused). One login for all models: the server counts logins.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
import uuid
from typing import Any

import aiohttp
import socketio
from aiohttp.abc import AbstractResolver, ResolveResult


class One(AbstractResolver):
    """Every name is at one address: where a namespace has no resolver of its own (curl's --resolve)."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            {
                "hostname": host,
                "host": self.address,
                "port": port,
                "family": family,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        pass


def new_chat(model: str, text: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The chat as the page makes it, the user's message in it, and the id of the answer that is to come."""
    asked, answered, now = str(uuid.uuid4()), str(uuid.uuid4()), int(time.time())
    question = {
        "id": asked, "parentId": None, "childrenIds": [answered], "role": "user", "content": text,
        "timestamp": now, "models": [model],
    }  # fmt: skip
    answer = {
        "id": answered, "parentId": asked, "childrenIds": [], "role": "assistant", "content": "",
        "model": model, "timestamp": now,
    }  # fmt: skip
    history = {"messages": {asked: question, answered: answer}, "currentId": answered}
    return {"chat": {"title": "New Chat", "models": [model], "history": history, "messages": []}}, question, answered


async def ask(
    session: aiohttp.ClientSession, url: str, sid: str, model: str, text: str, wait_s: float
) -> dict[str, Any]:
    """One message; what the server has stored as its answer."""
    chat, question, answered = new_chat(model, text)
    async with session.post(f"{url}/api/v1/chats/new", json=chat) as reply:
        chat_id = (await reply.json())["id"]
    body = {
        "model": model, "stream": True, "messages": [{"role": "user", "content": text}], "params": {}, "features": {},
        "session_id": sid, "chat_id": chat_id, "id": answered, "parent_id": question["id"], "user_message": question,
        "background_tasks": {"title_generation": True, "tags_generation": True, "follow_up_generation": True},
    }  # fmt: skip
    async with session.post(f"{url}/api/chat/completions", json=body) as reply:
        if reply.status != 200:
            return {"status": reply.status, "error": (await reply.text())[:500]}
    end = time.monotonic() + wait_s
    while True:
        async with session.get(f"{url}/api/v1/chats/{chat_id}") as reply:
            message = (await reply.json())["chat"]["history"]["messages"].get(answered, {})
        if message.get("done") or message.get("error") or time.monotonic() > end:
            return {"status": 200, **{key: message.get(key) for key in ("content", "done", "error")}}
        await asyncio.sleep(0.3)


async def talk(args: argparse.Namespace, password: str) -> dict[str, Any]:
    url, origin = args.url, args.origin or args.url
    connector = aiohttp.TCPConnector(resolver=One(args.address)) if args.address else aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=connector, headers={"Origin": origin}) as session:
        async with session.post(
            f"{url}/api/v1/auths/signin", json={"email": args.email, "password": password}
        ) as reply:
            if reply.status != 200:
                return {"signin": reply.status}
            cookies = {name: bool(morsel["secure"]) for name, morsel in reply.cookies.items()}
            token = (await reply.json())["token"]
        session.headers["Authorization"] = f"Bearer {token}"
        async with session.get(f"{url}/api/models") as reply:
            listed = [entry["id"] for entry in (await reply.json())["data"]]
        events: list[str] = []
        client = socketio.AsyncClient(http_session=session)
        client.on("events", lambda data: events.append(str((data.get("data") or {}).get("type"))))
        await client.connect(
            url,
            socketio_path="/ws/socket.io",
            transports=["websocket"],
            auth={"token": token},
            headers={"Origin": origin},
        )
        await client.call("user-join", {"auth": {"token": token}})
        answers = {}
        for model in args.models:
            events.clear()
            answers[model] = await ask(session, url, client.sid, model, args.text, args.wait)
            await asyncio.sleep(0.5)
            answers[model]["events"] = list(events)
        await client.disconnect()
    return {"signin": 200, "cookies": cookies, "listed": listed, "answers": answers}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="as a browser opens it")
    parser.add_argument("--origin", default="", help="another one than the url's")
    parser.add_argument("--address", default="", help="where the url's name is; default: ask the resolver")
    parser.add_argument("--email", required=True)
    parser.add_argument("--text", default="Who are you?")
    parser.add_argument("--wait", type=float, default=60, help="seconds for each answer")
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    print(json.dumps(asyncio.run(talk(args, sys.stdin.readline().strip()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
