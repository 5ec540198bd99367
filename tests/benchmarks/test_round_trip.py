"""What compares a prediction with the truth finds no error in the truth, and the errors put in."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from tests.benchmarks.round_trip import CLIPS, UP, Clip, compare, noisy
from tests.fitting.motions import skeleton
from tests.prediction.filmed import HEIGHT, WIDTH, body
from tests.prediction.test_person import true_person
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.person import Person, WorldMotion
from vibe_ray.prediction.refine import Refiner
from vibe_ray.prediction.settings import PredictConfig


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip.of(CLIPS["walk"]())


def truth(clip: Clip) -> Person:
    """The truth as a prediction, in a world of its own heading and origin."""
    refiner = Refiner(body(), PredictConfig(feet="free"))
    person = refiner.in_world(true_person(clip.filmed), UP)
    assert person.world is not None
    world = replace(person.world, contacts=clip.contacts)
    return refiner.judged(replace(person, world=world), clip.filmed.facts, person.num_frames)


def in_world(person: Person, transl: Array) -> Person:
    assert person.world is not None
    return replace(person, world=replace(person.world, transl=transl.astype(np.float32)))


@pytest.mark.parametrize("name", CLIPS)
def test_people_stay_in_the_picture_and_touch_the_floor(name: str) -> None:
    clip = Clip.of(CLIPS[name]())
    inside = (clip.filmed.kp_2d > 0) & (clip.filmed.kp_2d < [WIDTH, HEIGHT])
    assert inside.all(axis=(-1, -2)).mean() > 0.95
    assert 0.1 < clip.contacts.mean() <= 1


def test_the_truth_has_no_error(clip: Clip) -> None:
    numbers = compare(truth(clip), clip)
    assert numbers["coverage_percent"] == 100
    assert numbers["pa_mpjpe_mm"] < 0.1
    assert numbers["path_rms_cm"] < 0.1
    assert numbers["up_deg"] < 1e-3
    assert numbers["path_m"] > 1
    assert (numbers["contact_precision"], numbers["contact_recall"]) == (1, 1)
    # Known contacts are slow but not at rest.
    assert numbers["slide_true_cm_s"] == pytest.approx(numbers["slide_found_cm_s"], rel=1e-3)


def test_errors_are_those_put_in(clip: Clip) -> None:
    person = truth(clip)
    assert isinstance(person.world, WorldMotion)
    share = np.linspace(0, 1, person.num_frames)[:, None]
    numbers = compare(in_world(person, person.world.transl + share * [0.3, 0.0, 0.4]), clip)
    assert numbers["path_end_cm"] == pytest.approx(50, abs=0.2)
    assert numbers["path_rms_cm"] == pytest.approx(50 * np.sqrt((share**2).mean()), abs=0.2)
    missed = replace(person.world, contacts=np.zeros_like(clip.contacts))
    numbers = compare(replace(person, world=missed), clip)
    assert (numbers["contact_precision"], numbers["contact_recall"]) == (0, 0)
    tilt = roma.rotvec_to_rotmat(torch.tensor([np.deg2rad(7.0), 0, 0])).numpy()
    tilted = replace(person.world, camera_rotmat=tilt @ person.world.camera_rotmat)
    up_deg = compare(replace(person, world=tilted), clip)["up_deg"]
    assert up_deg == pytest.approx(7, abs=0.05)


def test_noise_is_a_share_of_the_height(clip: Clip) -> None:
    kp, conf = noisy(clip)
    off = np.linalg.norm(kp - clip.filmed.kp_2d, axis=-1)[conf > 0]
    joints = skeleton().joints(clip.world)
    height_px = 200 * float(joints[..., 1].max() - joints[..., 1].min()) / 1.7
    assert 0.003 * height_px < np.median(off) < 0.05 * height_px
    assert (conf > 0).mean() > 0.8
