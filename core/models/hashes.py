"""SHA-256 of weights, and the name of a backbone made of them. Torch-free.

Hashes are cached by path, size and time of change: a base of many gigabytes is read once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from core.models.weights import weight_files
from core.records import ChainLink, Record, WeightFile
from core.rundir import read_record, write_text
from core.workspace import Workspace

CHUNK = 1 << 22  # bytes hashed at once


class _Cached(Record):
    path: str
    size: int
    mtime_ns: int
    sha256: str


def file_sha256(path: Path, workspace: Workspace | None = None) -> str:
    """SHA-256 of a file, in hex. With a workspace the result is kept there until size or time of change differ."""
    stat = path.stat()
    if workspace is None:
        return _sha256(path)
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    kept = workspace.cache_dir / "hashes" / f"{name}.json"
    cached = read_record(kept, _Cached)
    if cached is not None and (cached.size, cached.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return cached.sha256
    entry = _Cached(path=str(path), size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=_sha256(path))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_text(kept, entry.model_dump_json(), durable=False)
    return entry.sha256


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def weight_hashes(folder: Path, workspace: Workspace | None = None) -> list[WeightFile]:
    """Name and SHA-256 of every weight file of a model or adapter folder, in order."""
    return [WeightFile(name=path.name, sha256=file_sha256(path, workspace)) for path in weight_files(folder)]


def combined_sha256(weights: Sequence[WeightFile]) -> str:
    """One hash for a set of files: the file's own where there is one, else the hash of all names and hashes."""
    if len(weights) == 1:
        return weights[0].sha256
    return hashlib.sha256("\n".join(f"{w.name} {w.sha256}" for w in weights).encode()).hexdigest()


def backbone_id(root: Sequence[WeightFile], chain: Sequence[ChainLink] = (), vocabulary: str = "") -> str:
    """What an adapter sits on: the root's weights, the adapters merged into it in order, and any change of vocabulary.

    File names do not count (the same weights sharded under other names are another set of files, though).
    """
    parts = [weight.sha256 for weight in root]
    parts += [f"{link.adapter_sha256}*{link.scaling!r}" for link in chain]
    return hashlib.sha256("\n".join([*parts, vocabulary]).encode()).hexdigest()
