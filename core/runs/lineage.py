"""Which run came from which, and from which datasets and models: read from configs, manifests and dataset cards.

    family(Graph.read(workspace), run.id)     the run, all it came from, and all that came of it

A node is a run, a dataset (`name@version`) or a model; an edge leads from what was used to what was made with it. What
is named and is not here any more stays a node, marked as gone: the record outlives the thing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from core.configs.sections import weighted
from core.configs.starts import STARTS
from core.data.store.library import list_datasets
from core.errors import Problem
from core.jobs.waiting import held
from core.models.library import MERGED_BY, list_models
from core.models.runs import BRINGS_IN
from core.records import Produced
from core.rundir import RunDir, State, read_record, state_of
from core.workspace import Workspace

Kind = Literal["run", "dataset", "model"]
Key = tuple[Kind, str]
Named = tuple[Key, str]  # what is used, and as what
# As what a run uses the models and runs that its settings name (`core.configs.starts`).
ROLES = {
    "model.base": "base", "model.lora": "adapter", "rewards.models": "reward", "models.chain": "compared",
    "models.runs": "compared", "judging.reward": "reward", "judging.base": "judge", "annotator.base": "annotator",
    "answers.base": "answers",
}  # fmt: skip
DATA = ("train", "mix", "validation", "general", "rows", "prompts", "dev")


@dataclass(frozen=True)
class Node:
    """kind and name identify it; `title` is what people call it. state: of a run, and what holds it where it waits.
    gone: only its name is left."""

    kind: Kind
    name: str
    title: str
    stage: str = ""
    state: State | None = None
    held: Problem | None = None
    gone: bool = False

    @property
    def key(self) -> Key:
        return self.kind, self.name

    def as_dict(self) -> dict[str, Any]:
        state = None if self.state is None else str(self.state)
        return {**self.__dict__, "state": state, "held": self.held.as_dict() if self.held is not None else None}


@dataclass(frozen=True)
class Edge:
    """`source` was used, as `role`, to make `target`."""

    source: Key
    target: Key
    role: str


@dataclass
class Graph:
    nodes: dict[Key, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    @classmethod
    def read(cls, workspace: Workspace) -> Graph:
        """Everything of the workspace; two or three small files a run are read."""
        graph = cls()
        datasets, models = list_datasets(workspace), list_models(workspace)
        runs = workspace.runs()
        for run in runs:
            title = str((run.config().get("run") or {}).get("name") or run.id)
            state = state_of(run)
            holds = held(run) if state is State.QUEUED else None
            graph.nodes["run", run.id] = Node("run", run.id, title, run.stage, state, holds)
        for dataset in datasets:
            graph.nodes["dataset", dataset.ref] = Node("dataset", dataset.ref, dataset.ref)
        for card in models:
            graph.nodes["model", card.name] = Node("model", card.name, card.name)
        aliases = {alias: card.name for card in models for alias in (card.name, card.source, card.origin) if alias}
        for run in runs:
            for used, role in _used(run, graph.nodes, aliases):
                graph._join(used, ("run", run.id), role)
            for made in _made(run, aliases):
                graph._join(("run", run.id), made, "made")
        for card in models:
            if card.source.startswith(MERGED_BY):
                graph._join(("run", card.source.removeprefix(MERGED_BY)), ("model", card.name), "made")
        made_by_run = {edge.target for edge in graph.edges if edge.source[0] == "run"}
        for dataset in datasets:
            for parent in dataset.card.parents if ("dataset", dataset.ref) not in made_by_run else ():
                graph._join(("dataset", parent), ("dataset", dataset.ref), "made")
        return graph

    def _join(self, source: Key, target: Key, role: str) -> None:
        for kind, name in (source, target):
            self.nodes.setdefault((kind, name), Node(kind, name, name, gone=True))
        if source != target and all((edge.source, edge.target) != (source, target) for edge in self._near(target)):
            self.edges.append(Edge(source, target, role))

    def _near(self, target: Key) -> Iterator[Edge]:
        """The edges that were added last lead to the same node."""
        for edge in reversed(self.edges):
            if edge.target != target:
                return
            yield edge


def _used(run: RunDir, nodes: Mapping[Key, Node], aliases: Mapping[str, str]) -> Iterator[Named]:
    """What a run was started from, the models first."""
    config = run.config()
    for key in STARTS:
        section, _, name = key.partition(".")
        for text in _words((config.get(section) or {}).get(name)):
            yield _model_or_run(text, nodes, aliases), ROLES[key]
    manifest = run.manifest()
    if manifest is not None and manifest.parent:
        yield ("run", manifest.parent.partition(":")[0]), "base"
    data, report = config.get("data") or {}, config.get("report") or {}
    named = [(text, field_) for field_ in DATA for text in _words(data.get(field_))]
    inputs = (config.get("recipe") or {}).get("inputs") or ()
    named += [(text, "input") for each in inputs for text in _words(each.get("dataset"))]
    named += [(text, each) for each in ("domain", "general") for text in _words(report.get(each))]
    named += [(text, "corpus") for text in _words((config.get("words") or {}).get("corpus"))]
    named += [(text, "prompts") for text in _words(data.get("file")) if "@" in text]
    for text, role in named:
        yield ("dataset", text), role


def _made(run: RunDir, aliases: Mapping[str, str]) -> Iterator[Key]:
    """What a run has put into the workspace: datasets, or the model that it brought in."""
    made = read_record(run.produced_file, Produced)
    for ref in made.datasets if made is not None else ():
        yield "dataset", ref
    source = str((run.config().get("model") or {}).get("source"))
    if run.stage == BRINGS_IN and source in aliases:
        yield "model", aliases[source]


def _words(value: Any) -> Iterator[str]:
    """The names in a setting: one, or a list whose lines may end in a weight."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and each:
            try:
                yield weighted(each)[0]
            except ValueError:
                yield each


def _model_or_run(text: str, nodes: Mapping[Key, Node], aliases: Mapping[str, str]) -> Key:
    run: Key = ("run", text.partition(":")[0])
    if run in nodes or RunDir(run[1]).stage:
        return run
    return "model", aliases.get(text, text)


# -- a family ---------------------------------------------------------------------------------------------------------
def family(graph: Graph, *runs: str) -> Graph:
    """The runs, everything that they came from, and everything that came of them."""
    above, below = defaultdict(list), defaultdict(list)
    for edge in graph.edges:
        above[edge.target].append(edge.source)
        below[edge.source].append(edge.target)
    start: list[Key] = [("run", run) for run in runs if ("run", run) in graph.nodes]
    kept = _reached(start, above) | _reached(start, below)
    kept |= {source for key in kept for source in above[key]}  # and what else went into those
    nodes = {key: node for key, node in graph.nodes.items() if key in kept}
    return Graph(nodes, [edge for edge in graph.edges if edge.source in kept and edge.target in kept])


def _reached(start: Iterable[Key], neighbours: Mapping[Key, list[Key]]) -> set[Key]:
    found, waiting = set(start), list(start)
    while waiting:
        for key in neighbours.get(waiting.pop(), ()):
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found


def layers(graph: Graph) -> list[list[Node]]:
    """The nodes in layers: each in one behind all that it was made with.

    Whatever is only used stands directly before its first user. A circle, which names alone could make, is cut.
    """
    above, below = defaultdict(list), defaultdict(list)
    for edge in graph.edges:
        above[edge.target].append(edge.source)
        below[edge.source].append(edge.target)
    depth: dict[Key, int] = {}

    def deep(key: Key, passed: frozenset[Key]) -> int:
        if key not in depth:
            higher = [source for source in above[key] if source not in passed]
            found = 1 + max((deep(source, passed | {key}) for source in higher), default=-1)
            depth[key] = found
        return depth[key]

    for key in graph.nodes:
        deep(key, frozenset({key}))
    for key in graph.nodes:
        if not above[key] and below[key]:
            depth[key] = max(0, min(depth[user] for user in below[key]) - 1)
    columns: list[list[Node]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for key, node in graph.nodes.items():
        columns[depth[key]].append(node)
    return _in_order(columns, above)


def _in_order(columns: list[list[Node]], above: Mapping[Key, list[Key]]) -> list[list[Node]]:
    """Each column by the middle of what its nodes were made with, so that few lines cross."""
    place: dict[Key, float] = {}
    kinds = ("model", "dataset", "run")

    def middle(node: Node) -> tuple[float, int, str]:
        places = [place[source] for source in above[node.key] if source in place]
        return (sum(places) / len(places) if places else -1.0, kinds.index(node.kind), node.name)

    for column in columns:
        column.sort(key=middle)
        place |= {node.key: at - len(column) / 2 for at, node in enumerate(column)}
    return columns


def tree(graph: Graph, run: str) -> list[str]:
    """The family of a run as lines for a terminal: what it came from, it, and what came of it."""
    roles: dict[Key, list[tuple[str, Key]]] = defaultdict(list)
    users: dict[Key, list[Key]] = defaultdict(list)
    for edge in graph.edges:
        roles[edge.target].append((edge.role, edge.source))
        users[edge.source].append(edge.target)
    lines: list[str] = []

    def upwards(key: Key, indent: int, seen: frozenset[Key]) -> None:
        for role, source in roles[key]:
            lines.append(f"{'  ' * indent}{role}: {_line(graph.nodes[source])}")
            if source not in seen:
                upwards(source, indent + 1, seen | {source})

    def downwards(key: Key, indent: int, seen: frozenset[Key]) -> None:
        for target in users[key]:
            lines.append(f"{'  ' * indent}→ {_line(graph.nodes[target])}")
            if target not in seen:
                downwards(target, indent + 1, seen | {target})

    start: Key = ("run", run)
    lines.append(_line(graph.nodes[start]))
    upwards(start, 1, frozenset({start}))
    downwards(start, 1, frozenset({start}))
    return lines


def _line(node: Node) -> str:
    about = [node.name] if node.title == node.name else [node.title, f"({node.name})"]
    state = "held" if node.held is not None else node.state
    about += [str(state)] if state is not None else ["(gone)"] if node.gone else []
    return " ".join([node.kind, *about])
