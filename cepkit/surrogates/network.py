"""What the LSTM and the Neural ODE share: scaling, training, principal components, files."""

from dataclasses import dataclass

import torch

from cepkit.dataset import Drifted, Scaling, Windows, principal_components, to_tensor
from cepkit.fields import VARIABLES
from cepkit.surrogates.base import Surrogate
from cepkit.training import Devices, Shuffled, Training, pick_device, tune

CHOSEN = "weights chosen by free runs on beats 80 to 87, which no update has seen"
SMALL = "everything is small: this one only shows that the machinery turns"


@dataclass(frozen=True)
class Common:
    """Settings of both."""

    components: int | None = None  # train on so many principal components instead of whole frames,
    whitened: bool = False  # each in units of its own spread
    bounded: bool = False  # no forecast leaves the range of the training part
    chosen: bool = False  # of all epochs those weights stay whose free runs on the validation part have the least error
    training: Training = Training()
    seed: int = 0
    departures: tuple[str, ...] = ()  # from the paper, with reasons


class Network(Surrogate):
    """A surrogate that is a PyTorch network trained by Algorithm 1 on windows of frames.

    ``configuration`` is a name ("published_code", "paper", "laptop", "smoke"), and further keywords change settings,
    such as ``hidden=32``; ``device="auto"`` takes CUDA where there is one.  A method writes ``build(n_in)``, the
    untrained network; ``loss(network, X_b, done)`` of windows (batch, N_t, N_in), which Algorithm 1 makes small; and
    ``_forecast(network, X, steps)``, the free run in z-scores, (start, time, N_in) to (start, steps, N_in).
    """

    trains = True
    #: Weights (out, N_in) that read frames, and dense layers that write them.
    reads = writes = ()

    def __init__(self, configuration="laptop", device="auto", **changes):
        super().__init__(configuration, **changes)
        self.device = pick_device(device)

    def passes(self):
        """The passes of Algorithm 1, one after the other: pairs of settings and loss."""
        return [(self.settings.training, self.loss)]

    def prepare(self, network, windows, number):
        """What is done to the network before a pass, the first of which has the number 0."""

    def _fit(self, learning):
        s, runs = self.settings, learning.runs
        self.scaling = Scaling.fit(runs)
        X, basis, self.unit = self._frames(runs), None, 1.0
        if s.components:
            basis = principal_components(X, s.components).to(self.device)
            if s.whitened:
                self.unit = (sum(((x @ basis) ** 2).sum(0) for x in X) / sum(map(len, X))).sqrt()
            basis = basis / self.unit
            X = [x @ basis for x in X]
        torch.manual_seed(s.seed)
        network = self.build(X[0].shape[1]).to(self.device)
        history, held = [], learning.part("validation") if s.chosen else None
        validate = held and self._validation(held, basis)
        for number, (t, loss) in enumerate(self.passes()):
            kept = [piece[t.skip :] for piece in X]
            windows = (Drifted if t.drift else Windows)(kept, t.window, t.stride, *(t.drift or ()))
            self.prepare(network, windows, number)
            batches = Shuffled(windows, t.batch, s.seed + 1000 * number)
            history += tune(
                network, batches, loss, epochs=t.epochs, updates=batches.updates, learning_rate=t.learning_rate,
                schedule="cosine" if t.decay else None, clip=t.clip, average=t.average, seconds=t.seconds,
                progress=learning.progress, checkpoint=learning.checkpoint and f"{learning.checkpoint}-{number}",
                validate=validate, on=Devices(self.device),
            )  # fmt: skip
        self.network = network if basis is None else self._absorb(network, basis)
        self.network.to(self.device).eval()
        self.card |= {
            "range": {
                v: [float(min(x[v].min() for x in runs)), float(max(x[v].max() for x in runs))] for v in VARIABLES
            },
            "training": history,
            "training seconds": round(sum(epoch["seconds"] for epoch in history), 1),
        }

    def _frames(self, runs):
        """z-scores (time, N_in) of each run, on the device."""
        return [to_tensor(self.scaling.apply(run)).to(self.device) for run in runs]

    def _validation(self, held, basis):
        """Error of free runs on the validation part, median over windows, as a function of the network."""
        X = self._frames(held.runs)
        windows = Windows(X if basis is None else [x @ basis for x in X], 2 * min(500, min(map(len, X)) // 3))
        X_b = windows[torch.linspace(0, len(windows) - 1, 24).long()]
        given = windows.length // 2

        @torch.inference_mode()
        def validate(network):
            network.eval()
            error = self.unit * (self._forecast(network, X_b[:, :given], given) - X_b[:, given:])
            network.train()
            return (error**2).mean((1, 2)).median()

        return validate

    def _absorb(self, network, basis):
        """The network that reads and writes frames, from the one of components: two linear maps in a row are one."""
        state = network.state_dict()
        back = (basis / basis.square().sum(0)).T  # (K, N_in), for columns that are orthogonal
        for name in self.reads:
            state[name] = state[name] @ basis.T
        for name in self.writes:
            state[f"{name}.weight"] = back.T @ state[f"{name}.weight"]
            state[f"{name}.bias"] = back.T @ state[f"{name}.bias"]
        full = self.build(len(basis)).to(self.device)
        full.load_state_dict(state)
        return full

    @torch.inference_mode()
    def _rollout(self, X, start, steps):
        mean, std = self.scaling.vectors(self.nodes)
        out = self._forecast(self.network, ((X - mean) / std).to(self.device), steps).cpu() * std + mean
        if not self.settings.bounded:
            return out
        return out.clamp(*torch.tensor([self.card["range"][v] for v in VARIABLES]).repeat(self.nodes, 1).T)

    def _build(self):
        self.network = self.build(4 * self.nodes).to(self.device).eval()
