"""What Prometheus gets from the server, and what is made of it. Called by .ci/monitoring."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from server import Server  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples/prometheus"
DASHBOARD = ROOT / "examples/grafana/dashboard-prometheus.json"
CHART = ROOT / "charts/gitops-status-server"

HOSTILE = 'a"b\\c\nd{}=,é\u202e<script>😀'
STATUS = {
    "repo": HOSTILE,
    "server": "k8s-prod-1",
    "sync_status": "OUT_OF_SYNC",
    "drift_count": 3,
    "files": ["a", {"name": "b"}],
    "last_check": "2026-04-21T10:30:00Z",
}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def scrape(server):
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return answer.read().decode()


LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"')


def parse(text):
    """Families with their types, and samples by name and labels, as the format says (version 0.0.4)."""
    assert text.endswith("\n")
    types, samples, current, helped = {}, {}, None, set()
    for line in text[:-1].split("\n"):
        if found := re.fullmatch(r"# HELP (\S+) (.+)", line):
            assert found[1] not in helped
            helped.add(found[1])
            current = found[1]
        elif found := re.fullmatch(r"# TYPE (\S+) (counter|gauge)", line):
            assert found[1] == current and found[1] not in types
            types[found[1]] = found[2]
        else:
            found = re.fullmatch(r"([a-z_:]+)(?:\{(.*)\})? (\S+)", line)
            assert found and found[1] == current and current in types, line
            labels = LABEL.findall(found[2] or "")
            assert ",".join(f'{name}="{value}"' for name, value in labels) == (found[2] or "")
            unescaped = tuple(
                (name, re.sub(r"\\(.)", lambda it: "\n" if it[1] == "n" else it[1], value)) for name, value in labels
            )
            assert (found[1], unescaped) not in samples
            samples[found[1], unescaped] = float(found[3])
    assert helped == set(types)
    return types, samples


# The field of the status has that name, and whoever looks for it looks for that.
NAMED_SO = 'gitops_status_drift_count non-histogram and non-summary metrics should not have "_count" suffix'


def promtool_has_nothing_to_say(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.stdout + done.stderr).splitlines() in ([], [NAMED_SO])


def ask(server, method, path, body=None, headers=None):
    request = urllib.request.Request(server.url + path, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_promtool_accepts_the_metrics_in_every_situation(tmp_path):
    with Server("--stale-after", "1", "--state-dir", str(tmp_path / "state")) as server:
        promtool_has_nothing_to_say(scrape(server))
        server.post(STATUS)
        promtool_has_nothing_to_say(scrape(server))
        assert ask(server, "POST", "/api/status", b"[]", {"Content-Type": "application/json"}) == 400
        time.sleep(1.1)
        text = scrape(server)
        promtool_has_nothing_to_say(text)
        assert "\ngitops_status_stale 1\n" in text
        server.post({})
        promtool_has_nothing_to_say(scrape(server))


def test_what_is_told_is_what_was_posted(tmp_path):
    with Server("--state-dir", str(tmp_path / "state")) as server:
        before = time.time()
        server.post(STATUS)
        _, samples = parse(scrape(server))
        labels = (("repo", HOSTILE), ("server", "k8s-prod-1"), ("sync_status", "OUT_OF_SYNC"))
        assert samples["gitops_status_info", labels] == 1
        states = {dict(labels)["state"]: value for (name, labels), value in samples.items() if name == "gitops_status_state"}
        assert states == {"synced": 0, "out_of_sync": 1, "unknown": 0, "other": 0}
        for name, value in [
            ("synced", 0),
            ("drift_count", 3),
            ("files", 2),
            ("last_check_timestamp_seconds", 1776767400),
            ("posts_accepted_total", 1),
            ("state_writes_total", 1),
            ("ready", 1),
        ]:
            assert samples[f"gitops_status_{name}", ()] == value, name
        assert abs(samples["gitops_status_last_post_timestamp_seconds", ()] - before) < 5
        assert abs(samples["process_start_time_seconds", ()] - before) < 10
        assert 100_000 < samples["process_resident_memory_bytes", ()] < 10_000_000


def test_no_client_makes_a_series_and_no_counter_falls():
    with Server() as server:
        server.post(STATUS)
        types, first = parse(scrape(server))
        for path in ["/invented", "/status.json?a=b", "/metrics?x", "/%2e"]:
            for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"]:
                ask(server, method, path, headers={"Host": "invented.example", "User-Agent": "invented"})
        _, second = parse(scrape(server))
        new = set(second) - set(first)
        assert new and all(name == "gitops_status_http_requests_total" for name, _ in new)
        labels = [dict(labels) for name, labels in second if name == "gitops_status_http_requests_total"]
        routes = {"status", "post", "health", "ready", "metrics", "page", "badge", "history", "server", "none"}
        assert {label["route"] for label in labels} <= routes
        assert {label["method"] for label in labels} <= {"read", "write", "other"}
        assert all(re.fullmatch("[2345][0-9][0-9]", label["code"]) for label in labels)
        assert len(second) < 80
        for key, value in first.items():
            if types[key[0]] == "counter":
                assert key[0].endswith("_total") and second[key] >= value
        # Another status is another series, and the one before is gone.
        server.post({"repo": "other"})
        _, third = parse(scrape(server))
        assert [dict(labels)["repo"] for name, labels in third if name == "gitops_status_info"] == ["other"]


def test_the_rules_are_right_and_the_alerts_fire_when_they_should():
    run("promtool", "check", "rules", EXAMPLES / "rules.yaml")
    run("promtool", "check", "config", "prometheus.yml", cwd=EXAMPLES)
    run("promtool", "test", "rules", "rules_test.yaml", cwd=EXAMPLES)
    names = {rule["alert"] for group in groups() for rule in group["rules"]}
    tested = yaml.safe_load((EXAMPLES / "rules_test.yaml").read_text())
    fired = {it["alertname"] for test in tested["tests"] for it in test.get("alert_rule_test", []) if it.get("exp_alerts")}
    assert names == fired, "an alert was never seen to fire"


def groups():
    return yaml.safe_load((EXAMPLES / "rules.yaml").read_text())["groups"]


def test_the_operator_and_the_chart_have_the_same_rules():
    operator = yaml.safe_load((EXAMPLES / "prometheusrule.yaml").read_text())
    assert (operator["apiVersion"], operator["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert operator["spec"]["groups"] == groups()
    assert (CHART / "rules.yaml").read_text() == (EXAMPLES / "rules.yaml").read_text()


def queries():
    found = []

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("expr"), str):
                found.append(value["expr"])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(json.loads(DASHBOARD.read_text()))
    assert len(found) > 8
    # As Grafana fills them in.
    for variable, value in [
        ("$__rate_interval", "20s"),
        ("$__range", "60s"),
        ("$__interval", "5s"),
        ("$job", "gitops-status-server"),
        ("$instance", ".*"),
        ("$namespace", ".*"),
    ]:
        found = [query.replace(variable, value).replace(f"${{{variable[1:]}}}", value) for query in found]
    return found


def test_the_queries_of_the_dashboard_are_ones(tmp_path):
    rules = [{"record": f"query:{at}", "expr": query} for at, query in enumerate(queries())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run("promtool", "check", "rules", file)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Prometheus:
    """One that scrapes this server every second, with rules that wait for seconds instead of minutes."""

    def __init__(self, server, folder):
        rules = {"groups": groups()}
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule["for"] = "2s"
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        config = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [server.url.removeprefix("http://")]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [
                shutil.which("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=error",
            ],
            cwd=folder,
        )

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def alerts(self):
        return {(it["labels"]["alertname"], it["state"]) for it in self.ask("alerts")["alerts"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def wait_for(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except (OSError, urllib.error.URLError):
            pass
        assert time.monotonic() < end, f"it never came to this: {what}"
        time.sleep(0.3)


def test_a_real_prometheus_scrapes_it_and_the_alert_comes_and_goes(tmp_path):
    with Server("--state-dir", str(tmp_path / "state")) as server, Prometheus(server, tmp_path) as prometheus:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        server.post(STATUS | {"last_check": now})
        wait_for("the target is up", lambda: any(it["value"][1] == "1" for it in prometheus.query("up")))
        assert prometheus.ask("targets")["activeTargets"][0]["lastError"] == ""
        info = wait_for("the status is there", lambda: prometheus.query("gitops_status_info"))
        assert info[0]["metric"]["repo"] == HOSTILE
        wait_for("GitOpsOutOfSync fires", lambda: ("GitOpsOutOfSync", "firing") in prometheus.alerts())
        server.post(STATUS | {"sync_status": "SYNCED", "last_check": now})
        wait_for("it ends", lambda: not any(name == "GitOpsOutOfSync" for name, _ in prometheus.alerts()))
        assert ask(server, "POST", "/api/status", b"{", {"Content-Type": "application/json"}) == 400
        wait_for("GitOpsPostsRefused comes", lambda: any(name == "GitOpsPostsRefused" for name, _ in prometheus.alerts()))
        rules = prometheus.ask("rules")["groups"]
        errors = [rule["lastError"] for group in rules for rule in group["rules"] if rule.get("lastError")]
        assert errors == []
        for query in queries():
            wait_for(f"there is an answer to {query}", lambda query=query: prometheus.query(query), 15)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
