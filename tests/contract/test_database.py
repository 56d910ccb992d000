"""What both databases promise: one dialect, transactions, locks, and errors that say what to do next."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from actlabel.core.errors import RetryLater, UserError
from actlabel.runtime.database.open import open_database, schema
from actlabel.runtime.database.port import Database, Session

_PATIENCE_S = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS t (
    id TEXT PRIMARY KEY, n INTEGER NOT NULL, big BIGINT, real DOUBLE PRECISION, flag BOOLEAN, data BYTEA
)
"""


@pytest.fixture
async def table(database: Database) -> Database:
    await database.execute(_TABLE)
    await database.execute_many("INSERT INTO t (id, n) VALUES ($1, $2)", [("a", 1), ("b", 2), ("c", 3)])
    return database


async def _in_transaction(database: Database, block: Callable[[Session], Awaitable[object]]) -> None:
    async with database.transaction() as session:
        await block(session)


async def _ids(database: Database) -> list[str]:
    return [row["id"] for row in await database.fetch("SELECT id FROM t ORDER BY id")]


async def test_values_come_back_as_they_went_in(table: Database):
    await table.execute(
        "INSERT INTO t (id, n, big, real, flag, data) VALUES ($1, $2, $3, $4, $5, $6)", "é", -1, 2**62, 1 / 3, True, b"\x00\xff"
    )
    (row,) = await table.fetch("SELECT n, big, real, flag, data FROM t WHERE id = $1", "é")
    assert (row["n"], row["big"], row["real"], bool(row["flag"]), bytes(row["data"])) == (-1, 2**62, 1 / 3, True, b"\x00\xff")
    assert row[0] == -1  # by position too
    (none,) = await table.fetch("SELECT big, data FROM t WHERE id = $1 AND NOT COALESCE(flag, $2)", "a", False)
    assert tuple(none) == (None, None)


async def test_a_placeholder_may_be_used_twice(table: Database):
    assert [row["id"] for row in await table.fetch("SELECT id FROM t WHERE n > $1 AND n < $1 + $2", 1, 2)] == ["b"]


@pytest.mark.parametrize(("column", "values"), [("id", ["c", "zz", "a"]), ("n", [3, 7, 1])])
async def test_any_takes_lists_of_text_and_integers(table: Database, column: str, values: list[object]):
    rows = await table.fetch(f"SELECT id FROM t WHERE {column} = ANY($1) AND n <> $2 ORDER BY id", values, 9)
    assert [row["id"] for row in rows] == ["a", "c"]
    assert await table.fetch(f"SELECT id FROM t WHERE {column} = ANY($1)", []) == []


async def test_first_write_wins_and_returning_tells(table: Database):
    statement = "INSERT INTO t (id, n) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id"
    assert [row["id"] for row in await table.fetch(statement, "new", 1)] == ["new"]
    assert await table.fetch(statement, "new", 2) == []
    assert (await table.fetch("SELECT n FROM t WHERE id = $1", "new"))[0]["n"] == 1


async def test_execute_counts_the_rows_it_touched(table: Database):
    assert await table.execute("UPDATE t SET n = n + 1 WHERE n >= $1", 2) == 2
    assert await table.execute("DELETE FROM t WHERE id = $1", "nobody") == 0
    assert await table.execute("INSERT INTO t (id, n) VALUES ($1, 1) ON CONFLICT DO NOTHING", "a") == 0
    assert await table.execute("CREATE TABLE IF NOT EXISTS u (id TEXT)") == 0


async def test_what_only_postgres_needs_may_stand_in_a_statement(table: Database):
    async with table.transaction() as session:
        rows = await session.fetch("SELECT id FROM t WHERE n = $1 /*postgres: FOR UPDATE SKIP LOCKED */", 1)
    assert [row["id"] for row in rows] == ["a"]


async def test_fetch_many_returns_what_every_row_returns_and_is_all_or_none(table: Database):
    statement = "INSERT INTO t (id, n) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id, n"
    rows = await table.fetch_many(statement, [("new", 7), ("a", 8), ("newer", 9), ("new", 10)])
    assert [tuple(row) for row in rows] == [("new", 7), ("newer", 9)]
    with pytest.raises(Exception, match=r"(?i)null"):
        await table.fetch_many(statement, [("newest", 1), ("bad", None)])
    async with table.transaction() as session:
        assert [row["id"] for row in await session.fetch_many(statement, [("last", 1)])] == ["last"]
    assert await _ids(table) == ["a", "b", "c", "last", "new", "newer"]


async def test_execute_many_is_all_or_none(table: Database):
    with pytest.raises(Exception, match=r"(?i)unique"):
        await table.execute_many("INSERT INTO t (id, n) VALUES ($1, $2)", [("x", 1), ("y", 2), ("a", 3)])
    assert await _ids(table) == ["a", "b", "c"]
    await table.execute_many("INSERT INTO t (id, n) VALUES ($1, $2)", [])


async def test_a_transaction_is_all_or_none(table: Database):
    async with table.transaction() as session:
        await session.execute("INSERT INTO t (id, n) VALUES ($1, $2)", "x", 1)
        await session.execute_many("INSERT INTO t (id, n) VALUES ($1, $2)", [("y", 1)])
        assert len(await session.fetch("SELECT id FROM t")) == 5
    assert await _ids(table) == ["a", "b", "c", "x", "y"]

    async def fails(session: Session) -> None:
        await session.execute("DELETE FROM t")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await _in_transaction(table, fails)
    assert len(await _ids(table)) == 5


@pytest.mark.parametrize("error", [TimeoutError("mine"), ConnectionResetError("mine"), RetryLater("mine"), ValueError("mine")])
async def test_an_error_of_the_block_stays_what_it_is(table: Database, error: Exception):
    async def fails(session: Session) -> None:
        await session.execute("DELETE FROM t")
        raise error

    with pytest.raises(type(error)) as raised:
        await _in_transaction(table, fails)
    assert raised.value is error
    with pytest.raises(type(error)) as raised:
        async with table.try_lock("a lock"):
            raise error
    assert raised.value is error
    assert len(await _ids(table)) == 3


async def test_a_statement_that_fails_inside_a_transaction_undoes_it(table: Database):
    async def fails(session: Session) -> None:
        await session.execute("INSERT INTO t (id, n) VALUES ($1, $2)", "x", 1)
        await session.execute("INSERT INTO t (id, n) VALUES ($1, $2)", "a", 1)

    with pytest.raises(Exception, match=r"(?i)unique"):
        await _in_transaction(table, fails)
    assert await _ids(table) == ["a", "b", "c"]


async def test_wrong_arguments_are_a_defect_and_not_an_outage(table: Database):
    with pytest.raises(Exception) as raised:
        await table.execute("INSERT INTO t (id, n) VALUES ($1, $2)", "x")
    assert not isinstance(raised.value, RetryLater)


async def test_a_cancelled_transaction_leaves_nothing_behind(table: Database):
    inside = asyncio.Event()

    async def work() -> None:
        async with table.transaction() as session:
            await session.execute("DELETE FROM t")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with table.transaction() as session:
        assert len(await session.fetch("SELECT id FROM t")) == 3


async def test_a_transaction_cancelled_while_it_begins_leaves_nothing_behind(table: Database):
    """Cancelled at every possible await in turn: the next transaction must find a clean connection."""

    async def work() -> None:
        async with table.transaction() as session:
            await session.execute("UPDATE t SET n = n + 1")
            raise KeyError("never committed")

    for steps in range(12):
        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, KeyError)):
            await task
        async with asyncio.timeout(_PATIENCE_S), table.transaction() as session:
            rows = await session.fetch("SELECT n FROM t ORDER BY id")
        assert [row["n"] for row in rows] == [1, 2, 3]


async def test_transactions_that_change_the_same_row_take_turns(table: Database):
    async def add() -> None:
        async with table.transaction() as session:
            (row,) = await session.fetch("SELECT n FROM t WHERE id = 'a' /*postgres: FOR UPDATE */")
            await asyncio.sleep(0)
            await session.execute("UPDATE t SET n = $1 WHERE id = 'a'", row["n"] + 1)

    await asyncio.gather(*(add() for _ in range(20)))
    assert (await table.fetch("SELECT n FROM t WHERE id = 'a'"))[0]["n"] == 21


async def test_a_lock_is_held_once(database: Database):
    async with database.try_lock("draw:1") as first:
        assert first
        async with database.try_lock("draw:1") as second, database.try_lock("draw:2") as other:
            assert not second
            assert other
    async with database.try_lock("draw:1") as again:
        assert again


async def test_a_lock_is_held_once_among_those_who_open_the_database(database: Database, database_address: str):
    other = await open_database(database_address)
    try:
        async with database.try_lock("train:1") as first, other.try_lock("train:1") as second, other.try_lock("train:2") as apart:
            assert (first, second, apart) == (True, False, True)
        async with other.try_lock("train:1") as again:
            assert again
    finally:
        await other.close()


async def test_a_lock_is_held_once_among_tasks(database: Database):
    holders = 0
    done = 0

    async def work() -> None:
        nonlocal holders, done
        while not done:
            await asyncio.sleep(0)
            async with database.try_lock("draw:1") as leads:
                if leads:
                    holders += 1
                    assert holders == 1
                    await asyncio.sleep(0)
                    holders -= 1
                    done += 1

    await asyncio.gather(*(work() for _ in range(5)))
    assert done >= 1


async def test_a_process_that_starts_waits_for_nobody_at_work(postgres_address: str):
    """``CREATE INDEX IF NOT EXISTS`` would wait for every open transaction, and could deadlock with it."""
    at_work = await open_database(postgres_address)
    async with at_work.transaction() as session:
        await session.execute("INSERT INTO seal (uid, batch, items, created_at) VALUES ('u', 1, 1, 0)")
        await session.execute("INSERT INTO result (result_id, uid, stage, payload, cost_usd, created_at) VALUES ('r', 'u', 's', '', 0, 0)")
        async with asyncio.timeout(_PATIENCE_S / 3):
            started = await open_database(postgres_address)
    assert (await started.fetch("SELECT COUNT(*) AS n FROM seal"))[0]["n"] == 1
    await started.close()
    await at_work.close()


async def test_opening_twice_at_once_makes_the_tables_once(database_address: str):
    opened = await asyncio.gather(*(open_database(database_address) for _ in range(4)))
    for database in opened:
        assert await database.fetch("SELECT uid FROM campaign") == []
        await database.close()


async def test_the_schema_may_be_applied_again(database: Database, database_address: str):
    assert "IF NOT EXISTS" in schema()
    await database.execute("INSERT INTO deployment (name, value) VALUES ($1, $2)", "x", b"1")
    again = await open_database(database_address)
    assert bytes((await again.fetch("SELECT value FROM deployment WHERE name = 'x'"))[0]["value"]) == b"1"
    await again.close()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("sqlite:////dev/null/x.db", "name another file"),  # no folder can be made there
        ("sqlite:///{folder}", "name another file"),  # a folder
        ("sqlite:///{text}", "not a database"),  # a file of another kind
        ("postgresql://nobody@127.0.0.1:1/none", "check ACTLABEL_DATABASE"),  # nobody listens
        ("mysql://x", "neither sqlite:///path nor postgresql://"),
        ("sqlite:///", "neither sqlite:///path nor postgresql://"),
    ],
)
async def test_an_address_that_cannot_be_used_is_one_clear_line(tmp_path, address: str, says: str):
    (tmp_path / "text").write_text("this is no database at all, but long enough to be read as one\n" * 20)
    with pytest.raises(UserError, match=says) as raised:
        await open_database(address.format(folder=tmp_path, text=tmp_path / "text"))
    assert "\n" not in str(raised.value)


async def test_postgres_that_goes_away_is_an_outage_and_comes_back(killable_postgres):
    """A crash of the server: idle connections, a running transaction and a held lock all say "later", then everything works again."""
    server = killable_postgres
    database = await open_database(server.create_database(), connections=4)
    await database.execute(_TABLE)
    await asyncio.gather(*(database.fetch("SELECT 1") for _ in range(4)))  # four idle connections that will be dead
    holding = asyncio.Event()

    async def leads() -> None:
        async with database.try_lock("leader") as ours:
            assert ours
            holding.set()
            await asyncio.Event().wait()

    leader = asyncio.create_task(leads())
    await holding.wait()

    async def interrupted(session: Session) -> None:
        await session.execute("INSERT INTO t (id, n) VALUES ('x', 1)")
        await asyncio.to_thread(server.kill)
        await session.execute("INSERT INTO t (id, n) VALUES ('y', 1)")

    with pytest.raises(RetryLater):
        await _in_transaction(database, interrupted)
    with pytest.raises(RetryLater, match="held a lock"):
        await leader
    for work in (
        database.fetch("SELECT 1"),
        database.execute("DELETE FROM t"),
        database.execute_many("DELETE FROM t WHERE n = $1", [(1,)]),
    ):
        with pytest.raises(RetryLater):
            await work
    with pytest.raises(RetryLater):
        async with database.try_lock("leader"):
            pytest.fail("no lock without a server")
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            with contextlib.suppress(RetryLater):
                assert await database.fetch("SELECT id FROM t") == []
                break
    async with database.try_lock("leader") as ours:
        assert ours
    await database.close()
