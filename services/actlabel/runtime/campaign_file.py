"""The campaign file: what a person writes to start a labelling project, checked by name."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from actlabel.core.errors import UserError
from actlabel.runtime.campaign_streams import Mirror, Source

Money = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Label(_Strict):
    """One possible answer."""

    name: str = Field(min_length=1, max_length=200)
    description: str = ""


class Task(_Strict):
    """What is asked about every item."""

    kind: Literal["classification"] = "classification"
    question: str = Field(min_length=1)
    labels: tuple[Label, ...] = Field(min_length=2, max_length=500)
    guidelines: str = ""

    @field_validator("labels", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        """Take ``[a, b]``, ``{a: description}`` and the long form alike."""
        if isinstance(value, dict):
            return [{"name": str(name), "description": text or ""} for name, text in value.items()]
        if isinstance(value, (list, tuple)):
            return [label if isinstance(label, (dict, Label)) else {"name": str(label)} for label in value]
        return value

    @model_validator(mode="after")
    def _distinct(self) -> "Task":
        names = [label.name for label in self.labels]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"label {min(twice)!r} is there twice")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label set, in the order of the file."""
        return tuple(label.name for label in self.labels)


class Price(_Strict):
    """What the endpoint charges; 0 for a model of one's own."""

    input_usd_per_million_tokens: Money = 0.0
    output_usd_per_million_tokens: Money = 0.0


class _Keyed(_Strict):
    api_key_file: Path | None = Field(None, description="a file that holds the key; none for an endpoint without keys")
    api_key_env: str | None = Field(None, description="or the name of an environment variable that holds it")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_file is not None and self.api_key_env is not None:
            raise ValueError("api_key_file and api_key_env are both given; keep one")
        return self


class Endpoint(_Keyed):
    """One of several addresses of the same model."""

    url: str = Field(pattern=r"^https?://", description="the base URL, to which /chat/completions is added")
    weight: float = Field(1.0, gt=0, le=1000, description="its share of the requests, beside the weights of the others")


class Model(_Keyed):
    """One model behind one OpenAI-compatible endpoint, or behind several."""

    endpoint: str | None = Field(None, pattern=r"^https?://", description="the base URL, to which /chat/completions is added")
    endpoints: tuple[Endpoint, ...] = Field((), max_length=100, description="instead of endpoint: several that serve the same model")
    model: str = Field(min_length=1)
    strategy: Literal["naive", "chain-of-thought"]
    price: Price = Price()
    temperature: float = Field(0.0, ge=0, le=2)
    max_output_tokens: int = Field(1024, ge=1)
    timeout_s: float = Field(120.0, gt=0, description="for one request")
    retries: int = Field(6, ge=0, description="of one request, on 408, 409, 429, 5xx and broken connections")
    calls_in_flight: int = Field(64, ge=1, description="of this campaign at this stage, per process: the most, see adaptive")
    adaptive: bool = Field(True, description="follow what each endpoint bears, up to calls_in_flight; false: always calls_in_flight")
    requests_per_minute: int | None = Field(
        None, ge=1, description="to each endpoint for this model, over all processes, stages and campaigns that write it (chat/README.md)"
    )
    tokens_per_minute: int | None = Field(None, ge=1, description="the same for tokens, sent and written")
    json_schema: bool = Field(True, description="ask the endpoint to enforce the answer's JSON schema; false for endpoints without it")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if (self.endpoint is None) == (not self.endpoints):
            given = (
                "neither endpoint nor endpoints is given; name one"
                if self.endpoint is None
                else "endpoint and endpoints are both given; keep one"
            )
            raise ValueError(given)
        addresses = [endpoint.url for endpoint in self.endpoints]
        if twice := {url for url in addresses if addresses.count(url) > 1}:
            raise ValueError(f"endpoints: {min(twice)} is there twice")
        return self

    def addresses(self) -> tuple[Endpoint, ...]:
        """Where it is served: one or more. An endpoint without a key of its own has the model's."""
        own = {"api_key_file": self.api_key_file, "api_key_env": self.api_key_env}
        if self.endpoint is not None:
            return (Endpoint(url=self.endpoint, weight=1.0, **own),)
        return tuple(
            endpoint if endpoint.api_key_file or endpoint.api_key_env else endpoint.model_copy(update=own) for endpoint in self.endpoints
        )


class Annotator(Model):
    """The model that labels."""

    strategy: Literal["naive", "chain-of-thought"] = "naive"


class Criticizer(Model):
    """The model that doubts: best the second-best model that you have, and not the annotator's (arXiv 2511.09833)."""

    strategy: Literal["naive", "chain-of-thought"] = "chain-of-thought"
    show_rationale: bool = Field(False, description="let the critic read the annotator's rationale; a record can then try to talk to it")


Rule = Literal["threshold", "exponential", "normalization", "variance-optimal", "uniform"]


class Sampler(_Strict):
    """How the human budget is spent."""

    rule: Rule = "threshold"
    budget: int | str = Field(description="reviews: a count (570) or a share of the items (10%)")
    mode: Literal["exact", "streaming"] = "exact"
    audit_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="of the budget, spread over every level of doubt; without it no accuracy interval exists",
    )
    beta: float = Field(15.0, gt=0, le=200, description="exponential rule only: how sharply doubt decides; 10 to 20 is the usable zone")
    block_items: int = Field(256, ge=8, description="streaming: a block closes at so many items …")
    block_seconds: float = Field(10.0, gt=0, description="… or after so long")
    expected_items: int | None = Field(None, ge=1, description="streaming with a count as budget: how many items are expected in all")

    @field_validator("budget")
    @classmethod
    def _count_or_share(cls, value: int | str) -> int | str:
        if isinstance(value, str):
            if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)):
                raise ValueError("write a count like 570 or a share like 10%")
            if not 0 < float(match[1]) <= 100:
                raise ValueError("a share lies between 0% and 100%")
        elif value < 0:
            raise ValueError("a count is not negative")
        return value

    @model_validator(mode="after")
    def _streaming_knows_its_size(self) -> "Sampler":
        if self.mode == "streaming" and isinstance(self.budget, int) and self.expected_items is None:
            raise ValueError("streaming with a count as budget needs expected_items, or write the budget as a share")
        return self

    def budget_items(self, population: int) -> int:
        """Turn the budget into a number of reviews out of ``population`` items; a share is rounded down."""
        if isinstance(self.budget, int):
            return min(self.budget, population)
        return int(float(self.budget.rstrip(" %")) * population / 100 + 1e-9)


class Review(_Strict):
    """How reviewers work."""

    lease_seconds: float = Field(600.0, ge=5, description="how long an item is kept for the one who took it")
    undo_seconds: float = Field(10.0, ge=0, description="how long an answer may be taken back before it is published")
    show_suggestion: bool = Field(True, description="show the model's label; hide it where reviewers should not be led")
    skips_to_undecidable: int = Field(2, ge=1, description="so many different reviewers skip an item, and it counts as undecidable")


class CampaignFile(_Strict):
    """A labelling project. Everything has the default that a careful person would choose, or is refused by name when missing."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="lower-case letters, digits and hyphens")
    task: Task
    annotator: Annotator
    criticizer: Criticizer
    sampler: Sampler
    review: Review = Review()
    spend_cap_usd: Money = Field(description="the most that model calls of this campaign may cost; reaching it pauses the campaign")
    seed: int = Field(0, ge=0, description="another seed, another draw")
    source: Source | None = Field(None, description="a Kafka topic of yours whose records become items")
    mirror: Mirror | None = Field(None, description="a JSON copy of the merged records on a topic of its own; {} for the defaults")
    partitions: int = Field(
        12,
        ge=1,
        le=1000,
        description="of each topic; the most replicas of one stage that can work at once. Fixed at the first apply",
    )

    @model_validator(mode="after")
    def _a_followed_topic_has_no_end(self) -> "CampaignFile":
        if self.source is not None and self.sampler.mode == "exact":
            raise ValueError("source: a followed topic has no end, and exact mode waits for a seal; write sampler.mode: streaming")
        return self

    def canonical_json(self) -> str:
        """Write the document with sorted keys, so that equal documents are equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_campaign_file(path: Path) -> CampaignFile:
    """Read and check a campaign file. Raises ``UserError`` with the file, the line or field, and the remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    return parse_campaign(text, where=str(path))


def parse_campaign(text: str, *, where: str) -> CampaignFile:
    """Check the YAML text of a campaign file; ``where`` begins every message. Raises ``UserError``."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UserError(f"{where}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{where}: a campaign file is a mapping with name, task, annotator, criticizer, sampler and spend_cap_usd")
    try:
        return CampaignFile.model_validate(document)
    except ValidationError as error:
        raise UserError("\n".join(f"{where}: {_line(problem)}" for problem in error.errors())) from error


def _line(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "the document"
    message = {"missing": "is missing", "extra_forbidden": "is not a field of a campaign file"}.get(problem["type"], problem["msg"])
    return f"{field}: {message}"
