"""An adapter that some other program has trained, as this project keeps one. Imports torch.

    facts = convert_adapter(source, target, base)

PEFT's LoRA of whatever age, from plain scripts, MedicalGPT or LLaMA-Factory: `.bin` or safetensors, factors named with
or without an adapter's name, a reward model's head (`score`, or TRL's `v_head`) in the adapter or beside it, and what
has to be merged at once: modules and biases that were trained whole, factors of embeddings. Names and shapes are
compared with the base's own layers; an adapter of a published checkpoint that has been converted
(`core.models.conversions`) is converted with it. What PEFT calls something else than LoRA is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.errors import ModelError
from core.models.chain import HEAD_MODULES, MERGEABLE, NOT_PLAIN, PREFIX, read_adapter
from core.models.changes import changes_of
from core.models.checking import skeleton
from core.models.conversions import find_layout, native_factors, published_factors
from core.models.conversions.layout import Pair
from core.models.rewriting import plain, read_tensors
from core.models.weights import ADAPTER, ADAPTER_BIN, ADAPTER_CONFIG, LORA_ALPHA, PUBLISHED, SCORE, VALUE_HEADS
from core.rundir import read_json, write_json

VALUE_HEAD = "v_head.summary.weight"
LARGEST = 65_536  # of a rank or a scaling
HARMLESS_STARTS = ("gaussian", "orthogonal", "eva")  # of LoRA's factors; the others change the base as well
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<letter>[AB])(\.[\w-]+)?\.weight")
OF_EMBEDDINGS = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<letter>[AB])(\.[\w-]+)?")
LORA_BIAS = re.compile(r"(?P<module>.+)\.lora_B(\.[\w-]+)?\.bias")
KEPT = re.compile(r"\.(modules_to_save|original_module)\.[\w-]+\.|\.modules_to_save\.|\.base_layer\.")
MERGED_KEYS = ("bias", "lora_bias", "ensure_weight_tying")  # of adapter_config.json, what a merge at once goes by
EMBEDDINGS = ("embed_tokens", "word_embeddings", "wte", "embed_in", "lm_head", "embed_out", "output_layer")


@dataclass
class Adapter:
    """What was found: LoRA's factors by module, all other tensors by name (weights that were trained whole, factors of
    embeddings, a LoRA's own biases), and a score head [1, h]."""

    factors: dict[str, Pair]
    whole: dict[str, Tensor]
    head: Tensor | None


def convert_adapter(source: Path, target: Path, base: Path) -> dict[str, Any]:
    """Write the adapter of folder `source` for the model in `base` into `target`, as PEFT itself would on that model.

    Returns {"reward": it has a score head, "whole": it holds more than the factors of matrices}. Raises ModelError
    `adapter.*`, `chain.*`, `convert.*`, and as `rewriting.read_tensors`.
    """
    config = read_adapter_config(source)
    found = read(source)
    if found.head is not None and found.whole:
        raise ModelError("chain.not_plain", path=str(source), detail="it holds a score head and embeddings")
    _check_ranks(found, config, source)
    _convert_names(found, base, config, source)
    model, _ = skeleton(base)
    _check(found, model, config, source, base)
    target.mkdir(parents=True, exist_ok=True)
    tensors = _named(found.factors)
    tensors |= {PREFIX + name: tensor for name, tensor in found.whole.items()}
    if found.head is not None:
        tensors[PREFIX + SCORE] = found.head.float()
    save_file(plain({key: tensor.float() if ".lora_" in key else tensor for key, tensor in tensors.items()}),
              target / ADAPTER, metadata={"format": "pt"})  # fmt: skip
    write_json(target / ADAPTER_CONFIG, _config(config, found, model, base))
    if found.whole:
        changes_of(model, [target], whole=True)  # that it can be merged
    return {"reward": found.head is not None, "whole": bool(found.whole)}


def publish_adapter(source: Path, target: Path, base: Path) -> dict[str, Any]:
    """The reverse, for the checkpoint that `base` was converted from: write the adapter of `source` into `target`.

    Joined matrices get the sum of their parts' ranks (`published_factors`), so all layers are written with scaling 1,
    their own in the factors. Raises ModelError `chain.not_plain`, `convert.not_published`.
    """
    published, config = read_json(base / PUBLISHED), read_adapter_config(source)
    layout = find_layout(published) if isinstance(published, dict) else None
    if layout is None or published is None:
        raise ModelError("convert.not_published", run=str(source))
    if config.get("task_type") == "SEQ_CLS":
        raise ModelError("chain.not_plain", path=str(source), detail="it is a reward model")
    native = {name: (each.a, each.b * each.scaling) for name, each in read_adapter(source).items()}
    factors = published_factors(layout, published, native)
    save_file(plain(_named(factors)), target / ADAPTER, metadata={"format": "pt"})
    ranks = {name: pair[0].shape[0] for name, pair in factors.items()}
    rank = min(ranks.values())
    own = {name: number for name, number in ranks.items() if number != rank}
    write_json(target / ADAPTER_CONFIG, {
        **config, "base_model_name_or_path": str(published.get("_name_or_path") or layout.name), "r": rank,
        "lora_alpha": rank, "use_rslora": False, "rank_pattern": own, "alpha_pattern": own,
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in factors}), "task_type": "CAUSAL_LM",
    })  # fmt: skip
    return {"layers": len(factors)}


def _named(factors: Mapping[str, Pair]) -> dict[str, Tensor]:
    """Factors by the names that PEFT has for them in a file."""
    return {
        f"{PREFIX}{name}.lora_{letter}.weight": part
        for name, pair in factors.items()
        for letter, part in zip("AB", pair, strict=True)
    }


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json of a LoRA. Raises ModelError `adapter.torn`, `adapter.kind`, `chain.not_plain`."""
    config = read_json(folder / ADAPTER_CONFIG)
    if not isinstance(config, dict):
        raise ModelError("adapter.torn", path=str(folder), detail=f"{ADAPTER_CONFIG} is missing or damaged")
    if config.get("peft_type") != "LORA":
        raise ModelError("adapter.kind", path=str(folder), kind=config.get("peft_type"))
    odd = [key for key in NOT_PLAIN if config.get(key) and key not in MERGEABLE]
    if odd:
        raise ModelError("chain.not_plain", path=str(folder), detail=f"it was made with {odd[0]}")
    began = config.get("init_lora_weights")
    if isinstance(began, str) and began.lower() not in HARMLESS_STARTS:  # its base is another one from the start
        raise ModelError("chain.not_plain", path=str(folder), detail=f"it began with init_lora_weights={began}")
    _check_types(folder, config)
    return config


def _check_types(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise ModelError `adapter.torn` unless ranks and scalings are numbers that can be reckoned with."""
    patterns = {key: config.get(key) or {} for key in ("rank_pattern", "alpha_pattern")}
    for key, pattern in patterns.items():
        if not isinstance(pattern, dict) or not all(isinstance(name, str) for name in pattern):
            raise ModelError("adapter.torn", path=str(folder), detail=f"{key} is {str(pattern)[:60]}")
    ranks = {"r": config.get("r"), **patterns["rank_pattern"]}
    alphas = {"lora_alpha": config.get("lora_alpha", LORA_ALPHA), **patterns["alpha_pattern"]}
    for key, value in [*ranks.items(), *alphas.items()]:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= LARGEST or (key in ranks and int(value) != value):
            raise ModelError("adapter.torn", path=str(folder), detail=f"{key} is {str(value)[:60]}")


def read(folder: Path) -> Adapter:
    """The tensors of an adapter folder, sorted. Raises ModelError `adapter.torn`."""
    path = next((folder / name for name in (ADAPTER, ADAPTER_BIN) if (folder / name).is_file()), None)
    if path is None:
        raise ModelError("adapter.torn", path=str(folder), detail=f"neither {ADAPTER} nor {ADAPTER_BIN} is there")
    halves: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for key, tensor in read_tensors(path):
        match, other = FACTOR.fullmatch(key), OF_EMBEDDINGS.fullmatch(key)
        bias = LORA_BIAS.fullmatch(key)
        if match:
            halves.setdefault(match["module"].removeprefix(PREFIX), {})[match["letter"]] = tensor
        elif other:
            whole[f"{other['module'].removeprefix(PREFIX)}.lora_embedding_{other['letter']}"] = tensor
        elif bias:
            whole[f"{bias['module'].removeprefix(PREFIX)}.lora_B.bias"] = tensor
        elif "original_module" not in key and not key.endswith(".base_layer.weight"):
            whole[KEPT.sub(".", key).removeprefix(PREFIX)] = tensor
    lonely = next((name for name, pair in halves.items() if len(pair) < 2), None)
    if lonely is not None or not (halves or any(".lora_" in name for name in whole)):
        detail = f"{lonely} has one factor of two" if lonely else "it holds no LoRA factors"
        raise ModelError("adapter.torn", path=str(folder), detail=detail)
    inside = whole.pop(VALUE_HEAD, None)
    whole = {name: tensor for name, tensor in whole.items() if not name.startswith("v_head.")}
    heads = [whole.pop(name) for name in [*whole] if name.split(".")[0] in HEAD_MODULES and name.endswith("weight")]
    whole = {name: tensor for name, tensor in whole.items() if name.split(".")[0] not in HEAD_MODULES}
    factors = {name: (pair["A"], pair["B"]) for name, pair in halves.items()}
    head = heads[0] if heads else inside if inside is not None else _value_head(folder)
    return Adapter(factors, whole, head)


def _value_head(folder: Path) -> Tensor | None:
    """TRL's head, [1, h]. Its bias moves all scores alike and is left out."""
    path = next((folder / name for name in VALUE_HEADS if (folder / name).is_file()), None)
    return None if path is None else dict(read_tensors(path)).get(VALUE_HEAD)


def _check_ranks(found: Adapter, config: Mapping[str, Any], source: Path) -> None:
    """Raise ModelError `adapter.torn` where factors are not of the rank that adapter_config.json says."""
    ranks = {config.get("r"), *(config.get("rank_pattern") or {}).values()}
    for name, (a, b) in found.factors.items():
        if a.shape[0] != b.shape[1] or a.shape[0] not in ranks:
            detail = f"{name} has factors of the ranks {a.shape[0]} and {b.shape[1]}, its config says {config.get('r')}"
            raise ModelError("adapter.torn", path=str(source), detail=detail)


def _convert_names(found: Adapter, base: Path, config: Mapping[str, Any], source: Path) -> None:
    """An adapter of the published checkpoint that `base` was converted from, as one of what it has become."""
    published = read_json(base / PUBLISHED)
    layout = find_layout(published) if isinstance(published, dict) else None
    if layout is None or published is None:
        return
    if any(config.get(key) for key in ("rank_pattern", "alpha_pattern")) or found.whole:
        odd = "embeddings of its own" if found.whole else "a rank for each layer"
        raise ModelError("chain.not_plain", path=str(source), detail=f"it was made with {odd}")
    joined = {name for name in found.factors if not _is_native(layout.published, name)}
    converted = native_factors(layout, published, {name: found.factors[name] for name in joined})
    found.factors = {name: pair for name, pair in found.factors.items() if name not in joined} | converted


def _is_native(published: Any, module: str) -> bool:
    try:
        published(module)
    except KeyError:
        return False
    return True


def _check(found: Adapter, model: PreTrainedModel, config: Mapping[str, Any], source: Path, base: Path) -> None:
    """Raise ModelError where the base has no such layer, or one of another shape."""
    modules = dict(model.named_modules())
    about = {"path": str(source), "base": base.name}
    for name, (a, b) in found.factors.items():
        layer = modules.get(name)
        if not isinstance(layer, (nn.Linear, Conv1D)):
            raise ModelError("adapter.no_layer", layer=name, **about)
        out, into = reversed(layer.weight.shape) if not isinstance(layer, nn.Linear) else layer.weight.shape
        if (a.shape[1], b.shape[0]) != (into, out):
            raise ModelError(
                "adapter.other_shape", layer=name, found=f"{b.shape[0]}×{a.shape[1]}", expected=f"{out}×{into}", **about
            )
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, tensor in found.whole.items():
        if ".lora_" in name:  # its shape is that of no weight
            continue
        if name not in shapes:
            raise ModelError("adapter.no_layer", layer=name, **about)
        if shapes[name] != tuple(tensor.shape):
            embedding = name.split(".")[-2] in EMBEDDINGS
            code = "adapter.vocabulary" if embedding else "adapter.other_shape"
            raise ModelError(code, layer=name, found=tensor.shape[0], expected=shapes[name][0], **about)
    _check_parted(found, model, config, source)
    width = model.config.get_text_config().hidden_size
    if found.head is not None and tuple(found.head.shape) != (1, width):
        raise ModelError("adapter.head", found="×".join(map(str, found.head.shape)), expected=f"1×{width}", **about)


def _check_parted(found: Adapter, model: PreTrainedModel, config: Mapping[str, Any], source: Path) -> None:
    """Raise ModelError `chain.not_plain` where embeddings and head that are one were trained in place to be two."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    names = [f"{name}.weight" for name, module in model.named_modules() if module in ends]
    both = [found.whole[name] for name in names if name in found.whole]
    if config.get("modules_to_save") or not model.config.tie_word_embeddings or len(both) < 2:
        return
    if not both[0].equal(both[1]):
        raise ModelError("chain.not_plain", path=str(source), detail="it parts a head from embeddings that are one")


def _config(config: Mapping[str, Any], found: Adapter, model: nn.Module, base: Path) -> dict[str, Any]:
    """adapter_config.json as PEFT writes it for the base's own layers: the leaves of their names where these say it
    all, and no key that might mean something else to a later version."""
    leaves = {name.rsplit(".", 1)[-1] for name in found.factors}
    meant = {name for name, part in model.named_modules()
             if isinstance(part, (nn.Linear, Conv1D)) and name.rsplit(".", 1)[-1] in leaves}  # fmt: skip
    reward = found.head is not None
    embeddings = {match["module"] for match in map(OF_EMBEDDINGS.fullmatch, found.whole) if match}
    kept = [name for name in config.get("modules_to_save") or [] if name not in HEAD_MODULES]
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if reward else "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "inference_mode": True,
        "target_modules": sorted({*(leaves if meant == set(found.factors) else found.factors), *embeddings}),
        "modules_to_save": [*HEAD_MODULES] if reward else kept if found.whole and kept else None,
        "r": config["r"],
        "lora_alpha": config.get("lora_alpha", LORA_ALPHA),
        "rank_pattern": config.get("rank_pattern") or {},
        "alpha_pattern": config.get("alpha_pattern") or {},
        "use_rslora": bool(config.get("use_rslora")),
        "fan_in_fan_out": bool(config.get("fan_in_fan_out")),
        "lora_dropout": 0.0,
        "bias": "none",
        **({key: config[key] for key in MERGED_KEYS if key in config} if found.whole else {}),
    }
