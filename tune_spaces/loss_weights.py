"""How much should each loss count? Each weight is drawn around VIBE's, a factor of ten either way.

Only ratios matter much to Adam, so one weight, that of 3D key-points, stays where it is.
"""

from vibe_ray.tuning.spaces import log_uniform

SPACE = {
    "losses.kp_2d": log_uniform(30.0, 3000.0),
    "losses.pose": log_uniform(6.0, 600.0),
    "losses.betas": log_uniform(0.006, 0.6),
    "losses.adversarial": log_uniform(0.05, 5.0),
}
