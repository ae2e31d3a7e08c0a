"""Algorithm 1, offline training, and what stands around it: schedule, checkpoints, resume, validation, devices."""

import functools
import io
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cepkit.progress import bar
from cepkit.store import replace_file


@dataclass(frozen=True)
class Training:
    """The settings of Algorithm 1."""

    window: int = 1000  # N_t, frames
    stride: int = 1  # frames from one window's start to the next one's
    batch: int = 16  # N_b
    epochs: int = 3  # N_ep
    learning_rate: float = 1e-3  # of Adam
    decay: bool = False  # learning rate to zero along a half cosine
    clip: float | None = None  # bound on the norm of the gradient
    skip: int = 0  # frames left out at the beginning of a trajectory
    drift: tuple[int, float] | None = None  # (frames, share): see ``dataset.Drifted``
    average: float | None = None  # keep a running mean of the weights, with so much of the new ones in each update
    seconds: float | None = None  # stop after the epoch in which so much time has gone by


def offline_training(network, X, loss, adam, run):
    """Algorithm 1: tune the parameters theta of a network in place by Adam on shuffled batches.

    The training set X, :class:`Shuffled` or :class:`Drawn`, hands out batches; ``loss(network, X_b, done)`` takes one
    to the number to be made small, ``done`` being the share of the training that lies behind, 0 to 1; ``run`` counts
    epochs and batches, and keeps what :func:`tune` asks for.
    """
    for i in run.epochs():
        X.shuffle(i)
        for j in run.batches():
            X_b = X.batch(j)
            L = loss(network, X_b, run.done)
            adam.zero_grad()
            run.backward(L)
            adam.step()
            run.note(L)


def tune(network, X, loss, *, epochs, updates, learning_rate=1e-3, schedule=None, clip=None, average=None,
         seconds=None, checkpoint=None, progress=True, what="training", validate=None, on=None):  # fmt: skip
    """:func:`offline_training` with all that surrounds it, ``on`` Devices or Lightning's Fabric; see :class:`Training`.

    After each of the ``epochs``, of so many ``updates``, a ``checkpoint`` is written, from which an interrupted
    training goes on with the same random numbers.  ``schedule`` is None, "cosine" or "one-cycle".  Where
    ``validate(network)`` gives an error, the weights of the epoch with the least one stay.

    Returned is the history: per epoch its number, mean loss, updates, seconds, and validation error where there is one.
    A loss that is not finite is a FloatingPointError.
    """
    on = on or Devices("cpu")
    adam = torch.optim.Adam(network.to(on.device).parameters(), learning_rate)  # its state resumes where they are
    total = max(epochs * updates, 1)
    if schedule == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, total)
    elif schedule == "one-cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, learning_rate, total_steps=total)
    if clip:
        adam.register_step_pre_hook(lambda *_: (clip_grad_norm_(network.parameters(), clip), None)[1])
    if schedule:
        adam.register_step_post_hook(lambda *_: schedule.step())
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - average)) if average else None
    if average:
        adam.register_step_post_hook(lambda *_: mean.update_parameters(network))
    parts = {"network": network, "mean": mean, "adam": adam, "schedule": schedule}
    run = Run(parts, epochs, updates, checkpoint, validate, on, seconds or math.inf)
    wrapped, optimiser = on.setup(network, adam)
    if run.random is not None:
        torch.set_rng_state(run.random)
    with bar(total, what, "update", progress, initial=run.begun * updates, mininterval=1) as run.bar:
        offline_training(wrapped, X, loss, optimiser, run)
    if run.best or average:
        network.load_state_dict(run.best["network"] if run.best else mean.module.state_dict())
    return run.history


class Run:
    """Where a training stands: its counters, its history, its checkpoint, its best weights."""

    def __init__(self, parts, epochs, updates, checkpoint, validate, on, seconds):
        self.parts = {name: part for name, part in parts.items() if part is not None}
        self.length, self.updates, self.checkpoint, self.validate, self.on = epochs, updates, checkpoint, validate, on
        self.history, self.random, self.best = resume(checkpoint, self.parts)
        self.begun, self.done, self.backward, self.seconds = len(self.history), 0.0, on.backward, seconds

    def epochs(self):
        """Numbers of the epochs that are left; what follows each is kept."""
        for i in range(self.begun, self.length):
            if sum(entry["seconds"] for entry in self.history) > self.seconds:
                break
            began, self.i, self.total = time.perf_counter(), i, 0.0
            yield i
            entry = {"epoch": i + 1, "loss": self.total / max(self.updates, 1), "updates": self.updates}
            self.history.append(entry | {"seconds": round(time.perf_counter() - began, 2)})
            self._judge()
            if self.on.is_global_zero:
                keep(self.checkpoint, self.parts, self.history, self.best)

    def batches(self):
        """Numbers of the batches of an epoch."""
        for j in range(self.updates):
            self.j, self.done = j, (self.i + j / self.updates) / self.length
            yield j

    def note(self, L):
        """Take down a loss, or stop at one that is not finite."""
        L = L.item()
        if not math.isfinite(L):
            way = "lower learning_rate or set clip, and see that the data hold no NaN"
            raise FloatingPointError(f"the loss became {L} in epoch {self.i + 1}, update {self.j + 1}; {way}")
        self.total += L
        self.bar.update()
        self.bar.set_postfix_str(f"epoch {self.i + 1}/{self.length}, loss {L:.2e}", refresh=False)

    def _judge(self):
        if self.validate:
            network = self.parts["mean"].module if "mean" in self.parts else self.parts["network"]
            error = float(self.validate(network))
            self.history[-1]["validation error"] = error
            if math.isfinite(error) and error < (self.best["error"] if self.best else math.inf):
                state = {name: value.clone() for name, value in network.state_dict().items()}
                self.best = {"error": error, "network": state}


class Shuffled:
    """Windows in a new order each epoch, which draws from ``seed`` plus its number."""

    def __init__(self, X, batch, seed=0):
        self.X, self.size, self.seed = X, min(batch, len(X)), seed
        self.updates = len(X) // self.size

    def shuffle(self, epoch):
        torch.manual_seed(self.seed + epoch)
        self.order = torch.randperm(len(self.X))

    def batch(self, j):
        return self.X[self.order[j * self.size : (j + 1) * self.size]]


class Drawn:
    """Batches drawn at random by ``draw()``; with a seed, anew from ``seed`` plus the epoch's number."""

    def __init__(self, draw, seed=None):
        self.draw, self.seed = draw, seed

    def shuffle(self, epoch):
        if self.seed is not None:
            torch.manual_seed(self.seed + epoch)

    def batch(self, j):
        return self.draw()


def keep(checkpoint, parts, history, best=None):
    """Write the state of a training, dict of parts with a ``state_dict``, and its history: whole or not at all."""
    if checkpoint is None:
        return
    state = {name: part.state_dict() for name, part in parts.items()}
    data = io.BytesIO()
    torch.save({**state, "history": history, "random": torch.get_rng_state(), "best": best}, data)
    replace_file(checkpoint, data.getvalue())


def resume(checkpoint, parts):
    """Take up what :func:`keep` wrote, if it is there: history, state of the random numbers, best weights so far."""
    if checkpoint is None or not Path(checkpoint).exists():
        return [], None, None
    try:
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return state["history"], state["random"], state["best"]
    except Exception as error:
        said = "does not belong to this training or is damaged; delete it to start afresh"
        raise ValueError(f"checkpoint={str(checkpoint)!r} {said}") from error


def pick_device(device):
    """A torch device; "auto" is CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r} cannot be used here ({error}); take 'auto' or 'cpu'") from error


class Devices:
    """One device and one process, behind the part of Lightning Fabric's interface that a training needs."""

    world_size, global_rank, is_global_zero = 1, 0, True

    def __init__(self, device="auto"):
        self.device = pick_device(device)

    def setup(self, network, adam):
        return network.to(self.device), adam

    def to_device(self, tensors):
        return [tensor.to(self.device) for tensor in tensors]

    def backward(self, L):
        L.backward()


@functools.cache
def launched():
    """The devices, processes and precision that ``fabric run`` asked for, else one device."""
    if not os.environ.get("LT_CLI_USED"):
        return Devices()
    from lightning_fabric import Fabric  # optional: for a training on several GPUs

    return Fabric()
