"""VIBE (video in, a person's SMPL pose and shape out) as a distributed training system on Ray.

Read `recipes.py` first, then `training/step.py`, `models/generator.py`, `data/schema.py` and
`training/loop.py`.
"""

__version__ = "0.1.0"
