"""Direct preference optimisation: a model that writes learns from pairs of answers, of which people preferred one.

    1  read the tokenizer, encode the pairs (cached) as a reward run does
    2  load the base, make adapters, every weight or the last layers trainable; π_ref is what it was before
    3  train with TRL's trainer, evaluate on held-out pairs, answer the fixed prompts; or go on from a checkpoint
    4  deliver the best or last weights and the manifest

Run it with `python -m core dpo …`. It stands beside PPO: no reward model, no sampling, and so nothing is learnt beyond
the pairs. The result is one that SFT could have made: an adapter, or a whole model.
"""

from __future__ import annotations

import copy
from functools import partial

from peft import PeftModel
from transformers import PreTrainedModel, set_seed

from core.configs.stages import DPOConfig
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.errors import StopRequested
from core.models.backbone import load_backbone
from core.models.context import check_context
from core.models.loading import resolve_dtype
from core.models.parents import Parent, resolve_parent
from core.report import RunContext
from core.training.answering import answer
from core.training.delivery import deliver
from core.training.direct import PairTrainer, Reference
from core.training.pairs import read_pairs
from core.training.preparing import join_ranks
from core.training.tuning import loading_dtype, make_trainable, trainable_count, trains_embeddings


def main(context: RunContext) -> None:
    """One rank of a DPO run, from the first phase to the manifest."""
    config = DPOConfig.model_validate(context.config.model_dump())
    report = context.report
    state = join_ranks(context)

    # 1
    parent = resolve_parent(context.workspace, config.model.base, go_on=config.lora.start == "continue")
    check_context(parent.folder, {"data.max_length": config.data.max_length})
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=config.model.trust_remote_code)
    encoder = Encoder(tokenizer, max_length=config.data.max_length, template=config.model.template or parent.template)
    tokenizer.chat_template = encoder.template_text  # goes wherever the trained weights go
    with state.main_process_first():
        data = read_pairs(context, config, encoder)
    print("\n".join(data.sentences))

    # 2
    report.phase("loading")
    dtype = resolve_dtype(config.model.dtype, context.device)
    model = load_backbone(
        parent,
        dtype=loading_dtype(config.tuning.method, dtype),
        device=context.device,
        attention=config.model.attention,
        quantization=config.quantization,
        trust_remote_code=config.model.trust_remote_code,
    )
    report.check_stop()
    set_seed(config.run.seed)
    trainable, autocast = make_trainable(model, config.tuning, config.lora, dtype, parent=parent)
    learning, total = trainable_count(trainable)
    print(f"{config.tuning.method}: {learning:,} of {total:,} parameters learn ({learning / total:.2%}), in {dtype}")
    reference = reference_of(trainable, parent)
    print(f"reference: {reference if isinstance(reference, str) else 'a second model'}")

    # 3
    reply = partial(
        answer, trainable, encoder, tokenizer, report.stop_requested, max_new_tokens=config.evaluation.max_new_tokens
    )
    held_out = None if data.held_out is None else data.held_out[1]
    trainer = PairTrainer(
        trainable, context, config, data.train, held_out, tokenizer, reply, reference=reference, autocast=autocast
    )
    trainer.continue_or_start()
    if trainer.stopped:
        raise StopRequested

    # 4
    if context.rank == 0:
        report.phase("delivering")
        deliver(context, config, trainable, dtype, parent, encoder, tokenizer, data.facts)


def reference_of(model: PreTrainedModel | PeftModel, parent: Parent) -> Reference:
    """What the trained model is compared with: itself as it is before the first step, as cheaply as that can be had."""
    if isinstance(model, PeftModel) and not trains_embeddings(model):
        return "backbone" if parent.start is None else "resting"
    other = copy.deepcopy(model).requires_grad_(False).eval()
    return other.get_base_model() if isinstance(other, PeftModel) else other  # its layers keep their adapters
