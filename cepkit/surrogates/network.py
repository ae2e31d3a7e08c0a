"""What the LSTM and the Neural ODE share: scaling, training, principal components, files."""

import dataclasses

import torch

from cepkit.dataset import Scaling, Windows, principal_components, to_tensor
from cepkit.profiles import configuration_named
from cepkit.training import offline_training
from cepkit.surrogates.base import Surrogate


class Network(Surrogate):
    """A surrogate that is a PyTorch network trained by Algorithm 1.

    A method writes ``build``, ``loss``, ``_forecast`` and names the layers that read and write frames.

    Examples
    --------
    >>> from cepkit.surrogates.network import Network
    >>> issubclass(cep.surrogates.registry["lstm"], Network), Network.trains
    (True, True)
    """

    trains = True
    #: Weights (out, N_in) that read frames, and dense layers that write them.
    reads = writes = ()

    def __init__(self, configuration="laptop", device="auto", **changes):
        super().__init__()
        self.settings = configuration_named(self.name, configuration, changes)
        self.configuration = dataclasses.asdict(self.settings)
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

    def _fit(self, pieces, progress=True, checkpoint=None):
        s = self.settings
        self.scaling = Scaling.fit(pieces)
        X = [to_tensor(self.scaling.apply(piece)) for piece in pieces]
        basis = None
        if s.components:
            basis = principal_components(X, s.components)
            X = [piece @ basis for piece in X]
        X = [piece.to(self.device) for piece in X]
        with torch.random.fork_rng():
            torch.manual_seed(s.seed)
            network = self.build(X[0].shape[1]).to(self.device)
        history = []
        for number, (t, loss) in enumerate(self.passes()):
            windows = Windows([piece[t.skip :] for piece in X], t.window, t.stride)
            history += offline_training(
                network, windows, loss, epochs=t.epochs, batch=t.batch, learning_rate=t.learning_rate, decay=t.decay,
                clip=t.clip, seed=s.seed + 1000 * number, checkpoint=checkpoint and f"{checkpoint}-{number}",
                progress=progress,
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
        self.settings = configuration_named(self.name, card["configuration"], {})
        self.device = pick_device("auto")
        self.scaling = Scaling.from_dict(card["scaling"])
        self.network = self.build(4 * self.nodes)
        self.network.load_state_dict(tensors)
        self.network.to(self.device).eval()


def pick_device(device):
    """A torch device; "auto" is CUDA where there is one.

    Examples
    --------
    >>> from cepkit.surrogates.network import pick_device
    >>> pick_device("cpu").type
    'cpu'
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r} cannot be used here ({error}); take 'auto' or 'cpu'") from error
