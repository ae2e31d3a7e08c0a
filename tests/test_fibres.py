"""Fibres: a diffusivity tensor in every node, against what is known without one."""

import numpy as np
import pytest

import cepkit as cep
from cepkit import measure, tissue

SHEET = cep.Tissue((15, 18), spacing=(0.3, 0.5))


def along(angle, sheet=SHEET, ratio=4.0, D=0.12):
    return cep.Tissue(sheet.shape, sheet.spacing, tissue.fibres(sheet, angle, D, D / ratio))


def test_fibres_along_an_axis_are_one_number_per_axis():
    for angle, D in ((0.0, (0.03, 0.12)), (np.pi / 2, (0.12, 0.03))):
        plain = cep.Tissue(SHEET.shape, SHEET.spacing, D).operator.toarray()
        assert np.allclose(along(angle).operator.toarray(), plain, atol=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 4.0, 9.0])
def test_charge_is_conserved_and_nothing_grows(ratio):
    """The matrix, weighed by volumes, is symmetric, has no positive eigenvalue, and its rows add up to zero."""
    angle = np.random.default_rng(0).uniform(0, np.pi, SHEET.shape)
    L = along(angle, ratio=ratio).operator.toarray()
    volume = np.outer([0.5, *[1] * 13, 0.5], [0.5, *[1] * 16, 0.5]).ravel()
    assert np.allclose(L.sum(1), 0, atol=1e-12)
    assert np.allclose(volume[:, None] * L, (volume[:, None] * L).T, atol=1e-12)
    assert np.linalg.eigvals(L).real.max() < 1e-10


@pytest.mark.parametrize("angle", [0.3, 1.0, 2.4])
def test_a_quadratic_has_its_divergence(angle):
    """div(D grad q) of q = a x^2 + b x y + c y^2 is 2 a Dxx + 2 b Dxy + 2 c Dyy, at every inner node."""
    sheet, (a, b, c) = along(angle), (0.7, -1.1, 0.4)
    y, x = np.meshgrid(*(v.values for v in sheet.coords.values()), indexing="ij")
    q = a * x**2 + b * x * y + c * y**2
    D = sheet.diffusivity[0, 0]
    made = (sheet.operator.toarray() @ q.ravel()).reshape(sheet.shape)[1:-1, 1:-1]
    assert np.allclose(made, 2 * (a * D[1, 1] + b * D[0, 1] + c * D[0, 0]), atol=1e-10)


def test_a_scar_among_fibres_keeps_its_charge():
    D = along(0.7).diffusivity.copy()
    D[5:9, 6:11] = 0.0
    L = cep.Tissue(SHEET.shape, SHEET.spacing, D).operator.toarray().reshape(*SHEET.shape, *SHEET.shape)
    assert not L[5:9, 6:11].any()


def test_the_wave_runs_along_the_fibres():
    """Speeds along and across fibres at 45 degrees stand as the roots of the diffusivities, as far as a grid has it."""
    sheet = cep.Tissue((81, 81), spacing=0.1)
    turned = cep.Tissue(sheet.shape, sheet.spacing, tissue.fibres(sheet, np.pi / 4, 0.15, 0.15 / 4))
    middle = cep.region.disc(turned, (4, 4), 0.5)
    run = cep.simulate(turned, cep.Protocol([cep.Stimulus(0.0, middle, 2.0)]), 12.0, dt=0.02, save=("Vm",),
                       progress=False)  # fmt: skip
    when = measure.activation_map(run)
    times = {s: float(when.sel(y=4 + 2.4 * s, x=6.4, method="nearest") - when.sel(y=4 + s, x=5, method="nearest"))
             for s in (1, -1)}  # fmt: skip
    assert times[-1] / times[1] == pytest.approx(2.0, rel=0.1)
    assert np.allclose(when, when.T.values, atol=1e-6, equal_nan=True)  # the mirror at the diagonal


def test_three_dimensions():
    slab = cep.Tissue((4, 5, 6), spacing=(0.3, 0.4, 0.5))
    f = np.array([0.5, 0.7, -0.5])
    D = 0.03 * np.eye(3) + 0.09 * np.outer(f, f) / (f @ f)
    L = cep.Tissue(slab.shape, slab.spacing, np.broadcast_to(D, (*slab.shape, 3, 3))).operator.toarray()
    z, y, x = np.meshgrid(*(v.values for v in slab.coords.values()), indexing="ij")
    q = x * y - 2 * y * z + 0.3 * z * x + z**2
    made = (L @ q.ravel()).reshape(slab.shape)[1:-1, 1:-1, 1:-1]
    assert np.allclose(made, 2 * (D[2, 1] - 2 * D[1, 0] + 0.3 * D[0, 2] + D[0, 0]), atol=1e-10)


def test_fibres_oblique_in_space_are_refused_where_the_stencil_is_not_stable():
    f = np.ones(3) / np.sqrt(3)
    for ratio in (2.0, 3.5, 4.5, 9.0):
        D = np.broadcast_to(0.03 * (np.eye(3) + (ratio - 1) * np.outer(f, f)), (6, 6, 6, 3, 3))
        if ratio > 4:
            with pytest.raises(ValueError, match="3-D fibres oblique"):
                cep.Tissue((6, 6, 6), 0.25, D)
        else:
            assert np.linalg.eigvals(cep.Tissue((6, 6, 6), 0.25, D).operator.toarray()).real.max() < 1e-10


@pytest.mark.parametrize("wrong", [[[0.1, 0.0], [0.05, 0.1]], [[0.1, np.nan], [np.nan, 0.1]]])
def test_tensors_are_symmetric_numbers(wrong):
    with pytest.raises(ValueError, match="diffusivity"):
        cep.Tissue(SHEET.shape, SHEET.spacing, np.full((15, 18, 2, 2), wrong))


@pytest.mark.parametrize("wrong", [np.ones((15, 18, 2)), np.full((15, 18, 2, 2), [[0.1, 0.2], [0.2, 0.1]])])
def test_tensors_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="diffusivity"):
        cep.Tissue(SHEET.shape, SHEET.spacing, wrong)
