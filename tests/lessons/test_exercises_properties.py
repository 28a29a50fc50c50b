"""Exercises whose answer draws its own noise: judged by what must hold in whatever order it is drawn."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from wmcourse.lessons.errors import AnswerCrashed, WrongAnswer
from wmcourse.lessons.exercise import Ask, Exercise, Mistake
from wmcourse.lessons.judge import Case

Rng = np.random.Generator


def cases(rng: Rng) -> Iterator[Case]:
    yield Case({"x": rng.normal(size=(3, 2))}, "a small batch", ("x",))


def right(x: torch.Tensor) -> torch.Tensor:
    return x + torch.randn_like(x)


def seeded(answer: Any, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(int(x[0, 0]))
    return answer(x)


def properties(ask: Ask, rng: Rng) -> str:
    zeros = np.zeros((400, 2))
    noise = ask(Case({"x": zeros}, "zeros")).values[0]
    if np.allclose(noise, ask(Case({"x": zeros + 5}, "fives"), seeded).values[0] - 5):
        return "always the same: the seed changes nothing."
    return "" if abs(noise.std() - 1) < 0.2 else "the noise is not of width 1."


def doubled(x: torch.Tensor) -> torch.Tensor:
    return x + 2 * torch.randn_like(x)


def halved(x: torch.Tensor) -> torch.Tensor:
    return x + 0.5 * torch.randn_like(x)


def frozen(x: torch.Tensor) -> torch.Tensor:
    return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)


NOISY = Exercise(
    "noisy",
    "Noise",
    5,
    1,
    ("one", "two"),
    (
        Mistake("twice too wide", doubled, "Its values are those of a known mistake."),
        Mistake("always the same", frozen, "The property itself knows its name."),
        Mistake("cut off", lambda x: right(x).detach(), "No gradient."),
    ),
    (),
    reference=right,
    cases=cases,
    properties=properties,
    expects="x and noise",
    checked="all",
)


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_any_order_of_the_noise_is_right(seed: int | None) -> None:
    for answer in (right, lambda x: x - torch.randn_like(x), lambda x: x + torch.randn(x.shape[::-1]).T.to(x.dtype)):
        NOISY.judge(answer, seed)


@pytest.mark.parametrize(
    ("answer", "mistake", "says"),
    [
        (doubled, "twice too wide", "the noise is not of width 1"),  # by its values, under the same seed
        (lambda x: frozen(x.flip(0)).flip(0), "always the same", "the seed changes nothing"),  # by the property's words
        (lambda x: x.detach() + torch.randn_like(x), "cut off", "no gradient reaches `x`"),
        (halved, None, "the noise is not of width 1"),
        (lambda x: right(x)[:1], None, "shape"),
        (lambda x: right(x).float(), None, "float32"),
        (lambda x: right(x) * float("nan"), None, "NaN"),
        (lambda x: (right(x), right(x)), None, "2 things"),
        (lambda x: right(x) if len(x) < 10 else None, None, "it returns None"),
        (lambda x: right(x).detach().numpy(), "cut off", "not a tensor"),
    ],
)
def test_wrong_answers(answer: Any, mistake: str | None, says: str) -> None:
    for seed in range(3):
        with pytest.raises(WrongAnswer, match=says) as failure:
            NOISY.judge(answer, seed)
        assert failure.value.mistake == mistake


def test_an_answer_that_stops_where_a_property_asks() -> None:
    def stops(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 10:
            raise ValueError("too many")
        return right(x)

    with pytest.raises(AnswerCrashed, match="too many"):
        NOISY.judge(stops)
