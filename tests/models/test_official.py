import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.features.resnets import (
    REGRESSOR_SHAPES,
    random_encoder,
    random_weights,
    spin_checkpoint,
)
from vibe_ray.models.generator import Generator, GeneratorConfig
from vibe_ray.models.gru_encoder import GruEncoderConfig
from vibe_ray.models.motion_discriminator import MotionDiscriminator, MotionDiscriminatorConfig
from vibe_ray.models.official import read_spin_encoder, read_spin_regressor, read_vibe
from vibe_ray.models.smpl_regressor import SmplRegressorConfig
from vibe_ray.models.temporal_encoder import TemporalEncoderConfig

GENERATOR = GeneratorConfig(
    feature_dim=12,
    temporal_encoder=TemporalEncoderConfig(gru=GruEncoderConfig(hidden_dim=8)),
    # The file with the mean parameters is not needed: a checkpoint brings them.
    regressor=SmplRegressorConfig(hidden_dim=16, mean_params="/nowhere/smpl_mean_params.npz"),
)
DISCRIMINATOR = MotionDiscriminatorConfig(hidden_dim=8)

# Names and shapes of a checkpoint of the authors' default configuration.
OFFICIAL_GENERATOR = {
    "encoder.gru.weight_ih_l0": (3072, 2048),
    "encoder.gru.weight_hh_l0": (3072, 1024),
    "encoder.gru.bias_ih_l0": (3072,),
    "encoder.gru.bias_hh_l0": (3072,),
    "encoder.gru.weight_ih_l1": (3072, 1024),
    "encoder.gru.weight_hh_l1": (3072, 1024),
    "encoder.gru.bias_ih_l1": (3072,),
    "encoder.gru.bias_hh_l1": (3072,),
    "encoder.linear.weight": (2048, 1024),
    "encoder.linear.bias": (2048,),
    "regressor.init_pose": (1, 144),
    "regressor.init_shape": (1, 10),
    "regressor.init_cam": (1, 3),
    "regressor.fc1.weight": (1024, 2205),
    "regressor.fc1.bias": (1024,),
    "regressor.fc2.weight": (1024, 1024),
    "regressor.fc2.bias": (1024,),
    "regressor.decpose.weight": (144, 1024),
    "regressor.decpose.bias": (144,),
    "regressor.decshape.weight": (10, 1024),
    "regressor.decshape.bias": (10,),
    "regressor.deccam.weight": (3, 1024),
    "regressor.deccam.bias": (3,),
}
OFFICIAL_DISCRIMINATOR = {
    "gru.weight_ih_l0": (3072, 69),
    "gru.weight_hh_l0": (3072, 1024),
    "gru.bias_ih_l0": (3072,),
    "gru.bias_hh_l0": (3072,),
    "gru.weight_ih_l1": (3072, 1024),
    "gru.weight_hh_l1": (3072, 1024),
    "gru.bias_ih_l1": (3072,),
    "gru.bias_hh_l1": (3072,),
    "attention.attention.0.weight": (1024, 1024),
    "attention.attention.0.bias": (1024,),
    "attention.attention.3.weight": (1024, 1024),
    "attention.attention.3.bias": (1024,),
    "attention.attention.6.weight": (1, 1024),
    "attention.attention.6.bias": (1,),
    "fc.weight": (1, 1024),
    "fc.bias": (1,),
}
SMPL_BUFFERS = (
    *("betas", "global_orient", "body_pose", "shapedirs", "faces_tensor", "v_template"),
    *("J_regressor", "posedirs", "parents", "lbs_weights", "J_regressor_extra"),
    "vertex_joint_selector.extra_joints_idxs",
)


class Hostile:
    """Unpickling this runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.witness}",)


def trained_generator() -> Generator:
    torch.manual_seed(0)
    rest = GeneratorConfig(
        feature_dim=12,
        temporal_encoder=GENERATOR.temporal_encoder,
        regressor=SmplRegressorConfig(hidden_dim=16),
    )
    generator = Generator(rest)
    generator.regressor.init_pose.normal_()
    return generator


def released_vibe(performance: object = 56.5) -> dict[str, Any]:
    """A checkpoint with everything that the authors' training loop writes into one."""
    generator, discriminator = trained_generator(), MotionDiscriminator(DISCRIMINATOR)
    optimizer = torch.optim.Adam(discriminator.parameters())
    smpl = {f"regressor.smpl.{name}": torch.ones(3) for name in SMPL_BUFFERS}
    return {
        "epoch": 12,
        "gen_state_dict": {**generator.state_dict(), **smpl},
        "performance": performance,
        "gen_optimizer": optimizer.state_dict(),
        "disc_motion_state_dict": discriminator.state_dict(),
        "disc_motion_optimizer": optimizer.state_dict(),
    }


def save(content: object, path: Path, *, legacy: bool = False, old_numpy: bool = False) -> Path:
    """Write as PyTorch 1.4 did (`legacy`), or with numpy 1's names (`old_numpy`)."""
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    names = (b"numpy._core.multiarray", b"numpy.core.multiarray")
    if old_numpy and legacy:
        path.write_bytes(path.read_bytes().replace(*names))
    elif old_numpy:
        with zipfile.ZipFile(path) as source:
            parts = {name: source.read(name) for name in source.namelist()}
        with zipfile.ZipFile(path, "w") as target:
            for name, data in parts.items():
                target.writestr(name, data.replace(*names) if name.endswith(".pkl") else data)
    return path


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_our_names_and_shapes_are_the_released_ones() -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig()).state_dict()
        discriminator = MotionDiscriminator(MotionDiscriminatorConfig()).state_dict()
        concat = MotionDiscriminator(MotionDiscriminatorConfig(pool="concat")).state_dict()
    assert {name: tuple(v.shape) for name, v in generator.items()} == OFFICIAL_GENERATOR
    assert {name: tuple(v.shape) for name, v in discriminator.items()} == OFFICIAL_DISCRIMINATOR
    without_attention = {k for k in OFFICIAL_DISCRIMINATOR if not k.startswith("attention.")}
    assert concat.keys() == without_attention
    assert concat["fc.weight"].shape == (1, 2048)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("old_numpy", [False, True])
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_a_released_checkpoint_round_trips(
    tmp_path: Path, number: type[np.floating[Any]], old_numpy: bool, legacy: bool
) -> None:
    content = released_vibe(number(56.5607))
    path = save(content, tmp_path / "vibe.pth.tar", legacy=legacy, old_numpy=old_numpy)
    assert (b"numpy.core.multiarray" in path.read_bytes()) == old_numpy
    released = read_vibe(path, GENERATOR, DISCRIMINATOR)
    assert_same(released.generator, dict(trained_generator().state_dict()))
    assert released.discriminator is not None
    assert_same(released.discriminator, content["disc_motion_state_dict"])
    assert released.pa_mpjpe_mm == pytest.approx(56.5607)
    generator = Generator.from_weights(GENERATOR, released.generator).eval()
    x = torch.randn(2, 4, 12)
    assert torch.equal(generator(x).rotmat, trained_generator().eval()(x).rotmat)


def test_the_demos_file_holds_a_generator_alone(tmp_path: Path) -> None:
    demo = {**released_vibe()["gen_state_dict"], "hmr.conv1.weight": torch.ones(2)}
    released = read_vibe(save({"gen_state_dict": demo}, tmp_path / "x"), GENERATOR, DISCRIMINATOR)
    assert_same(released.generator, dict(trained_generator().state_dict()))
    assert released.discriminator is None
    assert released.pa_mpjpe_mm is None


def test_spins_regressor_is_picked_out(tmp_path: Path) -> None:
    regressor = trained_generator().regressor.state_dict()
    image_network = {"conv1.weight": torch.ones(2), "smpl.betas": torch.ones(2)}
    path = save({"model": {**image_network, **regressor}, "epoch": 3}, tmp_path / "spin.pt")
    config, found = read_spin_regressor(path, GENERATOR)
    assert_same(found, {f"regressor.{name}": value for name, value in regressor.items()})
    assert config.temporal_encoder.kind == "none"


@pytest.mark.parametrize("prefix", ["", "module.", "hmr.", "model."])
def test_spins_image_network_becomes_a_frame_encoder(tmp_path: Path, prefix: str) -> None:
    encoder = read_spin_encoder(save(spin_checkpoint(prefix), tmp_path / "spin.pt"))
    assert_same(dict(encoder.state_dict()), random_weights())
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.id == random_encoder().id


def test_both_halves_of_spins_file_are_those_of_hmr(tmp_path: Path) -> None:
    """Its regressor goes on as `initial_regressor`, whatever stands beside it in the file."""
    path = save(spin_checkpoint(), tmp_path / "spin.pt")
    config, found = read_spin_regressor(path, GeneratorConfig())
    assert config.feature_dim == read_spin_encoder(path).feature_dim == 2048
    shapes = {name.removeprefix("regressor."): tuple(v.shape) for name, v in found.items()}
    assert shapes == REGRESSOR_SHAPES


def test_an_old_files_network_without_counts_is_the_same(tmp_path: Path) -> None:
    weights = {n: v for n, v in random_weights().items() if not n.endswith("num_batches_tracked")}
    classifier = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    encoder = read_spin_encoder(save({**weights, **classifier}, tmp_path / "resnet50.pth"))
    assert encoder.id == random_encoder().id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer4.2.bn3.bias": None}, r"missing layer4\.2\.bn3\.bias"),
        ({"conv1.weight": torch.zeros(64, 3, 3, 3)}, r"conv1\.weight is \(64, 3, 3, 3\), expected"),
    ],
)
def test_an_image_network_of_another_kind_is_refused(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    weights = {n: v for n, v in (random_weights() | change).items() if v is not None}
    with pytest.raises(ValueError, match=f"is not SPIN's: {message}"):
        read_spin_encoder(save({"model": weights}, tmp_path / "spin.pt"))


def test_an_image_network_that_would_run_code_is_refused(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    path = save({**spin_checkpoint(), "extra": Hostile(witness)}, tmp_path / "spin.pt")
    with pytest.raises(ValueError, match="is refused: it holds more than tensors"):
        read_spin_encoder(path)
    assert not witness.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("where", ["top", "performance", "weights"])
def test_a_hostile_checkpoint_is_refused_and_does_not_run(
    tmp_path: Path, where: str, legacy: bool
) -> None:
    witness = tmp_path / "witness"
    content: Any = released_vibe(Hostile(witness) if where == "performance" else 56.5)
    if where == "top":
        content = Hostile(witness)
    if where == "weights":
        content["gen_state_dict"]["encoder.linear.bias"] = Hostile(witness)
    path = save(content, tmp_path / "vibe.pth.tar", legacy=legacy)
    with pytest.raises(ValueError, match=r"is refused: it holds more than tensors"):
        read_vibe(path, GENERATOR, DISCRIMINATOR)
    with pytest.raises(ValueError, match=r"is refused: it holds more than tensors"):
        read_spin_regressor(path, GENERATOR)
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists()  # it would have run


def test_every_weight_that_does_not_fit_is_named(tmp_path: Path) -> None:
    content = released_vibe()
    weights = content["gen_state_dict"]
    del weights["encoder.linear.bias"]
    weights["encoder.attention.weight"] = torch.ones(2)
    weights["regressor.fc2.weight"] = torch.ones(2, 3)
    path = save(content, tmp_path / "vibe.pth.tar")
    with pytest.raises(ValueError, match=r"the generator in .* is none of VIBE's") as error:
        read_vibe(path, GENERATOR, DISCRIMINATOR)
    assert "missing encoder.linear.bias" in str(error.value)
    assert "unexpected encoder.attention.weight" in str(error.value)
    assert "regressor.fc2.weight is (2, 3), expected (16, 16)" in str(error.value)


def test_an_error_names_the_first_weights_and_counts_the_others(tmp_path: Path) -> None:
    path = save({"gen_state_dict": {"conv.weight": torch.ones(2)}}, tmp_path / "other")
    with pytest.raises(ValueError, match=r"and \d+ more\. Expected") as error:
        read_vibe(path, GENERATOR, DISCRIMINATOR)
    assert len(str(error.value)) < 600


def test_another_discriminator_is_left_out_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(released_vibe(), tmp_path / "vibe.pth.tar")
    concat = MotionDiscriminatorConfig(hidden_dim=8, pool="concat")
    released = read_vibe(path, GENERATOR, concat)
    assert released.discriminator is None
    assert "is left out, it is of another architecture: unexpected attention" in caplog.text
    assert_same(released.generator, dict(trained_generator().state_dict()))


def under_module(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name weights as DataParallel does."""
    return torch.nn.DataParallel(holder(weights)).state_dict()


def holder(weights: dict[str, Tensor]) -> torch.nn.Module:
    """A module whose state dict these weights are."""
    root = torch.nn.Module()
    for name, value in weights.items():
        module = root
        *parents, last = name.split(".")
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, torch.nn.Module())
            module = module.get_submodule(parent)
        module.register_buffer(last, value)
    return root


def test_weights_of_a_parallel_network_lose_its_prefix(tmp_path: Path) -> None:
    content = released_vibe()
    for name in ("gen_state_dict", "disc_motion_state_dict"):
        content[name] = under_module(content[name])
    assert all(name.startswith("module.") for name in content["gen_state_dict"])
    released = read_vibe(save(content, tmp_path / "vibe"), GENERATOR, DISCRIMINATOR)
    assert_same(released.generator, dict(trained_generator().state_dict()))
    assert released.discriminator is not None
    spin = save(
        {"model": under_module(dict(trained_generator().regressor.state_dict()))}, tmp_path / "s"
    )
    assert "regressor.fc1.weight" in read_spin_regressor(spin, GENERATOR)[1]


def test_a_state_dict_may_be_the_whole_file(tmp_path: Path) -> None:
    generator = dict(trained_generator().state_dict())
    found = read_vibe(save(generator, tmp_path / "bare"), GENERATOR, DISCRIMINATOR)
    assert_same(found.generator, generator)
    regressor = dict(trained_generator().regressor.state_dict())
    assert (
        "regressor.fc1.weight" in read_spin_regressor(save(regressor, tmp_path / "s"), GENERATOR)[1]
    )


@pytest.mark.parametrize(
    ("encoder", "regressor", "feature_dim"),
    [
        ({"hidden_dim": 8, "bidirectional": True}, 16, 12),
        ({"hidden_dim": 12, "num_layers": 1, "add_linear": False}, 16, 12),
        ({"hidden_dim": 5, "num_layers": 3}, 7, 9),
    ],
)
def test_the_architecture_is_read_from_the_shapes(
    tmp_path: Path, encoder: dict[str, Any], regressor: int, feature_dim: int
) -> None:
    config = GeneratorConfig(
        feature_dim=feature_dim,
        temporal_encoder=TemporalEncoderConfig(gru=GruEncoderConfig(**encoder)),
        regressor=SmplRegressorConfig(hidden_dim=regressor),
    )
    generator = Generator(config).eval()
    path = save({"gen_state_dict": generator.state_dict()}, tmp_path / "vibe")
    released = read_vibe(path, GeneratorConfig(), DISCRIMINATOR)
    assert released.config.feature_dim == feature_dim
    again = Generator.from_weights(released.config, released.generator).eval()
    x = torch.randn(2, 4, feature_dim)
    assert torch.equal(again(x).rotmat, generator(x).rotmat)


@pytest.mark.parametrize("legacy", [False, True])
def test_numbers_may_be_numpy_arrays(tmp_path: Path, legacy: bool) -> None:
    content = released_vibe(np.array(57.0)) | {"dataset_perm": np.arange(10)}
    released = read_vibe(save(content, tmp_path / "x", legacy=legacy), GENERATOR, DISCRIMINATOR)
    assert released.pa_mpjpe_mm == 57.0


def test_objects_in_a_numpy_array_do_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    content = released_vibe(np.array([Hostile(witness)], dtype=object))
    with pytest.raises(ValueError, match=r"is refused"):
        read_vibe(save(content, tmp_path / "x"), GENERATOR, DISCRIMINATOR)
    assert not witness.exists()


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_vibe(tmp_path / "none", GENERATOR, DISCRIMINATOR)
    spin = save({"model": {}}, tmp_path / "spin")
    with pytest.raises(ValueError, match=r"no state dict 'gen_state_dict'; found model"):
        read_vibe(spin, GENERATOR, DISCRIMINATOR)
    with pytest.raises(ValueError, match="holds a list, expected a dict"):
        read_vibe(save([1], tmp_path / "list"), GENERATOR, DISCRIMINATOR)
    for name, data in (("text", b"hello"), ("empty", b""), ("zip", spin.read_bytes()[:200])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=r"is refused|no readable PyTorch checkpoint|is empty"):
            read_vibe(tmp_path / name, GENERATOR, DISCRIMINATOR)
