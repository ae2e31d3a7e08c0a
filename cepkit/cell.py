"""The membrane: ten Tusscher and Panfilov 2006 (TP06), CellML lineage.

Every equation is written here once, as plain arithmetic: with NumPy arrays the readable reference, compiled by
:mod:`cepkit.kernel` the fast solver, which replaces only what depends on voltage alone by tables.

Units: mV, ms, mM, pA/pF.  Source: ten Tusscher KHWJ, Panfilov AV. *Alternans and spiral breakup in a human ventricular
tissue model.* Am J Physiol Heart Circ Physiol 291:H1088-H1100 (2006), doi:10.1152/ajpheart.00109.2006.
"""

from collections import namedtuple
from typing import NamedTuple

import numpy as np

from cepkit.fields import number, one_of

CELL_TYPES = ("epi", "endo", "m")
_TYPE_CHANGES = {"epi": {}, "endo": {"gto": 0.073}, "m": {"gKs": 0.098}}

VOLTAGE_GATES = ("Xr1", "Xr2", "Xs", "m", "h", "j", "d", "f", "f2", "s", "r")
CONCENTRATIONS = ("Cai", "CaSR", "CaSS", "Rbar", "fCaSS", "Nai", "Ki")
STATES = ("Vm", *VOLTAGE_GATES, *CONCENTRATIONS)

#: State of a paced epicardial cell at rest (CellML), in the order of STATES.
INITIAL_STATE = {
    "Vm": -85.23, "Xr1": 0.00621, "Xr2": 0.4712, "Xs": 0.0095, "m": 0.00172, "h": 0.7444, "j": 0.7045, "d": 3.373e-5,
    "f": 0.7888, "f2": 0.9755, "s": 0.999998, "r": 2.42e-8, "Cai": 0.000126, "CaSR": 3.64, "CaSS": 0.00036,
    "Rbar": 0.9073, "fCaSS": 0.9953, "Nai": 8.604, "Ki": 136.89,
}  # fmt: skip


class Conductances(NamedTuple):
    """What scales each current: the parameters a drug, a scar or a gradient changes."""

    gNa: float = 14.838  # fast sodium [nS/pF]
    gbNa: float = 0.00029  # background sodium [nS/pF]
    gCaL: float = 3.98e-5  # L-type calcium [L/(F ms)]
    gto: float = 0.294  # transient outward [nS/pF]
    gKr: float = 0.153  # rapid delayed rectifier [nS/pF]
    gKs: float = 0.392  # slow delayed rectifier [nS/pF]
    gK1: float = 5.405  # inward rectifier [nS/pF]
    gpK: float = 0.0146  # plateau potassium [nS/pF]
    gbCa: float = 0.000592  # background calcium [nS/pF]
    gpCa: float = 0.1238  # sarcolemmal calcium pump [pA/pF]
    kNaCa: float = 1000.0  # sodium-calcium exchanger [pA/pF]
    PNaK: float = 2.724  # sodium-potassium pump [pA/pF]


class Constants(NamedTuple):
    """Everything else: the same at every node of a sheet."""

    R: float = 8314.472  # gas constant [mJ/(mol K)]
    T: float = 310.0  # temperature [K]
    F: float = 96485.3415  # Faraday constant [C/mol]
    Cm: float = 0.185  # capacitance in the flux terms [nF]
    Vc: float = 0.016404  # cytoplasm [nL]
    Vsr: float = 0.001094  # sarcoplasmic reticulum [nL]
    Vss: float = 0.00005468  # subspace [nL]
    Ko: float = 5.4  # extracellular potassium [mM]
    Cao: float = 2.0  # extracellular calcium [mM]
    Nao: float = 140.0  # extracellular sodium [mM]
    pKNa: float = 0.03  # permeability of I_Ks to sodium, relative to potassium
    KmK: float = 1.0  # half saturation of I_NaK by potassium [mM]
    KmNa: float = 40.0  # and by sodium [mM]
    KmNai: float = 87.5  # half saturation of I_NaCa by sodium [mM]
    KmCa: float = 1.38  # and by calcium [mM]
    ksat: float = 0.1  # saturation of I_NaCa at negative voltages
    gamma: float = 0.35  # share of the voltage that I_NaCa's inward step feels
    alpha: float = 2.5  # makes I_NaCa more outward
    KpCa: float = 0.0005  # half saturation of I_pCa [mM]
    k1: float = 0.15  # release channel: opening [1/(mM2 ms)]
    k2: float = 0.045  # inactivation [1/(mM ms)]
    k3: float = 0.06  # closing [1/ms]
    k4: float = 0.005  # recovery [1/ms]
    EC: float = 1.5  # half saturation of the reticulum's say in k1 and k2 [mM]
    max_sr: float = 2.5
    min_sr: float = 1.0
    Vrel: float = 0.102  # release [1/ms]
    Vleak: float = 0.00036  # leak [1/ms]
    Vmaxup: float = 0.006375  # uptake [mM/ms]
    Kup: float = 0.00025  # half saturation of uptake [mM]
    Vxfer: float = 0.0038  # from the subspace to the cytosol [1/ms]
    Bufc: float = 0.2  # buffers of cytosol, reticulum and subspace: total and half saturation [mM]
    Kbufc: float = 0.001
    Bufsr: float = 10.0
    Kbufsr: float = 0.3
    Bufss: float = 0.4
    Kbufss: float = 0.00025


NORMAL = Constants()
POSITIVE = ("R", "T", "F", "Cm", "Vc", "Vsr", "Vss", "Ko", "Cao", "Nao")  # without these there is no cell


def parameters(cell_type="epi", changes=None):
    """Conductances and constants of a cell type (or an array of them), with the caller's changes, numbers or fields."""
    kinds = np.unique(cell_type)
    if not set(kinds.tolist()) <= set(CELL_TYPES):
        raise ValueError(f"cell_type={cell_type!r} is not known; choose one of {CELL_TYPES}, or an array of them")
    values = Conductances()._asdict() | Constants()._asdict()
    for kind in kinds:
        for name, value in _TYPE_CHANGES[str(kind)].items():
            values[name] = np.where(cell_type == kind, value, values[name]) if np.ndim(cell_type) else value
    for name, value in (changes or {}).items():
        one_of("parameters", name, values)
        value = np.asarray(number(f"parameters[{name!r}]", value, positive=name in POSITIVE), float)
        if np.any(value < 0):
            raise ValueError(f"parameters[{name!r}]={value!r} must not be negative")
        values[name] = value if value.ndim else float(value)
    return tuple(kind(*map(values.get, kind._fields)) for kind in (Conductances, Constants))


@np.errstate(over="ignore", invalid="ignore")  # exp overflows at extreme voltages; 1 / inf = 0 is the right limit
def voltage_gates(V, cell_type="epi"):
    """The eleven gates that voltage [mV] alone drives: ``name -> (steady state, time constant [ms])``."""
    exp = np.exp

    def sigmoid(x):
        return 1 / (1 + exp(-x))

    low = V < -40
    h_open = np.where(low, 0.057 * exp(-(V + 80) / 6.8), 0.0)
    h_close = 2.7 * exp(0.079 * V) + 310000 * exp(0.3485 * V)
    h_close = np.where(low, h_close, 0.77 / 0.13 * sigmoid((V + 10.66) / 11.1))
    j_open = (-25428 * exp(0.2444 * V) - 6.948e-6 * exp(-0.04391 * V)) * (V + 37.78) * sigmoid(-0.311 * (V + 79.23))
    j_open = np.where(low, j_open, 0.0)
    j_close = 0.02424 * exp(-0.01052 * V) * sigmoid(0.1378 * (V + 40.14))
    j_close = np.where(low, j_close, 0.6 * exp(0.057 * V) * sigmoid(0.1 * (V + 32)))
    tau_m = sigmoid((V + 60) / 5) * (0.1 * sigmoid(-(V + 35) / 5) + 0.1 * sigmoid(-(V - 50) / 200))
    tau_d = (1.4 * sigmoid((V + 35) / 13) + 0.25) * 1.4 * sigmoid(-(V + 5) / 5) + sigmoid((V - 50) / 20)
    tau_f = 1102.5 * exp(-((V + 27) ** 2) / 225) + 200 * sigmoid((V - 13) / 10) + 180 * sigmoid(-(V + 30) / 10) + 20
    tau_f2 = 562 * exp(-((V + 27) ** 2) / 240) + 31 * sigmoid((V - 25) / 10) + 80 * sigmoid(-(V + 30) / 10)
    hj_inf = sigmoid(-(V + 71.55) / 7.43) ** 2
    if cell_type == "endo":
        s = (sigmoid(-(V + 28) / 5), 1000 * exp(-((V + 67) ** 2) / 1000) + 8)
    else:
        s = (sigmoid(-(V + 20) / 5), 85 * exp(-((V + 45) ** 2) / 320) + 5 * sigmoid(-(V - 20) / 5) + 3)
    return {
        "Xr1": (sigmoid((V + 26) / 7), 450 * sigmoid((V + 45) / 10) * 6 * sigmoid(-(V + 30) / 11.5)),
        "Xr2": (sigmoid(-(V + 88) / 24), 3 * sigmoid((V + 60) / 20) * 1.12 * sigmoid(-(V - 60) / 20)),
        "Xs": (sigmoid((V + 5) / 14), 1400 * sigmoid((V - 5) / 6) ** 0.5 * sigmoid(-(V - 35) / 15) + 80),
        "m": (sigmoid((V + 56.86) / 9.03) ** 2, tau_m),
        "h": (hj_inf, 1 / (h_open + h_close)),
        "j": (hj_inf, 1 / (j_open + j_close)),
        "d": (sigmoid((V + 8) / 7.5), tau_d),
        "f": (sigmoid(-(V + 20) / 7), tau_f),
        "f2": (0.67 * sigmoid(-(V + 35) / 7) + 0.33, tau_f2),
        "s": s,
        "r": (sigmoid((V - 20) / 6), 9.5 * exp(-((V + 40) ** 2) / 1800) + 0.8),
    }


#: Factors of the currents that voltage alone decides: I_CaL = gCaL d f f2 fCaSS (CaL_in CaSS - CaL_out),
#: I_NaCa = kNaCa (NaCa_in Nai^3 - NaCa_out Cai), I_NaK = PNaK NaK Nai / (Nai + KmNa), I_pK = gpK pK (V - E_K).
Voltage = namedtuple("Voltage", "CaL_in CaL_out NaCa_in NaCa_out NaK pK")
#: Reversal potentials [mV].
Nernst = namedtuple("Nernst", "Na K Ks Ca")
#: The open fraction of each channel: m^3 h j, d f f2 fCaSS, r s, Xr1 Xr2, Xs^2, and rectifier(V - E_K).
Open = namedtuple("Open", "Na CaL to Kr Ks K1")
#: Ionic currents [pA/pF], outward positive.
Currents = namedtuple("Currents", "Na bNa CaL to Kr Ks K1 pK bCa pCa NaCa NaK")
#: Time derivatives of the concentrations [mM/ms] and of the release gate [1/ms], and how fast the subspace empties
#: [1/ms], the stiff part of CaSS.
Fluxes = namedtuple("Fluxes", "Cai CaSR CaSS Rbar Nai Ki emptying")


def voltage_factors(V, c=NORMAL):
    """Factors of the currents that depend on voltage [mV] alone."""
    u = V * c.F / (c.R * c.T)
    # The driving force of I_CaL, x / (e^x - 1), is 0/0 at 15 mV: take its series there.
    x = 2 * (V - 15) * c.F / (c.R * c.T)
    tiny = 1.0 * (np.abs(x) < 1e-5)  # 1 or 0: compiled without allocation, where there is no np.where
    safe = x + tiny
    ghk = tiny * (1 - x / 2) + (1 - tiny) * (safe / np.expm1(safe))
    back = np.exp((c.gamma - 1) * u)
    exchange = 1 / ((c.KmNai**3 + c.Nao**3) * (c.KmCa + c.Cao) * (1 + c.ksat * back))
    return Voltage(
        CaL_in=2 * c.F * ghk * 0.25 * np.exp(x),
        CaL_out=2 * c.F * ghk * c.Cao,
        NaCa_in=exchange * np.exp(c.gamma * u) * c.Cao,
        NaCa_out=exchange * back * c.Nao**3 * c.alpha,
        NaK=c.Ko / (c.Ko + c.KmK) / (1 + 0.1245 * np.exp(-0.1 * u) + 0.0353 * np.exp(-u)),
        pK=1 / (1 + np.exp((25 - V) / 5.98)),
    )


def rectifier(drive):
    """Open fraction of I_K1 against its driving force V - E_K [mV]."""
    opening = 0.1 / (1 + np.exp(0.06 * (drive - 200)))
    closing = (3 * np.exp(0.0002 * (drive + 100)) + np.exp(0.1 * (drive - 10))) / (1 + np.exp(-0.5 * drive))
    return opening / (opening + closing)


def reversal(Nai, Ki, Cai, c, log):
    """Reversal potentials [mV] from concentrations [mM]."""
    RTF = c.R * c.T / c.F  # 26.7 mV
    Ks = RTF * log((c.Ko + c.pKNa * c.Nao) / (Ki + c.pKNa * Nai))
    return Nernst(RTF * log(c.Nao / Nai), RTF * log(c.Ko / Ki), Ks, 0.5 * RTF * log(c.Cao / Cai))


def currents(V, o, v, E, Cai, CaSS, Nai, g, c, root_Ko):
    """The twelve currents of the sarcolemma; ``root_Ko`` is ``sqrt(Ko / 5.4)``, handed in so that it is taken once."""
    return Currents(
        g.gNa * o.Na * (V - E.Na),
        g.gbNa * (V - E.Na),
        g.gCaL * o.CaL * (v.CaL_in * CaSS - v.CaL_out),
        g.gto * o.to * (V - E.K),
        g.gKr * root_Ko * o.Kr * (V - E.K),
        g.gKs * o.Ks * (V - E.Ks),
        g.gK1 * root_Ko * o.K1 * (V - E.K),
        g.gpK * v.pK * (V - E.K),
        g.gbCa * (V - E.Ca),
        g.gpCa * Cai / (Cai + c.KpCa),
        g.kNaCa * (v.NaCa_in * Nai * Nai * Nai - v.NaCa_out * Cai),
        g.PNaK * v.NaK * Nai / (Nai + c.KmNa),
    )


def membrane_current(i):
    """Sum of the ionic currents [pA/pF]: dV/dt = -(sum + stimulus) in a single cell."""
    return i.Na + i.bNa + i.CaL + i.to + i.Kr + i.Ks + i.K1 + i.pK + i.bCa + i.pCa + i.NaCa + i.NaK


def fluxes(i, stimulus, Cai, CaSR, CaSS, Rbar, c):
    """Rates of change of the concentrations; the stimulus [pA/pF] is carried by potassium."""
    k_CaSR = c.max_sr - (c.max_sr - c.min_sr) * CaSR * CaSR / (CaSR * CaSR + c.EC * c.EC)
    bound = c.k1 * CaSS * CaSS
    opened = c.Vrel * bound * Rbar / (c.k3 * k_CaSR + bound)
    release = opened * (CaSR - CaSS)
    leak = c.Vleak * (CaSR - Cai)
    uptake = c.Vmaxup * Cai * Cai / (Cai * Cai + c.Kup * c.Kup)
    transfer = c.Vxfer * (CaSS - Cai)
    # Rapid buffering: only this fraction of a change of total calcium stays free.
    cyt, sr, ss = Cai + c.Kbufc, CaSR + c.Kbufsr, CaSS + c.Kbufss
    free_c = cyt * cyt / (cyt * cyt + c.Bufc * c.Kbufc)
    free_sr = sr * sr / (sr * sr + c.Bufsr * c.Kbufsr)
    free_ss = ss * ss / (ss * ss + c.Bufss * c.Kbufss)
    to_mM = c.Cm / (c.Vc * c.F)
    return Fluxes(
        free_c * ((leak - uptake) * (c.Vsr / c.Vc) + transfer - (i.bCa + i.pCa - 2.0 * i.NaCa) * (0.5 * to_mM)),
        free_sr * (uptake - release - leak),
        free_ss * (release * (c.Vsr / c.Vss) - transfer * (c.Vc / c.Vss) - i.CaL * (0.5 * c.Cm / (c.Vss * c.F))),
        c.k4 * (1.0 - Rbar) - c.k2 * k_CaSR * CaSS * Rbar,
        -(i.Na + i.bNa + 3.0 * i.NaK + 3.0 * i.NaCa) * to_mM,
        -(i.K1 + i.to + i.Kr + i.Ks - 2.0 * i.NaK + i.pK + stimulus) * to_mM,
        free_ss * (opened * (c.Vsr / c.Vss) + c.Vxfer * (c.Vc / c.Vss)),
    )


def calcium_gate(CaSS):
    """Steady state and time constant [ms] of fCaSS, the gate of I_CaL that subspace calcium drives."""
    x = 1.0 / (1.0 + CaSS * CaSS * 400.0)
    return 0.6 * x + 0.4, 80.0 * x + 2.0


def all_currents(state, cell_type="epi", changes=None):
    """The twelve currents of cells in a given state, a mapping from each name in STATES to an array."""
    g, c = parameters(cell_type, changes)
    y = {name: np.asarray(state[name], float) for name in STATES}
    E = reversal(y["Nai"], y["Ki"], y["Cai"], c, np.log)
    Na, CaL = y["m"] ** 3 * y["h"] * y["j"], y["d"] * y["f"] * y["f2"] * y["fCaSS"]
    o = Open(Na, CaL, y["r"] * y["s"], y["Xr1"] * y["Xr2"], y["Xs"] ** 2, rectifier(y["Vm"] - E.K))
    v, root_Ko = voltage_factors(y["Vm"], c), np.sqrt(c.Ko / 5.4)
    return currents(y["Vm"], o, v, E, y["Cai"], y["CaSS"], y["Nai"], g, c, root_Ko)


def rhs(y, stimulus=0.0, cell_type="epi", changes=None):
    """Right-hand side of the 19 equations, the reference for every integrator: time derivatives [unit/ms].

    State and result have shape (19, ...), in the order of STATES; a negative stimulus [pA/pF] depolarises.
    """
    _, c = parameters(cell_type, changes)
    s = dict(zip(STATES, y, strict=True))
    i = all_currents(s, cell_type, changes)
    rate = {name: (inf - s[name]) / tau for name, (inf, tau) in voltage_gates(s["Vm"], cell_type).items()}
    inf, tau = calcium_gate(s["CaSS"])
    rate |= {"Vm": -(membrane_current(i) + stimulus), "fCaSS": (inf - s["fCaSS"]) / tau}
    rate |= fluxes(i, stimulus, s["Cai"], s["CaSR"], s["CaSS"], s["Rbar"], c)._asdict()
    return np.stack([rate[name] for name in STATES])
