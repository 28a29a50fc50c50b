"""Variational inference: a lower bound on log p(x) that samples can estimate.

For any distribution q(z) over the latent z,

    log p(x) = E_q[log p(x, z) - log q(z)] + KL(q(z) ‖ p(z | x)),

and as the KL is never negative, the first term is a lower bound, the ELBO (Jordan et al. 1999; Kingma &
Welling 2014, Eqs. 1 and 2). It equals log p(x) exactly where q is the posterior. Both functions below need
only two numbers for each sample z_s ~ q: the log joint, log p(x, z_s), and log q(z_s). Everything is in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def elbo(log_joint: Tensor, log_q: Tensor) -> Tensor:
    """Monte-Carlo estimate of the ELBO: the mean over samples of log p(x, z_s) - log q(z_s).

    ``log_joint`` and ``log_q`` (S, ...): S samples z_s ~ q on the first axis. Returns (...), nats, unbiased.
    Where q is the exact posterior, every sample gives log p(x) itself and the estimate has no variance.
    Raises ValueError for unequal shapes or no sample.
    Source: Kingma & Welling (2014), Eq. 2.
    """
    return _log_weights(log_joint, log_q).mean(dim=0)  # the mean of logs, not the log of a mean


def importance_weighted_bound(log_joint: Tensor, log_q: Tensor) -> Tensor:
    """The importance-weighted bound: the log of the mean weight p(x, z_s) / q(z_s), taken in log space.

    ``log_joint`` and ``log_q`` (S, ...): S samples z_s ~ q on the first axis. Returns (...), nats.
    One sample gives the ELBO; with more, its expectation rises towards log p(x). On the same samples it is
    never below ``elbo`` (Jensen). Raises ValueError for unequal shapes or no sample.
    Source: Burda et al. (2016), *Importance Weighted Autoencoders*.
    """
    log_weights = _log_weights(log_joint, log_q)
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def _log_weights(log_joint: Tensor, log_q: Tensor) -> Tensor:
    """log p(x, z_s) - log q(z_s), (S, ...), once the two are known to fit."""
    if log_joint.shape != log_q.shape:
        raise ValueError(
            "log_joint and log_q need one value for each sample, the same shape: "
            f"got {tuple(log_joint.shape)} and {tuple(log_q.shape)}."
        )
    if log_joint.dim() == 0 or len(log_joint) == 0:
        raise ValueError("A bound needs at least one sample: put the samples on the first axis, (S, ...).")
    return log_joint - log_q
