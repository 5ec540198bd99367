"""MoveNet, Google's detector of people and their key-points, as plain PyTorch modules.

`network.py` holds the layers, `decoding.py` turns their maps into people, `convert.py` made the
packaged weights out of the published graphs.
"""

from vibe_ray.video.movenet.decoding import People
from vibe_ray.video.movenet.network import MultiPose, SinglePose, load_multipose, load_singlepose

__all__ = ["MultiPose", "People", "SinglePose", "load_multipose", "load_singlepose"]
