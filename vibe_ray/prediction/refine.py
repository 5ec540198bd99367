"""From estimates to motions that can be used: calm, in the world, and with feet on its floor.

Shapes: N frames of a person, J = 24 SMPL joints.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vibe_ray.body.model import BodyArrays
from vibe_ray.fitting.contacts import find_contacts
from vibe_ray.fitting.foot_lock import lock_feet
from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.fitting.observation import reprojection
from vibe_ray.fitting.picture import fit_to_picture
from vibe_ray.fitting.quality import (
    Grounded,
    deepest_cm,
    foot_slide_cm_s,
    report_quality,
)
from vibe_ray.fitting.smoothing import smooth_rotations
from vibe_ray.fitting.world import (
    WorldSettings,
    calm_depth,
    moved,
    to_world,
    up_of_motion,
    up_of_tilt,
)
from vibe_ray.prediction.estimate import observed
from vibe_ray.prediction.person import Person, WorldMotion
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.training.prior import find_prior
from vibe_ray.video.frames import VideoFacts

MIN_CUTOFF_HZ, BETA = 1.5, 0.3
"""Of the one-euro filter on rotations: of a joint at rest, and how it rises with speed."""


class Refiner:
    """Refines the people of videos; all have one body model."""

    def __init__(self, body: BodyArrays, config: PredictConfig) -> None:
        """Take a body and settings.

        Raises:
            FileNotFoundError: The fit is to ask a motion prior that is not there.
        """
        self._body, self._skeleton, self._config = body, Skeleton(body), config
        self._settings = WorldSettings()
        wanted = config.fit and config.fitting.prior > 0
        self._prior = find_prior(config.motion_prior) if wanted else None

    def fitted(self, person: Person, facts: VideoFacts) -> Person:
        """Lay the body closer on the key-points, where those held out do not contradict it."""
        motion, seen = motion_of(person), observed(person.track, facts)
        fit = fit_to_picture(motion, seen, self._body, self._config.fitting, self._prior)
        person = replace(person, notes=(*person.notes, fit.verdict.words))
        return self._with(person, fit.motion) if fit.verdict.is_kept else person

    def calm(self, person: Person) -> Person:
        """Smooth rotations and the place before the camera, depth most of all."""
        motion = motion_of(person)
        rotmat = smooth_rotations(
            motion.rotmat, motion.times_s, min_cutoff=MIN_CUTOFF_HZ, beta=BETA
        )
        motion = calm_depth(replace(motion, rotmat=rotmat), self._skeleton, self._settings)
        return self._with(person, motion)

    def find_up(self, people: Sequence[Person]) -> tuple[Tensor | None, str]:
        """Find which way is up for a camera that stands still, and in words where that is from.

        Asked is who stands, and of those whoever is seen the longest; up is the same for all.
        """
        if self._config.tilt_deg is not None:
            return up_of_tilt(self._config.tilt_deg), "given as the camera's tilt"
        by_length = sorted(people, key=lambda person: -person.num_frames)
        first = None
        for person in by_length:
            up, spread_deg, words = up_of_motion(motion_of(person), self._skeleton, self._settings)
            if np.isfinite(spread_deg):
                return up, words
            first = first or (up, words)
        return first or (None, "no people to ask")

    def in_world(self, person: Person, up: Tensor) -> Person:
        """Bring a person into the world, y up, with feet locked where they stand, if asked for.

        Args:
            person: Before a camera that stands still.
            up: In the camera's axes (3,).
        """
        world = to_world(motion_of(person), self._skeleton, up)
        contacts = find_contacts(world.motion, self._skeleton)
        motion, free = world.motion, Grounded(motion=world.motion, contacts=contacts)
        if self._config.feet == "lock":
            motion = lock_feet(motion, contacts, self._skeleton)
        return replace(
            person,
            quality={
                "free_foot_slide_cm_s": _number(foot_slide_cm_s(free, self._skeleton)),
                "free_deepest_cm": _number(deepest_cm(world.motion, self._skeleton)),
            },
            world=WorldMotion(
                rotmat=motion.rotmat.numpy(),
                transl=motion.transl.numpy(),
                contacts=np.asarray(contacts),
                camera_rotmat=world.camera_rotation.numpy(),
                camera_transl=world.camera_transl.numpy(),
            ),
        )

    def judged(self, person: Person, facts: VideoFacts, num_frames: int) -> Person:
        """Add what can be said of a person without the truth.

        Args:
            person: Refined.
            facts: The video's.
            num_frames: Of the whole video.
        """
        seen, grounded, told = observed(person.track, facts), None, dict(person.quality)
        if (world := person.world) is not None:
            motion = replace(
                motion_of(person),
                rotmat=torch.from_numpy(world.rotmat),
                transl=torch.from_numpy(world.transl),
            )
            grounded = Grounded(motion=motion, contacts=world.contacts)
            rotmat, transl = map(torch.from_numpy, (world.camera_rotmat, world.camera_transl))
            shown = reprojection(
                moved(motion, rotmat, transl, self._skeleton), self._skeleton, seen
            )
            told["world_reprojection_percent"] = _number(100 * float(shown.nanmedian()))
        quality = report_quality(
            motion_of(person),
            self._skeleton,
            seen=seen,
            num_video_frames=num_frames,
            grounded=grounded,
        )
        told |= {name: _number(value) for name, value in asdict(quality).items()}
        return replace(person, quality=told)

    def _with(self, person: Person, motion: Motion) -> Person:
        joints = self._skeleton.joints(motion).float()
        return replace(
            person,
            rotmat=motion.rotmat.numpy(),
            betas=motion.betas.numpy(),
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


def _number(value: Any) -> Any:
    """A value as JSON has it: what could not be measured is nothing, sequences are lists."""
    if isinstance(value, tuple):
        return list(value)
    return None if value != value else round(value, 4)
