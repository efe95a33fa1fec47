"""Training arguments that somebody printed: all of the article's become a setting or are dropped with a reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.configs.arguments import ARGUMENTS, GONE, PRINTED
from core.configs.article import arguments_page, from_arguments, read_arguments
from core.configs.files import fields_of, resolve
from core.configs.stages import STAGES
from core.errors import InputError
from core.messages import MESSAGES

ARTICLE = {argument.name: argument.printed for argument in PRINTED}
TRAINING = ("pretrain", "sft", "reward")


def test_the_page_of_arguments_is_the_table() -> None:
    assert Path("docs/arguments.md").read_text(encoding="utf-8") == arguments_page()


def test_every_argument_is_a_setting_or_has_a_reason() -> None:
    known = set().union(*(fields_of(STAGES[stage].config) for stage in (*TRAINING, "predict")))
    for argument in ARGUMENTS.values():
        assert bool(argument.keys) is not bool(argument.why)
        assert set(argument.keys) <= known, argument.name
        assert not argument.why or argument.why in MESSAGES, argument.why
    assert len(ARTICLE) == 100


def test_gone_are_those_that_transformers_no_longer_knows() -> None:
    from transformers import TrainingArguments

    known = {each.name for each in dataclasses.fields(TrainingArguments)}
    assert set(ARTICLE) - known == GONE
    assert len(GONE) == 29


@pytest.mark.parametrize("stage", TRAINING)
def test_the_article_as_it_is_printed_becomes_a_config(stage: str) -> None:
    mapped = from_arguments(stage, f"training args:\n\n{json.dumps(ARTICLE)}\n复制代码\n\ntrain loss:")
    data = {} if stage != "sft" else {"data.max_length": 256}
    config = resolve(stage, values={"model.base": "m", "data.train": "d", **mapped.values, **data})
    assert (config.optim.learning_rate, config.schedule.batch_size, config.schedule.epochs) == (2e-5, 8, 10)
    assert (config.schedule.scheduler, config.schedule.warmup_steps, config.schedule.max_steps) == ("linear", 50, None)
    assert (config.logging.steps, config.evaluation.steps, config.saving.steps, config.saving.limit) == (50, 50, 50, 3)
    assert config.evaluation.keep_best
    assert config.logging.tensorboard
    assert config.model.dtype == "fp16"
    assert not mapped.unknown
    told = [*(name for name, _, _ in mapped.mapped), *(name for name, _, _ in mapped.dropped)]
    assert sorted(told) == sorted(ARTICLE)
    assert all(why.code in MESSAGES for _, _, why in mapped.dropped)


def test_passwords_are_shown_to_nobody() -> None:
    mapped = from_arguments("sft", {"hub_token": "hf_secret", "push_to_hub_token": "hf_secret", "learning_rate": 1e-4})
    assert "hf_secret" not in repr(mapped)


def test_arguments_that_depend_on_each_other() -> None:
    def values(**given: object) -> dict[str, object]:
        return from_arguments("sft", given).values

    assert values(save_strategy="epoch", save_steps=50) == {"saving.steps": None}
    assert values(save_strategy="no", save_steps=50) == {}
    assert values(eval_strategy="steps", eval_steps=20) == {"evaluation.steps": 20}
    assert values(adafactor=True, optim="adamw_torch") == {"optim.optimizer": "adafactor"}
    assert values(optim="paged_adamw_32bit", fp16=False, bf16=True) == {
        "optim.optimizer": "paged_adamw", "model.dtype": "bf16",
    }  # fmt: skip
    assert values(no_cuda=True, save_total_limit=None) == {"devices.use": ["cpu"], "saving.limit": 1000}
    assert values(report_to=["wandb"], trust_remote_code=True) == {}


def test_a_value_that_no_setting_takes_is_dropped_and_says_what_is_allowed() -> None:
    mapped = from_arguments(
        "sft", {"lr_scheduler_type": "cosine_with_restarts", "learning_rate": -1, "save_steps": 0.1}
    )
    assert mapped.values == {}
    codes = {name: why.code for name, _, why in mapped.dropped}
    assert codes == {
        "lr_scheduler_type": "arguments.no_choice",
        "learning_rate": "config.out_of_bounds",
        "save_steps": "arguments.share_of_steps",
    }
    assert "> 0" in next(why.remedy for name, _, why in mapped.dropped if name == "learning_rate")


@pytest.mark.parametrize(
    "text",
    [
        '{"learning_rate": 2e-05, "fp16": true, "target_modules": ["q_proj", "v_proj"]}',
        "{'learning_rate': 2e-05, 'fp16': True, 'target_modules': ['q_proj', 'v_proj']}",
        "learning_rate: 2e-5\nfp16: true\ntarget_modules: [q_proj, v_proj]\n",
        "torchrun train.py \\\n  --learning_rate 2e-5 \\\n  --fp16 --target-modules=q_proj v_proj  # a script",
    ],
)
def test_json_python_yaml_and_words_are_read_alike(text: str) -> None:
    assert read_arguments(text) == {"learning_rate": 2e-5, "fp16": True, "target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize("text", ["", "hello", "{'a': ", '{"a": 1,\n "b" 2}', "--x 'open", "a: [1"])
def test_what_is_no_list_of_arguments_says_where_it_ends_to_make_sense(text: str) -> None:
    with pytest.raises(InputError) as caught:
        from_arguments("sft", text)
    assert caught.value.code == "arguments.unreadable"


def test_the_command_line_takes_a_file_and_tells_what_it_mapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "args.json"
    file.write_text(json.dumps({**ARTICLE, "nproc": 2}), encoding="utf-8")
    words = [
        "sft",
        "--arguments",
        str(file),
        "--dry-run",
        "--json",
        "model.base=m",
        "data.train=d",
        "schedule.epochs=1",
    ]
    assert main(words) == 0
    out, err = capsys.readouterr()
    config = json.loads(out)
    assert (config["optim"]["learning_rate"], config["schedule"]["epochs"]) == (2e-5, 1)
    assert "learning_rate → optim.learning_rate=2e-05" in err
    assert "save_safetensors: Weights are always written as safetensors." in err
    assert "nobody knows nproc" in err
    assert main(["sft", "--arguments", str(tmp_path / "none"), "--dry-run"]) == 2
