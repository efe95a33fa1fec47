"""Page strings of the Data tab: recipes that clean and shape datasets. (English, Chinese) by key."""

from __future__ import annotations

SHAPE: dict[str, tuple[str, str]] = {
    # -- the recipe
    "recipe.title": ("Clean and shape", "清洗与整理"),
    "recipe.title_note": (
        "steps in order; the result is a new version, the dataset itself stays",
        "按顺序执行各步骤；结果是新版本，原数据集不变",
    ),
    "recipe.no_dataset": (
        "Choose a dataset first: a recipe cleans it, shapes it, and makes a new version of it.",
        "请先选择数据集：配方对它进行清洗和整理，并生成新版本。",
    ),
    "recipe.empty": (
        "No step yet. Add one, or start from a ready recipe; a preview shows what each step would drop, and why.",
        "还没有步骤。请添加步骤，或从现成配方开始；预览会显示每一步将去掉哪些行以及原因。",
    ),
    "recipe.add": ("Add a step", "添加步骤"),
    "recipe.group_clean": ("Clean: which rows are good enough", "清洗：哪些行够好"),
    "recipe.group_shape": ("Shape: which rows, in what form and order", "整理：取哪些行、什么形式和顺序"),
    "recipe.up": ("Move up", "上移"),
    "recipe.down": ("Move down", "下移"),
    "recipe.open": ("Edit", "编辑"),
    "recipe.remove": ("Remove", "移除"),
    "recipe.more": ("More settings", "更多设置"),
    "recipe.list_hint": ("several: a, b, c", "多个用逗号分隔"),
    "recipe.mix": ("Mix in another dataset …", "混入其他数据集…"),
    "recipe.unmix": ("Take out of the mix", "从混合中移除"),
    "recipe.weight": ("Weight", "权重"),
    "recipe.weight_help": (
        "How often its rows are taken: 0.5 is half of them, 2 is each twice.",
        "每行取用的次数：0.5 为取一半，2 为每行两次。",
    ),
    "recipe.other_kind": ("other rows: {kind}", "行类型不同：{kind}"),
    "recipe.output": ("Name of the result", "结果名称"),
    "recipe.output_hint": ("new version of {name}", "{name} 的新版本"),
    "recipe.output_help": (
        "Empty: a new version of this dataset; where the kind of rows changes, its name with the kind added.",
        "留空：作为本数据集的新版本；若行的类型改变，则在名称后加上类型。",
    ),
    "recipe.seed": ("Seed", "随机种子"),
    "recipe.seed_help": ("Decides every choice: samples, splits, shuffling.", "决定抽样、切分和打乱的结果。"),
    "recipe.preset_none": ("Ready recipes", "现成配方"),
    "recipe.preset_name": ("Save these steps as a recipe of your own", "把这些步骤存为自己的配方"),
    "recipe.wrong": (
        "{count} setting(s) need attention; they are marked above.",
        "有 {count} 项设置需要修改，已在上方标出。",
    ),
    # -- the preview
    "recipe.preview": ("Preview", "预览"),
    "recipe.previewing": ("Looking at what each step would do …", "正在查看每一步的效果…"),
    "recipe.no_steps": ("There is no step to preview yet.", "还没有可预览的步骤。"),
    "recipe.whole": (
        "All {before} rows were looked at; {after} would be left.",
        "已查看全部 {before} 行；将留下 {after} 行。",
    ),
    "recipe.sampled": (
        "A sample: {before} rows from all over the data were looked at; {after} of these would be left. Duplicates "
        "whose twin lies outside the sample do not show.",
        "抽样：查看了分布在全部数据中的 {before} 行，其中将留下 {after} 行。另一半在样本之外的重复行不会显示。",
    ),
    "recipe.stale": ("stale", "已过时"),
    "recipe.stale_help": (
        "The recipe was changed since this preview. Preview again.",
        "预览之后配方有改动，请重新预览。",
    ),
    "recipe.changed": ("{n} changed", "改动 {n}"),
    "recipe.nothing": ("all kept", "全部保留"),
    "recipe.no_preview": (
        "A preview shows here which rows this step drops or changes.",
        "预览后，这里显示该步骤去掉或改动的行。",
    ),
    "recipe.no_examples": ("No row is dropped or changed by this step.", "该步骤没有去掉或改动任何行。"),
    "recipe.would_drop": ("Would be dropped", "将被去掉"),
    "recipe.would_change": ("Would be changed", "将被改动"),
    "recipe.became": ("becomes {n} row(s):", "变为 {n} 行："),
    "recipe.line": ("line {n}", "第 {n} 行"),
    # -- making it
    "recipe.start": ("Make the dataset", "生成数据集"),
    "recipe.making": ("Starting", "正在开始"),
    "recipe.writing": ("Writing the rows", "正在写入"),
    "recipe.busy": (
        "Another recipe is being made in this window; wait for it, or stop it.",
        "本窗口正在执行另一个配方，请等待或停止它。",
    ),
    "recipe.stopped": ("Stopped. Nothing was made.", "已停止，未生成任何数据。"),
    "recipe.does_nothing": (
        "Without a step the result would be the dataset as it is. Add a step first.",
        "没有步骤，结果与原数据集相同。请先添加步骤。",
    ),
    "recipe.terminal": ("From a terminal, and as a recipe of your own", "在终端中执行，或另存为自己的配方"),
    "recipe.not_yet": ("The file appears here once every setting is right.", "所有设置都正确后，这里会显示配方文件。"),
    # -- what was made
    "made.title": ("How this version was made", "此版本的由来"),
    "made.from": ("Made from", "来源"),
    "made.siblings": ("Made with it", "同时生成"),
    "made.again": ("Change the recipe", "修改配方"),
    "made.dropped": ("Rows that are not in it", "未收入的行"),
    "made.dropped_note": ("{n}, kept with the reason", "{n} 行，连同原因一并保留"),
    "made.none_dropped": (
        "No row was found unfit. Rows that a sample or a range left out are not listed.",
        "没有不合格的行。抽样或取范围时未选中的行不在此列出。",
    ),
    "made.row": ("Row", "内容"),
    "made.step": ("Step", "步骤"),
    "made.all_steps": ("all steps", "全部步骤"),
    # -- export
    "export.title": ("Export", "导出"),
    "export.note": (
        "the rows as a file, for another tool or for safekeeping",
        "把数据保存为文件，供其他工具使用或留存",
    ),
    "export.form": ("Row shape", "行格式"),
    "export.container": ("File", "文件"),
    "export.write": ("Write the file", "写出文件"),
    "export.writing": ("Writing", "正在写出"),
    "export.busy": (
        "A file is being written in this window; wait for it, or stop it.",
        "本窗口正在写出文件，请等待或停止。",
    ),
    "export.stopped": ("Stopped. No file was written.", "已停止，没有写出文件。"),
    "export.download": ("Download", "下载"),
    "export.facts": ("{rows} rows, {size}", "{rows} 行，{size}"),
}
