"""Training the frame encoder: against a second implementation, on several ranks, resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.data import noise
from tests.models import naive_vibe
from tests.training.naive_step import NaiveTrainer, centered, exp_map, project
from tests.training.ranks import (
    FRAME_STEPS,
    Outcome,
    run_frames,
)
from tests.training.tiny import (
    in_precision,
    largest_difference,
    launch,
    power_failing,
    rows,
    tiny_frames,
    tiny_frames_state,
    to_precision,
    weights_of,
)
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.skeletons import WHOLEBODY_23
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import Detections, StepBatch, local_step_batches
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.data.synthetic.frames import FramePool, held_out_frames
from vibe_ray.distributed.launch import train
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.features.keypoint_encoder import KeypointEncoder, encoder_inputs
from vibe_ray.geometry.rotations import rot6d_to_rotmat
from vibe_ray.models.generator import Generator
from vibe_ray.recipes import frame_encoder
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.exports import export_checkpoint
from vibe_ray.settings import override
from vibe_ray.training.frame_encoder import FrameEncoderState, joint_errors
from vibe_ray.training.initial import load_frame_baseline, set_mean_pose
from vibe_ray.training.launch import RunResult
from vibe_ray.training.recorder import Cadence
from vibe_ray.training.tasks import make_step_plan

HIPS = [2, 3]
ONE_LAYER: dict[str, Any] = {
    "generator__regressor__start": "one_layer",
    "generator__regressor__hidden_dim": 160,
}


@pytest.fixture
def config(motion: str) -> TrainConfig:
    return tiny_frames(data__root=motion)


def batch_at(config: TrainConfig, step: int) -> StepBatch:
    (batch,) = local_step_batches(make_step_plan(config), step, 1)
    return batch.to(torch.device("cpu"))


class NaiveFrames:
    """One update, written a second time in float64: loops, boolean masks, meshes, plain Adam."""

    def __init__(self, config: TrainConfig, weights: dict[str, Tensor]) -> None:
        self.config = config
        self.weights = {name: value.double().clone() for name, value in weights.items()}
        fixed = [".init_"]
        if config.generator.regressor.start == "one_layer":
            fixed += [".fc2.", ".decpose.", ".decshape.", ".deccam."]
        learned = {k: v for k, v in self.weights.items() if not any(f in k for f in fixed)}
        for value in learned.values():
            value.requires_grad_()
        self.learned = list(learned.values())
        self.optimizer = torch.optim.Adam(
            [
                {"params": [v for k, v in learned.items() if ".generator." not in k]},
                {"params": [v for k, v in learned.items() if ".generator." in k]},
            ]
        )
        arrays = load_body(BodyConfig())
        self.body = BodyModel(arrays, torch.float64)
        self.losses = NaiveTrainer.supervised

    def encode(self, x: Tensor) -> Tensor:
        w = naive_vibe.sub_weights(self.weights, "frame.encoder.")
        y = x @ w["input.weight"].T + w["input.bias"]
        for block in range(self.config.frame_encoder.num_blocks):
            inner = self.norm(y, w, f"blocks.{block}.norm")
            if self.config.frame_encoder.block_layers == 2:
                name = f"blocks.{block}.hidden"
                inner = inner @ w[f"{name}.weight"].T + w[f"{name}.bias"]
            name = f"blocks.{block}.linear"
            y = y + inner.clamp(min=0) @ w[f"{name}.weight"].T + w[f"{name}.bias"]
        y = self.norm(y, w, "norm").clamp(min=0)
        return (y @ w["output.weight"].T + w["output.bias"]).clamp(min=0)

    @staticmethod
    def norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
        spread = x.var(dim=-1, keepdim=True, unbiased=False)
        normed = (x - x.mean(dim=-1, keepdim=True)) / (spread + 1e-5).sqrt()
        return normed * w[f"{name}.weight"] + w[f"{name}.bias"]

    def step(self, batch: StepBatch, rate: float) -> dict[str, float]:
        seen = batch.detections
        assert seen is not None
        x = encoder_inputs(
            WHOLEBODY_23, seen.detected, seen.detected_conf, seen.box, seen.image_size
        )
        rotmat, betas, cam = naive_vibe.regressor(
            self.encode(x.flatten(0, 1)),
            naive_vibe.sub_weights(self.weights, "frame.generator.regressor."),
            self.config.generator.regressor.num_iterations,
        )
        kp_3d = self.body.keypoints(self.body(betas, rotmat))
        naive: Any = self
        terms = self.losses(naive, batch, kp_3d, rotmat, betas, cam)
        if self.config.losses.norm == "distance":
            terms |= distances(batch, kp_3d, rotmat, cam)
        weights = vars(self.config.losses)
        total = sum(weights[name] * value for name, value in terms.items())
        self.optimizer.zero_grad()
        torch.as_tensor(total).backward()
        norm = torch.cat([v.grad.flatten() for v in self.learned if v.grad is not None]).norm()
        bound = self.config.optim.gradient_clip
        for value in self.learned:
            if value.grad is not None and norm > bound:
                value.grad *= bound / (norm + 1e-6)
        shares = (1.0, self.config.optim.regressor_lr_share)
        for group, share in zip(self.optimizer.param_groups, shares, strict=True):
            group["lr"] = share * rate
        self.optimizer.step()
        found = {f"train/generator/{name}": value.item() for name, value in terms.items()}
        return {**found, "train/generator/total": float(torch.as_tensor(total).detach())}


def distances(batch: StepBatch, kp_3d: Tensor, rotmat: Tensor, cam: Tensor) -> dict[str, Tensor]:
    """What `losses.norm=distance` takes the place of three terms by, frame by frame."""
    true = batch.pose
    known = true.has_kp_3d.flatten().bool()
    conf, kp_2d = true.kp_2d_conf.flatten(0, 1), true.kp_2d.flatten(0, 1)
    off_3d = centered(kp_3d[known]) - centered(true.kp_3d.flatten(0, 1)[known])
    off_2d = project(kp_3d, cam) - kp_2d
    off_pose = rotmat[known] - exp_map(true.pose.flatten(0, 1)[known].unflatten(1, (24, 3)))
    lengths = [(off.square().sum(dim=-1) + 1e-6).sqrt() for off in (off_3d, off_2d)]
    turned = (off_pose.square().sum(dim=(-2, -1)) + 1e-6).sqrt()
    return {"kp_3d": lengths[0].mean(), "kp_2d": (conf * lengths[1]).mean(), "pose": turned.mean()}


@pytest.mark.parametrize(
    "changes",
    [
        {"optim__gradient_clip": 0.5},
        {"optim__gradient_clip": 1e9},
        {"frame_encoder__block_layers": 2, "frame_encoder__num_blocks": 2},
        {"losses__norm": "distance"},
        ONE_LAYER,
    ],
    ids=["clipped", "free", "two layers", "distances", "one layer behind"],
)
def test_an_update_is_that_of_naive_loops(motion: str, changes: dict[str, Any]) -> None:
    config = tiny_frames(data__root=motion, **changes)
    state = tiny_frames_state(config)
    to_precision(state, torch.float64)
    if changes is ONE_LAYER:  # it starts at half a turn, of which the loops have no logarithm
        weight = state.network.generator.regressor.fc1.weight.detach()[:, :12]
        weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    naive = NaiveFrames(config, weights_of(state))
    before = weights_of(state)
    for step, share in ((0, 1 / 2), (1, 1.0), (2, 1.0)):
        batch = in_precision(batch_at(config, step), torch.float64)
        expected = naive.step(batch, share * config.optim.frame_encoder_lr)
        found = {name: float(value) for name, value in state.update(batch).items()}
        assert found == pytest.approx(expected, rel=1e-8)
        moved = {name: value.detach() for name, value in naive.weights.items()}
        assert largest_difference(weights_of(state), moved) < 1e-8
    assert largest_difference(before, weights_of(state)) > 1e-4


def test_two_workers_compute_what_one_would(ranks: list[Outcome], motion: str) -> None:
    alone = run_frames(motion, rank=0, num_ranks=1)
    first, second = (outcome["frames"] for outcome in ranks)
    assert largest_difference(first["weights"], second["weights"]) == 0
    assert len(alone["history"]) == FRAME_STEPS
    assert largest_difference(alone["gradients"][0], first["gradients"][0]) < 1e-12
    # Adam makes a share of the gradient's size and 1e-8 into a step. Of gradients that are zero but
    # for rounding, some 1e-14 where `gradient_clip` is 10, that is a millionth of the rate.
    lost = FRAME_STEPS * 1e-6 * tiny_frames().optim.frame_encoder_lr
    assert largest_difference(alone["weights"], first["weights"]) < lost
    for step, whole in enumerate(alone["history"]):
        found = {
            term: float(first["history"][step][term] + second["history"][step][term])
            for term in whole
        }
        expected = {term: float(value) for term, value in whole.items()}
        assert found == pytest.approx(expected, rel=1e-7 if step else 1e-12)
    assert first["validation"] == second["validation"]
    assert first["validation"] == pytest.approx(alone["validation"], rel=1e-4)


def test_updates_lower_the_loss(motion: str) -> None:
    config = tiny_frames(
        data__root=motion,
        epochs=20,
        frames__batch_size=64,
        frame_encoder__hidden_dim=32,
        generator__regressor__hidden_dim=32,
        optim__frame_encoder_lr=2e-3,
    )
    state, totals = tiny_frames_state(config), []
    for batch in local_step_batches(make_step_plan(config), 0, 60):
        totals.append(float(state.update(batch.to(state.device))["train/generator/total"]))
    assert sum(totals[-10:]) < 0.8 * sum(totals[:10])


def test_it_starts_at_the_mean_pose_of_its_motion() -> None:
    pool = FramePool(load_open_motion()[1:3], 25.0)
    regressor = Generator(tiny_frames().generator).regressor
    set_mean_pose(regressor, pool)
    found = regressor.init_pose.view(24, 3, 2)
    torch.testing.assert_close(found[1:], pool.rotmat.mean(dim=0)[1:, :, :2])
    assert torch.equal(found[0], torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]))


def test_estimates_start_at_that_pose() -> None:
    pool = FramePool(load_open_motion()[1:3], 25.0)
    regressor = Generator(tiny_frames(**ONE_LAYER).generator).regressor
    set_mean_pose(regressor, pool)
    found = regressor(torch.rand(1, 12)).rotmat[0]
    torch.testing.assert_close(found, rot6d_to_rotmat(regressor.init_pose.view(24, 6)))


def test_behind_its_first_layer_a_regressor_that_starts_as_one_stays(motion: str) -> None:
    config = tiny_frames(data__root=motion, **ONE_LAYER)
    state = tiny_frames_state(config)
    before = weights_of(state)
    state.update(batch_at(config, 0))
    after = weights_of(state)
    parts = [name for name in before if "regressor." in name and ".init_" not in name]
    moved = {name for name in parts if not torch.equal(before[name], after[name])}
    assert {name.split("regressor.")[1] for name in moved} == {"fc1.weight", "fc1.bias"}


def test_errors_are_those_of_the_definition() -> None:
    made = torch.Generator().manual_seed(0)
    found, true = torch.randn(2, 5, 14, 3, generator=made, dtype=torch.float64)
    errors = joint_errors(found, true)
    for frame, (a, b) in enumerate(zip(found, true, strict=True)):
        centered = (a - a[HIPS].mean(dim=0)) - (b - b[HIPS].mean(dim=0))
        assert float(errors[0, frame]) == pytest.approx(1000 * float(centered.norm(dim=1).mean()))
    turned = 1.5 * true @ exp_map(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64))
    moved = joint_errors(turned + torch.tensor([5.0, 1.0, -2.0]), true)
    assert moved[0].min() > 100
    assert moved[1].max() < 1e-6


def test_validation_is_of_held_out_frames_that_show_somebody(config: TrainConfig) -> None:
    state = tiny_frames_state(config)
    clips = held_out_frames(config.data, config.frames, config.body, config.seed)
    seen = Detections(clips.detected, clips.detected_conf, clips.box, clips.image_size[:, None])
    with torch.no_grad():
        params = state.network(seen)
    body = BodyModel(load_body(BodyConfig()))
    joints = []
    for betas, rotmat in ((params.betas, params.rotmat), (clips.betas[:, None], clips.rotmat)):
        points = body.evaluation_joints(body(betas[:, 0], rotmat[:, 0]))
        joints.append(points - points[:, HIPS].mean(dim=1, keepdim=True))
    shown = clips.box[:, 0, 2] > 0
    expected = 1000 * (joints[0] - joints[1])[shown].norm(dim=-1).mean()
    assert state.validate()["mpjpe_mm"] == pytest.approx(float(expected), rel=1e-4)
    assert state.validate() == state.validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator__regressor__dropout": 0.5}, "trained without generator.regressor.dropout:"),
        ({"optim__frame_encoder_lr_share": 0.5}, "trained without optim.frame_encoder_lr_share:"),
        ({"generator__temporal_encoder__kind": "gru"}, "without generator.temporal_encoder.kind:"),
        ({"losses__adversarial": 0.5, "compile": True}, "without compile, losses.adversarial:"),
        ({"windows__motion": ("motion/train",)}, "without windows.motion: leave it out"),
        ({"frame_encoder__feature_dim": 9}, "is 9 and generator.feature_dim 12: set both"),
        ({"data__motion_batch_size": 4}, "learns from frames.batch_size captured frames alone"),
        ({"data__motion": ()}, "data.motion names no data set"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    config: TrainConfig, motion: str, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(tiny_frames(data__root=motion, **changes), launch(tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(motion: str, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(tiny_frames(data__root=motion), launch(tmp_path_factory.mktemp("runs")))


def test_a_run_leaves_checkpoints_and_metrics(finished: RunResult, motion: str) -> None:
    assert {path.name for path in Path(finished.last).iterdir()} == {
        *("config.json", "encoder.safetensors", "generator.safetensors"),
        *("trainer.pt", "manifest.json"),
    }
    best = min(finished.metrics, key=lambda row: row["val/pa_mpjpe_mm"])
    assert find_checkpoint(finished.run_dir) == finished.best
    manifest = json.loads((Path(finished.best) / "manifest.json").read_text())
    assert manifest["metrics"] == best
    assert manifest["data_hash"] == make_step_plan(tiny_frames(data__root=motion)).data_hash
    terms = ("kp_2d", "kp_3d", "pose", "betas", "total")
    assert {f"train/generator/{t}" for t in terms} == {n for n in best if n.startswith("train/")}


def test_a_runs_rows_are_means_over_its_steps(finished: RunResult, config: TrainConfig) -> None:
    state = tiny_frames_state(config)
    totals = []
    for step in range(6):
        totals.append(float(state.update(batch_at(config, step))["train/generator/total"]))
    found = [row["train/generator/total"] for row in finished.metrics]
    assert found == pytest.approx([sum(totals[:3]) / 3, sum(totals[3:]) / 3])
    stored = load_file(Path(finished.last) / "encoder.safetensors")
    assert state.average is not None
    assert largest_difference(stored, dict(state.average.encoder.state_dict())) == 0
    assert largest_difference(stored, dict(state.network.encoder.state_dict())) > 0


def test_without_an_average_the_network_itself_is_best(config: TrainConfig) -> None:
    state = tiny_frames_state(override(config, {"optim.average_decay": 0.0}))
    assert state.best_network is state.network


def test_the_average_follows_the_weights(config: TrainConfig) -> None:
    state = tiny_frames_state(override(config, {"optim.average_decay": 0.9}))
    expected = weights_of(state)
    for step in range(1, 5):
        state.update(batch_at(config, step))
        kept = min(0.9, step / (step + 9))
        new = weights_of(state)
        expected = {n: kept * value + (1 - kept) * new[n] for n, value in expected.items()}
    assert state.average is not None
    found = {f"frame.{name}": value for name, value in state.average.state_dict().items()}
    assert largest_difference(found, expected) < 1e-6
    assert largest_difference(found, weights_of(state)) > 1e-5


def test_training_starts_from_trained_weights(
    finished: RunResult, config: TrainConfig, tmp_path: Path
) -> None:
    """Packages of a run's checkpoint start another one, which says so in its checkpoints."""
    packages = str(tmp_path / "packages")
    export_checkpoint(finished.last, packages)
    continued = override(config, {"initial_frame_encoder": packages, "seed": 5})
    state = tiny_frames_state(continued)
    encoder = load_encoder(f"{packages}/keypoint_encoder")
    baseline = load_file(Path(packages) / "frame_baseline" / "generator.safetensors")
    assert largest_difference(dict(encoder.state_dict()), state.network.encoder.state_dict()) == 0
    found = state.network.generator.state_dict()
    assert largest_difference({n: v.float() for n, v in baseline.items()}, found) == 0
    result = train(continued, launch(tmp_path))
    manifest = json.loads((Path(result.last) / "manifest.json").read_text())
    assert manifest["started_from"] == state.started_from == encoder.id
    exported = export_checkpoint(result.last, str(tmp_path / "again"))
    assert exported["started_from"] == encoder.id
    assert json.loads((Path(finished.last) / "manifest.json").read_text())["started_from"] == ""
    other = override(continued, {"frame_encoder.num_blocks": 2})
    with pytest.raises(ValueError, match=r"initial_frame_encoder .* expected .*num_blocks=2"):
        tiny_frames_state(other)


def test_one_layer_does_not_go_on_from_all_of_a_regressor(motion: str, tmp_path: Path) -> None:
    config = tiny_frames(data__root=motion, epochs=1, generator__regressor__hidden_dim=160)
    packages = str(tmp_path / "packages")
    export_checkpoint(train(config, launch(tmp_path)).last, packages)
    continued = override(config, {"initial_frame_encoder": packages})
    assert tiny_frames_state(continued).started_from
    with pytest.raises(ValueError, match=r"did not start as one layer: set .* to small"):
        tiny_frames_state(override(continued, {"generator.regressor.start": "one_layer"}))


def test_the_packaged_weights_fit_the_recipe() -> None:
    config = frame_encoder()
    encoder, generator = KeypointEncoder(config.frame_encoder), Generator(config.generator)
    assert load_frame_baseline(encoder, generator, "open").startswith("keypoints-")


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_run_that_was_cut_off_ends_as_if_it_was_not(
    finished: RunResult, config: TrainConfig, tmp_path: Path, step: int
) -> None:
    with power_failing(FrameEncoderState, step):
        train(config, launch(tmp_path, cadence=Cadence(steps=1)))
    torch.rand(3)  # the process's own randomness must not matter
    result = train(config, launch(tmp_path, resume=True))
    assert rows(result) == rows(finished)
    for path in Path(finished.last).glob("*.safetensors"):
        assert largest_difference(load_file(path), load_file(Path(result.last) / path.name)) == 0


def test_a_run_is_of_its_seed_and_motion(finished: RunResult, motion: str, tmp_path: Path) -> None:
    other = train(tiny_frames(data__root=motion, seed=1), launch(tmp_path))
    assert rows(other) != rows(finished)
    with pytest.raises(ValueError, match="with another config: seed 1 -> 2"):
        train(tiny_frames(data__root=motion, seed=2), launch(tmp_path, resume=True))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_run_of_other_motion_is_not_gone_on_with(tmp_path: Path, split: str) -> None:
    for name in ("train", "val"):
        noise.write(f"{tmp_path}/before", f"motion/{name}", (12, 9))
        noise.write(f"{tmp_path}/after", f"motion/{name}", (12, 9 + (name == split)))
    train(tiny_frames(data__root=f"{tmp_path}/before"), launch(tmp_path))
    changed = r"data\.motion\[0\]" if split == "train" else r"data\.validation"
    with pytest.raises(ValueError, match=f"the manifests of {changed} have changed"):
        train(tiny_frames(data__root=f"{tmp_path}/after"), launch(tmp_path, resume=True))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = FrameEncoderState.update

    def poisoned(state: FrameEncoderState, batch: StepBatch) -> object:
        if state.step == 4:
            nn.init.constant_(state.network.encoder.output.bias, torch.nan)
        return update(state, batch)

    monkeypatch.setattr(FrameEncoderState, "update", poisoned)
    with pytest.raises(FloatingPointError, match="was not finite at step 4"):
        train(config, launch(tmp_path))
    assert find_checkpoint(str(tmp_path / "run"), "last").endswith("step_0000003")
