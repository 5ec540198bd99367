"""A detector that makes no mistakes, and reports feet."""

from dataclasses import replace

from vibe_ray.data.synthetic.detector import EXACT

PERFECT = replace(EXACT, feet_prob=1.0)
