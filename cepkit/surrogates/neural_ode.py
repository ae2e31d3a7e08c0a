"""The paper's Neural ODE (Section 4.2): a latent ODE, trained as a variational auto-encoder."""

import torch
from torch import nn
from torchdiffeq import odeint

from cepkit.dataset import to_dataset, to_tensor
from cepkit.surrogates.base import check_fields, surrogate
from cepkit.surrogates.network import Network


class Encoder(nn.Module):
    """q(z_0 | X): a recurrent network reads the frames backwards in time and ends at the first.

    Examples
    --------
    >>> from cepkit.surrogates.neural_ode import Encoder
    >>> mean, log_variance = Encoder(n_in=6, rnn=4, latent=3)(torch.zeros(2, 10, 6))
    >>> tuple(mean.shape)
    (2, 3)
    """

    def __init__(self, n_in, rnn, latent):
        super().__init__()
        self.rnn = nn.RNN(n_in, rnn, batch_first=True)
        self.out = nn.Linear(rnn, 2 * latent)

    def forward(self, X):
        """Frames (batch, time, N_in) to mean and log variance of z_0, each (batch, latent)."""
        _, h = self.rnn(X.flip(1))
        return self.out(h[-1]).chunk(2, dim=-1)


class LatentODE(nn.Module):
    """Equation 7: z_0 ~ RNN(X), z_1, z_2, ... = ODESolver(z_0, f), x_i = lambda(z_i).

    Parameters
    ----------
    n_in : int
        N_in, numbers in a frame.
    latent, rnn, decoder, function : int
        Widths of z, of the encoder, of the decoder lambda and of f.
    solver : str
        A method of torchdiffeq: "euler", "dopri5", ...
    step : float
        Frames from one time at which the ODE is solved to the next; between them z is a straight line.
    unit : float
        Frames that f takes for one unit of time.

    Examples
    --------
    >>> from cepkit.surrogates.neural_ode import LatentODE
    >>> network = LatentODE(n_in=6, latent=3, rnn=4, decoder=5, function=5)
    >>> tuple(network.solve(torch.zeros(1, 3), frames=7).shape), tuple(network(torch.zeros(1, 4, 6), frames=7).shape)
    ((1, 7, 3), (1, 7, 6))
    """

    def __init__(self, n_in, latent, rnn, decoder, function, solver="euler", step=1.0, unit=1000.0):
        super().__init__()
        self.encoder = Encoder(n_in, rnn, latent)
        self.f = nn.Sequential(
            nn.Linear(latent, function), nn.ELU(), nn.Linear(function, function), nn.ELU(), nn.Linear(function, latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, decoder), nn.ReLU(), nn.Linear(decoder, n_in))
        self.solver, self.step, self.unit = solver, step, unit

    def solve(self, z_0, frames):
        """The latent trajectory from z_0, shape (batch, frames, latent)."""
        at = torch.arange(frames, device=z_0.device) / self.step  # in steps
        before = at.long()
        t = torch.arange(int(before[-1]) + 2, device=z_0.device) * self.step / self.unit
        z = odeint(lambda t, z: self.f(z), z_0, t, method=self.solver).transpose(0, 1)
        # Straight lines between the steps; with one step a frame they change nothing.
        return torch.lerp(z[:, before], z[:, before + 1], (at - before)[:, None])

    def forward(self, X, frames, skip=0):
        """From the frames X, the ``frames`` that begin where X begins (but for the first ``skip``), without noise."""
        mean, _ = self.encoder(X)
        return self.decoder(self.solve(mean, frames)[:, skip:])


def elbo_loss(network, X_b, sigma, given=None):
    """Minus the evidence lower bound, per number of the batch (and without its constant).

    log p(X | z) with Gaussian noise of standard deviation sigma, minus KL(q(z_0 | X) || N(0, 1)).
    The encoder sees the first ``given`` frames; None shows it the whole window, as the paper's code
    does, and what the network then learns is to reconstruct, not to forecast.

    Examples
    --------
    >>> from cepkit.surrogates.neural_ode import LatentODE, elbo_loss
    >>> network = LatentODE(n_in=6, latent=3, rnn=4, decoder=5, function=5)
    >>> bool(elbo_loss(network, torch.ones(1, 8, 6), sigma=0.1) > 0)
    True
    """
    mean, log_variance = network.encoder(X_b[:, :given])
    z_0 = mean + torch.randn_like(mean) * (log_variance / 2).exp()
    X_tilde = network.decoder(network.solve(z_0, X_b.shape[1]))
    log_p = -((X_b - X_tilde) ** 2).sum() / (2 * sigma**2)
    KL = (mean**2 + log_variance.exp() - log_variance - 1).sum() / 2
    return (KL - log_p) / X_b.numel()


@surrogate("neural_ode", "Neural ODE", "#56B4E9", "-", version="896c66baf18d43dd", draws=True)
class NeuralODE(Network):
    """The paper's Neural ODE as a surrogate.

    ``rollout`` is a forecast: the encoder reads the history and nothing later, the ODE is solved
    from the history's first frame to beyond its last, and what lies beyond is the forecast.
    The paper's code encodes the very window that it then calls predicted: that is
    :meth:`reconstruct`.

    Parameters
    ----------
    configuration : str
        "published_code", "paper", "laptop" or "smoke"; see ``cepkit.profiles``.
    device : str
        "auto" takes CUDA where there is one.
    **changes
        Settings to change, for example ``solver="dopri5"``.

    Examples
    --------
    >>> from cepkit.profiles import Training
    >>> trajectory, _ = cep.check.toy()
    >>> recipe = Training(window=20, stride=20, epochs=1)
    >>> model = cep.surrogates.make("neural_ode", "smoke", latent=3, components=None, training=recipe)
    >>> _ = model.fit(trajectory, progress=False)
    >>> dict(model.rollout(trajectory, steps=5).sizes)
    {'start': 1, 'lead_time': 5, 'y': 4, 'x': 4}
    """

    reads = ("encoder.rnn.weight_ih_l0",)
    writes = ("decoder.2",)

    def build(self, n_in):
        s = self.settings
        return LatentODE(n_in, s.latent, s.rnn, s.decoder, s.function, s.solver, s.step, s.unit)

    def loss(self, network, X_b, done):
        return elbo_loss(network, X_b, self.settings.sigma, self.settings.given)

    def _forecast(self, X, steps):
        return self.network(X, X.shape[1] + steps, skip=X.shape[1])

    @torch.inference_mode()
    def reconstruct(self, window):
        """Encode a window and decode the same window: the paper's way, which is no forecast.

        Parameters
        ----------
        window : xr.Dataset
            Dims (time, y, x).

        Returns
        -------
        xr.Dataset
            The same dims and times.
        """
        check_fields(window, "window")
        self._check_grid(window, "window")
        mean, std = self.scaling.vectors(self.nodes)
        X = ((to_tensor(window) - mean) / std).to(self.device)[None]
        out = self.network(X, X.shape[1])[0].cpu() * std + mean
        return to_dataset(out, {"time": window.time.values, **self.grid}, ("time", *self.grid))
