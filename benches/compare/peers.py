"""The servers that are compared: how each is had, configured, started, filled with a status, and stopped."""

import contextlib
import ctypes
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "target/compare"
STATIC = "x86_64-unknown-linux-musl"
START_SECONDS = 20
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


class Failed(Exception):
    """What cannot be measured, and why."""


def status(size, server="prod-1"):
    """A status of exactly so many bytes (100 at least), as a pipeline would post it, and as Python would write it."""
    document = {"repo": "shop", "server": server, "sync_status": "SYNCED", "drift_count": 0, "files": []}

    def written():
        return json.dumps(document).encode()

    while size - len(written()) > 100:
        # Many at once, for each round writes all of it.
        for _ in range(max(1, (size - len(written())) // 80)):
            document["drift_count"] += 1
            document["files"].append(f"apps/shop/templates/deployment-{document['drift_count']:06}.yaml")
    padding = size - len(written())
    if document["files"]:
        document["sync_status"] = "DIFFER"  # As long as SYNCED is.
        document["files"][-1] += "x" * padding
    else:
        document["repo"] += "x" * padding
    assert len(written()) == size, f"a status of {size} bytes has {len(written())}"
    return written()


def metrics(size):
    """Metrics in the text format of Prometheus, of about as many bytes as a status has."""
    text = "# TYPE gitops_drift_count gauge\ngitops_drift_count 1\n# TYPE gitops_file_drifted gauge\n"
    for number in range(10**6):
        line = f'gitops_file_drifted{{name="apps/shop/templates/deployment-{number:06}.yaml"}} 1\n'
        if number and len(text) + len(line) > size:
            break
        text += line
    return text.encode()


def ask(port, method="GET", path="/status.json", body=None, content_type=None, timeout=5):
    """The code and the body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": content_type} if content_type else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Peer:
    """One server to compare with. `missing` says why it cannot be run, where it cannot."""

    path = "/status.json"
    ready = "/status.json"
    posts = None  # Or method, path and content type.
    kept_only = False
    version = ""
    missing = None

    def __init__(self, key, name, what):
        self.key, self.name, self.what = key, name, what

    def content(self, size):
        return status(size)

    def start(self, run):
        raise NotImplementedError

    def modules(self, run):
        """Files that it has read to run, and that are not mapped any more."""
        return set()


class Ours(Peer):
    posts = "POST", "/api/status", "application/json"

    def __init__(self, key, name, what, binary, missing, *options):
        super().__init__(key, name, what)
        self.binary, self.missing, self.options = binary, missing, options
        if not missing:
            self.version = output(binary, "--version").split()[-1]

    def start(self, run):
        state = [str(run.folder / "state") if option == "@state@" else option for option in self.options]
        # Nobody here writes a line for each request.
        run.spawn(self.binary, "--listen", f"127.0.0.1:{run.port}", "--log", "error", *run.ours, *state)


class Limit(Peer):
    kept_only = True

    def __init__(self, binary):
        super().__init__("limit", "the limit", "a loop that parses nothing and sends a constant")
        self.binary = binary

    def start(self, run):
        file = run.folder / "body"
        file.write_bytes(run.status)
        run.spawn(self.binary, "--listen", f"127.0.0.1:{run.port}", "--body", file)


class Packaged(Peer):
    """A server of the system's packages, which serves a file of a folder."""

    def __init__(self, key, name, what, program, version, replace=None):
        super().__init__(key, name, what)
        self.program = installed(program)
        self.replace = replace or {}
        if self.program:
            self.version = version(self.program)
        else:
            self.missing = f"{program} is not installed"


class Nginx(Packaged):
    def start(self, run):
        run.serve_file()
        run.spawn(self.program, "-e", run.folder / "error.log", "-c", run.configure("conf/nginx.conf", self.replace))


class Lighttpd(Packaged):
    def start(self, run):
        run.serve_file()
        run.spawn(self.program, "-D", "-f", run.configure("conf/lighttpd.conf"))


class Pushgateway(Packaged):
    path = "/metrics"
    ready = "/-/ready"
    posts = "PUT", "/metrics/job/compare", "text/plain"

    def content(self, size):
        return metrics(size)

    def start(self, run):
        run.spawn(self.program, f"--web.listen-address=127.0.0.1:{run.port}")


class Original(Packaged):
    """nginx and, behind it, Flask: with its own server, or under gunicorn with one worker, its default."""

    posts = "POST", "/api/status", "application/json"
    ready = "/ready"

    def __init__(self, key, name, what, backend):
        super().__init__(key, name, what, "nginx", nginx_version)
        self.backend = backend
        self.python, looked = None, []
        for python in filter(None, (os.environ.get("PYTHON"), str(ROOT / "target/tools/py/bin/python"), "python3")):
            if not shutil.which(python):
                continue
            looked.append(python)
            versions = (
                'import flask, gunicorn; from importlib.metadata import version as v; print(v("flask"), v("gunicorn"))'
            )
            with contextlib.suppress(Failed):
                flask, gunicorn = output(python, "-c", versions).split()
                self.python = python
                break
        if not self.python:
            self.missing = f"Flask and gunicorn are not installed for {' nor '.join(looked)}; $PYTHON may name another"
        elif not self.missing:
            self.version += f", Flask {flask}" + (f", gunicorn {gunicorn}" if "gunicorn" in self.backend else "")

    def start(self, run):
        file = run.serve_file()
        backend = run.port + 1
        run.spawn(
            *(self.python, "-m", *(word.replace("@port@", str(backend)) for word in self.backend)),
            environment={"STATUS_FILE": str(file), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=HERE / "original",
        )
        configuration = run.configure("original/nginx.conf", {"@backend@": str(backend)})
        run.spawn(self.program, "-e", run.folder / "error.log", "-c", configuration)

    def modules(self, run):
        listed = (
            f"import app, sys, {'gunicorn.workers.sync' if 'gunicorn' in self.backend else 'flask.cli'}\n"
            "for module in list(sys.modules.values()):\n"
            "    print(getattr(module, '__file__', None) or '')"
        )
        files = subprocess.run(
            (self.python, "-B", "-c", listed),
            **{"cwd": HERE / "original", "env": os.environ | {"STATUS_FILE": "x"}},
            **{"check": True, "capture_output": True, "text": True},
        )
        return set(filter(None, files.stdout.splitlines()))


def output(*command):
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise Failed(f"{command[0]} ended with {error.returncode}: {error.stderr}") from None
    return done.stdout + done.stderr


def installed(program):
    # Where Debian puts servers is not in everybody's PATH.
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def nginx_version(program):
    return re.search(r"nginx/(\S+)", output(program, "-v"))[1]


def build(*command, wanted):
    """The file that a command of this repository builds, and why it is not there where it is not."""
    print(f"building {wanted.relative_to(ROOT)}", file=os.sys.stderr)
    if not shutil.which(command[0]) and not (ROOT / command[0]).exists():
        return wanted, f"not built: there is no {command[0]}"
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode or not wanted.exists():
        return wanted, f"not built: {' '.join(map(str, command))} ended with {done.returncode}\n{done.stderr}"
    return wanted, None


def tools():
    """The load generator and the limit, which are built with all that this needs."""
    package = HERE / "Cargo.toml"
    command = "cargo", "build", "--release", "--manifest-path", package, "--target-dir", TARGET
    load, missing = build(*command, wanted=TARGET / "release/load")
    if missing:
        raise Failed(f"the load generator is {missing}")
    return load, TARGET / "release/limit"


FLASK = "flask", "run", "--port", "@port@"
GUNICORN = "gunicorn", "--bind", "127.0.0.1:@port@", "--workers", "1", "app:app"


def all_peers(limit, tiny=True):
    stable = "cargo", "build", "--release", "--target", STATIC
    ours, missing = build(*stable, wanted=ROOT / f"target/{STATIC}/release/gitops-status-server")
    if missing:
        raise Failed(f"the server is {missing}")
    small = ROOT / f"target/tiny/{STATIC}/release/gitops-status-server"
    small = build("./build-tiny", wanted=small) if tiny else (small, "not built")
    cache = {"@cache@": "open_file_cache max=1000; open_file_cache_valid 60s;"}
    packaged = "one worker, as Debian packages it"
    return [
        Ours("ours", "this server", "static, by stable Rust", ours, None),
        Ours("tiny", "this server, tiny", "static, all built for size", *small),
        Limit(limit),
        Nginx("nginx", "nginx", packaged, "nginx", nginx_version, {"@cache@": ""}),
        Nginx("tuned", "nginx, tuned", "the same with open_file_cache", "nginx", nginx_version, cache),
        Lighttpd("lighttpd", "lighttpd", "as Debian packages it", "lighttpd", lighttpd_version),
        # It installs Flask when it starts, and nothing else that could serve it.
        Original("original", "nginx + Flask", "the pair that this program replaces: Flask with its own server", FLASK),
        Original("gunicorn", "nginx + gunicorn", "the same with Flask under gunicorn, one worker", GUNICORN),
        Pushgateway(
            *("pushgateway", "Pushgateway", "a metric text of about the same size"),
            *(
                "prometheus-pushgateway",
                lambda program: re.search(r"version (\S+)", output(program, "--version"))[1].rstrip(","),
            ),
        ),
    ]


def durable(ours):
    return Ours("durable", "this server, durable", "with --state-dir", ours.binary, None, "--state-dir", "@state@")


def lighttpd_version(program):
    return re.search(r"lighttpd/(\S+)", output(program, "-v"))[1]


class Run:
    """A peer that runs, on one core, in a folder of its own, with a status of this size. To be used in a `with`."""

    def __init__(self, peer, port, core, size=1024, ours=()):
        self.peer, self.port, self.core, self.ours = peer, port, core, ours
        self.status = peer.content(size)
        self.processes = []
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with self.stack:
            self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
            # Workers of some are other users.
            self.folder.chmod(0o755)
            (self.folder / "root").mkdir()
            (self.folder / "state").mkdir()
            self.stack.callback(self.stop)
            self.peer.start(self)
            self.await_answer()
            # Since the first of its programs began: to fork Python takes longer than some need to start.
            self.start_seconds = time.monotonic() - float((self.folder / "begun").read_text().split()[0])
            if self.peer.posts:
                self.post(self.status)
            self.answer = ask(self.port, path=self.peer.path)[1]
            if self.answer != self.status and not isinstance(self.peer, Pushgateway):
                raise Failed(f"{self.peer.name} serves another status than it was given")
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def spawn(self, *command, environment=None, cwd=None):
        parent, core, begun = os.getpid(), self.core, self.folder / "begun"

        def prepare():
            os.sched_setaffinity(0, {core})
            # Nothing stays behind when this is killed outright.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)
            with open(begun, "a") as file:
                file.write(f"{time.monotonic()}\n")

        with open(self.folder / "output", "ab") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": cwd or self.folder},
                **{"env": os.environ | (environment or {}), "start_new_session": True, "preexec_fn": prepare},
            )
        self.processes.append(process)

    def serve_file(self):
        file = self.folder / "root/status.json"
        file.write_bytes(self.status)
        file.chmod(0o644)
        return file

    def configure(self, template, more=None):
        user = pwd.getpwuid(os.getuid()).pw_name
        values = {
            "@port@": str(self.port),
            "@folder@": str(self.folder),
            "@root@": str(self.folder / "root"),
            "@user@": f"user {user};" if os.getuid() == 0 else "",
        } | (more or {})
        text = (HERE / template).read_text()
        for name, value in values.items():
            text = text.replace(name, value)
        file = self.folder / Path(template).name
        file.write_text(text)
        return file

    def await_answer(self):
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(self.port, path=self.peer.ready)[0] == 200:
                    return
            for process in self.processes:
                if process.poll() is not None:
                    raise Failed(f"{self.peer.name} ended with {process.returncode}\n{self.log()}")
            if time.monotonic() > until:
                raise Failed(f"{self.peer.name} did not answer within {START_SECONDS} s\n{self.log()}")

    def log(self):
        return (self.folder / "output").read_text(errors="replace")[-2000:]

    def post(self, body):
        method, path, content_type = self.peer.posts
        code, answer = ask(self.port, method, path, body, content_type)
        if code not in (200, 202):
            raise Failed(f"{self.peer.name} answers a post with {code}: {answer[:200]}")

    def pids(self):
        """Its processes and theirs: each of those it was started as leads a session."""
        sessions = {process.pid for process in self.processes}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # Behind the name, which may have any characters: state, parent, group, session.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) in sessions and fields[0] != "Z":
                    found.append(int(folder.name))
        return sorted(found)

    def memory(self):
        """Proportional and plain resident memory of all its processes, in bytes."""
        pss = rss = 0
        for pid in self.pids():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            pss += 1024 * int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
            rss += 1024 * int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1])
        return {"pss": pss, "rss": rss}

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def settled_descriptors(self):
        """The same, when the connections of a load that has ended are closed."""
        least = self.descriptors()
        for _ in range(20):
            time.sleep(0.02)
            least = min(least, self.descriptors())
        return least

    def disk(self):
        """The bytes of all files that are its program: what its processes map, and what was read in to run it."""
        files = self.peer.modules(self)
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                file = line.split(maxsplit=5)[5:]
                if file and file[0].startswith("/") and not file[0].startswith(("/dev/", "/memfd", str(self.folder))):
                    files.add(file[0])
        return sum(os.stat(file).st_size for file in files if os.path.exists(file))

    def stop(self):
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            # And what it has left of its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
