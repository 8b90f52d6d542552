"""What the chart promises, looked at in what the real helm renders. `.ci/chart` runs it."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import time

import cluster
import kubernetes_validate
import pytest
import yaml
from server import BINARY, Server

ROOT = pathlib.Path(__file__).parent.parent
CHART = ROOT / "charts/gitops-status-server"
TOOLS = ROOT / "target/tools"
CASES = sorted(path.stem.removesuffix("-values") for path in CHART.glob("ci/*-values.yaml"))
# The oldest that the chart says it supports, one in the middle, the newest there is a schema of.
KUBERNETES = ["1.25.0", "1.31.0", "1.37.0"]
# Kinds of others than Kubernetes.
CUSTOM = {"HTTPRoute", "PrometheusRule", "ServiceMonitor"}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def run(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **kwargs)


def template(*arguments, values=None, kubernetes="1.37.0"):
    """What `helm template` says: its result, whether it fails or not."""
    command = ["helm", "template", "release", CHART, "--namespace", "observability-stack", "--kube-version", kubernetes]
    # A JSON text without surrogates, and with escapes for what YAML does not take raw, is YAML too.
    given = json.dumps(values or {}, ensure_ascii=False)
    given = re.sub("[\x7f-\x9f\ufffe]", lambda found: f"\\u{ord(found[0]):04x}", given)
    return run(*command, *arguments, "--values", "-", input=given)


def render(*arguments, values=None, kubernetes="1.37.0"):
    """The objects that it renders, by kind; the test's pod is `Pod`."""
    result = template(*arguments, values=values, kubernetes=kubernetes)
    assert result.returncode == 0, result.stderr
    objects = [found for found in yaml.safe_load_all(result.stdout) if found]
    by_kind = {found["kind"]: found for found in objects}
    assert len(by_kind) == len(objects), "two objects of one kind"
    return by_kind


def case(name, **kwargs):
    return render("--values", str(CHART / f"ci/{name}-values.yaml"), **kwargs)


def refusal(values):
    """The sentence with which it refuses to render these values."""
    result = template(values=values)
    assert result.returncode != 0, f"{values} is rendered"
    return result.stderr


def pod_of(objects):
    return objects["Deployment"]["spec"]["template"]["spec"]


def container_of(objects):
    [container] = pod_of(objects)["containers"]
    return container


def environment_of(objects):
    return {variable["name"]: variable.get("value") for variable in container_of(objects)["env"]}


def status_of(objects):
    return objects["ConfigMap"]["data"]["status.json"]


def notes(values=None):
    command = ["helm", "install", "release", CHART, "--dry-run=client", "--namespace", "observability-stack", "--values", "-"]
    result = run(*command, input=json.dumps(values or {}))
    assert result.returncode == 0, result.stderr
    return result.stdout.split("NOTES:\n")[1]


def serving(tmp_path, objects):
    """The server, with what a rendered Deployment gives it."""
    seed = tmp_path / "seed.json"
    seed.write_text(status_of(objects))
    given = {"STATUS_LISTEN": "127.0.0.1:0", "STATUS_SEED_FILE": str(seed), "STATUS_STATE_DIR": str(tmp_path / "state")}
    return Server(environment=environment_of(objects) | given)


# ------------------------------------------------------------------------------------------------------------- renders


@pytest.mark.parametrize("name", CASES)
def test_helm_lint_has_nothing_to_say(name):
    result = run("helm", "lint", "--strict", CHART, "--values", CHART / f"ci/{name}-values.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stdout, result.stdout


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("name", CASES)
def test_every_object_is_valid_for_kubernetes(name, kubernetes):
    objects = case(name, kubernetes=kubernetes)
    for kind, found in objects.items():
        if kind not in CUSTOM:
            kubernetes_validate.validate(found, kubernetes, strict=True)
    custom = [found for kind, found in objects.items() if kind in CUSTOM]
    models = TOOLS / "node/node_modules"
    result = run("node", ROOT / ".ci/custom-resources.mjs", models, input=json.dumps(custom))
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_may_be_null_may_be_null():
    def nulls(schema):
        for key, inner in schema["properties"].items():
            if "null" in inner.get("type", ()):
                yield key, None
            elif "properties" in inner:
                yield key, dict(nulls(inner))

    values = dict(nulls(SCHEMA)) | {"api": None}
    assert values["statusJson"] is None and values["persistence"] == {"annotations": None}
    assert values["options"] is None
    for found in render(values=values).values():
        kubernetes_validate.validate(found, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("path", ["service", "image.repository", "persistence.size", "podDisruptionBudget.maxUnavailable"])
def test_what_may_not_be_null_is_missed_by_name(path):
    assert f"missing property '{path.split('.')[-1]}'" in refusal(nested(path.split("."), None))


def test_the_validators_find_what_is_wrong():
    deployment = render()["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["prots"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)
    route = case("httproute")["HTTPRoute"]
    route["spec"]["rules"][0]["backendRefs"][0]["port"] = "http"
    result = run("node", ROOT / ".ci/custom-resources.mjs", TOOLS / "node/node_modules", input=json.dumps([route]))
    assert result.returncode == 1 and "port" in result.stdout, result.stdout + result.stderr


def test_older_kubernetes_than_the_chart_says_is_refused():
    result = template(kubernetes="1.24.9")
    assert result.returncode != 0 and "1.25.0" in result.stderr


@pytest.mark.parametrize("name", CASES)
def test_the_render_is_the_golden_one(name):
    """`.ci/chart --write` makes them anew, for a change that is meant."""
    golden = CHART / f"ci/golden/{name}.yaml"
    result = template("--values", str(CHART / f"ci/{name}-values.yaml"))
    assert result.returncode == 0, result.stderr
    assert result.stdout == golden.read_text()


@pytest.mark.parametrize("name", CASES)
def test_helm_3_renders_the_same(name):
    values = ["--values", CHART / f"ci/{name}-values.yaml", "--kube-version", KUBERNETES[1]]
    older, newer = (run(helm, "template", "release", CHART, *values) for helm in ("helm3", "helm"))
    assert older.returncode == 0, older.stderr
    assert older.stdout == newer.stdout


def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def test_every_value_is_given_in_a_case():
    given = set()
    for name in CASES:
        values = yaml.safe_load((CHART / f"ci/{name}-values.yaml").read_text())
        for path in leaves(values):
            given |= {path[:length] for length in range(1, len(path) + 1)}
    # Parts of maps that are passed on as they are.
    passed_on = {"livenessProbe", "readinessProbe", "podSecurityContext", "securityContext"}
    missing = {path for path in leaves(VALUES) if path not in given and path[0] not in passed_on}
    assert not missing and passed_on <= {path[0] for path in given}


@pytest.mark.parametrize("name", sorted({*CASES} - {"default", "original"}))
def test_every_value_of_a_case_does_something(name):
    """All of the case, and all of it but one value, are not the same."""
    text = json.dumps(yaml.safe_load((CHART / f"ci/{name}-values.yaml").read_text()), default=str)
    whole = template(values=json.loads(text)).stdout
    for path in leaves(json.loads(text)):
        less = json.loads(text)
        inner = less
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        assert template(values=less).stdout != whole, path


def test_the_package_holds_what_is_installed_and_nothing_else(tmp_path):
    result = run("helm", "package", CHART, "--destination", tmp_path)
    assert result.returncode == 0, result.stderr
    [archive] = tmp_path.iterdir()
    names = run("tar", "-tzf", archive).stdout.split()
    files = {name.removeprefix("gitops-status-server/") for name in names}
    templates = {str(path.relative_to(CHART)) for path in CHART.glob("templates/**/*.*")}
    beside = {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", ".helmignore", "rules.yaml"}
    assert files == beside | templates


def test_the_readme_is_that_of_the_values(tmp_path):
    """`.ci/chart --write` makes it anew."""
    readme = tmp_path / "README.md"
    readme.write_text((CHART / "README.md").read_text())
    result = run("readme-generator", "--values", CHART / "values.yaml", "--readme", readme)
    assert result.returncode == 0, result.stdout + result.stderr
    assert readme.read_text() == (CHART / "README.md").read_text()


def test_chart_image_and_program_have_one_version():
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert container_of(render())["image"] == f"gitops-status-server:{version}"


# -------------------------------------------------------------------------------------------------------------- schema


def objects_of(schema, path=()):
    """The paths at which only what is listed may stand."""
    if schema.get("additionalProperties") is False:
        yield path
        for key, inner in schema["properties"].items():
            yield from objects_of(inner, (*path, key))


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


@pytest.mark.parametrize("path", [".".join(path) for path in objects_of(SCHEMA)])
def test_a_misspelt_key_is_refused_by_name(path):
    path = tuple(filter(None, path.split(".")))
    message = refusal(nested((*path, "mispelt"), "x"))
    assert "'mispelt' not allowed" in message and "/".join(path) in message


def looked_into(schema=SCHEMA, path=()):
    """The paths of values that the schema knows."""
    for key, inner in schema["properties"].items():
        if "properties" in inner and inner.get("additionalProperties") is False:
            yield from looked_into(inner, (*path, key))
        else:
            yield (*path, key)


@pytest.mark.parametrize("path", [".".join(path) for path in looked_into()])
def test_a_value_of_a_wrong_type_is_refused_by_name(path):
    assert f"at '/{path.replace('.', '/')}'" in refusal(nested(path.split("."), 1.5))


def test_the_schema_knows_every_value_and_no_other():
    # A chart that has this one as a part gives these; options and claims have no defaults.
    without_default = {path for path in looked_into() if path[0] in ("global", "enabled", "options")}
    without_default |= {("resources", "claims")}
    known = set(looked_into())
    values = {next(path[:n] for n in range(1, 5) if path[:n] in known) for path in leaves(VALUES) if path != ("options",)}
    assert values == known - without_default


def test_the_options_are_those_of_the_server_with_its_ranges():
    help_text = run(BINARY, "--help").stdout
    rows = re.findall(r"^  --([a-z-]+)(?: [A-Z:]+)?\n      (.*)\n      \[env: (\S+)\] \[default: (\S+)\]$", help_text, re.MULTILINE)
    assert len(rows) > 10
    set_by_the_chart = {"listen", "seed-file", "state-dir"}
    schema = SCHEMA["properties"]["options"]["properties"]
    assert {name for name, *_ in rows} - set_by_the_chart == set(schema)
    for name, meaning, variable, default in rows:
        assert variable == "STATUS_" + name.upper().replace("-", "_")
        if default == "off":
            assert schema[name] == {"type": "boolean"}, name
        elif "enum" in schema.get(name, {}):
            assert all(word in meaning for word in schema[name]["enum"]), meaning
        elif name in schema:
            low, high = re.search(r"(\d+) to (\d+)$", meaning).groups()
            assert (schema[name]["minimum"], schema[name]["maximum"]) == (int(low), int(high)), name
    objects = case("live-reload")
    given = yaml.safe_load((CHART / "ci/live-reload-values.yaml").read_text())["options"]
    assert set(given) == set(schema)
    environment = environment_of(objects)
    for name, value in given.items():
        # A switch is 0 or 1.
        given_as = str(int(value) if isinstance(value, bool) else value)
        assert environment["STATUS_" + name.upper().replace("-", "_")] == given_as


# ----------------------------------------------------------------------------------------------------------- the status


AWKWARD = {
    "repo": '<script>&amp;"\\ \u0001\u007f\u0080\u0085\ufffeü 𝄞 {{ .Values }}',
    "server": "",
    "sync_status": "---\n# no: yaml",
    "drift_count": 9007199254740991,
    "files": ["a: b", "- c", {"name": "|"}, {"name": "d", "more": [[]]}],
    "last_check": None,
    "on": {"yes": [1, -2.5, 1e30, True, None, "0x1", "1e3", ""]},
}


@pytest.mark.parametrize(
    "status",
    [
        {"repo": "rsyslog", "server": "rsyslog-lab", "sync_status": "UNKNOWN"},
        {"last_check": "2026-04-21T10:30:00Z", "files": []},
        AWKWARD,
    ],
)
def test_the_server_starts_with_the_status_of_the_values(tmp_path, status):
    objects = render(values={"statusJson": status})
    expected = {**VALUES["statusJson"], **status}
    assert json.loads(status_of(objects)) == expected
    with serving(tmp_path, objects) as server:
        served = run("curl", "-sS", f"http://127.0.0.1:{server.port}/status.json").stdout
        assert served == status_of(objects)


def test_without_a_status_it_is_unknown():
    unknown = {"repo": "", "server": "", "sync_status": "UNKNOWN", "drift_count": 0, "files": [], "last_check": None}
    assert json.loads(status_of(render())) == unknown
    assert json.loads(status_of(render(values={"statusJson": None}))) == {}


@pytest.mark.parametrize(
    "status, named",
    [
        ({"repo": 1}, "/statusJson/repo"),
        ({"drift_count": -1}, "/statusJson/drift_count"),
        ({"drift_count": 9007199254740992}, "/statusJson/drift_count"),
        ({"drift_count": 0.5}, "/statusJson/drift_count"),
        ({"files": ["a", 1]}, "/statusJson/files/1"),
        ({"files": [{"path": "a"}]}, "/statusJson/files/0"),
        ([], "/statusJson"),
    ],
)
def test_what_the_server_would_refuse_is_refused_before_it_is_installed(status, named):
    assert f"at '{named}'" in refusal({"statusJson": status})


def test_a_status_that_is_too_large_is_refused_with_the_limit():
    values = {"statusJson": {"more": "x" * 65536}}
    message = refusal(values)
    assert re.search(r"statusJson is 65\d\d\d bytes as JSON; the limit is 65536: set options.max-bytes", message), message
    assert render(values=values | {"options": {"max-bytes": 100000}})
    # To the byte.
    size = len(status_of(render(values={"statusJson": {"more": ""}})))
    exact = {"statusJson": {"more": "x" * (1000 - size)}, "options": {"max-bytes": 1000}}
    assert len(status_of(render(values=exact))) == 1000
    assert "1001 bytes" in refusal({**exact, "statusJson": {"more": "x" * (1001 - size)}})


def test_a_change_of_the_status_replaces_the_pods_unless_they_reload_it():
    def checksum(**values):
        metadata = render(values=values)["Deployment"]["spec"]["template"]["metadata"]
        return metadata.get("annotations", {}).get("checksum/config")

    first = checksum()
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert checksum(options={"log": "access"}) == first
    assert checksum(statusJson={"sync_status": "SYNCED"}) != first
    assert checksum(liveReload=True) is None
    templates = [render(values={"liveReload": True, "statusJson": {"repo": repo}})["Deployment"] for repo in "ab"]
    assert templates[0] == templates[1], "a change of the status alone changes no pod"


# --------------------------------------------------------------------------------------------- the original's promises


def test_objects_have_the_originals_names_whatever_the_release_is_called():
    for name in CASES:
        if name == "names":
            continue
        for kind, found in case(name).items():
            expected = "gitops-status-server-test" if kind == "Pod" else "gitops-status-server"
            assert found["metadata"]["name"] == expected
            assert found["metadata"]["namespace"] == "observability-stack"
    objects = render()
    assert set(objects) == {"Deployment", "Service", "ConfigMap", "ServiceAccount", "Pod"}
    assert list(objects["ConfigMap"]["data"]) == ["status.json"]
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "gitops-status-server"
    [port] = objects["Service"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, 8080)
    [port] = container_of(objects)["ports"]
    assert (port["name"], port["containerPort"]) == ("http", 8080)
    assert environment_of(objects)["STATUS_LISTEN"] == "0.0.0.0:8080"


def test_names_that_yaml_would_take_for_numbers_stay_names():
    values = {
        "persistence": {"enabled": True, "existingClaim": "123"},
        "serviceAccount": {"name": "1e3"},
        "ingress": {"enabled": True, "className": "0x1", "hosts": [{"host": "a.example.org"}]},
        "nameOverride": "1",
        "fullnameOverride": "on",
    }
    command = ["helm", "template", "42", CHART, "--namespace", "7", "--kube-version", KUBERNETES[-1], "--values", "-"]
    result = run(*command, input=json.dumps(values))
    assert result.returncode == 0, result.stderr
    for found in filter(None, yaml.safe_load_all(result.stdout)):
        kubernetes_validate.validate(found, KUBERNETES[-1], strict=True)
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "42"


def test_a_second_release_in_a_namespace_has_names_of_its_own():
    first, second = render(), case("names")
    for kind in ("Deployment", "Service", "ConfigMap"):
        assert second[kind]["metadata"]["name"] == "gitops-status-of-staging"
        assert first[kind]["metadata"]["name"] == "gitops-status-server"
    assert second["Deployment"]["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "gitops-status"
    assert pod_of(second)["serviceAccountName"] == "observers" and "ServiceAccount" not in second
    volumes = {volume["name"]: volume for volume in pod_of(second)["volumes"]}
    assert volumes["seed"]["configMap"]["name"] == "gitops-status-of-staging"
    assert second["Pod"]["spec"]["containers"][0]["args"] == ["roundtrip", "$(GITOPS_STATUS_OF_STAGING_PORT)"]
    assert pod_of(render(values={"serviceAccount": {"create": False}}))["serviceAccountName"] == "default"


def test_the_values_of_the_original_render_with_the_servers_own_image():
    objects = case("original")
    assert container_of(objects)["image"] == container_of(render())["image"]
    assert container_of(objects)["resources"]["limits"] == {"cpu": "100m", "memory": "64Mi"}
    values = yaml.safe_load((CHART / "ci/original-values.yaml").read_text())
    assert json.loads(status_of(objects)) == values["statusJson"]
    text = notes(values)
    assert "api.* is ignored" in text
    assert "image.repository nginxinc/nginx-unprivileged is that of the original chart" in text
    assert "the image gitops-status-server:0.1.0 names no registry" in text
    assert "NOTE" not in notes({"image": {"repository": "registry.example.org/gitops-status-server"}})


@pytest.mark.parametrize(
    "image, rendered",
    [
        ({}, "gitops-status-server:0.1.0"),
        ({"tag": "0.2.0"}, "gitops-status-server:0.2.0"),
        ({"repository": "mirror.example.org/nginxinc/nginx-unprivileged", "tag": "1"}, "gitops-status-server:0.1.0"),
        ({"repository": "nginx", "tag": "1.25-alpine"}, "gitops-status-server:0.1.0"),
        ({"tag": "1.26-alpine"}, "gitops-status-server:0.1.0"),
        ({"repository": "example.org/status"}, "example.org/status:0.1.0"),
        ({"repository": "example.org/status", "tag": "1.25-alpine"}, "example.org/status:0.1.0"),
        ({"repository": "example.org/not-nginx", "tag": "1-alpine"}, "example.org/not-nginx:1-alpine"),
    ],
)
def test_the_image_is_what_the_values_say_unless_it_is_the_originals(image, rendered):
    objects = render(values={"image": image})
    assert container_of(objects)["image"] == rendered
    assert objects["Pod"]["spec"]["containers"][0]["image"] == rendered


ORIGINAL_APPLICATION = """
replicaCount: 1
statusJson:
  repo: "rsyslog"
  server: "rsyslog-lab"
  sync_status: "UNKNOWN"
"""
EXAMPLE = yaml.safe_load((ROOT / "examples/argo-cd/application.yaml").read_text())["spec"]["source"]


@pytest.mark.parametrize("values", [ORIGINAL_APPLICATION, EXAMPLE["helm"]["values"]], ids=["original", "example"])
def test_an_argo_cd_application_installs(values):
    values = yaml.safe_load(values)
    objects = render(values=values)
    assert json.loads(status_of(objects)).items() >= values["statusJson"].items()
    # Argo CD gives release, namespace, version and what the cluster has, and asks for no tests and no notes.
    result = template("--include-crds", "--api-versions", "v1", "--skip-tests", values=values)
    assert result.returncode == 0, result.stderr
    assert ROOT / EXAMPLE["path"] == CHART


def test_it_can_be_a_part_of_another_chart(tmp_path):
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/gitops-status-server").symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text(
        "apiVersion: v2\nname: observability-stack\nversion: 1.0.0\ndependencies:\n"
        "  - {name: gitops-status-server, version: 0.1.0, condition: gitops-status-server.enabled}\n"
    )
    values = "global: {a: 1}\ngitops-status-server: {enabled: true, statusJson: {repo: shop}}\n"
    (tmp_path / "values.yaml").write_text(values)
    result = run("helm", "template", "stack", tmp_path)
    assert result.returncode == 0, result.stderr
    names = {found["metadata"]["name"] for found in yaml.safe_load_all(result.stdout) if found}
    assert names == {"gitops-status-server", "gitops-status-server-test"}


# ------------------------------------------------------------------------------------------------------------- security


@pytest.mark.parametrize("name", ["default", "original", "replicas", "live-reload"])
def test_pods_meet_the_restricted_standard_and_have_no_token(name):
    objects = case(name)
    for pod in (pod_of(objects), objects["Pod"]["spec"]):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (101, 101, 101)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "limits" in container["resources"]
        for volume in pod.get("volumes", []):
            assert set(volume) & {"configMap", "emptyDir", "persistentVolumeClaim"}
    assert pod_of(objects)["enableServiceLinks"] is False
    assert objects["ServiceAccount"]["automountServiceAccountToken"] is False
    assert objects["Service"]["spec"]["type"] == "ClusterIP"


def test_the_default_asks_for_5m_and_4mi_and_may_have_50m_and_16mi():
    expected = {"requests": {"cpu": "5m", "memory": "4Mi"}, "limits": {"cpu": "50m", "memory": "16Mi"}}
    assert container_of(render())["resources"] == expected


def test_a_network_policy_lets_in_who_is_listed_and_the_test_and_nobody_out():
    values = yaml.safe_load((CHART / "ci/networkpolicy-values.yaml").read_text())["networkPolicy"]
    objects = case("networkpolicy")
    spec = objects["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"] and spec["egress"] == []
    [rule] = spec["ingress"]
    assert rule["ports"] == [{"port": 8080, "protocol": "TCP"}]
    test_pod = {"podSelector": {"matchLabels": objects["Pod"]["metadata"]["labels"]}}
    assert rule["from"] == [test_pod, *values["writers"], *values["readers"]]
    assert "networkPolicy" not in notes({"networkPolicy": values | {"enabled": True}})


def test_a_network_policy_without_peers_lets_in_the_test_alone():
    objects = render(values={"networkPolicy": {"enabled": True}})
    [rule] = objects["NetworkPolicy"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": objects["Pod"]["metadata"]["labels"]}}]
    assert "lets in nobody" in notes({"networkPolicy": {"enabled": True}})


def test_everything_selects_the_servers_pods_and_not_that_of_the_test():
    values = {
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
        "serviceMonitor": {"enabled": True},
        "podLabels": {"app.kubernetes.io/name": "something-else", "team": "a"},
    }
    # No key stands twice, which the parser here would take.
    assert template(values=values).stdout.count("something-else") == 0
    objects = render(values=values)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "a"
    selectors = [
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= objects["Pod"]["metadata"]["labels"].items()
    monitor = objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= objects["Service"]["metadata"]["labels"].items()


def test_an_ingress_shows_the_status_alone_unless_it_is_told_more():
    rules = case("ingress")["Ingress"]["spec"]["rules"]
    paths = {rule["host"]: [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] for rule in rules}
    views = [(path, "Exact") for path in ("/", "/badge.svg", "/history.json", "/status.json")]
    assert paths == {"status.example.org": views, "ci.example.org": [("/", "Prefix")]}
    [rule] = render(values={"ingress": {"enabled": True, "hosts": [{"host": "a.b"}]}})["Ingress"]["spec"]["rules"]
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [("/status.json", "Exact")]
    for rule in rules:
        for path in rule["http"]["paths"]:
            assert path["backend"] == {"service": {"name": "gitops-status-server", "port": {"name": "http"}}}
    assert "ingress.hosts is empty" in refusal({"ingress": {"enabled": True}})


def test_a_route_lets_nobody_post_unless_it_is_told_to():
    parent = {"name": "gateway"}
    spec = render(values={"httpRoute": {"enabled": True, "parentRefs": [parent]}})["HTTPRoute"]["spec"]
    every_path = {"type": "PathPrefix", "value": "/"}
    assert spec == {
        "parentRefs": [parent],
        "rules": [
            {
                "matches": [{"method": "GET", "path": every_path}, {"method": "HEAD", "path": every_path}],
                "backendRefs": [{"name": "gitops-status-server", "port": 80}],
            }
        ],
    }
    [rule] = case("httproute")["HTTPRoute"]["spec"]["rules"]
    assert [match["method"] for match in rule["matches"]] == ["GET", "HEAD", "POST", "OPTIONS"]
    assert "httpRoute.parentRefs is empty" in refusal({"httpRoute": {"enabled": True}})


def test_a_service_monitor_scrapes_the_services_port():
    objects = case("servicemonitor")
    [endpoint] = objects["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s"}
    assert objects["ServiceMonitor"]["metadata"]["labels"]["release"] == "kube-prometheus-stack"


ALERTS = (ROOT / "examples/prometheus/rules.yaml").read_text()


def test_the_alerts_are_those_of_the_examples():
    """`.ci/monitoring --write` makes them anew."""
    assert (CHART / "rules.yaml").read_text() == ALERTS


def test_a_prometheus_rule_has_the_alerts_of_the_examples_for_what_its_service_monitor_finds():
    values = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
    for name, more in (("gitops-status-server", {}), ("of-staging", {"fullnameOverride": "of-staging"})):
        objects = render(values=values | more)
        # The job of a target that a ServiceMonitor finds is the name of the Service.
        assert objects["Service"]["metadata"]["name"] == name
        theirs = ALERTS.replace('job="gitops-status-server"', f'job="{name}", namespace="observability-stack"')
        assert objects["PrometheusRule"]["spec"] == yaml.safe_load(theirs)
    # Whatever an alert asks about, it asks about these targets.
    for group in objects["PrometheusRule"]["spec"]["groups"]:
        for rule in group["rules"]:
            selected = re.findall(r"([a-z_]+)(\{[^}]*\})?(?=[\[)]| [<>=])", rule["expr"])
            names = [selector for metric, selector in selected if re.match("up$|gitops_|process_", metric)]
            assert names and all('job="of-staging", namespace=' in selector for selector in names), rule["expr"]


def test_a_prometheus_rule_takes_the_time_between_checks_and_groups_of_ones_own():
    given = yaml.safe_load((CHART / "ci/prometheusrule-values.yaml").read_text())["prometheusRule"]
    rule = case("prometheusrule")["PrometheusRule"]
    assert rule["metadata"]["labels"].items() >= given["labels"].items()
    *groups, last = rule["spec"]["groups"]
    assert [last] == given["extraGroups"]
    theirs = yaml.safe_load(ALERTS)["groups"]
    changed = [
        (alert["alert"], its["expr"].rsplit("\n", 1)[-1])
        for group, its_group in zip(theirs, groups, strict=True)
        for alert, its in zip(group["rules"], its_group["rules"], strict=True)
        if alert["expr"].replace('server"', 'server", namespace="observability-stack"') != its["expr"]
    ]
    assert changed == [("GitOpsNoCheck", ") > 90000")]


# ------------------------------------------------------------------------------------------------- volumes and roll-outs


def volume_of(objects):
    [volume] = [volume for volume in pod_of(objects)["volumes"] if volume["name"] == "state"]
    return volume


def test_the_state_is_kept_where_the_server_looks_for_it():
    objects = render()
    mounts = {mount["name"]: mount for mount in container_of(objects)["volumeMounts"]}
    environment = environment_of(objects)
    assert environment["STATUS_STATE_DIR"] == mounts["state"]["mountPath"]
    assert environment["STATUS_SEED_FILE"] == mounts["seed"]["mountPath"] + "/status.json"
    assert mounts["seed"]["readOnly"] is True and "subPath" not in mounts["seed"]
    assert volume_of(objects)["emptyDir"] == {"sizeLimit": "16Mi"}


def test_one_pod_at_a_time_has_a_volume_that_only_one_can_have():
    for name, claim in [("persistence", "gitops-status-server"), ("existing-claim", "status-of-production")]:
        objects = case(name)
        assert objects["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
        assert volume_of(objects)["persistentVolumeClaim"] == {"claimName": claim}
        assert "lifecycle" not in container_of(objects), "nobody waits for a pod that nobody replaces yet"
    claim = case("persistence")["PersistentVolumeClaim"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "",
        "resources": {"requests": {"storage": "64Mi"}},
    }
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "PersistentVolumeClaim" not in case("existing-claim")
    assert "storageClassName" not in render(values={"persistence": {"enabled": True}})["PersistentVolumeClaim"]["spec"]


def test_others_are_replaced_without_a_gap():
    for name in ("default", "replicas"):
        objects = case(name)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        assert objects["Deployment"]["spec"]["strategy"] == strategy
    assert case("replicas")["Deployment"]["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    "persistence", [{}, {"enabled": True}, {"accessModes": ["ReadWriteMany"]}, {"enabled": True, "existingClaim": "a"}]
)
def test_replicas_that_would_not_share_a_status_are_refused(persistence):
    message = refusal({"replicaCount": 2, "persistence": persistence})
    for word in ("replicaCount is 2", "ReadWriteMany", "persistence.enabled=true", "share one status"):
        assert word in message
    assert render(values={"replicaCount": 0, "persistence": persistence})


@pytest.mark.parametrize(
    "values, kubernetes, drain, grace",
    [
        ({}, "1.37.0", 5, 20),
        ({}, "1.30.2-gke.100", 5, 20),
        ({}, "1.29.9", None, 15),
        ({"drainSeconds": 0}, "1.37.0", None, 15),
        ({"options": {"shutdown-grace": 0}}, "1.37.0", 5, 10),
        ({"options": {"shutdown-grace": 60}, "persistence": {"enabled": True}}, "1.37.0", None, 65),
    ],
)
def test_an_ending_pod_has_the_time_that_it_needs(values, kubernetes, drain, grace):
    objects = render(values=values, kubernetes=kubernetes)
    assert pod_of(objects)["terminationGracePeriodSeconds"] == grace
    sleep = container_of(objects).get("lifecycle", {}).get("preStop", {}).get("sleep", {})
    assert sleep.get("seconds") == drain


def test_probes_ask_the_servers_own_endpoints_and_can_be_others():
    container = container_of(render())
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    container = container_of(case("scheduling"))
    assert container["livenessProbe"]["periodSeconds"] == 30
    assert set(container["readinessProbe"]) & {"httpGet", "exec"} == {"exec"}


def test_what_is_said_about_pods_is_said_of_them():
    values = yaml.safe_load((CHART / "ci/scheduling-values.yaml").read_text())
    objects = case("scheduling")
    pod = pod_of(objects)
    for key in ("nodeSelector", "tolerations", "affinity", "imagePullSecrets"):
        assert pod[key] == values[key]
    for key in ("nodeSelector", "tolerations", "imagePullSecrets"):
        assert objects["Pod"]["spec"][key] == values[key], "the test runs where the server runs"
    assert pod_of(case("replicas"))["topologySpreadConstraints"][0]["maxSkew"] == 1
    metadata = objects["Deployment"]["spec"]["template"]["metadata"]
    assert metadata["annotations"]["example.org/team"] == metadata["labels"]["team"] == "platform"
    for variable in values["extraEnv"]:
        assert variable in container_of(objects)["env"]
    assert pod["securityContext"]["runAsUser"] == 1000 and pod["securityContext"]["runAsNonRoot"] is True
    assert container_of(objects)["imagePullPolicy"] == "Always"
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == "50%"
    budget = case("replicas")["PodDisruptionBudget"]["spec"]
    assert budget["minAvailable"] == 2 and "maxUnavailable" not in budget


def test_an_annotation_of_ones_own_does_not_stand_twice():
    result = template(values={"podAnnotations": {"checksum/config": "mine"}})
    assert result.stdout.count("checksum/config") == 1 and "mine" not in result.stdout


def test_labels_are_never_longer_than_63_characters():
    objects = render(values={"nameOverride": "a" * 63, "networkPolicy": {"enabled": True}})
    for found in objects.values():
        assert all(len(value) <= 63 for value in found["metadata"]["labels"].values())


def test_the_service_is_what_the_values_say():
    objects = case("service")
    [port] = objects["Service"]["spec"]["ports"]
    assert objects["Service"]["spec"]["type"] == "NodePort"
    assert (port["port"], port["targetPort"], port["nodePort"]) == (8000, 9090, 30080)
    assert container_of(objects)["ports"][0]["containerPort"] == 9090
    assert environment_of(objects)["STATUS_LISTEN"] == "[::]:9090"
    assert objects["Service"]["metadata"]["annotations"] == {"example.org/team": "platform"}
    assert objects["ServiceAccount"]["metadata"]["annotations"] == {"example.org/team": "platform"}


# --------------------------------------------------------------------------------------------------------- what it says


def commands_of(text):
    return [line.strip() for line in text.splitlines() if re.match(r"  (curl|kubectl|helm) ", line)]


@pytest.mark.parametrize("port", [80, 8000])
def test_the_commands_of_the_notes_work_as_they_are_printed(tmp_path, port):
    values = {"service": {"port": port}}
    commands = commands_of(notes(values))
    assert [command.split()[0] for command in commands] == ["kubectl", "helm", "kubectl", "curl", "curl"]
    with serving(tmp_path, render(values=values)) as server:
        # In place of the cluster's names and of the port that is forwarded.
        suffix = "" if port == 80 else f":{port}"
        addresses = [f"gitops-status-server.observability-stack.svc:{port}", "127.0.0.1:8080"]
        reached = [part for address in addresses for part in ("--connect-to", f"{address}:127.0.0.1:{server.port}")]
        get, post = (shlex.split(command) for command in commands[3:])
        assert f"http://gitops-status-server.observability-stack.svc{suffix}/api/status" in post
        result = run(*post, "-sS", *reached)
        assert result.returncode == 0 and '"success":true' in result.stdout, result.stdout + result.stderr
        result = run(*get, "-sS", *reached)
        assert result.stdout == '{"sync_status":"SYNCED"}', result.stderr
    text = notes(values)
    assert f"http://gitops-status-server.observability-stack.svc{suffix}/status.json\n" in text
    assert commands[2].endswith(f" service/gitops-status-server 8080:{port}")
    for command in (commands[0], commands[2]):
        # Without a cluster the command is understood and nobody is there.
        result = run(*shlex.split(command), "--server", "http://127.0.0.1:1")
        assert "refused" in result.stderr and "unknown" not in result.stderr, result.stderr


def test_the_command_of_the_readme_posts_and_shows_a_refusal_at_once(tmp_path):
    text = (ROOT / "README.md").read_text()
    [block] = re.findall(r"```sh\n(curl [^`]*)```", text)
    command = shlex.split(block.replace("\\\n", ""))
    with serving(tmp_path, render()) as server:
        reach = ["--connect-to", f"gitops-status-server.observability-stack.svc:80:127.0.0.1:{server.port}"]
        result = run(*command, "-sS", *reach)
        assert result.returncode == 0 and '"success":true' in result.stdout, result.stdout + result.stderr
        begun = time.monotonic()
        result = run(*command[:-1], '{"drift_count": -1}', "-sS", *reach)
        assert result.returncode == 22 and result.stdout.count("drift_count") == 1
        assert time.monotonic() - begun < 1
    # While nobody is there it goes on, and then says so.
    result = run(*command, "-sS", "--retry-max-time", "2", *reach)
    assert result.returncode == 7 and time.monotonic() - begun > 1


def test_the_notes_say_what_is_kept():
    assert "survive a restart of the container, but not of the pod" in notes()
    assert "on the claim gitops-status-server." in notes({"persistence": {"enabled": True}})
    assert "on the claim a." in notes({"persistence": {"enabled": True, "existingClaim": "a"}})
    monitor = {"serviceMonitor": {"enabled": True}}
    assert "http://gitops-status-server.observability-stack.svc/metrics\n" in notes(monitor)
    assert "/metrics" not in notes()
    assert "unless Prometheus is among networkPolicy.readers" in notes(monitor | {"networkPolicy": {"enabled": True}})
    rule = {"prometheusRule": {"enabled": True}}
    assert "job gitops-status-server in namespace observability-stack" in notes(rule)
    assert "the alerts are for" not in notes(monitor | rule)
    assert "16Mi of memory" in notes({"options": {"max-bytes": 65537}})
    assert "16Mi of memory" in notes({"options": {"max-connections": 129}})
    assert "16Mi of memory" not in notes({"options": {"max-bytes": 65536, "max-connections": 128}})


# ------------------------------------------------------------------------------------------------------- in a "cluster"


class Shell:
    """Real commands against the stand-in for a cluster."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}

    def fails(self, command, **kwargs):
        result = run(*shlex.split(command), env=self.environment, cwd=ROOT, **kwargs)
        return result.stdout + result.stderr if result.returncode else None

    def __call__(self, command, **kwargs):
        result = run(*shlex.split(command), env=self.environment, cwd=ROOT, **kwargs)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def curl(self, path, *arguments):
        server = self.cluster.running["observability-stack", "gitops-status-server"]
        result = run("curl", "-sS", "--fail-with-body", server.url + path, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def post(self, status):
        return self.curl("/api/status", "-H", "Content-Type: application/json", "-d", status)


@pytest.fixture
def shell(tmp_path):
    stand_in = cluster.Cluster(tmp_path)
    yield Shell(stand_in)
    stand_in.close()


INSTALL = "helm install gitops-status charts/gitops-status-server --namespace observability-stack --create-namespace"
UPGRADE = "helm upgrade gitops-status charts/gitops-status-server --namespace observability-stack"


ORIGINAL = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: gitops-status-server
spec:
  selector: &selector
    matchLabels:
      app.kubernetes.io/name: gitops-status-server
      app.kubernetes.io/instance: {{ .Release.Name }}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: gitops-status-server
        app.kubernetes.io/instance: {{ .Release.Name }}
    spec:
      containers:
        - {name: nginx, image: "nginxinc/nginx-unprivileged:1.25-alpine", ports: [{containerPort: 8080}]}
        - {name: api, image: "python:3.12-alpine", ports: [{containerPort: 5000}]}
---
apiVersion: v1
kind: Service
metadata: {name: gitops-status-server}
spec: {ports: [{port: 80, targetPort: 8080}], selector: {app.kubernetes.io/name: gitops-status-server}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: gitops-status-server}
data: {status.json: '{}'}
"""


@pytest.fixture
def original(tmp_path):
    """A chart of two containers, as far as the description of the original tells."""
    chart = tmp_path / "original"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: gitops-status-server\nversion: 0.0.1\n")
    (chart / "templates/all.yaml").write_text(ORIGINAL)
    return f"helm install gitops-status {chart} --namespace observability-stack --create-namespace"


def test_the_original_is_upgraded_with_its_values(shell, original):
    shell(original)
    values = CHART / "ci/original-values.yaml"
    shell(f"{UPGRADE} --values {values} --set image.repository=registry.example.org/gitops-status-server --wait --timeout 20s")
    assert json.loads(shell.curl("/status.json"))["repo"] == "production-apps"
    deployment = shell.cluster.objects["Deployment", ("observability-stack", "gitops-status-server")]
    assert container_of({"Deployment": deployment})["image"] == "registry.example.org/gitops-status-server:0.1.0"
    assert "Succeeded" in shell("helm test --namespace observability-stack gitops-status")


def test_a_deployment_with_other_labels_is_in_the_way_until_it_is_deleted_as_the_readme_says(shell, original, tmp_path):
    objects = tmp_path / "original/templates/all.yaml"
    objects.write_text(ORIGINAL.replace("{{ .Release.Name }}", "another"))
    shell(original)
    assert "field is immutable" in shell.fails(UPGRADE)
    text = (CHART / "README.md").read_text()
    [delete] = re.findall(r"^kubectl .* delete deployment .*$", text, re.MULTILINE)
    shell(delete)
    shell(UPGRADE + " --wait --timeout 20s")
    assert json.loads(shell.curl("/status.json"))["sync_status"] == "UNKNOWN"


def test_it_is_installed_and_tested_as_the_notes_say_and_removed(shell):
    printed = commands_of(shell(INSTALL))
    assert "successfully rolled out" in shell(printed[0])
    before = shell.curl("/status.json")
    result = shell(printed[1] + " --logs")
    assert "Succeeded" in result and f"posted a status of {len(before)} bytes and read it back" in result
    assert shell.curl("/status.json") == before
    # Nobody cleans up between two tests.
    assert "Succeeded" in shell(printed[1])
    log = shell("kubectl logs --namespace observability-stack deployment/gitops-status-server")
    assert log.count("accepted status") == 4
    shell("helm uninstall gitops-status --namespace observability-stack")
    left = {kind for kind, _ in shell.cluster.objects}
    assert left <= {"Namespace", "Pod"}, "only the pod of the test is left"


def test_the_test_fails_where_a_post_is_not_taken(shell):
    # To the byte: the status is as large as one may be, and a line end more is too much.
    size = len(status_of(render(values={"statusJson": {"more": ""}})))
    given = {"statusJson": {"more": "x" * (1000 - size)}, "options": {"max-bytes": 1000}}
    shell(f"{INSTALL} --values -", input=json.dumps(given))
    shell.curl("/api/status", "-H", "Content-Type: application/json", "-d", shell.curl("/status.json").strip() + " ")
    message = shell.fails("helm test --namespace observability-stack gitops-status --logs")
    assert message and "Failed" in message and "the limit is 1000" in message


def test_a_config_map_that_is_replaced_by_kubectl_counts_as_a_post(shell, tmp_path):
    shell(INSTALL)
    shell.post('{"sync_status":"SYNCED"}')
    status = tmp_path / "status.json"
    status.write_text('{"sync_status":"OUT_OF_SYNC"}')
    created = shell(
        "kubectl create configmap gitops-status-server --namespace observability-stack"
        f" --from-file=status.json={status} --dry-run=client -o yaml"
    )
    shell("kubectl apply -f -", input=created)
    time.sleep(1.1)
    assert shell.curl("/status.json") == status.read_text()
    patch = json.dumps({"data": {"status.json": '{"sync_status":"PATCHED"}'}})
    shell(f"kubectl patch configmap gitops-status-server --namespace observability-stack --patch '{patch}'")
    time.sleep(1.1)
    assert shell.curl("/status.json") == '{"sync_status":"PATCHED"}'


def test_an_upgrade_of_the_status_counts_as_a_post_with_and_without_a_new_pod(shell):
    def pod():
        return shell.cluster.running["observability-stack", "gitops-status-server"].process.pid

    shell(INSTALL + " --set persistence.enabled=true")
    shell.post('{"sync_status":"POSTED"}')
    first = pod()
    shell(UPGRADE + " --reuse-values --set options.log=access --wait --timeout 20s")
    second = pod()
    assert second != first
    assert shell.curl("/status.json") == '{"sync_status":"POSTED"}', "what was posted is on the volume"
    shell(UPGRADE + " --reuse-values --set statusJson.sync_status=UPGRADED --wait --timeout 20s")
    third = pod()
    assert third != second
    assert json.loads(shell.curl("/status.json"))["sync_status"] == "UPGRADED"
    shell(UPGRADE + " --reuse-values --set liveReload=true --wait --timeout 20s")
    fourth = pod()
    shell(UPGRADE + " --reuse-values --set statusJson.sync_status=RELOADED --wait --timeout 20s")
    time.sleep(1.1)
    assert json.loads(shell.curl("/status.json"))["sync_status"] == "RELOADED"
    assert pod() == fourth != third


def test_without_a_volume_a_new_pod_begins_with_the_status_of_the_values(shell):
    shell(INSTALL)
    shell.post('{"sync_status":"POSTED"}')
    shell(UPGRADE + " --set options.log=access --wait --timeout 20s")
    assert json.loads(shell.curl("/status.json"))["sync_status"] == "UNKNOWN"
