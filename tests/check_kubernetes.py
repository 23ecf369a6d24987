#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The manifests of docs/kubernetes and docker/compose.yaml: they fit together, name what there is,
and hold the container as tightly as they say. No cluster is asked.

    tests/check_kubernetes.py POOLD
"""
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent


def load(kind):
    for path in (ROOT / "docs/kubernetes").glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            assert {"apiVersion", "kind", "metadata", "spec"} <= set(document), path
            if document["kind"] == kind:
                return document
    raise AssertionError(f"there is no {kind}")


def settings(poold):
    text = subprocess.run([poold, "serve", "--help"], capture_output=True, text=True, check=True)
    flags = re.findall(r"^  --([a-z-]+)", text.stdout, re.M)
    return {"POOLD_" + flag.replace("-", "_").upper() for flag in flags}


def check_container(container, known):
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"]["drop"] == ["ALL"] and "add" not in context["capabilities"]
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert all(isinstance(value, str) for value in environment.values())
    assert set(environment) <= known, set(environment) - known
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert environment["POOLD_LISTEN"].endswith(f":{ports['http']}")
    assert environment["POOLD_ADMIN_LISTEN"].endswith(f":{ports['admin']}")
    for probe, path in (
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": "admin"}, probe
    return environment, ports


def check_manifests(known):
    deployment = load("Deployment")
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["replicas"] == 1 and spec["strategy"]["type"] == "Recreate"
    assert spec["selector"]["matchLabels"] == labels
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    (container,) = pod["containers"]
    environment, ports = check_container(container, known)
    drain = float(environment["POOLD_DRAIN_TIMEOUT"])
    assert pod["terminationGracePeriodSeconds"] > drain
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == set(volumes) and {"/data", "/tmp"} == set(mounts)
    claim = volumes[mounts["/data"]]["persistentVolumeClaim"]["claimName"]
    assert claim == load("PersistentVolumeClaim")["metadata"]["name"]
    service = load("Service")["spec"]
    assert service["selector"] == labels
    assert [port["targetPort"] for port in service["ports"]] == ["http"]
    policy = load("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["egress"] == [] and set(policy["policyTypes"]) == {"Ingress", "Egress"}
    allowed = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert allowed == set(ports.values()) and all(rule["from"] for rule in policy["ingress"])


def check_compose():
    text = (ROOT / "docker/compose.yaml").read_text()
    service = yaml.safe_load(text)["services"]["poold"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"] == "10001:10001" and service["pids_limit"] > 0
    assert service["tmpfs"] and service["stop_grace_period"]
    assert service["healthcheck"]["test"] == ["CMD", "poold", "health"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    assert "\nUSER 10001:10001\n" in dockerfile


if __name__ == "__main__":
    check_manifests(settings(sys.argv[1]))
    check_compose()
