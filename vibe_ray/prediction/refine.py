"""From estimates to motions that can be used: calm, in the world, and with feet on its floor.

Shapes: N frames of a person, J = 24 SMPL joints.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vibe_ray.body.model import BodyArrays
from vibe_ray.fitting.contacts import find_contacts
from vibe_ray.fitting.foot_lock import lock_feet
from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.fitting.smoothing import smooth_rotations
from vibe_ray.fitting.world import WorldSettings, calm_depth, find_up, to_world, up_of_tilt
from vibe_ray.prediction.person import Person, WorldMotion
from vibe_ray.prediction.settings import PredictConfig

MIN_CUTOFF_HZ, BETA = 1.5, 0.5
"""Of the one-euro filter on rotations: of a joint at rest, and how it rises with speed."""


class Refiner:
    """Refines the people of videos; all have one body model."""

    def __init__(self, body: BodyArrays, config: PredictConfig) -> None:
        self._skeleton, self._config = Skeleton(body), config
        self._settings = WorldSettings()

    def calm(self, person: Person) -> Person:
        """Smooth rotations and depth; where the pelvis appears in the picture stays as it is."""
        motion = motion_of(person)
        rotmat = smooth_rotations(
            motion.rotmat, motion.times_s, min_cutoff=MIN_CUTOFF_HZ, beta=BETA
        )
        motion = calm_depth(replace(motion, rotmat=rotmat), self._skeleton, self._settings)
        return self._with(person, motion)

    def find_up(self, people: Sequence[Person]) -> tuple[Tensor | None, str]:
        """Find which way is up for a camera that stands still, and in words where that is from.

        All people stand in one world: whoever is seen the longest is asked.
        """
        if self._config.tilt_deg is not None:
            return up_of_tilt(self._config.tilt_deg), "given as the camera's tilt"
        if not people:
            return None, "nobody to ask"
        longest = max(people, key=lambda person: person.num_frames)
        up, _, words = find_up(self._skeleton.joints(motion_of(longest)), self._settings)
        return up, words

    def in_world(self, person: Person, up: Tensor) -> Person:
        """Bring a person into the world, y up, with feet locked where they stand, if asked for.

        Args:
            person: Before a camera that stands still.
            up: In the camera's axes (3,).
        """
        world = to_world(motion_of(person), self._skeleton, up=up, settings=self._settings)
        contacts = find_contacts(world.motion, self._skeleton)
        motion = world.motion
        if self._config.feet == "lock":
            motion = lock_feet(motion, contacts, self._skeleton)
        return replace(
            person,
            world=WorldMotion(
                rotmat=motion.rotmat.numpy(),
                transl=motion.transl.numpy(),
                contacts=np.asarray(contacts),
                camera_rotmat=world.camera_rotation.numpy(),
                camera_transl=world.camera_transl.numpy(),
            ),
        )

    def _with(self, person: Person, motion: Motion) -> Person:
        joints = self._skeleton.joints(motion).float()
        return replace(
            person,
            rotmat=motion.rotmat.numpy(),
            transl=motion.transl.numpy(),
            joints=joints.numpy(),
        )


def motion_of(person: Person) -> Motion:
    """A person's motion in camera axes."""
    return Motion(
        rotmat=torch.from_numpy(person.rotmat),
        transl=torch.from_numpy(person.transl),
        betas=torch.from_numpy(person.betas),
        times_s=torch.from_numpy(person.track.times_s.astype(np.float64)),
    )
