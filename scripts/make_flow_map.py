"""Data and training of the flow map: two minutes a file of cells, seconds a sheet, half an hour of training.

python scripts/make_flow_map.py data FIRST LAST        files of 2048 isolated cells of all kinds and of sheets, by seed
python scripts/make_flow_map.py train [UPDATES [RANK [HIDDEN [BATCH]]]]   writes data/models/flow_map; on CUDA if any
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

import cepkit as cep
from cepkit.bench.methods import flow_map
from cepkit.engine import Engine
from cepkit.fields import SHEET
from cepkit.progress import bar, processors
from cepkit.store import data_folder, digest, kept_folder
from cepkit.training import Devices, Drawn, pick_device, tune

STATES, NORMAL = cep.cell.STATES, cep.cell.Conductances()
BEND, SLOWLY = 0.0, 1.0  # more weight of Vm where APD90 is read; weight of the slow concentrations
STEP = 4.0  # ms between the states that are kept
RANGE = {"gNa": (0.3, 1.3), "gCaL": (0.1, 1.6), "gKr": (0.15, 3.0), "gKs": (0.15, 4.0), "gto": (0.0, 2.0),
         "gK1": (0.6, 1.6)}  # fmt: skip
folder = data_folder() / "runs" / "flow_map"


class Recorder:
    """Keeps the full state of every frame that the solver makes."""

    hash = "records states"

    def engine(self, *given):
        kept = self.states = []

        class Recording(Engine):
            def run(self, first, count):
                frames, noted = zip(*(self.one(k) for k in range(first, first + count)), strict=True)
                return np.concatenate(frames), np.concatenate(noted)

            def one(self, k):
                out = super().run(k, 1)
                kept.append(np.stack([self.state[name].reshape(-1) for name in STATES]).astype(np.float32))
                return out

        return Recording(*given)


def rhythm(rng, duration):
    """Times of pulses: regular, or irregular with rests."""
    steady, cycle_length, times = rng.random() < 0.3, rng.uniform(330, 1000), [rng.uniform(0, 300)]
    while times[-1] < duration - 10:
        rest = rng.random() < 0.05
        times.append(
            times[-1] + (cycle_length if steady else rng.uniform(1000, 3000) if rest else rng.uniform(310, 1000))
        )
    return np.round(5 * np.array(times[:-1])) / 5


def drawn_state(rng, shape, fields):
    """A start whose slow concentrations are drawn."""
    draw = (lambda a, b: rng.uniform(a, b, shape)) if fields else (lambda a, b: np.full(shape, rng.uniform(a, b)))
    state = {name: np.full(shape, value) for name, value in cep.cell.INITIAL_STATE.items()}
    state["Nai"], state["CaSR"] = draw(6.5, 13.0), draw(0.8, 4.4)
    state["Ki"] = 146.0 - state["Nai"] + draw(-1.5, 1.5)
    return state


def drawn_factors(rng, shape, kinds):
    """Conductances as multiples of normal ones; a third of the cells are normal."""
    normal, endo, M = rng.random(shape) < 0.35, kinds == "endo", rng.random(shape) < 0.25
    factors = {}
    for name, (low, high) in RANGE.items():
        many = (
            np.exp(rng.uniform(np.log(low), np.log(high), shape))
            if low > 0 and high > 2.5
            else rng.uniform(low, high, shape)
        )
        f = np.where(normal | (rng.random(shape) < 0.3), 1.0, many)
        f = np.where(normal & endo, 0.073 / 0.294, f) if name == "gto" else f
        factors[name] = np.where(normal & M, 0.098 / 0.392, f) if name == "gKs" else f
    return factors


def cells(rng, rows=64, columns=32, duration=10_000.0):
    """Cells in rows of one rhythm, each of its own kind."""
    tissue = cep.Tissue((rows, columns), 1.0, 0.0)
    row = cep.region.everywhere(tissue)
    pulses = [cep.Stimulus(t, row & (row.y == row.y[k])) for k in range(rows) for t in rhythm(rng, duration)]
    kinds = np.where(rng.random(tissue.shape) < 0.2, "endo", "epi")
    return (
        tissue,
        pulses,
        duration,
        drawn_state(rng, tissue.shape, True),
        drawn_factors(rng, tissue.shape, kinds),
        kinds,
    )


def sheet(rng, duration=6000.0):
    """A sheet that is paced from everywhere, half of them with gradients of conductances."""
    spacing = rng.choice([SHEET["spacing"]] * 3 + [0.3, 0.25])
    shape = (24, 24) if spacing > 0.4 else (40, 40)
    tissue = cep.Tissue(shape, spacing, SHEET["diffusivity"] * rng.choice([1.0, 1.0, 1.0, 0.5, 0.25]))
    whole, pulses = cep.region.everywhere(tissue), []
    for t in rhythm(rng, duration):
        for lag in [0.0, 5 * rng.integers(0, 7)][: 1 + (rng.random() < 0.2)]:
            place, size = [rng.uniform(0, side) for side in tissue.extent], rng.uniform(0.4, 2.0)
            near = (np.abs(whole.y - place[0]) <= size) & (np.abs(whole.x - place[1]) <= size)
            pulses.append(cep.Stimulus(t + lag, whole & near))
    factors = {name: np.ones(shape) for name in RANGE}
    if rng.random() < 0.5:
        slope = np.add.outer(*[rng.choice([0, 1]) * np.linspace(0, 1, n) for n in shape]).clip(0, 1)
        for name in rng.choice([*RANGE][1:], 3, replace=False):
            factors[name] = 1 + rng.uniform(-0.6, 0.6) * slope
    return tissue, pulses, duration, drawn_state(rng, shape, False), factors, np.full(shape, "epi")


def drawn(kind, seed):
    rng = np.random.default_rng([int(seed), kind == "sheet"])
    return (sheet if kind == "sheet" else cells)(rng)


def make(kind, seed):
    tissue, pulses, duration, initial, factors, kinds = drawn(kind, seed)
    recorder = Recorder()
    run = cep.simulate(
        tissue, cep.Protocol(pulses), duration, save_every=STEP, save=("Vm",), initial=initial, cell_type=kinds,
        parameters={name: f * getattr(NORMAL, name) for name, f in factors.items()}, tolerance=0.06, threads=1,
        progress=False, carry=recorder,
    )  # fmt: skip
    told = np.stack([*[f.reshape(-1) for f in factors.values()], (kinds == "endo").reshape(-1)], 1)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{kind}-{seed}.npz", states=np.stack(recorder.states), told=told.astype(np.float32),
             when=run.activation_time.values, node=run.activation_node.values, shape=tissue.shape,
             spacing=tissue.spacing, diffusivity=np.ravel(tissue.diffusivity)[0])  # fmt: skip


class File:
    """What one file of states gives: starts of courses, what the net is told of them, and the courses.

    ``found`` has a row for each: frame, node, and the last frame before the next upstroke.
    """

    def __init__(self, name, scale=None, most=8000):
        rng, frame = np.random.default_rng([int(name.split("-")[1]), 7]), "sheet" in name
        with np.load(folder / f"{name}.npz") as saved:
            self.saved = dict(saved)
        states = torch.from_numpy(self.saved.pop("states"))
        self.states = torch.cat([states[:1], states])  # the first was kept at the end of the first frame
        if scale is None:
            return
        self.scale, pulses = scale, drawn(*name.split("-"))[1]
        self.found = (self.on_sheet if frame else self.of_cells)(pulses, len(self.states), rng)
        if frame and len(self.found) > most:
            self.found = self.found[np.sort(rng.choice(len(self.found), most, replace=False))]
        self.ages = flow_map.knots(flow_map.Settings().horizon)

    @staticmethod
    def sample(name):
        """Some of the states (rows, 19) and of the changes of slow ones in 100 ms (rows, 3)."""
        s = File(name).states
        step = (s[25:] - s[:-25])[::50, flow_map._SLOW]
        return s[::9].transpose(1, 2).flatten(0, 1)[::7].numpy(), step.transpose(1, 2).flatten(0, 1).numpy()

    @staticmethod
    def examples(name, scale):
        """Features (rows, N_IN), courses in z-scores (rows, knots, 19) and what is left of each [ms]."""
        file = File(name, scale)
        return file.seen(), file.written(), STEP * (file.found[:, 2] - file.found[:, 0])

    @staticmethod
    def last(events, frame, frames):
        """The last frame before the next stimulus or activation of a node."""
        k = np.searchsorted(events, frame * STEP + 1e-6)
        return frames - 1 if k == len(events) else min(int(events[k] / STEP), frames - 1)

    def of_cells(self, pulses, frames, rng):
        out, when = [], by_node(self.saved)
        touched = np.stack([pulse.region.values.reshape(-1) for pulse in pulses])
        starts = np.array([pulse.start for pulse in pulses])
        for node, times in enumerate(when):
            events = np.sort(np.concatenate([times - 3, starts[touched[:, node]]]))
            for t in times[times > 300]:
                first = int(np.ceil((t + 8) / STEP))
                end = self.last(events, first, frames)
                if first + 10 > end:
                    continue
                out.append((first + rng.integers(0, min(16, end - first - 5)), node, end))
                if rng.random() < 0.6:
                    out.append((rng.integers(first, end - 5), node, end))
        return np.array(out)

    def on_sheet(self, pulses, frames, rng):
        out, when, own = [], np.sort(self.saved["when"]), by_node(self.saved)
        starts = np.sort([pulse.start for pulse in pulses])
        for frame in range(80, frames - 20):
            t = frame * STEP
            ago = t - np.concatenate([when, starts])[np.concatenate([when, starts]) < t].max(initial=-1e9)
            soon = np.searchsorted(when, t + 4) > np.searchsorted(when, t)
            if ago < 6 or soon or rng.random() > (0.6 if ago < 60 else 0.1):
                continue
            stimulus = self.last(starts, frame, frames)
            for node in rng.choice(len(own), 128, replace=False):
                end = min(stimulus, self.last(own[node] - 3, frame, frames))
                if end > frame + 6:
                    out.append((frame, node, end))
        return np.array(out)

    def seen(self):
        """What the net is told, as :meth:`cepkit.bench.methods.flow_map.Carrying` does."""
        saved, found = self.saved, self.found
        tissue = cep.Tissue(tuple(saved["shape"]), tuple(saved["spacing"]), float(saved["diffusivity"]))
        smooth = flow_map.Smoothing(tissue, np.arange(tissue.size))
        out = np.empty((len(found), flow_map.N_IN), np.float32)
        for frame in np.unique(found[:, 0]):
            of, S = found[:, 0] == frame, self.states[frame].numpy()
            z = (S - self.scale["mean"][:, None]) / self.scale["std"][:, None]
            node, near = found[of, 1], z.T[:, flow_map._NEAR]
            parts = [(wide - near)[node] for wide in smooth(near)]
            out[of] = flow_map.told(S[:, node].T, z[:, node].T, parts, saved["told"][node])
        return out

    def written(self):
        """z-scores at the knots (rows, knots, 19), in half precision; the slow ones as changes in their steps."""
        ages, mean, std = self.ages / STEP, self.scale["mean"], self.scale["std"]
        unit = std[flow_map._SLOW] * self.scale["step"]
        out = np.empty((len(self.found), len(ages), len(STATES)), np.float16)
        for k in range(0, len(out), 2000):
            frame, node, end = self.found[k : k + 2000].T
            at = np.minimum(frame[:, None] + ages.astype(int), end[:, None])  # knots are whole frames
            S = self.states.numpy()[at, :, node[:, None]]
            out[k : k + 2000] = (S - mean) / std
            slow = flow_map._SLOW
            out[k : k + 2000][..., slow] = (S - self.states.numpy()[frame, :, node][:, None])[..., slow] / unit
        return out


def by_node(saved):
    order = np.lexsort((saved["when"], saved["node"]))
    when, node = saved["when"][order], saved["node"][order]
    return np.split(when, np.searchsorted(node, np.arange(1, int(np.prod(saved["shape"])))))


def scaling(names, pool):
    """Means, spreads and bounds of the training data."""
    flat, step = (np.concatenate(parts) for parts in zip(*pool.map(File.sample, names), strict=True))
    std = flat.std(0) + 1e-9
    return {"mean": flat.mean(0), "std": std, "floor": flat.min(0), "roof": flat.max(0),
            "step": step.std(0) / std[flow_map._SLOW]}  # fmt: skip


class Fit:
    """A course net and the error of its courses: examples X, Y, left are tensors on the device."""

    order = [k for k in range(len(STATES)) if k not in flow_map._SLOW] + flow_map._SLOW

    def __init__(self, settings, scale, X, device):
        self.ages = flow_map.knots(settings.horizon)
        to = lambda a: torch.from_numpy(np.asarray(a, np.float32)).to(device)  # noqa: E731
        self.x_mean, self.x_std = to(X.mean(0)), to(X.std(0) + 1e-6)
        self.age, self.gap = to(self.ages), to(np.gradient(self.ages))
        self.fade = torch.exp(-self.age / flow_map.FADE)[:, None]
        self.bend = (to([-74.0]) - float(scale["mean"][0])) / float(scale["std"][0]), 5.0 / float(scale["std"][0])
        self.weight = torch.ones(len(STATES), device=device)
        self.weight[0] = 6.0  # Vm
        self.weight[-3:] = SLOWLY

    def normal(self, X):
        return (X - self.x_mean) / self.x_std

    def error(self, network, X, Y, left):
        """Errors (batch, knots, 19), those of the slow ones in their steps, and weights of the knots."""
        truth, own = Y.float(), X[:, None, : len(STATES)]
        out = network(self.normal(X))
        slow = (out - out[:, :1] - truth)[..., flow_map._SLOW]
        d = out + (own - out[:, :1]) * self.fade - truth
        return torch.cat([d[..., self.order[:-3]], slow], -1), self.gap * (self.age <= left[:, None]), truth[..., 0]

    def loss(self, network, examples, done):
        d, w, V = self.error(network, *examples)
        e = d**2 * w[..., None] * self.weight
        bend = 1 + BEND * torch.exp(-(((V - self.bend[0]) / self.bend[1]) ** 2))  # where APD90 is read
        found = ((d[..., 0] ** 2 * w).sum(1) / w.sum(1)).detach()
        doubt = network.doubt(self.normal(examples[0]))[:, 0]
        error = (e[..., 1:].sum() + (e[..., 0] * bend).sum()) / e.numel()
        return error / 4 + 0.01 * ((doubt - torch.log10(found + 1e-6)) ** 2).mean()

    @torch.no_grad()
    def judge(self, network, examples, std):
        """Mean error in z-scores of examples, of which a line is printed."""
        d, w, V = self.error(network, *examples)
        e = ((d**2 * w[..., None]).sum((0, 1)) / w.sum()).cpu()
        rms = ((d[..., 0] ** 2 * w).sum(1) / w.sum(1)).sqrt() * std
        near = std * d[..., 0][(((V - self.bend[0]) / self.bend[1]).abs() < 1) & (w > 0)]
        sure = network.doubt(self.normal(examples[0]))[:, 0] < 2 * np.log10(flow_map.DOUBT / std)
        low, high = (rms[sure].quantile(q) if sure.any() else np.nan for q in (0.95, 1.0))
        shown = {n: f"{e[self.order.index(STATES.index(n))]:.1e}" for n in ("Vm", "Cai", "CaSS", *flow_map.SLOW)}
        print(
            shown,
            f"RMSE {rms.median():.2f} {rms.quantile(0.95):.2f} mV; bend {near.square().mean().sqrt():.2f} mV, mean "
            f"{near.mean():.2f}; sure of {sure.float().mean():.1%}: 95 % {low:.2f}, worst {high:.1f} mV",
            flush=True,
        )
        return float(e.mean())


def gathered():
    """Names, scales, and per file what :meth:`File.examples` gives."""
    names = sorted(p.stem for p in folder.glob("*.npz"))
    with ProcessPoolExecutor(processors()) as pool:
        scale = scaling([n for n in names if int(n.split("-")[1]) < 90], pool)
        return names, scale, list(bar(pool.map(partial(File.examples, scale=scale), names), "examples", "file"))


def train(updates=50_000, rank=96, hidden=256, batch=256, device="auto", target="models"):
    """The net, on the files with seeds below 90; those from 90 on choose the weights."""
    settings, (names, scale, found) = flow_map.Settings(hidden=hidden, rank=rank), gathered()
    torch.manual_seed(0)
    device = pick_device(device)

    def joined(wanted):
        parts = (f for n, f in zip(names, found, strict=True) if wanted(n, int(n.split("-")[1]) >= 90))
        return [np.concatenate(p) for p in zip(*parts, strict=True)]

    X, Y, left = joined(lambda name, late: not late)
    fit, std = Fit(settings, scale, X, device), float(scale["std"][0])
    examples, held = [torch.from_numpy(a).to(device) for a in (X, Y, left)], []
    for kind in ("cells", "sheet"):
        some = joined(lambda name, late, kind=kind: late and kind in name)
        pick = np.random.default_rng(1).choice(len(some[0]), min(4000, len(some[0])), replace=False)
        held.append([torch.from_numpy(a[pick]).to(device) for a in some])

    def draw():
        pick = torch.randint(len(X), (batch,), device=device)
        return [part[pick] for part in examples]

    network, epochs = flow_map.Course(flow_map.N_IN, hidden, rank, len(fit.ages)), max(1, updates // 5000)
    tune(network, Drawn(draw, seed=0), fit.loss, epochs=epochs, updates=min(updates, 5000), learning_rate=3e-3,
         schedule="one-cycle", clip=1.0, validate=lambda n: sum(fit.judge(n, some, std) for some in held),
         checkpoint=(checkpoint := folder / f"checkpoint-{hidden}-{rank}"), on=Devices(device))  # fmt: skip
    checkpoint.unlink()
    far = []
    with torch.no_grad():
        for rows in examples[0].split(4096):
            far.append((rows[:, : len(STATES)] - network(fit.normal(rows))[:, 0]).abs().cpu().numpy())
    far = 2 * np.quantile(np.concatenate(far), 0.999, 0) * scale["std"]
    far[flow_map._SLOW] = np.inf
    scale |= {"low": X.min(0), "high": X.max(0), "far": far}
    scale |= {"x_mean": fit.x_mean.cpu(), "x_std": fit.x_std.cpu()}
    tensors = network.cpu().state_dict() | {n: torch.from_numpy(np.asarray(v, np.float32)) for n, v in scale.items()}
    model = flow_map.FlowMap(settings)
    model.pace()
    model._restore({"state": model.state} | tensors, {})
    model.card = {"data": {"files": names, "hash": digest(Y, left)}, "seed": 0, "updates": updates, "batch": batch,
                  "device": torch.cuda.get_device_name() if device.type == "cuda" else "processor",
                  "weights": sum(p.numel() for p in network.parameters())}  # fmt: skip
    model.save(kept_folder() / target / "flow_map")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "data":
        for seed in range(int(sys.argv[2]), int(sys.argv[3])):
            for kind in sys.argv[4:] or ("cells", "sheet"):
                make(kind, seed)
                print(kind, seed, flush=True)
    else:
        train(*map(int, sys.argv[2:]))
