import numpy as np
import pytest

from tests.body.open_body.meshes import cube_sphere, is_watertight, mirror_of, sphere
from vibe_ray.body.open_body.decimate import MeshToThin, decimate, triangulate


@pytest.fixture(scope="module")
def mesh() -> MeshToThin:
    verts, triangles, mirror = sphere(8)
    weights = np.zeros((len(verts), 24))
    weights[:, 0] = 1
    protected = np.zeros(len(verts), bool)
    protected[[5, mirror[5], int(verts[:, 2].argmax())]] = True
    return MeshToThin(
        shapes=np.stack([verts, verts * [1.3, 0.8, 1.0]]),
        triangles=triangles,
        mirror=mirror,
        weights=weights,
        importance=np.ones(len(verts)),
        protected=protected,
    )


def test_quads_are_cut_alike_on_both_sides() -> None:
    verts, faces = cube_sphere(5)
    # Shear it, so that the shorter diagonal would differ if sides were cut on their own.
    verts = verts + np.stack([0 * verts[:, 0], 0.01 * verts[:, 0] ** 2, 0 * verts[:, 0]], axis=1)
    mirror = mirror_of(verts)
    triangles = triangulate(faces, verts, mirror)
    assert len(triangles) == 2 * len(faces)
    assert is_watertight(triangles)
    # A quad across the middle cannot be cut symmetrically; none of the others may differ.
    mirrored = {frozenset(face) for face in mirror[triangles].tolist()}
    different = [face for face in triangles if frozenset(face.tolist()) not in mirrored]
    assert all((verts[face, 0] > 0).any() and (verts[face, 0] < 0).any() for face in different)


def test_triangles_stay_as_they_are() -> None:
    verts = np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert triangulate([[0, 1, 2]], verts, np.arange(3)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("num_kept", [300, 200, 101])
def test_thinned_mesh_is_closed_symmetric_and_of_the_wanted_size(
    mesh: MeshToThin, num_kept: int
) -> None:
    kept, triangles = decimate(mesh, num_kept)
    assert num_kept - 1 <= len(kept) <= num_kept
    assert np.array_equal(np.unique(triangles), kept)
    assert is_watertight(triangles)
    assert len(triangles) == 2 * len(kept) - 4  # a sphere's
    assert set(mesh.mirror[kept]) == set(kept)
    faces = {frozenset(face) for face in triangles.tolist()}
    assert {frozenset(face) for face in mesh.mirror[triangles].tolist()} == faces
    assert set(np.flatnonzero(mesh.protected)) <= set(kept)


def test_surface_stays_close(mesh: MeshToThin) -> None:
    _, triangles = decimate(mesh, 200)
    corners = mesh.shapes[0][triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centers = corners.mean(axis=1)
    assert ((normals * centers).sum(axis=1) > 0).all()  # no triangle flipped
    assert np.linalg.norm(centers, axis=1).min() > 0.9


def test_what_matters_keeps_its_vertices(mesh: MeshToThin) -> None:
    verts = mesh.shapes[0]
    upper = verts[:, 1] > 0
    important = MeshToThin(**vars(mesh) | {"importance": np.where(upper, 1.0, 0.01)})
    kept, _ = decimate(important, 200)
    assert upper[kept].sum() > 1.3 * (~upper[kept]).sum()


def test_twice_gives_the_same(mesh: MeshToThin) -> None:
    first, second = decimate(mesh, 150), decimate(mesh, 150)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
