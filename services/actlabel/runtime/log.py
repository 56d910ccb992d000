"""Structured logs: a constant sentence and fields. Never content of records, never a secret."""

import logging
import sys

import structlog

from actlabel.runtime.tracing import name_item

Log = structlog.stdlib.BoundLogger


def configure_logs(*, level: str, json: bool) -> None:
    """Send all logs of this process to stderr, our own and those of libraries (from WARNING up)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        name_item,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("actlabel").setLevel(level.upper())
    # it calls routine rebalances errors; what matters of them is told by the stream room
    logging.getLogger("aiokafka").setLevel(logging.WARNING if level == "debug" else logging.CRITICAL)
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it warns at every attempt
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get_log(name: str) -> Log:
    """Return the log of a module; ``name`` is its ``__name__``."""
    log: Log = structlog.stdlib.get_logger(name)
    return log
