"""How does the body get by with fewer vertices? Symmetric edge collapse by quadric error.

A collapse moves a vertex onto a neighbor (Garland & Heckbert 1997), so that the kept vertices are
vertices of the original mesh and whatever is defined on those carries over exactly. Left and right
collapse together. Errors are summed over several body shapes, in the T-pose.

Shapes: S body shapes, V vertices, F triangles, J joints.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from vibe_ray.body.open_body.skin import MIDLINE

_MAX_VALENCE = 11
# A triangle may turn by at most acos(0.3) and must stay this far from a sliver.
_MIN_TURN_COSINE = 0.3
_MIN_SHAPE = 0.08


def triangulate(faces: list[list[int]], verts: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Cut quads along the shorter diagonal, mirrored quads alike: triangles (F, 3)."""
    cuts: dict[frozenset[int], frozenset[int]] = {}
    triangles: list[tuple[int, ...]] = []
    for face in faces:
        if len(face) == 3:
            triangles.append(tuple(face))
            continue
        a, b, c, d = face
        key, mirrored = frozenset(face), frozenset(int(mirror[corner]) for corner in face)
        if mirrored in cuts and mirrored != key:
            cut = frozenset(int(mirror[corner]) for corner in cuts[mirrored])
        else:
            is_first = np.linalg.norm(verts[a] - verts[c]) <= np.linalg.norm(verts[b] - verts[d])
            cut = frozenset((a, c)) if is_first else frozenset((b, d))
        cuts[key] = cut
        halves = [(a, b, c), (a, c, d)] if cut == {a, c} else [(a, b, d), (b, c, d)]
        triangles += halves
    return np.array(triangles)


@dataclass(frozen=True, kw_only=True)
class MeshToThin:
    """What decides which vertices go."""

    shapes: np.ndarray
    """Vertices of several shapes (S, V, 3), symmetric."""
    triangles: np.ndarray
    """(F, 3)."""
    mirror: np.ndarray
    """Each vertex's mirror image (V,)."""
    weights: np.ndarray
    """Skin weights (V, J): vertices that move alike merge first."""
    importance: np.ndarray
    """How much an error matters (V,)."""
    protected: np.ndarray
    """Vertices that must stay (V,) bool."""


def decimate(mesh: MeshToThin, num_kept: int) -> tuple[np.ndarray, np.ndarray]:
    """Collapse edges until `num_kept` vertices are left.

    Returns:
        The kept vertices (sorted) and the triangles left, both in the numbers of the full mesh.
    """
    thinning = _Thinning(mesh)
    thinning.run(num_kept)
    triangles = [face for face in thinning.faces if face is not None]
    return np.flatnonzero(thinning.alive), np.array(triangles)


class _Thinning:
    def __init__(self, mesh: MeshToThin) -> None:
        num_verts = mesh.shapes.shape[1]
        self.mesh = mesh
        self.faces: list[list[int] | None] = [[int(v) for v in face] for face in mesh.triangles]
        self.faces_of: list[set[int]] = [set() for _ in range(num_verts)]
        for number, face in enumerate(mesh.triangles):
            for vertex in face:
                self.faces_of[vertex].add(number)
        self.alive = np.zeros(num_verts, bool)
        self.alive[np.unique(mesh.triangles)] = True
        self.points = mesh.shapes.transpose(1, 0, 2)  # (V, S, 3)
        self.homogeneous = np.concatenate([self.points, np.ones((*self.points.shape[:2], 1))], -1)
        self.quadrics, self.area = _quadrics(mesh)
        self.on_middle = mesh.mirror == np.arange(num_verts)
        self.on_left = mesh.shapes[0, :, 0] > MIDLINE
        self.queue: list[tuple[float, int, int, int]] = []
        self.version = np.zeros(num_verts, int)

    def run(self, num_kept: int) -> None:
        """Collapse the cheapest edge, again and again. Left and middle lead, right follows."""
        for vertex in np.flatnonzero(self.alive).tolist():
            self._enqueue(vertex)
        count = int(self.alive.sum())
        while count > num_kept and self.queue:
            _, gone, kept, version = heapq.heappop(self.queue)
            is_stale = version != self.version[gone]
            if is_stale or not self.alive[gone] or not self.alive[kept]:
                continue
            pairs = [(gone, kept)]
            if not self.on_middle[gone]:
                pairs.append((int(self.mesh.mirror[gone]), int(self.mesh.mirror[kept])))
            if count - len(pairs) < num_kept or not self._may_collapse(pairs):
                continue
            touched: set[int] = set()
            for pair in pairs:
                self._collapse(*pair)
            for _, survivor in pairs:
                touched |= self._neighbors(survivor) | {survivor}
            count -= len(pairs)
            for vertex in touched:
                self._refresh(vertex)

    def _refresh(self, vertex: int) -> None:
        leads = self.on_left[vertex] or self.on_middle[vertex]
        leader = vertex if leads else int(self.mesh.mirror[vertex])
        self.version[leader] += 1
        self._enqueue(leader)

    def _enqueue(self, vertex: int) -> None:
        """Queue a vertex's cheapest collapse, if it may have one."""
        leads = self.on_left[vertex] or self.on_middle[vertex]
        if self.mesh.protected[vertex] or not self.alive[vertex] or not leads:
            return
        options = [
            (self._cost(vertex, other), other)
            for other in self._neighbors(vertex)
            if self.on_middle[other] or (self.on_left[other] and not self.on_middle[vertex])
        ]
        if options:
            cost, other = min(options)
            heapq.heappush(self.queue, (cost, vertex, other, int(self.version[vertex])))

    def _neighbors(self, vertex: int) -> set[int]:
        around: set[int] = set()
        for number in self.faces_of[vertex]:
            around.update(self.faces[number] or ())
        around.discard(vertex)
        return around

    def _cost(self, gone: int, kept: int) -> float:
        """Error of the surface, plus a penalty for long edges between differently moved skin."""
        mesh, at = self.mesh, self.homogeneous[kept]
        quadric = self.quadrics[gone] + self.quadrics[kept]
        error = np.einsum("si,sij,sj->", at, quadric, at) / len(at)
        length = ((mesh.shapes[0, gone] - mesh.shapes[0, kept]) ** 2).sum()
        unlike = ((mesh.weights[gone] - mesh.weights[kept]) ** 2).sum()
        return float(error + length * self.area[gone] * mesh.importance[gone] * (0.02 + unlike))

    def _may_collapse(self, pairs: list[tuple[int, int]]) -> bool:
        gone, _ = pairs[0]
        if len(pairs) == 2:
            ring = self._neighbors(gone) | {gone}
            across = {int(self.mesh.mirror[v]) for v in ring if not self.on_middle[v]}
            if across & ring:
                return False  # the two collapses would not be independent
        return all(self._keeps_manifold(*pair) and self._keeps_shape(*pair) for pair in pairs)

    def _keeps_manifold(self, gone: int, kept: int) -> bool:
        around_gone, around_kept = self._neighbors(gone), self._neighbors(kept)
        if len(around_gone & around_kept) != 2:
            return False
        return len(around_gone | around_kept) - 2 <= _MAX_VALENCE

    def _keeps_shape(self, gone: int, kept: int) -> bool:
        """No triangle may flip, fold away, or become a sliver, in any of the shapes."""
        rings = [self.faces[number] or [] for number in self.faces_of[gone]]
        old = np.array([face for face in rings if kept not in face])
        if not len(old):
            return True
        new = np.where(old == gone, kept, old)
        before, after = self.points[old], self.points[new]  # (faces, 3, S, 3)
        normal_before = np.cross(before[:, 1] - before[:, 0], before[:, 2] - before[:, 0])
        normal_after = np.cross(after[:, 1] - after[:, 0], after[:, 2] - after[:, 0])
        size_before = np.linalg.norm(normal_before, axis=-1)
        size_after = np.linalg.norm(normal_after, axis=-1)
        turn = (normal_before * normal_after).sum(-1)
        if (turn < _MIN_TURN_COSINE * size_before * size_after).any() or (size_after < 1e-10).any():
            return False
        longest = ((after - np.roll(after, 1, axis=1)) ** 2).sum(-1).max(axis=1)
        return bool((size_after >= _MIN_SHAPE * longest).all())

    def _collapse(self, gone: int, kept: int) -> None:
        for number in list(self.faces_of[gone]):
            face = self.faces[number] or []
            if kept in face:
                for vertex in face:
                    self.faces_of[vertex].discard(number)
                self.faces[number] = None
            else:
                self.faces[number] = [kept if vertex == gone else vertex for vertex in face]
                self.faces_of[kept].add(number)
        self.faces_of[gone].clear()
        self.alive[gone] = False
        self.quadrics[kept] += self.quadrics[gone]
        self.area[kept] += self.area[gone]


def _quadrics(mesh: MeshToThin) -> tuple[np.ndarray, np.ndarray]:
    """Each vertex's error quadrics (V, S, 4, 4), and its area (V,) in the last shape."""
    num_shapes, num_verts, _ = mesh.shapes.shape
    triangles = mesh.triangles
    quadrics = np.zeros((num_verts, num_shapes, 4, 4))
    area = np.zeros(num_verts)
    for number, verts in enumerate(mesh.shapes):
        a, b, c = (verts[triangles[:, corner]] for corner in range(3))
        normal = np.cross(b - a, c - a)
        size = np.linalg.norm(normal, axis=1) / 2
        normal /= np.maximum(2 * size, 1e-12)[:, None]
        plane = np.concatenate([normal, -(normal * a).sum(1, keepdims=True)], axis=1)
        amount = size / 3 * mesh.importance[triangles].mean(axis=1)
        quadric = plane[:, :, None] * plane[:, None] * amount[:, None, None]
        for corner in range(3):
            np.add.at(quadrics[:, number], triangles[:, corner], quadric)
            if number == num_shapes - 1:
                np.add.at(area, triangles[:, corner], size / 3)
    return quadrics, area
