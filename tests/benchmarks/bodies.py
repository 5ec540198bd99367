"""Joints without a mesh against joints read off one, and inference: frames in, bodies out."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.benchmarks.measuring import (
    Goal,
    Options,
    Report,
    Row,
    largest,
    relative,
    take_turns,
    time_rows,
    worst,
)
from tests.benchmarks.plain_step import Body as PlainBody
from tests.benchmarks.plain_step import Mesh
from tests.benchmarks.setting import config_with, new_state
from tests.benchmarks.steps import plain_twin
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import load_body
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.geometry.cameras import project_weak_perspective
from vibe_ray.inference import Predictor
from vibe_ray.models.gru import GRU

METERS = 1e-5
"""Largest distance between our joints or vertices and the plain ones."""
N = 512


def joints(folder: Path, options: Options) -> Report:
    """The 49 key-points of 512 frames, forward and backward."""
    report = Report(title=f"49 key-points of {N} bodies, forward and backward")
    arrays = load_body(config_with(folder).body)
    ours, plain = BodyJoints.keypoints(arrays).to(options.device), Mesh(arrays).to(options.device)
    made = torch.Generator().manual_seed(0)
    betas = torch.randn(N, 10, generator=made).to(options.device)
    pose = 0.4 * torch.randn(N, 72, generator=made).to(options.device)
    rotmat, upstream = pose_to_rotmat(pose), torch.randn(N, 49, 3, generator=made)
    upstream = upstream.to(options.device)
    inputs = [betas.requires_grad_(), rotmat.requires_grad_()]

    def gradients(kp_3d: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(kp_3d, inputs, upstream))

    report.require(
        "joints, largest distance (m)", largest(ours(*inputs), plain(*inputs)[1]), METERS
    )
    pairs = zip(gradients(ours(*inputs)), gradients(plain(*inputs)[1]), strict=True)
    report.require("gradients, relative error", worst(relative(*pair) for pair in pairs), 1e-5)
    works = {
        "plain: full mesh": lambda: gradients(plain(*inputs)[1]),
        "ours: no mesh": lambda: gradients(ours(*inputs)),
    }
    times = take_turns(works, options)
    goals = {"ours: no mesh": Goal(least=30, shown="55-80")}
    report.rows = time_rows(times, "plain: full mesh", options, goals)
    return report


@torch.no_grad()
def inference(folder: Path, options: Options) -> Report:
    """Features to joints, with and without a mesh, by windows and by the whole track."""
    report = Report(title="Inference, fp32: features to joints, camera, axis-angle (and mesh)")
    state = new_state(config_with(folder), options.device)
    plain = plain_twin(state, options).generator.eval()
    predictor = Predictor(
        state.config, state.generator.folded(), state.body, torch.device(options.device)
    )
    made = torch.Generator().manual_seed(0)
    width, length = state.config.generator.feature_dim, state.config.data.window_length
    for name, num_frames, is_track, goals in (
        (
            "32 windows",
            32 * length,
            False,
            (Goal(least=4, shown="5"), Goal(least=2.5, shown="3.5")),
        ),
        ("1 window", length, False, (Goal(least=1.8, shown="2.3"), None)),
        ("1 track of 450 frames", 450, True, (None, None)),
    ):
        features = (0.5 * torch.randn(num_frames, width, generator=made)).abs()
        features = features.to(options.device)
        case = _Case(plain, predictor, features, num_frames if is_track else length)
        case.check(report, name)
        works = {
            f"{name}: plain": case.plain,
            f"{name}: ours, joints": case.joints,
            f"{name}: ours, mesh": case.mesh,
        }
        times = take_turns(works, options, calls=max(1, 64 // num_frames))
        own = dict(zip(list(works)[1:], goals, strict=True))
        rows = time_rows(times, f"{name}: plain", options, {k: v for k, v in own.items() if v})
        report.rows += [_with_rate(row, num_frames) for row in rows]
    gru = state.generator.encoder.gru
    assert isinstance(gru, GRU)
    report.rows.append(_recurrence(gru, length, options))
    return report


def _recurrence(gru: GRU, num_frames: int, options: Options) -> Row:
    """What no GRU can do without for one window: all recurrent weights read at every frame."""
    state = torch.randn(1, gru.hidden_size, device=options.device)

    def products() -> None:
        for _ in range(num_frames):
            for layer in range(gru.num_layers):
                F.linear(state, getattr(gru, f"weight_hh_l{layer}"))

    times = take_turns({"floor": products}, options, calls=4)["floor"]
    weights = gru.num_layers * 3 * gru.hidden_size**2 * state.element_size()
    note = f"{num_frames * weights / min(times) / 1e9:.1f} GB/s of weights"
    name = "1 window: its recurrent products alone"
    return Row(name=name, unit=options.time_unit, values=[1e3 * t for t in times], note=note)


class _Case:
    """Some features, and the ways to turn them into bodies."""

    def __init__(
        self, plain: nn.Module, predictor: Predictor, features: Tensor, length: int
    ) -> None:
        self._plain, self._predictor = plain, predictor
        self._features, self._length = features, length
        self._is_track = length == len(features) and length > predictor.config.data.window_length

    def plain(self) -> PlainBody:
        return self._plain(self._features.unflatten(0, (-1, self._length)))

    def joints(self) -> tuple[SmplParams, Tensor, Tensor, Tensor]:
        whole = self._is_track
        params = self._predictor.predict(self._features, "sequence" if whole else "windows")
        kp_3d = self._predictor.kp_3d(params)
        return params, kp_3d, project_weak_perspective(kp_3d, params.cam), params.pose

    def mesh(self) -> tuple[Tensor, Tensor]:
        params, kp_3d, *_ = self.joints()
        return kp_3d, self._predictor.verts(params)

    def check(self, report: Report, name: str) -> None:
        plain = self.plain()
        kp_3d, verts = self.mesh()
        kp_2d = self.joints()[2]
        report.require(f"{name}: joints (m)", largest(kp_3d, plain.kp_3d), METERS)
        report.require(f"{name}: vertices (m)", largest(verts, plain.verts), METERS)
        report.require(f"{name}: projections (crops)", largest(kp_2d, plain.kp_2d), 1e-5)


def _with_rate(row: Row, num_frames: int) -> Row:
    milliseconds = sorted(row.values)[len(row.values) // 2]
    note = (
        f"{1e3 * num_frames / milliseconds:.0f} frames/s, {milliseconds / num_frames:.2f} ms each"
    )
    return Row(**{**vars(row), "note": note})
