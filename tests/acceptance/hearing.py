"""What a model has heard of a process that is dead: only when all of it is read can its calls be counted."""

from aiohttp import ClientSession

from actlabel.standin.server import Standin
from tests.acceptance.fleet import eventually


async def hear_out(model: Standin) -> None:
    """Wait until a model whose only client is dead has read everything that this client sent.

    A request may still lie in a socket, and a connection in the queue of the listening one. Connections are taken in their order, so
    that none of the dead waits any more when one of ours has been served; and each of them ends after the last of it was read.
    """
    async with ClientSession() as session, session.get(f"{model.address}/healthz") as response:
        response.raise_for_status()

    async def holds() -> bool:
        return model.log.in_flight == 0 and model.connections == 0

    await eventually(holds, what="everything is read that a dead process has sent", within_s=20)
