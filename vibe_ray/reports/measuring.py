"""How good are checkpoints on held-out data? Measured, and compared with a frame baseline.

One function measures, `measure_checkpoints`; what it returns turns itself into JSON and into the
content of a page.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from rich.progress import track

from vibe_ray import storage
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.sequences import stored_pose_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.evaluation import tables
from vibe_ray.evaluation.comparison import Comparison, Method, summarize
from vibe_ray.evaluation.evaluator import Evaluator
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.evaluation.published import published_on, title_of
from vibe_ray.evaluation.scores import EvaluationResult
from vibe_ray.features.with_keypoints import check_has_keypoints, without_keypoints
from vibe_ray.inference import Predictor
from vibe_ray.reports.evaluation_page import Report
from vibe_ray.reports.figures import BASELINE_COLOR, VIBE_COLOR, Run, learning_curves
from vibe_ray.reports.gallery import Prediction, sequence_pictures
from vibe_ray.reports.pages import Picture, environment_facts
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.log import read_metrics

BASELINE_NAME, VIBE_NAME = "Frame baseline", "VIBE"
KEYS = {BASELINE_NAME: "frame_baseline", VIBE_NAME: "vibe"}
"""Name of a method -> its name in JSON."""


@dataclass(frozen=True)
class Measured:
    """One checkpoint, loaded and measured."""

    path: str
    """As it was given: a checkpoint, a run's folder, or `open`."""
    predictor: Predictor
    result: EvaluationResult


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Checkpoints of one method, and a baseline, measured on the same data."""

    runs: Sequence[Measured]
    """Seeds of one method, at least one."""
    baseline: Measured | None
    data: str
    """The data set's path."""
    manifest: Manifest
    protocol: str

    @property
    def comparison(self) -> Comparison:
        """The medians over seeds beside the baseline and published numbers."""
        methods = [Method(name=VIBE_NAME, runs=tuple(run.result.metrics for run in self.runs))]
        if self.baseline:
            methods.insert(0, Method(name=BASELINE_NAME, runs=(self.baseline.result.metrics,)))
        title = title_of(self.manifest.dataset, self.manifest.split)
        return Comparison(
            dataset=title,
            protocol=self.protocol,
            methods=tuple(methods),
            published=published_on(title),
        )

    def to_dict(self) -> dict[str, object]:
        """Return it as plain JSON values; medians stand under `vibe` and `frame_baseline`."""
        comparison = self.comparison
        medians = {
            KEYS[method.name]: {
                metric: summary.median
                for metric in comparison.metrics
                if (summary := summarize(method, metric))
            }
            for method in comparison.methods
        }
        return {
            **medians,
            "checkpoints": [run.path for run in self.runs],
            "data_hash": self.manifest.hash(),
            "num_frames": self.runs[0].result.num_frames,
            "comparison": tables.to_dict(comparison),
        }

    def report(self, command: str) -> Report:
        """Return the content of a page: curves of all runs, pictures of the first.

        Args:
            command: By which it was measured.
        """
        comparison, manifest = self.comparison, self.manifest
        curves = [Run(VIBE_NAME, VIBE_COLOR, read_metrics(run.path)) for run in self.runs]
        results = {BASELINE_NAME: self.baseline.result} if self.baseline else {}
        return Report(
            title="VIBE on held-out motion",
            summary=f"{len(self.runs)} training run(s) evaluated on "
            f"{self.runs[0].result.num_frames} frames of {comparison.dataset}.",
            facts={
                "Command": command,
                "Checkpoints": ", ".join(run.path for run in self.runs),
                "Seeds": ", ".join(str(run.predictor.config.seed) for run in self.runs),
                "Data": f"{self.data} ({manifest.num_clips} clips, {manifest.num_frames} frames)",
                "Data hash": manifest.hash(),
                "Frame encoder": manifest.encoder_id,
                **environment_facts(),
            },
            comparison=comparison,
            curves=learning_curves([run for run in curves if run.rows]),
            pictures=self._pictures(),
            results={**results, VIBE_NAME: self.runs[0].result},
        )

    def _pictures(self) -> list[Picture]:
        """Picture the sequences of median and of worst error."""
        run = self.runs[0]
        scored = sorted(run.result.per_sequence, key=lambda s: s.metrics["pa_mpjpe_mm"])
        chosen = {scored[len(scored) // 2].sequence, scored[-1].sequence}
        shown = [(BASELINE_NAME, BASELINE_COLOR, self.baseline), (VIBE_NAME, VIBE_COLOR, run)]
        pictures: list[Picture] = []
        for stored in stored_pose_sequences(self.data):
            if stored.sequence in chosen and stored.has_smpl.all():
                sequence = stored.take(np.arange(stored.num_frames))
                features = torch.tensor(sequence.features)
                predictions = [
                    Prediction(name, color, measured.predictor.predict(features))
                    for name, color, measured in shown
                    if measured
                ]
                pictures += sequence_pictures(sequence, predictions, run.predictor.body)
        return pictures


def measure_checkpoints(
    checkpoints: Sequence[str],
    baseline: str | None = None,
    data_root: str | None = None,
    split: str = "test",
    protocol: str = "open",
) -> Measurement:
    """Load checkpoints and measure them on a split.

    Args:
        checkpoints: Directories of checkpoints, runs' folders (the best of each) or `open` (the
            packaged one): seeds of one method.
        baseline: A frame baseline, likewise, to be measured beside them.
        data_root: Where the data sets are; by default where the first checkpoint's were.
        split: `test` or `validation`, its config's, or a data set's folder below the root.
        protocol: One of `evaluation.protocols.PROTOCOLS`.

    Raises:
        FileNotFoundError: A checkpoint or the data set is not there.
        ValueError: No such protocol, or data of another frame encoder than a checkpoint's.
        FloatingPointError: A network answers with NaN.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    predictors = [_load(checkpoint, "vibe") for checkpoint in checkpoints]
    settings = predictors[0].config.data
    own = {"test": settings.test, "validation": settings.validation}
    data = storage.join(data_root or settings.root, own.get(split, split))
    runs = [
        _measure(checkpoint, predictor, data, protocol)
        for checkpoint, predictor in zip(checkpoints, predictors, strict=True)
    ]
    return Measurement(
        runs=runs,
        baseline=_measure(baseline, _load(baseline, "frame_baseline"), data, protocol)
        if baseline
        else None,
        data=data,
        manifest=read_manifest(data, "pose"),
        protocol=protocol,
    )


def _load(checkpoint: str, packaged_name: Literal["vibe", "frame_baseline"]) -> Predictor:
    return Predictor.from_checkpoint(find_checkpoint(checkpoint, packaged_name=packaged_name))


def _measure(checkpoint: str, predictor: Predictor, data: str, protocol: str) -> Measured:
    _check_features(checkpoint, predictor, data)
    window_length = predictor.config.data.window_length
    evaluator = Evaluator(predictor.body, PROTOCOLS[protocol], window_length)
    sequences = track(
        stored_pose_sequences(data),
        f"evaluating {checkpoint}",
        total=None,
        disable=not sys.stderr.isatty(),
    )
    for sequence in sequences:
        evaluator.add(predictor.generator, sequence)
    return Measured(checkpoint, predictor, evaluator.result())


def _check_features(checkpoint: str, predictor: Predictor, data: str) -> None:
    """Refuse data of another frame encoder than the checkpoint was trained on."""
    manifest, generator = read_manifest(data, "pose"), predictor.config.generator
    if generator.sees_keypoints:
        check_has_keypoints(data, manifest.encoder_id)
    if not generator.takes(manifest.feature_dim):
        raise ValueError(
            f"{data} has features of width {manifest.feature_dim}, {checkpoint} was trained on "
            f"{generator.input_dim}: evaluate on data of the same frame encoder"
        )
    # A network without key-points, such as a baseline, leaves those that the data have.
    same = manifest.encoder_id, without_keypoints(manifest.encoder_id)
    if predictor.encoder_id not in ("", *same):
        raise ValueError(
            f"{data} has features of frame encoder {manifest.encoder_id!r}, {checkpoint} was "
            f"trained on those of {predictor.encoder_id!r}: evaluate on data of the same one"
        )
