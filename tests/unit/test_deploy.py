"""deploy/ against the schemas, the tools and the options that it relies on."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from click import Command, Group

from sweep.cli.commands import cli
from sweep.search.ray import heartbeat

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SHARED = Path(os.environ.get("SWEEP_SCHEMAS") or ROOT.parent / "shared" / "schemas")


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which a key that it does not name is an error, as Kubernetes has it."""
    schema = dict(schema)
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        schema.setdefault("additionalProperties", False)
    if isinstance(schema.get("items"), dict):
        schema["items"] = strict(schema["items"])
    if schema.pop("x-kubernetes-int-or-string", None):
        schema.pop("type", None)
        schema.pop("anyOf", None)
        schema["type"] = ["integer", "string"]
    return schema


def kuberay_schema(kind: str) -> dict[str, Any]:
    path = SHARED / "kuberay" / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"{path} is absent: set SWEEP_SCHEMAS")
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1")
    schema["properties"]["metadata"] = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    return strict(schema)


def manifest(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "kuberay" / name).read_text())
    return document


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_a_manifest_is_what_kuberay_takes(name: str) -> None:
    document = manifest(name)
    assert document["apiVersion"] == "ray.io/v1"
    jsonschema.validate(document, kuberay_schema(document["kind"]))


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_as_many_waves_wait_as_the_autoscaler_may_start_nodes_for(name: str) -> None:
    spec = manifest(name)["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    told = {item["name"]: item["value"] for item in head["env"]}["SWEEP_MAX_NODES"]
    assert int(told) == sum(group["maxReplicas"] for group in cluster["workerGroupSpecs"])


def test_the_schema_would_refuse_a_key_that_kuberay_does_not_know() -> None:
    document = manifest("raycluster.yaml")
    document["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        jsonschema.validate(document, kuberay_schema("RayCluster"))


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_pods_have_a_token_probes_limits_a_shared_volume_and_no_privileges(name: str) -> None:
    spec = manifest(name)["spec"]
    spec = spec.get("rayClusterSpec", spec)
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"]
    assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["readinessProbe"]
        assert container["livenessProbe"]
        assert container["resources"]["limits"]
        assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
    (workers,) = spec["workerGroupSpecs"]
    assert workers["maxReplicas"] > workers["minReplicas"] >= 1
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"


def test_the_cluster_launcher_file_is_what_ray_takes() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    document = yaml.safe_load((DEPLOY / "cluster-launcher.yaml").read_text())
    jsonschema.validate(document, schema)


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    source = Path(heartbeat.__file__).read_text()
    ours = {f"ray_{name}" for name in re.findall(r'"(sweep_\w+)"', source)}
    reporter = Path(ray.__file__).parent / "dashboard/modules/reporter/reporter_agent.py"
    theirs = {f"ray_{name}" for name in re.findall(r'"(node_\w+)": Gauge', reporter.read_text())}
    board = json.loads((DEPLOY / "monitoring" / "grafana-dashboard.json").read_text())
    used = set(re.findall(r"ray_\w+", json.dumps(board)))
    assert used <= ours | theirs
    assert ours <= used


def test_the_images_are_pinned_unprivileged_and_made_of_the_wheel() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert text.count("USER 1000:1000") == 2
    assert "constraints.txt" in text
    assert re.search(r"ARG PYTHON=\d+\.\d+\.\d+-", text)
    final = text.partition(" AS sweep\n")[2].partition("\nFROM ")[0]
    assert re.findall(r"^COPY .*", final, re.M) == [
        "COPY constraints.txt /tmp/",
        "COPY --from=wheel /wheels /wheels",
    ]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert re.fullmatch(r"[\w./-]+:\d+(\.\d+)+(-\w+)?", service["image"])


def test_compose_asks_for_every_secret_and_opens_one_port_to_this_machine() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    offered = set(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(), re.M))
    assert asked <= offered | {"MLFLOW_USER", "MLFLOW_PASSWORD"}
    compose = yaml.safe_load(text)
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:${MLFLOW_PORT:-5000}:5000"]


def test_mlflow_takes_the_options_of_compose() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    told = subprocess.run([sys.executable, "-m", "mlflow", "server", "--help"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    options = {item.partition("=")[0] for item in compose["services"]["mlflow"]["command"][2:]}
    assert "--app-name" in options
    assert "--allowed-hosts" in options
    for option in options:
        assert option in told, option


def commands(group: Group, prefix: str = "sweep") -> Iterator[tuple[str, Command]]:
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, Group):
            yield from commands(command, f"{prefix} {name}")


def test_every_sweep_command_of_deploy_exists_with_its_options() -> None:
    known = dict(commands(cli))
    seen = 0
    for path in DEPLOY.rglob("*"):
        if not path.is_file() or path.suffix == ".json":
            continue
        lines = [ln for ln in path.read_text().splitlines() if not ln.lstrip().startswith("#")]
        pattern = r"\bsweep (launch|resume|status|stop)\b([^;|\n)&]*)"
        for name, rest in re.findall(pattern, "\n".join(lines)):
            options = {o for p in known[f"sweep {name}"].params for o in p.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= options, path
            seen += 1
    assert seen >= 6


def test_shell_scripts_pass_shellcheck() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*DEPLOY.rglob("*.sbatch"), *DEPLOY.rglob("*.sh"), ROOT / ".ci" / "run"]
    subprocess.run(["shellcheck", *map(str, scripts)], check=True)


def test_yaml_passes_yamllint() -> None:
    pytest.importorskip("yamllint")
    command = [sys.executable, "-m", "yamllint", "--strict", "deploy", "search_spaces"]
    subprocess.run(command, check=True, cwd=ROOT)
