"""VIBE (video in, a person's SMPL pose and shape out) as a distributed training system on Ray.

    from vibe_ray import Predictor, people_in

    for person in people_in("clip.mp4"):                   # a video's people
        person.pose, person.betas, person.transl           # (N, 72), (10,), (N, 3)

    predictor = Predictor.from_checkpoint("open")          # or a run's folder, or its checkpoint
    params = predictor.predict(features)                   # (N, 2048) of one person's N frames
    params.pose, params.betas, params.cam                  # (N, 72), (N, 10), (N, 3)
    predictor.kp_3d(params), predictor.verts(params)       # meters, camera axes

Names are imported when they are used: importing the package takes no time and no PyTorch. To read
the code, begin with `recipes.py`, then `training/step.py`, `models/generator.py`, `data/schema.py`
and `training/loop.py`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vibe_ray import recipes
    from vibe_ray.body.model import BodyConfig, load_body
    from vibe_ray.body.params import SmplParams
    from vibe_ray.data.sequences import read_motion_sequences, read_pose_sequences
    from vibe_ray.data.shards import read_manifest
    from vibe_ray.features.frame_encoder import load_encoder
    from vibe_ray.inference import Predictor
    from vibe_ray.prediction.job import people_in

__version__ = "0.1.0"

__all__ = [
    "BodyConfig",
    "Predictor",
    "SmplParams",
    "__version__",
    "load_body",
    "load_encoder",
    "people_in",
    "read_manifest",
    "read_motion_sequences",
    "read_pose_sequences",
    "recipes",
]

_HOMES = {
    "BodyConfig": "vibe_ray.body.model",
    "Predictor": "vibe_ray.inference",
    "SmplParams": "vibe_ray.body.params",
    "load_body": "vibe_ray.body.model",
    "load_encoder": "vibe_ray.features.frame_encoder",
    "people_in": "vibe_ray.prediction.job",
    "read_manifest": "vibe_ray.data.shards",
    "read_motion_sequences": "vibe_ray.data.sequences",
    "read_pose_sequences": "vibe_ray.data.sequences",
}


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives, when it is asked for."""
    if name == "recipes":
        return import_module("vibe_ray.recipes")
    if name not in _HOMES:
        raise AttributeError(f"module 'vibe_ray' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
