"""Holds hostile connections to a server on the loopback, and asks it as a client does meanwhile.

    flood.py PORT CONNECTIONS SECONDS

Prints how long others waited, and fails if one of them was not answered. What is posted is the status that was there."""

import http.client
import socket
import sys
import time

port, connections, seconds = (int(argument) for argument in sys.argv[1:])
HEAD = b"POST /api/status HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
KINDS = {
    "silent": b"",
    "half a head": b"GET /status.json HTTP/1.1\r\nHos",
    "half a body": HEAD + b"{" + b" " * 30000,
    "reads nothing": b"GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n" * 8,
}


def hostile(request):
    it = socket.socket()
    # What is not read is to wait on the server's side.
    it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    it.connect(("127.0.0.1", port))
    try:
        it.sendall(request)
    except OSError:
        pass  # It had to go already.
    return it


def ask(method, path, body=None):
    begun = time.monotonic()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    response = client.getresponse()
    content = response.read()
    assert response.status == 200, (method, path, response.status, content)
    waits.append((time.monotonic() - begun) * 1000)
    return content


waits = []
status = ask("GET", "/status.json")
requests = list(KINDS.values())
crowd = [hostile(requests[index % len(requests)]) for index in range(connections)]
waits.clear()
end = time.monotonic() + seconds
while time.monotonic() < end:
    for step in (lambda: ask("GET", "/health"), lambda: ask("POST", "/api/status", status), lambda: ask("GET", "/ready")):
        step()
    assert ask("GET", "/status.json") == status
    # Those that had to go come again.
    index = len(waits) % connections
    crowd[index].close()
    crowd[index] = hostile(requests[index % len(requests)])
waits.sort()
print(
    f"{connections} hostile connections: {len(waits)} requests of others answered, in the median {waits[len(waits) // 2]:.1f} ms,"
    f" p99 {waits[len(waits) * 99 // 100]:.1f} ms"
)
