"""glTF read naively, from the specification: one matrix, one vertex set, one frame at a time."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Gltf:
    def __init__(self, content: bytes) -> None:
        magic, version, length = struct.unpack("<4sII", content[:12])
        assert (magic, version, length) == (b"glTF", 2, len(content))
        chunks, at = {}, 12
        while at < length:
            size, kind = struct.unpack("<I4s", content[at : at + 8])
            assert size % 4 == 0
            chunks[kind] = content[at + 8 : at + 8 + size]
            at += 8 + size
        assert list(chunks) == [b"JSON", b"BIN\0"]
        self.document: dict[str, Any] = json.loads(chunks[b"JSON"])
        self.binary = chunks[b"BIN\0"]
        assert self.document["buffers"] == [{"byteLength": len(self.binary)}]
        self.nodes = self.document["nodes"]

    def array(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        data = self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        array = np.frombuffer(data, TYPES[accessor["componentType"]])
        array = array.reshape(accessor["count"], WIDTHS[accessor["type"]])
        if "min" in accessor:
            np.testing.assert_array_equal(array.min(axis=0), np.float32(accessor["min"]))
            np.testing.assert_array_equal(array.max(axis=0), np.float32(accessor["max"]))
        return array

    def attribute(self, name: str) -> np.ndarray:
        return self.array(self.document["meshes"][0]["primitives"][0]["attributes"][name])

    def number_of(self, name: str) -> int:
        (number,) = [n for n, node in enumerate(self.nodes) if node["name"] == name]
        return number

    def times(self) -> np.ndarray:
        (animation,) = self.document["animations"]
        inputs = {sampler["input"] for sampler in animation["samplers"]}
        assert len(inputs) == 1
        return self.array(inputs.pop())[:, 0]

    def frame(self, frame: int | None) -> list[dict[str, Any]]:
        """The nodes as an animation has them at a frame, or as they are at rest."""
        nodes = [dict(node) for node in self.nodes]
        if frame is not None:
            (animation,) = self.document["animations"]
            for channel in animation["channels"]:
                output = self.array(animation["samplers"][channel["sampler"]]["output"])
                nodes[channel["target"]["node"]][channel["target"]["path"]] = output[frame]
        return nodes

    def world(self, frame: int | None) -> list[np.ndarray]:
        """Each node's matrix (4, 4) in the world."""
        nodes = self.frame(frame)
        parent = {child: n for n, node in enumerate(nodes) for child in node.get("children", [])}

        def matrix(number: int) -> np.ndarray:
            own = local_matrix(nodes[number])
            return matrix(parent[number]) @ own if number in parent else own

        return [matrix(number) for number in range(len(nodes))]

    def joints(self, frame: int | None) -> np.ndarray:
        world = self.world(frame)
        (skin,) = self.document["skins"]
        return np.array([world[joint][:3, 3] for joint in skin["joints"]])

    def verts(self, frame: int | None) -> np.ndarray:
        (skin,) = self.document["skins"]
        inverse_bind = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4)
        world = self.world(frame)
        moves = [
            world[joint] @ inverse.astype(np.float64).T  # stored column by column
            for joint, inverse in zip(skin["joints"], inverse_bind, strict=True)
        ]
        points = np.c_[self.attribute("POSITION"), np.ones(len(self.attribute("POSITION")))]
        verts = np.zeros((len(points), 4))
        number = 0
        while f"JOINTS_{number}" in self.document["meshes"][0]["primitives"][0]["attributes"]:
            joints, weights = (
                self.attribute(f"JOINTS_{number}"),
                self.attribute(f"WEIGHTS_{number}"),
            )
            for column in range(4):
                turned = np.einsum("vij,vj->vi", np.array(moves)[joints[:, column]], points)
                verts += weights[:, column, None] * turned
            number += 1
        return verts[:, :3]


def read(path: str | Path) -> Gltf:
    return Gltf(Path(path).read_bytes())


def local_matrix(node: dict[str, Any]) -> np.ndarray:
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), np.float64)
    assert abs(x * x + y * y + z * z + w * w - 1) < 1e-6
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix
