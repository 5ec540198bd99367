"""A detector that makes no mistakes, sees joints where the body has them, and reports feet."""

from vibe_ray.data.synthetic.detector import DetectorConfig

PERFECT = DetectorConfig(
    own_joints=False,
    noise=(0.0, 0.0),
    peak_prob=0.0,
    occlusion_prob=0.0,
    swap_prob=0.0,
    swap_prob_behind=0.0,
    miss_prob=0.0,
    feet_prob=1.0,
)
