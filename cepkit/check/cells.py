"""Checks of exercises on the cell, the sheet and the golden standard."""

import numpy as np
import xarray as xr

from cepkit import measure, region
from cepkit.cell import Constants
from cepkit.check import answers
from cepkit.fields import AMPLITUDE, DURATION, UNITS
from cepkit.pacing import Protocol, Stimulus
from cepkit.solver import simulate
from cepkit.tissue import Tissue


def rush_larsen(step):
    """Check ``step(y, target, tau, dt)``, one step of Rush and Larsen: the gate a step later; times in ms."""
    return answers.function(
        step,
        lambda y, target, tau, dt: target + (y - target) * np.exp(-dt / tau),
        [(0.1, 0.9, 2.0, 0.5), (0.8, 0.3, 0.5, 2.0), (0.0, 1.0, 10.0, 1.0)],
        {
            "That is Euler's step: it overshoots where the step is longer than the time constant.":
                lambda y, target, tau, dt: y + dt * (target - y) / tau,
            "The exponent has the wrong sign: the distance to the target must shrink.":
                lambda y, target, tau, dt: target + (y - target) * np.exp(dt / tau),
            "The exponent is upside down: a long step must come nearer to the target than a short one.":
                lambda y, target, tau, dt: target + (y - target) * np.exp(-tau / dt),
            "Start and target are swapped: for a very long step the gate must arrive at its target.":
                lambda y, target, tau, dt: y + (target - y) * np.exp(-dt / tau),
        },
    )  # fmt: skip


def apd90(duration):
    """Check ``duration(Vm)``, the APD90 of a beat [ms] from its potential [mV] over ``time``."""

    def part(name, fraction=0.9):
        return lambda Vm: float(measure.action_potential(Vm, fraction)[name])

    def above(Vm, level):
        times = Vm.time[Vm.values > level]
        return float(times[-1] - times[0])

    return answers.function(
        duration,
        part("APD"),
        [(_pulse(-85.0, 35.0, 280.0),), (_pulse(-70.0, 20.0, 190.0, 0.5),), (_pulse(-80.0, 30.0, 330.0, 4.0),)],
        {
            "That is where half has repolarised: APD90 waits for nine tenths.": part("APD", 0.5),
            "The level is a tenth of the way up: APD90 ends where a tenth is left, and that is counted from rest.":
                part("APD", 0.1),
            "Nine tenths of what? The level lies between rest and peak; zero has no meaning here.":
                lambda Vm: above(Vm, 0.1 * float(Vm.max())),
            "That is the time at which the beat ends. A duration begins at the crossing on the way up.":
                part("repolarisation"),
            "You count frames. They are not always a millisecond apart: use the time coordinate.":
                lambda Vm: part("APD")(Vm) / float(Vm.time[1] - Vm.time[0]),
            "Your crossings sit on frames: interpolate between the frame before and the frame after.":
                lambda Vm: above(Vm, float(Vm.max()) - 0.9 * (float(Vm.max()) - float(Vm.min()))),
        },
        tolerance=2e-3,
    )  # fmt: skip


def _pulse(rest, peak, lasts, step=1.0):
    """An action potential made of straight lines, 20.3 ms after the first frame."""
    t = np.arange(0.0, 500.0, step)
    corners = [0.0, 20.3, 25.7, 20.3 + 0.7 * lasts, 20.3 + lasts, 500.0]
    return _potential(np.interp(t, corners, [rest, rest, peak, peak - 0.3 * (peak - rest), rest, rest]), time=t)


def _potential(values, **coords):
    return xr.DataArray(values, coords, tuple(coords), name="Vm", attrs={"units": UNITS["Vm"]})


def threshold(value):
    """Check the weakest stimulus of 1 ms that makes the resting cell fire [pA/pF, its strength, a positive number]."""
    strengths = np.arange(15.0, 35.0, 0.1)
    row = Tissue((len(strengths),), diffusivity=0.0)
    each = region.everywhere(row)
    pulses = Protocol(
        Stimulus(0.0, each & (np.arange(len(strengths)) == k), amplitude=-s) for k, s in enumerate(strengths)
    )
    peak = simulate(row, pulses, 20.0, save_every=0.2, progress=False)["Vm"].max("time").values
    weakest, silent = float(strengths[peak > 0].min()), float(strengths[peak <= 0].max())
    return answers.number(
        value, weakest, "pA/pF", tolerance=0.03 / weakest, mistakes={"With this one the cell stays silent.": silent}
    )


def conduction_velocity(velocity):
    """Check ``velocity(Vm, start, end)``, the speed of a front [m/s] between two positions by axis [mm]."""
    right = measure.conduction_velocity

    def along_x(Vm, start, end):
        when = measure.activation_time(Vm)
        a, b = (when.sel(place, method="nearest") for place in (start, end))
        return float((b.x - a.x) / (b - a))

    # An oblique front on a sheet of 9 x 9 nodes, half a millimetre apart.
    axis, t = 0.5 * np.arange(9.0), np.arange(0.0, 60.0)
    arrival = 10.0 + 4.0 * axis[:, None] + 3.0 * axis
    Vm = _potential(-85.0 + 120.0 / (1.0 + np.exp(-(t[:, None, None] - arrival) * 3.0)), time=t, y=axis, x=axis)
    return answers.function(
        velocity,
        right,
        [(Vm, {"y": 1.0, "x": 1.0}, {"y": 2.5, "x": 3.0}), (Vm, {"y": 3.0, "x": 3.0}, {"y": 1.0, "x": 1.5})],
        {
            "You count nodes. Distance is in millimetres: use the coordinates.":
                lambda Vm, start, end: right(Vm, start, end) / float(Vm["x"][1] - Vm["x"][0]),
            "The two places differ along both axes: the distance is that of Pythagoras.": along_x,
            "A wave that reaches the end first has a negative velocity: keep the sign.":
                lambda Vm, start, end: abs(right(Vm, start, end)),
        },
        tolerance=0.02,
    )  # fmt: skip


def stimulus_potassium(value, beats):
    """Check by how much the potassium of a cell would rise if it kept what so many stimuli carry in [mM]."""
    c = Constants()
    charge = beats * -AMPLITUDE * DURATION * c.Cm / c.F
    return answers.number(
        value,
        charge / c.Vc,
        "mM",
        mistakes={
            "That is one beat: multiply by their number.": charge / c.Vc / beats,
            "That spreads the ions over the store. They go into the cytosol.": charge / c.Vsr,
            "That spreads the ions over the subspace. They go into the cytosol.": charge / c.Vss,
            "The charge of a mole of ions is missing: divide by F.": charge * c.F / c.Vc,
            "The capacitance is missing: the current is given for each picofarad.": charge / c.Vc / c.Cm,
        },
    )
