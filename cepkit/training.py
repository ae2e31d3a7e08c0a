"""Algorithm 1, offline training, and what surrounds it: checkpoints, history, reuse of earlier runs."""

import functools
import json
import os
import time
from pathlib import Path

import torch
from tqdm import tqdm

from cepkit.store import data_folder, digest


def offline_training(network, X, loss, *, epochs, batch, learning_rate=1e-3, decay=False, clip=None, seed=0,
                     checkpoint=None, progress=True):  # fmt: skip
    """Algorithm 1: tune the parameters of a network by Adam on shuffled batches of windows.

    Parameters
    ----------
    network : torch.nn.Module
        Its parameters are theta; tuned in place.
    X : Windows
        The training set {X_1, ..., X_Ns}, each of shape (N_t, N_in).
    loss : callable
        ``loss(network, X_b, done)``: lines 7 to 15, from a batch to the number to be made small;
        ``done`` is the share of the training that lies behind, 0 to 1.
    epochs, batch : int
        N_ep and N_b.
    learning_rate : float
        Of Adam.
    decay : bool
        Lower the learning rate to zero along a half cosine (a departure from the paper).
    clip : float, optional
        Bound on the norm of the gradient (a departure from the paper).
    seed : int
        Epoch i draws its random numbers from ``seed + i``, so that a training that was interrupted
        and resumed ends where an uninterrupted one does.
    checkpoint : path-like, optional
        Written after each epoch; a training that finds it goes on from there.

    Returns
    -------
    list of dict
        Per epoch: its number, mean loss, updates and seconds.

    Examples
    --------
    >>> network = torch.nn.Linear(2, 2)
    >>> X = torch.zeros(20, 2)
    >>> windows = cep.dataset.Windows(X, length=5)
    >>> def loss(network, X_b, done): return ((network(X_b[:, :-1]) - X_b[:, 1:]) ** 2).mean()
    ...
    >>> history = cep.training.offline_training(network, windows, loss, epochs=3, batch=4, progress=False)
    >>> [epoch["updates"] for epoch in history], history[-1]["loss"] < history[0]["loss"]
    ([4, 4, 4], True)
    """
    N_s, N_ep, N_b = len(X), epochs, min(batch, len(X))
    updates = N_s // N_b
    adam = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, N_ep * updates) if decay else None
    run = {"network": network, "adam": adam, "schedule": schedule}
    history = resume(checkpoint, run)
    bar = {"total": N_ep * updates, "initial": len(history) * updates, "desc": "training", "mininterval": 1}
    if not progress:
        bar["disable"] = True  # left out otherwise, so that TQDM_DISABLE is obeyed
    # fork_rng leaves the caller's random numbers as they were.
    with torch.random.fork_rng(), tqdm(**bar) as bar:
        for i in range(len(history), N_ep):
            began, total = time.perf_counter(), 0.0
            torch.manual_seed(seed + i)
            shuffled = torch.randperm(N_s)
            for j in range(updates):
                X_b = X[shuffled[j * N_b : (j + 1) * N_b]]
                L = loss(network, X_b, done=(i + j / updates) / N_ep)
                adam.zero_grad()
                L.backward()
                if clip:
                    torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
                adam.step()
                if schedule:
                    schedule.step()
                total += finite(L, epoch=i, update=j)
                bar.update()
                bar.set_postfix_str(f"epoch {i + 1}/{N_ep}, loss {total / (j + 1):.2e}")
            seconds = time.perf_counter() - began
            history.append({"epoch": i + 1, "loss": total / updates, "updates": updates, "seconds": round(seconds, 2)})
            keep(checkpoint, run, history)
    return history


@functools.cache
def fabric():
    """What a training runs on: the devices, processes and precision that ``fabric run`` asked for, else one device.

    Returns
    -------
    lightning_fabric.Fabric

    Examples
    --------
    >>> cep.training.fabric().world_size
    1
    """
    from lightning_fabric import Fabric  # takes two seconds to import

    return Fabric() if os.environ.get("LT_CLI_USED") else Fabric(accelerator="auto", devices=1)


def finite(L, epoch, update):
    """The loss as a number, or a clear end.

    Examples
    --------
    >>> cep.training.finite(torch.tensor(0.5), epoch=0, update=0)
    0.5
    """
    L = L.item()
    if L != L or L in (float("inf"), float("-inf")):
        raise FloatingPointError(
            f"the loss became {L} in epoch {epoch + 1}, update {update + 1}; "
            "lower learning_rate or set clip, and see that the data hold no NaN"
        )
    return L


def keep(checkpoint, run, history):
    """Write the state of a training, dict of parts with a ``state_dict``, and its history: whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = {"network": torch.nn.Linear(2, 2)}
    ...     cep.training.keep(f"{folder}/checkpoint", run, [{"epoch": 1}])
    ...     print(cep.training.resume(f"{folder}/checkpoint", run))
    ...
    [{'epoch': 1}]
    """
    if checkpoint is None:
        return
    checkpoint = Path(checkpoint)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    state = {name: part.state_dict() for name, part in run.items() if part is not None}
    partial = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}.partial")
    torch.save({**state, "history": history}, partial)
    os.replace(partial, checkpoint)


def resume(checkpoint, run):
    """Take up the state that :func:`keep` wrote, if there is one, and return its history.

    Examples
    --------
    >>> cep.training.resume(None, {})  # no checkpoint, no history
    []
    """
    if checkpoint is None or not Path(checkpoint).exists():
        return []
    try:
        state = torch.load(checkpoint, weights_only=True)
        for name, part in run.items():
            if part is not None:
                part.load_state_dict(state[name])
    except Exception as error:
        raise ValueError(
            f"checkpoint={str(checkpoint)!r} does not belong to this training or is damaged; delete it to start afresh"
        ) from error
    return state["history"]


def retrain():
    """What the environment variable RETRAIN asks for: "0" nothing, "1" (or unset) the chapter's models, "all".

    Examples
    --------
    >>> cep.training.retrain() in ("0", "1", "all")
    True
    """
    wish = os.environ.get("RETRAIN", "1")
    if wish not in ("0", "1", "all"):
        raise ValueError(f"RETRAIN={wish!r} must be 0 (train nothing), 1 (train what a chapter needs) or all")
    return wish


def trained(name, profile="laptop", progress=True):
    """A trained surrogate for a chapter, by the cheapest honest way, and one line about which way it was.

    With ``RETRAIN=0`` it is the kept one.  Otherwise it is an earlier run of the same profile if
    configuration, data and source code are what they were, and a new training if they are not.

    Parameters
    ----------
    name : str
        "lstm", "neural_ode" or any other name in ``cepkit.surrogates.registry``.
    profile : str
        Its configurations and its data; see :func:`cepkit.get_profile`.

    Returns
    -------
    Surrogate

    Examples
    --------
    >>> model = cep.training.trained("lstm", "smoke")  # doctest: +SKIP
    """
    from cepkit import surrogates
    from cepkit.dataset import split
    from cepkit.profiles import get_profile
    from cepkit.problems import golden_standard

    name = surrogates.canonical(name)
    size = get_profile(profile)
    if retrain() == "0" and surrogates.registry[name].trains:
        model = surrogates.load(name)
        print(f"{name}: RETRAIN=0, so the kept weights are used ({model.summary()})")
        return model
    golden = golden_standard(profile)
    train, _ = split(golden, size.fraction)
    model = surrogates.make(name, size)
    path = data_folder() / "runs" / profile / name
    recipe = {
        "configuration": model.configuration,
        "data_hash": golden.attrs["data_hash"],
        "version": model.version,
    }
    recipe = json.loads(json.dumps(recipe))  # as a card holds it: lists, no tuples
    if (path / "card.json").exists():
        earlier = surrogates.read_card(path)
        if earlier.get("recipe") == recipe:
            model = surrogates.load(path)
            print(f"{name}: nothing has changed since it was trained, so that run is used ({model.summary()})")
            return model
    print(f"{name}: training, profile {profile}")
    checkpoint = path.with_name(f"{name}-{digest(json.dumps(recipe, sort_keys=True).encode())}.checkpoint")
    model.fit(train, progress=progress, checkpoint=checkpoint)
    model.card |= {"profile": profile, "recipe": recipe}
    model.save(path)
    for finished in checkpoint.parent.glob(f"{checkpoint.name}-*"):
        finished.unlink()
    print(f"{name}: trained ({model.summary()})")
    return model
