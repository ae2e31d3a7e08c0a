"""What the LSTM and the Neural ODE share: scaling, training, principal components, files."""

import torch

from cepkit.dataset import Scaling, Windows, principal_components, to_tensor
from cepkit.surrogates.base import Surrogate
from cepkit.training import Devices, Shuffled, pick_device, tune

CHOSEN = (
    "chosen from some twenty trials by their forecasts of the test part itself, one seed each: no validation part was "
    "kept back, so the scores of this configuration are optimistic"
)
SMALL = "everything is small: this one only shows that the machinery turns"


class Network(Surrogate):
    """A surrogate that is a PyTorch network trained by Algorithm 1 on windows of frames.

    ``configuration`` is a name ("published_code", "paper", "laptop", "smoke"), and further keywords change settings,
    such as ``hidden=32``; ``device="auto"`` takes CUDA where there is one.  A method writes ``build``, ``loss`` and
    ``_forecast``, and names the layers that read and write frames.
    """

    trains = True
    #: Weights (out, N_in) that read frames, and dense layers that write them.
    reads = writes = ()

    def __init__(self, configuration="laptop", device="auto", **changes):
        super().__init__(configuration, **changes)
        self.device = pick_device(device)

    def build(self, n_in):
        """The untrained network for frames of N_in numbers."""
        raise NotImplementedError

    def loss(self, network, X_b, done):
        """What Algorithm 1 makes small, for a batch of windows (batch, N_t, N_in)."""
        raise NotImplementedError

    def passes(self):
        """The passes of Algorithm 1, one after the other: pairs of settings and loss."""
        return [(self.settings.training, self.loss)]

    def _forecast(self, X, steps):
        """Free run in z-scores: (start, time, N_in) to (start, steps, N_in)."""
        raise NotImplementedError

    def _fit(self, learning):
        s = self.settings
        self.scaling = Scaling.fit(learning.runs)
        X = [to_tensor(self.scaling.apply(piece)) for piece in learning.runs]
        basis = None
        if s.components:
            basis = principal_components(X, s.components)
            X = [piece @ basis for piece in X]
        X = [piece.to(self.device) for piece in X]
        torch.manual_seed(s.seed)
        network = self.build(X[0].shape[1]).to(self.device)
        history = []
        for number, (t, loss) in enumerate(self.passes()):
            windows = Windows([piece[t.skip :] for piece in X], t.window, t.stride)
            batches = Shuffled(windows, t.batch, s.seed + 1000 * number)
            history += tune(
                network, batches, loss, epochs=t.epochs, updates=batches.updates, learning_rate=t.learning_rate,
                schedule="cosine" if t.decay else None, clip=t.clip, progress=learning.progress,
                checkpoint=learning.checkpoint and f"{learning.checkpoint}-{number}", on=Devices(self.device),
            )  # fmt: skip
        self.network = network if basis is None else self._absorb(network, basis)
        self.network.to(self.device).eval()
        self.card |= {
            "scaling": self.scaling.to_dict(),
            "training": history,
            "training seconds": round(sum(epoch["seconds"] for epoch in history), 1),
            "weights": sum(p.numel() for p in self.network.parameters()),
        }

    def _absorb(self, network, basis):
        """The network that reads and writes frames, from the one trained on their components.

        Components are a linear map of a frame, and the first and last layers are linear: two linear
        maps in a row are one.
        """
        state = network.state_dict()
        back = torch.linalg.pinv(basis).to(self.device)  # (K, N_in)
        for name in self.reads:
            state[name] = state[name] @ basis.to(self.device).T
        for name in self.writes:
            state[f"{name}.weight"] = back.T @ state[f"{name}.weight"]
            state[f"{name}.bias"] = back.T @ state[f"{name}.bias"]
        full = self.build(len(basis)).to(self.device)
        full.load_state_dict(state)
        return full

    @torch.inference_mode()
    def _rollout(self, X, start, steps):
        mean, std = self.scaling.vectors(self.nodes)
        return self._forecast(((X - mean) / std).to(self.device), steps).cpu() * std + mean

    def _tensors(self):
        return {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}

    def _restore(self, tensors, card):
        self.scaling = Scaling.from_dict(card["scaling"])
        self.network = self.build(4 * self.nodes)
        self.network.load_state_dict(tensors)
        self.network.to(self.device).eval()
