"""Which database an address means."""

from importlib.resources import files
from pathlib import Path

from actlabel.core.errors import UserError
from actlabel.runtime.database.port import Database
from actlabel.runtime.database.postgres import PostgresDatabase
from actlabel.runtime.database.sqlite import SqliteDatabase
from actlabel.runtime.settings import Settings


def schema() -> str:
    """Join the schema files in the order of their numbers; every statement is ``IF NOT EXISTS``."""
    folder = files("actlabel.runtime.database").joinpath("schema")
    return "\n".join(
        file.read_text(encoding="utf-8") for file in sorted(folder.iterdir(), key=lambda f: f.name) if file.name.endswith(".sql")
    )


async def open_configured(settings: Settings, *, connections: int | None = None) -> Database:
    """Open the database that the settings name, with the password of its file. ``connections``: fewer than they allow. Raises as below."""
    most = settings.database_connections if connections is None else connections
    return await open_database(settings.database, connections=most, password_file=settings.database_password_file)


async def open_database(address: str, *, connections: int = 8, password_file: Path | None = None) -> Database:
    """Open ``sqlite:///path`` or ``postgresql://…`` and make missing tables. Raises ``UserError`` when the address cannot be used."""
    if (path := address.removeprefix("sqlite:///")) not in (address, ""):
        embedded = SqliteDatabase(path)
        await embedded.open(schema())
        return embedded
    if address.startswith(("postgresql://", "postgres://")):
        server = PostgresDatabase(address, connections=connections, password_file=password_file)
        await server.open(schema())
        return server
    raise UserError(f"ACTLABEL_DATABASE: {address!r} is neither sqlite:///path nor postgresql://user@host/name")
