"""The review page in a real browser, by keyboard alone: answering, taking back, going back."""

import asyncio

import pytest
from playwright.async_api import Browser, Route, expect

from tests.integration.review_page.reviewing import accept, campaign_with, page_of, shown_id, until_answers
from tests.unit.review_gateway.gateway import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_label_by_its_number_and_enter(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b", "c")
    async with page_of(browser, gateway, "ann") as page:
        expected = {}
        for key, label in (("1", "pro"), ("2", "con"), ("3", "neutral")):
            expected[await shown_id(page)] = label
            await page.keyboard.press(key)
            await expect(page.locator("#submit")).to_contain_text(f"Submit “{label}”")
            await page.keyboard.press("Enter")
        await until_answers(gateway, expected)
        await expect(page.locator("#empty-title")).to_be_visible()
        await expect(page.locator("#counts")).to_contain_text("0 to do · 3 done · 3 by you")


async def test_enter_alone_accepts_the_suggestion_and_control_enter_works_from_the_comment(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b")
    async with page_of(browser, gateway, "ann") as page:
        first = await shown_id(page)
        await expect(page.locator(".choice", has_text="con")).to_contain_text("model")
        await expect(page.locator("#submit")).to_contain_text("Accept “con”")
        await accept(page)
        second = await shown_id(page)
        await page.keyboard.press("1")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("one 2 three")
        await page.keyboard.press("Control+Enter")
        await until_answers(gateway, {first: "con", second: "pro"})
        rows = await gateway.host.database.fetch("SELECT comment FROM review_answer WHERE item_id = $1", second)
        assert rows[0]["comment"] == "one 2 three", "digits typed into a comment choose nothing"


async def test_a_key_held_down_and_an_enter_too_much_answer_nothing_unseen(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b", "c")
    async with page_of(browser, gateway, "ann") as page:
        first = await shown_id(page)
        await page.keyboard.press("1")
        for _ in range(6):  # the second and later presses without a release are repeats
            await page.keyboard.down("Enter")
        await page.keyboard.up("Enter")
        await until_answers(gateway, {first: "pro"})
        second = await shown_id(page)
        # both presses reach the page within one moment, as a finger that trembles sends them
        await page.evaluate(
            """() => { for (const key of ["3", "Enter", "Enter"])
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })); }"""
        )
        await until_answers(gateway, {first: "pro", second: "neutral"})
        assert await shown_id(page) not in {first, second}


async def test_undo_and_redo(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b")
    async with page_of(browser, gateway, "ann") as page:
        first = await shown_id(page)
        await page.keyboard.press("1")
        await page.keyboard.press("Enter")
        await until_answers(gateway, {first: "pro"})
        await page.keyboard.press("Control+z")
        await expect(page.locator("#about dd").first).to_have_text(first)
        await expect(page.locator("#submit")).to_contain_text("Submit “pro”")
        await until_answers(gateway, {})
        await page.keyboard.press("Control+Shift+Z")
        await until_answers(gateway, {first: "pro"})
        await page.keyboard.press("Control+z")
        await page.keyboard.press("3")
        await page.keyboard.press("Enter")
        await until_answers(gateway, {first: "neutral"})
        assert await shown_id(page) != first


async def test_skip_with_a_reason_and_take_it_back(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a")
    async with page_of(browser, gateway, "ann") as page:
        await page.keyboard.press("Control+Space")
        await expect(page.locator("#skip-dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#skip-dialog")).to_be_hidden()
        await expect(page.locator("#item")).to_be_visible()
        await page.keyboard.press("Control+Space")
        await page.keyboard.press("2")
        await expect(page.locator("#empty-text")).to_contain_text("1 that you skipped")
        rows = await gateway.host.database.fetch("SELECT reviewer, reason FROM review_skip")
        assert [(row["reviewer"], row["reason"]) for row in rows] == [("ann", "no-label-fits")]
        await page.keyboard.press("Shift+S")
        await expect(page.locator("#item")).to_be_visible()
        await page.keyboard.press("Control+Space")
        await page.keyboard.press("u")
        await until_answers(gateway, {"a": None})


async def test_history_shows_and_changes_older_answers(gateway: Gateway, browser: Browser) -> None:
    campaign = await campaign_with(gateway, "a", "b", "c", undo_seconds=0)
    async with page_of(browser, gateway, "ann") as page:
        order = []
        for _ in range(2):
            order.append(await shown_id(page))
            await page.keyboard.press("1")
            await page.keyboard.press("Enter")
        await asyncio.wait_for(gateway.until_merged(campaign, 2), 20)
        working = await shown_id(page)
        await page.keyboard.press("ArrowLeft")
        await expect(page.locator("#past")).to_contain_text("Your answer 1 of 2: “pro”")
        await expect(page.locator("#about dd").first).to_have_text(order[1])
        await page.keyboard.press("ArrowLeft")
        await expect(page.locator("#past")).to_contain_text("Your answer 2 of 2")
        await expect(page.locator("#about dd").first).to_have_text(order[0])
        await page.keyboard.press("2")
        await page.keyboard.press("Enter")
        await until_answers(gateway, {order[0]: "con", order[1]: "pro"})
        await expect(page.locator("#past")).to_be_hidden()
        await expect(page.locator("#about dd").first).to_have_text(working)
        last = {item.id: item for item in await asyncio.wait_for(gateway.until_merged(campaign, 3), 20)}
        assert (last[order[0]].review.revision, last[order[0]].review.label) == (2, "con")
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.press("Escape")
        await expect(page.locator("#about dd").first).to_have_text(working)


async def test_keys_pressed_while_the_page_turns_are_meant_for_where_it_leads(gateway: Gateway, browser: Browser) -> None:
    campaign = await campaign_with(gateway, "a", "b", undo_seconds=0)
    async with page_of(browser, gateway, "ann") as page:
        first = await shown_id(page)
        await page.keyboard.press("1")
        await page.keyboard.press("Enter")
        await asyncio.wait_for(gateway.until_merged(campaign, 1), 20)
        working = await shown_id(page)
        await page.route("**/history?*", _late)
        for key in ("ArrowLeft", "2", "Enter"):
            await page.keyboard.press(key)
        await until_answers(gateway, {first: "con"})
        await expect(page.locator("#past")).to_be_hidden()
        await expect(page.locator("#about dd").first).to_have_text(working)


async def _late(route: Route) -> None:
    await asyncio.sleep(0.3)
    await route.continue_()
