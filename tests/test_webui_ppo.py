"""The PPO tab without a browser: its pickers and lists, curves, alarms, and the rollout browser over written files."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import orjson
import pytest

from core.alarms import ALARMS, alarms
from core.jobs.store import summary
from core.messages import MESSAGES
from core.records import Manifest, RootBase
from core.records_ppo import Episode
from core.records_reward import Gate, GateReason, PairReport
from core.rules import RULES, read_rule
from core.rundir import RunDir, append_jsonl, write_record, write_text
from core.tails import tail
from core.workspace import Workspace
from tests.conftest import write_jsonl
from webui import charts, rollouts, views, views_lists, views_ppo, views_rollouts
from webui.app import App
from webui.messages import code_text
from webui.pages.stage import StagePage
from webui.ppo_rewards import RewardsCard
from webui.rollout_part import RolloutPart
from webui.rollouts import HELD_OUT, HIGHEST, LOWEST, TRAINING, Asked
from webui.text_ppo import RULES_ZH
from webui.text_zh_rules import detail_zh

SCRIPT = "<script>alert(1)</script> a<b && c"
LANGUAGES = pytest.mark.parametrize("lang", ["en", "zh"])


def episode(step: int, number: int, **changes: object) -> Episode:
    held = {
        "step": step, "number": number, "line": number + 1, "prompt": f"ba {number}", "question": f"ba {number}",
        "answer": "be bi", "pieces": ["be", " bi", "<|im_end|>"], "kl": [0.02, 0.7, -2.5], "ended": True,
        "scores": {"length": 0.5, "r<1>": -1.25}, "reward": (number * 7 % 5) / 4,
    }  # fmt: skip
    return Episode.model_validate({**held, **changes})


def put(run: RunDir, name: str, episodes: list[Episode]) -> None:
    run.rollouts.mkdir(exist_ok=True)
    write_jsonl(run.rollouts / f"{name}.jsonl", [each.model_dump(exclude_none=True) for each in episodes])


@pytest.fixture
def run(workspace: Workspace) -> RunDir:
    made = RunDir.create(workspace.runs_dir, "ppo")
    write_text(made.config_json, json.dumps({"run": {"name": "polite"}}))
    return made


def figures(step: int, **changes: float) -> dict[str, float]:
    row = {
        "step": step, "epoch": step / 40, "time": 1.0, "reward": step / 40, "reward_std": 0.4, "reward.length": 0.5,
        "reward.a<b": step / 80, "reward_std.length": 0.1, "kl": step / 10, "length": 60.0, "no_end": 0.25,
        "entropy": 2.0, "policy_loss": -0.01, "value_loss": 0.5, "explained_variance": 0.4, "kl_coefficient": 0.05,
        "approx_kl": 0.01, "ratio_off": 0.01, "clip_fraction": 0.125, "learning_rate": 1e-4, "grad_norm": 1.0,
        "critic_grad_norm": 2.0, "episodes": 16 * step, "tokens": 1900 * step, "sampling_tokens_per_second": 150.0,
        "scoring_tokens_per_second": 470.0, "learning_tokens_per_second": 380.0, "sampling_seconds": 9.0,
    }  # fmt: skip
    return {**row, **changes}


# -- what there is to learn from --------------------------------------------------------------------------------------
def reward_run(workspace: Workspace, name: str, report: PairReport | None) -> RunDir:
    """A finished reward run, as far as the page looks at it."""
    made = RunDir.create(workspace.runs_dir, "reward")
    write_text(made.config_json, json.dumps({"run": {"name": name}}))
    (made.output / "model").mkdir(parents=True)
    manifest = Manifest(
        run=made.id, name=name, stage="reward", kind="reward", backbone_id="x", method="full", dtype="fp32",
        root_base=RootBase(source="m", path=str(made.output)), model_folder="model",
    )  # fmt: skip
    write_record(made.manifest_file, manifest)
    if report is not None:
        write_record(made.pairs_file, report)
    return made


def card_of(workspace: Workspace) -> tuple[App, RewardsCard]:
    app = App(workspace, "en")
    app.build()
    page = app.stages["ppo"]
    assert isinstance(page, StagePage)
    [card] = page.cards
    assert isinstance(card, RewardsCard)
    return app, card


class Clicked:
    def __init__(self, **data: object) -> None:
        self._data = data


@LANGUAGES
def test_reward_models_are_listed_with_what_their_gate_says(workspace: Workspace, lang: str) -> None:
    reason = GateReason(code="reward.few_pairs", params={"pairs": 24, "least": 100})
    fit = PairReport(step=9, pairs=212, accuracy=0.781, gate=Gate(fit=True))
    good = reward_run(workspace, "good <b>", fit)
    reward_run(workspace, "bad", PairReport(step=9, pairs=24, gate=Gate(fit=False, reasons=[reason])))
    reward_run(workspace, "unknown", None)
    unfinished = RunDir.create(workspace.runs_dir, "reward")
    write_text(unfinished.config_json, json.dumps({"run": {"name": "unfinished"}}))
    app, card = card_of(workspace)
    [drawn] = card.news(app.reader.read(fresh=True), lang, f"{good.id}: 0.5")
    assert drawn.count('class="reward-run') == 4  # the list, and three in it
    assert "good &lt;b&gt;" in drawn
    assert "<b>good" not in drawn
    assert "unfinished" not in drawn
    assert code_text(reason.code, reason.params, lang)[0] in drawn
    assert "78 %" in drawn
    said = {
        "en": [">fit for PPO", "not fit for PPO", "never judged"],
        "zh": [">可用于 PPO", "不能用于 PPO", "没有用留出"],
    }
    assert all(words in drawn for words in said[lang])
    listed = re.findall(r'reward-run listed"><b title="([^"]+)"', drawn)
    assert listed == [good.id]


def test_a_click_adds_a_reward_model_and_takes_it_away(workspace: Workspace) -> None:
    _, card = card_of(workspace)
    name = "reward-20260101-120000-ab12"
    lines = card.toggled(Clicked(name=name), "other: 2\n")
    assert lines == f"other: 2\n{name}: 1"
    assert card.toggled(Clicked(name=name), f"{name}:0.5\nother: 2") == "other: 2"
    assert card.toggled(Clicked(), "other") == "other"


@LANGUAGES
def test_every_rule_is_listed_and_its_line_is_one(workspace: Workspace, lang: str) -> None:
    _, card = card_of(workspace)
    drawn = views_ppo.rule_list(lang)
    own = [each for each in RULES.values() if each.function.__module__ == "core.rules"]
    assert {each.name for each in own} == set(RULES_ZH)
    for each in own:
        assert f'data-pick="{each.name}"' in drawn
        assert f"<b>{each.name}</b>" in drawn
        line = card.added(Clicked(name=each.name), "language weight=2\n")
        assert line.startswith("language weight=2\n")
        if "" not in (parameter.default for parameter in each.parameters.values()):
            assert read_rule(line.splitlines()[1]).rule is each
    assert "low=20 high=200" in drawn
    assert card.added(Clicked(name="no such rule"), "length") == "length"


def test_what_is_wrong_with_a_rule_is_said_in_chinese() -> None:
    bad = [
        "lenght low=2", "nothing like it", "length 20", "length low=1 low=2", "format", 'mention words="a', "''",
        "length weight=0", "length hig=3", "length low=abc", "length weight=x", "format pattern=(", "mention words=||",
        "length low=9 high=2", "repetition size=0", "language wanted=fr", "number tolerance=-1", "number tolerance=x",
    ]  # fmt: skip
    for line in bad:
        with pytest.raises(ValueError, match=r".") as caught:
            read_rule(line)
        said = str(caught.value)
        assert detail_zh(said) != said, said
    core = Path(__file__).parents[1] / "core"
    texts = [(core / name).read_text("utf-8") for name in ("rules.py", "configs/ppo.py", "configs/sections.py")]
    for message in re.findall(r'raise ValueError\(f"([^"]+)"\)', "".join(texts)):
        sample = re.sub(r"\{_meant.*\}$", "there are a, b", message)
        sample = sample.replace("{KINDS[kind]}", "a number").replace("{' or '.join(SCRIPTS)}", "zh or en")
        sample = re.sub(r"\{[^{}]*\}", "x", sample)
        assert detail_zh(sample) != sample, message
    assert detail_zh("whatever") == "whatever"


def test_a_form_without_rewards_waits_for_start_to_be_told(workspace: Workspace, tiny_model: Path) -> None:
    app, _ = card_of(workspace)
    page = app.stages["ppo"]
    form = page.form
    values = {**{key: form.show_one(key, form.default(key)) for key in form.keys}, "model.base": str(tiny_model)}
    values["data.train"] = "d"
    _, _, marked, *_ = page.panel.check("en", None, [], False, "", None, *values.values())
    assert "rewards.models" not in marked
    note, marked, *_ = page.panel.launch("en", False, "", None, *values.values())
    assert "rewards.models" in marked or "notice bad" in note


def test_lines_of_rewards_go_to_the_command_and_back(workspace: Workspace) -> None:
    app, _ = card_of(workspace)
    form = app.stages["ppo"].form
    values = {key: form.show_one(key, form.default(key)) for key in form.keys}
    values |= {"rewards.rules": 'length low=5\nmention words="a b"', "rewards.models": "reward-x: 0.5"}
    command = form.command(list(values.values()), None, workspace)
    assert """rewards.rules=["length low=5", "mention words=\\"a b\\""]""" in command
    assert """rewards.models=["reward-x: 0.5"]""" in command
    assert "evaluation.prompts" not in command  # a number here, and lines elsewhere
    restored = dict(zip(form.keys, form.restore(values), strict=True))
    assert restored["rewards.rules"]["value"] == values["rewards.rules"]


# -- curves and alarms ------------------------------------------------------------------------------------------------
@LANGUAGES
def test_reward_is_the_large_chart_with_its_sources(run: RunDir, lang: str) -> None:
    assert "chart-empty" in views_ppo.curves(views.snapshot(run), lang)
    append_jsonl(run.metrics_file, {"step": 0, "eval_reward": -0.5, "eval_reward_error": 0.071, "eval_kl": 0.0})
    for step in range(1, 41):
        append_jsonl(run.metrics_file, figures(step))
    row = {"eval_reward": 0.8, "eval_reward_error": 0.071, "eval_kl": 4.0, "eval_length": 61.0}
    append_jsonl(run.metrics_file, {"step": 40, **row})
    drawn = views_ppo.curves(views.snapshot(run), lang)
    main, kl, length = re.findall(r'<svg class="chart".*?</svg>', drawn)
    assert [json.loads(unescape(each))["curves"][-1]["p"][-1][1] for each in (kl, length)] == [4.0, 61.0]
    labels = [curve["l"] for curve in json.loads(unescape(main))["curves"]]
    assert len(labels) == 5  # as logged, smoothed, held out, and two sources
    assert any(label.endswith("a<b") for label in labels)
    assert "a&lt;b<b>0.5</b>" in drawn
    assert "a<b<b>" not in drawn
    assert drawn.count('<svg class="spark"') == len(charts.PPO_SMALL)
    assert "-0.500 ± 0.071 → 0.800 ± 0.071" in drawn
    assert "76,000" in drawn
    assert "12.5 %" in drawn  # what was clipped
    names = [charts.name_of(key, lang) for key in (*charts.PPO_SMALL, *row)]
    assert not [name for name in names if "_" in name or (lang == "zh" and name.isascii())]


def unescape(svg: str) -> str:
    found = re.search(r'data-curve="([^"]*)"', svg)
    assert found is not None
    return found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&")


@LANGUAGES
def test_alarms_are_sentences_above_the_curves(run: RunDir, lang: str) -> None:
    rows = [figures(step, ratio_off=0.3 if step == 2 else 0.01, no_end=0.95) for step in range(1, 21)]
    ratio, truncated = alarms(rows)
    for step, row in enumerate(rows, 1):
        append_jsonl(run.metrics_file, row)
        append_jsonl(run.metrics_file, {"step": step, "eval_reward": 0.1})
    drawn = views_ppo.curves(views.snapshot(run), lang)
    said, remedy = code_text(truncated.code, truncated.params, lang)
    assert said in drawn
    assert remedy[:20] in drawn.replace("&#x27;", "'")
    assert drawn.index('class="alarms"') < drawn.index('class="curves"')
    over = drawn[drawn.index("<details") : drawn.index("</details>")]
    assert code_text(ratio.code, ratio.params, lang)[0] in over
    assert "{" not in drawn.split('<div class="curves">')[0]
    calm = views_ppo.alarm_list([], lang)
    assert calm == ""


def test_every_alarm_has_its_sentence() -> None:
    assert set(ALARMS) <= set(MESSAGES)


def test_alarms_of_a_long_run_are_heard_once(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(views_ppo, "alarms", lambda rows: asked.append(len(rows)) or [])
    append_jsonl(run.metrics_file, figures(1))
    for _ in range(3):
        views_ppo.curves(views.snapshot(run), "en")
    append_jsonl(run.metrics_file, figures(2))
    views_ppo.curves(views.snapshot(run), "en")
    assert asked == [1, 2]


# -- the rollout browser ----------------------------------------------------------------------------------------------
def shown(run: RunDir, asked: Asked | None = None, lang: str = "en") -> str:
    return views_rollouts.browser(run, asked or Asked(run=run.id), lang)


def numbers(html: str) -> list[int]:
    return [int(number) for number in re.findall(r"#(\d+) ·", html)]


@LANGUAGES
def test_answers_are_shown_as_they_are(run: RunDir, lang: str) -> None:
    assert "empty" in shown(run, lang=lang)
    odd = episode(
        2, 7, question=SCRIPT, prompt=f"system: {SCRIPT}", answer=SCRIPT, pieces=["<script>", 'x"y', "\n"],
        kl=[1.5, -0.3], reference="as <i>written</i>", ended=False,
    )  # fmt: skip
    put(run, "step-2", [odd])
    put(run, "step-1", [episode(1, 0)])
    (run.rollouts / "judge.jsonl").write_text("{}\n")
    drawn = shown(run, lang=lang)
    assert "<script>" not in drawn
    assert "raw" not in drawn
    assert '<span class="up3" title="+1.50">&lt;script&gt;</span>' in drawn
    assert '<span class="down1" title="-0.30">x&quot;y</span><span>\n</span>' in drawn
    assert "as &lt;i&gt;written" in drawn
    assert "r&lt;1&gt; <b>-1.25</b>" in drawn
    assert {"en": "cut off at the limit", "zh": "达到上限被截断"}[lang] in drawn
    assert numbers(drawn) == [7]  # the newest


def test_bytes_and_the_end_are_told_from_the_answer(run: RunDir) -> None:
    answer = {"answer": "AB \ufffd", "pieces": ["AB", " ", "E7 97", "<eos>"], "kl": [0.0, 0.0, -0.6, 0.2]}
    put(run, "step-1", [episode(1, 0, **answer)])
    drawn = shown(run)
    assert '<span title="+0.00">AB</span>' in drawn  # letters, though they look like bytes
    assert '<span class="down2 raw" title="-0.60">E7 97</span>' in drawn
    assert '<span class="up1 end" title="+0.20">&lt;eos&gt;</span>' in drawn


def test_answers_are_sorted_by_reward_and_steps_are_turned(run: RunDir) -> None:
    for step in (1, 2, 10):
        put(run, f"step-{step}", [episode(step, 5 * step + at) for at in range(5)])
    drawn = shown(run)
    assert numbers(drawn) == [50, 51, 52, 53, 54]
    best = shown(run, Asked(run=run.id).clicked({"sort": HIGHEST}))
    worst = shown(run, Asked(run=run.id).clicked({"sort": LOWEST}))
    assert numbers(best) == numbers(worst)[::-1]
    assert numbers(best)[0] == 52  # its reward is 1
    earlier = asks(drawn, "‹")
    assert earlier == {"step": 2}
    assert numbers(shown(run, Asked(run=run.id).clicked(earlier))) == [10, 11, 12, 13, 14]
    assert numbers(shown(run, Asked(run=run.id).clicked({"step": "7"})))[0] == 50  # the nearest there is
    assert numbers(shown(run, Asked(run="another", step=1)))[0] == 50  # another run begins at its newest


def asks(html: str, sign: str) -> dict[str, object]:
    found = re.search(rf'data-ask="([^"]*)">{sign}<', html)
    assert found is not None
    return dict(json.loads(found[1].replace("&quot;", '"')))


def test_a_search_goes_through_all_steps_the_newest_first(run: RunDir) -> None:
    for step in range(1, 31):
        put(run, f"step-{step}", [episode(step, 2 * step, answer="糖尿病 Needs\tcare"), episode(step, 2 * step + 1)])
    asked = Asked(run=run.id).clicked({"search": " needs "})
    drawn = shown(run, asked)
    assert numbers(drawn)[:3] == [60, 58, 56]
    assert "30 found in all steps" in drawn
    assert numbers(shown(run, asked.clicked({"page": 1})))[0] == 28
    for needle, found in (("糖尿病 n", 30), ("BA 6", 3), ('"', 0), ("nowhere", 0)):
        said = shown(run, Asked(run=run.id).clicked({"search": needle}))
        assert f"{found} found in all steps" in said, needle
    everything = Asked(run=run.id).clicked({"every": True}).clicked({"sort": HIGHEST})
    hits = rollouts.search(run, everything).episodes
    assert [each.reward for each in hits] == sorted((each.reward for each in hits), reverse=True)
    assert len(hits) == 60


def test_a_search_is_bounded_and_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(1, 21):
        put(run, f"step-{step}", [episode(step, 16 * step + at) for at in range(16)])
    asked = Asked(run=run.id).clicked({"search": "be"})
    found = rollouts.search(run, asked)
    assert (len(found.episodes), found.stopped) == (112, 14)  # whole rollouts, until there are a hundred
    drawn = shown(run, asked)
    assert "112 found, down to step 14" in drawn
    older = asked.clicked({"before": found.stopped})
    assert rollouts.search(run, older).episodes[0].step == 13
    size = (run.rollouts / "step-20.jsonl").stat().st_size
    monkeypatch.setattr(rollouts, "READ_BYTES", 3 * size + 99)
    rollouts._search.cache_clear()
    nothing = rollouts.search(run, asked.clicked({"search": "nowhere"}))
    assert (list(nothing.episodes), nothing.stopped) == ([], 18)
    put(run, "step-21", [episode(21, 0, answer="nowhere")])
    assert len(rollouts.search(run, asked.clicked({"search": "nowhere"})).episodes) == 1  # a new rollout is seen


def test_a_search_over_two_hundred_rollouts_is_quick(run: RunDir) -> None:
    run.rollouts.mkdir()
    pieces = [" doctor", " 糖尿病", " rest", " water"] * 32
    for step in range(200):
        rows = [
            episode(step, 16 * step + at, answer="".join(pieces), pieces=pieces, kl=[0.1234] * 128).model_dump()
            for at in range(16)
        ]
        (run.rollouts / f"step-{step}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    began = time.process_time()
    assert rollouts.search(run, Asked(run=run.id, search="zebra")).episodes == []
    assert len(rollouts.search(run, Asked(run=run.id, search="DOCTOR", sort=LOWEST)).episodes) == rollouts.HITS
    assert time.process_time() - began < 2 * 0.3


@LANGUAGES
def test_one_held_out_prompt_over_time(run: RunDir, lang: str) -> None:
    put(run, "step-1", [episode(1, 0)])
    held_out = Asked(run=run.id).clicked({"kind": HELD_OUT})
    assert "empty" in shown(run, held_out, lang)
    for step in range(0, 300, 5):
        put(run, f"held-out-{step}", [episode(step, at, answer=f"at {step}", pieces=[]) for at in range(3)])
    listed = shown(run, held_out, lang)
    assert listed.count("<article") == 3
    assert "295" in listed
    one = held_out.clicked({"prompt": 1})
    drawn = shown(run, one, lang)
    steps = [int(step) for step in re.findall(r">at (\d+)<", drawn)]
    assert steps == [0, *range(295 - 5 * (rollouts.EVALUATIONS - 2), 300, 5)]
    assert drawn.count("ba 1") == 1  # the prompt stands above all its answers
    assert asks(drawn, "›") == {"prompt": 2}
    assert shown(run, one.clicked({"kind": TRAINING}), lang).count("<article") == 1


def test_a_long_answer_is_shown_whole_when_asked_for(run: RunDir) -> None:
    many = [f"w{at} " for at in range(1000)]
    put(run, "step-1", [episode(1, 3, pieces=many, kl=[0.0] * 1000)])
    drawn = shown(run)
    assert "w399" in drawn
    assert "w400" not in drawn
    whole = asks_for(drawn, "The whole answer")
    assert "w999" in shown(run, Asked(run=run.id).clicked(whole))


def asks_for(html: str, text: str) -> dict[str, object]:
    found = re.search(rf'data-ask="([^"]*)">{text}', html)
    assert found is not None
    return dict(json.loads(found[1].replace("&quot;", '"')))


@pytest.mark.parametrize("data", [{}, {"step": "x"}, {"whole": [1]}, {"whole": ["a", 2]}, {"page": "?"}, {"sort": 3}])
def test_nonsense_from_a_page_is_harmless(run: RunDir, data: dict[str, object]) -> None:
    put(run, "step-1", [episode(1, 0)])
    part = RolloutPart()
    asked = part.picked(Clicked(**data), run.id, Asked())
    assert "<article" in part.draw(views.snapshot(run), asked, "en")


def test_torn_and_foreign_lines_are_left_out(run: RunDir) -> None:
    put(run, "step-1", [episode(1, 0)])
    with open(run.rollouts / "step-1.jsonl", "a") as file:
        file.write('{"step": 1}\n[1]\n{"step": 1, "rew')
    assert numbers(shown(run)) == [0]
    assert numbers(shown(run, Asked(run=run.id, search="be"))) == [0]


def test_a_new_rollout_is_noticed_and_other_stages_have_none(run: RunDir, workspace: Workspace) -> None:
    before = views.stamp(run)
    put(run, "step-1", [episode(1, 0)])
    assert views.stamp(run) != before
    app, _ = card_of(workspace)
    assert [name for name, page in app.stages.items() if "rollouts" in page.panel.panes] == ["ppo"]
    panel = app.stages["ppo"].panel
    memo = panel.refresh(run.id, "en", None, Asked())[0]
    assert 'class="rollouts"' in memo.sent["rollouts"]
    assert isinstance(panel.refresh(run.id, "en", memo, Asked()), dict)  # nothing is new
    updates = panel.refresh(run.id, "en", memo, Asked(run=run.id, sort=LOWEST))
    place = [memo, *panel.panes].index("rollouts")
    assert 'aria-pressed="true" data-ask="{&quot;sort&quot;: &quot;lowest&quot;}"' in updates[place]


def test_a_checkpoint_of_ppo_tells_its_reward(run: RunDir) -> None:
    folder = run.checkpoints / "step-5"
    folder.mkdir()
    write_text(folder / "COMPLETE", json.dumps({"step": 5, "saved_at": 0.0, "eval_loss": -0.625}))
    assert "held-out reward 0.625" in views.result(views.snapshot(run), "en")


def test_the_list_of_runs_tells_its_reward(run: RunDir) -> None:
    append_jsonl(run.metrics_file, figures(4))
    table = views_lists.run_table([summary(run)], 1, None, "en")
    assert '<td class="loss">reward 0.1</td>' in table


def test_the_tail_of_rows_and_of_columns_are_two(run: RunDir) -> None:
    append_jsonl(run.metrics_file, figures(1))
    assert tail(run.metrics_file, keep_rows=True).rows
    assert tail(run.metrics_file).columns
