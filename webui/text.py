"""Every visible string of the page, in English and Chinese, and how one is chosen.

`TEXT` holds (English, Chinese) by key. Labels and help of the settings are in `text_fields.py`, the Chinese wording of
`core.messages` in `text_zh.py`.
"""

from __future__ import annotations

import re
from typing import Any

from webui.text_annotate import ANNOTATE_TEXT
from webui.text_bring import BRING
from webui.text_chat import CHAT_TEXT
from webui.text_choice import CHOICE_TEXT
from webui.text_distributed import DISTRIBUTED_TEXT
from webui.text_judge import JUDGE
from webui.text_look import LOOK
from webui.text_merge import MERGE_TEXT
from webui.text_pipeline import PIPELINE_TEXT
from webui.text_ppo import PPO
from webui.text_predict import PREDICT_TEXT
from webui.text_push import PUSH_TEXT
from webui.text_report import REPORT_TEXT
from webui.text_runs import RUNS_TEXT
from webui.text_shape import SHAPE
from webui.text_shapes import SHAPE_NAMES
from webui.text_shelf import SHELF_TEXT
from webui.text_stages import STAGES_TEXT

LANGUAGES = {"zh": "中文", "en": "English"}

TEXT: dict[str, tuple[str, str]] = {
    # -- shell
    "app.tagline": ("Train a language model for your field", "训练你自己领域的语言模型"),
    "tab.data": ("Data", "数据"),
    "tab.sft": ("SFT", "监督微调"),
    "tab.chat": ("Chat", "对话"),
    "tab.runs": ("Runs", "运行记录"),
    "side.devices": ("Devices", "设备"),
    "side.live": ("Live runs", "正在运行"),
    "side.recent": ("Recent", "最近"),
    "side.nothing_live": ("Nothing is running.", "当前没有运行。"),
    "side.no_runs": ("No run yet.", "还没有运行。"),
    "side.memory": ("{free} free of {total}", "空闲 {free} / {total}"),
    "side.held": ("in use by {holder}", "被 {holder} 占用"),
    "side.idle": ("idle", "空闲"),
    # -- states, phases, figures
    "state.queued": ("Queued", "排队中"),
    "state.starting": ("Starting", "启动中"),
    "state.running": ("Running", "运行中"),
    "state.stopping": ("Stopping", "停止中"),
    "state.succeeded": ("Finished", "已完成"),
    "state.failed": ("Failed", "失败"),
    "state.stopped": ("Stopped", "已停止"),
    "state.interrupted": ("Interrupted", "已中断"),
    "phase.queued": ("Waiting for its devices", "等待设备"),
    "phase.starting": ("Starting processes", "正在启动进程"),
    "phase.importing": ("Loading libraries", "加载程序库"),
    "phase.loading": ("Loading the model", "加载模型"),
    "phase.tokenising": ("Tokenising", "分词"),
    "phase.training": ("Training", "训练"),
    "phase.evaluating": ("Evaluating", "评估"),
    "phase.answering": ("Answering the fixed prompts", "回答固定问题"),
    "phase.delivering": ("Writing the result", "写出产物"),
    "phase.saving": ("Saving", "保存"),
    "phase.downloading": ("Downloading", "下载"),
    "phase.converting": ("Converting", "转换格式"),
    "phase.measuring": ("Measuring", "计算困惑度"),
    "phase.preparing": ("Preparing rows", "处理数据行"),
    "phase.checking": ("Checking", "校验"),
    "figure.loss": ("train loss", "训练损失"),
    "figure.eval_loss": ("eval loss", "验证损失"),
    "figure.learning_rate": ("learning rate", "学习率"),
    "figure.grad_norm": ("gradient norm", "梯度范数"),
    "figure.tokens_per_second": ("tokens / s", "词元/秒"),
    "figure.tokens": ("tokens", "词元"),
    "figure.step": ("step", "步"),
    "figure.epoch": ("epoch", "轮"),
    "figure.smoothed": ("smoothed", "平滑"),
    "figure.tflops": ("TFLOP/s a device", "每设备 TFLOP/s"),
    "figure.mfu": ("MFU", "算力利用率 MFU"),
    "figure.spikes": ("{n} loss spikes", "{n} 处损失突增"),
    "figure.eval_bits_per_byte": ("bits per byte", "每字节比特数"),
    "figure.eval_perplexity": ("eval perplexity", "验证困惑度"),
    "figure.accuracy": ("train pair accuracy", "训练配对准确率"),
    "figure.eval_accuracy": ("eval pair accuracy", "验证配对准确率"),
    "figure.margin": ("train margin", "训练分差"),
    "figure.eval_margin": ("eval margin", "验证分差"),
    "figure.eval_length_correlation": ("score and length", "得分与长度相关"),
    "figure.eval_calibration_error": ("calibration error", "校准误差"),
    # -- forms
    "form.setup": ("Start from", "起点"),
    "form.settings": ("Settings", "参数"),
    "form.preset": ("Preset", "预设"),
    "form.preset_none": ("Defaults", "默认值"),
    "form.preset_help": (
        "A set of values for the form below. Your own are saved in the workspace.",
        "一组参数值，选中后填入下方表单；自己的预设保存在工作区。",
    ),
    "form.preset_own": ("{name} (yours)", "{name}（自建）"),
    "form.preset_name": ("Save the form as a preset", "把当前表单存为预设"),
    "form.preset_save": ("Save", "保存"),
    "form.preset_saved": ("Preset “{name}” saved.", "预设“{name}”已保存。"),
    "form.advanced": ("Show advanced settings", "显示高级参数"),
    "form.empty": ("empty", "留空"),
    "form.yes": ("yes", "是"),
    "form.no": ("no", "否"),
    "form.wrong": ("{count} setting(s) need attention. Nothing was started.", "有 {count} 项设置需要修改，尚未启动。"),
    "form.no_model": (
        "No model in the workspace yet. The starter (135 M parameters, Apache-2.0) is a {size} download and "
        "trains on any CPU.",
        "工作区里还没有模型。入门模型（1.35 亿参数，Apache-2.0）下载约 {size}，任何 CPU 都能训练。",
    ),
    "form.get_starter": ("Get the starter model", "获取入门模型"),
    "form.token_help": (
        "Private and gated models: the page takes the token from its environment at the start, HF_TOKEN for "
        "Hugging Face, MODELSCOPE_API_TOKEN for ModelScope.",
        "私有或受限模型：令牌取自启动页面时的环境变量，Hugging Face 用 HF_TOKEN，ModelScope 用 MODELSCOPE_API_TOKEN。",
    ),
    "form.get_model": ("Get it", "获取"),
    "form.model_present": ("“{name}” is already in the workspace and was chosen.", "“{name}”已在工作区中，已选用。"),
    "form.no_dataset": (
        "No dataset for this stage yet: it learns from {what}. Upload a file in the Data tab.",
        "还没有可用于本阶段的数据集：本阶段使用{what}。请到“数据”页上传文件。",
    ),
    "form.learns_pretrain": ("documents or conversations", "文档或对话"),
    "form.learns_sft": ("conversations", "对话"),
    "form.learns_reward": ("preference pairs", "偏好对"),
    "form.to_data": ("Upload data", "上传数据"),
    "form.dataset_choice": ("{ref} · {rows} rows", "{ref} · {rows} 行"),
    "form.model_choice": ("{name} · {size}", "{name} · {size}"),
    # -- run panel
    "run.none_chosen": ("No run chosen", "未选择运行"),
    "run.shown": ("Shown run", "查看运行"),
    "run.name_hint": ("made from model, stage and dataset", "默认由模型、阶段和数据集生成"),
    "run.device_auto": ("Automatic", "自动选择"),
    "run.device_note": ("{free} free", "空闲 {free}"),
    "run.start": ("Start", "开始"),
    "run.stop": ("Stop", "停止"),
    "run.resume": ("Resume", "继续"),
    "run.kill": ("Kill now", "立即终止"),
    "run.drop_rows": ("Train without these rows", "不带这些行训练"),
    "run.reuse": ("Use these settings", "用这份参数"),
    "run.chat": ("Chat with it", "与它对话"),
    "run.copy": ("Copy", "复制"),
    "run.copied": ("Copied", "已复制"),
    "run.samples": ("Answers", "回答样例"),
    "run.log": ("Log", "日志"),
    "run.settings": ("Settings", "参数"),
    "run.result": ("Result", "产物"),
    "run.none": (
        "No run is shown. Choose model and data on the left and press Start; the curve appears here.",
        "当前未选择运行。在左侧选好模型和数据后点“开始”，曲线会显示在这里。",
    ),
    "run.no_samples": (
        "The fixed prompts are answered at every evaluation; the answers appear here.",
        "每次评估时会回答固定问题，回答会显示在这里。",
    ),
    "run.no_metrics": ("The curve begins with the first logged step.", "记录第一步后开始绘制曲线。"),
    "run.no_log": ("No log yet.", "还没有日志。"),
    "run.no_checkpoints": ("No checkpoint yet.", "还没有检查点。"),
    "run.step_of": ("{step} of {total} steps", "第 {step} / {total} 步"),
    "run.step": ("step {step}", "第 {step} 步"),
    "run.tokens": ("{n} tokens", "{n} 词元"),
    "run.eta": ("{time} left", "剩余 {time}"),
    "run.took": ("took {time}", "用时 {time}"),
    "run.since": ("running for {time}", "已运行 {time}"),
    "run.waiting_for": ("Waits for {holders}", "等待 {holders}"),
    "run.stopping_writing": ("Stopping once this is written", "写完后停止"),
    "run.stopping_in": (
        "Stopping at the next step border; killed in {time} if it does not answer.",
        "将在下一步边界停止；若无响应，{time} 后强制终止。",
    ),
    "run.attempt": ("attempt {n}", "第 {n} 次"),
    "run.started": ("Started “{name}”.", "已启动“{name}”。"),
    "run.changed_only": ("Settings that differ from the defaults are marked.", "与默认值不同的设置有标记。"),
    "run.prompt_at": ("step {step}", "第 {step} 步"),
    "run.output": ("Delivered weights", "交付的权重"),
    "run.base": ("Base model", "基座模型"),
    "run.adapter": ("Adapter", "适配器"),
    "run.data_used": ("Data", "数据"),
    "run.rows_used": ("{used} rows used, {dropped} dropped", "使用 {used} 行，丢弃 {dropped} 行"),
    "run.log_cut": ("The last {size} of the log. The whole file: {path}", "仅显示日志末尾 {size}，完整文件：{path}"),
    "run.gone": ("This run is no longer in the workspace.", "该运行已不在工作区中。"),
    # -- roles in rows; more of the Data tab is in text_bring, text_look, text_shape and text_shapes
    "role.system": ("system", "系统"),
    "role.user": ("user", "用户"),
    "role.assistant": ("assistant", "助手"),
    "role.prompt": ("prompt", "提示"),
    "role.chosen": ("chosen", "更好"),
    "role.rejected": ("rejected", "较差"),
    "role.text": ("text", "文本"),
    "role.question": ("question", "题目"),
    "role.choices": ("choices", "选项"),
    "role.answer": ("answer", "答案"),
    # -- chat
    # -- runs
    "runs.search": ("Search", "搜索"),
    "runs.search_hint": ("name, model, data …", "名称、模型、数据…"),
    "runs.all": ("All", "全部"),
    "runs.live": ("Live", "进行中"),
    "runs.finished": ("Finished", "已完成"),
    "runs.unfinished": ("Failed or stopped", "失败或停止"),
    "runs.open": ("Open", "打开"),
    "runs.delete": ("Delete", "删除"),
    "runs.delete_ask": (
        "Delete “{name}” with its checkpoints and results ({size})? This cannot be undone.",
        "确定删除“{name}”及其检查点和结果（{size}）？此操作无法撤销。",
    ),
    "runs.delete_users": (
        "These runs started from it: {runs}. Finished ones keep their results; others cannot go on without it.",
        "以下运行以它为起点：{runs}。已完成的保留自己的产物，未完成的将无法继续。",
    ),
    "runs.delete_yes": ("Delete for good", "确认删除"),
    "runs.delete_no": ("Keep it", "保留"),
    "runs.deleted": ("Deleted “{name}”.", "已删除“{name}”。"),
    "runs.none": (
        "No run yet. The SFT tab starts one; runs started from a terminal appear here, too.",
        "还没有运行。可在“监督微调”页启动；从终端启动的运行也会显示在这里。",
    ),
    "runs.no_match": ("No run matches.", "没有匹配的运行。"),
    "runs.col_name": ("Name", "名称"),
    "runs.col_state": ("State", "状态"),
    "runs.col_progress": ("Progress", "进度"),
    "runs.col_loss": ("Loss", "损失"),
    "runs.col_duration": ("Duration", "用时"),
    "runs.col_created": ("Created", "创建时间"),
    "runs.count": ("{shown} of {count} runs", "共 {count} 个运行，显示 {shown} 个"),
    "runs.choose": ("Choose a run in the list.", "在列表中选择一个运行。"),
    "stage.sft": ("SFT", "监督微调"),
    "stage.pretrain": ("pretraining", "继续预训练"),
    "stage.reward": ("reward model", "奖励模型"),
    "stage.ppo": ("PPO", "PPO"),
    "stage.dpo": ("DPO", "DPO"),
    "stage.evaluate": ("evaluation", "评估"),
    "stage.fetch": ("Model download", "模型下载"),
    "stage.import": ("Data import", "导入数据"),
    "stage.prepare": ("Data recipe", "数据配方"),
    "stage.perplexity": ("Perplexity", "困惑度"),
    # -- units
    "time.seconds": ("{n} s", "{n} 秒"),
    "time.minutes": ("{n} min {s} s", "{n} 分 {s} 秒"),
    "time.whole_minutes": ("{n} min", "{n} 分钟"),
    "time.hours": ("{n} h {m} min", "{n} 小时 {m} 分"),
    "time.days": ("{n} d {h} h", "{n} 天 {h} 小时"),
    # -- faults of the page itself
    "page.unexpected": (
        "Something in the page went wrong ({kind}). The terminal it was started from holds the details; "
        "runs are not affected.",
        "页面内部出错（{kind}）。详情见启动它的终端；正在进行的运行不受影响。",
    ),
    **BRING,
    **CHAT_TEXT,
    **LOOK,
    **STAGES_TEXT,
    **JUDGE,
    **CHOICE_TEXT,
    **MERGE_TEXT,
    **PIPELINE_TEXT,
    **PPO,
    **PUSH_TEXT,
    **DISTRIBUTED_TEXT,
    **REPORT_TEXT,
    **PREDICT_TEXT,
    **SHELF_TEXT,
    **SHAPE,
    **SHAPE_NAMES,
    **ANNOTATE_TEXT,
    **RUNS_TEXT,
}


ONE = re.compile(r"(?<![\w.,–-])1 (row|pair|run|step|token|question|prompt)s\b")  # "1 rows"


def t(key: str, lang: str, **params: Any) -> str:
    """The string `key` in `lang` ("zh" or "en") with `params` filled in. Raises KeyError for a key nobody declared."""
    english, chinese = TEXT[key]
    if lang == "zh":
        return chinese.format(**params)
    said = english.format(**params)
    return ONE.sub(r"1 \1", said) if any(str(value) == "1" for value in params.values()) else said


def has(key: str) -> bool:
    return key in TEXT


def stage_name(stage: str, lang: str) -> str:
    return t(f"stage.{stage}", lang) if has(f"stage.{stage}") else stage
