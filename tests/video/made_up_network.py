"""Makes `brightest.onnx`: a network of RTMPose's kind whose key-points are known in closed form.

Key-point k is at the pixel where the red, green or blue (k mod 3) of a picture is brightest, since
its row in either output is that color's largest value in each column, and in each row, of the
picture, twice for each pixel. `python -m tests.video.made_up_network`; needs `onnx`.
"""

from pathlib import Path

NETWORK = Path(__file__).with_name("brightest.onnx")
WIDTH, HEIGHT, NUM_KEYPOINTS = 96, 128, 26


def main() -> None:
    """Write the file."""
    import onnx
    from onnx import TensorProto, helper

    colors = [k % 3 for k in range(NUM_KEYPOINTS)]
    constants = [
        helper.make_tensor("rows", TensorProto.INT64, [1], [2]),
        helper.make_tensor("columns", TensorProto.INT64, [1], [3]),
        helper.make_tensor("colors", TensorProto.INT64, [NUM_KEYPOINTS], colors),
        helper.make_tensor("doubled", TensorProto.FLOAT, [3], [1.0, 1.0, 2.0]),
    ]
    nodes = []
    for axis, output in (("rows", "simcc_x"), ("columns", "simcc_y")):
        nodes += [
            helper.make_node("ReduceMax", ["input", axis], [f"{output}_max"], keepdims=0),
            helper.make_node("Gather", [f"{output}_max", "colors"], [f"{output}_each"], axis=1),
            helper.make_node(
                "Resize", [f"{output}_each", "", "doubled"], [output], mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            ),
        ]  # fmt: skip
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, HEIGHT, WIDTH])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", NUM_KEYPOINTS, 2 * size])
        for name, size in (("simcc_x", WIDTH), ("simcc_y", HEIGHT))
    ]
    graph = helper.make_graph(nodes, "brightest", [pixels], outputs, constants)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, NETWORK)


if __name__ == "__main__":
    main()
