"""Who may change faults at run time, and how a change reads."""

from typing import Final

import orjson
from aiohttp import web
from pydantic import Field, ValidationError

from actlabel.completions.protocol import Refused
from actlabel.standin.faults import Faults

JSON: Final = "application/json"


class _Change(Faults):
    refuse_s: float = Field(0.0, ge=0, le=3600)  # connections are refused for so long


def from_this_machine(request: web.BaseRequest) -> None:
    """Let only this machine in, and no page of a browser on it: those cannot send JSON across origins unasked."""
    remote = request.remote or ""
    if not remote.startswith("127.") and remote != "::1":
        raise Refused(403, "loopback_only", "faults are controlled from the stand-in's own machine only")
    if request.method == "POST" and request.content_type != JSON:
        raise Refused(415, "json_only", f"send faults as {JSON}")
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise Refused(403, "not_for_pages", "web pages do not control the stand-in")


def read_change(body: bytes, present: Faults) -> tuple[Faults, float]:
    """Read the fields to change; the others stay. Returns the faults, and for how many seconds to refuse connections.

    Raises ``Refused`` (400) that names the field.
    """
    try:
        change = _Change.model_validate({**present.model_dump(), **orjson.loads(body)})
    except (orjson.JSONDecodeError, TypeError) as error:
        raise Refused(400, "invalid_json", f"send a JSON object with the faults to change: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(400, "invalid_faults", f"{'.'.join(map(str, first['loc'])) or 'faults'}: {first['msg']}") from error
    return Faults.model_validate(change.model_dump(exclude={"refuse_s"})), change.refuse_s
