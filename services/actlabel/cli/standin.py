"""``actlabel standin``: an OpenAI-compatible server with recorded answers, for trials, tests and load."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import ValidationError

from actlabel.core.errors import UserError
from actlabel.runtime.lifecycle import stop_signals
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import AnswerFields, RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin


def add_to(app: typer.Typer) -> None:
    """Join the command to the command line."""
    app.command()(standin)


def standin(
    *,
    answers: Annotated[Path, typer.Option(help="JSON lines: the text of an item, the label of a model, its error probability")],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free port, which is printed", min=0, max=65535)] = 8500,
    latency_ms: Annotated[float, typer.Option(help="wait so long before every answer", min=0)] = 0.0,
    fault: Annotated[list[str], typer.Option(help="field=value, several times: error=0.02, rate_limit=0.1, concurrency=64,8 …")] = [],  # noqa: B006 - typer's way
    log: Annotated[Path | None, typer.Option(help="write a line when a request arrives and when it ends")] = None,
    text_field: Annotated[str, typer.Option(help="column of the text")] = "text",
    label_field: Annotated[str, typer.Option(help="column of the model's label")] = "llm",
    error_field: Annotated[str, typer.Option(help="column of the error probability")] = "error_prob",
) -> None:
    """Answer like a model that was recorded, on the protocol of OpenAI, with faults on demand."""
    fields = AnswerFields(text=text_field, label=label_field, error_probability=error_field)
    recorded = RecordedAnswers.load(answers, fields)
    server = Standin(recorded, read_faults(fault, latency_ms=latency_ms), log=RequestLog(log), host=host, port=port)
    uvloop.run(_serve(server, texts=len(recorded)))


def read_faults(assignments: list[str], *, latency_ms: float) -> Faults:
    """Read ``field=value`` words; several limits are joined by commas. Raises ``UserError`` that names the field."""
    fields: dict[str, object] = {"latency_ms": latency_ms}
    for word in assignments:
        name, equals, value = word.partition("=")
        if not equals or name not in Faults.model_fields:
            raise UserError(f"--fault {word}: write field=value with a field of {', '.join(Faults.model_fields)}")
        fields[name] = value.split(",") if name in {"concurrency", "requests_per_s", "full_speed"} else value
    try:
        return Faults.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--fault {'.'.join(map(str, first['loc'])) or 'shares'}: {first['msg']}") from error


async def _serve(server: Standin, *, texts: int) -> None:
    stop = asyncio.Event()
    with stop_signals(stop):
        async with server:
            typer.echo(f"{texts} recorded answers at {server.endpoint}")
            await stop.wait()
