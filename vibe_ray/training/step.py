"""The method on one page: one update of the generator and of the discriminator.

Read beside the paper's Sec. 3: the generator (temporal encoder and regressor) turns features into
SMPL parameters, is told by key-points and parameters where those are known (Eq. 1-2), and by the
motion discriminator whether the motion looks captured (Eq. 5-6). Nothing here knows Ray.

Every rank runs the same graph at every step. A loss is a masked sum over a count; the counts are
summed over the ranks, so that N workers compute what one worker with all windows would.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vibe_ray.data.batches import MotionBatch, PoseBatch, StepBatch
from vibe_ray.losses.adversarial import ADVERSARIAL, FAKE, REAL, turn_gradient
from vibe_ray.losses.masked import Loss
from vibe_ray.losses.prior import MOTION_PRIOR
from vibe_ray.losses.supervised import SUPERVISED, supervised_shares
from vibe_ray.training.ranks import counts_over_ranks, descend_sum

if TYPE_CHECKING:
    from vibe_ray.training.state import TrainState

UNSUPERVISED = (MOTION_PRIOR, ADVERSARIAL, REAL, FAKE)
"""What either player may descend beside `SUPERVISED`; who does stands before the slash of its name.
"""
Shares = dict[str, Tensor]
"""By a loss's name: this rank's share of its mean over all ranks."""


def adversarial_step(state: "TrainState", batch: StepBatch) -> dict[str, Tensor]:
    """Update both networks once and return every loss term, detached, unweighted, on the device.

    Each returned value is this rank's share of the mean over all ranks' windows: their sum over
    the ranks is the term. `train/generator/total` is the weighted sum that was descended.

    Dropout draws from a stream seeded by (seed, rank, step), so a step does not depend on what the
    process did before it: a resumed run needs no random state.
    """
    torch.manual_seed(state.dropout_seed())
    supervised = SUPERVISED[state.config.losses.norm]
    losses = (*supervised, *UNSUPERVISED)
    weights = {loss.name: getattr(state.config.losses, loss.weight) for loss in losses}
    counts = counts_over_ranks(losses, batch)
    parts = _parts(batch, state.config.optim.accumulate)
    metrics: dict[str, Tensor] = {}
    state.zero_grad()
    for number, part in enumerate(parts, start=1):
        with state.sharing_gradients(number == len(parts)):
            shares = _shares(state, supervised, part, counts)
            weighted = {name: weights[name] * share for name, share in shares.items()}
            descend_sum(weighted.values())
        of_generator = [value for name, value in weighted.items() if name.startswith("generator/")]
        shares["generator/total"] = torch.stack(of_generator).sum()
        for name, share in shares.items():
            metrics[f"train/{name}"] = metrics.get(f"train/{name}", 0) + share.detach()
    state.end_step()
    return metrics


def _shares(
    state: "TrainState",
    supervised: Sequence[Loss],
    batch: StepBatch,
    counts: Mapping[str, Tensor],
) -> Shares:
    """Return what either player descends, in one graph."""
    with state.products():
        params = state.synced_generator(batch.pose.features)
    kp_3d = state.keypoints(params.betas, params.rotmat)  # (B, T, 49, 3), no mesh is built
    shares = supervised_shares(supervised, counts, params, kp_3d, batch.pose)
    if state.prior is not None:
        latent = state.prior.encode(params.rotmat[..., 1:, :, :])
        shares[MOTION_PRIOR.name] = MOTION_PRIOR.share(counts, latent.mean)
    if state.config.is_adversarial:
        view = state.discriminator.view
        fake, real = view.of_rotmat(params.rotmat), view.of_pose(batch.motion.pose)
        with state.products():
            shares |= _adversarial_shares(state, fake, real, counts)
    return shares


def _adversarial_shares(
    state: "TrainState", fake: Tensor, real: Tensor, counts: Mapping[str, Tensor]
) -> Shares:
    """Let the discriminator look at both (B, T, P), once if the players may share one pass."""
    if not state.discriminator_learns:
        return {ADVERSARIAL.name: ADVERSARIAL.share(counts, _frozen_score(state, fake))}
    if state.config.optim.one_pass:
        real_score, fake_score = _scores(state, real, fake)
        fake_score = turn_gradient(fake, fake_score)
        opinion = fake_score.detach()  # its gradient comes with that of the discriminator's term
    else:
        opinion = _frozen_score(state, fake)
        real_score, fake_score = _scores(state, real, fake.detach())
    return {
        ADVERSARIAL.name: ADVERSARIAL.share(counts, opinion),
        REAL.name: REAL.share(counts, real_score),
        FAKE.name: FAKE.share(counts, fake_score),
    }


def _scores(state: "TrainState", real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Score both in one forward pass of the network that DDP wraps, which bears no second."""
    scores = state.synced_discriminator(torch.cat([real, fake]))
    real_score, fake_score = scores.split([len(real), len(fake)])
    return real_score, fake_score


def _frozen_score(state: "TrainState", fake: Tensor) -> Tensor:
    """Score by the network itself, not by DDP's wrapper: it learns nothing here."""
    state.discriminator.requires_grad_(False)
    score: Tensor = state.discriminator(fake)
    state.discriminator.requires_grad_(True)
    return score


def _parts(batch: StepBatch, num_parts: int) -> list[StepBatch]:
    """Cut a rank's share into micro-batches, none of them empty; fewer where the share is small."""
    sizes = len(batch.pose.features), len(batch.motion.pose)  # without motion it is not used
    num_parts = max(1, min([num_parts, *(size for size in sizes if size)]))
    captured = batch.motion.pose.tensor_split(num_parts)
    columns = {name: x.tensor_split(num_parts) for name, x in vars(batch.pose).items()}
    return [
        StepBatch(
            PoseBatch(**{name: pieces[part] for name, pieces in columns.items()}),
            MotionBatch(captured[part]),
        )
        for part in range(num_parts)
    ]
