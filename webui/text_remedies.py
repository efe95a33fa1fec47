"""What the page advises where `core.messages` speaks of the command line: (English, Chinese) by code.

The sentence stays; the remedy names the field, the button or the tab instead. `SENTENCES` are the few whose sentence
only makes sense in a terminal. The placeholders are those of the code.
"""

from __future__ import annotations

from webui.text_pipeline import PIPELINE_REMEDIES

NEAREST, NEAREST_ZH = "Did you mean '{nearest}'?", "是不是想写“{nearest}”？"
MORE = "“Another model, or an adapter”"
MORE_ZH = "“其他模型或适配器”"
DISK = "“Models and disk” in the tab Runs"
DISK_ZH = "“运行记录”页的“模型与磁盘”"

SENTENCES: dict[str, tuple[str, str]] = {"config.missing": ("This is empty.", "此处为空。")}

REMEDIES: dict[str, tuple[str, str]] = {
    **PIPELINE_REMEDIES,
    "config.missing": ("Fill it in.", "请填写。"),
    # -- several hosts
    "run.wrong_world": (
        "Start it with the commands that the page shows while the run waits for its hosts.",
        "请用运行等待主机时页面上显示的命令启动。",
    ),
    "run.not_set_aside": ("Resume it first; then start it on its hosts.", "请先点“继续”，再在各主机上启动。"),
    "run.not_for_hosts": ("Start or resume it on this page.", "请在本页面上启动或继续。"),
    # -- data and evaluation
    "annotate.waiting": (
        "Judge them in the tab Data, Annotate; then make the dataset there.",
        "请在“数据 → 标注”中标注，然后在那里生成数据集。",
    ),
    "annotate.made_and_waiting": (
        "Go on in the tab Data, Annotate, and make the dataset once more; or leave it at that.",
        "可在“数据 → 标注”中接着标注，再生成一次；也可以到此为止。",
    ),
    "predict.other_base": (
        f"Bring {{adapter}} in with its own base under {MORE}, then choose the run that comes of it.",
        f"请在{MORE_ZH}中连同它自己的底座导入 {{adapter}}，然后选择由此产生的运行。",
    ),
    "predict.no_adapter": (
        f"Choose a run from the list; an adapter from a hub is brought in first, under {MORE}.",
        f"请从列表中选择一次运行；来自模型库的适配器请先在{MORE_ZH}中导入。",
    ),
    "report.no_evaluation": ("Choose finished runs of the tab Evaluate.", "请选择“评估”页中已完成的运行。"),
    # -- models
    "model.unknown": (
        f"{NEAREST} Choose one from the list, or bring it in under {MORE}.",
        f"{NEAREST_ZH} 请从列表中选择，或在{MORE_ZH}中导入。",
    ),
    "model.no_starter": (
        "Get it with the button beneath the model's field.",
        "请用模型选择框下方的按钮获取。",
    ),
    "model.not_fetched": (f"Bring {{model}} in under {MORE}.", f"请在{MORE_ZH}中导入 {{model}}。"),
    "model.gguf_not_fetched": (f"Bring {{model}} in under {MORE}.", f"请在{MORE_ZH}中导入 {{model}}。"),
    "model.run_is_adapter": (
        "Choose its base, {base}, or merge it first in the tab Merge.",
        "请选择它所基于的模型 {base}，或先在“合并”页合并。",
    ),
    "model.bin_only": (
        f"Bring {{path}} in under {MORE}: it is read safely and rewritten as safetensors.",
        f"请在{MORE_ZH}中导入 {{path}}：会安全读取并改写为 safetensors。",
    ),
    "model.name_taken": (
        f"Write another name, or delete the other model ({DISK}).",
        f"请换一个名称，或先删除那个模型（{DISK_ZH}）。",
    ),
    "model.unknown_source": (
        "Check the spelling. A folder is named by its whole path.",
        "请检查拼写；文件夹请写完整路径。",
    ),
    "model.hub_no_weights": (
        "For one of several GGUF files, write {model}/FILE.gguf.",
        "若有多个 GGUF 文件，请写 {model}/FILE.gguf。",
    ),
    "model.base_missing": (f"Bring {{source}} in again under {MORE}.", f"请在{MORE_ZH}中重新导入 {{source}}。"),
    "model.base_lost": (
        f"Put it back, or bring in the same weights from elsewhere under {MORE}: they are known by their SHA-256, "
        "under whatever name.",
        f"请放回原处，或在{MORE_ZH}中从别处导入相同的权重：名称不限，按 SHA-256 识别。",
    ),
    "model.base_changed": (
        f"Bring {{source}} in again under {MORE}, with another “Name here”.",
        f"请在{MORE_ZH}中重新导入 {{source}}，并换一个“本地名称”。",
    ),
    "model.base_altered": (
        f"Put the original back, or bring it in from elsewhere under {MORE}, with another “Name here”.",
        f"请把原模型放回，或在{MORE_ZH}中从别处导入，并换一个“本地名称”。",
    ),
    "model.pointed_at": (
        f"Remove them first ({DISK}), or bring them in again from a copy.",
        f"请先移除它们（{DISK_ZH}），或从副本重新导入。",
    ),
    "model.published": (
        f"Bring {{path}} in under {MORE}: it is converted then.",
        f"请在{MORE_ZH}中导入 {{path}}，导入时会转换。",
    ),
    "disk.filled": (
        f"Make room ({DISK} says what takes it), then try again.",
        f"请腾出空间（{DISK_ZH}会列出占用），然后重试。",
    ),
    "disk.gone": ("Open the list again: it is read anew.", "请重新打开列表，会重新读取。"),
    # -- differences and adapters
    "difference.needs_base": (
        "Choose that base in “Belongs to”. If the weights are whole: choose no in “Difference weights”.",
        "请在“所属基座”中选择该基座。如果权重是完整的，请把“差值权重”设为否。",
    ),
    "difference.not_asked": (
        "Leave “Belongs to” empty; or, if they have to be added to that base, choose yes in “Difference weights”.",
        "请把“所属基座”留空；若它的权重须加到该基座上，请把“差值权重”设为是。",
    ),
    "difference.is_whole": (
        "Bring the model in without a base: choose no in “Difference weights”.",
        "请不带基座导入该模型：把“差值权重”设为否。",
    ),
    "adapter.base_unknown": (
        "Bring that base in first; or, if it has another name here, choose it in “Belongs to”.",
        "请先导入该基座；若它在这里叫别的名字，请在“所属基座”中选择。",
    ),
    "adapter.base_chain": (
        "Merge it first in the tab Merge, and choose what that makes.",
        "请先在“合并”页合并，再选择合并后的模型。",
    ),
    "adapter.no_layer": (
        "It was trained on another model: choose that one in “Belongs to”.",
        "它是在别的模型上训练的：请在“所属基座”中选择那个模型。",
    ),
    "adapter.other_shape": (
        "It was trained on another model, or another size of it: choose that one in “Belongs to”.",
        "它是在别的模型或别的大小上训练的：请在“所属基座”中选择那个模型。",
    ),
    "adapter.vocabulary": (
        "Choose the base with the extended vocabulary that it was trained on in “Belongs to”.",
        "请在“所属基座”中选择它训练时所用的扩充词表的基座。",
    ),
    "adapter.tokens": (
        "It was trained on a base with a larger vocabulary: choose that one in “Belongs to”.",
        "它是在词表更大的基座上训练的：请在“所属基座”中选择那个模型。",
    ),
    # -- sending, runs, data
    "push.no_run": ("Choose a finished run from the list.", "请从列表中选择一个已完成的运行。"),
    "run.not_found": ("The tab Runs lists those that there are.", "“运行记录”页列出现有的运行。"),
    "run.bad_config": ("Start a run with these settings anew.", "请用这些设置重新开始一个运行。"),
    "data.no_dataset": (
        f"{NEAREST} Choose one from the list, or add a file in the tab Data.",
        f"{NEAREST_ZH} 请从列表中选择，或在“数据”页添加文件。",
    ),
    "data.wrong_kind": (
        "Choose another dataset; the tab Data says what each one is for.",
        "请选择其他数据集；“数据”页会说明每个数据集的用途。",
    ),
    "data.not_in_catalogue": (
        f"{NEAREST} The tab Data lists the sets.",
        f"{NEAREST_ZH} “数据”页列出这些数据集。",
    ),
    "reward.unknown": (
        "Choose a finished reward run, or train one in the tab Reward. A deleted one cannot be used any more.",
        "请选择已完成的奖励运行，或在奖励模型页训练一个。已删除的不能再用。",
    ),
    "step.unknown": ("Choose one from the list of steps.", "请从步骤列表中选择。"),
    "step.no_losses": (
        "Choose a finished measurement of perplexity; the tab Pretrain makes one.",
        "请选择一个已完成的困惑度测量；“预训练”页可以测量。",
    ),
}
