"""What is measured of a server that runs: by load on another core, by strace, and from /proc."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import Failed, Run

TRACED_GETS = 1000


def cores():
    """The core of the server and that of the load."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        print(
            "There is one core only: load and server share it, and only figures per second of CPU mean something.",
            file=sys.stderr,
        )
    return usable[0], usable[-1]


def prepare(load_core):
    """This process and what it starts run where the load does, with all descriptors they may have, and end in order."""
    os.sched_setaffinity(0, {load_core})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A shell starts what is to go on in the background deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))


class Load:
    """The load generator."""

    def __init__(self, program):
        self.program = program

    def __call__(self, run, options, look=None, after=0):
        """What it says of this run; and, before it ends but so many seconds after its start, `look` is called."""
        command = [self.program, "--address", f"127.0.0.1:{run.port}", *options]
        command += ["--cpu-of", ",".join(map(str, run.pids()))]
        if "--get" in options and run.answer == run.status:
            file = run.folder / "expected"
            file.write_bytes(run.status)
            command += ["--expect", file]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            if look:
                time.sleep(after)
                if process.poll() is None:
                    look()
            out, err = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
        try:
            result = json.loads(out)
        except json.JSONDecodeError:
            raise Failed(f"load ended with {process.returncode}: {err.strip() or out.strip()}") from None
        if result["errors"] or process.returncode:
            raise Failed(f"{result['errors']} of {result['requests']} requests failed. {err.strip()}".strip())
        return result


def get(run, connections=32, **more):
    return flags({"get": run.peer.path, "connections": connections} | more)


def post(run, size, connections=32, **more):
    file = run.folder / f"post-{size}"
    if not file.exists():
        file.write_bytes(run.peer.content(size))
    method, path, content_type = run.peer.posts
    return flags(
        {"post": path, "body": file, "content_type": content_type, "method": method, "connections": connections} | more
    )


def mixed(run, connections=32, **more):
    """1 POST to 1000 GETs; what is posted is what is served already, so that every answer can be looked at."""
    return post(run, len(run.status), connections, get=run.peer.path, mix=1000, **more)


def flags(options):
    """{"pipeline": 16, "close": True} as --pipeline 16 --close."""
    given = []
    for name, value in options.items():
        given += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return given


def start_seconds(peer, port, core, times):
    """The times from its start to its first 200."""
    seconds = []
    for _ in range(times):
        with Run(peer, port, core) as run:
            seconds.append(run.start_seconds)
    return seconds


def system_calls(run, load):
    """System calls of all its threads for each kept GET, one at a time; None without strace."""
    if not shutil.which("strace"):
        return None
    pids = run.pids()
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        summary, said = Path(folder) / "summary", Path(folder) / "said"
        with said.open("w") as err:
            command = ["strace", "-f", "-c", "-o", summary, *(word for pid in pids for word in ("-p", str(pid)))]
            tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        try:
            until = time.monotonic() + 10
            while said.read_text().count("attached") < len(pids):
                if tracer.poll() is not None or time.monotonic() > until:
                    raise Failed(f"strace does not attach: {said.read_text()}")
                time.sleep(0.01)
            load(run, get(run, 1, requests=TRACED_GETS, warmup=0))
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)
        total = re.search(r"^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", summary.read_text(), re.M)
        if not total:
            raise Failed(f"strace says {summary.read_text()}")
        return int(total[1]) / TRACED_GETS
