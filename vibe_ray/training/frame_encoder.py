"""`prepare encoder`: train the open frame encoder and the frame baseline, and write both.

The encoder then is frozen, as SPIN's is in the paper; encoder and regressor together are the frame
baseline that VIBE has to beat. A run may be killed at any time and goes on bit for bit where its
last state stands.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vibe_ray import storage
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.config import TrainConfig
from vibe_ray.data.mixing import DataConfig
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.dataset import OpenCapturesConfig, Split, split_motion
from vibe_ray.runs.snapshots import GENERATOR_FILE, save_networks
from vibe_ray.training.frame_learning import FrameEncoderConfig, FrameEncoderTraining

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
STATE_DIR = "state"
ENCODER_DIR = "keypoint_encoder"
BASELINE_DIR = "frame_baseline"


def train_and_save(
    motion: Sequence[MotionSequence], out: Path, *, seed: int = 0, num_steps: int | None = None
) -> dict[str, float]:
    """Train on the training split of some motion and write encoder and frame baseline.

    Args:
        motion: All clips; those held out by `OpenCapturesConfig` are not trained on.
        out: Gets `keypoint_encoder/`, `frame_baseline/` and, to continue from, `state/`.
        seed: Of the weights and of all frames.
        num_steps: Number of updates if not the default.

    Returns:
        Metrics on the held-out test clips' frames.
    """
    config = FrameEncoderConfig(seed=seed)
    if num_steps is not None:
        config = replace(config, num_steps=num_steps)
    splits = split_motion(motion, OpenCapturesConfig())
    body = load_body(BodyConfig())
    training = FrameEncoderTraining(config, body, splits["train"], splits["val"])
    train_frame_encoder(training, out / STATE_DIR)
    return save_result(training, splits, out)


def train_frame_encoder(training: FrameEncoderTraining, directory: Path) -> None:
    """Train to the config's last step, resuming from `directory` if it holds a state.

    Args:
        training: Fresh.
        directory: Gets the state and `metrics.jsonl`, which is written anew from the state.

    Raises:
        FloatingPointError: The loss was not finite.
        ValueError: The state there is of a training with other settings or motion.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if training.resume(directory):
        logger.info("continuing at step %d", training.step)
        _write_rows(training, directory)  # without those that a killed process logged later
    config, saved = training.config, time.monotonic()
    while training.step < config.num_steps:
        terms = training.update()
        last = training.step == config.num_steps
        reports = last or training.step % config.validate_every == 0
        saves = last or time.monotonic() - saved > config.checkpoint_s
        if reports or saves:
            _check_finite(terms, training.step, directory)
        if reports:
            row = training.end_row()
            logger.info("%s", "  ".join(f"{name} {value:.5g}" for name, value in row.items()))
            _write_rows(training, directory)
        if saves:
            training.save(directory)
            saved = time.monotonic()


def save_result(
    training: FrameEncoderTraining, splits: Mapping[Split, Sequence[MotionSequence]], out: Path
) -> dict[str, float]:
    """Write the trained networks in half precision, with what they were trained on.

    Returns:
        Metrics on the test clips' frames, after rounding.
    """
    generator = training.generator
    half = {k: v.detach().half().contiguous() for k, v in generator.state_dict().items()}
    generator.load_state_dict({k: v.float() for k, v in half.items()})
    training.encoder.save(out / ENCODER_DIR, {})  # rounds the weights in use as well
    metrics = training.evaluate(splits["test"])
    sources = sorted({clip.dataset for clips in splits.values() for clip in clips})
    manifest = {
        "seed": training.config.seed,
        "steps": training.step,
        "frames": training.step * training.config.batch_size,
        "motion": sources,
        "train_minutes": round(sum(len(c.pose) / c.fps for c in splits["train"]) / 60, 1),
        "val_clips": [clip.name for clip in splits["val"]],
        "test_clips": [clip.name for clip in splits["test"]],
        "test_metrics": metrics,
    }
    training.encoder.save(out / ENCODER_DIR, manifest)
    baseline = out / BASELINE_DIR
    baseline.mkdir(parents=True, exist_ok=True)
    recipe = TrainConfig(
        seed=training.config.seed,
        epochs=1,
        steps_per_epoch=training.step,
        data=DataConfig(batch_size=training.config.batch_size, ratio_2d=0.0),
        generator=training.config.generator,
        losses=training.config.losses,
    )
    manifest = {"encoder_id": training.encoder.id, **manifest}
    save_networks(baseline, recipe, {GENERATOR_FILE: half}, manifest)
    logger.info("test: %s", metrics)
    return metrics


def _write_rows(training: FrameEncoderTraining, directory: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in training.rows)
    storage.write_bytes_atomic(str(directory / METRICS_FILE), text.encode())


def _check_finite(terms: dict[str, Tensor], step: int, directory: Path) -> None:
    bad = [name for name, value in terms.items() if not math.isfinite(float(value))]
    if bad:
        raise FloatingPointError(
            f"loss term {bad[0]} was not finite at step {step}: the state in {directory} is good; "
            "lower the learning rate"
        )
