"""The typed records that a run keeps in JSON files; `core.rundir` says which file holds which, and who writes it.

No reading or writing here. A figure that was no number (infinite, or none at all) is null in a file, and missing here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Record(BaseModel):
    """A JSON file of a run. Unknown keys are ignored, so an older Galen can list a newer one's runs."""

    model_config = ConfigDict(extra="ignore")


class RankEnd(Record):
    """How the process of one rank ended: `code` when it exited, `signal` when it was killed."""

    rank: int
    code: int | None = None
    signal: int | None = None

    @classmethod
    def of(cls, rank: int, code: int) -> RankEnd:
        """code: as `Popen` gives it, negative for a signal."""
        return cls(rank=rank, code=code) if code >= 0 else cls(rank=rank, signal=-code)


class Status(Record):
    """`status.json`. `started_at` is None while the run waits for its devices (`waiting_for` names their holders)."""

    attempt: int = 1
    supervisor_pid: int
    supervisor_started: float = Field(description="start time of the supervisor process, seconds since the epoch")
    host: str = ""
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    devices: list[str] = []
    waiting_for: list[str] = []
    rank_pids: list[int] = []
    ranks_ended: list[RankEnd] = []
    killed: bool = Field(default=False, description="the supervisor killed the ranks because a stop took too long")


class Heartbeat(Record):
    """`heartbeat.json` of a run on several hosts. `at`: when rank 0's host was last heard of, seconds since the epoch;
    None while torchrun has not been started there."""

    host: str = ""
    pid: int = 0
    at: float | None = None


class Result(Record):
    """`result.json`: what rank 0 says of its own end. Sentences keep their code, so a page can translate them."""

    outcome: Literal["succeeded", "failed", "stopped"]
    code: str = ""
    params: dict[str, Any] = {}
    reason: str = ""
    remedy: str = ""
    problems: list[dict[str, Any]] = []
    ended_at: float


Unit = Literal["step", "byte", "row"]
TRAINING = "training"
STARTING_PHASES = ("starting", "importing", "loading", "tokenising")  # nothing of what the run is for has begun
WRITING_PHASES = ("saving", "delivering")  # to be killed in them loses what the run has computed


class Progress(Record):
    """`progress.json`. `step` of `total` is the position within the phase, counted in `unit`; None is an unknown total.

    A training has phases between its steps (evaluating, saving): `trained` of `train_total` is its own position, kept
    through them. `train_total` is None where nothing trains, or not yet. Times are seconds since the epoch.
    """

    phase: str
    phase_began: float = 0.0
    step: int = 0
    total: int | None = None
    unit: Unit = "step"
    trained: int = 0
    train_total: int | None = None
    epoch: float | None = None
    tokens: int = 0
    eta_seconds: float | None = None
    step_seconds: float | None = None
    save_seconds: float | None = None
    updated_at: float

    @property
    def writing(self) -> bool:
        """Whether the run is putting down what it has computed."""
        return self.phase in WRITING_PHASES

    @property
    def starting(self) -> bool:
        """Whether the run is still getting ready."""
        return self.phase in STARTING_PHASES

    @property
    def between_steps(self) -> bool:
        """Whether this is a phase of a training that has begun: evaluating, answering, saving, delivering."""
        return self.train_total is not None and self.phase != TRAINING

    @property
    def overall(self) -> tuple[int, int | None, Unit]:
        """(step, total, unit) of the run as a whole: its training's, else those of the phase."""
        if self.train_total is not None:
            return self.trained, self.train_total, "step"
        return self.step, self.total, self.unit


class WeightFile(Record):
    name: str
    sha256: str


class RootBase(Record):
    """The untouched model at the bottom of a chain. `source` is what the user named, `path` where it lay.

    imported_from: what the model was brought in from: the starter, a hub id, a path; "" where no import made it.
    """

    source: str
    path: str
    weights: list[WeightFile] = []
    imported_from: str = ""


class ChainLink(Record):
    run: str
    adapter_sha256: str
    scaling: float


class Produced(Record):
    """`output/datasets.json`: the datasets, as name@version, that an import or a recipe has put into the workspace."""

    datasets: list[str]


class NewToken(Record):
    """A unit that became one token: how often the corpus holds it (0: not counted), and how many tokens it was."""

    text: str
    count: int = 0
    tokens: int


class VocabularyReport(Record):
    """`output/vocabulary.json`: what the stage vocabulary has added to a model.

    `units` became one token each (`shown` are the first of them), `parts` are tokens that only lead to them. Left out:
    `blank` and `double` lines of the list, units that were `known` as one token, that `failed` to become one, and for
    which there was no `room`. Rates are characters per token, over `characters` of the corpus (or of the list).
    """

    kind: Literal["byte-level", "sentencepiece", "unigram"]
    tokens_before: int
    tokens: int
    units: int
    parts: int
    rows_before: int  # of the embeddings
    rows: int
    tied: bool
    characters: int
    rate_before: float
    rate: float
    blank: int = 0
    double: int = 0
    known: int = 0
    failed: int = 0
    room: int = 0
    shown: list[NewToken] = []
    not_made: list[str] = []  # the first of those that failed


class DataUsed(Record):
    dataset: str
    sha256: str
    rows_used: int
    rows_dropped: int = 0
    dropped_lines: list[int] = []


class Manifest(Record):
    """`output/manifest.json`, schema 1: what a finished run is, and what later stages may do with it."""

    schema_version: int = 1
    run: str
    name: str
    stage: str
    kind: Literal["adapter", "model", "reward", "merged", "evaluation"]
    root_base: RootBase
    chain: list[ChainLink] = []
    parent: str | None = None  # the run it started from
    parent_adapter: Literal["merged", "continued"] | None = None  # what became of that run's own adapter
    backbone_id: str
    adapter_root: str | None = None
    adapter_stage: str | None = None
    model_folder: str | None = None
    method: str
    dtype: str
    quantisation: str | None = None
    head: dict[str, Any] | None = (
        None  # of a reward model: {"type": "linear", "pooling": "last_end_of_turn", "file": …}
    )
    tokenizer: dict[str, Any] = {}
    template: dict[str, Any] = {}
    data: list[DataUsed] = []
    seed: int = 0
    packages: dict[str, str] = {}
    device: str = ""
    trust_remote_code: bool = False
    final_metrics: dict[str, float] = {}
    origin: dict[str, str] = {}  # of an adapter that was brought in: where it came from, its commit and licence there

    @field_validator("final_metrics", mode="before")
    @classmethod
    def _drop_missing(cls, figures: Any) -> Any:
        """Without the figures that were no numbers, which a file holds as null."""
        return {k: v for k, v in figures.items() if v is not None} if isinstance(figures, dict) else figures


class Bucket(Record):
    """Documents of which the model needs `low` to `high` bits a byte; the last bucket has no `high`."""

    low: float
    high: float | None = None
    rows: int
    bytes: int


class Measured(Record):
    """One document of a sample: where it stands, how it begins, how well it is predicted."""

    line: int
    excerpt: str
    bits_per_byte: float


class WorthIt(Record):
    """`output/verdict.json` of a perplexity run over documents: whether a model would learn from them.

    `rows`, `tokens` and `bytes` are what was measured, the last two without what stands at the beginning of a row and
    is predicted by nothing. `code` and `params` make the verdict's sentence (`core.messages`); `best` are the documents
    that the model predicts best, `worst` those that it predicts worst.
    """

    dataset: str
    model: str
    rows: int
    tokens: int
    bytes: int
    perplexity: float
    bits_per_byte: float
    buckets: list[Bucket]
    code: str
    params: dict[str, Any] = {}
    best: list[Measured] = []
    worst: list[Measured] = []
