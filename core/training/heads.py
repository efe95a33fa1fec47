"""The score head of a reward model, on disk: where other programs look for it, so that they load it unasked.

    an adapter        one more tensor in adapter_model.safetensors, and SEQ_CLS in adapter_config.json: plain PEFT lays
                      it on AutoModelForSequenceClassification
    a checkpoint      of a whole model: score.safetensors beside the causal model's files
    a whole model     the folder of a sequence-classification model with one score

The head is w·h without a bias, h the last hidden state of the answer's last token, as Transformers' own
sequence-classification models have it.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from core.errors import ModelError
from core.models.chain import HEAD_MODULES, PREFIX
from core.models.weights import ADAPTER, ADAPTER_CONFIG, SCORE, weight_files
from core.training.sharding import spread

HEAD = "score.safetensors"
IN_ADAPTER = f"{PREFIX}{SCORE}"


def new_head(width: int) -> nn.Linear:
    """A head that scores everything 0: training begins at a loss of log 2, whatever the seed."""
    head = nn.Linear(width, 1, bias=False, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    return head


# -- writing ----------------------------------------------------------------------------------------------------------
def save_head(head: nn.Linear, folder: Path) -> str:
    """Put the head with the adapter or the causal model in `folder`. Returns the name of the file that holds it."""
    weight = head.weight.detach().cpu().float().contiguous()
    if not (folder / ADAPTER_CONFIG).is_file():
        save_file({SCORE: weight}, folder / HEAD, metadata={"format": "pt"})
        return HEAD
    save_file({**load_file(folder / ADAPTER), IN_ADAPTER: weight}, folder / ADAPTER, metadata={"format": "pt"})
    config = orjson.loads((folder / ADAPTER_CONFIG).read_bytes())
    kept = [name for name in config.get("modules_to_save") or [] if name not in HEAD_MODULES]
    config |= {"task_type": "SEQ_CLS", "modules_to_save": [*HEAD_MODULES, *kept]}
    (folder / ADAPTER_CONFIG).write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    return ADAPTER


def save_classifier(
    model: PreTrainedModel,
    head: nn.Linear,
    tokenizer: Any,
    folder: Path,
    dtype: torch.dtype,
    *,
    shard_size: int | None = None,
) -> str:
    """Write the whole reward model as a sequence-classification model; what lay in `folder` goes.

    shard_size: bytes of one weight file at most; None: Transformers' own. Returns the name of the file that holds the
    head. Raises ModelError `reward.no_classifier` as `check_classifier`.
    """
    whole = classifier_of(model, tokenizer)
    wanted = whole.state_dict().keys()
    tensors = {name: tensor.to(dtype) for name, tensor in model.state_dict().items() if name in wanted}
    whole.load_state_dict({**tensors, SCORE: head.weight.detach().to(dtype)}, assign=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole.to(dtype).save_pretrained(str(folder), **({} if shard_size is None else {"max_shard_size": shard_size}))
    tokenizer.save_pretrained(str(folder))
    return next(path.name for path in weight_files(folder) if SCORE in _names(path))


def classifier_of(model: PreTrainedModel, tokenizer: Any) -> PreTrainedModel:
    """The sequence-classification twin of a causal model, with one score and without weights (on the device "meta").

    Raises ModelError `reward.no_classifier`.
    """
    check_classifier(model)
    config = copy.deepcopy(model.config)
    config.id2label, config.label2id = {0: "score"}, {"score": 0}
    config.get_text_config().pad_token_id = config.pad_token_id = tokenizer.pad_token_id
    with torch.device("meta"):
        twin: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return twin


def check_classifier(model: PreTrainedModel) -> None:
    """Raise ModelError `reward.no_classifier` where Transformers has no sequence-classification twin of this model."""
    if type(model.config) not in AutoModelForSequenceClassification._model_mapping:
        raise ModelError("reward.no_classifier", architecture=type(model).__name__)


# -- reading ----------------------------------------------------------------------------------------------------------
def read_head(folder: Path) -> Tensor:
    """The head's weight [1, h] in fp32, wherever in `folder` it lies. Raises ModelError `reward.no_head`."""
    for path, name in _places(folder):
        if path.is_file() and name in _names(path):
            with safe_open(path, framework="pt") as file:
                weight: Tensor = file.get_tensor(name)
            if weight.shape[0] != 1:
                raise ModelError("reward.not_one_score", path=str(folder), count=weight.shape[0])
            return weight.float()
    raise ModelError("reward.no_head", path=str(folder))


def _places(folder: Path) -> Iterator[tuple[Path, str]]:
    yield folder / ADAPTER, IN_ADAPTER
    yield folder / HEAD, SCORE
    for path in weight_files(folder):
        yield path, SCORE


def _names(path: Path) -> set[str]:
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def load_head(head: nn.Linear, folder: Path) -> None:
    """The reverse of `save_head`."""
    with torch.no_grad():
        head.weight.copy_(spread(head.weight, read_head(folder)))


def lay_adapter(backbone: PreTrainedModel, folder: Path, name: str = "default") -> PeftModel:
    """A reward adapter on a causal backbone, without its head: PEFT's own loading would look for a classifier there.

    `backbone` may be a PeftModel already, for several adapters on one backbone. The adapter's weights are in fp32.
    """
    config = LoraConfig.from_pretrained(str(folder))
    kept = [module for module in config.modules_to_save or [] if module not in HEAD_MODULES]
    config.task_type, config.modules_to_save = "CAUSAL_LM", kept or None
    config.inference_mode = False
    if isinstance(backbone, PeftModel):
        backbone.add_adapter(name, config)
        model = backbone
    else:
        model = get_peft_model(backbone, config, adapter_name=name)
    tensors = {key: t for key, t in load_peft_weights(str(folder), device="cpu").items() if key != IN_ADAPTER}
    set_peft_model_state_dict(model, tensors, adapter_name=name)
    return model
