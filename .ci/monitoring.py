"""What Prometheus gets from /metrics and what is made of it, tried with promtool and with Prometheus itself.
`.ci/monitoring BINARY` installs the tools and calls this.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from server import Server, bound

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
RULES = EXAMPLES / "prometheus/rules.yaml"
DASHBOARD = json.loads((EXAMPLES / "grafana/dashboard-prometheus.json").read_text())
NODE_MODULES = ROOT / "target/tools/node/node_modules"
GREEN, RED, ORANGE, GREY, BLUE = "#73BF69", "#F2495C", "#FF9830", "#808080", "#5794F2"

# Texts that end a label, a sample or a line, or look like one, where they are not escaped; and some that are long.
HOSTILE = {
    "quotes": '"} 1\ngitops_status_synced 1\n# "',
    "backslashes": "\\ \\\\ \\n \\\" \\",
    "line ends": "\n\r\n\r\u2028\u2029\x85",
    "controls": "\x00\x01\x08\t\x0b\x1b[31m\x7f",
    "UTF-8": "größe 日本語 \U0001f600 \u202eabc\u0301",
    "labels": '{a="b",}=1 # HELP x\\',
    "empty": "",
    "long": "ä" * 60,
    "long, to be escaped": '"' * 200,
    "markup": "<script>alert(1)</script>{{ template }} $labels %s",
}


def run(command, **options):
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


def until(condition, what, seconds=20):
    """What `condition` gives as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return found


def post(server, status):
    """The code of the answer."""
    body = status if isinstance(status, bytes) else json.dumps(status).encode()
    request = urllib.request.Request(server.url + "/api/status", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def now(ago=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))


# ---- /metrics --------------------------------------------------------------------------------------------------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
# The state of the server says which of these have a sample.
MAY_HAVE_NONE = {
    f"gitops_status_{name}"
    for name in ("drift_count", "files", "last_check_timestamp_seconds", "last_post_timestamp_seconds",
                 "last_refused_post_timestamp_seconds")
}  # fmt: skip
FAMILIES = {
    "gitops_status_" + name: kind
    for kind, names in {
        "gauge": "info state synced stale drift_count files bytes last_check_timestamp_seconds"
        " last_post_timestamp_seconds last_refused_post_timestamp_seconds connections connections_max body_buffers"
        " body_buffers_max snapshot_slots snapshot_slots_max ready build_info",
        "counter": "posts_accepted_total posts_refused_total http_requests_total http_received_bytes_total"
        " http_sent_bytes_total connections_accepted_total connections_evicted_total connections_timed_out_total"
        " state_writes_total state_write_failures_total",
    }.items()
    for name in names.split()
} | {"process_start_time_seconds": "gauge", "process_resident_memory_bytes": "gauge"}
REQUESTS = "gitops_status_http_requests_total"
ROUTES = {"status", "post", "health", "ready", "metrics", "page", "badge", "history", "server", "none"}
CODES = "200 204 304 400 404 405 408 414 415 417 431 501 503 505 507".split()
LABELS = {
    "state": {"synced", "out_of_sync", "unknown", "other"},
    "route": ROUTES,
    "method": {"read", "write", "other"},
    "code": set(CODES),
}
# A sample for each metric, four for the state, and for the requests at most one for each of their labels.
MOST_SERIES = len(FAMILIES) + 3 + len(ROUTES) * 3 * len(CODES)
# promtool keeps the end of this name for histograms. The metric is called after the field drift_count of the status.
KNOWN_COMPLAINT = 'gitops_status_drift_count non-histogram and non-summary metrics should not have "_count" suffix\n'


def read(text):
    """The samples of a text in the format of Prometheus, 0.0.4, as {(name, ((label, value), ...)): number}. It has to
    be as strict as the format allows: HELP, TYPE and then the samples, of each family once and in one piece."""
    assert text.endswith("\n") and not text.endswith("\n\n")
    samples, helped, kinds = {}, [], {}
    for line in text[:-1].split("\n"):
        if found := re.fullmatch(rf"# HELP ({NAME}) (\S.*\.)", line):
            assert found[1] not in helped, f"{line!r} is there twice"
            helped.append(found[1])
        elif found := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", line):
            assert found[1] == helped[-1] and found[1] not in kinds, line
            kinds[found[1]] = found[2]
        else:
            found = re.fullmatch(rf"({NAME})(?:\{{(.*)\}})? (0|[1-9][0-9]*)", line)
            assert found, f"{line!r} is no sample"
            name, inside, number = found.groups()
            assert name == helped[-1] and name in kinds, f"{line!r} is behind the wrong family"
            labels, at = [], 0
            while inside and at < len(inside):
                label = LABEL.match(inside, at)
                assert label, f"{line!r} has no label at {inside[at:]!r}"
                value = re.sub(r"\\(.)", lambda escaped: {"n": "\n"}.get(escaped[1], escaped[1]), label[2])
                labels.append((label[1], value))
                at = label.end()
            assert len(dict(labels)) == len(labels)
            key = (name, tuple(labels))
            assert key not in samples, f"{line!r} is there twice"
            samples[key] = int(number)
    assert kinds == FAMILIES
    return samples


class Scrape:
    """What a GET of /metrics brings, which is right in everything that has to hold at any time."""

    def __init__(self, server):
        with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            body = answer.read()
            assert int(answer.headers["Content-Length"]) == len(body)
        self.text = body.decode()
        self.samples = read(self.text)
        checked = run(["promtool", "check", "metrics"], input=self.text)
        has_known = ("gitops_status_drift_count", ()) in self.samples
        assert checked.stdout == (KNOWN_COMPLAINT if has_known else ""), checked.stdout
        assert {name for name, _ in self.samples} >= set(FAMILIES) - MAY_HAVE_NONE
        assert len(self.samples) <= MOST_SERIES
        states = {dict(labels)["state"]: value for (name, labels), value in self.samples.items() if name == STATE}
        assert set(states) == LABELS["state"] and sorted(states.values()) == [0, 0, 0, 1]
        self.state = max(states, key=states.get)
        assert self["synced"] == (self.state == "synced")
        (self.info,) = [dict(labels) for (name, labels) in self.samples if name == "gitops_status_info"]
        assert list(self.info) == ["repo", "server", "sync_status"]
        for name, labels in self.samples:
            if name not in ("gitops_status_info", "gitops_status_build_info"):
                assert all(value in LABELS[label] for label, value in labels), (name, labels)
        assert self.labels_of("gitops_status_build_info") == [{"version": version()}]
        # Those that should happen are there before they do.
        requests = self.labels_of(REQUESTS)
        for route in ROUTES - {"server", "none"}:
            assert {"route": route, "method": "write" if route == "post" else "read", "code": "200"} in requests
        for used in ("connections", "body_buffers", "snapshot_slots"):
            assert 0 <= self[used] <= self[used + "_max"]
        assert self["connections"] >= 1
        assert 0 < self.samples["process_start_time_seconds", ()] <= time.time()
        assert 100_000 < self.samples["process_resident_memory_bytes", ()] < 16 << 20

    def labels_of(self, family):
        return [dict(labels) for name, labels in self.samples if name == family]

    def __getitem__(self, name):
        return self.samples[f"gitops_status_{name}", ()]

    def get(self, name):
        return self.samples.get((f"gitops_status_{name}", ()))

    def requests(self, **wanted):
        """How many requests have these labels."""
        found = {key: value for key, value in self.samples.items() if key[0] == REQUESTS}
        return sum(value for (_, labels), value in found.items() if wanted.items() <= dict(labels).items())

    def check_since(self, before):
        """No counter has gone down, and none is gone."""
        for (name, labels), value in before.samples.items():
            if FAMILIES[name] == "counter":
                assert self.samples[name, labels] >= value, (name, labels)
        assert self.samples["process_start_time_seconds", ()] == before.samples["process_start_time_seconds", ()]


STATE = "gitops_status_state"


def version():
    return re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def test_a_server_that_nobody_has_posted_to_says_so():
    with Server("--max-connections", "17") as server:
        metrics = Scrape(server)
        assert metrics.state == "unknown"
        assert metrics.info == {"repo": "", "server": "", "sync_status": "UNKNOWN"}
        assert metrics["bytes"] == len(server.get())
        assert (metrics["stale"], metrics["ready"], metrics["connections_max"]) == (0, 1, 17)
        for name in ("posts_accepted_total", "posts_refused_total", "state_writes_total"):
            assert metrics[name] == 0
        for name in ("last_check", "last_post", "last_refused_post"):
            assert metrics.get(name + "_timestamp_seconds") is None


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"])
def test_whatever_format_is_preferred_the_one_that_there_is_comes(accept):
    with Server() as server:
        request = urllib.request.Request(server.url + "/metrics?name[]=up", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert read(answer.read().decode())


def cut(text):
    """A text as a label has it: at most 96 bytes of whole characters, and a sign where it is longer."""
    kept = text.encode()[:96].decode(errors="ignore")
    return kept if kept == text else kept + "…"


def test_posts_become_numbers_and_texts_whatever_is_in_them():
    with Server() as server:
        before = Scrape(server)
        for number, (kind, text) in enumerate(HOSTILE.items(), 1):
            status = {"repo": text, "server": text[::-1], "sync_status": text}
            begun = int(time.time())
            assert post(server, status) == 200
            metrics = Scrape(server)
            metrics.check_since(before)
            assert metrics.info == {label: cut(value) for label, value in status.items()}, kind
            assert all(len(value.encode()) <= 96 + len("…".encode()) for value in metrics.info.values())
            assert metrics.state == ("unknown" if kind == "empty" else "other")
            assert metrics["posts_accepted_total"] == number
            assert begun <= metrics["last_post_timestamp_seconds"] <= time.time()
            assert metrics["bytes"] == len(server.get())
            for name in ("drift_count", "files", "last_check_timestamp_seconds"):
                assert metrics.get(name) is None
            # With the first, the time of it has come, and the two numbers of the status before it have gone.
            assert len(metrics.samples) == len(before.samples) - (1 if number == 1 else 0)
            before = metrics


@pytest.mark.parametrize(
    ("word", "state"),
    [("SYNCED", "synced"), ("Synced", "synced"), ("OUT_OF_SYNC", "out_of_sync"), ("OutOfSync", "out_of_sync"),
     ("UNKNOWN", "unknown"), (None, "unknown"), ("HELD", "other"), ("SYNCED ", "synced"), ("SYNCED!", "other")],
)  # fmt: skip
def test_exactly_one_state_is_1(word, state):
    with Server() as server:
        numbers = {"drift_count": 9007199254740991, "files": ["a", {"name": "b"}]}
        assert post(server, {"sync_status": word, **numbers}) == 200
        metrics = Scrape(server)
        assert (metrics.state, metrics.info["sync_status"]) == (state, word or "")
        assert (metrics["drift_count"], metrics["files"]) == (9007199254740991, 2)


@pytest.mark.parametrize(
    ("last_check", "seconds"),
    [("2026-04-21T10:30:00Z", 1776767400), ("2026-04-21T12:30:00.75+02:00", 1776767400), ("yesterday", None),
     ("2026-04-21", None), (None, None)],
)  # fmt: skip
def test_the_last_check_has_a_sample_where_it_is_a_time(last_check, seconds):
    with Server() as server:
        assert post(server, {"sync_status": "SYNCED", "last_check": last_check}) == 200
        assert Scrape(server).get("last_check_timestamp_seconds") == seconds


def test_refused_posts_are_counted_and_change_nothing_else():
    with Server("--max-bytes", "200") as server:
        assert post(server, {"repo": "kept", "sync_status": "SYNCED"}) == 200
        accepted = Scrape(server)
        assert accepted.get("last_refused_post_timestamp_seconds") is None
        time.sleep(1.1)
        begun = int(time.time())
        refused = [b"no JSON", b'{"drift_count":-1}', b'{"more":"' + b"x" * 300 + b'"}', b"\xff"]
        for body in refused:
            assert post(server, body) == 400
        metrics = Scrape(server)
        metrics.check_since(accepted)
        assert metrics["posts_refused_total"] == len(refused) and metrics["posts_accepted_total"] == 1
        assert begun <= metrics["last_refused_post_timestamp_seconds"] <= time.time()
        for name in ("bytes", "synced", "last_post_timestamp_seconds"):
            assert metrics[name] == accepted[name]
        assert metrics.info == accepted.info
        assert metrics.requests(route="post", code="400") == len(refused)


def test_a_state_that_cannot_be_stored_is_counted_and_seen_as_not_ready(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    with Server("--state-dir", str(state)) as server:
        assert Scrape(server)["state_writes_total"] == 0
        assert post(server, {"repo": "a", "sync_status": "SYNCED"}) == 200
        stored = Scrape(server)
        assert (stored["state_writes_total"], stored["state_write_failures_total"], stored["ready"]) == (1, 0, 1)
        state.rename(tmp_path / "away")
        assert post(server, {"repo": "b", "sync_status": "SYNCED"}) == 503
        failed = Scrape(server)
        failed.check_since(stored)
        assert failed["state_write_failures_total"] >= 1 and failed["ready"] == 0
        assert (failed["posts_refused_total"], failed.info["repo"]) == (1, "a")
        (tmp_path / "away").rename(state)
        assert until(lambda: server_is_ready(server), "ready again")
        ready = Scrape(server)
        ready.check_since(failed)
        assert ready["ready"] == 1
        # Another start knows the status, and when it came.
        assert server.stop() == 0
    with Server("--state-dir", str(state)) as server:
        again = Scrape(server)
        assert (again.info["repo"], again.state, again["posts_accepted_total"]) == ("a", "synced", 0)


def server_is_ready(server):
    try:
        return server.get("/ready")
    except urllib.error.HTTPError:
        return False


def test_a_stale_status_is_told_and_readiness_follows_where_it_is_asked_to():
    for arguments, ready in [(["--stale-unready"], 0), ([], 1)]:
        with Server("--stale-after", "1", *arguments) as server:
            assert post(server, {"sync_status": "SYNCED"}) == 200
            fresh = Scrape(server)
            assert (fresh["stale"], fresh["ready"]) == (0, 1)
            time.sleep(2.1)
            stale = Scrape(server)
            stale.check_since(fresh)
            assert (stale["stale"], stale["ready"]) == (1, ready)
            # What was known is still told.
            assert stale.state == "synced"
            assert post(server, {"sync_status": "SYNCED"}) == 200
            assert (Scrape(server)["stale"], Scrape(server)["ready"]) == (0, 1)


def send(server, *requests):
    """Sends requests as they are, each on a connection of its own, and takes what comes."""
    for request in requests:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(request)
            with contextlib.suppress(ConnectionError):
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass


def strange(mark):
    """Requests that are all unlike each other, with a word in every part that a client can choose."""
    mark = mark.encode()
    paths = [b"/" + mark, b"/metrics/" + mark, b"/status.json?" + mark, b"/%22%7D" + mark, b"//" + mark]
    paths += [b"/x" * 1500 + mark]
    methods = [mark.upper(), b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"TRACE", mark]
    fields = b"\r\nHost: " + mark + b"\r\n" + mark + b": " + mark + b"\r\n\r\n"
    for path in paths:
        for method in methods:
            for protocol in (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/3.7"):
                yield method + b" " + path + b" " + protocol + fields
    yield b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"
    yield b"GET /" + mark + b"\r\n\r\n"
    yield b"GET /status.json HTTP/1.1\r\nHost: x\r\nX: " + mark * 2000 + b"\r\n\r\n"
    yield b"POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Type: text/" + mark + b"\r\nContent-Length: 2\r\n\r\n{}"
    yield b"GET /status.json HTTP/1.1\r\nHost: x\r\nExpect: " + mark + b"\r\n\r\n"


def test_nothing_that_a_client_chooses_becomes_a_label_and_the_number_of_series_is_bounded():
    with Server() as server:
        before = Scrape(server)
        send(server, *strange("zzzbrew"))
        first = Scrape(server)
        first.check_since(before)
        send(server, *strange("yyytea"))
        second = Scrape(server)
        second.check_since(first)
        for word in ("zzz", "yyy"):
            assert word not in second.text.lower()
        # A second time of other requests is no other series, but counts in the ones that there are.
        assert set(second.samples) == set(first.samples)
        assert len(second.samples) < 100
        assert first.requests(route="none") > 50 and second.requests(route="none") >= 2 * first.requests(route="none")
        codes = {dict(labels)["code"] for name, labels in second.samples if name == REQUESTS}
        assert codes >= {"200", "400", "404", "405", "414", "415", "431", "501", "505"}
        # In all of this nothing was posted.
        assert second["posts_accepted_total"] == 0


def test_requests_bytes_and_connections_are_counted():
    with Server() as server:
        before = Scrape(server)
        for _ in range(5):
            server.get()
        with pytest.raises(urllib.error.HTTPError):
            server.get("/nothing")
        after = Scrape(server)
        after.check_since(before)
        assert after.requests(route="status", method="read", code="200") == 5
        assert after.requests(route="none", method="read", code="404") == 1
        # The scrape itself is counted when it is answered.
        assert after.requests(route="metrics") - before.requests(route="metrics") == 1
        assert after["connections_accepted_total"] - before["connections_accepted_total"] == 7
        # Seven requests of one line and few fields.
        assert 7 * 50 < after["http_received_bytes_total"] - before["http_received_bytes_total"] < 7 * 200
        sent = 5 * len(server.get()) + len(before.text)
        assert after["http_sent_bytes_total"] - before["http_sent_bytes_total"] > sent
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        until(lambda: Scrape(server)["connections"] >= 4, "connections that are open are counted", 5)
        for connection in held:
            connection.close()
        until(lambda: Scrape(server)["connections"] == 1, "connections that are closed are not", 5)


@pytest.mark.parametrize(
    ("arguments", "count", "told", "other"),
    [(["--max-connections", "8"], 30, "evicted", "timed_out"),
     (["--idle-timeout", "1", "--head-timeout", "1"], 3, "timed_out", "evicted")],
)  # fmt: skip
def test_connections_that_have_to_go_are_counted_by_why(arguments, count, told, other):
    with Server(*arguments) as server, contextlib.ExitStack() as held:
        for _ in range(count):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        until(lambda: Scrape(server)[f"connections_{told}_total"] > 0, f"some are {told}", 5)
        assert Scrape(server)[f"connections_{other}_total"] == 0


# ---- The alerts ------------------------------------------------------------------------------------------------------


def test_promtool_has_nothing_to_say_of_the_rules_and_of_the_configuration():
    for folder in ("examples/prometheus", "charts/gitops-status-server"):
        assert "SUCCESS: 8 rules found" in succeed(["promtool", "check", "rules", ROOT / folder / "rules.yaml"])
    succeed(["promtool", "check", "config", EXAMPLES / "prometheus/prometheus.yml"])
    config = yaml.safe_load((EXAMPLES / "prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    # What all alerts ask for.
    expressions = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    for expression in expressions:
        metrics = re.findall(r"\b(?:gitops_status_\w+|process_\w+|up)\b(?=\{)", expression)
        asked = f'{{job="{job["job_name"]}"'
        assert metrics and expression.count(asked) == len(metrics) == expression.count("{")


def test_the_alerts_pass_their_unit_tests():
    output = succeed(["promtool", "test", "rules", "rules_test.yaml"], cwd=EXAMPLES / "prometheus")
    assert "SUCCESS" in output
    tests = yaml.safe_load((EXAMPLES / "prometheus/rules_test.yaml").read_text())["tests"]
    told = {alert["alertname"] for test in tests for alert in test.get("alert_rule_test", ()) if alert["exp_alerts"]}
    assert told == {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


def test_each_alert_tells_what_is_and_what_to_do():
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["alert"].startswith("GitOps")
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "description", "runbook"}
            assert "$labels.instance" in rule["annotations"]["summary"]


JOB = '{job="gitops-status-server"}'
# Each of these is another alert, which is not what the unit tests describe.
CHANGES = [
    ("for: 15m", "for: 14m"), ("for: 15m", "for: 16m"), ('"}[5m]) == 1', '"}[1m]) == 1'), ('"}[5m]) ==', '"}[5m]) !='),
    ("> 3600", "> 3660"), ("> 3600", "> 3540"), ("< time() + 300", "< time() + 30"), ("< time() + 300", "> 0"),
    ("for: 2m", "for: 1m"), ("for: 2m", "for: 3m"),
    ("or\n              gitops_status_last_post", "unless\n              gitops_status_last_post"),
    ("or\n              process_start", "unless\n              process_start"),
    (f"stale{JOB} == 1", f"stale{JOB} == 0"), ("for: 1m", "for: 0m"), ("for: 1m", "for: 2m"),
    ("< 900", "< 840"), ("< 900", "< 960"),
    ("[15m]) > 0", "[5m]) > 0"), ("[15m]) > 0", "[30m]) > 0"), ("[15m]) > 0", "[15m]) > 1"), ("increase(", "changes("),
    (f"ready{JOB} == 0", f"ready{JOB} == 1"), (">= 2", ">= 1"), (">= 2", ">= 3"), ("[1h]", "[2h]"),
    (f"up{JOB} == 0 or ", ""), (f" or absent(up{JOB})", ""), (f"up{JOB} == 0", "up == 0"), ("for: 5m", "for: 4m"),
    ("for: 5m", "for: 6m"), ("severity: critical", "severity: warning"),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=[f"{number}" for number in range(len(CHANGES))])
def test_the_unit_tests_fail_where_an_alert_is_another_one(change, tmp_path):
    shutil.copy(EXAMPLES / "prometheus/rules_test.yaml", tmp_path)
    text = RULES.read_text()
    assert change[0] in text, change
    (tmp_path / "rules.yaml").write_text(text.replace(*change))
    done = run(["promtool", "test", "rules", "rules_test.yaml"], cwd=tmp_path)
    assert done.returncode == 1 and "FAILED" in done.stdout, f"{change}: {done.stdout}"


# ---- With Prometheus -------------------------------------------------------------------------------------------------


class Prometheus:
    """One that scrapes ports of this machine each second, by the configuration and the alerts of the examples. All that
    is changed are the ports and the times: what has to last for minutes has to last for seconds here."""

    def __init__(self, folder, ports):
        config = (EXAMPLES / "prometheus/prometheus.yml").read_text()
        assert config.count("30s") == 2 and config.count('"127.0.0.1:8080"') == 1
        targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        config = config.replace("30s", "1s").replace('"127.0.0.1:8080"', targets)
        (folder / "prometheus.yml").write_text(config)
        (folder / "rules.yaml").write_text(re.sub(r"for: \d+m", "for: 2s", RULES.read_text()))
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]  # fmt: skip
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(bound(command), cwd=folder, stdout=log, stderr=log)
        try:
            until(self.is_ready, "Prometheus is ready")
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{(folder / 'log').read_text()}") from None

    def is_ready(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(self.url + "/-/ready", timeout=5).status == 200

    def ask(self, path, **parameters):
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression):
        """The results at this moment: labels and number of each."""
        data = self.ask("query", query=expression)
        assert data["resultType"] == "vector"
        return [(found["metric"], float(found["value"][1])) for found in data["result"]]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Target:
    """An address at which a server can be, and what Prometheus knows of it."""

    def __init__(self, prometheus, port):
        self.prometheus = prometheus
        self.instance = f"127.0.0.1:{port}"
        self.labels = {"job": "gitops-status-server", "instance": self.instance}

    def start(self, *arguments):
        return Server(*arguments, listen=self.instance)

    def query(self, name):
        return self.prometheus.query(f'{name}{{instance="{self.instance}"}}')

    def number(self, name):
        found = self.query(name)
        return found[0][1] if found else None

    def wait_until_scraped(self):
        """Waits until all that is so now is known to Prometheus."""
        now = time.time()
        name = f'timestamp(gitops_status_ready{{instance="{self.instance}"}})'
        until(lambda: any(at > now for _, at in self.prometheus.query(name)), "it is scraped")

    def alerts(self):
        alerts = self.prometheus.ask("alerts")["alerts"]
        return {a["labels"]["alertname"]: a for a in alerts if a["labels"].get("instance") == self.instance}

    def states(self):
        return {name: alert["state"] for name, alert in self.alerts().items()}

    def wait_for(self, expected):
        """Waits until these alerts are firing, and no other is there."""
        until(lambda: self.states() == dict.fromkeys(expected, "firing"), f"{expected}, and not {self.states()}")


@pytest.fixture(scope="session")
def targets(tmp_path_factory):
    ports = [free_port() for _ in range(4)]
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), ports)
    yield [Target(prometheus, port) for port in ports]
    prometheus.stop()


OUT_OF_SYNC = {"sync_status": "OUT_OF_SYNC", "drift_count": 2, "files": ["a", "b", "c"]}


def test_alerts_come_and_go_with_what_they_tell_of(targets, tmp_path):
    target = targets[0]
    state = tmp_path / "state"
    state.mkdir()
    arguments = ["--state-dir", str(state)]
    # Nobody is there yet.
    target.wait_for({"GitOpsStatusServerDown"})
    with target.start(*arguments) as server:
        target.wait_for(set())
        (found,) = [t for t in target.prometheus.ask("targets")["activeTargets"] if t["labels"] == target.labels]
        assert (found["health"], found["lastError"]) == ("up", "")
        assert target.query("up") == [({"__name__": "up", **target.labels}, 1)]
        target.wait_until_scraped()
        assert target.number("scrape_samples_scraped") == len(Scrape(server).samples)

        # Texts arrive as they were posted. An empty label is none.
        texts = list(HOSTILE.values())
        for repo, at in zip(texts[::2], texts[1::2], strict=True):
            assert post(server, OUT_OF_SYNC | {"repo": repo, "server": at, "last_check": now()}) == 200
            info = {"repo": cut(repo), "server": cut(at), "sync_status": "OUT_OF_SYNC"}
            info = {label: value for label, value in info.items() if value}
            expected = {"__name__": "gitops_status_info", **info, **target.labels}
            until(lambda: target.query("gitops_status_info") == [(expected, 1)], expected, 5)
        target.wait_for({"GitOpsOutOfSync"})
        assert target.alerts()["GitOpsOutOfSync"]["labels"].items() > target.labels.items()
        about = f'The newest status is of the repository "{cut(repo)}" and the server "{cut(at)}".'
        about += " It counts 2 that differ."
        until(lambda: target.alerts()["GitOpsOutOfSync"]["annotations"]["description"] == about, about, 5)

        assert post(server, {**OUT_OF_SYNC, "sync_status": "SYNCED"}) == 200
        target.wait_for(set())
        # It is told of when it lasts, and no sooner.
        assert post(server, OUT_OF_SYNC) == 200
        until(lambda: target.states() == {"GitOpsOutOfSync": "pending"}, "pending")
        target.wait_for({"GitOpsOutOfSync"})
        # Nobody has checked for an hour; then somebody has, not quite an hour ago.
        assert post(server, {"sync_status": "SYNCED", "last_check": now(3700)}) == 200
        target.wait_for({"GitOpsNoCheck"})
        assert post(server, {"sync_status": "SYNCED", "last_check": now(3500)}) == 200
        target.wait_for(set())

        state.rename(tmp_path / "away")
        assert post(server, {"sync_status": "OUT_OF_SYNC"}) == 503
        told = {"GitOpsPostsRefused", "GitOpsStateWriteFailures"}
        target.wait_for(told | {"GitOpsStatusServerNotReady"})
        (tmp_path / "away").rename(state)
        until(lambda: server_is_ready(server), "ready again")
        target.wait_for(told)
        assert server.stop() == 0
    # A refused post is known to the process that refused it.
    told = {"GitOpsStateWriteFailures"}
    for also in (set(), {"GitOpsStatusServerRestarts"}):
        until(lambda: target.number("up") == 0, "it is seen that it has ended")
        with target.start(*arguments) as server:
            since = Scrape(server).samples["process_start_time_seconds", ()]
            until(lambda: target.number("process_start_time_seconds") == since, "it is started anew")
            target.wait_for(told | also)
            assert server.stop() == 0
    target.wait_for({"GitOpsStatusServerDown", "GitOpsStatusServerRestarts"} | told)
    for group in target.prometheus.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert (rule["health"], rule.get("lastError")) == ("ok", None), rule


# ---- The dashboard ---------------------------------------------------------------------------------------------------


def chosen(expression, instance=".*"):
    """An expression as Grafana asks it, with what is chosen at the top of the dashboard."""
    values = {"job": "gitops-status-server", "namespace": ".*", "instance": instance, "__rate_interval": "1m"}
    asked = re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)
    assert "$" not in asked
    return asked


def test_promtool_reads_every_expression_of_the_dashboard(tmp_path):
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": chosen(expr)} for number, expr in enumerate(expressions)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    output = succeed(["promtool", "check", "rules", tmp_path / "rules.yaml"])
    assert f"SUCCESS: {len(expressions)} rules found" in output
    # It reads each of them to its end.
    rules[-1]["expr"] += ")"
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert run(["promtool", "check", "rules", tmp_path / "rules.yaml"]).returncode != 0


def frame(prometheus, panel, instance):
    """What Grafana makes of what Prometheus answers, as far as a panel that is shown here needs it."""
    (target,) = panel["targets"]
    expression = chosen(target["expr"], instance)
    if target["range"]:
        end = time.time()
        data = prometheus.ask("query_range", query=expression, start=end - 60, end=end, step=1)
        if not data["result"]:
            return {}
        (series,) = data["result"]
        times = [moment * 1000 for moment, _ in series["values"]]
        numbers = [float(number) for _, number in series["values"]]
        columns = {"Time": {"type": "time", "values": times}}
        return columns | {target["legendFormat"]: {"type": "number", "values": numbers}}
    found = prometheus.query(expression)
    times = {"Time": {"type": "time", "values": [time.time() * 1000] * len(found)}}
    numbers = {"type": "number", "values": [number for _, number in found]}
    if target["format"] == "time_series":
        assert len(found) <= 1, "of a number there is one"
        return times | {target["legendFormat"]: numbers} if found else {}
    names = {name for labels, _ in found for name in labels}
    columns = {name: {"type": "string", "values": [labels.get(name, "") for labels, _ in found]} for name in names}
    columns |= times | {"Value": numbers}
    (transformation,) = panel["transformations"]
    options = transformation["options"]
    kept = [name for name in columns if not options["excludeByName"].get(name)]
    kept.sort(key=lambda name: options["indexByName"][name])
    return {options["renameByName"].get(name, name): columns[name] for name in kept}


def escaped(instance):
    """One that is chosen, as Grafana puts it into a string that is a regular expression."""
    return re.escape(instance).replace("\\", "\\\\")


def shown(*targets):
    """What the panels show of these that are not graphs, a list for each."""
    instance = "|".join(escaped(target.instance) for target in targets)
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "timeseries"]
    frames = {panel["id"]: frame(targets[0].prometheus, panel, instance) for panel in panels}
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(NODE_MODULES)}
    given = json.dumps({"panels": panels, "frames": frames})
    answer = json.loads(succeed(["node", ROOT / ".ci/dashboard.js"], input=given, env=environment))
    return {panel["title"]: answer[str(panel["id"])] for panel in panels}


# A status, and what is seen of it: the state, the drift, the files, and the age of the check, each with its colour.
VIEWS = {
    "none yet": (None, ("UNKNOWN", GREY), ("0", GREEN), ("0", BLUE), ("never", GREEN)),
    "synced": (
        {"sync_status": "SYNCED", "drift_count": 0, "files": [], "last_check": lambda: now(90)},
        ("SYNCED", GREEN), ("0", GREEN), ("0", BLUE), ("2 mins", GREEN),
    ),
    "drift": (
        {"sync_status": "OutOfSync", "drift_count": 7, "files": ["a", "b"], "last_check": lambda: now(7200)},
        ("OUT_OF_SYNC", RED), ("7", RED), ("2", BLUE), ("2 hours", ORANGE),
    ),
    "an own word": (
        {"sync_status": "HELD", "last_check": lambda: now(3 * 86400)},
        ("OTHER", ORANGE), ("not counted", GREEN), ("not listed", BLUE), ("3 days", RED),
    ),
    "nothing is there": (
        {}, ("UNKNOWN", GREY), ("not counted", GREEN), ("not listed", BLUE), ("never", GREEN),
    ),
}  # fmt: skip


def test_the_dashboard_shows_what_prometheus_has_scraped(targets):
    target = targets[1]
    query = target.prometheus.query
    empty = shown(target)
    assert [at["text"] for at in empty["State"]] == ["NO DATA"]
    assert (empty["History"], empty["What was checked"]) == ([], [])
    with target.start() as server:
        for status, state, drift, files, age in VIEWS.values():
            if status is not None:
                status = {key: value() if callable(value) else value for key, value in status.items()}
                assert post(server, status) == 200
            target.wait_until_scraped()
            seen = shown(target)
            wanted = {"State": state, "Drift": drift, "Files": files, "Age of the last check": age}
            for title, (text, color) in wanted.items():
                assert seen[title] == [{"text": text, "color": color}], title
            (row,) = seen["What was checked"]
            word = "UNKNOWN" if status is None else status.get("sync_status", "")
            assert (row.get("As it was posted", ""), row["Asked"]) == (word, target.instance)
            assert (seen["History"][-1]["text"], seen["History"][-1]["color"]) == state
        assert re.fullmatch("[0-9]+ s", shown(target)["Age of the last post"][0]["text"])
        told = []
        for at in shown(target)["History"]:
            told += [at["text"]] if told[-1:] != [at["text"]] else []
        assert told == ["UNKNOWN", "SYNCED", "OUT_OF_SYNC", "OTHER", "UNKNOWN"]
        # With all that a status can have, no panel is empty.
        assert post(server, {**OUT_OF_SYNC, "last_check": now()}) == 200
        assert post(server, b"no JSON") == 400
        # A rate is between two scrapes.
        for _ in range(2):
            target.wait_until_scraped()
        for panel in DASHBOARD["panels"]:
            for asked in panel["targets"]:
                for instance, count in [(".*", 1), (escaped(target.instance), 1), ("another:8080", 0)]:
                    assert (len(query(chosen(asked["expr"], instance))) > 0) == count, (panel["title"], asked["expr"])
        (requests,) = [panel["targets"][0]["expr"] for panel in DASHBOARD["panels"] if panel["title"] == "Requests"]
        assert {"200", "400"} <= {labels["code"] for labels, _ in query(chosen(requests))}
        # The lists at its top.
        for variable in DASHBOARD["templating"]["list"][1:]:
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            values = target.prometheus.ask(f"label/{label}/values", **{"match[]": chosen(metric)})
            wanted = {"job": {"gitops-status-server"}, "namespace": set(), "instance": {target.instance}}
            assert set(values) >= wanted[label] and variable["name"] == label


def test_a_stale_status_is_seen_as_stale_and_of_several_servers_the_worst(targets):
    both = targets[2:]
    with both[0].start("--stale-after", "4") as server, both[1].start() as other:
        for word, expected in [("OUT_OF_SYNC", "OUT_OF_SYNC"), ("HELD", "OTHER"), ("SYNCED", "SYNCED")]:
            assert post(server, {"sync_status": "SYNCED"}) == post(other, {"sync_status": word}) == 200
            until(lambda: [at["text"] for at in shown(*both)["State"]] == [expected], expected, 5)
        until(lambda: shown(*both)["State"] == [{"text": "STALE", "color": GREY}], "stale", 10)
        until(lambda: both[0].states().get("GitOpsStatusStale") == "firing", "it is told")
        assert "GitOpsStatusStale" not in both[1].states()
