from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from tests.fitting.motions import captured, skeleton
from tests.fitting.real_views import pa_mm as limbs_pa_mm
from tests.fitting.real_views import views
from tests.fitting.seen import observed
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.params import mirror_pose, pose_to_rotmat
from vibe_ray.body.skeletons import SMPL_JOINTS, mirror_table
from vibe_ray.evaluation.metrics import pa_mpjpe_mm
from vibe_ray.fitting.fit_problem import FitProblem
from vibe_ray.fitting.fit_settings import FitSettings
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation, reprojection
from vibe_ray.fitting.picture import Fitted, _held_out, _mean, fit_to_picture
from vibe_ray.fitting.usual_errors import usual_errors
from vibe_ray.models.motion_prior import MotionPrior, MotionPriorConfig

LIMBS = [
    SMPL_JOINTS.index(f"{side}_{joint}")
    for side in ("left", "right")
    for joint in ("hip", "shoulder")
]


def jump() -> Motion:
    return captured("01/01_01", 0, 60)


def mistaken(true: Motion, radians: float = 0.3) -> Motion:
    """What a network might think: arms and legs turned in a way that drifts, and another shape."""
    generator = torch.Generator().manual_seed(0)
    constant, drift = radians * torch.randn(2, 1, len(LIMBS), 3, generator=generator)
    share = (1.5 * true.times_s).sin().float()[:, None, None]
    rotmat = true.rotmat.clone()
    rotmat[:, LIMBS] @= roma.rotvec_to_rotmat(0.7 * constant + 0.7 * share * drift)
    return replace(true, rotmat=rotmat, betas=true.betas + 0.5)


def noisy(seen: Observation, share: float) -> Observation:
    """Key-points that are off by a share of the box, a bit for the whole clip and a bit each."""
    generator = torch.Generator().manual_seed(1)
    N, D, _ = seen.kp_2d.shape
    off = torch.randn(1, D, 2, generator=generator) + torch.randn(N, D, 2, generator=generator)
    return replace(seen, kp_2d=seen.kp_2d + share * off * seen.box_size[:, None, None])


def pa_mm(motion: Motion, true: Motion) -> float:
    return float(pa_mpjpe_mm(skeleton().joints(motion), skeleton().joints(true)).mean())


def percent(motion: Motion, seen: Observation) -> float:
    return 100 * float(reprojection(motion, skeleton(), seen).nanmean())


def fitted(motion: Motion, seen: Observation, **settings: float) -> Fitted:
    return fit_to_picture(motion, seen, skeleton().arrays, settings=FitSettings(**settings))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_fit_brings_the_body_onto_the_picture_and_the_pose_nearer_to_the_truth(
    noise: float,
) -> None:
    true, seen = observed(jump())
    seen = noisy(seen, noise)
    start = mistaken(true)
    found = fitted(start, seen)
    assert found.verdict.is_kept
    assert found.verdict.words.startswith("fitted: the error of key-points went from ")
    assert percent(found.motion, seen) < 0.6 * percent(start, seen)
    assert pa_mm(found.motion, true) < 0.9 * pa_mm(start, true)
    assert found.verdict.held_out_after < found.verdict.held_out_before


def test_what_is_right_already_stays() -> None:
    true, seen = observed(jump())
    found = fitted(true, seen)
    assert found.verdict.is_kept
    assert pa_mm(found.motion, true) < 3.0  # Adam's first steps are large whatever the gradient


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_of_noise_a_fit_follows_a_part(noise: float) -> None:
    """It ends nearer to the truth than the key-points are, seen at the person's distance."""
    true, seen = observed(jump())
    scattered = noisy(seen, noise)
    off = (scattered.kp_2d - seen.kp_2d).norm(dim=-1).mean()
    off_mm = 1000 * float(off / seen.focal * skeleton().keypoints(true)[..., 2].mean())
    found = fitted(true, scattered)
    assert found.verdict.is_kept
    assert pa_mm(found.motion, true) < 0.5 * off_mm


@pytest.mark.parametrize("seed", [0, 3])
def test_key_points_that_contradict_each_other_move_nothing(seed: int) -> None:
    """Each is off for good in a way of its own: fitted to some, the body leaves the others.

    Not with every seed: some such key-points are those of another pose.
    """
    true, seen = observed(jump())
    off = torch.randn(1, *seen.kp_2d.shape[1:], generator=torch.Generator().manual_seed(seed))
    apart = replace(seen, kp_2d=seen.kp_2d + 0.03 * off * seen.box_size[:, None, None])
    found = fitted(true, apart)
    assert not found.verdict.is_kept
    assert found.motion is true
    assert found.verdict.words.startswith("no fit: of key-points it was not shown")
    assert found.verdict.after == found.verdict.before


@pytest.mark.parametrize("mistake", ["swapped", "shuffled", "scattered"])
def test_key_points_of_another_pose_move_nothing(mistake: str) -> None:
    true, seen = observed(jump())
    generator = torch.Generator().manual_seed(4)
    order = {
        "swapped": mirror_table(seen.names),
        "shuffled": torch.randperm(len(seen.names), generator=generator).tolist(),
        "scattered": list(range(len(seen.names))),
    }[mistake]
    kp = seen.kp_2d[:, order]
    if mistake == "scattered":
        kp = noisy(seen, 0.08).kp_2d
    found = fitted(true, replace(seen, kp_2d=kp))
    assert not found.verdict.is_kept
    assert found.motion is true
    assert found.verdict.words.startswith("no fit: key-points are ")


def test_nothing_seen_is_no_fit() -> None:
    true, seen = observed(jump())
    found = fitted(true, replace(seen, conf=torch.zeros_like(seen.conf)), num_steps=2)
    assert found.motion is true
    assert found.verdict.words == "no fit: no key-point was seen"


def test_a_hallucinated_wrist_does_not_pull_the_arm() -> None:
    true, seen = observed(jump())
    kp = seen.kp_2d.clone()
    wrist = list(seen.names).index("lwrist")
    kp[20:35, wrist] += 0.6 * seen.box_size[20:35, None]
    found = fitted(mistaken(true), replace(seen, kp_2d=kp))
    clean = fitted(mistaken(true), seen)
    assert pa_mm(found.motion, true) < pa_mm(clean.motion, true) + 3.0


def test_pieces_that_bound_the_memory_change_no_result() -> None:
    true, seen = observed(jump())
    start = mistaken(true)
    whole, pieces = (fitted(start, seen, chunk=chunk, num_steps=10) for chunk in (512, 17))
    torch.testing.assert_close(whole.motion.rotmat, pieces.motion.rotmat, atol=2e-4, rtol=0)
    torch.testing.assert_close(whole.motion.transl, pieces.motion.transl, atol=2e-4, rtol=0)


def test_a_verdict_on_part_of_the_track_is_about_that_of_all() -> None:
    true, seen = observed(jump())
    start = mistaken(true)
    all_frames, some = (fitted(start, seen, held_out_frames=n).verdict for n in (1000, 40))
    assert some.is_kept
    assert some.held_out_before == pytest.approx(all_frames.held_out_before, rel=0.2)
    assert some.after == pytest.approx(all_frames.after)


def test_held_out_fits_that_are_made_together_are_those_made_one_by_one() -> None:
    true, seen = observed(jump())
    settings = FitSettings(num_steps=8, held_out_frames=40, chunk=50)
    body = BodyJoints.keypoints(skeleton().arrays, which=seen.body_rows, as_detected=True)
    problem = FitProblem(mistaken(true), noisy(seen, 0.01), body, settings)
    part = problem.sampled(settings.held_out_frames)
    errors = torch.full(part.weight.shape, torch.nan)
    for fold in range(settings.num_folds):
        is_held_out = torch.arange(errors.shape[1]) % settings.num_folds == fold
        alone = part.solve(torch.where(is_held_out, 0.0, part.weight)[None])
        errors[:, is_held_out] = part.errors(alone)[0, :, is_held_out]
    _, after = _held_out(problem)
    assert errors.isfinite().all()
    assert after == pytest.approx(_mean(errors), rel=1e-4)


def prior() -> MotionPrior:
    torch.manual_seed(0)
    return MotionPrior(MotionPriorConfig(hidden_dim=16, latent_dim=8))


def test_in_a_mirror_the_fit_is_the_fit_in_a_mirror() -> None:
    """It stops early: so every step must be the mirrored one, whichever side is called left."""
    true, seen = observed(captured("01/01_01", 0, 30))
    start = mistaken(true)

    def mirrored(motion: Motion) -> Motion:
        pose = mirror_pose(roma.rotmat_to_rotvec(motion.rotmat).flatten(1))
        flip = torch.tensor([-1.0, 1.0, 1.0])
        return replace(motion, rotmat=pose_to_rotmat(pose), transl=motion.transl * flip)

    across = torch.tensor([-1.0, 1.0])
    shift = torch.tensor([2 * seen.center[0], 0.0])
    order = mirror_table(seen.names)
    other = replace(seen, kp_2d=seen.kp_2d[:, order] * across + shift, conf=seen.conf[:, order])
    found, expected = fitted(mirrored(start), other), mirrored(fitted(start, seen).motion)
    assert found.verdict.is_kept
    turned = roma.rotmat_geodesic_distance(found.motion.rotmat, expected.rotmat)
    moved = roma.rotmat_geodesic_distance(mirrored(start).rotmat, expected.rotmat)
    assert turned.mean() < 0.01 * moved.mean()
    torch.testing.assert_close(found.motion.transl, expected.transl, atol=0.01, rtol=0)


def test_corrections_are_weighed_by_how_likely_they_are() -> None:
    """By Mahalanobis' distance of radians, by the errors' second moments."""
    true, seen = observed(captured("01/01_01", 0, 5))
    body = BodyJoints.keypoints(skeleton().arrays, which=seen.body_rows, as_detected=True)
    settings = FitSettings(pull=0.3, calm=0.7, shape=0.2, place_calm=0.0)
    problem = FitProblem(true, seen, body, settings)
    fit = problem.start()
    made = torch.Generator().manual_seed(2)
    fit.turn.copy_(torch.randn(fit.turn.shape, generator=made))
    fit.betas.copy_(torch.randn(fit.betas.shape, generator=made))
    radians = problem.turns(fit, slice(None))[0].flatten(1).double().numpy()  # (5, 72)
    root = usual_errors().double().numpy()
    inverse = np.linalg.inv(root @ root)
    expected = 0.3 * sum(turn @ inverse @ turn for turn in radians)
    change = np.diff(radians, axis=0) / np.diff(true.times_s.numpy())[:, None]
    expected += 0.7 * sum(turn @ inverse @ turn for turn in change)
    expected += 0.2 * 5 * float(fit.betas.square().sum())
    assert float(problem.closeness(fit)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("num", [60, 48, 16, 9])
def test_a_prior_looks_at_windows_of_the_whole_track(num: int) -> None:
    """Against a loop over windows; the last one ends with the track."""
    true, seen = observed(captured("01/01_01", 0, num))
    settings = FitSettings(prior=0.7, chunk=50)
    body = BodyJoints.keypoints(skeleton().arrays, which=seen.body_rows, as_detected=True)
    problem = FitProblem(true, seen, body, settings, prior())
    fits = problem.start(2)
    fits.turn[1] = torch.randn(fits.turn[1].shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = sum(float(problem.unlikeliness(fits, part)) for part in problem.windows(2))
    expected = 0.0
    for turn in fits.turn.detach():
        radians = torch.einsum("ne,ej->nj", turn, usual_errors()).view(num, 24, 3)
        body_rotmat = true.rotmat.float() @ roma.rotvec_to_rotmat(radians)
        starts = [*range(0, num - 15, 16), *([num - 16] if num % 16 and num > 16 else [])] or [0]
        for start in starts:
            window = body_rotmat[None, start : start + 16, 1:]
            mean = problem._prior.encode(window).mean  # type: ignore[union-attr]
            expected += 0.7 * window.shape[1] * float(mean.detach().square().mean())
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_prior_makes_a_fit_likelier() -> None:
    true, seen = observed(jump())

    def length(weight: float) -> float:
        settings = FitSettings(prior=weight, num_steps=20)
        found = fit_to_picture(mistaken(true), seen, skeleton().arrays, settings, prior())
        with torch.no_grad():
            latent = prior().encode(found.motion.rotmat[None, :48, 1:]).mean
        return float(latent.square().mean())

    assert length(3.0) < 0.98 * length(0.0)


def test_a_fit_that_is_to_ask_a_prior_needs_one() -> None:
    true, seen = observed(jump())
    with pytest.raises(ValueError, match="but no motion prior is given"):
        fitted(true, seen, prior=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_folds", 1), ("pull", -1.0), ("max_rise", float("nan")), ("robust_scale", 0.0)],
)
def test_settings_that_mean_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"fitting\.{name} is "):
        FitSettings(**{name: value})


def test_a_short_track_decides_as_a_whole() -> None:
    true, seen = observed(captured("01/01_01", 0, 30))
    few, all_frames = (
        fitted(mistaken(true), seen, held_out_frames=n, num_steps=5).verdict for n in (20, 500)
    )
    assert few == all_frames


def test_the_harder_the_pull_the_smaller_the_correction() -> None:
    true, seen = observed(jump())
    start = mistaken(true)

    def turned(pull: float) -> Tensor:
        turn = start.rotmat.mT @ fitted(start, seen, pull=pull).motion.rotmat
        return roma.rotmat_to_rotvec(turn).norm(dim=-1).mean()

    sizes = [turned(pull) for pull in (0.01, 0.05, 0.2)]
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_key_points_of_other_frames_are_refused() -> None:
    true, seen = observed(jump())
    with pytest.raises(ValueError, match="30 frames, motion of 60"):
        fitted(
            true,
            replace(
                seen,
                **{
                    "kp_2d": seen.kp_2d[:30],
                    "conf": seen.conf[:30],
                    "box_size": seen.box_size[:30],
                },
            ),
        )


@pytest.mark.slow
def test_real_people_are_fitted_better_in_3d_too() -> None:
    """Judged by the triangulation of four views, of which a fit sees one."""
    body = BodyJoints.keypoints(skeleton().arrays)
    before, after = [], []
    for motion, seen, points in views():
        before.append(limbs_pa_mm(motion, points, body))
        found = fit_to_picture(motion, seen, skeleton().arrays)
        after.append(limbs_pa_mm(found.motion, points, body))
    assert np.mean(after) < np.mean(before) - 5.0
    assert np.max(np.subtract(after, before)) < 1.0
