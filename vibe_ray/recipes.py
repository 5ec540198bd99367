"""Named runs. Start reading here: a recipe is a function that returns a whole `TrainConfig`.

`open_world` is what a stranger runs: nothing gated, sized for two CPU cores. `paper` and `released`
are the two readings of VIBE, because its text and its code differ in over a dozen places.
`ablation` is what a search runs many times, `smoke` the tests' tiny one. Derive your own by calling
one and using `settings.override`.
"""

from collections.abc import Callable

from vibe_ray.config import OptimConfig, TrainConfig
from vibe_ray.data.mixing import DataConfig
from vibe_ray.losses.weights import LossWeights
from vibe_ray.models.generator import GeneratorConfig
from vibe_ray.models.gru_encoder import GruEncoderConfig
from vibe_ray.models.motion_discriminator import MotionDiscriminatorConfig
from vibe_ray.models.smpl_regressor import SmplRegressorConfig
from vibe_ray.models.tcmr_encoder import TcmrEncoderConfig
from vibe_ray.models.temporal_encoder import TemporalEncoderConfig
from vibe_ray.models.transformer_encoder import TransformerEncoderConfig
from vibe_ray.settings import override


def released() -> TrainConfig:
    """VIBE as its released code trains it (`configs/config.yaml` of the authors' repository).

    Licensed data: InstaVariety for 2D, MPI-INF-3DHP for 3D, AMASS for motion, 3DPW's validation
    split. 30 epochs of 500 steps, 32 windows of 16 frames, 60 % of them 2D.
    """
    return TrainConfig(
        epochs=30,
        steps_per_epoch=500,
        data=DataConfig(
            root="data/vibe",
            pose_2d=("insta_variety/train",),
            pose_3d=("mpi_inf_3dhp/train",),
            motion=("amass/train",),
            validation="threedpw/val",
            test="threedpw/test",
            window_length=16,
            window_stride=16,
            batch_size=32,
            ratio_2d=0.6,
            motion_batch_size=32,
        ),
        generator=GeneratorConfig(
            feature_dim=2048,
            temporal_encoder=TemporalEncoderConfig(
                kind="gru",
                gru=GruEncoderConfig(
                    hidden_dim=1024,
                    num_layers=2,
                    bidirectional=False,
                    add_linear=True,
                    residual=True,
                ),
            ),
            regressor=SmplRegressorConfig(hidden_dim=1024, num_iterations=3, dropout=0.5),
        ),
        discriminator=MotionDiscriminatorConfig(
            pool="attention",
            hidden_dim=1024,
            num_layers=2,
            attention_layers=3,
            attention_dropout=0.2,
        ),
        losses=LossWeights(kp_2d=300.0, kp_3d=300.0, pose=60.0, betas=0.06, adversarial=0.5),
        optim=OptimConfig(
            generator_lr=5e-5,
            generator_weight_decay=0.0,
            discriminator_lr=1e-4,
            discriminator_weight_decay=1e-4,
            lr_factor=0.1,
            lr_patience=5,
        ),
    )


def paper() -> TrainConfig:
    """VIBE as its paper describes it, where that differs from the released code.

    Bidirectional GRU (Sec. 3), two attention layers with dropout 0.1 (Sec. 3.3, Table 3), an
    adversarial weight of 2, and all of the paper's data sets. The text names no weight for the 2D
    term that differs from the code's. Losses stay mean squared errors: the paper's norms under
    its weights do not train. 3DPW plays at 30 frames per second and all else at 25, so captured
    motion is shown at both, as VIBE's own preparation of AMASS mixes them.
    """
    return override(
        released(),
        {
            "generator.temporal_encoder.gru.bidirectional": True,
            "discriminator.attention_layers": 2,
            "discriminator.attention_dropout": 0.1,
            "losses.adversarial": 2.0,
            "data.pose_2d": ("penn_action/train", "posetrack/train", "kinetics/train"),
            "data.pose_3d": ("mpi_inf_3dhp/train", "human36m/train", "threedpw/train"),
            "data.motion": ("amass/train", "amass_30/train"),
        },
    )


def open_world() -> TrainConfig:
    """VIBE with nothing gated: open body, open motion, synthetic captures, packaged frame encoder.

    Narrower than the paper's networks, since the data is smaller. The regressor starts from the
    frame baseline's, as the paper's starts from HMR's, and is moved little: it has learned from
    far more frames than a run of minutes sees. The residual is averaged over neighboring frames,
    since features of detected key-points jitter more than those of an image network. Four epochs:
    validation is at its best after the first, and captures that lie on disk teach no more later.
    """
    return TrainConfig(
        epochs=4,
        steps_per_epoch=80,
        initial_regressor="open",
        data=DataConfig(root="data/open", batch_size=64, ratio_2d=0.25, motion_batch_size=64),
        generator=GeneratorConfig(
            temporal_encoder=TemporalEncoderConfig(
                gru=GruEncoderConfig(
                    hidden_dim=256, num_layers=2, bidirectional=True, residual_frames=7
                ),
                tcmr=TcmrEncoderConfig(hidden_dim=256),
                transformer=TransformerEncoderConfig(
                    hidden_dim=256, num_layers=2, num_heads=4, residual_frames=7
                ),
            ),
            regressor=SmplRegressorConfig(hidden_dim=1024, dropout=0.0),
        ),
        discriminator=MotionDiscriminatorConfig(
            hidden_dim=256, num_layers=2, attention_layers=2, attention_dropout=0.1
        ),
        losses=LossWeights(kp_2d=300.0, kp_3d=300.0, pose=60.0, betas=0.06, adversarial=0.5),
        optim=OptimConfig(
            generator_lr=1e-3,
            regressor_lr_share=0.02,
            discriminator_lr=1e-4,
            lr_factor=0.3,
            lr_patience=0,
        ),
    )


def open_world_hours() -> TrainConfig:
    """`open_world` on hours of motion, of which every window is captured as it is learned from.

    Made for `prepare open --motion DIR --captures 0`: only motion and held-out captures lie on
    disk, and no window is seen twice alike. The packaged VIBE is trained like this.
    """
    return override(
        open_world(),
        {
            "epochs": 8,
            "steps_per_epoch": 100,
            "data.pose_2d": (),
            "data.pose_3d": (),
            "data.ratio_2d": 0.0,
            "windows.motion": ("motion/train",),
            "optim.lr_schedule": "cosine",
            "optim.warmup_steps": 50,
            "optim.average_decay": 0.99,
            "validation.max_sequences": 120,
        },
    )


def open_world_sequences() -> TrainConfig:
    """`open_world_hours` in which the frame encoder learns along: a lifter of sequences.

    The generator makes its features of key-points itself, by a copy of the packaged encoder that
    goes on learning, from windows and with the rest. Captures that it is validated on need the
    key-points: `prepare open --captures 0 --keypoints`.
    """
    return override(
        open_world_hours(),
        {
            "generator.learns_features": True,
            "initial_frame_encoder": "open",
            "optim.frame_encoder_lr_share": 0.1,
        },
    )


def ablation() -> TrainConfig:
    """`open_world` in 200 steps, with half as many windows in each.

    What a search runs again and again: two or three minutes on one CPU core.
    """
    return override(
        open_world(),
        {
            "epochs": 5,
            "steps_per_epoch": 40,
            "data.batch_size": 32,
            "data.motion_batch_size": 32,
        },
    )


def smoke() -> TrainConfig:
    """`open_world` cut down until a run takes seconds: for tests and for trying a cluster out."""
    return override(
        open_world(),
        {
            "epochs": 2,
            "steps_per_epoch": 4,
            "data.batch_size": 8,
            "data.motion_batch_size": 8,
            "generator.temporal_encoder.gru.hidden_dim": 32,
            "discriminator.hidden_dim": 32,
            "validation.max_sequences": 2,
        },
    )


def motion_prior() -> TrainConfig:
    """MPoser on the open motion (Sec. 3.2), and beside it a prior that sees single frames.

    The run's folder is what `motion_prior` names when a generator is trained with
    `losses.motion_prior` above 0; `motion_prior=open` names the packaged one, trained like this.
    """
    return TrainConfig(
        task="motion_prior",
        epochs=15,
        steps_per_epoch=200,
        data=DataConfig(
            root="data/open",
            pose_2d=(),
            pose_3d=(),
            validation="motion/val",
            window_stride=4,
            batch_size=0,
            motion_batch_size=32,
        ),
        optim=OptimConfig(prior_lr=2e-3, lr_factor=0.3, lr_patience=1),
    )


def frame_encoder() -> TrainConfig:
    """The open frame encoder, and with it the frame baseline that VIBE has to beat.

    Encoder and per-frame regressor learn together from captured frames of the open motion, no two
    of which are alike: so there is no dropout. `prepare export` makes packages of both; the encoder
    then is frozen, as SPIN's is in the paper.
    """
    return TrainConfig(
        task="frame_encoder",
        epochs=14,
        steps_per_epoch=1000,
        data=DataConfig(
            root="data/open",
            pose_2d=(),
            pose_3d=(),
            validation="motion/val",
            batch_size=0,
            motion_batch_size=0,
        ),
        generator=GeneratorConfig(
            temporal_encoder=TemporalEncoderConfig(kind="none"),
            regressor=SmplRegressorConfig(hidden_dim=1024, dropout=0.0),
        ),
        losses=LossWeights(kp_2d=60.0, kp_3d=300.0, pose=60.0, betas=0.06, adversarial=0.0),
        optim=OptimConfig(
            frame_encoder_lr=5e-4,
            regressor_lr_share=0.2,
            gradient_clip=10.0,
            lr_schedule="cosine",
            warmup_steps=500,
            average_decay=0.998,
        ),
    )


def frame_encoder_hours() -> TrainConfig:
    """`frame_encoder` continued from the packaged weights, on hours of motion: `make encoder`.

    At a smaller rate, that it may learn what is new without losing first what it knows. The
    packaged weights are made like this of those packaged before them, with seed 2.
    """
    return override(
        frame_encoder(),
        {
            "initial_frame_encoder": "open",
            "epochs": 7,
            "steps_per_epoch": 1000,
            "optim.frame_encoder_lr": 4e-4,
            "optim.warmup_steps": 200,
            "optim.average_decay": 0.999,
        },
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "ablation": ablation,
    "frame_encoder": frame_encoder,
    "frame_encoder_hours": frame_encoder_hours,
    "motion_prior": motion_prior,
    "open_world": open_world,
    "open_world_hours": open_world_hours,
    "open_world_sequences": open_world_sequences,
    "paper": paper,
    "released": released,
    "smoke": smoke,
}
