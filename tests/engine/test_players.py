"""Who plays beside the learned agent: the floor that needs no eyes."""

import numpy as np
import pytest

from wmcourse.engine.players import ConstantAgent
from wmcourse.world_models_training import evaluate
from wmcourse.worlds import DodgeVectorEnv


@pytest.mark.parametrize("push", [-1.0, 0.25])
def test_a_push_is_held_for_ever(push: float) -> None:
    agent = ConstantAgent(push)
    agent.begin(3)
    for worlds in (3, 2):
        actions = agent.act(np.zeros((worlds, 32, 32, 1), np.uint8))
        assert actions.shape == (worlds, 1)
        assert actions.dtype == np.float32
        assert (actions == push).all()
        agent.keep(np.array([0, 2]))


def test_its_score_is_the_worlds_own() -> None:
    score = evaluate(ConstantAgent(1.0), DodgeVectorEnv(4), 4, 0, None)
    for i, survived in enumerate(score.returns):  # the same episodes, one by one
        world, total, ended = DodgeVectorEnv(1), 0.0, False
        world.reset(seed=i)
        while not ended:
            _, reward, terminated, truncated, _ = world.step(np.ones((1, 1), np.float32))
            total, ended = total + float(reward[0]), bool(terminated[0] or truncated[0])
        assert total == survived
