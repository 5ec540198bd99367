import numpy as np

from tests.body.open_body.meshes import sphere
from vibe_ray.body.open_body.shapes import ShapeSamples, adult_phenotypes, shape_space


def test_phenotypes_are_adults_and_the_same_for_the_same_seed() -> None:
    phenotypes = adult_phenotypes(50, seed=3)
    assert phenotypes == adult_phenotypes(50, seed=3)
    assert phenotypes != adult_phenotypes(50, seed=4)
    for phenotype in phenotypes:
        assert 0.5 <= phenotype.age <= 0.9
        numbers = {name: value for name, value in vars(phenotype).items() if name != "race"}
        assert all(0 <= value <= 1 for value in numbers.values())
        np.testing.assert_allclose(sum(phenotype.race), 1)
    genders = np.array([phenotype.gender for phenotype in phenotypes])
    assert (genders < 0.3).sum() > 10
    assert (genders > 0.7).sum() > 10


def test_directions_are_the_principal_components() -> None:
    verts, triangles, _ = sphere(4)
    rng = np.random.default_rng(0)
    modes = rng.normal(size=(12, verts.size))
    modes[0] = (verts * [0.1, 1, 0.1]).ravel() * 20  # growing taller dominates
    scores = rng.normal(size=(300, 12)) * np.linspace(0.05, 0.01, 12)
    samples = (verts.ravel() + scores @ modes).reshape(300, -1, 3)
    directions, explained = shape_space(
        ShapeSamples(samples.astype(np.float32), np.zeros((300, 24, 3))), triangles
    )
    assert 0.9 < explained < 1
    mean = samples.mean(axis=0)
    # Betas of the samples, by least squares in the metric of the fit, are uncorrelated N(0, 1).
    corners = mean[triangles]
    size = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    area = np.bincount(triangles.ravel(), np.repeat(size / 6, 3))
    metric = np.sqrt(np.clip(area / area.mean(), 0.05, 6)).repeat(3)
    flat = directions.reshape(-1, 10) * metric[:, None]
    betas = np.linalg.lstsq(flat, ((samples - mean).reshape(300, -1) * metric).T, rcond=None)[0]
    np.testing.assert_allclose(np.cov(betas), np.eye(10), atol=1e-3)
    gram = flat.T @ flat
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-3 * gram.max())
    assert (np.diff(np.diag(gram)) < 0).all()
    assert np.ptp((mean + directions[..., 0])[:, 1]) > np.ptp(mean[:, 1])
