"""How a websocket server answers a page of a given origin. Prints the HTTP status: 101 means it may talk.

python handshake.py http://ws.tail.test http://evil.example [ADDRESS]
"""

from __future__ import annotations

import base64
import http.client
import os
import sys
from urllib.parse import urlsplit


def handshake(url: str, origin: str, address: str = "") -> int:
    """Status of the upgrade request that a browser sends to Open WebUI's socket at ``url`` from a page of ``origin``.

    ``address``: where the url's name is; empty: ask the resolver.
    """
    site = urlsplit(url)
    kind = http.client.HTTPSConnection if site.scheme == "https" else http.client.HTTPConnection
    connection = kind(address or site.hostname or "", site.port, timeout=20)
    headers = {
        "Host": site.netloc,
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Origin": origin,
    }  # fmt: skip
    connection.request("GET", "/ws/socket.io/?EIO=4&transport=websocket", headers=headers)
    return connection.getresponse().status


if __name__ == "__main__":
    print(handshake(*sys.argv[1:4]))
