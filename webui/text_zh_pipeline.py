"""The Chinese wording of `core.messages_pipeline`."""

from __future__ import annotations

_GO_ON = (
    "它成功之后本运行才会开始：排除问题后执行 `python -m core jobs resume {parent}`。也可以不再等待、直接启动本运行"
    "（`python -m core jobs release {run}`），或取消它（`python -m core jobs stop {run}`）。"
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
    "run.no_hand_over": (
        "无法接手前面的运行所产出的内容（退出码 {exit_code}）。",
        "完整信息见运行文件夹中的 log/supervisor.log。点“继续”会再试一次。",
    ),
}
