from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.body.made_up_bodies import random_bodies
from vibe_ray.body import joints as body_joints
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays

Read = Callable[[BodyModel, Tensor, Tensor], Tensor]
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str
)


def mesh_skeleton(model: BodyModel, betas: Tensor, rotmat: Tensor) -> Tensor:
    joints: Tensor = model(betas, rotmat).joints
    return joints


def mesh_keypoints(model: BodyModel, betas: Tensor, rotmat: Tensor) -> Tensor:
    return model.keypoints(model(betas, rotmat))


def mesh_evaluation(model: BodyModel, betas: Tensor, rotmat: Tensor) -> Tensor:
    return model.evaluation_joints(model(betas, rotmat))


READS = pytest.mark.parametrize(
    ("make", "read"),
    [
        (BodyJoints.skeleton, mesh_skeleton),
        (BodyJoints.keypoints, mesh_keypoints),
        (BodyJoints.evaluation, mesh_evaluation),
    ],
    ids=["skeleton", "keypoints", "evaluation"],
)
Make = Callable[[BodyArrays, torch.dtype], BodyJoints]


@PRECISIONS
@READS
def test_joints_without_a_mesh_are_those_of_the_mesh(
    body: BodyArrays, make: Make, read: Read, dtype: torch.dtype, tolerance: float
) -> None:
    betas, rotmat = random_bodies(20, dtype)
    expected = read(BodyModel(body, dtype), betas, rotmat)
    actual = make(body, dtype)(betas, rotmat)
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def test_some_key_points_are_those_of_all_and_cost_less(body: BodyArrays) -> None:
    betas, rotmat = random_bodies(20, torch.float64)
    which = [31, 0, 8, 47]
    some = BodyJoints.keypoints(body, torch.float64, which)
    every = BodyJoints.keypoints(body, torch.float64)
    torch.testing.assert_close(some(betas, rotmat), every(betas, rotmat)[:, which])
    assert len(some.bones) < len(every.bones)


@PRECISIONS
@READS
def test_and_so_are_their_gradients(
    body: BodyArrays, make: Make, read: Read, dtype: torch.dtype, tolerance: float
) -> None:
    def gradients(joints_of: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        betas, rotmat = (tensor.requires_grad_() for tensor in random_bodies(8, dtype))
        joints = joints_of(betas, rotmat)
        direction = torch.randn(joints.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
        # The mean keeps gradients at the size of the joints, so one tolerance serves both.
        (joints * direction).mean(dim=(1, 2)).sum().backward()
        assert betas.grad is not None
        assert rotmat.grad is not None
        return [betas.grad, rotmat.grad]

    model = BodyModel(body, dtype)
    expected = gradients(lambda betas, rotmat: read(model, betas, rotmat))
    actual = gradients(make(body, dtype))
    for ours, theirs in zip(actual, expected, strict=True):
        assert theirs.abs().max() > 1e-4
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def test_h36m_joints_are_the_regressor_times_the_mesh(body: BodyArrays) -> None:
    betas, rotmat = random_bodies(5, torch.float64)
    verts = BodyModel(body, torch.float64)(betas, rotmat).verts.numpy()
    expected = np.einsum("jv,nvc->njc", body.J_regressor_h36m.astype(np.float64), verts)
    actual = BodyJoints.h36m(body, torch.float64)(betas, rotmat)
    np.testing.assert_allclose(actual, expected, atol=1e-12, rtol=0)


def test_gradients_agree_with_finite_differences(made_up: BodyArrays) -> None:
    betas, rotmat = random_bodies(2, torch.float64, seed=4)
    inputs = (betas[1:].requires_grad_(), rotmat[1:].requires_grad_())
    assert torch.autograd.gradcheck(BodyJoints.evaluation(made_up, torch.float64), inputs)


@pytest.mark.parametrize("leading", [(), (6,), (2, 3), (1, 2, 3), (0, 4)], ids=str)
def test_any_leading_dimensions(open_body: BodyArrays, leading: tuple[int, ...]) -> None:
    joints = BodyJoints.keypoints(open_body)
    betas, rotmat = random_bodies(6, torch.float32)
    num = int(np.prod(leading))
    shaped = joints(betas[:num].view(*leading, 10), rotmat[:num].view(*leading, 24, 3, 3))
    assert shaped.shape == (*leading, 49, 3)
    torch.testing.assert_close(shaped.view(-1, 49, 3), joints(betas, rotmat)[:num])


class _NoReads(TorchDispatchMode):
    """Fails on operations that read a number back from the device or have data-made shapes."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert func.overloadpacket.__name__ not in {"_local_scalar_dense", "nonzero", "_to_copy"}
        return func(*args, **(kwargs or {}))


@READS
def test_nothing_is_read_back_from_the_device(made_up: BodyArrays, make: Make, read: Read) -> None:
    betas, rotmat = random_bodies(4, torch.float32)
    module, model = make(made_up, torch.float32), BodyModel(made_up)
    with _NoReads():
        module(betas.requires_grad_(), rotmat).sum().backward()
        read(model, betas, rotmat).sum().backward()
    # Tensors without data: reading one, or making a constant on the CPU, would raise.
    module.to("meta")
    joints = module(betas.to("meta"), rotmat.to("meta"))
    assert joints.is_meta


def test_a_long_sequence_comes_in_pieces(
    made_up: BodyArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    joints, sizes = BodyJoints.keypoints(made_up, torch.float64), []
    betas, rotmat = random_bodies(11, torch.float64)
    expected = joints(betas, rotmat)
    joints.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    monkeypatch.setattr(body_joints, "PIECE_FRAMES", 4)
    found = joints.of_sequence(betas.requires_grad_(), rotmat)
    assert sizes == [4, 4, 3]
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_constants_are_not_saved(made_up: BodyArrays) -> None:
    joints = BodyJoints.keypoints(made_up)
    assert not joints.state_dict()
    assert not list(joints.parameters())


def test_pairs_stay_few_on_the_open_body(open_body: BodyArrays) -> None:
    assert len(BodyJoints.keypoints(open_body).bones) < 100
    assert len(BodyJoints.skeleton(open_body).bones) == 0
