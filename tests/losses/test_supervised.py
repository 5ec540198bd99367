import dataclasses
import math
from typing import NamedTuple

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from vibe_ray.body.params import SmplParams
from vibe_ray.data.batches import MotionBatch, PoseBatch, StepBatch
from vibe_ray.losses.supervised import SUPERVISED, Estimate

B, T = 4, 3


class Term(NamedTuple):
    """A loss before its division."""

    total: Tensor
    count: Tensor


@dataclasses.dataclass
class Output:
    """What a generator and a body would hand over, as leaves of the graph."""

    rotmat: Tensor
    betas: Tensor
    cam: Tensor
    kp_3d: Tensor
    kp_2d: Tensor

    def terms(self, batch: PoseBatch, norm: str = "squared") -> dict[str, Term]:
        params = SmplParams(self.rotmat, self.betas, self.cam)
        found, step = Estimate(params, self.kp_3d, self.kp_2d), StepBatch(batch, NO_MOTION)
        return {
            loss.weight: Term(loss.total(found, batch), loss.count(step))
            for loss in SUPERVISED[norm]
        }

    def part(self, windows: slice) -> "Output":
        return Output(*(value[windows] for value in vars(self).values()))


NO_MOTION = MotionBatch(torch.zeros(0, T, 72))


def made_up_output() -> Output:
    rotations = Rotation.random(B * T * 24, random_state=1).as_matrix()
    rotmat = torch.from_numpy(rotations).reshape(B, T, 24, 3, 3)
    shapes = ((10,), (3,), (49, 3), (49, 2))
    rest = [torch.randn(B, T, *shape, dtype=torch.float64) for shape in shapes]
    return Output(*(value.requires_grad_() for value in (rotmat, *rest)))


def made_up_batch(share_3d: float = 0.5, share_smpl: float = 0.5) -> PoseBatch:
    torch.manual_seed(0)
    conf = torch.rand(B, T, 49, dtype=torch.float64)
    return PoseBatch(
        features=torch.zeros(B, T, 1),
        kp_2d=torch.randn(B, T, 49, 2, dtype=torch.float64),
        kp_2d_conf=conf * (conf > 0.3),
        kp_3d=torch.randn(B, T, 49, 3, dtype=torch.float64),
        has_kp_3d=(torch.rand(B, T) < share_3d).double(),
        pose=torch.randn(B, T, 72, dtype=torch.float64),
        betas=torch.randn(B, T, 10, dtype=torch.float64),
        has_smpl=(torch.rand(B, T) < share_smpl).double(),
    )


def naive_terms(output: Output, batch: PoseBatch) -> dict[str, Tensor]:
    """The released losses before their weights, with joint numbers and by cutting out."""
    conf = batch.kp_2d_conf[..., None]
    with_3d, with_smpl = batch.has_kp_3d.bool(), batch.has_smpl.bool()
    joints, target = output.kp_3d[with_3d][:, 25:39], batch.kp_3d[with_3d][:, 25:39]
    joints = joints - (joints[:, [2]] + joints[:, [3]]) / 2
    target = target - (target[:, [2]] + target[:, [3]]) / 2
    rotations = Rotation.from_rotvec(batch.pose[with_smpl].reshape(-1, 3).numpy()).as_matrix()
    target_rotmat = torch.from_numpy(rotations).reshape(-1, 24, 3, 3)
    return {
        "kp_2d": (conf * (output.kp_2d - batch.kp_2d) ** 2).mean(),
        "kp_3d": ((joints - target) ** 2).mean(),
        "pose": ((output.rotmat[with_smpl] - target_rotmat) ** 2).mean(),
        "betas": ((output.betas[with_smpl] - batch.betas[with_smpl]) ** 2).mean(),
    }


def mean(term: Term) -> Tensor:
    return term.total / term.count.clamp(min=1)


def test_an_item_is_a_frame_of_which_something_is_known() -> None:
    batch = made_up_batch()
    with_3d, with_smpl = (sum(x.flatten().tolist()) for x in (batch.has_kp_3d, batch.has_smpl))
    step = StepBatch(batch, NO_MOTION)
    for losses in SUPERVISED.values():
        counts = {loss.weight: float(loss.count(step)) for loss in losses}
        assert counts == {"kp_2d": B * T, "kp_3d": with_3d, "pose": with_smpl, "betas": with_smpl}


def naive_distances(output: Output, batch: PoseBatch) -> dict[str, float]:
    """Means of norms, in loops; unlike theirs, not softened near zero."""
    found: dict[str, list[float]] = {"kp_2d": [], "kp_3d": [], "pose": []}
    for b in range(B):
        for t in range(T):
            off = (output.kp_2d - batch.kp_2d)[b, t]
            pairs = zip(batch.kp_2d_conf[b, t].tolist(), off, strict=True)
            found["kp_2d"].append(sum(c * math.hypot(*d.tolist()) for c, d in pairs) / 49)
            if batch.has_kp_3d[b, t]:
                joints, target = output.kp_3d[b, t, 25:39], batch.kp_3d[b, t, 25:39]
                off = joints - joints[2:4].mean(dim=0) - target + target[2:4].mean(dim=0)
                found["kp_3d"].append(sum(math.hypot(*d.tolist()) for d in off) / 14)
            if batch.has_smpl[b, t]:
                angles = batch.pose[b, t].reshape(-1, 3).numpy()
                off = output.rotmat[b, t] - torch.from_numpy(
                    Rotation.from_rotvec(angles).as_matrix()
                )
                found["pose"].append(sum(math.hypot(*d.flatten().tolist()) for d in off) / 24)
    return {name: sum(values) / len(values) for name, values in found.items()}


@pytest.mark.parametrize("name", ["kp_2d", "kp_3d", "pose"])
def test_distances_agree_with_loops(name: str) -> None:
    output, batch = made_up_output(), made_up_batch()
    ours = mean(output.terms(batch, "distance")[name]).item()
    assert ours == pytest.approx(naive_distances(output, batch)[name], rel=1e-5)


def test_the_shape_is_compared_alike_in_both_norms() -> None:
    output, batch = made_up_output(), made_up_batch()
    squared, distance = (output.terms(batch, norm)["betas"] for norm in SUPERVISED)
    assert squared.total == distance.total


@pytest.mark.parametrize("name", ["kp_2d", "kp_3d", "pose", "betas"])
def test_terms_agree_with_the_released_formulas(name: str) -> None:
    output, batch = made_up_output(), made_up_batch()
    ours, naive = mean(output.terms(batch)[name]), naive_terms(output, batch)[name]
    torch.testing.assert_close(ours, naive, rtol=0, atol=1e-12)
    leaves = list(vars(output).values())
    got = torch.autograd.grad(ours, leaves, allow_unused=True)
    want = torch.autograd.grad(naive, leaves, allow_unused=True)
    for a, b in zip(got, want, strict=True):
        if b is None:
            assert a is None
        else:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_batch_with_2d_alone_gives_zero_elsewhere() -> None:
    output, batch = made_up_output(), made_up_batch(share_3d=0, share_smpl=0)
    nan = {
        name: torch.full_like(getattr(batch, name), float("nan"))
        for name in ("kp_3d", "pose", "betas")
    }
    terms = output.terms(dataclasses.replace(batch, **nan))
    sum(mean(term) for term in terms.values()).backward()
    for name in ("kp_3d", "pose", "betas"):
        assert terms[name].total == 0
        assert terms[name].count == 0
    for leaf in (output.kp_3d, output.rotmat, output.betas):
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))
    assert (output.kp_2d.grad != 0).any()


def test_unseen_keypoints_count_in_the_mean_and_pull_nothing() -> None:
    output, batch = made_up_output(), made_up_batch()
    unseen = batch.kp_2d_conf == 0
    assert unseen.any()
    batch.kp_2d[unseen] = float("nan")
    term = output.terms(batch)["kp_2d"]
    assert term.count == B * T
    term.total.backward()
    assert torch.equal(output.kp_2d.grad[unseen], torch.zeros_like(output.kp_2d.grad[unseen]))


def test_a_batch_without_any_label_gives_zero() -> None:
    output, batch = made_up_output(), made_up_batch(share_3d=0, share_smpl=0)
    blind = dataclasses.replace(batch, kp_2d_conf=torch.zeros_like(batch.kp_2d_conf))
    assert all(mean(term) == 0 for term in output.terms(blind).values())


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_two_workers_shares_add_up_to_one_workers(cut: int) -> None:
    output, batch = made_up_output(), made_up_batch()
    whole = output.terms(batch)
    halves = []
    for windows in (slice(cut), slice(cut, None)):
        share = {f.name: getattr(batch, f.name)[windows] for f in dataclasses.fields(batch)}
        halves.append(output.part(windows).terms(PoseBatch(**share)))
    for name, term in whole.items():
        first, second = (half[name] for half in halves)
        torch.testing.assert_close(first.total + second.total, term.total, rtol=0, atol=1e-12)
        assert first.count + second.count == term.count


def test_3d_forgets_where_the_body_stands() -> None:
    output, batch = made_up_output(), made_up_batch()
    moved = dataclasses.replace(batch, kp_3d=batch.kp_3d + torch.tensor([1.0, -2.0, 30.0]))
    ours, same = output.terms(batch)["kp_3d"], output.terms(moved)["kp_3d"]
    torch.testing.assert_close(same.total, ours.total, rtol=0, atol=1e-9)


def test_the_truth_costs_nothing() -> None:
    batch = made_up_batch(share_3d=1, share_smpl=1)
    rotations = Rotation.from_rotvec(batch.pose.reshape(-1, 3).numpy()).as_matrix()
    rotmat = torch.from_numpy(rotations).reshape(B, T, 24, 3, 3)
    cam = torch.zeros(B, T, 3)
    terms = Output(rotmat, batch.betas, cam, batch.kp_3d, batch.kp_2d).terms(batch)
    for term in terms.values():
        assert term.total.abs() < 1e-12
