"""The course's table of contents, as the study guide sets it out. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A lesson as the table of contents has it."""

    number: str
    slug: str
    title: str
    hours: tuple[int, int]
    week: int
    concept: str  # what it ticks on the study guide's checklist; "" for the one that puts others together
    able: str  # what you can do after it

    @property
    def stem(self) -> str:
        """The name of its notebook."""
        return f"{self.number}_{self.slug}"


SYLLABUS = (
    Entry("01", "variational_inference", "Variational inference", (2, 3), 1,
          "Understand variational inference", "bound a likelihood that you cannot compute"),
    Entry("02", "reparameterization_trick", "Reparameterization trick", (1, 2), 1,
          "Master reparameterization trick", "send a gradient through a random draw"),
    Entry("03", "kl_divergence_loss", "KL divergence loss", (2, 3), 1,
          "Know KL divergence and its role", "measure what a latent code costs, and notice when it collapses"),
    Entry("04", "reconstruction_loss", "Reconstruction loss", (1, 2), 1,
          "Understand reconstruction losses", "choose the likelihood that fits your pixels"),
    Entry("05", "vae_complete_loss", "VAE complete loss", (1, 1), 1,
          "", "trade rate against distortion, and train your own VAE"),
    Entry("06", "lstm_gru", "LSTM and GRU", (2, 3), 2,
          "Grasp LSTM/GRU mechanics", "remember what a single frame does not show"),
    Entry("07", "mixture_density_networks", "Mixture density networks", (2, 3), 2,
          "Learn mixture density networks", "predict two futures instead of their average"),
    Entry("08", "mdn_rnn", "MDN-RNN", (2, 3), 2,
          "Understand MDN-RNN architecture", "dream a world forward, one latent at a time"),
    Entry("09", "model_predictive_control", "Model predictive control", (2, 3), 3,
          "Know MPC and planning", "act by planning, and plan again at each step"),
    Entry("10", "cross_entropy_method", "Cross-entropy method", (1, 2), 3,
          "Understand CEM optimization", "find a good plan with few rollouts"),
    Entry("11", "world_models_training", "World models training", (2, 3), 3,
          "Grasp complete world model training", "put the parts together and score the result honestly"),
)  # fmt: skip
PACES = {"two weeks": 2.5, "one week": 4.5}  # hours a day, the middle of what the study guide says


def find(name: str | int) -> Entry | None:
    """A lesson by number (3, "3", "03"), slug, or the name of its notebook; None when there is none."""
    text = str(name).strip().removesuffix(".ipynb").removesuffix(".py")
    for entry in SYLLABUS:
        if text in (entry.slug, entry.stem) or text.zfill(2) == entry.number:
            return entry
    return None
