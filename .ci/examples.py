"""What examples/ promises, tried: each file is read by its own tool or schema as far as one can be had without the
service that it is for, and what is shell in it is taken out of it and run against the real server.
`.ci/examples BINARY` installs the tools and calls this.

Where an example has to be changed to run here, it is by the variable that it offers for that (STATUS_URL), or by the
address of the machine (ports, paths of volumes, names of images), and by nothing else.
"""

import calendar
import contextlib
import datetime
import http.server
import ipaddress
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from server import BINARY, Server

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
TOOLS = ROOT / "target/tools"
PYTHON_TOOLS = TOOLS / "py/bin"
KUBECTL = TOOLS / "bin/kubectl"
NODE_MODULES = TOOLS / "node/node_modules"
REPORT = EXAMPLES / "report-status.sh"
SERVICE_URL = "http://gitops-status-server.observability-stack.svc.cluster.local"
# The oldest one that is still found in the field, one in the middle, and the newest that has schemas.
KUBERNETES = ["1.25", "1.31", "1.37"]

looked_at = set()


def looks_at(*paths):
    """Says of a test which files of examples/ it checks. A file that no test looks at fails the last test."""
    looked_at.update(paths)
    return lambda test: test


def load_all(path):
    return [document for document in yaml.safe_load_all((EXAMPLES / path).read_text()) if document]


def load(path):
    (document,) = load_all(path)
    return document


def run(command, **options):
    """Runs a command for a minute at most; its output is one text, so that what went wrong is seen in its order."""
    options = {"timeout": 60, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
    return subprocess.run([str(word) for word in command], **options)


def succeed(command, **options):
    done = run(command, **options)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


UNKNOWN = {"repo": "", "server": "", "sync_status": "UNKNOWN", "drift_count": 0, "files": [], "last_check": None}


@pytest.fixture
def server():
    with Server() as server:
        yield server


@contextlib.contextmanager
def answering(handle):
    """An HTTP server that calls `handle(request, body)` for each request: for answers that the real server cannot be
    brought to give at will, and for the API of Kubernetes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self):
            handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        do_GET = do_POST = do_PATCH = do

        def answer(self, code, document, **headers):
            body = json.dumps(document).encode()
            self.send_response(code)
            headers = {"Content-Type": "application/json", "Content-Length": len(body), **headers}
            for name, value in headers.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A PATH for each image that the examples name: the commands in it, as far as the examples use them, as links.
    Alpine's are those of busybox, and none of GNU."""
    root = tmp_path_factory.mktemp("images")
    applets = succeed(["busybox", "--list"]).split()
    extra = {
        "curlimages/curl": ["curl"],
        "alpine/git": ["git"],
        "alpine/k8s": ["curl", "kubectl"],
        "debian": ["git", "curl"],
        "ubuntu": ["git", "curl"],
        "macos": ["curl"],
    }
    gnu = ["cat", "cp", "date", "diff", "env", "ls", "mkdir", "od", "printf", "rm", "sed", "sleep", "touch", "tr", "wc"]
    paths = {}
    for image, commands in extra.items():
        path = root / image.replace("/", "-")
        path.mkdir()
        links = {command: shutil.which(command) for command in commands if command != "kubectl"}
        if "kubectl" in commands:
            links["kubectl"] = KUBECTL
        if "/" in image:
            links |= {applet: shutil.which("busybox") for applet in applets}
        else:
            links |= {command: shutil.which(command) for command in gnu}
            links["sh"] = shutil.which("bash" if image == "ubuntu" else "dash")
            links["awk"] = shutil.which({"debian": "mawk", "ubuntu": "gawk", "macos": "original-awk"}[image])
        for name, target in links.items():
            (path / name).symlink_to(Path(target).resolve() if name != "git" else target)
        paths[image] = str(path)
    return paths


def image_of(name):
    return name.split(":")[0]


# ---- report-status.sh ------------------------------------------------------------------------------------------------

SHELLS = ["curlimages/curl", "debian", "ubuntu", "macos"]

NASTY = [
    b"plain.yaml",
    b'with "quotes".yaml',
    b"back\\slash and \\u0041.yaml",
    b"tab\tand bell\x07 and delete\x7f",
    b"new\nline",
    "größe/日本語 \U0001f600.yaml".encode(),
    b"not UTF-8: \xff\xfe \xc3 \xe2\x82 \xf0\x9f\x98 \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 end",
    b"-d",
    b"$(touch injected) `touch injected` ${HOME} %s %d %%",
    b" leads and ends with spaces ",
    b"'single'",
    b"#*?[a]{b}~",
]


def as_text(name):
    """A file's name as it may stand in JSON: what is no UTF-8 is replaced as Unicode recommends."""
    return name.decode("utf-8", "replace")


def report(image, url, *arguments, images, environment=(), **options):
    environment = {"PATH": images[image], "STATUS_URL": url, **dict(environment)}
    return run(["sh", REPORT, *arguments], env=environment, executable=f"{images[image]}/sh", **options)


@looks_at("report-status.sh")
def test_the_script_is_plain_sh_and_shellcheck_has_nothing_to_say():
    succeed(["shellcheck", REPORT])
    for shell in (["dash"], ["busybox", "sh"], ["bash", "--posix"]):
        succeed([*shell, "-n", REPORT])
    assert os.access(REPORT, os.X_OK)


@pytest.mark.parametrize("image", SHELLS)
@pytest.mark.parametrize("ending", [b"\0", b"\n"], ids=["NUL", "newline"])
def test_names_of_any_bytes_arrive_as_they_are(image, ending, server, images, tmp_path):
    names = [name for name in NASTY if ending not in name]
    (tmp_path / "drift").write_bytes(b"".join(name + ending for name in names))
    done = report(image, server.url, "-d", "drift", "repo=shop", images=images, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    status = server.status()
    assert status["files"] == [as_text(name) for name in names]
    assert status["drift_count"] == len(names)
    assert status["sync_status"] == "OUT_OF_SYNC"
    assert not (tmp_path / "injected").exists()
    # jq reads the same as Python does.
    read = subprocess.run(["jq", "--compact-output", ".files"], input=server.get(), capture_output=True, check=True)
    assert json.loads(read.stdout) == status["files"]


@pytest.mark.parametrize("image", SHELLS)
def test_random_bytes_become_the_text_that_python_makes_of_them(image, server, images, tmp_path):
    dice = random.Random(5)
    # Bytes that begin, go on with and end sequences of UTF-8, at the limits of the table.
    edges = [0x01, 0x1F, 0x20, 0x22, 0x5C, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1]
    edges += [0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF, 0x0D, 0x41]
    names = [bytes(dice.choices(edges, k=dice.randint(1, 9))) for _ in range(800)]
    (tmp_path / "drift").write_bytes(b"\0".join(names))
    done = report(image, server.url, "-d", "drift", images=images, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert server.status()["files"] == [as_text(name) for name in names]


@pytest.mark.parametrize("image", SHELLS)
def test_an_empty_list_is_synced(image, server, images, tmp_path):
    for content in (b"", b"\n\n"):
        (tmp_path / "drift").write_bytes(content)
        done = report(image, server.url, "-d", "drift", images=images, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        status = server.status()
        assert (status["sync_status"], status["drift_count"], status["files"]) == ("SYNCED", 0, [])


@pytest.mark.parametrize("image", SHELLS)
def test_a_thousand_names_arrive(image, server, images, tmp_path):
    names = [f"clusters/production/namespaces/shop/deployment-{number}.yaml" for number in range(1000)]
    (tmp_path / "drift").write_text("\n".join(names))
    done = report(image, server.url, "-d", "drift", "repo=shop", images=images, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert server.status()["files"] == names
    assert server.status()["drift_count"] == 1000


@pytest.mark.parametrize("limit", [None, 1000])
def test_a_list_that_is_longer_than_the_server_takes_is_cut_and_counted_whole(limit, images, tmp_path):
    names = [f'größe "{number}"' for number in range(9000)]
    (tmp_path / "drift").write_bytes(b"".join(name.encode() + b"\0" for name in names))
    with Server(*(["--max-bytes", str(limit)] if limit else [])) as server:
        environment = {"STATUS_MAX_BYTES": str(limit)} if limit else {}
        options = {"images": images, "cwd": tmp_path, "environment": environment}
        done = report("curlimages/curl", server.url, "-d", "drift", "repo=shop", **options)
        assert done.returncode == 0, done.stdout
        status = server.status()
        assert status["drift_count"] == 9000
        assert status["files"] == names[: len(status["files"])]
        assert 0.6 * (limit or 65536) < len(server.get()) <= (limit or 65536)


@pytest.mark.parametrize("image", SHELLS)
def test_fields_are_strings_whatever_is_in_them(image, server, images, tmp_path):
    value = 'a "b" \\ \t\n $HOME `id` größe = \'x\''
    fields = [f"repo={value}", "server=prod-1", f"{value.split('=')[0]}=1", "commit=", "sync_status=HELD"]
    before = int(time.time())
    done = report(image, server.url, *fields, images=images, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    status = server.status()
    then = time.strptime(status.pop("last_check"), "%Y-%m-%dT%H:%M:%SZ")
    assert before <= calendar.timegm(then) <= time.time()
    assert status == {
        "repo": value, "server": "prod-1", value.split("=")[0]: "1", "commit": "", "sync_status": "HELD"
    }


def test_a_status_that_is_given_wins_over_the_list_and_so_does_a_time(server, images, tmp_path):
    (tmp_path / "drift").write_text("")
    fields = ["sync_status=HELD", "last_check=2026-04-21T10:30:00Z"]
    assert report("debian", server.url, "-d", "drift", *fields, images=images, cwd=tmp_path).returncode == 0
    expected = {"sync_status": "HELD", "drift_count": 0, "files": [], "last_check": "2026-04-21T10:30:00Z"}
    assert server.status() == expected


def test_a_slash_at_the_end_of_the_url_does_no_harm(server, images):
    assert report("debian", server.url + "/", "sync_status=SYNCED", images=images).returncode == 0
    assert server.status()["sync_status"] == "SYNCED"


@pytest.mark.parametrize("image", SHELLS)
def test_a_refused_status_fails_the_step_at_once_with_the_reason_and_leaves_the_old_one(image, server, images):
    begun = time.monotonic()
    done = report(image, server.url, "sync_status=SYNCED", "files=web.yaml", images=images)
    assert time.monotonic() - begun < 2
    assert done.returncode == 22
    assert 'Field \\"files\\" must be an array' in done.stdout
    assert "400" in done.stdout
    assert server.status() == UNKNOWN


@pytest.mark.parametrize("image", SHELLS[:2])
def test_a_server_that_stays_away_fails_the_step_with_the_reason_after_the_patience(image, images):
    begun = time.monotonic()
    environment = {"STATUS_PATIENCE": "2"}
    url = f"http://127.0.0.1:{free_port()}"
    done = report(image, url, "sync_status=SYNCED", images=images, environment=environment)
    assert done.returncode == 7
    assert "127.0.0.1" in done.stdout
    assert 1 <= time.monotonic() - begun < 10


@pytest.mark.parametrize("image", SHELLS[:2])
def test_a_restart_of_the_server_is_waited_for(image, images):
    port = free_port()
    started = []
    timer = threading.Timer(1.5, lambda: started.append(Server(listen=f"127.0.0.1:{port}")))
    timer.start()
    try:
        done = report(image, f"http://127.0.0.1:{port}", "sync_status=SYNCED", images=images)
        timer.join()
        assert done.returncode == 0, done.stdout
        assert started[0].status()["sync_status"] == "SYNCED"
    finally:
        timer.join()
        for server in started:
            server.__exit__()


def test_a_status_that_cannot_be_stored_for_a_while_is_posted_again(images, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    with Server("--state-dir", str(state)) as server:
        state.rename(tmp_path / "away")
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.post({"sync_status": "SYNCED"})
        assert refused.value.code == 503
        timer = threading.Timer(1.5, lambda: (tmp_path / "away").rename(state))
        timer.start()
        done = report("curlimages/curl", server.url, "sync_status=SYNCED", images=images)
        timer.join()
        assert done.returncode == 0, done.stdout
        assert json.loads((state / "status.json").read_text())["sync_status"] == "SYNCED"


@pytest.mark.parametrize("image", SHELLS[:2])
def test_a_busy_server_is_asked_again_when_it_says(image, images):
    at = []

    def busy(request, body):
        at.append(time.monotonic())
        if len(at) < 2:
            message = {"success": False, "message": "every body buffer is taken"}
            return request.answer(503, message, **{"Retry-After": 2})
        request.answer(200, {"success": True, "status": json.loads(body)})

    with answering(busy) as url:
        done = report(image, url, "sync_status=SYNCED", images=images)
    assert done.returncode == 0, done.stdout
    assert len(at) == 2
    # Of itself curl would wait for one second.
    assert at[1] - at[0] >= 1.9


@pytest.mark.parametrize("image", SHELLS[:2])
def test_a_connection_that_ends_without_an_answer_is_tried_again_and_not_for_ever(image, images):
    bodies = []

    def breaks(times):
        def handle(request, body):
            bodies.append(body)
            if len(bodies) <= times:
                request.close_connection = True
                return request.connection.shutdown(socket.SHUT_RDWR)
            request.answer(200, {"success": True})

        return handle

    with answering(breaks(1)) as url:
        assert report(image, url, "sync_status=SYNCED", images=images).returncode == 0
    assert len(bodies) == 2 and bodies[0] == bodies[1]
    bodies.clear()
    with answering(breaks(99)) as url:
        assert report(image, url, "sync_status=SYNCED", images=images).returncode == 52
    assert len(bodies) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "what is the status?"),
        (["repo=shop"], "what is the status?"),
        (["SYNCED"], "SYNCED is no FIELD=VALUE"),
        (["=x", "sync_status=SYNCED"], "=x is no FIELD=VALUE"),
        (["-d", "missing"], "the list missing is no file that can be read"),
        (["-d", "/"], "the list / is no file that can be read"),
        (["-x"], "usage:"),
        (["-d"], "usage:"),
    ],
)
@pytest.mark.parametrize("image", SHELLS)
def test_bad_usage_is_named_and_posts_nothing(image, arguments, reason, server, images, tmp_path):
    done = report(image, server.url, *arguments, images=images, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stdout
    assert server.status() == UNKNOWN


def test_a_missing_url_is_named(images):
    done = report("debian", "", "sync_status=SYNCED", images=images)
    assert done.returncode == 2 and "STATUS_URL is not set" in done.stdout


def test_the_snippet_that_users_of_the_two_container_chart_have_in_their_pipelines_still_works(server):
    snippet = """
        #!/bin/bash
        GITOPS_STATUS_SERVER_URL="%s"
        STATUS_JSON='{
          "repo": "rsyslog",
          "server": "rsyslog-lab",
          "sync_status": "OUT_OF_SYNC",
          "drift_count": 2,
          "files": [{"name": "rsyslog.conf"}, {"name": "rsyslog.d/30-lab.conf"}],
          "last_check": "2026-04-21T10:30:00Z"
        }'
        curl -X POST "$GITOPS_STATUS_SERVER_URL/api/status" \\
          -H "Content-Type: application/json" \\
          -d "$STATUS_JSON"
    """
    answer = json.loads(succeed(["bash", "-c", snippet % server.url], stderr=subprocess.DEVNULL))
    assert answer["success"] is True and answer["message"] == "Status updated successfully"
    assert answer["status"] == server.status()
    assert server.status()["files"] == [{"name": "rsyslog.conf"}, {"name": "rsyslog.d/30-lab.conf"}]


# ---- Pipelines -------------------------------------------------------------------------------------------------------


class Repository:
    """A repository as the pipelines expect it, with a remote: the tag `deployed`, a commit behind it that changes files
    with all sorts of names, and a deploy.sh that does what the test says."""

    def __init__(self, root, deploy):
        self.environment = {
            "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "3",
            "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "T",
            "GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "t@example.com",
            # Git refuses backslashes for the sake of Windows.
            "GIT_CONFIG_KEY_2": "core.protectNTFS", "GIT_CONFIG_VALUE_2": "false",
        }  # fmt: skip
        self.root = root
        self.origin = root / "origin.git"
        self.work = root / "work"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", self.origin)
        self.git("clone", "--quiet", self.origin, self.work)
        for folder in (".woodpecker", ".github", ".gitlab"):
            (self.work / folder).mkdir()
            shutil.copy(REPORT, self.work / folder)
        (self.work / "deploy.sh").write_text(f"#!/bin/sh\nset -e\n{deploy}\n")
        (self.work / "deploy.sh").chmod(0o755)
        self.names = sorted(name for name in NASTY if b"/" not in name)
        for name in self.names:
            (self.work / os.fsdecode(name)).write_text("before\n")
        self.git("-C", self.work, "checkout", "--quiet", "-B", "main")
        self.commit("before")
        self.git("-C", self.work, "tag", "deployed")
        for name in self.names:
            (self.work / os.fsdecode(name)).write_text("after\n")
        self.commit("after")
        self.git("-C", self.work, "push", "--quiet", "--tags", "origin", "main")
        self.head = self.git("-C", self.work, "rev-parse", "HEAD").strip()

    def git(self, *arguments):
        return succeed(["git", *arguments], env={"PATH": os.environ["PATH"], **self.environment})

    def commit(self, message):
        self.git("-C", self.work, "add", "--all")
        self.git("-C", self.work, "commit", "--quiet", "--message", message)

    def checkout(self, name):
        self.git("clone", "--quiet", self.origin, self.root / name)
        return self.root / name


# What deploy.sh does, and what the server knows afterwards.
DEPLOYMENTS = {
    "deploys": ("git tag --force deployed HEAD && git push --quiet --force origin deployed", "SYNCED"),
    "leaves drift": ("true", "OUT_OF_SYNC"),
    "fails": ("echo 'no route to host' && exit 1", "FAILED"),
}


def check_reported(status, outcome, repository, **fields):
    then = time.strptime(status.pop("last_check"), "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.time() - calendar.timegm(then)) < 60
    expected = {**fields, "server": "prod-1", "commit": repository.head}
    expected["sync_status"] = "SYNCED" if outcome == "SYNCED" else "OUT_OF_SYNC"
    if outcome != "FAILED":
        files = [as_text(name) for name in repository.names] if outcome == "OUT_OF_SYNC" else []
        expected |= {"files": files, "drift_count": len(files)}
    assert status == expected


def check_schema(name, path):
    succeed([PYTHON_TOOLS / "check-jsonschema", "--builtin-schema", name, EXAMPLES / path])


def check_shell(script):
    """Shell that is inside of YAML is held to the same as a script."""
    found = run(["shellcheck", "--shell", "sh", "-"], input=script)
    assert found.returncode == 0, found.stdout
    for shell in (["dash"], ["busybox", "sh"]):
        succeed([*shell, "-n"], input=script)


PIPELINES = {
    "woodpecker/drift.yaml": "vendor.woodpecker-ci",
    "github-actions/drift.yaml": "vendor.github-workflows",
    "gitlab-ci/gitlab-ci.yml": "vendor.gitlab-ci",
}


@looks_at(*PIPELINES)
@pytest.mark.parametrize("path", PIPELINES)
def test_the_pipelines_fit_the_schemas_of_their_services(path):
    check_schema(PIPELINES[path], path)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_woodpecker_pipeline_reports_success_and_failure(deployment, server, images, tmp_path):
    pipeline = load("woodpecker/drift.yaml")
    deploy, outcome = DEPLOYMENTS[deployment]
    repository = Repository(tmp_path, deploy)
    workspace = repository.checkout("workspace")
    assert pipeline["clone"]["git"]["settings"] == {"partial": False, "depth": 0, "tags": True}
    assert "${" not in (EXAMPLES / "woodpecker/drift.yaml").read_text(), "Woodpecker replaces ${…} before a shell can"

    state = "success"
    codes = {}
    for name, step in pipeline["steps"].items():
        accepted = next((w["status"] for w in step.get("when", []) if "status" in w), ["success"])
        if state not in accepted:
            continue
        # The agent joins the commands to one script, and gives it to `sh -e` in the workspace.
        script = "\n".join(step["commands"])
        check_shell(script)
        environment = {
            **repository.environment, **step.get("environment", {}), "PATH": images[image_of(step["image"])],
            "CI": "woodpecker", "CI_PIPELINE_STATUS": state, "CI_REPO": "your-org/shop",
            "CI_COMMIT_SHA": repository.head,
        }  # fmt: skip
        if name == "report":
            assert environment["STATUS_URL"] == SERVICE_URL
            environment["STATUS_URL"] = server.url
        shell = f"{environment['PATH']}/sh"
        codes[name] = run([shell, "-e"], input=script, env=environment, cwd=workspace).returncode
        if codes[name] != 0:
            state = "failure"
    failed = outcome == "FAILED"
    assert codes == ({"deploy": 1, "report": 0} if failed else {"deploy": 0, "compare": 0, "report": 0})
    check_reported(server.status(), outcome, repository, repo="your-org/shop")


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_github_workflow_reports_success_and_failure(deployment, server, images, tmp_path):
    workflow = load("github-actions/drift.yaml")
    deploy, outcome = DEPLOYMENTS[deployment]
    repository = Repository(tmp_path, deploy)
    workspace = repository.checkout("workspace")
    (tmp_path / "temp").mkdir()

    checkout, *steps = workflow["jobs"]["drift"]["steps"]
    assert checkout["uses"].startswith("actions/checkout@") and checkout["with"]["fetch-depth"] == 0
    status = "success"
    codes = {}
    for step in steps:
        # `always()`, and what runs on a push here; without a condition it is `success()`.
        if status == "failure" and step.get("if") != "always()":
            continue
        assert step.get("if") in (None, "always()", "github.event_name == 'push'")
        expressions = {
            "${{ job.status }}": status,
            f"${{{{ vars.STATUS_URL || '{SERVICE_URL}' }}}}": server.url,
        }
        environment = {name: expressions.get(value, value) for name, value in step.get("env", {}).items()}
        assert "${{" not in str(environment) + step["run"]
        check_shell(step["run"])
        environment |= {
            **repository.environment, "PATH": images["ubuntu"], "RUNNER_TEMP": str(tmp_path / "temp"),
            "GITHUB_REPOSITORY": "your-org/shop", "GITHUB_SHA": repository.head,
        }  # fmt: skip
        done = run([f"{images['ubuntu']}/sh", "-e"], input=step["run"], env=environment, cwd=workspace)
        codes[step["name"]] = done.returncode
        if done.returncode != 0:
            status = "failure"
    failed = outcome == "FAILED"
    assert codes == ({"Deploy": 1, "Report": 0} if failed else {"Deploy": 0, "Compare": 0, "Report": 0})
    check_reported(server.status(), outcome, repository, repo="your-org/shop")


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_gitlab_jobs_report_success_and_failure(deployment, server, images, tmp_path):
    pipeline = load("gitlab-ci/gitlab-ci.yml")
    assert pipeline["variables"]["STATUS_URL"] == SERVICE_URL
    deploy, outcome = DEPLOYMENTS[deployment]
    repository = Repository(tmp_path, deploy)

    words = {"variables", "workflow", "stages", "default"}
    jobs = {name: job for name, job in pipeline.items() if name not in words and not name.startswith(".")}
    jobs = {name: {**pipeline.get(job.get("extends"), {}), **job} for name, job in jobs.items()}
    stages = [*pipeline["stages"], ".post"]
    failed = False
    artifacts = {}
    codes = {}
    for stage in stages:
        failed_before = failed
        for name, job in jobs.items():
            when = job.get("when", "on_success")
            if job["stage"] != stage or when != ("on_failure" if failed_before else "on_success"):
                continue
            # Each job has a checkout of its own, and the artifacts of the jobs before it.
            workspace = repository.checkout(name.replace(" ", "-"))
            for path, content in artifacts.items():
                (workspace / path).write_bytes(content)
            script = "\n".join(job["script"])
            check_shell(script)
            environment = {
                **repository.environment, **{key: str(value) for key, value in pipeline["variables"].items()},
                "PATH": images[image_of(job["image"]["name"])], "STATUS_URL": server.url,
                "CI_PROJECT_PATH": "your-org/shop", "CI_COMMIT_SHA": repository.head,
            }  # fmt: skip
            done = run([f"{environment['PATH']}/sh", "-e"], input=script, env=environment, cwd=workspace)
            codes[name] = done.returncode
            if done.returncode == 0:
                artifacts |= {p: (workspace / p).read_bytes() for p in job.get("artifacts", {}).get("paths", [])}
            failed |= done.returncode != 0
    if outcome == "FAILED":
        assert codes == {"deploy": 1, "report failed": 0}
    else:
        assert codes == {"deploy": 0, "compare": 0, "report synced or drifted": 0}
    check_reported(server.status(), outcome, repository, repo="your-org/shop")


def readme_lists():
    """The commands of the README that write lists of what differs, by their first word."""
    section = (EXAMPLES / "README.md").read_text().split("## Where the list comes from")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return {block.split()[0]: block for block in blocks}


def test_the_readme_has_three_commands_for_lists():
    assert set(readme_lists()) == {"git", "kubectl", "argocd"}
    for script in readme_lists().values():
        check_shell(script)


def test_the_list_of_git_is_what_differs(tmp_path):
    repository = Repository(tmp_path, "true")
    environment = {"PATH": os.environ["PATH"], **repository.environment}
    succeed(["sh", "-e"], input=readme_lists()["git"], env=environment, cwd=repository.work)
    assert (repository.work / "drift").read_bytes().split(b"\0")[:-1] == repository.names


@pytest.mark.parametrize("diff", ["GNU", "busybox"])
def test_the_list_of_kubectl_is_what_the_real_kubectl_finds_different(diff, tmp_path, images):
    live = {"a": "1", "b": "1"}
    api = KubernetesApi(configmaps=live)
    (tmp_path / "overlays/prod").mkdir(parents=True)
    wanted = [api.configmap(name, value) for name, value in {"a": "2", "b": "1", "c": "1"}.items()]
    (tmp_path / "overlays/prod/all.yaml").write_text(yaml.safe_dump_all(wanted))
    (tmp_path / "overlays/prod/kustomization.yaml").write_text("resources: [all.yaml]\n")
    path = images["alpine/k8s"] if diff == "busybox" else f"{KUBECTL.parent}:{os.environ['PATH']}"
    with answering(api.handle) as url:
        environment = {"PATH": path, **kubeconfig(url, tmp_path)}
        script = readme_lists()["kubectl"]
        succeed([f"{images['alpine/k8s']}/sh", "-e"], input=script, env=environment, cwd=tmp_path)
        assert (tmp_path / "drift").read_text() == "v1.ConfigMap.default.a\nv1.ConfigMap.default.c\n"
    # With the API away it fails, and leaves no empty list that would be SYNCED.
    (tmp_path / "drift").unlink()
    assert run(["sh", "-e"], input=script, env=environment, cwd=tmp_path).returncode != 0
    assert not (tmp_path / "drift").exists()


@pytest.mark.parametrize(("code", "succeeds"), [(0, True), (1, True), (2, False), (20, False)])
def test_the_list_of_argocd_is_what_it_shows_as_different(code, succeeds, tmp_path):
    # No argocd can be had here. This one prints what version 3 prints before the differences of an object.
    output = "\n===== apps/Deployment shop/web ======\n3c3\n< replicas: 1\n---\n> replicas: 2\n"
    output += "\n===== /ConfigMap shop/settings ======\n1a2\n> ===== x\n"
    stand_in = tmp_path / "bin/argocd"
    stand_in.parent.mkdir()
    shown = output if code == 1 else ""
    stand_in.write_text(f"#!/bin/sh\ncat <<'END'\n{shown}\nEND\nexit {code}\n")
    stand_in.chmod(0o755)
    environment = {"PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    done = run(["sh", "-e"], input=readme_lists()["argocd"], env=environment, cwd=tmp_path)
    assert (done.returncode == 0) == succeeds
    if succeeds:
        expected = "apps/Deployment shop/web\n/ConfigMap shop/settings\n" if code == 1 else ""
        assert (tmp_path / "drift").read_text() == expected


# ---- Kubernetes ------------------------------------------------------------------------------------------------------


class KubernetesApi:
    """As much of the API of Kubernetes as kubectl asks for below, and what it was asked."""

    KINDS = {
        ("", "v1"): [("configmaps", "ConfigMap")],
        ("kustomize.toolkit.fluxcd.io", "v1"): [("kustomizations", "Kustomization")],
    }

    def __init__(self, configmaps=(), kustomizations=()):
        self.configmaps = {name: self.configmap(name, value) for name, value in dict(configmaps).items()}
        self.kustomizations = list(kustomizations)
        self.asked = []

    @staticmethod
    def configmap(name, value):
        metadata = {"name": name, "namespace": "default", "annotations": {"x": "y"}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": value}}

    def handle(self, request, body):
        path = request.path.split("?")[0]
        self.asked.append((request.command, path))
        document = self.find(request.command, path, json.loads(body) if body else None)
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        request.answer(200 if document else 404, document or missing)

    def find(self, method, path, body):
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            named = [(group, {"groupVersion": f"{group}/{v}", "version": v}) for group, v in self.KINDS if group]
            groups = [{"name": group, "versions": [v], "preferredVersion": v} for group, v in named]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        for (group, version), kinds in self.KINDS.items():
            if path == (f"/apis/{group}/{version}" if group else f"/api/{version}"):
                verbs = ["get", "list", "patch", "create"]
                resources = [{"name": n, "kind": k, "namespaced": True, "verbs": verbs} for n, k in kinds]
                group_version = f"{group}/{version}".removeprefix("/")
                return {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}
        if path == "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations":
            api_version = "kustomize.toolkit.fluxcd.io/v1"
            return {"kind": "KustomizationList", "apiVersion": api_version, "items": self.kustomizations}
        if path.startswith("/api/v1/namespaces/default/configmaps"):
            if method == "POST":
                return body
            live = self.configmaps.get(path.rsplit("/", 1)[1])
            if live and method == "PATCH":
                return {**live, "data": {**live["data"], **body.get("data", {})}}
            return live
        return None


def kubeconfig(url, folder):
    """The variables that make kubectl ask the API at `url`."""
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": url}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "default"}}],
        "users": [{"name": "x", "user": {}}],
    }  # fmt: skip
    (folder / "kubeconfig").write_text(json.dumps(config))
    return {"KUBECONFIG": str(folder / "kubeconfig"), "HOME": str(folder)}


def kustomized(folder):
    """The objects that `kubectl apply -k` would apply, by kind."""
    documents = yaml.safe_load_all(succeed([KUBECTL, "kustomize", EXAMPLES / folder]))
    return {document["kind"]: document for document in documents}


def check_kubernetes(documents, tmp_path):
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    for version in KUBERNETES:
        succeed([PYTHON_TOOLS / "kubernetes-validate", "--strict", "--quiet", "-k", version, path])


def check_custom(document):
    """Holds a custom resource to the schema of its CustomResourceDefinition."""
    return run(["node", ROOT / ".ci/custom-resources.mjs", NODE_MODULES], input=json.dumps([document]))


def check_restricted(pod, *, containers=None):
    """The Pod Security Standard `restricted`, of its list those parts that a container can miss by leaving them out;
    and what the chart promises beyond it."""
    of_pod = pod.get("securityContext", {})
    assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    for volume in pod.get("volumes", []):
        assert set(volume) & {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    for container in pod["containers"]:
        if containers and container["name"] not in containers:
            continue
        context = {**of_pod, **container["securityContext"]}
        assert context["runAsNonRoot"] is True
        # A number: the kubelet cannot tell of an image's user by name that it is not root.
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


def environment_of(container):
    return {entry["name"]: entry["value"] for entry in container["env"]}


def options_of_the_server():
    """The environment variables that `--help` lists: the server ignores others, so a misspelt one would be silent."""
    return set(re.findall(r"STATUS_[A-Z_]+", succeed([BINARY, "--help"])))


def check_server_container(container, *, port, name):
    environment = environment_of(container)
    assert set(environment) <= options_of_the_server()
    assert environment["STATUS_LISTEN"] == f"0.0.0.0:{port}"
    assert container["ports"] == [{"name": name, "containerPort": port}]
    assert container["resources"] == {
        "requests": {"cpu": "5m", "memory": "4Mi"}, "limits": {"cpu": "50m", "memory": "16Mi"}
    }
    assert {container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} == {name}
    assert environment["STATUS_STATE_DIR"] in [mount["mountPath"] for mount in container["volumeMounts"]]


def run_as_in(container, files):
    """The server with the environment of a container, whose volumes are the folders of `files` here."""
    environment = environment_of(container) | {"STATUS_LISTEN": "127.0.0.1:0"}
    for mount in container["volumeMounts"]:
        here = str(files[mount["name"]])
        path = re.compile(rf"^{mount['mountPath']}(?=/|$)")
        environment = {name: path.sub(here, value) for name, value in environment.items()}
    return Server(environment=environment)


@looks_at(
    "kubernetes/kustomization.yaml", "kubernetes/namespace.yaml", "kubernetes/configmap.yaml",
    "kubernetes/deployment.yaml", "kubernetes/service.yaml",
)  # fmt: skip
def test_the_plain_manifests_make_a_server_that_has_the_names_and_the_security_of_the_chart(tmp_path):
    objects = kustomized("kubernetes")
    check_kubernetes(objects.values(), tmp_path)
    assert set(objects) == {"Namespace", "ConfigMap", "Deployment", "Service"}
    for kind in ("ConfigMap", "Deployment", "Service"):
        assert objects[kind]["metadata"]["name"] == "gitops-status-server"
        assert objects[kind]["metadata"]["namespace"] == "observability-stack"
    pod = objects["Deployment"]["spec"]["template"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    service = objects["Service"]["spec"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    assert (service["type"], service["ports"]) == ("ClusterIP", [{"name": "http", "port": 80, "targetPort": "http"}])

    check_restricted(pod["spec"])
    assert pod["spec"]["securityContext"]["runAsUser"] == pod["spec"]["securityContext"]["runAsGroup"] == 101
    assert pod["spec"]["automountServiceAccountToken"] is False and pod["spec"]["enableServiceLinks"] is False
    (container,) = pod["spec"]["containers"]
    check_server_container(container, port=8080, name="http")
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert pod["spec"]["terminationGracePeriodSeconds"] > 10

    # The first status is the ConfigMap's, an edit of it counts as a post, and a post outlives the container.
    files = {name: tmp_path / name for name in ("seed", "state")}
    for folder in files.values():
        folder.mkdir()
    seed = objects["ConfigMap"]["data"]["status.json"]
    (files["seed"] / "status.json").write_text(seed)
    with run_as_in(container, files) as server:
        assert server.get().decode() == seed
        assert server.status() == UNKNOWN
        (files["seed"] / "status.json").write_text('{"sync_status":"SYNCED"}')
        time.sleep(1.1)
        assert server.status() == {"sync_status": "SYNCED"}
        server.post({"sync_status": "OUT_OF_SYNC"})
        assert server.stop() == 0
    with run_as_in(container, files) as server:
        assert server.status() == {"sync_status": "OUT_OF_SYNC"}


@looks_at("sidecar/kustomization.yaml", "sidecar/shop.yaml", "sidecar/sidecar.yaml", "sidecar/service.yaml")
def test_the_sidecar_joins_a_deployment_and_leaves_what_is_there_as_it_is(tmp_path):
    objects = kustomized("sidecar")
    check_kubernetes(objects.values(), tmp_path)
    before = load("sidecar/shop.yaml")["spec"]["template"]
    pod = objects["Deployment"]["spec"]["template"]
    containers = {container["name"]: container for container in pod["spec"]["containers"]}
    assert containers.pop("shop") == before["spec"]["containers"][0]
    assert pod["metadata"]["labels"] == before["metadata"]["labels"]
    assert pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "shop"
    assert set(pod["spec"]) == {"containers", "volumes"}

    (container,) = containers.values()
    check_server_container(container, port=8081, name="status")
    check_restricted(pod["spec"], containers=["gitops-status-server"])
    # No port and no name of a port is there twice.
    ports = [port for c in pod["spec"]["containers"] for port in c["ports"]]
    assert len({port["containerPort"] for port in ports}) == len({port["name"] for port in ports}) == len(ports)
    service = objects["Service"]["spec"]
    assert service["ports"] == [{"name": "http", "port": 80, "targetPort": "status"}]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()

    files = {"gitops-status-server": tmp_path / "state"}
    files["gitops-status-server"].mkdir()
    with run_as_in(container, files) as server:
        server.post({"sync_status": "SYNCED"})
        server.process.kill()
    with run_as_in(container, files) as server:
        assert server.status() == {"sync_status": "SYNCED"}


# ---- Argo CD and Flux ------------------------------------------------------------------------------------------------

# The names that values of the chart have.
CHART_VALUES = """replicaCount image service resources statusJson api persistence auth networkPolicy serviceMonitor
ingress httpRoute podDisruptionBudget nodeSelector tolerations affinity topologySpreadConstraints podAnnotations
podLabels extraEnv imagePullSecrets nameOverride fullnameOverride""".split()


@looks_at("argo-cd/application.yaml")
def test_the_argo_cd_application_fits_its_schema_and_its_values_are_a_status_that_the_server_takes(server):
    application = load("argo-cd/application.yaml")
    done = check_custom(application)
    assert done.returncode == 0, done.stdout
    # The schema is not one that takes everything.
    wrong = {**application, "spec": {**application["spec"], "project": 1}}
    assert check_custom(wrong).returncode != 0
    source = application["spec"]["source"]
    assert source["path"] == "charts/gitops-status-server"
    values = yaml.safe_load(source["helm"]["values"])
    assert set(values) <= set(CHART_VALUES)
    server.post(values["statusJson"])
    assert f"//{application['metadata']['name']}.{application['spec']['destination']['namespace']}." in SERVICE_URL


@looks_at("argo-cd/report-sync.yaml")
@pytest.mark.parametrize(("hook", "sync_status"), [("PostSync", "SYNCED"), ("SyncFail", "OUT_OF_SYNC")])
def test_the_hooks_of_argo_cd_report_how_a_sync_went(hook, sync_status, server, images, tmp_path):
    jobs = load_all("argo-cd/report-sync.yaml")
    check_kubernetes(jobs, tmp_path)
    jobs = {job["metadata"]["annotations"]["argocd.argoproj.io/hook"]: job for job in jobs}
    assert set(jobs) == {"PostSync", "SyncFail"}
    # The Jobs differ by their names, their hooks and the status alone.
    assert len({job["metadata"]["name"] for job in jobs.values()}) == 2
    job = jobs[hook]
    # By its name a Job is there once: the old one has to go before the next can come.
    assert "BeforeHookCreation" in job["metadata"]["annotations"]["argocd.argoproj.io/hook-delete-policy"]
    assert job["spec"]["backoffLimit"] <= 2 and job["spec"]["activeDeadlineSeconds"] <= 600
    pod = job["spec"]["template"]["spec"]
    check_restricted(pod)
    assert pod["restartPolicy"] == "Never" and pod["automountServiceAccountToken"] is False

    (container,) = pod["containers"]
    environment = environment_of(container)
    assert environment["STATUS_URL"] == SERVICE_URL
    environment |= {"STATUS_URL": server.url, "PATH": images[image_of(container["image"])]}
    shell, *arguments = container["command"]
    assert shell == "/bin/sh"
    check_shell(arguments[-1])
    sh = f"{environment['PATH']}/sh"
    output = succeed([sh, *arguments], env=environment)
    assert '"success":true' in output
    status = server.status()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", status.pop("last_check"))
    expected = {"repo": "shop", "server": "prod-1", "sync_status": sync_status}
    assert status == expected | ({"drift_count": 0, "files": []} if hook == "PostSync" else {})

    # What the server refuses fails the Job with the reason.
    wrong = {**environment, "STATUS": '"drift_count":-1'}
    refused = run([sh, *arguments], env=wrong)
    assert refused.returncode == 22 and 'Field \\"drift_count\\"' in refused.stdout


def kustomization(name, *conditions, **spec):
    source = {"kind": "GitRepository", "name": "fleet"}
    spec = {"interval": "10m", "path": "./", "prune": True, "sourceRef": source, **spec}
    then = {"lastTransitionTime": "2026-04-21T10:30:00Z", "message": "Applied revision: main", "reason": "x"}
    document = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "spec": spec,
        "metadata": {"name": name, "namespace": "flux-system"},
    }  # fmt: skip
    if conditions:
        document["status"] = {"conditions": [{"type": t, "status": s, **then} for t, s in conditions]}
    return document


READY, FAILED, UNDER_WAY = ("Ready", "True"), ("Ready", "False"), ("Ready", "Unknown")
SUSPENDED = {"suspend": True}
MANY = [f"app-{number}" for number in range(600)]

# Kustomizations with their conditions, and which of them are to be reported.
FLEETS = {
    "all are ready": ([("apps", [READY], {}), ("infra", [("Healthy", "False"), READY], {})], []),
    "one failed": ([("apps", [("Reconciling", "True"), FAILED], {}), ("infra", [READY], {})], ["apps"]),
    "one is under way": ([("apps", [UNDER_WAY], {})], ["apps"]),
    "one is new": ([("apps", [], {})], ["apps"]),
    "one is suspended": ([("apps", [READY], SUSPENDED), ("new", [], SUSPENDED)], ["apps", "new"]),
    "there are none": ([], None),
    "there are many": ([(name, [FAILED], {}) for name in MANY], MANY),
}


@looks_at("flux/report-cronjob.yaml")
def test_the_cron_job_for_flux_may_do_what_it_has_to_and_no_more(tmp_path):
    documents = load_all("flux/report-cronjob.yaml")
    check_kubernetes(documents, tmp_path)
    objects = {document["kind"]: document for document in documents}
    cron = objects["CronJob"]["spec"]
    assert cron["concurrencyPolicy"] == "Replace"
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    check_restricted(pod)
    assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    account = objects["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert objects["ClusterRoleBinding"]["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]
    group, resource = "kustomize.toolkit.fluxcd.io", "kustomizations"
    assert objects["ClusterRole"]["rules"] == [{"apiGroups": [group], "resources": [resource], "verbs": ["list"]}]
    (container,) = pod["containers"]
    environment = environment_of(container)
    assert environment["STATUS_URL"] == SERVICE_URL and environment["RESOURCES"] == f"{resource}.{group}"
    # The home can be written to, though the root file system cannot.
    assert environment["HOME"] in [mount["mountPath"] for mount in container["volumeMounts"]]
    check_shell(container["command"][-1])


@pytest.mark.parametrize("fleet", FLEETS)
def test_the_cron_job_reports_which_kustomizations_of_flux_are_not_ready(fleet, server, images, tmp_path):
    (cron,) = [d for d in load_all("flux/report-cronjob.yaml") if d["kind"] == "CronJob"]
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    shell, *arguments = container["command"]
    assert shell == "/bin/sh"
    described, expected = FLEETS[fleet]
    items = [kustomization(name, *conditions, **spec) for name, conditions, spec in described]
    for item in items[:2]:
        done = check_custom(item)
        assert done.returncode == 0, done.stdout
    api = KubernetesApi(kustomizations=items)
    with answering(api.handle) as url:
        environment = environment_of(container) | kubeconfig(url, tmp_path)
        environment |= {"STATUS_URL": server.url, "PATH": images[image_of(container["image"])]}
        command = [f"{environment['PATH']}/sh", *arguments]
        output = succeed(command, env=environment)
    assert '"success":true' in output
    status = server.status()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", status.pop("last_check"))
    files = [f"Kustomization/flux-system/{name}" for name in expected or []]
    state = "UNKNOWN" if expected is None else "OUT_OF_SYNC" if expected else "SYNCED"
    common = {"repo": "fleet", "server": "prod-1"}
    assert status == {**common, "sync_status": state, "drift_count": len(files), "files": files}
    # Beside what the API has to offer, which every account may read, it asked for what its ClusterRole allows.
    asked = {(method, path) for method, path in api.asked if path.count("/") > 3}
    assert asked == {("GET", "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations")}

    # With the API away it fails, and what the server knew stays.
    before = server.get()
    assert run(command, env=environment).returncode != 0
    assert server.get() == before


@looks_at("flux/README.md")
def test_an_event_of_flux_is_taken_by_the_server_but_has_no_sync_status(server):
    (event,) = re.findall(r"```json\n(.*?)```", (EXAMPLES / "flux/README.md").read_text(), re.DOTALL)
    server.post(json.loads(event))
    status = server.status()
    assert status == json.loads(event)
    assert not set(status) & set(UNKNOWN)
    # The next event, of another object, takes its place.
    server.post({**json.loads(event), "involvedObject": {"name": "infra"}})
    assert server.status()["involvedObject"] == {"name": "infra"}


# ---- docker-compose and systemd --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def container_tools(tmp_path_factory):
    """The environment for podman. Where CI has no right to raise its limits, podman's own are too high."""
    folder = tmp_path_factory.mktemp("containers")
    (folder / "containers.conf").write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
    path = f"{PYTHON_TOOLS}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "CONTAINERS_CONF": str(folder / "containers.conf")}


def build_image(tag, files, tmp_path, environment, *lines):
    """An image from nothing but files: no registry can be reached from here."""
    context = tmp_path / tag
    for path, source in files.items():
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, context / path)
    (tmp_path / f"{tag}.Dockerfile").write_text("\n".join(["FROM scratch", "COPY . /", *lines]))
    command = ["podman", "build", "--quiet", "--format", "docker", "--tag", f"localhost/{tag}", "--file"]
    succeed([*command, tmp_path / f"{tag}.Dockerfile", context], env=environment)
    return f"localhost/{tag}"


@looks_at("docker-compose/compose.yaml")
def test_compose_brings_the_server_up_hardened_and_it_keeps_the_status(container_tools, tmp_path):
    check_schema("vendor.compose-spec", "docker-compose/compose.yaml")
    libraries = re.findall(r"(/\S+) \(", run(["ldd", shutil.which("busybox")]).stdout)
    busybox = {"bin/chown": shutil.which("busybox")} | {path[1:]: path for path in libraries}
    server = ["podman", "build", "--quiet", "--format", "docker", "--tag", "localhost/examples-server", "--file"]
    succeed([*server, ROOT / "Dockerfile.scratch", "--build-arg", f"BINARY={BINARY.relative_to(ROOT)}", ROOT],
            env=container_tools)  # fmt: skip
    port = free_port()
    names = {
        "busybox:1.37": build_image("examples-busybox", busybox, tmp_path, container_tools, "ENV PATH=/bin"),
        "gitops-status-server:0.1.0": "localhost/examples-server",
        "127.0.0.1:8080:8080": f"127.0.0.1:{port}:8080",
    }
    text = (EXAMPLES / "docker-compose/compose.yaml").read_text()
    for name, here in names.items():
        assert text.count(name) == 1
        text = text.replace(name, here)
    project = tmp_path / f"examples{os.getpid()}"
    project.mkdir()
    (project / "compose.yaml").write_text(text)
    options = {"cwd": project, "env": container_tools}
    succeed(["podman-compose", "config"], **options)
    url = f"http://127.0.0.1:{port}"
    container = f"{project.name}_gitops-status-server_1"

    def get(path):
        retry = ["--retry", "20", "--retry-delay", "1", "--retry-all-errors"]
        return succeed(["curl", "-sS", "--fail", *retry, url + path])

    try:
        succeed(["podman-compose", "up", "--detach"], **options)
        assert json.loads(get("/status.json")) == UNKNOWN
        succeed(["curl", "-sS", "--fail", "-H", "Content-Type: application/json", "-d", '{"sync_status":"SYNCED"}',
                 url + "/api/status"])  # fmt: skip
        succeed(["podman", "healthcheck", "run", container], **options)
        inspected = json.loads(succeed(["podman", "inspect", container], stderr=subprocess.DEVNULL, **options))[0]
        host = inspected["HostConfig"]
        assert (host["Memory"], host["PidsLimit"], host["ReadonlyRootfs"]) == (16 << 20, 16, True)
        assert not inspected["EffectiveCaps"] and not inspected["BoundingCaps"]
        process = Path(f"/proc/{inspected['State']['Pid']}/status").read_text()
        assert re.search(r"^Uid:\s101\s101", process, re.M) and re.search(r"^NoNewPrivs:\s1$", process, re.M)
        assert re.search(r"^CapEff:\s0+$", process, re.M) and re.search(r"^CapBnd:\s0+$", process, re.M)
        # Killed, or ended and its containers gone: the volume has the status.
        for end in (["podman", "kill", container], ["podman-compose", "down"]):
            succeed(end, **options)
            succeed(["podman-compose", "up", "--detach"], **options)
            assert json.loads(get("/status.json")) == {"sync_status": "SYNCED"}
        begun = time.monotonic()
        succeed(["podman", "stop", "--time", "15", container], **options)
        assert time.monotonic() - begun < 5
        stopped = json.loads(succeed(["podman", "inspect", container], stderr=subprocess.DEVNULL, **options))[0]
        assert stopped["State"]["ExitCode"] == 0
    finally:
        run(["podman-compose", "down", "--volumes"], **options)
        run(["podman", "rmi", "--force", *list(names.values())[:2]], **options)


def unit_settings():
    """The settings of the unit's section [Service]; what is there twice is a list."""
    section = (EXAMPLES / "systemd/gitops-status-server.service").read_text().split("[Service]")[1].split("\n[")[0]
    pairs = [line.split("=", 1) for line in section.splitlines() if "=" in line and not line.startswith("#")]
    return {key: [value for name, value in pairs if name == key] for key, _ in pairs}


@looks_at("systemd/gitops-status-server.service")
def test_systemd_has_nothing_to_say_of_the_unit_and_finds_it_little_exposed(tmp_path):
    unit = EXAMPLES / "systemd/gitops-status-server.service"
    # systemd wants the program to be where the unit says.
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    shutil.copy(BINARY, tmp_path / "usr/local/bin/gitops-status-server")
    shutil.copy("/bin/kill", tmp_path / "bin/kill")
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    shutil.copy(unit, tmp_path / "etc/systemd/system")
    checked = run(["systemd-analyze", "verify", f"--root={tmp_path}", "--man=no", unit.name])
    assert (checked.returncode, checked.stdout) == (0, "")
    # 0 is not exposed at all, 100 is all open: without any hardening a service has 96.
    succeed(["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=12", unit])


def system_calls(name):
    """What systemd allows by `name`: a call, or a set of them and of sets."""
    if not name.startswith("@"):
        return {name}
    lines = succeed(["systemd-analyze", "--no-pager", "syscall-filter", name]).splitlines()[1:]
    members = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return set().union(*(system_calls(member) for member in members))


def test_the_server_makes_no_system_call_that_the_unit_denies_it(tmp_path):
    settings = unit_settings()
    allowed = set()
    for line in settings["SystemCallFilter"]:
        calls = set().union(*(system_calls(name) for name in line.removeprefix("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    # %S is where the states of all services are.
    environment = dict(value.split("=", 1) for value in settings["Environment"])
    assert set(environment) <= options_of_the_server()
    assert environment["STATUS_STATE_DIR"] == f"%S/{settings['StateDirectory'][0]}"
    environment |= {"STATUS_STATE_DIR": str(state), "STATUS_LISTEN": "127.0.0.1:0"}
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-o", str(trace), str(BINARY)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        port = next(m[1] for line in process.stderr if (m := re.search(r"listening on \S+:(\d+)$", line.rstrip())))
        url = f"http://127.0.0.1:{port}"
        for body in ('{"sync_status":"SYNCED"}', "not JSON", '{"sync_status":"OUT_OF_SYNC"}'):
            run(["curl", "-sS", "-H", "Content-Type: application/json", "-d", body, url + "/api/status"])
        for path in ("/status.json", "/health", "/ready", "/nothing"):
            run(["curl", "-sS", "--max-time", "5", url + path])
        (child,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        # What ExecReload sends, and what systemd sends to stop.
        assert settings["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
        os.kill(child, signal.SIGHUP)
        time.sleep(0.2)
        succeed(["curl", "-sS", "--fail", url + "/status.json"])
        os.kill(child, signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M))
    assert {"accept4", "fsync", "rename"} & made, "the trace is of no use"
    assert made <= allowed, f"denied: {sorted(made - allowed)}"


# ---- Grafana ---------------------------------------------------------------------------------------------------------

DASHBOARD = "grafana/dashboard.json"
BY_PROMETHEUS = "grafana/dashboard-prometheus.json"
DATA_SOURCE = "grafana/provisioning/datasources/gitops-status-server.yaml"
GREEN, RED, ORANGE, GREY = "#73BF69", "#F2495C", "#FF9830", "#808080"


@looks_at(DASHBOARD, BY_PROMETHEUS)
@pytest.mark.parametrize("path", [DASHBOARD, BY_PROMETHEUS])
def test_the_dashboard_has_the_types_that_grafana_reads(path, tmp_path):
    source = (ROOT / ".ci/dashboard.ts").read_text() + (EXAMPLES / path).read_text()
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "dashboard.ts").write_text(source)
    tsc = [NODE_MODULES / ".bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext"]
    succeed([*tsc, "--moduleResolution", "nodenext", "dashboard.ts"], cwd=tmp_path)
    # It would say so, were it otherwise.
    (tmp_path / "dashboard.ts").write_text(source.replace('"colorMode"', '"colourMode"'))
    assert "colourMode" in run([*tsc, "--moduleResolution", "nodenext", "dashboard.ts"], cwd=tmp_path).stdout


def check_places(panels):
    """No panel lies on another one, or beside the screen, or has the number of another one."""
    places = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = set(itertools.product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])))
        assert not cells & places and grid["x"] + grid["w"] <= 24
        places |= cells
    # Nor is a place left empty among them.
    assert len(places) == 24 * (1 + max(y for _, y in places))
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_panels_lie_beside_each_other_and_ask_the_data_source_of_the_variable():
    dashboard = json.loads((EXAMPLES / DASHBOARD).read_text())
    (variable,) = dashboard["templating"]["list"]
    (source,) = load(DATA_SOURCE)["datasources"]
    assert variable["query"] == source["type"] == "yesoreyeram-infinity-datasource"
    assert variable["current"]["value"] == source["uid"]
    assert dashboard["refresh"] == "30s"
    for panel in dashboard["panels"]:
        uid = f"${{{variable['name']}}}"
        for asked in (panel["datasource"], panel["targets"][0]["datasource"]):
            assert asked == {"type": source["type"], "uid": uid}
        # Grafana replaces $ and what follows before it asks.
        assert "$" not in panel["targets"][0]["root_selector"]
    check_places(dashboard["panels"])
    assert len(dashboard["panels"]) == 7


def test_the_panels_by_prometheus_lie_beside_each_other_and_ask_for_what_is_chosen():
    dashboard = json.loads((EXAMPLES / BY_PROMETHEUS).read_text())
    other = json.loads((EXAMPLES / DASHBOARD).read_text())
    assert dashboard["uid"] != other["uid"] and dashboard["title"] != other["title"]
    source, *variables = dashboard["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert [variable["name"] for variable in variables] == ["job", "namespace", "instance"]
    asked = {"type": "prometheus", "uid": f"${{{source['name']}}}"}
    for number, variable in enumerate(variables):
        assert variable["datasource"] == asked
        # Each list depends on what is chosen in those before it.
        assert set(re.findall(r"\$(\w+)", variable["query"]["query"])) == {v["name"] for v in variables[:number]}
    for panel in dashboard["panels"]:
        assert panel["datasource"] == asked
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == asked and target["instant"] is not target["range"]
            metrics = re.findall(r"\b(?:gitops_status|process)_\w+", target["expr"])
            chosen = 'job="$job", namespace=~"$namespace", instance=~"$instance"'
            assert metrics and target["expr"].count(chosen) == len(metrics)
    check_places(dashboard["panels"])


def frame(target, body):
    """What Infinity makes of an answer: its jq picks the rows, a column is taken from each, and given a type."""
    picked = succeed(["gojq", "--compact-output", target["root_selector"]], input=body)
    rows = [json.loads(line) for line in picked.splitlines()]
    if len(rows) == 1 and isinstance(rows[0], list):
        rows = rows[0]
    kinds = {"string": (str, "string"), "number": ((int, float), "number"), "timestamp": (str, "time")}
    columns = {}
    for column in target["columns"] if rows else []:
        wanted, kind = kinds[column["type"]]
        values = [row[column["selector"]] for row in rows]
        assert all(value is None or isinstance(value, wanted) for value in values)
        columns[column["text"]] = {"type": kind, "values": [moment(v) for v in values] if kind == "time" else values}
    return columns


def moment(text):
    """Milliseconds since 1970; Infinity makes nothing of a text that is no time."""
    try:
        return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)
    except (TypeError, ValueError):
        return None


def shown(server):
    """What the dashboard shows of the server's answer, a list of rows for each panel."""
    panels = json.loads((EXAMPLES / DASHBOARD).read_text())["panels"]
    frames = {}
    for panel in panels:
        (target,) = panel["targets"]
        frames[panel["id"]] = frame(target, server.get(target["url"]).decode())
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(NODE_MODULES)}
    answer = succeed(["node", ROOT / ".ci/dashboard.js"], input=json.dumps({"panels": panels, "frames": frames}),
                     env=environment)  # fmt: skip
    return {panel["title"]: json.loads(answer)[str(panel["id"])] for panel in panels}


def ago(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


FILES = ["größe.yaml", 'a "b".yaml']

# A status, and what is seen of it: the state, the drift and the age, each with its colour, and the files.
VIEWS = {
    "none yet": (None, ("UNKNOWN", GREY), ("0", GREEN), ("never", GREY), []),
    "synced": (
        {"sync_status": "SYNCED", "drift_count": 0, "files": [], "last_check": lambda: ago(90)},
        ("SYNCED", GREEN), ("0", GREEN), ("2 mins", GREEN), [],
    ),
    "drift, names as strings": (
        {"sync_status": "OUT_OF_SYNC", "drift_count": 2, "files": FILES, "last_check": lambda: ago(7200)},
        ("OUT_OF_SYNC", RED), ("2", RED), ("2 hours", ORANGE), FILES,
    ),
    "drift, names in objects": (
        {"sync_status": "OUT_OF_SYNC", "drift_count": 1, "files": [{"name": "a", "lines": [1, 2]}],
         "last_check": lambda: ago(3 * 86400)},
        ("OUT_OF_SYNC", RED), ("1", RED), ("3 days", RED), ["a"],
    ),
    "both kinds of names": (
        {"sync_status": "OUT_OF_SYNC", "drift_count": 9007199254740991, "files": ["a", {"name": "b"}]},
        ("OUT_OF_SYNC", RED), ("9007199254740991", RED), ("never", GREY), ["a", "b"],
    ),
    "everything is null": (
        dict.fromkeys(UNKNOWN), ("UNKNOWN", GREY), ("not counted", GREY), ("never", GREY), [],
    ),
    "nothing is there": ({}, ("UNKNOWN", GREY), ("not counted", GREY), ("never", GREY), []),
    "an own word, a time with an offset": (
        {"sync_status": "HELD", "last_check": lambda: ago(90 - 7200).replace("Z", "+02:00")},
        ("HELD", ORANGE), ("not counted", GREY), ("2 mins", GREEN), [],
    ),
    "a time with fractions": (
        {"sync_status": "SYNCED", "last_check": lambda: ago(90).replace("Z", ".123456Z")},
        ("SYNCED", GREEN), ("not counted", GREY), ("2 mins", GREEN), [],
    ),
    "a time that is none": (
        {"sync_status": "", "last_check": "yesterday"}, ("UNKNOWN", GREY), ("not counted", GREY), ("never", GREY), [],
    ),
    "names that are markup, numbers in words": (
        {"sync_status": "SYNCED", "files": ["<b>x</b>", "null", "0"]},
        ("SYNCED", GREEN), ("not counted", GREY), ("never", GREY), ["<b>x</b>", "null", "0"],
    ),
    "an event of Flux": (
        {"severity": "error", "message": "x", "metadata": {}},
        ("UNKNOWN", GREY), ("not counted", GREY), ("never", GREY), [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_the_dashboard_shows_any_status_that_the_server_takes(view, server):
    status, state, drift, age, files = VIEWS[view]
    if status is not None:
        server.post({key: value() if callable(value) else value for key, value in status.items()})
    seen = shown(server)
    for title, (text, color) in {"State": state, "Drift": drift, "Age of the last check": age}.items():
        assert seen[title] == [{"text": text, "color": color}], title
    assert seen["Files"] == [{"File": name} for name in files]


def test_the_dashboard_shows_what_was_checked(server):
    server.post({"repo": "shop", "server": "prod-1", "commit": "7d0cdc5", "last_check": "2026-04-21T10:30:00Z"})
    row = {"Repository": "shop", "Server": "prod-1", "Commit": "7d0cdc5", "Last check": "2026-04-21 10:30:00"}
    assert shown(server)["What was checked"] == [row]
    server.post({"repo": "shop"})
    (row,) = shown(server)["What was checked"]
    assert (row["Repository"], row["Server"]) == ("shop", "-")


def test_the_dashboard_shows_the_history(server):
    assert (shown(server)["History"], shown(server)["History in numbers"]) == ([], [])
    before = int(time.time())
    server.post({"sync_status": "SYNCED", "drift_count": 0, "files": [], "last_check": "2026-04-21T10:30:00Z"})
    server.post({"sync_status": "SYNCED", "drift_count": 0, "files": [], "last_check": "2026-04-21T10:40:00Z"})
    server.post({"sync_status": "OUT_OF_SYNC", "drift_count": 2, "files": FILES})
    server.post({"sync_status": ""})
    server.post({"sync_status": "HELD", "last_check": "yesterday"})
    seen = shown(server)
    # From the left to the right, and from the top to the bottom.
    states = [("SYNCED", GREEN), ("OUT_OF_SYNC", RED), ("UNKNOWN", GREY), ("HELD", ORANGE)]
    assert [(at["text"], at["color"]) for at in seen["History"]] == states
    times = [at["time"] / 1000 for at in seen["History"]]
    assert times == sorted(times) and before <= times[0] and times[-1] <= time.time()
    rows = seen["History in numbers"]
    assert [row.pop("State") for row in rows] == ["HELD", "-", "OUT_OF_SYNC", "SYNCED"]
    for row in rows:
        for column in ("Since", "Last post"):
            # With milliseconds, for the rows are of one minute.
            then = calendar.timegm(time.strptime(row.pop(column), "%Y-%m-%d %H:%M:%S.000"))
            assert before <= then <= time.time()
    assert rows == [
        {"Posts": "1", "Drift": "-", "Files": "-", "Last check": "-"},
        {"Posts": "1", "Drift": "-", "Files": "-", "Last check": "-"},
        {"Posts": "1", "Drift": "2", "Files": "2", "Last check": "-"},
        {"Posts": "2", "Drift": "0", "Files": "0", "Last check": "2026-04-21 10:40:00"},
    ]


@looks_at(DATA_SOURCE, "grafana/provisioning/dashboards/gitops-status-server.yaml")
def test_the_data_source_asks_the_server_and_nobody_else(server):
    provisioned = load(DATA_SOURCE)
    (source,) = provisioned["datasources"]
    assert provisioned["apiVersion"] == 1 and source["access"] == "proxy" and source["url"] == SERVICE_URL
    # Infinity puts the query's URL behind the source's, and asks if an allowed URL is the beginning of that.
    urls = [panel["targets"][0]["url"] for panel in json.loads((EXAMPLES / DASHBOARD).read_text())["panels"]]
    health = source["jsonData"]["customHealthCheckUrl"]
    for path in {*urls, health}:
        assert any((source["url"] + path).startswith(allowed) for allowed in source["jsonData"]["allowedHosts"])
        assert server.get(path)
    assert source["jsonData"]["customHealthCheckEnabled"] is True
    # The settings by these names are Infinity's; it ignores others.
    known = {"allowedHosts", "timeoutInSeconds", "customHealthCheckEnabled", "customHealthCheckUrl"}
    assert set(source["jsonData"]) <= known
    provider = load("grafana/provisioning/dashboards/gitops-status-server.yaml")
    assert provider["apiVersion"] == 1
    (only,) = provider["providers"]
    assert only["type"] == "file" and only["options"]["path"].startswith("/var/lib/grafana/")


# ---- Prometheus ------------------------------------------------------------------------------------------------------

# `.ci/monitoring` tries them, with a server and a Prometheus.
looks_at(*(f"prometheus/{name}" for name in ("prometheus.yml", "rules.yaml", "rules_test.yaml")))


@looks_at("prometheus/prometheusrule.yaml")
def test_the_alerts_for_the_operator_are_those_for_prometheus():
    """`.ci/monitoring --write` makes them anew."""
    rule = load("prometheus/prometheusrule.yaml")
    assert rule["spec"] == load("prometheus/rules.yaml")
    done = check_custom(rule)
    assert done.returncode == 0, done.stdout
    rule["spec"]["groups"][0]["rules"][0]["labels"] = "severity: warning"
    assert "labels" in check_custom(rule).stdout


# ---- All together ----------------------------------------------------------------------------------------------------


@looks_at("README.md")
def test_the_readme_tells_of_every_example():
    readme = (EXAMPLES / "README.md").read_text()
    links = set(re.findall(r"\]\(([^)#]+?)/?\)", readme))
    for link in links:
        assert (EXAMPLES / link).exists(), f"{link} leads nowhere"
    here = {path.name for path in EXAMPLES.iterdir()} - {"README.md"}
    assert here <= {link.split("/")[0] for link in links}


def test_no_example_names_a_host_outside_of_the_cluster():
    allowed = re.compile(r"(^|\.)(example\.(com|org)|cluster\.local|localhost|default\.svc)$")
    for path in EXAMPLES.rglob("*"):
        if not path.is_file():
            continue
        for host in re.findall(r"https?://([^/:\s'\"`<>)]+)", path.read_text()):
            with contextlib.suppress(ValueError):
                assert ipaddress.ip_address(host).is_loopback, f"{path}: {host}"
                continue
            assert allowed.search(host) or "." not in host, f"{path}: {host}"


def test_every_file_of_the_examples_is_looked_at_by_a_test():
    files = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if not path.is_dir()}
    assert files == looked_at
