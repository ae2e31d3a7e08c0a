"""Timed runs of finitewave's TP06 sheet, in an environment of its own (it needs an older NumPy).

Prints nanoseconds per cell and time step of each of some runs as JSON, the time loop alone: neither its compilation nor
the recording of frames, which our own solver does each millisecond, is on the clock.
"""

import json
import sys
import time

import finitewave as fw


def run(nodes, duration, dt=0.02):
    tissue = fw.CardiacTissue2D([nodes, nodes])
    stimuli = fw.StimSequence()
    stimuli.add_stim(fw.StimVoltageCoord2D(0, 20, 0, nodes // 5, 0, nodes // 5))
    model = fw.TP062D()
    model.dt, model.dr, model.t_max = dt, 10 / 23, 1.0
    model.D_model, model.prog_bar = 0.125, False
    model.cardiac_tissue, model.stim_sequence = tissue, stimuli
    model.run(initialize=True)  # compiles, which initialize() does anew each time
    model.t_max += duration
    began = time.perf_counter()
    model.run(initialize=False)
    return (time.perf_counter() - began) / (duration / dt) / nodes**2 * 1e9


nodes, duration, rounds = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
print(json.dumps([run(nodes, duration) for _ in range(rounds)]))
