"""The GPU kernel by numba's simulator, which runs it in Python threads: a tiny grid, a few steps."""

import os
import subprocess
import sys
import textwrap

import pytest

import cepkit as cep

SCRIPT = textwrap.dedent("""
    import numpy as np
    import cepkit as cep
    from cepkit import kernel_cuda

    kernel_cuda.SMALL = {small}
    sheet = cep.Tissue((3, 4), spacing=0.4, diffusivity=(0.05, 0.1))
    corner = cep.region.corner(sheet, 0.4)
    gKr = np.linspace(0.1, 0.2, 12).reshape(3, 4)
    kinds = np.array([["epi", "endo", "m", "epi"]] * 3)
    pulse = cep.Protocol([cep.Stimulus(0.03, corner, 0.5, -120.0)])
    options = dict(dt=0.02, save_every=0.2, parameters={{"gKr": gKr}}, cell_type=kinds, progress=False)
    cpu = cep.simulate(sheet, pulse, 0.6, **options)
    gpu = cep.simulate(sheet, pulse, 0.6, device="cuda", **options)
    for name in ("Vm", "Cai", "CaSR", "CaSS"):
        assert np.allclose(cpu[name], gpu[name], rtol=1e-6, atol=1e-7), name
    assert np.allclose(cpu.final_state, gpu.final_state, rtol=1e-6, atol=1e-9)
    assert np.array_equal(cpu.activation_node, gpu.activation_node) and len(cpu.activation_node)
    assert np.allclose(cpu.activation_time, gpu.activation_time, atol=1e-6)
    assert float(cpu.Vm.max()) > -40

    # One step for all, of several levels; on a fine grid of one.
    options = dict(dt="global", progress=False)
    cpu, gpu = (cep.simulate(sheet, pulse, 3.0, device=device, **options) for device in ("cpu", "cuda"))
    assert np.allclose(cpu.Vm, gpu.Vm, rtol=1e-6) and float(cpu.Vm.max()) > -40
    assert np.allclose(cpu.final_state, gpu.final_state, rtol=1e-6, atol=1e-9)
    fine = cep.Tissue((2, 2), spacing=0.04)
    early = cep.Protocol([cep.Stimulus(0.02, cep.region.everywhere(fine), 0.3, -120.0)])
    options = dict(dt="global", save_every=0.4, progress=False)
    cpu, gpu = (cep.simulate(fine, early, 0.4, device=device, **options) for device in ("cpu", "cuda"))
    assert np.allclose(cpu.Vm, gpu.Vm, rtol=1e-6)
""")


@pytest.mark.parametrize("small", [1024, 0], ids=["one block", "a launch a step"])
def test_gpu_kernel_by_its_simulator(small):
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT.format(small=small)], env=environment, check=True, timeout=300)


def test_refusals():
    sheet = cep.Tissue((3, 4))
    with pytest.raises(ValueError, match="device=\"tpu\"|'tpu'"):
        cep.simulate(sheet, cep.Protocol(), 1.0, device="tpu")
    with pytest.raises(ValueError, match="fixed dt"):
        cep.simulate(sheet, cep.Protocol(), 1.0, device="cuda")
