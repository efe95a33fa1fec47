"""Roles, sampling and scoring on the tiny model. A test names the rule that it checks (DESIGN §7)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from core.configs.ppo import Policy, PolicyOptim, Rollout
from core.models.loading import load_model
from core.ppo.learning import Learner, Lesson
from core.ppo.roles import CRITIC, POLICY, REFERENCE, Roles
from core.ppo.rollout import Sample, draw, judged, sample, score, uniforms
from core.training.batching import Pack
from tests.ppo_tools import encoder_of, plain_logprobs, prompts_of, roles_of, sampled


@pytest.fixture
def stops(tiny_model: Path) -> list[int]:
    return encoder_of(tiny_model)[1].stop_ids


def fast(roles: Roles, model: Path) -> Roles:
    rows = [(prompt.ids, prompt.ids) for prompt in prompts_of(model, 2)]
    assert roles.speed_up(Pack.of(rows)) is None
    return roles


def scored(roles: Roles, samples: list[Sample], temperature: float = 1.0, granted: int = 200):
    return score(roles, samples, temperature=temperature, granted=granted, check_stop=lambda: None)


def weights_hash(roles: Roles) -> str:
    digest = hashlib.sha256()
    for name, parameter in roles.base.named_parameters():
        if "lora_" not in name:
            digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def lessons(roles: Roles, samples: list[Sample], temperature: float = 1.0) -> list[Lesson]:
    generator = np.random.default_rng(0)
    return [
        Lesson(
            one.row, said.old, generator.normal(size=len(one.ids)).astype(np.float32), said.values,
            said.values + generator.normal(size=len(one.ids)).astype(np.float32),
        )
        for one, said in zip(samples, scored(roles, samples, temperature), strict=True)
    ]  # fmt: skip


def learner(roles: Roles, granted: int = 200, **settings: float) -> Learner:
    policy = Policy(**{"epochs": 1, **settings})
    return Learner(roles, policy, PolicyOptim(learning_rate=1e-2), steps=10, granted=granted, temperature=1.0, seed=1)


@pytest.mark.parametrize("way", ["fast", "plain"])
def test_rules_2_and_26_what_was_drawn_is_scored_alike_whatever_stands_beside_it(
    tiny_model: Path, stops: list[int], way: str
) -> None:
    """Left padding in sampling, packs in scoring, one row alone: the same log-probabilities."""
    roles = roles_of(tiny_model)
    if way == "fast":
        fast(roles, tiny_model)
    samples = sampled(roles, prompts_of(tiny_model), stops=stops, batch_size=4)
    assert len({len(one.prompt.ids) for one in samples}) > 2
    for one, said in zip(samples, scored(roles, samples), strict=True):
        alone = plain_logprobs(roles, POLICY, one).numpy()
        np.testing.assert_allclose(one.logprobs, alone, atol=1e-5)
        np.testing.assert_allclose(said.old, alone, atol=1e-5)
        np.testing.assert_allclose(said.reference, plain_logprobs(roles, REFERENCE, one).numpy(), atol=1e-5)
        assert np.abs(said.kl).max() > 1e-3


def test_rule_26_noise_is_keyed_by_seed_and_number_alone(tiny_model: Path, stops: list[int]) -> None:
    roles, prompts = roles_of(tiny_model), prompts_of(tiny_model)
    whole = sampled(roles, prompts, stops=stops, batch_size=16)
    few = sampled(roles, prompts, stops=stops, batch_size=2)
    assert [one.ids.tolist() for one in whole] == [one.ids.tolist() for one in few]
    other = sampled(roles, prompts, stops=stops, seed=6)
    assert [one.ids.tolist() for one in whole] != [one.ids.tolist() for one in other]
    assert torch.equal(uniforms(3, 7, 4), uniforms(3, 7, 9)[:4])
    assert not torch.equal(uniforms(3, 7, 4), uniforms(3, 8, 4))


def test_rule_26_in_bf16(tiny_model: Path, stops: list[int]) -> None:
    roles = fast(roles_of(tiny_model, dtype=torch.bfloat16), tiny_model)
    samples = sampled(roles, prompts_of(tiny_model), stops=stops)
    for one, said in zip(samples, scored(roles, samples), strict=True):
        np.testing.assert_allclose(one.logprobs, said.old, atol=0.05)


def test_rule_5_draws_follow_the_models_own_distribution() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).repeat(20_000, 1)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = torch.bincount(draw(logits, uniform, 1.0), minlength=4) / 20_000
    torch.testing.assert_close(share, logits[0].softmax(0), atol=0.01, rtol=0)
    narrow = torch.bincount(draw(logits, uniform, 0.8), minlength=4)
    assert narrow[1] == narrow[3] == 0
    assert draw(logits[:1], torch.tensor([0.0], dtype=torch.float64), 1.0).item() == 0
    assert draw(logits[:1], torch.tensor([1 - 1e-16], dtype=torch.float64), 1.0).item() == 3


def test_rules_1_and_7_an_answer_ends_with_its_first_stop_token(tiny_model: Path, stops: list[int]) -> None:
    """pad is not eos here; where it is, nothing changes, because rows have lengths and no padding id."""
    roles, prompts = roles_of(tiny_model), prompts_of(tiny_model)
    everything = list(range(0, 512, 3))  # a third of the vocabulary stops: most answers end soon
    samples = sampled(roles, prompts, stops=everything, max_new_tokens=6)
    assert any(one.ended for one in samples)
    for one, said in zip(samples, scored(roles, samples), strict=True):
        inside, last = one.ids[:-1].tolist(), int(one.ids[-1])
        assert not set(inside) & set(everything)
        assert one.ended == (last in everything)
        assert len(one.ids) == 6 or one.ended
        assert len(said.old) == len(said.values) == len(one.ids)
        assert (one.row[1] >= 0).sum() == len(one.ids)


def test_an_answer_may_fill_the_context_and_no_more(tiny_model: Path) -> None:
    roles, prompts = roles_of(tiny_model), prompts_of(tiny_model, 2)
    found = sample(
        roles, list(enumerate(prompts)), Rollout(max_new_tokens=None), stop_ids=[511], context=40, seed=1,
        check_stop=lambda: None,
    )  # fmt: skip
    assert all(len(one.prompt.ids) + len(one.ids) == 40 or one.ended for one in found)


def test_rule_3_a_score_is_read_at_the_answers_last_token(tiny_model: Path, stops: list[int]) -> None:
    """It does not change with what stands beside the row, and it does change with the last token."""
    roles = fast(roles_of(tiny_model), tiny_model)
    roles.judges[CRITIC] = torch.nn.Linear(64, 1, bias=False)  # any adapter will do for a reward model
    samples = sampled(roles, prompts_of(tiny_model), stops=stops)
    together = judged(roles, CRITIC, samples, granted=500, check_stop=lambda: None)
    alone = [judged(roles, CRITIC, [one], granted=500, check_stop=lambda: None)[0] for one in samples]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    one = samples[0]
    other = Sample(
        one.number, one.prompt, np.append(one.ids[:-1], one.ids[-1] ^ 1).astype(np.int32), True, one.logprobs
    )
    assert abs(judged(roles, CRITIC, [other], granted=500, check_stop=lambda: None)[0] - alone[0]) > 1e-4


def test_rule_4_no_role_drops_out(tiny_model: Path) -> None:
    roles = roles_of(tiny_model)
    assert not any(module.training for module in roles.modules())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_rule_6_every_log_probability_is_at_the_same_temperature(
    tiny_model: Path, stops: list[int], temperature: float
) -> None:
    roles = roles_of(tiny_model)
    samples = sampled(roles, prompts_of(tiny_model, 3), stops=stops, temperature=temperature)
    for one, said in zip(samples, scored(roles, samples, temperature), strict=True):
        np.testing.assert_allclose(one.logprobs, said.old, atol=1e-5)
        np.testing.assert_allclose(said.old, plain_logprobs(roles, POLICY, one, temperature).numpy(), atol=1e-5)
        np.testing.assert_allclose(
            said.reference, plain_logprobs(roles, REFERENCE, one, temperature).numpy(), atol=1e-5
        )


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_rule_11_the_first_minibatch_begins_at_a_ratio_of_one(
    tiny_model: Path, stops: list[int], dtype: torch.dtype, allowed: float
) -> None:
    roles = fast(roles_of(tiny_model, dtype=dtype), tiny_model)
    samples = sampled(roles, prompts_of(tiny_model), stops=stops)
    told = learner(roles).learn(lessons(roles, samples), step=0)
    assert told["ratio_off"] <= allowed
    assert told["approx_kl"] <= allowed
    assert told["clip_fraction"] == 0


@pytest.mark.parametrize("granted", [25, 10_000])
def test_rule_18_packs_do_not_change_the_step(tiny_model: Path, stops: list[int], granted: int) -> None:
    """One pack of all answers, or a pack for each."""
    after = []
    for size in (10_000, granted):
        roles = roles_of(tiny_model)
        samples = sampled(roles, prompts_of(tiny_model), stops=stops)
        learner(roles, granted=size, epochs=2, minibatches=2).learn(lessons(roles, samples), step=0)
        after.append([p.detach().clone() for p in roles.parameters() if p.requires_grad])
    for expected, found in zip(*after, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_rule_19_each_epoch_has_a_permutation_of_its_own(tiny_model: Path) -> None:
    each = learner(roles_of(tiny_model), epochs=3, minibatches=2)
    parts = [part.tolist() for part in each._minibatches(10, step=4)]
    assert len(parts) == 6
    epochs = [parts[at] + parts[at + 1] for at in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert parts == [part.tolist() for part in each._minibatches(10, step=4)]
    assert Policy().epochs == 4


def test_rules_24_and_25_the_reference_is_the_untouched_backbone(tiny_model: Path, stops: list[int]) -> None:
    roles = roles_of(tiny_model)
    prompts = prompts_of(tiny_model)
    before = weights_hash(roles)
    ids = torch.from_numpy(prompts[0].ids.astype(np.int64))[None]
    with torch.no_grad():
        expected = load_model(tiny_model, dtype=torch.float32, device="cpu")(input_ids=ids).logits
        with roles.computing(REFERENCE) as model:
            assert torch.equal(model(input_ids=ids).logits, expected)
        with roles.computing(POLICY) as model:
            assert not torch.allclose(model(input_ids=ids).logits, expected, atol=1e-3)
    learner(roles).learn(lessons(roles, sampled(roles, prompts, stops=stops)), step=0)
    assert weights_hash(roles) == before
    with torch.no_grad(), roles.computing(REFERENCE) as model:
        assert torch.equal(model(input_ids=ids).logits, expected)


def test_rule_26_also_after_the_policy_has_learnt(tiny_model: Path, stops: list[int]) -> None:
    """Sampling keeps the adapter's factors cast; the optimizer's writing makes them stale."""
    roles, prompts = roles_of(tiny_model), prompts_of(tiny_model)
    before = sampled(roles, prompts, stops=stops)
    learner(roles, epochs=3).learn(lessons(roles, before), step=0)
    for one, said in zip(after := sampled(roles, prompts, stops=stops), scored(roles, after), strict=True):
        np.testing.assert_allclose(one.logprobs, said.old, atol=1e-5)
        np.testing.assert_allclose(one.logprobs, plain_logprobs(roles, POLICY, one).numpy(), atol=1e-5)
        assert np.abs(said.kl).max() > 1e-3
    assert any(one.ids.tolist() != other.ids.tolist() for one, other in zip(before, after, strict=True))


def test_each_role_learns_from_its_own_loss_alone(tiny_model: Path, stops: list[int]) -> None:
    roles = roles_of(tiny_model)
    each = learner(roles)
    taught = lessons(roles, sampled(roles, prompts_of(tiny_model), stops=stops))
    each._policy_backward(taught, 40)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in each.learners[POLICY])
    assert all(p.grad is None for p in each.learners[CRITIC])
    each.optimizer.zero_grad()
    each._critic_backward(taught, 40)
    assert all(p.grad is None for p in each.learners[POLICY])
    assert all(p.grad is not None for p in each.learners[CRITIC])


def test_one_backbone_lies_in_memory(tiny_model: Path) -> None:
    """All roles together weigh the backbone and their small adapters."""
    roles = roles_of(tiny_model)
    backbone = sum(p.numel() for p in load_model(tiny_model, dtype=torch.float32, device="cpu").parameters())
    adapters = sum(p.numel() for name, p in roles.named_parameters() if "lora_" in name)
    assert sum(p.numel() for p in roles.parameters()) == backbone + adapters + roles.critic.weight.numel()
