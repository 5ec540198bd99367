"""From which weights does a run start, and which networks that have learned before does it ask?"""

import torch

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data.synthetic.frames import FramePool
from vibe_ray.features.keypoint_encoder import KeypointEncoder, load_keypoint_encoder
from vibe_ray.features.with_keypoints import WithKeypoints, given_keypoints
from vibe_ray.geometry.rotations import rotmat_to_rot6d
from vibe_ray.models.generator import Generator
from vibe_ray.models.motion_prior import MotionPrior
from vibe_ray.models.smpl_regressor import SmplRegressor
from vibe_ray.pretrained import packaged
from vibe_ray.runs.exports import BASELINE_DIR, ENCODER_DIR
from vibe_ray.runs.snapshots import load_regressor
from vibe_ray.training.prior import find_prior


def start_generator(generator: Generator, config: TrainConfig) -> None:
    """Start a generator from the trained parts that the config names, if it names any.

    Args:
        generator: Its regressor and its own frame encoder, where it has one, may be overwritten.
        config: Of the run.

    Raises:
        FileNotFoundError: One is not there.
        ValueError: One does not fit, or a frame encoder is named for a generator without.
    """
    if config.initial_regressor != "scratch":
        load_regressor(generator, config.initial_regressor)
    if config.initial_frame_encoder == "scratch":
        return
    if generator.frame_encoder is None:
        raise ValueError(
            f"initial_frame_encoder is {config.initial_frame_encoder}, but the generator has no "
            "frame encoder of its own: set generator.learns_features, or leave it out"
        )
    source = config.initial_frame_encoder
    start_frame_encoder(generator.frame_encoder, source, "generator.frame_encoder")


def start_frame_encoder(encoder: KeypointEncoder, source: str, setting: str) -> str:
    """Start a frame encoder from a trained one.

    Args:
        encoder: Its weights are overwritten.
        source: `open` for the packaged one, or a folder in which `prepare export` wrote one.
        setting: Which says its size, for the message.

    Returns:
        The id of the trained one.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is of another kind or size.
    """
    path = _packages(source)
    trained = load_keypoint_encoder(storage.join(path, ENCODER_DIR), "initial_frame_encoder")
    if trained.config != encoder.config:
        raise ValueError(
            f"initial_frame_encoder {path} holds {trained.config}, expected {encoder.config}: set "
            f"{setting} to the same"
        )
    encoder.load_state_dict(trained.state_dict())
    return trained.id


def load_frame_baseline(encoder: KeypointEncoder, generator: Generator, source: str) -> str:
    """Start an encoder and its frame baseline from trained ones.

    Args:
        encoder: Its weights are overwritten.
        generator: Likewise.
        source: `open` for the packaged ones, or the folder into which `prepare export` wrote both.

    Returns:
        The id of the encoder.

    Raises:
        FileNotFoundError: One of them is not there.
        ValueError: They are of another size than the configured ones, or what the config fixes of
            the regressor is not as it starts.
    """
    encoder_id = start_frame_encoder(encoder, source, "frame_encoder")
    path = _packages(source)
    load_regressor(generator, storage.join(path, BASELINE_DIR))
    fixed = generator.regressor.fc2.weight
    if generator.regressor.config.start == "one_layer" and not fixed.equal(torch.eye(len(fixed))):
        raise ValueError(
            f"initial_frame_encoder {path} holds a regressor that did not start as one layer: set "
            "generator.regressor.start to small, so that all of it learns"
        )
    return encoder_id


def set_mean_pose(regressor: SmplRegressor, pool: FramePool) -> None:
    """Start the iteration at the motion's mean pose, upright and facing the camera."""
    mean = pool.rotmat.mean(dim=0)  # (J, 3, 3)
    mean[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # half a turn about x: y is down
    regressor.start_at(rotmat_to_rot6d(mean))


def _packages(source: str) -> str:
    """Return the folder in which a frame encoder and its baseline lie side by side."""
    return str(packaged("keypoint_encoder").parent) if source == "open" else source


def windows_encoder(config: TrainConfig) -> KeypointEncoder | WithKeypoints:
    """Load what makes the features of captured windows, as the generator wants them.

    Raises:
        FileNotFoundError: There is no encoder.
        ValueError: It is of another kind.
    """
    encoder = load_keypoint_encoder(config.windows.encoder, "windows.encoder")
    generator = config.generator
    return given_keypoints(encoder, generator.sees_keypoints, is_read=not generator.learns_features)


def named_prior(config: TrainConfig) -> MotionPrior | None:
    """Load the motion prior by whose judgement a generator learns, if it does.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: None is named, or what is named is something else.
    """
    if not config.losses.motion_prior:
        return None
    if not config.motion_prior:
        raise ValueError(
            f"losses.motion_prior is {config.losses.motion_prior}, but no prior is named: set "
            "motion_prior=open for the packaged one, or train one with `python -m vibe_ray.train "
            "--recipe motion_prior` and set motion_prior=runs/motion_prior"
        )
    return find_prior(config.motion_prior)
