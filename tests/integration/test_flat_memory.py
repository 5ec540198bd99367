"""That memory stays flat however long a video is, but for what is kept of a person's frames."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.held import most_held
from tests.prediction.filmed import FPS, Filmed, body, walk
from tests.prediction.test_person import true_person
from vibe_ray.evaluation import passes
from vibe_ray.export import EXPORTS, Export
from vibe_ray.features import blocks
from vibe_ray.fitting import foot_lock, motion, smoothing
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.fitting.picture import fit_to_picture
from vibe_ray.prediction import estimate
from vibe_ray.prediction.estimate import Estimator, observed
from vibe_ray.prediction.outputs import animation
from vibe_ray.prediction.refine import Refiner, motion_of
from vibe_ray.prediction.settings import PredictConfig

pytestmark = pytest.mark.slow
ROTATIONS = 24 * 9 * 4
"""Bytes of a frame's rotations, the largest of what is kept of a person."""
SHORT, LONG = 96, 288
LEVEL = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a sequence that tests can afford has many."""
    monkeypatch.setattr(blocks, "BLOCK_FRAMES", 32)
    monkeypatch.setattr(passes, "PIECE_FRAMES", 32)
    monkeypatch.setattr(estimate, "FRAMES_AT_A_TIME", 32)
    monkeypatch.setattr(motion, "FRAMES_AT_A_TIME", 32)
    monkeypatch.setattr(foot_lock, "FRAMES_AT_A_TIME", 32)
    monkeypatch.setattr(smoothing, "ROTATIONS_AT_ONCE", 64)


def long_walk(num_frames: int) -> Filmed:
    """To and fro."""
    one = walk(64)
    order = np.abs((np.arange(num_frames) + 63) % 126 - 63)
    rows = (one.rotmat[order], one.betas, one.transl[order], one.kp_2d[order], one.kp_3d[order])
    return Filmed(*rows)


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    return Estimator.load()


def bytes_per_frame(work: Callable[[int], Callable[[], object]]) -> float:
    """By how much more is held at most for a frame more, what is returned included."""
    work(SHORT)()  # what is made once
    held = [most_held(work(num_frames)) for num_frames in (SHORT, LONG)]
    return (held[1] - held[0]) / (LONG - SHORT)


def test_an_estimate_holds_a_gru_s_states_and_what_it_returns(estimator: Estimator) -> None:
    """A feature alone would be 8192 bytes a frame, all that was estimated at once 50,000."""

    def estimating(num_frames: int) -> Callable[[], object]:
        filmed = long_walk(num_frames)
        track, facts = filmed.track, filmed.facts
        return lambda: estimator.estimate(track, facts)

    states = 2 * 2 * 4 * estimator.predictor.config.generator.temporal_encoder.gru.hidden_dim
    assert bytes_per_frame(estimating) < states + ROTATIONS


def test_a_fit_holds_corrections_and_the_optimizers_moments() -> None:
    def fitting(num_frames: int) -> Callable[[], object]:
        filmed = long_walk(num_frames)
        motion, seen = motion_of(true_person(filmed)), observed(filmed.track, filmed.facts)
        settings = FitSettings(num_steps=2, held_out_frames=48, chunk=48, max_rise=1e9, max_off=1e9)
        return lambda: fit_to_picture(motion, seen, body(), settings=settings)

    assert bytes_per_frame(fitting) < 6 * ROTATIONS


def test_refining_holds_a_few_copies_of_what_it_returns() -> None:
    refiner = Refiner(body(), PredictConfig())

    def calming(num_frames: int) -> Callable[[], object]:
        person = true_person(long_walk(num_frames))
        return lambda: refiner.calm(person)

    def finding_up(num_frames: int) -> Callable[[], object]:
        person = true_person(long_walk(num_frames))
        return lambda: refiner.find_up([person])

    def judging(num_frames: int) -> Callable[[], object]:
        filmed = long_walk(num_frames)
        person, facts = refiner.in_world(true_person(filmed), LEVEL), filmed.facts
        return lambda: refiner.judged(person, facts, num_frames)

    held = {work.__name__: bytes_per_frame(work) for work in (calming, finding_up, judging)}
    assert max(held.values()) < 4 * ROTATIONS, held


def test_locked_feet_hold_what_the_legs_need() -> None:
    """Float64 of nine joints, and a sparse system of equations."""
    refiner = Refiner(body(), PredictConfig())

    def grounding(num_frames: int) -> Callable[[], object]:
        person = true_person(long_walk(num_frames))
        return lambda: refiner.in_world(person, LEVEL)

    assert bytes_per_frame(grounding) < 10 * ROTATIONS


@pytest.mark.parametrize("export", EXPORTS[:2], ids=lambda export: export.name)
def test_an_export_holds_its_file_and_float64(export: Export, tmp_path: Path) -> None:
    def exporting(num_frames: int) -> Callable[[], object]:
        filmed = long_walk(num_frames)
        person, path = true_person(filmed), str(tmp_path / f"{num_frames}{export.suffix}")
        return lambda: export.write(
            path, animation(person, body()), body(), fps=FPS, names="smpl", camera=None
        )

    assert bytes_per_frame(exporting) < 8 * ROTATIONS
