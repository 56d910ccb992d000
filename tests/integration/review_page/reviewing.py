"""What a reviewer does on the page, and what a test asks of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, expect

from actlabel.runtime.campaigns import Campaign
from tests.unit.review_gateway.gateway import Gateway
from tests.unit.review_gateway.records import campaign_file, text_item


@asynccontextmanager
async def page_of(browser: Browser, gateway: Gateway, name: str, campaign: str = "stance") -> AsyncIterator[Page]:
    """A page logged in by keyboard. Ends with no error of the page's own: no exception, no violated policy."""
    context = await browser.new_context()
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    token = await gateway.reviewer(name)
    await page.goto(f"{gateway.url}/?campaign={campaign}")
    await expect(page.locator("#token")).to_be_focused()
    await page.keyboard.insert_text(token)
    await page.keyboard.press("Enter")
    shown = expect(page.locator("#item:visible, #empty:visible"))
    try:
        await shown.to_have_count(1, timeout=10_000)
    except AssertionError:  # on a busy machine Chromium now and then leaves a script's navigation unfinished: a person reloads
        await page.goto(f"{gateway.url}/?campaign={campaign}")
        await shown.to_have_count(1)
    yield page
    assert faults == []
    await context.close()


async def campaign_with(gateway: Gateway, *ids: str, **review: object) -> Campaign:
    campaign = await gateway.apply(campaign_file(**review))
    await gateway.send(campaign, [text_item(campaign, item_id, f"Text of {item_id}.") for item_id in ids])
    return campaign


async def answers_of(gateway: Gateway) -> dict[str, str | None]:
    rows = await gateway.host.database.fetch(
        "SELECT a.item_id, a.label FROM review_answer a JOIN review r ON r.item_id = a.item_id AND r.revision = a.revision"
    )
    return {row["item_id"]: row["label"] for row in rows}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async def poll() -> None:
        while not await condition():  # noqa: ASYNC110 - the page tells nobody
            await asyncio.sleep(0.05)

    await asyncio.wait_for(poll(), 20)


async def until_answers(gateway: Gateway, expected: dict[str, str | None]) -> None:
    async def equal() -> bool:
        return await answers_of(gateway) == expected

    await until(equal)


async def accept(page: Page) -> None:
    """Enter with nothing chosen, once the item has been in sight for a moment."""
    await expect(page.locator("#submit")).to_have_attribute("aria-disabled", "false")
    await page.keyboard.press("Enter")


async def shown_id(page: Page) -> str:
    await expect(page.locator("#item")).to_be_visible()  # items arrive one by one: a page may be empty before, and between them
    return str(await page.locator("#about dd").first.text_content())
