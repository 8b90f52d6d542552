"""What benches/container measures; it sets up podman and builds the image before."""

import contextlib
import ctypes
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BINARY = Path(sys.argv[1])
QUICK = "--quick" in sys.argv[2:]
STARTS = 3 if QUICK else 9
SECONDS = 10 if QUICK else 60
IMAGE = "localhost/gitops-status-server"
PORT = int(os.environ.get("CONTAINER_PORT", 18241))
# A hundredth of a core, which Kubernetes calls 10m: it is given as a millisecond of each tenth of a second.
TINY_LIMIT = ("--cpu-period", "100000", "--cpu-quota", "1000")
PATIENCE = 60
MOST_MS_TO_START = 20
LOAD_CONNECTIONS = 32

# For podman and what it starts, as .ci/podman has it: huge pages for runc are counted as the container's.
PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)

failures = []


def row(what, measured, bound="", holds=True):
    print(f"| {what} | {measured} | {bound} |", flush=True)
    if not holds:
        failures.append(f"{what}: {measured}, and the bound is {bound}")


def ms(seconds):
    value = seconds * 1000
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


class Refused(Exception):
    """An answer that is no 200, or none."""


class Client:
    """A connection of its own."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

    def ask(self, request):
        self.socket.sendall(request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0 or len(received) < end + 4 + self.length(received):
            if not (piece := self.socket.recv(65536)):
                raise Refused(f"the connection ended after {received!r}")
            received += piece
        if not received.startswith(b"HTTP/1.1 200 "):
            raise Refused(received.decode(errors="replace"))

    @staticmethod
    def length(head):
        return int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


HEAD = "Host: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
GET = f"GET /status.json HTTP/1.1\r\n{HEAD}\r\n".encode()
PROBE = (
    "GET /health HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: kube-probe/1.37\r\nConnection: close\r\n\r\n".encode()
)
STATUS = json.dumps({"sync_status": "SYNCED", "more": "x" * 985}).encode()
POST = f"POST /api/status HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\n".encode()
POST += f"Content-Length: {len(STATUS)}\r\n\r\n".encode() + STATUS


def podman(*arguments):
    done = subprocess.run(["podman", "--log-level", "fatal", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"podman {' '.join(arguments)} fails:\n{done.stderr}")
    return done.stdout.strip()


def container(name, port, *options):
    """The options of one that is run as .ci/image does it, with the network of this machine."""
    return (
        *("--name", name, "--network", "host", "--no-healthcheck"),
        *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory", "8m", "--memory-swap", "8m"),
        *("--env", f"STATUS_LISTEN=127.0.0.1:{port}", *options, IMAGE),
    )


def until_answered(port, begun):
    """Seconds from then to the first 200."""
    while time.monotonic() < begun + PATIENCE:
        with contextlib.suppress(ConnectionError), Client(port) as client:
            client.ask(GET)
            return time.monotonic() - begun
        time.sleep(0.0002)
    sys.exit(f"nobody answers on port {port}")


def started_by(command, port):
    """Seconds until what a command starts answers, and the process of the command."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    return until_answered(port, begun), process


def by_podman(*arguments):
    seconds, process = started_by(["podman", "--log-level", "fatal", *arguments], PORT)
    if process.wait() != 0:
        sys.exit(f"podman {arguments[0]} fails")
    return seconds


@contextlib.contextmanager
def running(name, port, *options):
    """A container that answers; gives its process."""
    begun = time.monotonic()
    podman("run", "--detach", *container(name, port, *options))
    until_answered(port, begun)
    try:
        yield int(podman("inspect", "--format", "{{.State.Pid}}", name))
    finally:
        podman("rm", "--force", "--time", "5", name)


def start_alone():
    seconds, process = started_by([BINARY, "--listen", f"127.0.0.1:{PORT}", "--log", "error"], PORT)
    process.terminate()
    process.wait()
    return seconds


def start_container(*options):
    """Seconds that one takes to begin with, and once more when it is there."""
    first = by_podman("run", "--detach", *container("start", PORT, *options))
    podman("stop", "start")
    again = by_podman("start", "start")
    podman("rm", "--force", "--time", "5", "start")
    return first, again


def starts():
    alone, containers = [], []
    for _ in range(STARTS):
        alone.append(start_alone())
        containers.append(start_container())
    first, again = map(statistics.median, zip(*containers))
    alone = statistics.median(alone)
    holds = alone * 1000 <= MOST_MS_TO_START
    row(f"start to the first 200, median of {STARTS}: the process alone", ms(alone), f"{MOST_MS_TO_START} ms", holds)
    row("the same in a container, from `podman run`", ms(first))
    row("the same from `podman start`, of a container that is there", ms(again))


def group_file(process, controller, *names):
    """The first of these files that the process's control group has, with version 1 or 2."""
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for root in (Path("/sys/fs/cgroup") / controller, Path("/sys/fs/cgroup")):
            if controller in controllers.split(",") or (not controllers and root.name == "cgroup"):
                for name in names:
                    if (file := root / path.lstrip("/") / name).exists():
                        return file
    sys.exit(f"there is no {' nor '.join(names)} in the control group of process {process}")


def cpu_time(process):
    """Nanoseconds that the container has had, and those of the threads of the server in it."""
    file = group_file(process, "cpuacct", "cpuacct.usage", "cpu.stat")
    text = file.read_text()
    of_group = (
        int(text)
        if file.name == "cpuacct.usage"
        else 1000 * int(re.search(r"^usage_usec (\d+)", text, re.MULTILINE)[1])
    )
    tasks = Path(f"/proc/{process}/task").iterdir()
    return of_group, sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def at_rest():
    with contextlib.ExitStack() as stack:
        state, seed = Path(stack.enter_context(tempfile.TemporaryDirectory())), "/state/seed.json"
        os.chmod(state, 0o755)
        (state / "seed.json").write_bytes(STATUS)
        os.chown(state, 101, 101)
        files = ("--volume", f"{state}:/state", "--env", "STATUS_STATE_DIR=/state", "--env", f"STATUS_SEED_FILE={seed}")
        who = {
            "nobody connected": stack.enter_context(running("alone", PORT)),
            "ten idle connections": stack.enter_context(running("connections", PORT + 1)),
            "a seed file and a state directory": stack.enter_context(running("files", PORT + 2, *files)),
        }
        for _ in range(10):
            stack.enter_context(Client(PORT + 1)).ask(GET)
        # What is to be done after an answer is done by then.
        time.sleep(1)
        before = {what: cpu_time(process) for what, process in who.items()}
        begun = time.monotonic()
        time.sleep(SECONDS)
        for what, process in who.items():
            used = [after - then for then, after in zip(before[what], cpu_time(process))]
            seconds = time.monotonic() - begun
            row(f"CPU time of the container in {seconds:.0f} s, {what}", f"{max(used)} ns", "0", not any(used))


class Waits:
    """How long each request of one client took, from the time it was due: a client that waits for a late answer is late
    with the next request too, and that counts."""

    def __init__(self, port, request, a_second, kept=True):
        self.port, self.request, self.a_second, self.kept = port, request, a_second, kept
        self.seconds, self.lost = [], 0

    def run(self):
        client = None
        # Not in step with the tenths of a second in which the CPU is given.
        every = 1.003 / self.a_second
        begun = time.monotonic()
        for number in range(SECONDS * self.a_second):
            due = begun + number * every
            time.sleep(max(0, due - time.monotonic()))
            kept = self.kept
            try:
                client = client or Client(self.port)
                client.ask(self.request)
                self.seconds.append(time.monotonic() - due)
            except (OSError, Refused) as error:
                self.lost += 1
                kept = False
                failures.append(f"a request was not answered: {error}")
            if client and not kept:
                client.socket.close()
                client = None

    def row(self, what):
        waits = sorted(self.seconds) or [PATIENCE]
        middle, most = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        asked = len(self.seconds) + self.lost
        row(
            f"{what}: median, 99th percentile, longest of {asked}",
            f"{ms(middle)}, {ms(most)}, {ms(waits[-1])}",
            "all answered",
            self.lost == 0,
        )


def carried(port, seconds):
    """GETs answered in a second, of so many clients that each ask again at once."""
    answered = []

    def ask():
        count = 0
        with Client(port) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                client.ask(GET)
                count += 1
        answered.append(count)

    begun = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(LOAD_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answered) < len(threads):
        failures.append("a client was not answered")
    return sum(answered) / (time.monotonic() - begun)


def limited():
    begun = [start_container(*TINY_LIMIT)[0] for _ in range(STARTS // 2 + 1)]
    row(f"a hundredth of a core: `podman run` to the first 200, median of {len(begun)}", ms(statistics.median(begun)))
    asked = {
        "a GET once a second": (GET, 1, True),
        "a GET ten times a second": (GET, 10, True),
        "a POST of 1 KiB once a second": (POST, 1, True),
        "a probe over a connection of its own once a second": (PROBE, 1, False),
    }
    with contextlib.ExitStack() as stack:
        all_waits = {}
        # Each has a container of its own, and its limit.
        for number, (what, asking) in enumerate(asked.items()):
            process = stack.enter_context(running(f"limited-{number}", PORT + number, *TINY_LIMIT))
            limit = group_file(process, "cpu", "cpu.cfs_quota_us", "cpu.max").read_text().split()[0]
            if limit != "1000":
                sys.exit(f"the limit is {limit} microseconds instead of 1000: podman does not set it here")
            all_waits[what] = Waits(PORT + number, *asking)
        time.sleep(1)
        threads = [threading.Thread(target=waits.run) for waits in all_waits.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for what, waits in all_waits.items():
            waits.row(f"a hundredth of a core: {what}")
        rate = carried(PORT, 3 if QUICK else 10)
        row(f"a hundredth of a core: GETs a second over {LOAD_CONNECTIONS} connections", f"{rate:.0f}", "all answered")


print("| what | measured | bound |")
print("| --- | --- | --- |")
starts()
at_rest()
limited()
if failures:
    sys.exit("\n".join(["", "What does not hold:", *failures]))
