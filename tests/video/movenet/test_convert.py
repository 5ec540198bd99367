"""The reader of TensorFlow.js weights, and how they are renamed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from vibe_ray.pretrained import packaged
from vibe_ray.video.movenet.convert import (
    EXTRACTOR,
    graph_names,
    graph_to_state_dict,
    main,
    read_weights,
)
from vibe_ray.video.movenet.network import MultiPose


def write_graph(directory: Path, weights: dict[str, np.ndarray], num_files: int = 1) -> Path:
    """Write weights as TensorFlow.js does: half precision, cut into files wherever they happen."""
    entries: list[dict[str, Any]] = []
    raw = b""
    for name, value in weights.items():
        entry: dict[str, Any] = {"name": name, "shape": list(value.shape), "dtype": "int32"}
        if value.dtype == np.float16:
            entry |= {"dtype": "float32", "quantization": {"dtype": "float16"}}
        entries.append(entry)
        raw += value.tobytes()
    cuts = np.linspace(0, len(raw), num_files + 1).astype(int)
    paths = [f"shard{i}.bin" for i in range(num_files)]
    for path, start, end in zip(paths, cuts, cuts[1:], strict=False):
        (directory / path).write_bytes(raw[start:end])
    graph = directory / "movenet-multipose.json"
    manifest = [{"paths": paths, "weights": entries}]
    graph.write_text(json.dumps({"modelTopology": {"node": []}, "weightsManifest": manifest}))
    return graph


def random_graph() -> dict[str, np.ndarray]:
    """Weights under the graph's names, in TensorFlow's layout."""
    generator = np.random.default_rng(0)
    weights = {}
    shapes = {name: tuple(v.shape) for name, v in MultiPose().state_dict().items()}
    for name, node in graph_names(MultiPose()).items():
        shape = shapes[name]
        if len(shape) == 4:
            outputs, inputs, height, width = shape
            pair = (outputs, inputs) if ".depthwise." in name else (inputs, outputs)
            shape = (height, width, *pair)
        weights[node] = generator.standard_normal(shape).astype(np.float16)
    return weights


def test_weights_are_read_across_files(tmp_path: Path) -> None:
    weights = {
        "a": np.arange(6, dtype=np.float16).reshape(2, 3),
        "scalar": np.array(7, np.int32),
        "b": np.arange(5, dtype=np.float16),
    }
    found = read_weights(write_graph(tmp_path, weights, num_files=3))
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


def test_a_download_cut_short_is_refused(tmp_path: Path) -> None:
    graph = write_graph(tmp_path, {"a": np.zeros(4, np.float16), "b": np.zeros(9, np.float16)})
    shard = tmp_path / "shard0.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="end within b: download them anew"):
        read_weights(graph)
    shard.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="hold 27 bytes"):
        read_weights(graph)


@pytest.mark.parametrize("text", ["", "[]", '{"layers": 3}'])
def test_what_is_no_graph_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "graph.json").write_text(text)
    with pytest.raises(ValueError, match=r"no TensorFlow\.js graph model"):
        read_weights(tmp_path / "graph.json")


def test_a_graph_stays_in_the_folder_that_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    graph = write_graph(tmp_path / "inner", {"a": np.zeros(4, np.float16)})
    (tmp_path / "inner" / "shard0.bin").rename(tmp_path / "shard0.bin")
    graph.write_text(graph.read_text().replace("shard0", "../shard0"))
    with pytest.raises(FileNotFoundError):
        read_weights(graph)


def test_weights_quantized_to_bytes_are_refused(tmp_path: Path) -> None:
    graph = write_graph(tmp_path, {"a": np.zeros(4, np.float16)})
    graph.write_text(graph.read_text().replace('{"dtype": "float16"}', '{"dtype": "uint8"}'))
    with pytest.raises(ValueError, match="a is quantized to uint8"):
        read_weights(graph)


def test_a_convolution_means_the_same_in_both_layouts() -> None:
    graph = random_graph()
    state = graph_to_state_dict(graph, MultiPose())
    node = EXTRACTOR + "model/block_1_depthwise/depthwise_weights"
    dense = EXTRACTOR + "model/Conv1/Conv2D_weights"
    image = torch.randn(3, 3, 3)  # height, width, channels: one place of the filter
    expected = np.einsum("ijc,ijco->o", image.numpy(), graph[dense].astype(np.float32))
    weight = state["backbone.stem.weight"].float()
    found = conv2d(image.permute(2, 0, 1)[None], weight).flatten()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    image = torch.randn(3, 3, graph[node].shape[2])
    expected = np.einsum("ijc,ijcm->c", image.numpy(), graph[node].astype(np.float32))
    weight = state["backbone.blocks.1.depthwise.weight"].float()
    found = conv2d(image.permute(2, 0, 1)[None], weight, groups=len(weight)).flatten()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_graph_of_another_version_is_refused() -> None:
    graph = random_graph()
    node = graph_names(MultiPose())["heads.center.output.bias"]
    with pytest.raises(ValueError, match="has the shape"):
        graph_to_state_dict(graph | {node: np.zeros(2, np.float16)}, MultiPose())
    with pytest.raises(ValueError, match="the graph has no weights"):
        graph_to_state_dict({k: v for k, v in graph.items() if k != node}, MultiPose())


def test_every_weight_of_the_network_is_written_and_nothing_else(tmp_path: Path) -> None:
    state = graph_to_state_dict(random_graph(), MultiPose())
    MultiPose().load_state_dict({name: value.float() for name, value in state.items()})
    assert {value.dtype for value in state.values()} == {torch.float16}


def test_the_command_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--models", str(tmp_path), "--out", str(tmp_path)])
    assert "movenet-multipose.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["movenet_multipose", "movenet_thunder"])
def test_the_manifest_speaks_of_the_packaged_weights(name: Any) -> None:
    manifest = json.loads((packaged(name) / "manifest.json").read_text())
    content = (packaged(name) / "model.safetensors").read_bytes()
    assert manifest["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["license"] == "Apache-2.0"
