"""The free run of LSTM layers and its gradient, compiled: Algorithm 2 under Algorithm 1, for processors.

A free run of PyTorch calls a dozen small operations a step; here a step is two loops, and each thread takes its share
of the batch.  :func:`cepkit.surrogates.lstm.run_layers` says the same in PyTorch.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit

from cepkit.progress import processors

_FAST = {"contract", "nsz", "arcp", "reassoc"}
jit = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
inline = njit(fastmath=_FAST, error_model="numpy", forceinline=True)
real, ONE, TWO = np.float32, np.float32(1), np.float32(2)
TERMS = tuple(real(1 / math.factorial(k)) for k in range(7))


@inline
def sigmoid(x):
    """1 / (1 + exp(-x)) without branches, so that loops of it vectorise; exp(-x) = 2^n exp(r), abs(r) < 0.35."""
    x = -min(max(x, real(-80)), real(80))
    n = np.floor(x * real(1 / math.log(2)) + real(0.5))
    r = x - n * real(math.log(2))
    p = ((TERMS[6] * r + TERMS[5]) * r + TERMS[4]) * r + TERMS[3]
    p = ((p * r + TERMS[2]) * r + ONE) * r + ONE
    return ONE / (ONE + p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32))


@inline
def tanh(x):
    return TWO * sigmoid(TWO * x) - ONE


@inline
def add_product(low, high, x, W, out):
    """``out += x @ W`` for rows ``low`` to ``high``, two rows at a time and four columns of x; W (4 n, columns)."""
    for k in range(0, len(W), 4):
        w0, w1, w2, w3 = W[k], W[k + 1], W[k + 2], W[k + 3]
        for b in range(low, high, 2):
            c = min(b + 1, high - 1)
            p, q, two = out[b], out[c], real(c > b)
            a0, a1, a2, a3 = x[b, k], x[b, k + 1], x[b, k + 2], x[b, k + 3]
            b0, b1, b2, b3 = two * x[c, k], two * x[c, k + 1], two * x[c, k + 2], two * x[c, k + 3]
            for j in range(len(p)):
                p[j] += (a0 * w0[j] + a1 * w1[j]) + (a2 * w2[j] + a3 * w3[j])
                q[j] += (b0 * w0[j] + b1 * w1[j]) + (b2 * w2[j] + b3 * w3[j])


@jit
def forward(low, high, W_in, W_own, bias, G, C, Y):
    """Fill gates G (layers, steps, batch, 4 H), cells C and outputs Y (layers, steps + 1, batch, H)."""
    layers, steps, H = G.shape[0], G.shape[1], C.shape[3]
    for t in range(steps):
        for k in range(layers):
            gates, before, after = G[k, t], C[k, t], C[k, t + 1]
            for b in range(low, high):
                gates[b] = bias[k]
            add_product(low, high, Y[-1, t] if k == 0 else Y[k - 1, t + 1], W_in[k], gates)
            add_product(low, high, Y[k, t], W_own[k], gates)
            for b in range(low, high):
                g, c, y = gates[b], after[b], Y[k, t + 1, b]
                for j in range(4 * H):
                    g[j] = tanh(g[j]) if 2 * H <= j < 3 * H else sigmoid(g[j])
                for j in range(H):
                    c[j] = g[H + j] * before[b, j] + g[j] * g[2 * H + j]
                    y[j] = g[3 * H + j] * tanh(c[j])


@jit
def backward(low, high, W_in, W_own, G, C, Y, dY, dC):
    """Turn the gates G into gradients of their sums; dY, the loss's gradients of Y, and dC (layers, batch, H) grow."""
    layers, steps, H = G.shape[0], G.shape[1], C.shape[3]
    for t in range(steps - 1, -1, -1):
        for k in range(layers - 1, -1, -1):
            for b in range(low, high):
                g, before, after, dy, dc = G[k, t, b], C[k, t, b], C[k, t + 1, b], dY[k, t + 1, b], dC[k, b]
                for j in range(H):
                    i, f, u, o, c = g[j], g[H + j], g[2 * H + j], g[3 * H + j], tanh(after[j])
                    d = dc[j] + dy[j] * o * (ONE - c * c)
                    g[j], g[H + j] = d * u * i * (ONE - i), d * before[j] * f * (ONE - f)
                    g[2 * H + j], g[3 * H + j] = d * i * (ONE - u * u), dy[j] * c * o * (ONE - o)
                    dc[j] = d * f
            add_product(low, high, G[k, t], W_in[k], dY[-1, t] if k == 0 else dY[k - 1, t + 1])
            add_product(low, high, G[k, t], W_own[k], dY[k, t])


def shared(job, batch, *arrays):
    """Run a job with each thread taking its share of the batch."""
    threads, arrays = min(torch.get_num_threads(), processors(), batch), [a.detach().numpy() for a in arrays]
    cut = [batch * k // threads for k in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda k: job(cut[k], cut[k + 1], *arrays), range(threads)))


def can_run(h):
    """Whether what is here takes hidden states like this: in single precision, on a processor, in fours."""
    return h.device.type == "cpu" and h.dtype == torch.float32 and h.shape[-1] % 4 == 0


def run(layers, h, c, steps):
    """As :func:`cepkit.surrogates.lstm.run_layers`."""
    W_in, W_own, b_in, b_own = (torch.stack(parts) for parts in zip(*layers, strict=True))
    return Unrolled.apply(W_in, W_own, b_in + b_own, h, c, steps).transpose(1, 2)


class Unrolled(torch.autograd.Function):
    """Outputs (layers, steps + 1, batch, H), the first being what came in, the last layer's fed back into the first.

    ``W_in`` and ``W_own`` have the shape (layers, 4 H, H), ``bias`` (layers, 4 H), ``h`` and ``c`` (layers, batch, H).
    """

    @staticmethod
    def forward(ctx, W_in, W_own, bias, h, c, steps):
        """The run, of which all gates, cells and outputs are kept."""
        layers, batch, H = h.shape
        G = torch.empty(layers, steps, batch, 4 * H)
        C, Y = torch.empty(2, layers, steps + 1, batch, H)
        C[:, 0], Y[:, 0] = c, h
        shared(forward, batch, *(W.transpose(1, 2).contiguous() for W in (W_in, W_own)), bias, G, C, Y)
        ctx.save_for_backward(W_in, W_own, G, C, Y)
        return Y.clone()

    @staticmethod
    def backward(ctx, gradient):
        """Backpropagation through time."""
        W_in, W_own, G, C, Y = ctx.saved_tensors
        dY, dC = gradient.clone(memory_format=torch.contiguous_format), torch.zeros_like(C[:, 0])
        shared(backward, Y.shape[2], W_in.contiguous(), W_own.contiguous(), G, C, Y, dY, dC)
        read = [Y[-1, :-1], *Y[:-1, 1:]]  # what each layer was fed
        sums = [(g.flatten(0, 1).T @ x.flatten(0, 1), g.flatten(0, 1).T @ y[:-1].flatten(0, 1))
                for g, x, y in zip(G, read, Y, strict=True)]  # fmt: skip
        return *map(torch.stack, zip(*sums, strict=True)), G.sum((1, 2)), dY[:, 0], dC, None
