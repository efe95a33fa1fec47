"""What completes SFT: mixtures with a loss per source, curricula, label smoothing, and a loss that is no number."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from core.configs import sections
from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.store.library import import_file
from core.errors import ConfigError, DataError, RunError, StopRequested
from core.jobs import store
from core.jobs.pinning import pin
from core.recipes import sft
from core.report import Report, RunContext
from core.rundir import DIFFICULTY, RunDir, State, read_jsonl
from core.training.batching import Pack, StepSampler
from core.training.fastpath import FusedCausalLM
from core.training.trainer import StageTrainer
from core.training.tuning import make_trainable
from core.workspace import Workspace
from tests.conftest import build_tokenizer, conversations, write_jsonl
from tests.jobs_tools import reaches


def start(workspace: Workspace, model: Path, *words: str, run: RunDir | None = None) -> RunDir:
    config = resolve(
        "sft",
        overrides=[f"model.base={model}", "model.dtype=fp32", "evaluation.prompts=[]", "devices.use=[cpu]", *words],
    )
    run = run or RunDir.create(workspace.runs_dir, "sft")
    sft.main(RunContext(run, workspace, config, Report(run)))
    return run


def rows_of(run: RunDir) -> list[dict]:
    return read_jsonl(run.metrics_file)[0]


def made(workspace: Workspace, folder: Path, name: str, rows: list[dict]) -> str:
    return import_file(workspace, write_jsonl(folder / f"{name}.jsonl", rows), name=name).ref


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of every step, as the trainer takes them."""
    steps: list[list[int]] = []
    taken = StageTrainer.training_step

    def note(self, model, inputs, num_items_in_batch=None):
        steps.append(list(inputs.rows))
        return taken(self, model, inputs, num_items_in_batch)

    monkeypatch.setattr(StageTrainer, "training_step", note)
    return steps


# -- mixtures ---------------------------------------------------------------------------------------------------------
def test_a_mixture_takes_rows_by_weight_and_evaluates_each_source(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, sampled: list[list[int]]
) -> None:
    own = made(workspace, tmp_path, "own", conversations(24))
    other = made(workspace, tmp_path, "other", conversations(40, seed=1))
    run = start(
        workspace, tiny_model, f"data.train={own}", f"data.mix=[{other}: 0.5]", "data.validation_split=0.25",
        "schedule.epochs=2",
    )  # fmt: skip
    seen = np.bincount([row for step in sampled for row in step])
    assert seen.tolist() == [2] * 18 + [1] * 30
    [*_, last] = [row for row in rows_of(run) if "eval_loss" in row]
    own_loss, other_loss = last["eval_loss.own"], last["eval_loss.other"]
    assert min(own_loss, other_loss) < last["eval_loss"] < max(own_loss, other_loss)
    manifest = run.manifest()
    assert manifest is not None
    assert [(part.dataset, part.rows_used) for part in manifest.data] == [(own, 24), (other, 40)]
    assert (manifest.final_metrics["eval_loss"]) == last["eval_loss"]


def test_a_mixture_is_pinned_to_versions_and_its_files_are_imported(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    own = made(workspace, tmp_path, "own", conversations(8))
    file = write_jsonl(tmp_path / "other.jsonl", conversations(8, seed=1))
    config = resolve(
        "sft", overrides=[f"model.base={tiny_model}", "data.train=own", f"data.mix=[own: 2, {file}: 0.25]"]
    )
    pinned = pin(workspace, STAGES["sft"], config)
    assert pinned.data.train == own
    assert pinned.data.mix[0] == f"{own}: 2"
    assert re.fullmatch(r"other@\w+: 0\.25", pinned.data.mix[1])
    with pytest.raises(ConfigError, match=r"data\.mix"):
        pin(
            workspace,
            STAGES["sft"],
            resolve("sft", overrides=[f"model.base={tiny_model}", "data.train=own", "data.mix=[no]"]),
        )


def test_rows_that_know_their_source_are_evaluated_by_it(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    train = made(workspace, tmp_path, "train", conversations(8))
    rows = [{**row, "source": f"s{number % 14}"} for number, row in enumerate(conversations(30))]
    held = made(workspace, tmp_path, "held", rows)
    run = start(workspace, tiny_model, f"data.train={train}", f"data.validation={held}", "schedule.max_steps=1")
    [last] = [row for row in rows_of(run) if "eval_loss" in row]
    names = [key.removeprefix("eval_loss.") for key in last if key.startswith("eval_loss.")]
    assert len(names) == 12
    assert names[-1] == "other"
    assert set(names) < {*(f"s{number}" for number in range(14)), "other"}


def test_one_dataset_of_one_source_has_one_loss(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    train = made(workspace, tmp_path, "train", conversations(12))
    run = start(workspace, tiny_model, f"data.train={train}", "data.validation_split=0.2", "schedule.max_steps=1")
    assert not any(key.startswith("eval_loss.") for row in rows_of(run) for key in row)


def test_a_mixture_goes_on_after_a_stop_where_it_was(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = made(workspace, tmp_path, "own", conversations(20))
    other = made(workspace, tmp_path, "other", conversations(30, seed=1))
    words = [f"data.train={own}", f"data.mix=[{other}: 0.4]", "data.order=phases", "data.difficulty=loss",
             "schedule.epochs=3"]  # fmt: skip
    whole = start(workspace, tiny_model, *words)
    run = RunDir.create(workspace.runs_dir, "sft")
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", lambda self: self.state.global_step == 6)
    with pytest.raises(StopRequested):
        start(workspace, tiny_model, *words, run=run)
    monkeypatch.undo()
    start(workspace, tiny_model, *words, run=run)
    first, again = ([row["loss"] for row in rows_of(each) if "loss" in row] for each in (whole, run))
    assert len(first) == 12
    assert first == again
    assert np.load(run.path / DIFFICULTY).tolist() == np.load(whole.path / DIFFICULTY).tolist()


# -- curricula --------------------------------------------------------------------------------------------------------
def test_a_curriculum_by_column_or_length_goes_from_easy_to_hard(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, sampled: list[list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    levels = np.random.default_rng(0).permutation(16)
    rows = [{**row, "difficulty": float(level)} for row, level in zip(conversations(16), levels, strict=True)]
    train = made(workspace, tmp_path, "train", rows)
    start(workspace, tiny_model, f"data.train={train}", "data.order=easy_first", "schedule.epochs=2")
    assert [levels[row] for step in sampled[:2] for row in sorted(step, key=lambda row: levels[row])] == list(range(16))
    assert {frozenset(step) for step in sampled[:2]} == {frozenset(step) for step in sampled[2:]}
    sampled.clear()
    start(workspace, tiny_model, f"data.train={train}", "data.order=phases", "data.phases=2", "data.difficulty=length")
    assert len(sampled) == 6
    assert set(sampled[0] + sampled[1] + sampled[2]) == set(sampled[0])  # three epochs of the easier half come first
    assert re.search(r"2 phases, difficulty \d+ to \d+; their ends: 50% up to", capsys.readouterr().out)


def test_a_curriculum_by_the_base_models_loss_measures_it_once(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, sampled: list[list[int]]
) -> None:
    train = made(workspace, tmp_path, "train", conversations(16))
    words = [f"data.train={train}", "data.order=easy_first", "data.difficulty=loss", "schedule.epochs=1"]
    run = start(workspace, tiny_model, *words)
    found = np.load(run.path / DIFFICULTY)
    assert found.shape == (16,)
    assert 4 < found.min() < found.max() < 9  # an untrained model knows nothing: about ln 512
    assert found[sampled[0]].max() <= found[sampled[1]].min()


def test_a_curriculum_by_a_difficulty_that_nobody_gave_is_refused(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    train = made(workspace, tmp_path, "train", conversations(8))
    with pytest.raises(DataError, match=r"train@.*data\.difficulty=length"):
        start(workspace, tiny_model, f"data.train={train}", "data.order=phases")


# -- label smoothing --------------------------------------------------------------------------------------------------
def sample() -> Pack:
    rng = np.random.default_rng(1)
    rows = [(ids, np.where(np.arange(len(ids)) < 3, -100, ids)) for ids in (rng.integers(3, 200, n) for n in (9, 14))]
    return Pack.of(rows)


@pytest.mark.parametrize("fast", [False, True])
def test_label_smoothing_is_the_published_formula_and_only_while_training(tiny_model: Path, fast: bool) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    trainable, _ = make_trainable(model, sections.Tuning(), sections.Lora(rank=4), torch.float32)
    fused = FusedCausalLM(trainable, label_smoothing=0.2)
    pack = sample()
    if fast:
        assert fused.speed_up(pack) is None
    with torch.no_grad():
        logprobs = F.log_softmax(fused._plain_logits(pack)[pack.label_positions].float(), -1)
    label = -logprobs.gather(1, pack.labels[:, None]).sum()
    expected = 0.8 * label - 0.2 * logprobs.mean(-1).sum()
    fused.train()
    loss = fused(pack, 1.0)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in trainable.parameters() if p.requires_grad)
    fused.eval()
    torch.testing.assert_close(fused(pack, 1.0), label)


def test_label_smoothing_is_said_in_the_log(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = made(workspace, tmp_path, "train", conversations(8))
    start(workspace, tiny_model, f"data.train={train}", "optim.label_smoothing=0.1", "schedule.max_steps=1")
    assert "fused loss: off" in capsys.readouterr().out


# -- a loss that is no number -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def poisoned_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives no number for rows with the character 药."""
    folder = tmp_path_factory.mktemp("models") / "poisoned"
    tokenizer = build_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    bad = set(tokenizer("药 药")["input_ids"]) - set(tokenizer("发 烧 糖 ba be bu do fi")["input_ids"])
    assert bad
    with torch.no_grad():
        model.get_input_embeddings().weight[sorted(bad)] = float("nan")
    model.save_pretrained(folder)
    return folder


def talk(text: str) -> dict:
    return {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "ba be bu"}]}


def test_a_loss_that_is_no_number_names_its_rows_and_keeps_the_checkpoint_before(
    workspace: Workspace, poisoned_model: Path, tmp_path: Path
) -> None:
    rows = [talk(f"do fi {'ba ' * number}") for number in range(20)]
    rows[13] = talk("发 药")
    difficulty = [0.0] * 12 + [5.0] * 8
    data = [{**row, "difficulty": level} for row, level in zip(rows, difficulty, strict=True)]
    train = made(workspace, tmp_path, "train", data)
    run = RunDir.create(workspace.runs_dir, "sft")
    words = [f"data.train={train}", "data.order=easy_first", "saving.steps=1", "schedule.epochs=1",
             "schedule.gradient_accumulation=2", "schedule.warmup_ratio=0"]  # fmt: skip
    with pytest.raises(RunError) as caught:
        start(workspace, poisoned_model, *words, run=run)
    error = caught.value
    assert error.code == "run.nan_loss"
    [problem] = error.problems
    assert (problem.line, problem.excerpt) == (14, "发 药 ⏎ ba be bu")
    assert train in problem.message
    kept = run.complete_checkpoints()
    assert len(kept) >= 3
    assert error.params == {"step": kept[-1].step + 1, "count": 1, "rows": 4, "checkpoint": f"step-{kept[-1].step}"}
    for row in rows_of(run):
        assert row["loss"] is not None


@pytest.mark.parametrize(("broken_at", "raised_at"), [(3, 4), (4, 4)])
def test_a_training_that_diverges_says_so_and_blames_no_row(
    workspace: Workspace,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken_at: int,
    raised_at: int,
) -> None:
    """Weights that have become infinite: seen at the next loss, or when they would be saved."""

    def break_weights(self: StageTrainer) -> bool:
        if self.state.global_step == broken_at:
            with torch.no_grad():
                next(p for p in self.model.parameters() if p.requires_grad).fill_(float("inf"))
        return False

    train = made(workspace, tmp_path, "train", conversations(32))
    run = RunDir.create(workspace.runs_dir, "sft")
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", break_weights)
    with pytest.raises(RunError) as caught:
        start(workspace, tiny_model, f"data.train={train}", "schedule.epochs=2", "saving.steps=2", run=run)
    assert (caught.value.code, caught.value.problems) == ("run.diverged", [])
    assert caught.value.params == {"step": raised_at, "checkpoint": "step-2"}
    assert [checkpoint.step for checkpoint in run.complete_checkpoints()] == [2]


def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = StageTrainer._clip_grad_norm
    learnt: list[bool] = []

    def spoil(self: StageTrainer, model):
        if self.state.global_step == 2:
            next(p for p in self.model.parameters() if p.grad is not None).grad.fill_(float("nan"))
        norm = clip(self, model)
        learnt.append(all(torch.isfinite(p).all() for p in self.model.parameters()))
        return norm

    train = made(workspace, tmp_path, "train", conversations(32))
    monkeypatch.setattr(StageTrainer, "_clip_grad_norm", spoil)
    with pytest.raises(RunError) as caught:
        start(workspace, tiny_model, f"data.train={train}", "saving.steps=2")
    assert caught.value.params == {"step": 3, "checkpoint": "step-2"}
    assert learnt == [True] * 3


# -- resuming with other settings -------------------------------------------------------------------------------------
def test_a_checkpoint_refuses_settings_that_it_was_not_made_with(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = made(workspace, tmp_path, "train", conversations(24))
    run = RunDir.create(workspace.runs_dir, "sft")
    words = [f"data.train={train}", "schedule.epochs=2"]
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", lambda self: self.state.global_step == 2)
    with pytest.raises(StopRequested):
        start(workspace, tiny_model, *words, run=run)
    monkeypatch.undo()
    with pytest.raises(ConfigError) as caught:
        start(workspace, tiny_model, *words, "optim.learning_rate=1e-5", "data.max_length=256", "lora.rank=4", run=run)
    assert {problem.key: problem.code for problem in caught.value.problems} == {
        "optim.learning_rate": "resume.schedule",
        "data.max_length": "resume.order",
        "lora.rank": "resume.weights",
    }
    assert "lora.start=continue" in str(caught.value)
    with pytest.raises(ConfigError, match="8 rows and would have 16"):
        start(workspace, tiny_model, *words, "schedule.batch_size=4", run=run)
    split = ["schedule.batch_size=4", "schedule.gradient_accumulation=2", "saving.limit=1", "run.name=again"]
    start(workspace, tiny_model, *words, *split, run=run)
    assert [row["step"] for row in rows_of(run) if "loss" in row] == list(range(1, 7))
    settings = json.loads((run.complete_checkpoints()[-1].path / "settings.json").read_text())
    assert settings["run"]["name"] == "again"


def test_the_sampler_counts_the_epochs_of_an_order_by_what_it_gives() -> None:
    lengths = np.arange(10, 20)
    sampler = StepSampler(lengths, lengths - 1, rows_per_step=4, seed=0, order=lambda seed, epoch: np.array([1, 2, 1]))
    assert (len(sampler), sampler.tokens_in_epoch) == (1, 11 + 12 + 11)


# -- names of rows in the other stages --------------------------------------------------------------------------------
def test_blocks_name_the_documents_that_they_hold_something_of(
    workspace: Workspace, poisoned_model: Path, tmp_path: Path
) -> None:
    """In pretraining a row of a batch is a block of several documents."""
    from core.recipes import pretrain

    texts = [{"text": f"do fi {'ba ' * number}"} for number in range(12)]
    texts[5] = {"text": "发 药"}
    train = made(workspace, tmp_path, "texts", texts)
    config = resolve(
        "pretrain",
        overrides=[f"model.base={poisoned_model}", f"data.train={train}", "model.dtype=fp32", "evaluation.prompts=[]",
                   "data.validation_split=0", "data.block_size=16", "devices.use=[cpu]"],
    )  # fmt: skip
    run = RunDir.create(workspace.runs_dir, "pretrain")
    with pytest.raises(RunError) as caught:
        pretrain.main(RunContext(run, workspace, config, Report(run)))
    assert caught.value.code == "run.nan_loss"
    assert "发 药" in [problem.excerpt for problem in caught.value.problems]
    assert len(caught.value.problems) < 12


def test_two_ranks_find_the_row_wherever_it_is_and_the_run_says_so(
    workspace: Workspace, poisoned_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: a supervised run of two processes, of which only one has the row."""
    monkeypatch.setenv("GALEN_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = [talk(f"do fi {'ba ' * number}") for number in range(8)]
    rows[5] = talk("发 药")
    train = made(workspace, tmp_path, "train", rows)
    config = resolve(
        "sft",
        overrides=[f"model.base={poisoned_model}", f"data.train={train}", "model.dtype=fp32", "evaluation.prompts=[]",
                   "devices.use=[cpu, cpu]", "schedule.gradient_accumulation=1", "saving.steps=1",
                   "run.retries=3"],
    )  # fmt: skip
    run = store.submit(workspace, "sft", config)
    assert reaches(run, seconds=120) is State.FAILED
    result = run.result()
    assert result is not None
    assert result.code == "run.nan_loss"
    assert (result.params["count"], result.params["rows"]) == (1, 4)
    assert [problem["line"] for problem in result.problems] == [6]
    status = run.status()
    assert status is not None
    assert status.attempt == 1  # the same would happen again
