"""A stand-in for a cluster, for the real helm and kubectl: it keeps objects, and runs a Deployment's container and bare
pods as processes of this machine. It knows just the kinds that the chart has, checks nothing, and forwards no ports."""

import base64
import copy
import http.server
import json
import pathlib
import re
import subprocess
import threading
import time
import types
import urllib.parse

import yaml
from server import BINARY, Server

# (group and version, plural): kind
KINDS = {
    ("v1", "namespaces"): "Namespace",
    ("v1", "secrets"): "Secret",
    ("v1", "configmaps"): "ConfigMap",
    ("v1", "services"): "Service",
    ("v1", "serviceaccounts"): "ServiceAccount",
    ("v1", "persistentvolumeclaims"): "PersistentVolumeClaim",
    ("v1", "pods"): "Pod",
    ("apps/v1", "deployments"): "Deployment",
    ("apps/v1", "replicasets"): "ReplicaSet",
    ("policy/v1", "poddisruptionbudgets"): "PodDisruptionBudget",
    ("networking.k8s.io/v1", "networkpolicies"): "NetworkPolicy",
    ("networking.k8s.io/v1", "ingresses"): "Ingress",
}
PATH = re.compile(r"/(?:api|apis)/(v1|[a-z0-9.]+/v1)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/(status|log))?$")


def merged(old, new):
    """RFC 7396. Lists are replaced, which is enough for a Deployment that has one container."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    result = dict(old)
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def fields_of(message):
    """The fields of a message of Protocol Buffers that are bytes: number and value."""

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    at = 0
    while at < len(message):
        number, wire_type = divmod(varint(), 8)
        length = varint()
        if wire_type == 2:
            yield number, message[at : at + length]
            at += length


def secret_of(message):
    """A Secret, which helm sends like that. The numbers are those of k8s.io/api/core/v1/generated.proto."""
    unknown = dict(fields_of(message.removeprefix(b"k8s\0")))
    secret = list(fields_of(unknown[2]))
    metadata = list(fields_of(dict(secret)[1]))
    pairs = [dict(fields_of(value)) for number, value in secret if number == 2]
    labels = [dict(fields_of(value)) for number, value in metadata if number == 11]
    return {
        "metadata": {
            "name": dict(metadata)[1].decode(),
            "labels": {label[1].decode(): label[2].decode() for label in labels},
        },
        "data": {pair[1].decode(): base64.b64encode(pair[2]).decode() for pair in pairs},
        "type": dict(secret)[3].decode(),
    }


class Cluster:
    """Runs the server for every container, whatever its image, with volumes below `folder`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.objects, self.events, self.logs = {}, [], {}
        self.changed = threading.Condition()
        self.running = {}
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("", (Request,), {"cluster": self}))
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        server = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.kubeconfig = self.folder / "kubeconfig"
        cluster_entry = {"name": "it", "cluster": {"server": server}}
        context = {"name": "it", "context": {"cluster": "it", "user": "it"}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "it", "users": [{"name": "it", "user": {}}]}
        self.kubeconfig.write_text(json.dumps(config | {"clusters": [cluster_entry], "contexts": [context]}))

    def close(self):
        self.http.shutdown()
        for server in self.running.values():
            server.process.kill()
            server.process.wait()

    # ------------------------------------------------------------------------------------------------------- objects

    def put(self, kind, key, found):
        """Keeps an object, tells those who watch, and does what it asks for."""
        with self.changed:
            old = self.objects.get((kind, key))
            found = copy.deepcopy(found)
            api_version = next(api for (api, _), name in KINDS.items() if name == kind)
            found |= {"apiVersion": api_version, "kind": kind}
            metadata = found["metadata"]
            metadata |= {"namespace": key[0], "uid": f"{kind}-{key}", "creationTimestamp": "2026-01-01T00:00:00Z"}
            metadata["resourceVersion"] = str(len(self.events) + 1)
            if kind == "PersistentVolumeClaim":
                found["status"] = {"phase": "Bound"}
            same_spec = old is not None and old.get("spec") == found.get("spec")
            generation = old["metadata"]["generation"] if old else 0
            metadata["generation"] = generation if same_spec else generation + 1
            self.objects[kind, key] = found
            self.events.append(("MODIFIED" if old else "ADDED", kind, found))
            self.changed.notify_all()
        # Others' programs are not run.
        if kind == "Deployment" and not same_spec and "env" in found["spec"]["template"]["spec"]["containers"][0]:
            self.roll_out(key)
        if kind == "ConfigMap":
            self.bring(key)
        if kind == "Pod" and old is None and "status" not in found:
            threading.Thread(target=self.run_pod, args=(key,), daemon=True).start()
        return found

    def remove(self, kind, key):
        with self.changed:
            found = self.objects.pop((kind, key))
            self.events.append(("DELETED", kind, found))
            self.changed.notify_all()
        if kind == "Deployment" and key in self.running:
            self.end(key)
        return found

    # ----------------------------------------------------------------------------------------------------- containers

    def end(self, key):
        """Ends the pod of a Deployment."""
        assert self.running.pop(key).stop() == 0
        self.remove("Pod", (key[0], f"{key[1]}-pod"))

    def bring(self, key):
        """Writes a ConfigMap to the folder where a container finds it, as kubelet does: by the swap of a link."""
        folder = self.folder / key[1]
        version = folder / f"..{time.monotonic_ns()}"
        version.mkdir(parents=True)
        for name, text in self.objects["ConfigMap", key]["data"].items():
            (version / name).write_text(text)
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        (folder / "..tmp").symlink_to(version.name)
        (folder / "..tmp").rename(folder / "..data")

    def roll_out(self, key):
        """Ends the container of a Deployment, if there is one, and starts that of its new template."""
        deployment = self.objects["Deployment", key]
        namespace = key[0]
        pod = deployment["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        [container] = pod["containers"]
        if key in self.running:
            self.end(key)
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "configMap" in volume:
                folder = self.folder / volume["configMap"]["name"]
            elif "persistentVolumeClaim" in volume:
                folder = self.folder / f"claim-{volume['persistentVolumeClaim']['claimName']}"
            else:
                folder = self.folder / f"empty-{time.monotonic_ns()}"
            folder.mkdir(exist_ok=True)
            for name, value in environment.items():
                environment[name] = value.replace(mount["mountPath"], str(folder))
        server = self.running[key] = Server(environment=environment | {"STATUS_LISTEN": "127.0.0.1:0"})
        name = f"{key[1]}-pod"
        self.logs[namespace, name] = server
        template = deployment["spec"]["template"]
        metadata = {"name": name, "labels": template["metadata"]["labels"]}
        self.put("Pod", (namespace, name), template | {"metadata": metadata, "status": {"phase": "Running"}})
        server.get(container["readinessProbe"]["httpGet"]["path"])
        replicas = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        conditions = [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True"}]
        status = replicas | {"observedGeneration": deployment["metadata"]["generation"], "conditions": conditions}
        self.put("Deployment", key, deployment | {"status": status})

    def run_pod(self, key):
        """Runs a bare pod to its end, with the addresses of the Services of its namespace, if it wants them."""
        pod = self.objects["Pod", key]
        links = {}
        if pod["spec"].get("enableServiceLinks", True):
            for kind, (namespace, name) in list(self.objects):
                if kind == "Service" and namespace == key[0]:
                    links[name.upper().replace("-", "_") + "_PORT"] = f"tcp://127.0.0.1:{self.running[namespace, name].port}"
        [container] = pod["spec"]["containers"]
        arguments = [re.sub(r"\$\((\w+)\)", lambda found: links.get(found[1], found[0]), word) for word in container["args"]]
        result = subprocess.run([BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.logs[key] = types.SimpleNamespace(log=result.stdout)
        done = {"phase": "Succeeded" if result.returncode == 0 else "Failed"}
        self.put("Pod", key, pod | {"status": done})


class Request(http.server.BaseHTTPRequestHandler):
    """One request of the API."""

    protocol_version = "HTTP/1.1"
    cluster = None

    def log_message(self, *_):
        pass

    def answer(self, body, code=200):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def fail(self, code, reason, message=""):
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
        self.answer(status, code)

    def do_GET(self):
        self.handle_request()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass  # Who watched has seen enough.

    def handle_request(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not body or self.command == "DELETE":
            given = None
        elif body.startswith(b"k8s\0"):
            given = secret_of(body)
        else:
            given = yaml.safe_load(body)
        if (found := PATH.fullmatch(url.path)) and (found[1], found[3]) in KINDS:
            api, namespace, plural, name, part = found.groups()
            return self.on_objects(KINDS[api, plural], api, namespace, name, part, query, given)
        self.on_discovery(url.path)

    def on_discovery(self, path):
        groups = sorted({api for api, _ in KINDS if "/" in api})
        if path == "/version":
            self.answer({"major": "1", "minor": "37", "gitVersion": "v1.37.0"})
        elif path == "/api":
            self.answer({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            versions = [{"groupVersion": api, "version": "v1"} for api in groups]
            named = zip(groups, versions)
            listed = [{"name": api.split("/")[0], "versions": [it], "preferredVersion": it} for api, it in named]
            self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
        elif path.removeprefix("/apis/").removeprefix("/api/") in {"v1", *groups}:
            api = path.removeprefix("/apis/").removeprefix("/api/")
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
            resources = [
                {"name": plural, "kind": kind, "namespaced": kind != "Namespace", "singularName": "", "verbs": verbs}
                for (group, plural), kind in KINDS.items()
                if group == api
            ]
            self.answer({"kind": "APIResourceList", "groupVersion": api, "resources": resources})
        elif path == "/openapi/v3":
            documents = {f"api/{api}" if api == "v1" else f"apis/{api}": {} for api, _ in KINDS}
            self.answer({"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in documents}})
        elif path.startswith("/openapi/v3/"):
            self.on_schema(path.removeprefix("/openapi/v3"))
        else:
            self.fail(404, "NotFound")

    def on_schema(self, prefix):
        """That objects are validated here, which is what helm and kubectl ask for before they send one."""
        paths = {}
        for (api, plural), kind in KINDS.items():
            if prefix.endswith(f"/{api}"):
                group, version = api.split("/") if "/" in api else ("", api)
                patch = {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
                }
                paths[f"{prefix}/namespaces/{{namespace}}/{plural}/{{name}}"] = {"patch": patch}
        self.answer({"openapi": "3.0.0", "info": {"title": "", "version": ""}, "paths": paths})

    def on_objects(self, kind, api, namespace, name, part, query, given):
        cluster = self.cluster
        key = (namespace or (name if kind == "Namespace" else None), name)
        exists = (kind, key) in cluster.objects
        applies = self.command == "PATCH" and "apply" in self.headers["Content-Type"]
        if self.command == "POST":
            key = (key[0], given["metadata"]["name"])
            if (kind, key) in cluster.objects:
                return self.fail(409, "AlreadyExists")
            self.answer(cluster.put(kind, key, given), 201)
        elif self.command == "GET" and name is None:
            self.on_list(kind, api, namespace, query)
        elif not exists and not applies:
            self.fail(404, "NotFound")
        elif self.command == "GET" and part == "log":
            self.answer(cluster.logs[key].log.encode())
        elif self.command == "GET":
            self.answer(cluster.objects[kind, key])
        elif self.command == "DELETE":
            self.answer(cluster.remove(kind, key))
        elif self.command == "PUT":
            self.answer(cluster.put(kind, key, given))
        elif kind == "Deployment" and exists and self.other_selector(key, given):
            self.fail(422, "Invalid", "spec.selector: field is immutable")
        elif applies:
            # All of it is by the one who applies: what is not given any more goes.
            kept = cluster.objects.get((kind, key), {})
            status = {"status": kept["status"]} if "status" in kept else {}
            self.answer(cluster.put(kind, key, given | status))
        else:
            self.answer(cluster.put(kind, key, merged(cluster.objects[kind, key], given)))

    def other_selector(self, key, given):
        selector = self.cluster.objects["Deployment", key]["spec"]["selector"]
        return given.get("spec", {}).get("selector", selector) != selector

    def on_list(self, kind, api, namespace, query):
        def wanted(found):
            metadata = found["metadata"]
            labels = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
            fields = dict(pair.split("=") for pair in query.get("fieldSelector", "").split(",") if pair)
            return (
                labels.items() <= metadata.get("labels", {}).items()
                and fields.get("metadata.name", metadata["name"]) == metadata["name"]
                and namespace in (None, metadata["namespace"])
            )

        cluster = self.cluster
        with cluster.changed:
            items = [found for (name, _), found in cluster.objects.items() if name == kind and wanted(found)]
            now = len(cluster.events)
        if query.get("watch") not in ("true", "1"):
            metadata = {"resourceVersion": str(now)}
            return self.answer({"kind": f"{kind}List", "apiVersion": api, "metadata": metadata, "items": items})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        seen = int(query.get("resourceVersion") or 0)
        if query.get("sendInitialEvents") == "true":
            seen = now
            for found in items:
                self.tell("ADDED", found)
            metadata = {"resourceVersion": str(seen), "annotations": {"k8s.io/initial-events-end": "true"}}
            self.tell("BOOKMARK", {"apiVersion": api, "kind": kind, "metadata": metadata})
        end = time.monotonic() + min(int(query.get("timeoutSeconds", 60)), 60)
        while (left := end - time.monotonic()) > 0:
            with cluster.changed:
                cluster.changed.wait_for(lambda: len(cluster.events) > seen, left)
                events, seen = cluster.events[seen:], len(cluster.events)
            for change, name, found in events:
                if name == kind and wanted(found):
                    self.tell(change, found)

    def tell(self, change, found):
        self.wfile.write(json.dumps({"type": change, "object": found}).encode() + b"\n")
