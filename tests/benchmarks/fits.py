"""`python -m tests.benchmarks.fits`: does a fit to key-points bring poses nearer to the truth?

Held-out motion is captured anew, as `prepare open` captures it, by cameras that do not zoom (a fit
knows one focal length), and estimated over the whole track by the frame baseline and by VIBE, as a
prediction does without flipping; then it is fitted as a prediction is. Clips whose person is not in
every frame are left out. Whether a fit is kept was chosen on `val`.

Shapes: N frames of a clip.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.people import print_rows, smoothed
from tests.data.perfect import PERFECT
from tests.fitting.estimated import estimated
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sequences import read_motion_sequences
from vibe_ray.data.synthetic.captures import CaptureConfig, CapturedBody, CapturedClips, capture
from vibe_ray.data.synthetic.detector import DETECTED, DetectorConfig
from vibe_ray.data.synthetic.virtual_cameras import CameraConfig
from vibe_ray.evaluation.metrics import accel_error_mm_per_frame2, pa_mpjpe_mm
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.fitting.picture import fit_to_picture
from vibe_ray.inference import Predictor
from vibe_ray.pretrained import packaged
from vibe_ray.settings import override
from vibe_ray.training.prior import find_prior

Row = dict[str, Any]

FPS, MIN_FRAMES, MAX_FRAMES = 25.0, 48, 100
EXACT = dataclasses.replace(PERFECT, own_joints=True, feet_prob=0.0)
DETECTORS = {"measured": DetectorConfig(), "exact": EXACT}


@dataclass(frozen=True)
class Estimate:
    """What was made of a clip, and what is true."""

    motion: Motion
    seen: Observation
    true: Tensor
    """Joints of evaluation (N, 14, 3), meters."""
    rotmat: Tensor
    """Likewise, the pose (N, 24, 3, 3)."""


class Clips:
    """Captured clips of some motion, and what networks make of them."""

    def __init__(self, motion: str, num: int, detector: DetectorConfig, encoder: str) -> None:
        arrays = load_body(BodyConfig())
        self._joints = BodyJoints.evaluation(arrays)
        self._encoder = load_encoder(encoder)
        config = CaptureConfig(camera=CameraConfig(zoom=0.0), detector=detector)
        body = CapturedBody.of(arrays)
        self._clips = [
            clip
            for number, sequence in enumerate(_some(motion, num))
            if (clip := _captured(sequence, number, body, config)).has_box.all()
        ]

    def estimates(self, checkpoint: str) -> Iterator[Estimate]:
        """Yield what a checkpoint says of each clip whose person can be placed in all frames."""
        predictor = Predictor.from_checkpoint(checkpoint)
        for clip in self._clips:
            kp, conf, box = clip.detected[0], clip.detected_conf[0], clip.box[0]
            width, height = clip.image_size[0].tolist()
            seen = Observation(
                kp_2d=kp,
                conf=conf,
                names=DETECTED,
                box_size=box[:, 2],
                focal=float(clip.camera[0, 0, 0]),
                center=(width / 2, height / 2),
            )
            times_s = torch.arange(len(kp), dtype=torch.float64) / FPS
            size = clip.image_size[0]
            motion = estimated(predictor, self._encoder, seen, box, size, times_s)
            if motion is not None:
                true = self._joints(clip.betas.expand(len(kp), -1), clip.rotmat[0])
                yield Estimate(motion, seen, true, clip.rotmat[0])

    def errors(self, motion: Motion, true: Tensor) -> tuple[float, float]:
        """Return a clip's PA-MPJPE and acceleration error."""
        found = self._joints(motion.betas.expand(len(true), -1), motion.rotmat)
        accel = accel_error_mm_per_frame2(found, true)
        return float(pa_mpjpe_mm(found, true).mean()), float(accel.mean())


def _some(path: str, num: int) -> list[MotionSequence]:
    """So many clips of a motion data set, from all over it, in an order of their own."""
    clips = [clip.resampled(FPS) for clip in read_motion_sequences(path)]
    clips = [clip for clip in clips if clip.num_frames >= MIN_FRAMES]
    chosen = np.random.default_rng(0).permutation(len(clips))[:num]
    return [clips[i] for i in chosen]


def _captured(
    clip: MotionSequence, number: int, body: CapturedBody, config: CaptureConfig
) -> CapturedClips:
    length = min(MAX_FRAMES, clip.num_frames)
    start = int(np.random.default_rng(number).integers(0, clip.num_frames - length + 1))
    rows = slice(start, start + length)
    rotmat = pose_to_rotmat(torch.tensor(clip.pose[rows], dtype=torch.float32))[None]
    trans = torch.tensor(clip.trans[rows], dtype=torch.float32)[None]
    return capture(rotmat, trans, FPS, body, config, torch.Generator().manual_seed(number))


def measured(clips: Clips, checkpoints: Mapping[str, str], settings: FitSettings) -> Iterator[Row]:
    """Yield a row for each checkpoint, as it is and fitted."""
    body, prior = load_body(BodyConfig()), find_prior("open") if settings.prior else None
    for name, checkpoint in checkpoints.items():
        rows, kept = [], []
        for one in clips.estimates(checkpoint):
            fit = fit_to_picture(one.motion, one.seen, body, settings, prior)
            kept.append(fit.verdict.is_kept)
            ways = one.motion, fit.motion, smoothed(fit.motion)
            rows.append([clips.errors(motion, one.true) for motion in ways])
        table = np.array(rows)  # (clips, ways, 2)
        for way, column in zip(("", " + fit", " + fit + smoothing"), range(3), strict=True):
            pa, accel = table[:, column].mean(axis=0)
            row: Row = {"method": name + way, "clips": len(rows), "pa_mpjpe_mm": float(pa)}
            row["accel_error_mm_per_frame2"] = float(accel)
            if column:
                change = table[:, column, 0] - table[:, 0, 0]
                row |= {
                    "kept_percent": 100 * float(np.mean(kept)),
                    "better_percent": 100 * float((change < 0).mean()),
                    "worst_change_mm": float(change.max()),
                }
            yield row


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.fits", description=__doc__)
    parser.add_argument("--data", required=True, help="folder of `prepare open`, with its motion")
    parser.add_argument("--splits", nargs="+", default=["val", "test", "unseen"])
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    parser.add_argument("--num", type=int, default=40, help="clips of a split")
    parser.add_argument("--vibe", default="open")
    parser.add_argument("--baseline", default=str(packaged("frame_baseline")))
    parser.add_argument("--encoder", default="open")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="of the fit")
    parser.add_argument("--json", type=Path, default=Path("runs/bench/fits.json"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    changes = dict(item.partition("=")[::2] for item in args.set)
    settings = override(FitSettings(), changes)
    checkpoints = {"frame baseline": args.baseline, "VIBE": args.vibe}
    rows: list[Row] = []
    for split in args.splits:
        for detector in args.detectors:
            motion = str(Path(args.data) / "motion" / split)
            clips = Clips(motion, args.num, DETECTORS[detector], args.encoder)
            for row in measured(clips, checkpoints, settings):
                rows.append({"split": split, "detector": detector, **row})
                print(rows[-1], flush=True)
    print_rows("fits", rows)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
