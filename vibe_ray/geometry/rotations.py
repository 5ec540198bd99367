"""Which conversions between rotations are used: axis-angle, matrix, and the continuous 6D form.

Shapes: any leading dimensions (...). Axis-angle (..., 3) in radians, matrices (..., 3, 3) acting on
column vectors, 6D (..., 6). Matrices are the inner currency; axis-angle is for files and for the
motion discriminator, 6D is what the regressor's last layer speaks.

roma is imported where it is used: it imports PyTorch's compiler, seconds for which no command
that only reads its flags, and no process that only reads shards, should wait.
"""

from torch import Tensor

# Below this length a 6D column counts as degenerate and gives zeros, not NaN (as in SPIN and VIBE).
SIX_D_EPSILON = 1e-6


def axis_angle_to_rotmat(axis_angle: Tensor) -> Tensor:
    """Turn axis-angle (..., 3), radians, into matrices (..., 3, 3). Smooth at zero."""
    import roma

    return roma.rotvec_to_rotmat(axis_angle)


def rotmat_to_axis_angle(rotmat: Tensor) -> Tensor:
    """Turn matrices (..., 3, 3) into axis-angle (..., 3) of length at most pi.

    The gradient is finite at the identity, where VIBE's own conversion gives NaN. Half a turn has
    two answers, v and -v; which one comes out is not defined.
    """
    import roma

    return roma.rotmat_to_rotvec(rotmat)


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """Orthonormalize 6D (..., 6) into matrices (..., 3, 3) by Gram-Schmidt (Zhou et al. 2019).

    The six numbers interleave the first two columns a and b: ax, bx, ay, by, az, bz.
    """
    import roma

    columns = rot6d.unflatten(-1, (3, 2))
    return roma.special_gramschmidt(columns, epsilon=SIX_D_EPSILON)


def rotmat_to_rot6d(rotmat: Tensor) -> Tensor:
    """Keep the first two columns of matrices (..., 3, 3), interleaved: (..., 6)."""
    return rotmat[..., :2].flatten(-2)
