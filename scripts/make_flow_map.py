"""Data and training of the flow map: two minutes a file of cells, seconds a sheet, half an hour of training.

python scripts/make_flow_map.py data FIRST LAST        files of 2048 isolated cells of all kinds and of sheets, by seed
python scripts/make_flow_map.py train [UPDATES]        writes data/models/flow_map
"""

import sys

import numpy as np
import torch

import cepkit as cep
from cepkit.bench.methods import flow_map
from cepkit.engine import Engine
from cepkit.fields import SHEET
from cepkit.store import data_folder, kept_folder
from cepkit.training import Drawn, tune

STATES, NORMAL = cep.cell.STATES, cep.cell.Conductances()
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


class Examples:
    """Starts of courses: file, frame, node, and the last frame before the next upstroke."""

    def __init__(self, names, settings, rng, like=None, per_sheet=8000):
        self.ages = flow_map.knots(settings.horizon)
        self.files, rows, features = [], [], []
        for number, name in enumerate(names):
            with np.load(folder / f"{name}.npz") as saved:
                saved = dict(saved)
            states = torch.from_numpy(saved.pop("states"))
            states = torch.cat([states[:1], states])  # the first was kept at the end of the first frame
            self.files.append(states)
            pulses = drawn(*name.split("-"))[1]
            found = (self.on_sheet if "sheet" in name else self.of_cells)(saved, pulses, len(states), rng)
            if "sheet" in name and len(found) > per_sheet:
                found = found[np.sort(rng.choice(len(found), per_sheet, replace=False))]
            rows.append(np.concatenate([np.full((len(found), 1), number), found], 1))
            print(name, len(found), flush=True)
            features.append((saved, states, found))
        self.rows = np.concatenate(rows).astype(np.int64)
        self.scale(like)
        self.X = np.concatenate([self.seen(*f) for f in features])
        self.Y = torch.cat([self.written(states, found) for _, states, found in features])

    def scale(self, like):
        """Means, spreads and bounds: those of the training data."""
        if like:
            for name in ("mean", "std", "step", "floor", "roof"):
                setattr(self, name, getattr(like, name))
            return
        flat = torch.cat([s[::9].transpose(1, 2).flatten(0, 1)[::7] for s in self.files]).numpy()
        self.mean, self.std = flat.mean(0), flat.std(0) + 1e-9
        self.floor, self.roof = flat.min(0), flat.max(0)
        step = [(s[25:] - s[:-25])[::50].numpy() for s in self.files]
        self.step = (
            np.array([np.concatenate([d[:, k].reshape(-1) for d in step]).std() for k in flow_map._SLOW])
            / self.std[flow_map._SLOW]
        )

    @staticmethod
    def last(events, frame, frames):
        """The last frame before the next stimulus or activation of a node."""
        k = np.searchsorted(events, frame * STEP + 1e-6)
        return frames - 1 if k == len(events) else min(int(events[k] / STEP), frames - 1)

    def of_cells(self, saved, pulses, frames, rng):
        out, when = [], by_node(saved)
        touched = np.zeros((len(pulses), len(when)), bool)
        for k, pulse in enumerate(pulses):
            touched[k] = pulse.region.values.reshape(-1)
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

    def on_sheet(self, saved, pulses, frames, rng):
        out, when, own = [], np.sort(saved["when"]), by_node(saved)
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

    def seen(self, saved, states, found):
        """What the net is told, as :meth:`cepkit.bench.methods.flow_map.Carrying` does."""
        shape, out = tuple(saved["shape"]), np.empty((len(found), 0), np.float32)
        tissue = cep.Tissue(shape, tuple(saved["spacing"]), float(saved["diffusivity"]))
        smooth = flow_map.Smoothing(tissue, np.arange(tissue.size))
        out = np.empty((len(found), flow_map.N_IN), np.float32)
        for frame in np.unique(found[:, 0]):
            of, S = found[:, 0] == frame, states[frame].numpy()
            z = (S - self.mean[:, None]) / self.std[:, None]
            node, near = found[of, 1], z.T[:, flow_map._NEAR]
            parts = [(wide - near)[node] for wide in smooth(near)]
            out[of] = flow_map.told(S[:, node].T, z[:, node].T, parts, saved["told"][node])
        return out

    def written(self, states, found):
        """z-scores at the knots (rows, knots, 19), in half precision, of one file."""
        ages = torch.from_numpy(self.ages / STEP).long()
        out = torch.empty(len(found), len(ages), len(STATES)).half()
        mean, std = torch.from_numpy(self.mean), torch.from_numpy(self.std)
        for k in range(0, len(found), 2000):
            frame, node, end = torch.from_numpy(found[k : k + 2000].astype(np.int64)).T
            at = torch.minimum(frame[:, None] + ages, end[:, None])  # knots are whole frames
            out[k : k + 2000] = ((states[at, :, node[:, None]] - mean) / std).half()
        return out

    def courses(self, pick):
        """z-scores at the knots (batch, knots, 19) and their weights (batch, knots)."""
        left = STEP * (self.rows[pick, 3] - self.rows[pick, 1])
        return self.Y[pick].float(), torch.from_numpy((self.ages <= left[:, None]).astype(np.float32))


def by_node(saved):
    order = np.lexsort((saved["when"], saved["node"]))
    when, node = saved["when"][order], saved["node"][order]
    return np.split(when, np.searchsorted(node, np.arange(1, int(np.prod(saved["shape"])))))


def train(updates, rank=96, hidden=192):
    torch.manual_seed(0)
    rng, settings = np.random.default_rng(0), flow_map.Settings(hidden=hidden, rank=rank)
    names = sorted(p.stem for p in folder.glob("*.npz"))
    test = [n for n in names if int(n.split("-")[1]) >= 90]
    learnt = Examples([n for n in names if n not in test], settings, rng)
    held = Examples(test, settings, rng, learnt)
    x_mean, x_std = learnt.X.mean(0), learnt.X.std(0) + 1e-6
    network = flow_map.Course(flow_map.N_IN, hidden, rank, len(learnt.ages))
    gap = torch.from_numpy(np.gradient(learnt.ages)).float()
    fade = torch.exp(-torch.from_numpy(learnt.ages) / flow_map.FADE).float()[:, None]
    step = torch.from_numpy(learnt.step).float()
    weight_of = torch.ones(len(STATES))
    weight_of[0] = 6.0

    def error(network, examples, pick):
        truth, weight = examples.courses(pick)
        X = examples.X[pick]
        out = network(torch.from_numpy((X - x_mean) / x_std))
        own = torch.from_numpy(X[:, None, : len(STATES)])
        found = out + (own - out[:, :1]) * fade
        d = found - truth
        slow = (out - out[:, :1])[..., flow_map._SLOW] - (truth - own)[..., flow_map._SLOW] / step
        d = torch.cat([d[..., [k for k in range(len(STATES)) if k not in flow_map._SLOW]], slow], -1)
        return d, (weight * gap)[..., None]

    order = [k for k in range(len(STATES)) if k not in flow_map._SLOW] + flow_map._SLOW
    scale = weight_of[order]

    def loss(network, pick, done):
        d, w = error(network, learnt, pick)
        found = ((d[..., 0] ** 2 * w[..., 0]).sum(1) / w[..., 0].sum(1)).detach()
        doubt = network.doubt(torch.from_numpy((learnt.X[pick] - x_mean) / x_std))[:, 0]
        return (d**2 * w * scale).mean() / 4 + 0.01 * ((doubt - torch.log10(found + 1e-6)) ** 2).mean()

    @torch.no_grad()
    def validate(network):
        total = 0.0
        for kind in ("cells", "sheet"):
            rows = np.flatnonzero([kind in test[k] for k in held.rows[:, 0]])
            pick = np.random.default_rng(1).choice(rows, min(2000, len(rows)), replace=False)
            d, w = error(network, held, pick)
            e = (d**2 * w).sum((0, 1)) / w.sum((0, 1))
            rms = ((d[..., 0] ** 2 * w[..., 0]).sum(1) / w[..., 0].sum(1)).sqrt() * held.std[0]
            print(kind, {STATES[k]: f"{float(e[order.index(k)]):.1e}" for k in (0, 12, 13, 14, 5, 8, 3, 17, 18)},
                  f"RMSE {rms.median():.2f} {rms.quantile(0.95):.2f} mV", flush=True)  # fmt: skip
            doubt = network.doubt(torch.from_numpy((held.X[pick] - x_mean) / x_std))[:, 0]
            sure = doubt < 2 * np.log10(flow_map.DOUBT / held.std[0])
            most = f"95 % {rms[sure].quantile(0.95):.2f}, worst {rms[sure].max():.1f} mV"
            print(f"  sure of {sure.float().mean():.1%}: {most}", flush=True)
            total += float(e.mean())
        return total

    draw = Drawn(lambda: torch.randint(len(learnt.rows), (256,)).numpy(), seed=0)
    epochs = max(1, updates // 2000)
    tune(network, draw, loss, epochs=epochs, updates=min(updates, 2000), learning_rate=3e-3, schedule="one-cycle",
         clip=1.0, validate=validate, checkpoint=folder / "checkpoint")  # fmt: skip
    (folder / "checkpoint").unlink()
    far = []
    with torch.no_grad():
        for k in range(0, len(learnt.X), 4096):
            z = network(torch.from_numpy((learnt.X[k : k + 4096] - x_mean) / x_std))[:, 0].numpy()
            far.append(np.abs(learnt.X[k : k + 4096, : len(STATES)] - z))
    far = 2 * np.quantile(np.concatenate(far), 0.999, 0) * learnt.std
    far[flow_map._SLOW] = np.inf
    scale = {"low": learnt.X.min(0), "high": learnt.X.max(0), "x_mean": x_mean, "x_std": x_std, "far": far}
    scale |= {name: getattr(learnt, name) for name in flow_map.SCALES if name not in scale}
    tensors = network.state_dict() | {n: torch.from_numpy(np.asarray(v, np.float32)) for n, v in scale.items()}
    model = flow_map.FlowMap(settings)
    model.pace()
    model._restore({"state": model.state} | tensors, {})
    model.card = {"data": {"files": names}, "seed": 0, "updates": updates}
    model.card["weights"] = sum(p.numel() for p in network.parameters())
    model.save(kept_folder() / "models" / "flow_map")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "data":
        for seed in range(int(sys.argv[2]), int(sys.argv[3])):
            for kind in sys.argv[4:] or ("cells", "sheet"):
                make(kind, seed)
                print(kind, seed, flush=True)
    else:
        train(int(sys.argv[2]) if len(sys.argv) > 2 else 40_000, *map(int, sys.argv[3:]))
