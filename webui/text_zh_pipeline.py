"""The Chinese wording of `core.messages_pipeline`."""

from __future__ import annotations

_GO_ON = (
    "它成功之后本运行才会开始：排除问题，或写明改动的设置，再执行 `python -m core jobs resume {parent} [KEY=VALUE]`；"
    "或取代它重新启动：`python -m core jobs replace {parent} [KEY=VALUE]`。"
    "若本运行不需要它的产物，也可以不再等待、直接启动（`python -m core jobs release {run}`），或取消它（`python -m "
    "core jobs stop {run}`）。"
)

PIPELINE_ZH: dict[str, tuple[str, str]] = {
    "run.held_failed": ("已搁置：它在等待 {parent}，而后者失败了。{why}", _GO_ON),
    "run.held_stopped": ("已搁置：它在等待 {parent}，而后者被停止了。{why}", _GO_ON),
    "run.held_interrupted": ("已搁置：它在等待 {parent}，而后者被中断了。{why}", _GO_ON),
    "run.held_gone": (
        "已搁置：它在等待 {parent}，而后者已不存在。",
        "请不再等待、直接启动本运行（`python -m core jobs release {run}`），或取消它（`python -m core jobs stop "
        "{run}`）。",
    ),
    "run.not_waiting": ("运行“{run}”没有在等待别的运行（{state}）。", ""),
    "run.after_itself": ("{run} 会变成等待它自己。", "请从 run.after 中去掉它，以及所有等待它的运行。"),
    "pipeline.no_steps": (
        "这条流水线没有任何步骤。",
        "请按顺序写出各阶段，例如 `sft=starter-cpu reward=starter-cpu ppo evaluate`，或指定一个流水线文件。",
    ),
    "pipeline.no_start": ("{run} 不会产出可供其他运行起步的东西。", "请指定别的步骤或运行。"),
    "pipeline.twice": ("有两个步骤都叫 {name}。", "请给其中一个另起名字，并在其中写明 `stage:`。"),
    "pipeline.not_step": (
        "{name} 不是流水线的步骤。",
        "请在其下写设置，`preset`、`config`、`stage` 为文字；`base` 是模型的名称。",
    ),
    "pipeline.bad_word": (
        "“{word}”不是流水线的写法。",
        "可写阶段名（{stages}）、阶段=预设、阶段=文件、阶段.分组.设置=值、model.base=模型 或 CHAIN.yaml。",
    ),
    "rehearsal.no_tiny": ("无法生成微型模型：{detail}。", "请指定别的模型：model.base=starter。"),
    "run.no_hand_over": (
        "无法接手前面的运行所产出的内容（退出码 {exit_code}）。",
        "完整信息见运行文件夹中的 log/supervisor.log。点“继续”会再试一次。",
    ),
}
