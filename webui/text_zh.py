"""The Chinese wording of `core.messages`: (sentence, remedy) by code, with the same placeholders.

A test compares codes and placeholders of the two tables, so that neither can fall behind.
"""

from __future__ import annotations

from webui.text_zh_annotate import ANNOTATE_ZH
from webui.text_zh_chat import CHAT_ZH
from webui.text_zh_choice import CHOICE_ZH
from webui.text_zh_data import DATA_ZH
from webui.text_zh_distributed import DISTRIBUTED_ZH
from webui.text_zh_evaluate import EVALUATE_ZH
from webui.text_zh_imported import IMPORTED_ZH
from webui.text_zh_merge import MERGE_ZH
from webui.text_zh_models import MODELS_ZH
from webui.text_zh_pipeline import PIPELINE_ZH
from webui.text_zh_ppo import PPO_ZH
from webui.text_zh_predict import PREDICT_ZH
from webui.text_zh_push import PUSH_ZH
from webui.text_zh_runs import RUNS_ZH
from webui.text_zh_steps import STEPS_ZH
from webui.text_zh_training import TRAINING_ZH

NEAREST = "是不是想写“{nearest}”？"  # left out where nothing is near

MESSAGES_ZH: dict[str, tuple[str, str]] = {
    # -- config: fields, files, overrides
    "config.invalid": ("有 {count} 项设置不正确。", ""),
    "config.unknown_stage": ("没有名为“{stage}”的阶段；可用的有 {known}。", "是不是想写“{nearest}”？"),
    "config.no_file": ("无法读取配置文件 {path}。", "请检查路径。"),
    "config.not_yaml": ("{path} 第 {line} 行不是 YAML（{detail}）。", "请改正这一行。"),
    "config.not_mapping": (
        "{path} 的内容是 {found}，不是设置。",
        "请写成分组和设置，例如 `optim:` 下面一行 `learning_rate: 2e-5`。",
    ),
    "config.no_preset": ("阶段 {stage} 没有预设“{preset}”；现有 {known}。", "是不是想写“{nearest}”？"),
    "config.not_key_value": ("“{word}”不是 键=值 的形式。", "例如写成 optim.learning_rate=2e-5。"),
    "config.unknown_key": ("没有这个设置。", "是不是想写“{nearest}”？ 分组有 {sections}。"),
    "config.unknown_choice": ("这里没有“{value}”；可选的有 {known}。", "是不是想写“{nearest}”？"),
    "config.missing": ("这一项没有默认值，必须填写。", "请填写。"),
    "config.out_of_bounds": ("“{value}”超出范围。", "允许：{allowed}。"),
    "config.too_long": ("太长。", "最多 {limit}。"),
    "config.wrong": ("“{value}”不能用：{detail}。", "允许：{allowed}。"),
    "config.wrong_type": ("“{value}”不能用在这里。", "允许：{allowed}。"),
    "path.outside": ("{path} 不在 Galen 可读取的文件夹内：{roots}。", "启动时用 --root 指定该文件夹，或直接上传文件。"),
    "path.unusable": (
        "无法使用 {path}：{detail}。",
        "请确认它存在、磁盘有空间、且您有写入权限；也可以用 --workspace 指定别的文件夹。",
    ),
    "name.bad": ("“{name}”不能作名称。", "可用字母、数字、空格和 . _ + -，最多 80 个字符，以字母或数字开头。"),
    # -- model: folders, hubs, adapters, templates
    "model.no_template": (
        "{model} 的分词器没有对话模板。",
        "请选择指令模型，或设 model.template=chatml，也可用：{known}。",
    ),
    "model.unknown_template": (
        "没有名为“{template}”的对话模板。",
        "请设 model.template=chatml 或其他模板，也可留空：{known}。",
    ),
    "model.template_broken": (
        "{model} 的对话模板出错：{detail}。",
        "请改正模板，或将 model.template 设为其中之一：{known}。",
    ),
    "model.template_unmarkable": (
        "{model} 的对话模板无法确定回答的起止：{detail}。",
        "请在模板中加入 generation 标记，或将 model.template 设为其中之一：{known}。",
    ),
    "model.template_refuses": ("{model} 的对话模板不接受任何一行数据：{detail}。", "请修改数据，或指定其他模板。"),
    "model.learns_last_only": (
        "{model} 对最后一个回答之前的内容做双向注意，因此只有最后一个回答可以学习。",
        "请设 data.train_on=assistant。",
    ),
    "model.no_stop_token": ("{model} 的分词器没有结束回答的词元。", "请在 tokenizer_config.json 中设置 eos_token。"),
    "model.slow_tokenizer": (
        "{model} 的分词器（{found}）不属于 tokenizers 库。",
        "请用作者提供的脚本把它转换为 tokenizer.json。",
    ),
    "model.no_tokenizer": ("文件夹 {model} 中没有可加载的分词器：{detail}。", "请重新获取模型。"),
    # -- device
    # -- run: jobs, failures
    # -- hub: what models and datasets are fetched from; files and disks
    "hub.no_network": (
        "无法连接 {source}：{detail}。",
        "请检查网络，或在启动时用 HF_ENDPOINT 指定镜像，然后点“继续”；也可以手动下载文件后填写路径。",
    ),
    "hub.missing": (
        "{hub} 上没有你能读取的 {repo}。",
        "请检查拼写；私有仓库请在环境变量中设置令牌（{token}）。",
    ),
    "hub.gated": (
        "{repo} 只提供给在 {hub} 上接受其条款的人。",
        "请在其页面上接受条款，在环境变量中设置令牌（{token}），然后继续。",
    ),
    "hub.revision": ("{repo} 没有版本“{revision}”。", "请检查版本；通常是 main。"),
    "hub.failed": ("{hub} 未能送达 {repo}：{detail}。", "点“继续”会从中断处接着下载。"),
    "hub.no_modelscope": (
        "没有安装 modelscope 软件包。",
        "请运行 `python -m pip install modelscope` 后继续，或选择 huggingface。",
    ),
    "file.bad_checksum": (
        "{file} 不是应有的文件：其 SHA-256 是 {found}，应为 {expected}。文件已删除。",
        "点“继续”重新获取；若再次发生，请勿信任该来源。",
    ),
    "disk.no_space": ("{folder} 需要 {need} 可用空间，现有 {free}。", "请腾出空间后继续。"),
    "run.helper_failed": ("辅助进程中断（{how}）：{detail}。", "其余见运行日志。"),
    "run.stopped": ("运行已按要求停止。", "点“继续”会从已保存处接着进行。"),
    "device.unknown": ("这里没有设备“{device}”。", "可选：{known}。"),
    "device.mixed": ("一次运行要么用 GPU，要么用 CPU，不能混用：{devices}。", "请选择同一种设备。"),
    "device.twice": ("同一设备列了两次：{devices}。", "每个设备只列一次。"),
    "device.busy": ("{device} 正被 {holder} 占用。", "请等它结束，或改用其他设备。"),
    "run.which_stage": ("{file} 没有说明属于哪个阶段。", "请加上 --stage，可选：{stages}。"),
    "run.live": ("运行“{run}”还没有结束（{state}）。", "请先停止它。"),
    "run.not_live": ("运行“{run}”不在运行中（{state}）。", ""),
    "run.finished": ("运行“{run}”已经完成，没有可继续的内容。", "如需再跑一次，请用它的配置重新提交。"),
    "run.no_supervisor": ("运行“{run}”无法启动：{detail}", "完整信息见运行文件夹中的 log/supervisor.log。"),
    "run.kill_failed": ("运行“{run}”的进程无法结束：{pids}。", "它们在等待硬件或内核；请重试，或重启机器。"),
    "run.lock_dir": (
        "设备锁所在的文件夹 {folder} 不能用：{detail}。",
        "请把 GALEN_LOCK_DIR 设为共用设备的人都可写的文件夹。",
    ),
    "run.stopped_waiting": ("运行在等待时被停止。", "点“继续”即可启动。"),
    "run.stopped_unsaved": ("运行在保存最后几步之前被结束。", "点“继续”会从已保存处接着进行；什么都没保存则从头开始。"),
    "run.out_of_memory": ("内存不足：{detail}", "请减小批大小或最大长度、换用更小的模型，或关闭其他程序。"),
    "run.out_of_gpu_memory": ("显存不足：{detail}", "请减小批大小或最大长度、打开梯度检查点，或换用更小的模型。"),
    "run.disk_full": ("磁盘已满：{path}", "请腾出空间，然后继续运行。"),
    "run.file_limit": ("文件超过了允许的大小：{path}", "请提高限制（ulimit -f），然后继续运行。"),
    "run.missing_file": ("缺少文件：{path}", "请把它放回原处，然后继续运行。"),
    "run.permission": ("没有权限使用 {path}。", "请修改所有者或权限，然后继续运行。"),
    "run.no_model": ("找不到模型或其中的文件：{detail}", "请检查模型名称，或重新获取。"),
    "run.no_network": ("网络没有响应：{detail}", "请检查网络连接，然后继续运行。"),
    "run.gpu_failed": (
        "GPU 或其驱动出错：{detail}",
        "请看 log/rank-0.log；用 `nvidia-smi` 可查看 GPU 是否还有响应。然后继续运行。",
    ),
    "run.rank_lost": ("运行的各进程之间失去了联系：{detail}", "请看其他进程的日志，然后继续运行。"),
    "run.missing_package": ("缺少 Python 包：{detail}", "请执行 `pip install -r requirements.txt`。"),
    "run.bad_config": (
        "当前版本无法读取这次运行的配置：{detail}",
        "请用 `python -m core jobs submit` 重新提交，它会指出每一项错误设置。",
    ),
    "run.crashed": ("运行崩溃：{detail}", "完整的错误追踪在日志中。"),
    "run.exited": ("运行的进程 {rank} 未作说明就以退出码 {exit_code} 结束。", "请看它的日志。"),
    "run.killed_memory": (
        "运行的进程 {rank} 被信号 9（SIGKILL）终止：通常是系统内存耗尽。",
        "请减小批大小或最大长度，或关闭其他程序；然后继续运行。",
    ),
    "run.native_crash": (
        "运行的进程 {rank} 在某个库内部崩溃：信号 {signal}（{name}）。",
        "日志会说明位置。点“继续”会从已保存处接着进行。",
    ),
    "run.killed": ("运行的进程 {rank} 被信号 {signal}（{name}）终止。", "点“继续”会从已保存处接着进行。"),
    "run.vanished": (
        "运行不留痕迹地结束了：机器断电或重启，或者运行的所有进程同时被终止。",
        "点“继续”会从已保存处接着进行。",
    ),
    "run.bad_reference": ("“{reference}”不是运行权重的写法。", "写成 RUN、RUN:best、RUN:last 或 RUN:step-40。"),
    "run.not_found": ("工作区里没有运行“{run}”。", "用 `python -m core jobs list` 查看现有运行。"),
    "run.no_better": (
        "运行在第 {step} 步结束：最近 {patience} 次评估都没有超过之前的最好结果。",
        "这不是错误；evaluation.patience 决定等待多少次。",
    ),
    # -- serve: chat and the local server
}

MESSAGES_ZH.update(MODELS_ZH | DATA_ZH | STEPS_ZH | TRAINING_ZH | PPO_ZH | IMPORTED_ZH | PUSH_ZH | CHOICE_ZH)
MESSAGES_ZH.update(CHAT_ZH | MODELS_ZH | DATA_ZH | STEPS_ZH | TRAINING_ZH | PPO_ZH | IMPORTED_ZH | PUSH_ZH)
MESSAGES_ZH.update(MODELS_ZH | DATA_ZH | STEPS_ZH | TRAINING_ZH | PPO_ZH | IMPORTED_ZH | PUSH_ZH | ANNOTATE_ZH)
MESSAGES_ZH.update(CHOICE_ZH | EVALUATE_ZH)
MESSAGES_ZH.update(RUNS_ZH)
MESSAGES_ZH.update(CHOICE_ZH | EVALUATE_ZH | DISTRIBUTED_ZH)
MESSAGES_ZH.update(CHOICE_ZH | EVALUATE_ZH | PIPELINE_ZH)
MESSAGES_ZH.update(MODELS_ZH | DATA_ZH | STEPS_ZH | TRAINING_ZH | PPO_ZH | IMPORTED_ZH | PUSH_ZH | PREDICT_ZH)
MESSAGES_ZH.update(MODELS_ZH | DATA_ZH | STEPS_ZH | TRAINING_ZH | PPO_ZH | IMPORTED_ZH | PUSH_ZH | MERGE_ZH)
