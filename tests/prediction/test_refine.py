from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.prediction.filmed import body, walk
from tests.prediction.test_person import true_person
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.fitting.motion import Motion, Skeleton
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.job import Tools
from vibe_ray.prediction.person import Person
from vibe_ray.prediction.refine import Refiner
from vibe_ray.prediction.settings import PredictConfig

LEVEL = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    return Refiner(body(), PredictConfig())


def noisy(person: Person) -> Person:
    generator = np.random.default_rng(0)
    scatter = generator.normal(0, 1, person.transl.shape) * [0.002, 0.002, 0.08]
    return replace(person, transl=(person.transl + scatter).astype(np.float32))


def joints_in(person: Person, rotmat: Array, transl: Array) -> Array:
    motion = Motion(
        rotmat=torch.from_numpy(rotmat), transl=torch.from_numpy(transl),
        betas=torch.from_numpy(person.betas), times_s=torch.from_numpy(person.track.times_s),
    )  # fmt: skip
    return Skeleton(body()).joints(motion).numpy()


def test_depth_gets_calm(refiner: Refiner) -> None:
    person = noisy(true_person(walk()))
    calm = refiner.calm(person)
    assert np.diff(calm.transl[:, 2], 2).std() < 0.1 * np.diff(person.transl[:, 2], 2).std()
    np.testing.assert_allclose(calm.transl, walk().transl, atol=0.12)


def test_the_worlds_camera_sees_the_person_in_the_picture() -> None:
    """Without locked feet, the motion of the world through its camera is the one it was made of."""
    free = Refiner(body(), PredictConfig(feet="free"))
    person = true_person(walk())
    world = free.in_world(person, LEVEL).world
    assert world is not None
    there = joints_in(person, world.rotmat, world.transl)
    before = there @ world.camera_rotmat.T + world.camera_transl
    pixels = before[..., :2] / before[..., 2:]
    true = joints_in(person, person.rotmat, person.transl)
    np.testing.assert_allclose(pixels, true[..., :2] / true[..., 2:], atol=1e-5)
    assert there[:, :, 1].min() > -0.05  # nothing far below the floor
    np.testing.assert_allclose(there[0, 0, [0, 2]], 0, atol=1e-5)  # begins above the origin


def test_locked_feet_do_not_slide(refiner: Refiner) -> None:
    person = refiner.calm(noisy(true_person(walk())))
    facts = walk().facts
    locked = refiner.judged(refiner.in_world(person, LEVEL), facts, 24)
    free = Refiner(body(), PredictConfig(feet="free"))
    loose = free.judged(free.in_world(person, LEVEL), facts, 24)
    assert locked.quality["foot_slide_cm_s"] < 1
    assert loose.quality["foot_slide_cm_s"] > locked.quality["foot_slide_cm_s"]
    assert locked.quality["deepest_cm"] < 2
    assert locked.quality["coverage"] == 1
    assert locked.quality["free_foot_slide_cm_s"] == loose.quality["foot_slide_cm_s"]
    assert loose.quality["world_reprojection_percent"] == pytest.approx(
        loose.quality["reprojection_percent"], abs=1e-3
    )


def test_a_true_motion_is_good(refiner: Refiner) -> None:
    quality = refiner.judged(true_person(walk()), walk().facts, 48).quality
    assert quality["reprojection_percent"] < 0.1
    assert quality["coverage"] == 0.5
    assert quality["foot_slide_cm_s"] is None  # there is no floor without a world


def test_up_is_asked_of_who_is_seen_the_longest(refiner: Refiner) -> None:
    up, words = refiner.find_up([true_person(walk())])
    assert up is not None
    assert float(up @ LEVEL) > np.cos(np.deg2rad(10))
    assert "stands in" in words
    assert refiner.find_up([]) == (None, "no people to ask")
    tilted, words = Refiner(body(), PredictConfig(tilt_deg=30)).find_up([])
    np.testing.assert_allclose(tilted, [0, -np.cos(np.pi / 6), -0.5], atol=1e-9)
    assert "given" in words


def test_a_fit_says_what_it_was_worth(refiner: Refiner) -> None:
    filmed = walk()
    person = refiner.fitted(true_person(filmed), filmed.facts)
    assert "fitted: the error of key-points went from 0.00 to 0.00 %" in person.notes[-1]
    np.testing.assert_allclose(person.rotmat, filmed.rotmat, atol=2e-3)  # exact already


def test_a_fit_takes_its_settings_and_its_prior() -> None:
    filmed = walk()
    person = noisy(true_person(filmed))
    given: tuple[dict[str, float], ...] = ({"num_steps": 1}, {"num_steps": 9}, {"prior": 50.0})
    made = [
        Refiner(
            body(),
            PredictConfig(fitting=FitSettings(**{"num_steps": 9, "max_rise": 1e9, **changes})),
        )  # type: ignore[arg-type]
        .fitted(person, filmed.facts)
        .rotmat
        for changes in given
    ]
    assert not np.allclose(made[0], made[1], atol=1e-3)
    assert not np.allclose(made[1], made[2], atol=1e-3)


def test_a_prior_that_is_not_there_is_an_error_before_any_video() -> None:
    config = PredictConfig(fitting=FitSettings(prior=1.0), motion_prior="nowhere")
    for make in (lambda: Refiner(body(), config), lambda: Tools(config)):
        with pytest.raises(FileNotFoundError, match="motion_prior is 'nowhere'"):
            make()
    Refiner(body(), PredictConfig(motion_prior="nowhere"))  # nobody is asked
