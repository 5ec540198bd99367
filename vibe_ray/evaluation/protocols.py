"""What exactly is measured? A protocol names the joints, frames, windows and means behind a number.

Two readings of "acceleration" and "test set" are in use, and they differ by millimeters: VIBE's
evaluator concatenates windows of all videos and takes second differences over the seams; later work
(TCMR) stays within each sequence. So a number is only printed beside its protocol's name.

Where a protocol does not say otherwise: 14 joints (right and left ankle, knee, hip, wrist, elbow,
shoulder; neck; head top), from the mesh by the H36M regressor where SMPL truth is known, else the
14 of the same names among the 49 key-points; each frame centered on the middle of its hips,
predicted and true on their own.

MPI-INF-3DHP and Human3.6M have protocols of their own. VIBE's code has none for them; its paper
says that it follows SPIN, so these are SPIN's: what is predicted comes from the mesh by the H36M
regressor, what is true are the data set's own joints, and both are centered on the pelvis.
"""

from dataclasses import dataclass
from typing import Literal

from vibe_ray.body.skeletons import COMMON_14, MPII3D_TEST_17

METRICS = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "pve_mm",
    "accel_error_mm_per_frame2",
    "accel_mm_per_frame2",
    "true_accel_mm_per_frame2",
    "pck_150mm_percent",
    "auc_percent",
)
"""All metrics, in the order in which tables show them."""
MESH_METRIC = "pve_mm"
TRUTH_METRIC = "true_accel_mm_per_frame2"
"""A property of the data, to read the predicted acceleration by; no method changes it."""
VIBE_METRICS = METRICS[:6]
"""What VIBE's evaluation prints, and the true acceleration beside the predicted one."""
ACCELERATIONS = METRICS[3:6]
_WITHOUT_MESH = tuple(name for name in METRICS if name != MESH_METRIC)

VIBE_EVAL = "VIBE's eval.py"
AS_SPIN = "as SPIN's, says the paper"
"""Protocols of published numbers."""
FRONTAL_CAMERA = "60457274"
"""Human3.6M's name of the camera of protocol 2, which is in the names of its videos."""

TITLES = {
    "mpjpe_mm": "MPJPE (mm)",
    "pa_mpjpe_mm": "PA-MPJPE (mm)",
    "pve_mm": "PVE (mm)",
    "accel_error_mm_per_frame2": "Accel. error (mm/frame²)",
    "accel_mm_per_frame2": "Accel. (mm/frame²)",
    "true_accel_mm_per_frame2": "Accel. of the truth (mm/frame²)",
    "pck_150mm_percent": "PCK at 150 mm (%)",
    "auc_percent": "AUC 0 to 150 mm (%)",
}
BETTER: dict[str, Literal["lower", "higher", "neither"]] = {
    "mpjpe_mm": "lower",
    "pa_mpjpe_mm": "lower",
    "pve_mm": "lower",
    "accel_error_mm_per_frame2": "lower",
    "accel_mm_per_frame2": "neither",
    "true_accel_mm_per_frame2": "neither",
    "pck_150mm_percent": "higher",
    "auc_percent": "higher",
}
"""A predicted acceleration is good when it is like the true one, so neither end is better."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How sequences become numbers."""

    name: str
    description: str
    """One sentence for tables and reports."""
    boundaries: Literal["per_sequence", "vibe_compat"] = "per_sequence"
    """`per_sequence`: every usable frame counts once and accelerations never leave a sequence.
    `vibe_compat`: unusable frames are removed before windows are cut, frames after the last whole
    window are dropped, and accelerations are taken over the concatenation of everything, seams
    between sequences included (VIBE's `eval.py`)."""
    windowing: Literal["windows", "sequence"] = "windows"
    """`windows`: the network sees windows of T frames that do not overlap (the last one ends with
    the sequence and fills up what is left). `sequence`: it sees each sequence in one piece."""
    metrics: tuple[str, ...] = METRICS
    joints: tuple[str, ...] = COMMON_14
    """By name, of the 17 of Human3.6M, which are those of MPI-INF-3DHP's test set, too."""
    centered_on: tuple[str, ...] = ("rhip", "lhip")
    """The joints in whose middle the origin of each frame is put."""
    truth: Literal["smpl", "kp_3d"] = "smpl"
    """`smpl`: of SMPL parameters where they are known, on both sides by the same joints.
    `kp_3d`: the data set's own 3D joints, against the mesh's by the H36M regressor."""
    sequences: str = ""
    """Only sequences with this in their names are measured."""
    dataset: str = ""
    """The data set that it is defined on, where it is so on one."""
    same_as: tuple[str, ...] = ()
    """Protocols of published numbers (`published.PublishedResult`) that measure the same."""
    differs: tuple[str, ...] = ()
    """The metrics for which they do not."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.metrics if name not in METRICS]:
            raise ValueError(
                f"protocol {self.name!r} has unknown metrics {unknown}, not in {METRICS}"
            )
        if self.boundaries == "vibe_compat" and self.windowing == "sequence":
            raise ValueError(f"protocol {self.name!r}: vibe_compat is defined on windows only")

    @property
    def needs_mesh(self) -> bool:
        """Whether full meshes have to be computed, by far the slowest part."""
        return MESH_METRIC in self.metrics


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="open",
            description="every frame once, windows of T, accelerations within each sequence",
            same_as=(VIBE_EVAL,),
            differs=ACCELERATIONS,
        ),
        Protocol(
            name="joints",
            description="as `open` without meshes (no PVE), for validation while training",
            metrics=_WITHOUT_MESH,
            same_as=(VIBE_EVAL,),
            differs=ACCELERATIONS,
        ),
        Protocol(
            name="sequence",
            description="as `open`, but the network sees each sequence in one piece",
            windowing="sequence",
        ),
        Protocol(
            name="vibe_compat",
            description="as VIBE's eval.py: whole windows of T only, accelerations over their "
            "concatenation, seams between sequences included",
            boundaries="vibe_compat",
            metrics=VIBE_METRICS,
            same_as=(VIBE_EVAL,),
        ),
        Protocol(
            name="mpi_inf_3dhp",
            description="MPI-INF-3DHP's test set: 17 joints from the mesh against the data set's, "
            "centered on the pelvis; PCK at 150 mm, AUC over 0, 5, ... 150 mm",
            metrics=_WITHOUT_MESH,
            joints=MPII3D_TEST_17,
            centered_on=("hip",),
            truth="kp_3d",
            dataset="MPI-INF-3DHP test",
            same_as=(AS_SPIN,),
        ),
        Protocol(
            name="human36m_p1",
            description="Human3.6M's protocol 1: all four cameras, 14 joints from the mesh against "
            "the data set's, centered on the pelvis",
            metrics=_WITHOUT_MESH,
            centered_on=("hip",),
            truth="kp_3d",
            dataset="Human3.6M test",
        ),
        Protocol(
            name="human36m_p2",
            description="Human3.6M's protocol 2: the frontal camera alone, 14 joints from the mesh "
            "against the data set's, centered on the pelvis",
            metrics=_WITHOUT_MESH,
            centered_on=("hip",),
            truth="kp_3d",
            sequences=FRONTAL_CAMERA,
            dataset="Human3.6M test",
            same_as=(AS_SPIN,),
        ),
    )
}
"""The protocols by name; `open` is the default everywhere."""
