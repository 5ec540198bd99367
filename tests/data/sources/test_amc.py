import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.data.resampling import resample_rotations
from vibe_ray.data.sources import amc, asf
from vibe_ray.data.sources.conversion import Conversion, ConversionConfig
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.data.sources.rigs import match_rig

# name, parent, direction, length, axis (degrees, XYZ), degrees of freedom: CMU's bones.
BONES = (
    ("lhipjoint", "root", (0.6, -0.7, 0.3), 2.4, (0, 0, 0), ""),
    ("lfemur", "lhipjoint", (0.34, -0.94, 0), 7.2, (0, 0, 20), "rx ry rz"),
    ("ltibia", "lfemur", (0.34, -0.94, 0), 7.5, (0, 0, 20), "rx"),
    ("lfoot", "ltibia", (0.07, -0.18, 0.98), 2.4, (-90, 0, 20), "rx rz"),
    ("ltoes", "lfoot", (0, 0, 1), 1.2, (-90, 0, 20), "rx"),
    ("rhipjoint", "root", (-0.6, -0.7, 0.3), 2.4, (0, 0, 0), ""),
    ("rfemur", "rhipjoint", (-0.34, -0.94, 0), 7.2, (0, 0, -20), "rx ry rz"),
    ("rtibia", "rfemur", (-0.34, -0.94, 0), 7.5, (0, 0, -20), "rx"),
    ("rfoot", "rtibia", (-0.07, -0.18, 0.98), 2.4, (-90, 0, -20), "rx rz"),
    ("rtoes", "rfoot", (0, 0, 1), 1.2, (-90, 0, -20), "rx"),
    ("lowerback", "root", (0, 1, -0.1), 2.0, (0, 0, 0), "rx ry rz"),
    ("upperback", "lowerback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    ("thorax", "upperback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    ("lowerneck", "thorax", (0, 1, 0.1), 1.7, (0, 0, 0), "rx ry rz"),
    ("head", "lowerneck", (0, 1, 0), 1.7, (0, 0, 0), "rx ry rz"),
    ("lclavicle", "thorax", (0.9, 0.3, 0), 3.5, (0, 0, 0), "ry rz"),
    ("lhumerus", "lclavicle", (1, 0, 0), 5.0, (180, -30, -90), "rx ry rz"),
    ("lradius", "lhumerus", (1, 0, 0), 3.5, (180, -30, -90), "rx"),
    ("lwrist", "lradius", (1, 0, 0), 1.7, (0, 90, 90), "ry"),
    ("lhand", "lwrist", (1, 0, 0), 0.7, (0, 90, 90), "rx rz"),
    ("rclavicle", "thorax", (-0.9, 0.3, 0), 3.5, (0, 0, 0), "ry rz"),
    ("rhumerus", "rclavicle", (-1, 0, 0), 5.0, (180, 30, 90), "rx ry rz"),
    ("rradius", "rhumerus", (-1, 0, 0), 3.5, (180, 30, 90), "rx"),
    ("rwrist", "rradius", (-1, 0, 0), 1.7, (0, -90, -90), "ry"),
    ("rhand", "rwrist", (-1, 0, 0), 0.7, (0, -90, -90), "rx rz"),
)


def make_asf() -> str:
    lines = ["# made for a test", ":version 1.10", ":units", "  length 0.45", "  angle deg"]
    lines += [":root", "   order TX TY TZ RX RY RZ", "   axis XYZ", "   position 0 0 0"]
    lines += ["   orientation 0 0 0", ":bonedata"]
    for number, (name, _, direction, length, axis, dof) in enumerate(BONES):
        lines += ["  begin", f"     id {number}", f"     name {name}"]
        lines += ["     direction " + " ".join(map(str, direction)), f"     length {length}"]
        lines += ["     axis " + " ".join(map(str, axis)) + "  XYZ"]
        lines += [f"    dof {dof}", "    limits (-180 180)"] if dof else []
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    for parent in ["root", *(name for name, *_ in BONES)]:
        children = [name for name, above, *_ in BONES if above == parent]
        lines += [f"    {parent} {' '.join(children)}"] if children else []
    return "\n".join([*lines, "  end", ""])


def make_amc(num_frames: int = 120, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    lines = ["#!OML:ASF made for a test", ":FULLY-SPECIFIED", ":DEGREES"]
    phases = {name: rng.uniform(0, 6, len(dof.split())) for name, *_, dof in BONES}
    for frame in range(num_frames):
        time = frame / 120
        lines += [str(frame + 1), f"root {time} 17.5 {2 * time} {10 * np.sin(time)} {20 * time} 3"]
        for name, *_, dof in BONES:
            if dof:
                values = 20 * np.sin(2 * time + phases[name])
                lines.append(name + " " + " ".join(f"{value:.6g}" for value in values))
    return "\n".join(lines) + "\n"


def test_joints_agree_with_acclaims_definition_bone_by_bone(
    forward: Callable[..., np.ndarray],
) -> None:
    text = make_amc(num_frames=5)
    motion = amc.parse_amc(text, asf.parse_asf(make_asf()))

    # A bone's local turn is C R C^-1, with R = Rz Ry Rx about its own axes C; it starts at the end
    # of its parent.
    lines = {}
    frames = []
    for line in text.splitlines()[3:]:
        name, *words = line.split()
        if name.isdigit():
            lines = {}
            frames.append(lines)
        lines[name] = [float(word) for word in words]
    names = ["root", *(bone[0] for bone in BONES)]
    parents = [-1, *(names.index(bone[1]) for bone in BONES)]
    ends = np.array([np.zeros(3), *(np.array(bone[2]) * bone[3] for bone in BONES)])
    offsets = np.array([ends[parent] if parent >= 0 else np.zeros(3) for parent in parents])
    turns = []
    for values in frames:
        turn = [Rotation.from_euler("xyz", values["root"][3:], degrees=True)]
        for name, _, _, _, axis, dof in BONES:
            own = Rotation.from_euler("xyz", axis, degrees=True)
            local = Rotation.identity()
            for channel, angle in zip(dof.split(), values.get(name, []), strict=True):
                about = np.eye(3)["xyz".index(channel[1])] * np.deg2rad(angle)
                local = Rotation.from_rotvec(about) * local
            turn.append(own * local * own.inv())
        turns.append(turn)
    roots = np.array([values["root"][:3] for values in frames])
    expected = forward(parents, offsets, turns, roots)

    order = [motion.names.index(name) for name in names]
    positions = motion.positions(motion.world_rotmat())[:, order]
    np.testing.assert_allclose(positions, expected, atol=1e-9)


def test_a_folder_of_subjects_becomes_sequences(tmp_path: Path) -> None:
    for subject in ("07", "08"):
        folder = tmp_path / subject
        folder.mkdir()
        (folder / f"{subject}.asf").write_text(make_asf())
        (folder / f"{subject}_01.amc").write_text(make_amc(num_frames=241))
    sequences = list(amc.read_sequences(str(tmp_path)))
    assert [sequence.name for sequence in sequences] == ["07/07_01", "08/08_01"]
    assert sequences[0].pose.shape == (51, 72)  # two seconds at 25, recorded at 120
    slow = ConversionConfig(source_fps={"07/*": 60.0})
    assert [len(sequence.pose) for sequence in amc.read_sequences(str(tmp_path), slow)] == [101, 51]


def test_the_only_skeleton_in_the_folder_serves(tmp_path: Path) -> None:
    (tmp_path / "person.asf").write_text(make_asf())
    (tmp_path / "dance.amc").write_text(make_amc())
    assert amc.find_skeleton(str(tmp_path / "dance.amc")) == str(tmp_path / "person.asf")


@pytest.mark.parametrize(
    ("motion", "skeletons", "expected"),
    [
        ("HDM_zz_walk_001_120", ["HDM_yy", "HDM_zz"], "HDM_zz"),
        ("HDM_zz_walk_001_120", ["HDM", "HDM_zz", "HDM_zz_w"], "HDM_zz_w"),
        ("bd-01-01_120", ["bd", "dg"], "bd"),
        ("01_02", ["01", "01_02"], "01_02"),
        ("10_01", ["1", "10"], "10"),
        ("walk01", ["WALK", "run"], "WALK"),
    ],
)
def test_a_motions_skeleton_has_the_longest_name_that_begins_it(
    tmp_path: Path, motion: str, skeletons: list[str], expected: str
) -> None:
    for name in (*skeletons, "._" + motion):
        (tmp_path / f"{name}.asf").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{motion}.asf").touch()  # it is not beside the motion
    assert Path(amc.find_skeleton(str(tmp_path / f"{motion}.amc"))).stem == expected


def test_a_motion_without_its_skeleton_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "02_01.amc"
    path.write_text(make_amc())
    with pytest.raises(ValueError, match=r"no skeleton 02\.asf beside it, found none"):
        list(amc.read_sequences(str(path)))
    (tmp_path / "03.asf").write_text(make_asf())
    (tmp_path / "04.asf").write_text(make_asf())
    with pytest.raises(ValueError, match=r"no skeleton 02\.asf beside it, found 03, 04"):
        list(amc.read_sequences(str(path)))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (":DEGREES", "", "not an AMC motion"),
        ("ltibia", "ltail", "AMC frame 1: 'ltail' is not a bone"),
        ("lhand", "rhand", "AMC frame 1: 'rhand' is listed twice"),
        ("lradius ", "lradius 1.0 ", "AMC frame 1: '.*' is not a bone"),
    ],
)
def test_broken_motions_say_what_is_broken(before: str, after: str, message: str) -> None:
    text = make_amc(num_frames=3)
    assert before in text
    with pytest.raises(ValueError, match=message):
        amc.parse_amc(text.replace(before, after, 1), asf.parse_asf(make_asf()))


def test_a_motion_that_is_cut_off_is_refused() -> None:
    text = make_amc(num_frames=3)
    skeleton = asf.parse_asf(make_asf())
    with pytest.raises(ValueError, match="not whole frames of 78; the file is cut off"):
        amc.parse_amc(text[: text.rindex("rclavicle")], skeleton)
    with pytest.raises(ValueError, match="without numbers for any frame"):
        amc.parse_amc(":DEGREES\n", skeleton)
    swapped = text.rpartition("lhand")
    with pytest.raises(ValueError, match="AMC frame 3 lists other bones"):
        amc.parse_amc(f"{swapped[0]}lfoot{swapped[2]}", skeleton)


def test_comments_may_stand_anywhere_and_keywords_in_any_case() -> None:
    text, skeleton_text = make_amc(num_frames=4), make_asf()
    expected = amc.parse_amc(text, asf.parse_asf(skeleton_text))
    lines = text.splitlines()
    lines[len(lines) // 2 :] = ["# a word about 3 frames", *lines[len(lines) // 2 :]]
    odd = "\r\n".join(line + " # seen" if line.startswith("root") else line for line in lines)
    loud = skeleton_text.replace(":bonedata", "# :hierarchy\n:BONEDATA")
    for word in ("begin", "end", "dof", "direction", "order", "orientation"):
        loud = re.sub(rf"(?m)^(\s*){word}\b", rf"\1{word.upper()}", loud)
    loud = re.sub(r"rx|ry|rz", lambda word: word[0].upper(), loud)
    found = amc.parse_amc(odd.replace(":DEGREES", ":Degrees"), asf.parse_asf(loud))
    assert found.names == expected.names
    np.testing.assert_array_equal(found.rotmat, expected.rotmat)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.root_position, expected.root_position)


def test_what_is_no_number_is_named() -> None:
    skeleton = asf.parse_asf(make_asf())
    text = re.sub(r"(?m)^ltibia \S+$", "ltibia 1,5", make_amc(num_frames=3), count=1)
    with pytest.raises(ValueError, match=r"AMC frames hold what is no number: .*1,5"):
        amc.parse_amc(text, skeleton)


def test_cmus_motion_is_the_same_in_both_of_its_formats(
    conversion: Conversion, test_data: Path
) -> None:
    folder = test_data / "motion" / "cmu_asfamc" / "01"
    skeleton = asf.parse_asf((folder / "01.asf").read_text())
    motion = amc.parse_amc((folder / "01_01.amc").read_text(), skeleton)
    joints = match_rig(motion.names, motion.parents)
    recorded = conversion.retarget(motion, joints, dataset="", name="", fps=120.0)
    from_bvh = next(clip for clip in load_open_motion() if clip.name == "01/01_01")

    # The BVH has a T-pose before the first frame; it and what is close to it has been cut out.
    first = 14
    pose = recorded.pose[first:]
    times = np.arange(len(from_bvh.pose)) / 30  # and it says .0083333 seconds for 1/120
    at_same_times = resample_rotations(pose, 0.0083333 * np.arange(len(pose)), times)
    source = Rotation.from_rotvec(at_same_times.reshape(-1, 3))
    error = (source.inv() * Rotation.from_rotvec(from_bvh.pose.reshape(-1, 3))).magnitude()
    assert np.rad2deg(error.max()) < 0.01
