"""Strings of the Merge page."""

from __future__ import annotations

MERGE_TEXT: dict[str, tuple[str, str]] = {
    "tab.merge": ("Merge", "合并"),
    "merge.intro": (
        "Makes one model folder of a run and its base.\n"
        "A run's adapters need their base beside them; the merged model needs nothing else and can be served, trained "
        "on, or given away. It is made file by file: the base need not fit into memory.\n"
        "Every number is read back: what adapters changed is compared with the sum, the rest with the base. Where the "
        "model fits, probe prompts are asked before and after: what differs by more than rounding is not delivered.",
        "把一个运行和它的基座合成一个模型文件夹。\n"
        "运行的适配器离不开基座；合并后的模型不再需要任何别的东西，可以部署、继续训练或交给别人。"
        "合并逐个文件进行：内存不必放得下整个基座。\n"
        "写出的每个数都会读回核对：适配器改变过的与两者之和比较，其余与基座比较。"
        "内存放得下整个模型时，还会在合并前后用探测句提问。差异超出舍入误差就不会交付。",
    ),
    "merge.none_shown": (
        "No merge is shown. Choose a run on the left and press Start; what was checked appears here.",
        "当前未显示合并。在左侧选好运行后点“开始”，核对结果会显示在这里。",
    ),
    "merge.not_yet": (
        "The merged model is checked when it is written, before it gets its name.",
        "合并后的模型写出后先核对，然后才正式命名。",
    ),
    # -- what was found
    "merge.agrees": (
        "At {positions} positions the merged model's answers differ from those of its adapters by no more than is "
        "allowed for rounding to {dtype}: {apart}.",
        "在 {positions} 个位置上，合并后模型的回答与适配器之差不超过舍入到 {dtype} 所容许的范围：{apart}。",
    ),
    "merge.disagrees": (
        "The merged model does not say what its adapters said, at {positions} positions, in {dtype}: {apart}. It was "
        "not delivered.",
        "合并后的模型与适配器不一致（{positions} 个位置，{dtype}）：{apart}。没有交付。",
    ),
    "merge.apart_kl": (
        "the predictions differ by {kl} nats a token (allowed: {allowed}), the likeliest token is the same at {same} "
        "of them, a single output differs by {difference} at most",
        "预测分布相差每词元 {kl} 奈特（上限 {allowed}），首选词元有 {same} 相同，单个输出最多相差 {difference}",
    ),
    "merge.apart_outputs": (
        "a single output differs by {difference} at most (allowed: {allowed})",
        "单个输出最多相差 {difference}（上限 {allowed}）",
    ),
    "merge.numbers_agree": (
        "All {tensors} tensors in the files were read back: the {changed} that adapters change are the sums of base "
        "and adapters, rounded to {dtype}; the other {others} are unchanged, but for their number format.",
        "文件中的 {tensors} 个张量已全部读回：适配器改变的 {changed} 个等于基座与适配器之和（舍入到 {dtype}），"
        "其余 {others} 个除数值格式外未作改动。",
    ),
    "merge.numbers_differ": (
        "The files do not hold the sums of base and adapters ({dtype}): the model was not delivered.",
        "文件中的数不等于基座与适配器之和（{dtype}）：没有交付。",
    ),
    "merge.unasked_config": (
        "What it answers was not compared: the check was set to numbers only.",
        "没有比较模型的回答：设置为仅核对数值。",
    ),
    "merge.unasked_memory": (
        "What it answers was not compared: the whole model has no room in memory.",
        "没有比较模型的回答：内存放不下整个模型。",
    ),
    "merge.was_in_memory": (
        "The merge was made on the whole model in memory; the log says why. Its numbers were not read back one by one.",
        "合并是在内存中对整个模型进行的（原因见日志），没有逐一读回核对数值。",
    ),
    # -- figures
    "merge.tensors": ("changed by adapters", "适配器所改"),
    "merge.tensors_of": ("{changed} of {tensors}", "{changed} / {tensors}"),
    "merge.tensors_help": (
        "Tensors that adapters have changed, of all in the files. All of them were read back: these are "
        "compared with the sums, the others with what they were.",
        "被适配器改变的张量数 / 文件中的张量总数。全部都已读回：前者与两者之和比较，其余与原值比较。",
    ),
    "merge.places": ("off the sum", "与和之差"),
    "merge.places_of": ("{places} places", "{places} 末位"),
    "merge.places_help": (
        "The largest distance of a number from the sum in fp32, in units of its last place: correct rounding gives "
        "0.5 at most.",
        "写出的数与 fp32 之和的最大差距，以末位为单位：正确舍入不超过 0.5。",
    ),
    "merge.by_merging": ("by merging", "合并引起的差异"),
    "merge.by_merging_help": (
        "The largest difference between two outputs that merging alone has made.",
        "仅由合并造成的输出最大差异。",
    ),
    "merge.as_written": ("as written", "写出后的差异"),
    "merge.as_written_help": (
        "The largest difference between the adapters and the files as they lie there, rounding included.",
        "适配器与写出文件之间的输出最大差异，含舍入误差。",
    ),
    "merge.kl": ("divergence", "分布差异"),
    "merge.kl_help": (
        "How far the predictions are apart, in nats a token: rounding gives about 0.001.",
        "预测分布的差异（每词元奈特）：单纯舍入约为 0.001。",
    ),
    "merge.same": ("same token", "首选一致"),
    "merge.same_help": (
        "Share of the positions at which both take the same token for the likeliest.",
        "两者首选同一词元的位置所占比例。",
    ),
    "merge.col_probe": ("Probe", "探测句"),
    "merge.col_before": ("Before", "合并前"),
    "merge.col_after": ("After", "合并后"),
    "merge.col_difference": ("Difference", "差异"),
    "figure.merging": ("difference by merging", "合并引起的差异"),
    "figure.difference": ("difference as written", "写出后的差异"),
    "figure.kl": ("KL divergence", "KL 散度"),
    "figure.same": ("same likeliest token", "首选词元一致"),
    "phase.merging": ("Merging", "合并"),
    "phase.verifying": ("Checking what was written", "核对写出的内容"),
}
