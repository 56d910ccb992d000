"""What a process is told by its environment: every setting is ``ACTLABEL_<NAME>``, documented where it is defined."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from actlabel.core.errors import UserError


class Settings(BaseSettings):
    """Three addresses choose between the embedded default and the real thing; the rest is tuning."""

    model_config = SettingsConfigDict(env_prefix="ACTLABEL_", extra="ignore", frozen=True)

    stream: str = Field(
        "sqlite:///.actlabel/stream.db",
        description="sqlite:///path, or kafka://host:port[,host:port]; with TLS and login see stream/README.md",
    )
    database: str = Field("sqlite:///.actlabel/actlabel.db", description="sqlite:///path, or postgresql://user@host:port/name")
    database_password_file: Path | None = Field(
        None,
        description="of the user in ACTLABEL_DATABASE, instead of a password there; read at every connect: a rotated one needs no restart",
    )
    storage: str = Field(".actlabel/storage", description="a folder, or any fsspec address (s3://…, gs://…)")

    secret_key_file: Path | None = Field(
        None,
        description="32 bytes or more, from which all random numbers derive. Default: made at first use, kept in the database",
    )
    review_token_file: Path | None = Field(None, description="the operator's API token for the review gateway; there is no default token")

    host: str = Field("127.0.0.1", description="address that the HTTP and gRPC servers of this process listen on")
    http_port: int = Field(0, ge=0, le=65535, description="health, metrics; 0: any free port, which is logged (of `train`: none)")
    grpc_port: int = Field(0, ge=0, le=65535, description="gRPC; 0: any free port, which is logged")
    review_port: int = Field(8400, ge=0, le=65535, description="the review page and its API")

    campaign: str | None = Field(
        None,
        min_length=1,
        description="name or uid: this annotator or criticizer works for that campaign alone; see `actlabel campaign dedicate`",
    )
    model_port: int = Field(8600, ge=0, le=65535, description="the model server's API; 0: any free port, which is logged")
    model_token_file: Path | None = Field(
        None, description="tokens that may ask the model server, one a line; there is none by default, then only this machine may ask"
    )
    models: str = Field("", description="registered models to serve, name or name@version, with commas; empty: any, loaded when asked for")
    model_batch_items: int = Field(64, ge=1, le=4096, description="the most items of one forward pass of a served model")

    calls_in_flight: int = Field(
        512,
        ge=1,
        description="model calls of this process over all campaigns (each has its bound in its file); one gets two thirds at most",
    )
    window_items: int = Field(2000, ge=1, description="items dispatched but not committed, per process")
    window_bytes: int = Field(256 * 2**20, ge=2**20, description="bytes of those items")
    item_deadline_s: float = Field(900.0, gt=0, description="an item that takes longer at one stage goes to the dead letters")
    drain_deadline_s: float = Field(25.0, gt=0, description="after SIGTERM, how long work in progress may go on")
    commit_interval_s: float = Field(0.5, gt=0, description="how often offsets are committed")
    dead_letters_per_minute: int = Field(100, ge=1, description="more than this at one stage of one campaign pauses the campaign there")
    session_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    log_format: str = Field("console", pattern="^(console|json)$")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    database_connections: int = Field(8, ge=2)
    allowed_media_hosts: tuple[str, ...] = Field((), description="nothing fetches a URL that a record names unless its host is here")
    otlp_endpoint: SecretStr | None = Field(None, description="http://collector:4318, where spans go; needs the extra otel")
    trace_ratio: float = Field(0.01, ge=0, le=1, description="share of the items whose way is traced, the same ones in every process")
    failpoint: str | None = Field(None, description="for tests: a place where this process dies on purpose (runtime/failpoints.py)")


def load_settings(**overrides: object) -> Settings:
    """Read the environment; ``overrides`` win. Raises ``UserError`` that names the variable."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors()[0]
        name = "ACTLABEL_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UserError(f"{name}: {first['msg']}") from error
