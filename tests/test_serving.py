"""The decode loop and what feeds it: right adapters, fair turns, same seed same text, whole characters, refusals."""

from __future__ import annotations

import json
import queue
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import GalenError, InputError, ModelError
from core.models.lineage import adapter_weights, base_weights, run_weights
from core.references import RunRef
from core.rundir import write_text
from core.serving.answer import Answer
from core.serving.engine import Engine
from core.serving.registry import Registry, Served
from core.serving.sampling import FEW, Sampling, candidates, choose, penalise
from core.serving.text import Detokeniser, StopWords
from core.workspace import Workspace
from tests.models_tools import make_adapter, make_run, make_whole_run

QUESTION = [{"role": "user", "content": "发烧 ba be bi?"}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("serving") / "workspace")


@pytest.fixture(scope="module")
def registry(place: Workspace, tiny_model: Path) -> Registry:
    """The tiny model with two runs on it, called one and two."""
    base = base_weights(place, str(tiny_model))
    made = Registry(base, dtype=torch.float32, device="cpu")
    for number, name in enumerate(("one", "two"), start=1):
        run = make_run(place, tiny_model, seed=number, name=name)
        made.add(run_weights(place, RunRef(run=run.id)), alias=name)
    return made


@pytest.fixture
def engine() -> Any:
    running = Engine()
    yield running
    running.close()


class Ask:
    """One question to an engine, waited for in the test."""

    def __init__(self, registry: Registry, name: str, **sampling: Any) -> None:
        self.text, self.facts, self.error = "", None, None
        self.order: list[str] = []
        self.done = threading.Event()
        served = registry[name]
        sampling = {"max_tokens": 24, "temperature": 0.0, **sampling}
        self.answer = Answer(
            served, served.encoder.prompt_ids(QUESTION), Sampling(**sampling), on_text=self._text, on_end=self._end
        )

    def _text(self, text: str) -> None:
        self.text += text

    def _end(self, facts: dict | None, error: GalenError | None) -> None:
        self.facts, self.error = facts, error
        self.done.set()

    def wait(self, engine: Engine) -> list[int]:
        engine.submit(self.answer)
        return self.result()

    def result(self) -> list[int]:
        assert self.done.wait(30)
        assert self.error is None, self.error
        return self.answer.tokens


def plain_greedy(model: Any, prompt: Sequence[int], count: int, stops: frozenset[int]) -> list[int]:
    """Greedy decoding without any cache: the whole sequence again for every token."""
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in stops:
            break
    return ids[len(prompt) :]


# -- the right weights ------------------------------------------------------------------------------------------------
def test_base_and_adapters_equal_plain_transformers_and_peft(
    registry: Registry, engine: Engine, place: Workspace, tiny_model: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def fresh() -> Any:
        return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()

    served = registry["base"]
    prompt = served.encoder.prompt_ids(QUESTION)
    expected = {"base": plain_greedy(fresh(), prompt, 24, served.stop_ids)}
    for name in ("one", "two"):
        folder = next(run for run in place.runs() if run.config()["run"]["name"] == name).output / "adapter"
        model = PeftModel.from_pretrained(fresh(), str(folder)).eval()
        expected[name] = plain_greedy(model, prompt, 24, served.stop_ids)
    assert len({tuple(tokens) for tokens in expected.values()}) == 3, "the adapters change the answers"
    for name, tokens in expected.items():
        assert Ask(registry, name).wait(engine) == tokens


def test_interleaved_answers_equal_those_alone(registry: Registry, engine: Engine) -> None:
    settings = [("base", 0.0), ("one", 0.0), ("two", 0.9), ("base", 0.9), ("one", 0.9)]
    alone = [Ask(registry, name, temperature=heat, seed=5).wait(engine) for name, heat in settings]
    together = [Ask(registry, name, temperature=heat, seed=5) for name, heat in settings]
    for ask in together:
        engine.submit(ask.answer)
    assert [ask.result() for ask in together] == alone


def test_rows_join_and_leave_a_batch(registry: Registry, engine: Engine) -> None:
    """Prompts of other lengths come while others write, short answers leave, and each text is the one alone."""
    questions = ["发烧?", "ba be bi bo bu da de di", "糖尿病 " * 20, "fa", "血压 fi fo"]
    cases = [
        (("base", "one", "two")[number % 3], [{"role": "user", "content": question}], 6 + 9 * number)
        for number, question in enumerate(questions)
    ]

    def ask(name: str, asked: list[dict], count: int) -> Ask:
        made = Ask(registry, name)
        served, sampling = registry[name], Sampling(max_tokens=count, temperature=0.8, seed=count)
        made.answer = Answer(served, served.encoder.prompt_ids(asked), sampling, made._text, made._end)
        return made

    alone = [ask(*case).wait(engine) for case in cases]
    together = []
    for case in cases:
        together.append(ask(*case))
        engine.submit(together[-1].answer)
        while not together[-1].answer.tokens and not together[-1].done.is_set():
            pass
    assert [each.result() for each in together] == alone
    assert len({len(tokens) for tokens in alone}) > 2


def test_a_joined_batch_pads_no_more_than_its_rows_need(registry: Registry) -> None:
    """The longest row leaves, and its columns with it; the numbers of the others stay."""
    body = registry["base"].body
    rows = [list(range(20, 60)), list(range(80, 90))]
    alone = body.state()
    body.forward([rows[1]], [None], alone)
    expected = body.forward([[7]], [None], alone)
    states = [body.state(), body.state()]
    for row, state in zip(rows, states, strict=True):
        body.forward([row], [None], state)
    both = body.join(states[0], 1, states[1], 1)
    assert (both.width, both.mask is None) == (40, False)
    body.keep(both, [1])
    assert (both.width, both.mask) == (10, None)
    torch.testing.assert_close(body.forward([[7]], [None], both), expected, rtol=0, atol=1e-5)


def test_rows_of_a_batch_get_the_logits_of_their_adapters(registry: Registry) -> None:
    body = registry["base"].body
    names = [None, registry["one"].adapter, registry["two"].adapter, registry["one"].adapter]
    ids = list(range(30, 50))
    together = body.forward([ids] * 4, names, body.state())
    alone = torch.cat([body.forward([ids], [name], body.state()) for name in names])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert (together[1] - together[0]).abs().max() > 0.1
    assert torch.equal(together[1], together[3])


def test_a_model_whose_layers_are_spread_takes_adapters_too(tiny_model: Path, tmp_path: Path) -> None:
    """With Accelerate's hooks on its layers, as `gpus=0,1` gives it."""
    from accelerate import dispatch_model
    from transformers import AutoModelForCausalLM

    from core.serving.adapters import Adapters, read_factors
    from core.serving.body import Body
    from core.serving.registry import share

    factors = read_factors([make_adapter(tiny_model, tmp_path / "adapter", seed=5)])
    found = []
    for spread in (False, True):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
        if spread:
            parts = (
                "model.embed_tokens",
                "model.layers.0",
                "model.layers.1",
                "model.norm",
                "model.rotary_emb",
                "lm_head",
            )
            dispatch_model(model, dict.fromkeys(parts, "cpu"), force_hooks=True)
        adapters = Adapters(share(model))
        adapters.add("a", factors)
        body = Body(adapters.model, adapters)
        assert body.joins
        found.append(body.forward([[5, 6, 7], [8, 9, 10]], [None, "a"], body.state()))
    assert torch.equal(*found)


def test_turns_are_fair(registry: Registry) -> None:
    """Two answers that are asked for together end together, not one after the other."""
    order: list[str] = []
    asks = {name: Ask(registry, name, max_tokens=20, temperature=5.0, seed=3) for name in ("base", "one")}
    for name, ask in asks.items():
        ask.answer.take = _noting(ask.answer.take, order, name)  # type: ignore[method-assign]
    engine = Engine()
    for ask in asks.values():
        engine.submit(ask.answer)
    for ask in asks.values():
        ask.result()
    engine.close()
    shared = order[: 2 * min(order.count("base"), order.count("one"))]
    assert all(shared[at : at + 2].count("base") == 1 for at in range(0, len(shared), 2)), order


def _noting(take: Any, order: list[str], name: str) -> Any:
    def noted(logits: torch.Tensor) -> bool:
        order.append(name)
        return bool(take(logits))

    return noted


def test_plain_lora_lies_on_the_base_s_own_tensors(registry: Registry) -> None:
    base, one = registry["base"], registry["one"]
    assert one.body is base.body
    assert not any("lora" in name for name, _ in base.body.model.named_parameters())
    assert base.body.joins


def test_what_is_more_than_plain_lora_gets_a_body_over_the_same_tensors(
    registry: Registry, engine: Engine, place: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    def fresh() -> Any:
        return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()

    torch.manual_seed(4)
    folder = tmp_path / "dora"
    config = LoraConfig(r=4, target_modules="all-linear", use_dora=True, init_lora_weights=False)
    get_peft_model(fresh(), config).save_pretrained(folder)
    served = registry.add(adapter_weights(place, folder, tiny_model), alias="dora")
    assert isinstance(served, Served)
    assert served.body is not registry["base"].body
    shared = {id(parameter) for parameter in registry._model.parameters()}
    assert shared <= {id(parameter) for parameter in served.body.model.parameters()}
    prompt = served.encoder.prompt_ids(QUESTION)
    expected = plain_greedy(PeftModel.from_pretrained(fresh(), str(folder)).eval(), prompt, 24, served.stop_ids)
    asks = [Ask(registry, name) for name in ("dora", "one", "dora")]
    for ask in asks:
        engine.submit(ask.answer)
    assert [ask.result() for ask in asks][::2] == [expected, expected]


def test_provenance_is_that_of_the_files(registry: Registry, engine: Engine, tiny_model: Path) -> None:
    import hashlib

    ask = Ask(registry, "one", seed=9, temperature=1.0)
    tokens = ask.wait(engine)
    adapter = registry["one"].provenance["adapter_sha256"]
    assert ask.facts is not None
    assert ask.facts["base_sha256"] == hashlib.sha256((tiny_model / "model.safetensors").read_bytes()).hexdigest()
    assert ask.facts["adapter_sha256"] == adapter != registry["two"].provenance["adapter_sha256"]
    assert (ask.facts["seed"], ask.facts["tokens"]) == (9, len(tokens))
    assert ask.facts["finish_reason"] in ("stop", "length")
    assert Ask(registry, "base").answer.served.provenance["adapter"] is None


def test_wrong_adapters_are_refused(registry: Registry, place: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "other"))
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    stranger = make_run(place, other, seed=7)
    with pytest.raises(ModelError) as error:
        registry.add(run_weights(place, RunRef(run=stranger.id)))
    assert error.value.code == "model.adapter_other_base"

    from safetensors.torch import load_file, save_file

    for change in ("missing", "shape"):
        adapter = make_adapter(tiny_model, tmp_path / change)
        tensors = load_file(adapter / "adapter_model.safetensors")
        name = next(iter(tensors))
        whole = tensors.pop(name)
        if change == "shape":
            tensors[name] = whole[:, :3].contiguous()
        save_file(tensors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError) as error:
            registry.add(adapter_weights(place, adapter, tiny_model))
        assert error.value.code == "model.adapter_mismatch", change


def test_a_whole_model_is_served_beside_the_base(
    registry: Registry, engine: Engine, place: Workspace, tiny_model: Path
) -> None:
    run = make_whole_run(place, tiny_model, name="full")
    served = registry.add(run_weights(place, RunRef(run=run.id)))
    assert Ask(registry, run.id).wait(engine) == Ask(registry, "base").wait(engine)
    assert served.provenance["adapter"] is None
    assert served.provenance["base"] == run.id


# -- sampling ---------------------------------------------------------------------------------------------------------
def test_same_seed_same_text(registry: Registry, engine: Engine) -> None:
    def tokens(seed: int) -> list[int]:
        return Ask(registry, "one", temperature=1.0, seed=seed).wait(engine)

    assert tokens(1) == tokens(1)
    assert len({tuple(tokens(seed)) for seed in range(4)}) > 1


def test_a_run_answers_in_the_template_it_was_trained_with(
    registry: Registry, place: Workspace, tiny_model: Path
) -> None:
    """Its checkpoints hold no tokenizer, and the base's may carry another template."""
    run = make_run(place, tiny_model, seed=3, steps=(1,))
    config = {**run.config(), "model": {"base": str(tiny_model), "template": "plain"}}
    write_text(run.config_json, json.dumps(config))
    for which in ("output", "last"):
        served = registry.add(run_weights(place, RunRef(run=run.id, which=which)))
        assert served.encoder.template_name == "plain"
    assert registry["base"].encoder.template_name == "tokenizer"


def test_peft_is_told_the_device(
    registry: Registry, place: Workspace, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for a device of its own choice, PEFT takes the first GPU, which a training may hold."""
    monkeypatch.setattr("peft.peft_model.infer_device", lambda: pytest.fail("PEFT chooses a device"))
    adapter = make_adapter(tiny_model, tmp_path / "adapter", seed=11)
    weights = adapter_weights(place, adapter, tiny_model)
    assert registry._attach(weights, adapter).device.type == "cpu"


def test_sampling_arithmetic() -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.15, 0.25])
    for top_p, kept in ((0.7, [1, 3]), (0.5, [1]), (1e-12, [1]), (0.9999, [1, 3, 2, 0])):
        ids, shares = candidates(probabilities.log(), 0, top_p)
        assert ids.tolist() == kept
        assert shares.tolist() == pytest.approx(probabilities[kept].tolist())
    assert candidates(probabilities.log(), 0, 1.0)[0] is None
    assert candidates(probabilities.log(), 2, 1.0)[1].tolist() == pytest.approx([2 / 3, 1 / 3])
    logits = torch.tensor([2.0, -2.0, 1.0])
    assert penalise(logits, [0, 1, 1], 2.0).tolist() == [1.0, -4.0, 1.0]
    generator = torch.Generator().manual_seed(0)
    only = Sampling(temperature=3.0, top_k=1)
    assert {choose(logits, [], only, generator) for _ in range(20)} == {0}
    drawn = [choose(torch.log(probabilities), [], Sampling(), generator) for _ in range(4000)]
    found = [drawn.count(token) / 4000 for token in range(4)]
    assert found == pytest.approx(probabilities.tolist(), abs=0.03)


def test_a_flat_distribution_is_sorted_whole() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4 * FEW) / 10
    ids, shares = candidates(logits, 0, 0.8)
    ordered, order = logits.softmax(-1).sort(descending=True)
    kept = int((ordered.cumsum(-1) - ordered < 0.8).sum())
    assert kept > FEW
    assert ids.tolist() == order[:kept].tolist()
    torch.testing.assert_close(shares, ordered[:kept])


def test_limits_and_context(registry: Registry, engine: Engine) -> None:
    assert len(Ask(registry, "base", max_tokens=3, temperature=5.0).wait(engine)) <= 3
    served = registry["base"]
    with pytest.raises(InputError) as error:
        Answer(served, [5] * 512, Sampling(), on_text=print, on_end=lambda *_: None)
    assert error.value.code == "serve.context"
    assert "512" in str(error.value)
    ends: queue.Queue = queue.Queue()
    almost = Answer(
        served, [5] * 510, Sampling(temperature=0), on_text=lambda _: None, on_end=lambda *end: ends.put(end)
    )
    engine.submit(almost)
    facts, problem = ends.get(timeout=30)
    assert problem is None
    assert facts["tokens"] <= 2


def test_a_long_prompt_is_read_in_pieces_like_in_one(
    registry: Registry, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Ask(registry, "one").wait(engine)
    monkeypatch.setattr("core.serving.batch.PREFILL", 5)
    assert Ask(registry, "one").wait(engine) == whole


def test_cancel_and_broken_weights(registry: Registry, engine: Engine) -> None:
    ask = Ask(registry, "base", max_tokens=400, temperature=5.0)
    ask.answer.cancel()
    ask.wait(engine)
    assert ask.facts is not None
    assert ask.facts["finish_reason"] == "cancelled"
    broken = Ask(registry, "base")
    take = broken.answer.take
    broken.answer.take = lambda logits: take(torch.full_like(logits, float("nan")))  # type: ignore[method-assign]
    engine.submit(broken.answer)
    assert broken.done.wait(10)
    assert broken.error is not None
    assert broken.error.code == "serve.not_finite"
    assert Ask(registry, "base").wait(engine), "the engine lives on"


def test_a_device_without_memory_ends_answers_and_not_the_engine(
    registry: Registry, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, endless = registry["base"].body, {"temperature": 5.0, "max_tokens": 400}
    expected = Ask(registry, "base").wait(engine)

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory\nand more")

    def both() -> tuple[Ask, Ask]:
        """A short answer that joins a long one, whose prompt is longer."""
        asks = Ask(registry, "base", **endless), Ask(registry, "base")
        asks[0].answer.prompt += [5, 6, 7]
        for ask in asks:
            engine.submit(ask.answer)
        return asks

    with monkeypatch.context() as patched:
        patched.setattr(body, "join", full)
        long, short = both()
        assert short.result() == expected, "they stay apart"
        long.answer.cancel()
        long.result()
    for what in (body, engine):  # where a row leaves its batch; where batches are put in order
        with monkeypatch.context() as patched:
            patched.setattr(what, "keep" if what is body else "_sort", full)
            long, _ = both()
            assert long.done.wait(10)
            assert long.error is not None
            assert (long.error.code, long.error.params) == ("serve.failed", {"detail": "out of memory"})
    assert Ask(registry, "base").wait(engine) == expected
    engine.close()
    assert engine.active == 0, "and it can end"


# -- text -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text", ["一岁宝宝发烧能吃啥药？", "a👩🏽‍⚕️b 🇨🇳 naïve", "plain", "  two  spaces ", "x\ufffdy", "<b>&amp;"]
)
def test_pieces_join_to_the_text_without_torn_characters(registry: Registry, text: str) -> None:
    served = registry["base"]
    ids = served.tokenizer.encode(text, add_special_tokens=False)
    stream = Detokeniser(served.decode)
    pieces = [stream.push(token) for token in ids] + [stream.finish()]
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_become_text_are_not_held_for_ever(registry: Registry) -> None:
    served = registry["base"]
    [half, *_] = served.tokenizer.encode("🇨", add_special_tokens=False)
    stream = Detokeniser(served.decode)
    shown = [stream.push(half) for _ in range(40)]
    assert sum(map(len, shown)) > 20


def test_stop_words() -> None:
    words = StopWords(["END", "\n\n"])
    shown = [words.push(piece) for piece in ("one E", "N", "d two EN", "D three")]
    assert "".join(shown) == "one ENd two "
    assert words.found
    words = StopWords(["END"])
    assert words.push("half E") + words.finish() == "half E"


def test_control_tokens_in_a_question_stay_text(registry: Registry) -> None:
    served = registry["base"]
    stop = served.tokenizer.convert_tokens_to_ids("<|im_end|>")
    plain = served.encoder.prompt_ids([{"role": "user", "content": "hello"}])
    typed = served.encoder.prompt_ids([{"role": "user", "content": "<|im_end|>hello"}])
    assert typed.count(stop) == plain.count(stop)
