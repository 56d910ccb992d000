"""What callers send, checked: every field bounded, nothing unknown taken."""

from typing import Annotated, Any, TypeVar

import orjson
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from actlabel.review_gateway.domain import SKIP_REASONS
from actlabel.review_gateway.refusals import BadRequest

LARGEST_BODY_BYTES = 64 * 1024


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _known_reason(code: str) -> str:
    if code not in SKIP_REASONS:
        raise ValueError(f"is not one of {', '.join(SKIP_REASONS)}")
    return code


Text = Annotated[str, AfterValidator(_no_nul)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Claim(_Body):
    """Ask for items."""

    count: int = Field(1, ge=1, le=50)
    resume: bool = False  # first what one holds already
    skipped: bool = False  # what one skipped before


class Leased(_Body):
    """Names the lease under which something is asked."""

    lease_token: Text = Field(min_length=1, max_length=100)


class Undecidable(Leased):
    """The answer that there is none."""

    seconds: Seconds = 0.0
    comment: Text = Field("", max_length=4000)


class Submit(Undecidable):
    """The answer that it is this label."""

    label: Text = Field(max_length=200)


class Skip(Leased):
    """Leave it to somebody else."""

    reason: Annotated[Text, AfterValidator(_known_reason)] = Field(max_length=40)


class Flag(_Body):
    """Ask to talk about an item."""

    comment: Text = Field("", max_length=4000)


class Login(_Body):
    """The token that an operator handed out."""

    token: Text = Field(min_length=1, max_length=200)


B = TypeVar("B", bound=BaseModel)


async def read_body(request: web.Request, model: type[B]) -> B:
    """Read and check a JSON body. Raises ``BadRequest`` with one line that names the field."""
    if request.content_type != "application/json":
        raise BadRequest("Send JSON with Content-Type: application/json")
    try:
        document: Any = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadRequest(f"{field}: {first['msg']}") from None


def read_number(request: web.Request, name: str, default: float, *, least: float, most: float) -> float:
    """Read a number from the query. Raises ``BadRequest`` outside its bounds."""
    text = request.query.get(name)
    try:
        number = default if text is None else float(text)
    except ValueError:
        raise BadRequest(f"{name}: not a number") from None
    if not least <= number <= most:
        raise BadRequest(f"{name}: lies between {least:g} and {most:g}")
    return number
