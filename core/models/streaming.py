"""A chain merged into the files of its root, a few rows at a time: no model is ever in memory.

    plan = plan_merge(folder, model, adapters, dtype)   what each tensor of the result is made of; `model`: a skeleton
    write(plan, target, shard_size=4_000_000_000)       the weight files of the result
    found = compare(plan, target)                       read back, beside the sums computed once more

Tensors keep the names that they have in the root's files, so that what Transformers makes of these when it loads the
root (other names, several joined in one) it makes of the result, too. A weight that is joined there cannot be changed
here: such a chain is for `core.models.changes.merge_into`, which takes the whole model. Imports torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from core.messages import sentence
from core.models.changes import Change, Changes, changed, changes_of, ends_of, part
from core.models.families import read_config
from core.models.rewriting import file_name, write_index
from core.models.tensors import Spec, TensorFile, write_file
from core.models.weights import SCORE, weight_files
from core.records_merge import Weights

BLOCK = 1 << 22  # numbers that are worked on at once: 16 MB in fp32
SLACK = 1e-6  # of a block's largest number: what two runs of one product in fp32 may differ by
HALF = 0.5 + 1e-6  # of the last place: what rounding may move a number by

OnBytes = Callable[[int], None]  # bytes of the result that are written, or compared


class NotStreamableError(Exception):
    """Why a chain cannot be merged file by file: a sentence of `core.messages`."""

    def __init__(self, code: str, **params: str) -> None:
        super().__init__(" ".join(sentence(code, params)))


@dataclass(frozen=True)
class Piece:
    """A tensor of the result: its name, the file and name that it is read from, and what becomes of it.

    `held` is one that no file has, such as a score head. out: as it is written.
    """

    name: str
    file: TensorFile | None
    key: str
    out: Spec
    changes: tuple[Change, ...] = ()
    held: Tensor | None = None

    @property
    def same(self) -> bool:
        """Whether its bytes are those of the root."""
        return self.file is not None and not self.changes and self.file.spec(self.key) == self.out

    def blocks(self) -> Iterator[Tensor]:
        """Its rows, [n, …] each: as they are in the root where they stay `same`, else in fp32, unrounded."""
        if self.file is None:
            assert self.held is not None
            yield self.held.float().view(self.out.rows, *self.out.shape[1:])
            return
        step = max(1, BLOCK // max(1, self.out.width))
        rows = changed(self.changes)
        for start in range(0, self.out.rows, step):
            stop = min(start + step, self.out.rows)
            block = self.file.rows(self.key, start, stop)
            yield block if self.same else rows(block.float(), start, stop)


@dataclass(frozen=True)
class Plan:
    """`left`: tensors of the root's files that its class has no use for, and which are not taken along."""

    pieces: list[Piece]
    left: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(piece.out.nbytes for piece in self.pieces)

    def shards(self, size: int) -> dict[str, list[Piece]]:
        """File name → its tensors, of `size` bytes together at most, or one that is larger."""
        files: list[list[Piece]] = [[]]
        held = 0
        for piece in self.pieces:
            if files[-1] and held + piece.out.nbytes > size:
                files.append([])
                held = 0
            files[-1].append(piece)
            held += piece.out.nbytes
        return {file_name(number, len(files)): file for number, file in enumerate(files, start=1)}


# -- planning ---------------------------------------------------------------------------------------------------------
def plan_merge(
    folder: Path,
    model: PreTrainedModel,
    adapters: Sequence[Path],
    dtype: torch.dtype | None,
    *,
    result: PreTrainedModel | None = None,
    extra: Mapping[str, Tensor] | None = None,
) -> Plan:
    """What the root in `folder` becomes by `adapters`, in `dtype`; None: each tensor in that of its own.

    model: the skeleton of the root. result: that of what is written, where it is of another class, and extra its
    tensors that the root has not. The configs of both are told where the head is parted from the embeddings. Raises
    NotStreamableError, and ModelError as `changes_of`.
    """
    if "quantization_config" in read_config(folder):
        raise NotStreamableError("merge.quantised_files")
    files = [TensorFile(path) for path in weight_files(folder)]
    keys = sorted((key for file in files for key in file.names), key=dot_natural_key)
    naming = _Naming(model)
    names = {key: naming(key) for key in keys}
    tied = _tie(model, names, files)
    changes = changes_of(model, adapters, whole=True)
    result = model if result is None else result
    kept = result.state_dict().keys()
    if result is not model and any(_Naming(result)(key) != found for key, found in names.items() if found[0] in kept):
        raise NotStreamableError("merge.joined", tensor=SCORE)
    embeddings, head = ends_of(model)
    _check(changes, names, model, kept)
    pieces, left = [], []
    for file in files:
        for key in file.names:
            name = names[key][0]
            if name not in kept:
                left.append(key)
            elif not (tied and name == head):  # written with the embeddings
                pieces.append(_piece(key, file, key, changes.of.get(name, ()), dtype))
            if changes.parted and name == embeddings and head in kept:
                pieces.append(_piece(str(head), file, key, changes.of.get(str(head), ()), dtype))
    if changes.parted:
        part(model.config)
        part(result.config)
    for name, tensor in (extra or {}).items():
        spec = Spec(dtype or usual_dtype(pieces), tuple(tensor.shape))
        pieces.append(Piece(name, None, name, spec, held=tensor))
    return Plan(pieces, left)


def _piece(name: str, file: TensorFile, key: str, changes: Sequence[Change], dtype: torch.dtype | None) -> Piece:
    found = file.spec(key)
    out = found if dtype is None or not found.dtype.is_floating_point else Spec(dtype, found.shape)
    return Piece(name, file, key, out, tuple(changes))


def usual_dtype(pieces: Sequence[Piece]) -> torch.dtype:
    """The number format that most bytes are in."""
    counts: Counter[torch.dtype] = Counter()
    for piece in pieces:
        counts[piece.out.dtype] += piece.out.nbytes
    return counts.most_common(1)[0][0]


class _Naming:
    """A name in the files → (its name in the class, whether it is joined with others or cut when it is loaded).

    As `transformers.core_model_loading.convert_and_load_state_dict_in_model` does it, to be asked in its order.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        mapping = get_model_conversion_mapping(model)
        self._renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
        self._converters = [each for each in mapping if isinstance(each, WeightConverter)]
        self._prefix, self._known = model.base_model_prefix, model.state_dict()

    def __call__(self, key: str) -> tuple[str, bool]:
        name, pattern = rename_source_key(key, self._renamings, self._converters, self._prefix, self._known)
        if name not in self._known and key in self._known:
            name, pattern = rename_source_key(key, [], [], self._prefix, self._known)
        return name, pattern is not None


def _tie(model: PreTrainedModel, names: dict[str, tuple[str, bool]], files: Sequence[TensorFile]) -> bool:
    """Whether head and embeddings are one. A skeleton does not know it where its files hold both: it is told here."""
    embeddings, head = ends_of(model)
    if head is None or model.all_tied_weights_keys.get(head) != embeddings:
        return False
    keys = {name: key for key, (name, _) in names.items()}
    if head in keys and embeddings not in keys:  # the files name them by the head
        names[keys[head]] = (embeddings, names[keys[head]][1])
    elif head in keys:
        if not _equal(_find(keys[embeddings], files), _find(keys[head], files)):
            part(model.config)  # as Transformers sees it, with a warning, whatever the config says
            return False
        model.get_output_embeddings().weight = model.get_input_embeddings().weight
    return True


def _find(key: str, files: Sequence[TensorFile]) -> Piece:
    file = next(file for file in files if key in file)
    return Piece(key, file, key, file.spec(key))


def _equal(one: Piece, other: Piece) -> bool:
    return one.out == other.out and all(map(torch.equal, one.blocks(), other.blocks()))


def _check(
    changes: Changes, names: Mapping[str, tuple[str, bool]], model: PreTrainedModel, kept: Container[str]
) -> None:
    """Raise NotStreamableError where a change is to a weight that is not one tensor of the files by itself."""
    embeddings, head = ends_of(model)
    joined = {name for name, several in names.values() if several}
    alone = {name for name, _ in names.values()} - joined
    shared = {name for pair in model.all_tied_weights_keys.items() for name in pair} - {embeddings, head}
    for name in changes.of:
        source = embeddings if name == head and changes.parted else name
        if name in kept and (source not in alone or source in shared):
            raise NotStreamableError("merge.joined", tensor=name)
    if changes.parted and head in kept:  # it needs a name of its own in the files
        taken = names.get(str(head), ("", False))[0] == embeddings
        if taken or embeddings not in alone or _Naming(model)(str(head)) != (head, False):
            raise NotStreamableError("merge.joined", tensor=str(head))


# -- writing and comparing --------------------------------------------------------------------------------------------
def write(
    plan: Plan,
    target: Path,
    *,
    shard_size: int,
    on_bytes: OnBytes = lambda done: None,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Write the weight files of `plan` into the folder `target`. check_stop is asked before every tensor, and may
    raise. Raises as `write_file`."""
    where: dict[str, str] = {}
    done = 0

    def rounded(pieces: Sequence[Piece]) -> Iterator[Iterator[Tensor]]:
        nonlocal done
        for piece in pieces:
            check_stop()
            yield (block.to(piece.out.dtype) for block in piece.blocks())
            done += piece.out.nbytes
            on_bytes(done)

    for name, pieces in plan.shards(shard_size).items():
        write_file(target / name, {piece.name: piece.out for piece in pieces}, rounded(pieces))
        where.update({piece.name: name for piece in pieces})
    write_index(target, where, plan.size)


def compare(
    plan: Plan,
    target: Path,
    *,
    on_bytes: OnBytes = lambda done: None,
    check_stop: Callable[[], None] = lambda: None,
) -> Weights:
    """Read the weight files in `target` back: each number has to be the sum in fp32, computed once more, correctly
    rounded; what no adapter changes has to be the root's, bit for bit."""
    files = {name: file for file in map(TensorFile, weight_files(target)) for name in file.names}
    places, done = 0.0, 0
    whole = files.keys() == {piece.name for piece in plan.pieces}
    for piece in plan.pieces if whole else ():
        check_stop()
        file, start = files[piece.name], 0
        whole = whole and file.spec(piece.name) == piece.out
        for block in piece.blocks() if whole else ():
            found = file.rows(piece.name, start, start + len(block))
            start += len(block)
            if piece.same:
                whole = whole and torch.equal(_bits(found), _bits(block))
            else:
                places = max(places, _apart(found, block))
        done += piece.out.nbytes
        on_bytes(done)
    return Weights(
        tensors=len(plan.pieces),
        changed=sum(bool(piece.changes) for piece in plan.pieces),
        places=places if whole else None,
        passed=whole and places <= HALF,
    )


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _apart(found: Tensor, wanted: Tensor) -> float:
    """The largest distance of a written number from the sum in fp32 that it stands for, in units of its last place:
    0.5 at most where it is correctly rounded; infinite where a number is none."""
    if not (torch.isfinite(found).all() and torch.isfinite(wanted).all()):
        return math.inf
    if not found.numel():
        return 0.0
    limits = torch.finfo(found.dtype)
    # frexp: x = m · 2^e with m in [0.5, 1); the last place of x is worth eps · 2^(e - 1).
    least = math.frexp(limits.smallest_normal)[1]
    exponent = torch.where(wanted == 0, least, torch.frexp(wanted).exponent).clamp_(min=least)
    place = torch.ldexp(torch.full_like(wanted, limits.eps / 2), exponent)
    distance = (found.float() - wanted).abs_() - SLACK * wanted.abs().max()
    return float((distance / place).max().clamp(min=0))
