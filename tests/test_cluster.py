"""Every cluster file is one that `ray up` takes, as far as that shows without a cloud.

Ray's own check is private and lets typing errors inside a node's configuration pass; both are dealt
with here and nowhere else.
"""

import copy
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml  # type: ignore[import-untyped]
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

FOLDER = Path(__file__).parents[1] / "cluster"
FILES = sorted(FOLDER.glob("*.yaml"))
Config = dict[str, Any]


def read(path: Path) -> Config:
    config: Config = yaml.safe_load(path.read_text())
    return config


@pytest.fixture
def gpu() -> Config:
    return read(FOLDER / "gpu.yaml")


def check(config: Config) -> None:
    """Validate as `ray up` does, and then what it lets pass."""
    validate_config(prepare_config(copy.deepcopy(config)))
    if config["provider"]["type"] == "aws":
        check_aws(config)


def check_aws(config: Config) -> None:
    session = botocore.session.Session()
    assert config["provider"]["region"] in session.get_available_regions("ec2")
    model = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, node_type in config["available_node_types"].items():
        # Ray adds the counts itself.
        wanted = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(wanted, model)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"
        if name != config["head_node_type"]:
            assert node_type["min_workers"] <= node_type["max_workers"] <= config["max_workers"]


def test_there_is_something_to_check() -> None:
    assert {path.name for path in FILES} >= {"gpu.yaml", "local.yaml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_ray_takes_the_file(path: Path) -> None:
    check(read(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nodes_install_what_the_project_pins(path: Path) -> None:
    config = read(path)
    assert config["file_mounts"]["~/vibe_ray"] == "."
    assert any("-c requirements.lock" in command for command in config["setup_commands"])


def test_images_carry_the_pinned_ray(gpu: Config) -> None:
    lock = (FOLDER.parent / "requirements.lock").read_text()
    version = next(line for line in lock.splitlines() if line.startswith("ray==")).split("==")[1]
    images = [gpu["docker"]["head_image"], gpu["docker"]["worker_image"]]
    images.append(gpu["available_node_types"]["data_cpu"]["docker"]["worker_image"])
    assert all(image.startswith(f"rayproject/ray:{version}-py3") for image in images)


def test_the_head_does_no_work_and_nothing_else_runs_while_idle(gpu: Config) -> None:
    types = gpu["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert all(types[name]["min_workers"] == 0 for name in types if name != "head")


def test_spot_comes_before_on_demand_and_both_train(gpu: Config) -> None:
    spot, demand = (gpu["available_node_types"][n] for n in ("gpu_spot", "gpu_on_demand"))
    assert spot["priority"] > demand["priority"]
    assert spot["resources"] == demand["resources"]
    assert spot["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in demand["node_config"]


BREAKAGES = {
    "an unknown key": lambda c: c.update(max_worker=3),
    "a head type that is not there": lambda c: c.update(head_node_type="heads"),
    "half a CPU": lambda c: c["available_node_types"]["gpu_spot"]["resources"].update(CPU=1.5),
    "more nodes wanted than allowed": lambda c: c["available_node_types"]["gpu_spot"].update(
        min_workers=4, max_workers=3
    ),
    "a typing error in a node": lambda c: c["available_node_types"]["gpu_spot"][
        "node_config"
    ].update(InstanceTyp="g6.2xlarge"),
    "a region that is none": lambda c: c["provider"].update(region="us-west-9"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_the_check_itself_finds(breakage: str, gpu: Config) -> None:
    BREAKAGES[breakage](gpu)
    with pytest.raises(Exception, match=r"."):
        check(gpu)
