"""Strings of the chain: the strip on every stage page, queueing and rehearsing it. And what the page advises there."""

from __future__ import annotations

PIPELINE_TEXT: dict[str, tuple[str, str]] = {
    "phase.waiting": ("Waiting for another run", "等待另一个运行"),
    "form.starts_after": (
        "{label} — not finished: this run will start when it has succeeded",
        "{label} — 尚未完成：它成功之后本运行才开始",
    ),
    "fit.waits": (
        "What it starts from is not finished: whether it fits cannot be told yet. A rehearsal of the chain can.",
        "起点尚未完成，还无法估计能否放得下；可以先预演整条流水线。",
    ),
    "run.in_place": ("In the place of {name}: {waiting} goes on from it", "取代 {name}：{waiting} 从它接着进行"),
    "run.in_place_starts": (
        "Whatever the form names, it starts from {starts}, as that one did. The form is followed once “Use these "
        "settings” or “Clone into form” has filled it.",
        "不论表单写了什么，都与它一样从 {starts} 开始；先点过“用这份参数”或“克隆到表单”，才以表单为准。",
    ),
    "pipeline.open": ("Open {name}", "打开 {name}"),
    "pipeline.strip": ("Where in the chain this run stands", "本运行在流水线中的位置"),
    "pipeline.optional": ("optional", "可选"),
    "pipeline.waits": ("Waiting", "等待中"),
    "pipeline.held": ("Held", "已搁置"),
    "pipeline.release": ("Start without waiting", "不再等待，直接启动"),
    "pipeline.title": ("The whole chain", "整条流水线"),
    "pipeline.help": (
        "Fill in the tabs of the stages; here they are queued at once. Each starts from what the one before it makes, "
        "when that has succeeded.",
        "先在各阶段的页面填好表单，在这里一次排队：每个阶段在前一个成功后，从它的产出开始。",
    ),
    "pipeline.queue": ("Queue the chain", "整条排队"),
    "pipeline.queue_help": (
        "Queue the chosen stages as they are filled in. A start that an earlier stage makes takes the place of the one "
        "in the form.",
        "按表单内容把所选阶段排队；前面阶段的产出会替换表单中的起点。",
    ),
    "pipeline.rehearse": ("Rehearse it", "预演一遍"),
    "pipeline.rehearse_help": (
        "Two steps of each chosen stage, with its model, data, devices and memory settings: will the real chain run?",
        "所选阶段各做两步，模型、数据、设备和显存设置不变：正式的流水线能不能跑通？",
    ),
    "pipeline.tiny": ("Rehearse the samples", "用样例预演"),
    "pipeline.tiny_help": (
        "Every stage on the samples that ship, with a model of 0.1 million parameters: a minute or two on any CPU.",
        "用自带样例和 10 万参数的微型模型走完所有阶段：任何 CPU 上一两分钟。",
    ),
    "pipeline.working": ("Checking every step, then queueing …", "正在逐步检查并排队……"),
    "pipeline.queued": ("{count} runs are queued.", "已排队 {count} 个运行。"),
    "pipeline.side_by_side": ("Side by side", "并排对话"),
    "pipeline.report": ("What it cost", "得失报告"),
    "pipeline.drop": ("Delete", "删除"),
    "pipeline.drop_sure": ("Really delete its runs?", "确认删除其运行？"),
    "pipeline.drop_live": ("It is still running: stop it first.", "它还在运行，请先停止。"),
    "pipeline.dropped": ("{count} runs of the rehearsal were deleted.", "已删除该预演的 {count} 个运行。"),
    "pipeline.chain_of": ("Chain of {time}", "{time} 的流水线"),
    "pipeline.through": ("The chain comes through.", "整条流水线能跑通。"),
    "pipeline.finished": ("The chain has finished.", "整条流水线已完成。"),
    "pipeline.stops_at": ("It stops at {stage}: {state}.", "停在“{stage}”：{state}。"),
    "pipeline.rows_left_out": (
        "Rows of {stages} were left out here. Set “{field}” to “{choice}” in that form, too, or the chain stops there.",
        "预演时舍弃了{stages}的部分行。请在该表单里也把“{field}”设为“{choice}”，否则正式的流水线会停在那里。",
    ),
}

# A button beneath offers to start without waiting, where that can work.
_GO_ON = (
    "This one goes on by itself when that has succeeded. Open it: Resume goes on with it where that can help; or mend "
    "its settings in the form beside it and press Start, which starts it “in the place of” the old one. Or stop this "
    "one."
)
_GO_ON_ZH = (
    "那个运行成功之后，本运行会自行开始。请打开它：能接着做时点“继续”；或在旁边的表单里改好参数再点“开始”，就会“取代”旧的运行重新"
    "启动。也可以停止本运行。"
)
PIPELINE_REMEDIES: dict[str, tuple[str, str]] = {
    "run.held_failed": (_GO_ON, _GO_ON_ZH),
    "run.held_stopped": (_GO_ON, _GO_ON_ZH),
    "run.held_interrupted": (_GO_ON, _GO_ON_ZH),
    "run.held_gone": ("Stop this one, and start it anew from another run.", "请停止本运行，并改从其他运行重新开始。"),
    "parent.unfinished": (
        "Choose it where runs are offered, and this one starts when it has succeeded; or choose another.",
        "请在可选的运行中选择它，它成功之后本运行自动开始；也可选择其他运行。",
    ),
    "pipeline.no_steps": ("Choose at least one stage.", "请至少选择一个阶段。"),
    "rehearsal.no_tiny": ("Rehearse your own chain instead.", "请改为预演你自己的流水线。"),
}
