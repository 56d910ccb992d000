"""The review page in a real browser: lost leases, lost networks, and what strangers' records try."""

import pytest
from playwright.async_api import Browser, expect

from actlabel.review_gateway.domain import Caller
from tests.integration.review_page.reviewing import accept, answers_of, campaign_with, page_of, shown_id, until, until_answers
from tests.unit.review_gateway.gateway import Gateway
from tests.unit.review_gateway.records import Desk, campaign_file, open_desk, text_item

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOB = Caller(name="bob", is_lead=False)


async def test_a_lost_lease_is_said_and_work_goes_on(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b", lease_seconds=600)
    async with page_of(browser, gateway, "ann") as page:
        lost = await shown_id(page)
        await gateway.host.database.execute("UPDATE review SET leased_until = 0 WHERE item_id = $1", lost)
        desk: Desk = await open_desk(gateway.host.database, gateway.host.clock, campaign_file(lease_seconds=600))
        assert set(await desk.take(BOB)) == {lost}
        await page.keyboard.press("1")
        await page.keyboard.press("Enter")
        await expect(page.locator("#alert")).to_contain_text(f"“pro” was not saved for {lost}")
        await expect(page.locator("#alert")).to_contain_text("somebody else has it")
        second = await shown_id(page)
        assert second != lost
        await page.keyboard.press("1")
        await page.keyboard.press("Enter")
        await until_answers(gateway, {second: "pro"})


async def test_no_answer_is_lost_when_the_network_is(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b", "c")
    async with page_of(browser, gateway, "ann") as page:
        await page.context.set_offline(True)
        expected = {}
        for key, label in (("1", "pro"), ("3", "neutral")):
            expected[await shown_id(page)] = label
            await page.keyboard.press(key)
            await page.keyboard.press("Enter")
        await expect(page.locator("#saving")).to_contain_text("2 unsent, trying again")
        assert await answers_of(gateway) == {}
        await page.context.set_offline(False)
        await until_answers(gateway, expected)
        await expect(page.locator("#saving")).to_have_text("All saved")


async def test_answers_unsent_when_the_page_closes_are_sent_by_the_next_page(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b")
    async with page_of(browser, gateway, "ann") as page:
        first = await shown_id(page)
        await page.route("**/submit", lambda route: route.abort())
        await page.keyboard.press("1")
        await accept(page)
        await expect(page.locator("#saving")).to_contain_text("1 unsent")
        again = await page.context.new_page()
        await again.goto(f"{gateway.url}/?campaign=stance")
        await until_answers(gateway, {first: "pro"})
        await again.close()
        await page.unroute("**/submit")
        await expect(page.locator("#saving")).to_have_text("All saved")


async def test_a_reload_gives_the_same_items_back(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b", "c")
    async with page_of(browser, gateway, "ann") as page:
        first = await shown_id(page)
        await page.reload()
        await expect(page.locator("#about dd").first).to_have_text(first)
        await accept(page)
        await until_answers(gateway, {first: "con"})


HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "</div><style>body{display:none}</style><h1>free</h1>",
    "{{constructor.constructor('document.title=1')()}} ${document.title='owned'}",
    "\u202eright to left\u202c و هذا نص عربي \u0000\u0007".replace("\0", ""),
    "javascript:document.title='owned'",
]


async def test_hostile_records_stay_text(gateway: Gateway, browser: Browser) -> None:
    campaign = await gateway.apply(campaign_file())
    items = []
    for number, text in enumerate(HOSTILE):
        item = text_item(campaign, f"{number}{text}"[:200], text, annotation__rationale=text, critique__reason=text)
        item.critique.evidence[:] = [text]
        item.content.metadata[text] = text
        items.append(item)
    await gateway.send(campaign, items)
    async with page_of(browser, gateway, "ann") as page:
        seen = set()
        for _ in HOSTILE:
            text = await page.locator("#content .text").text_content()
            seen.add(text)
            assert await page.locator("#reasons").get_by_text(text, exact=True).count() >= 1
            assert await page.locator("#item script, #item img, #item h1, #item style, #panel img, #panel script").count() == 0
            assert await page.title() == "Review · actlabel"
            await page.keyboard.press("1")
            await page.keyboard.press("Enter")
        assert seen == set(HOSTILE)
        await until(lambda: _has_answers(gateway, len(HOSTILE)))


async def _has_answers(gateway: Gateway, number: int) -> bool:
    return len(await answers_of(gateway)) == number


async def test_a_very_long_text_stays_usable(gateway: Gateway, browser: Browser) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.send(campaign, [text_item(campaign, "long", "wordwithoutend" * 3_500 + " tail " * 8_500)])
    async with page_of(browser, gateway, "ann") as page:
        await page.set_viewport_size({"width": 390, "height": 844})
        assert len(await page.locator("#content .text").text_content()) == 100_000
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than the screen"
        await expect(page.locator("#submit")).to_be_in_viewport()
        await page.keyboard.press("1")
        await page.keyboard.press("Enter")
        await until_answers(gateway, {"long": "pro"})
