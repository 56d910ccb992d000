"""The review page in a real browser, by keyboard alone: what a reviewer does a thousand times a day, and what strangers' records try."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from actlabel.review_gateway.domain import Caller
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.open import open_database
from actlabel.stream.memory import MemoryStream
from tests.unit.review_gateway.gateway import Gateway, running_gateway
from tests.unit.review_gateway.records import Desk, campaign_file, image_item, open_desk, png, text_item

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
]
BOB = Caller(name="bob", is_lead=False)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    database = await open_database("sqlite:///:memory:")
    async with running_gateway(database=database, stream=MemoryStream(), folder=tmp_path) as running:
        yield running
    await database.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=30_000)  # what a busy machine needs is no failure of the page
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield started
        await started.close()


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
    await expect(page.locator("#item:visible, #empty:visible")).to_have_count(1)
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
    return str(await page.locator("#about dd").first.text_content())


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
        assert await shown_id(page) == first
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
        assert await shown_id(page) == order[1]
        await page.keyboard.press("ArrowLeft")
        await expect(page.locator("#past")).to_contain_text("Your answer 2 of 2")
        assert await shown_id(page) == order[0]
        await page.keyboard.press("2")
        await page.keyboard.press("Enter")
        await until_answers(gateway, {order[0]: "con", order[1]: "pro"})
        await expect(page.locator("#past")).to_be_hidden()
        assert await shown_id(page) == working
        last = {item.id: item for item in await asyncio.wait_for(gateway.until_merged(campaign, 3), 20)}
        assert (last[order[0]].review.revision, last[order[0]].review.label) == (2, "con")
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.press("Escape")
        assert await shown_id(page) == working


async def test_the_cheat_sheet_on_any_layout_and_not_while_typing(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a")
    async with page_of(browser, gateway, "ann") as page:
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("why?")
        await expect(page.locator("#help-dialog")).to_be_hidden()
        await page.keyboard.press("Escape")
        await page.keyboard.press("?")
        await expect(page.locator("#help-dialog")).to_be_visible()
        await expect(page.locator("#help-keys")).to_contain_text("Skip, with a reason")
        await page.keyboard.press("Escape")
        await expect(page.locator("#help-dialog")).to_be_hidden()
        await page.keyboard.press("Backspace")
        await page.keyboard.press("Delete")
        assert await answers_of(gateway) == {}, "Backspace destroys nothing"


async def test_flags(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a")
    async with page_of(browser, gateway, "ann") as page:
        await page.keyboard.press("Shift+F")
        await page.keyboard.type("irony?")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#toast")).to_contain_text("Flagged")
        rows = await gateway.host.database.fetch("SELECT item_id, reviewer, comment FROM review_flag")
        assert [tuple(row) for row in rows] == [("a", "ann", "irony?")]


async def test_an_image_is_shown_whole_zoomed_and_labelled_by_its_own_digit(gateway: Gateway, browser: Browser) -> None:
    file = campaign_file("digits").model_dump(mode="json")
    file["task"]["labels"] = [{"name": str(digit), "description": ""} for digit in range(10)]
    campaign = await gateway.apply(type(campaign_file()).model_validate(file))
    await gateway.send(campaign, [image_item(campaign, "digit/7 & more", png())])
    async with page_of(browser, gateway, "ann", "digits") as page:
        image = page.locator("#content img")
        await expect(image).to_have_class("pixels")
        await expect(image).to_have_attribute("alt", "Image 1 of 1")
        before = (await image.bounding_box())["width"]
        assert before == 320, "an 8 pixel image is enlarged by a whole number"
        await page.keyboard.press("+")
        assert (await image.bounding_box())["width"] == before * 1.5
        await page.keyboard.press("-")
        await page.keyboard.press("Control+0")
        assert (await image.bounding_box())["width"] == before
        await page.keyboard.press("7")
        await expect(page.locator("#submit")).to_contain_text("Submit “7”")
        await page.keyboard.press("Enter")
        await until_answers(gateway, {"digit/7 & more": "7"})


async def test_one_label_of_many_is_found_by_its_name(gateway: Gateway, browser: Browser) -> None:
    file = campaign_file("many").model_dump(mode="json")
    file["task"]["labels"] = [{"name": f"category {number}", "description": ""} for number in range(60)]
    campaign = await gateway.apply(type(campaign_file()).model_validate(file))
    await gateway.send(campaign, [text_item(campaign, "a")])
    async with page_of(browser, gateway, "ann", "many") as page:
        await page.keyboard.press("/")
        await page.keyboard.type("Y 57")
        await expect(page.locator(".choice:visible")).to_have_count(1)
        await page.keyboard.press("Enter")
        await expect(page.locator("#submit")).to_contain_text("Submit “category 57”")
        await expect(page.locator(".choice:visible")).to_have_count(60)
        await expect(page.locator(".choice", has_text="category 57")).to_be_in_viewport()
        await expect(page.locator("#submit")).to_be_in_viewport()
        await page.keyboard.press("Enter")
        await until_answers(gateway, {"a": "category 57"})


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


async def test_presets_and_own_keys(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b", "c")
    async with page_of(browser, gateway, "ann") as page:
        await choose_settings(page, "label-studio", "")
        first = await shown_id(page)
        await page.keyboard.press("Enter")
        assert await shown_id(page) == first, "in Label Studio Enter does not submit"
        await expect(page.locator("#submit")).to_have_attribute("aria-disabled", "false")
        await page.keyboard.press("Control+Enter")
        await until_answers(gateway, {first: "con"})
        await choose_settings(page, "prodigy", "")
        second = await shown_id(page)
        await expect(page.locator("#submit")).to_have_attribute("aria-disabled", "false")
        await page.keyboard.press("a")
        await until_answers(gateway, {first: "con", second: "con"})
        await choose_settings(page, "neutral", '{"annotation:submit": {"key": "backspace"}}')
        await expect(page.locator("#overrides-problem")).to_contain_text("never bound")
        await page.keyboard.press("Escape")
        await page.wait_for_function("() => document.activeElement === document.body")  # a closed dialog gives the keys back a moment later
        await choose_settings(page, "neutral", '{"annotation:submit": {"key": "shift+s", "active": true}}')
        await page.reload()
        third = await shown_id(page)
        await expect(page.locator("#submit")).to_have_attribute("aria-disabled", "false")
        await page.keyboard.press("Shift+S")
        await until_answers(gateway, {first: "con", second: "con", third: "con"})


async def choose_settings(page: Page, preset: str, overrides: str) -> None:
    """By keyboard: to the button, through the form, Save."""
    await expect(page.locator("#item")).to_be_visible()
    await page.locator("#open-settings").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#preset")).to_be_focused()
    names = ["neutral", "label-studio", "argilla", "prodigy"]
    await page.keyboard.press("Home")
    for _ in range(names.index(preset)):
        await page.keyboard.press("ArrowDown")
    await page.locator("#overrides").focus()
    await page.keyboard.press("Control+a")
    await page.keyboard.insert_text(overrides or " ")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")


async def test_the_page_can_be_used_with_a_screen_reader_and_by_tab_alone(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b")
    async with page_of(browser, gateway, "ann") as page:
        await expect(page.locator("#item")).to_be_visible()
        assert await page.evaluate(UNNAMED) == []
        assert await page.locator("html").get_attribute("lang") == "en"
        assert await page.locator("h1").count() == 1
        await expect(page.locator("#speech")).to_have_attribute("aria-live", "polite")
        await expect(page.locator("#speech")).to_contain_text("suggested con")
        group = page.get_by_role("group", name="Where does the author stand?")
        assert await group.get_by_role("radio").count() == 3
        await page.keyboard.press("1")
        await expect(group.get_by_role("radio").first).to_be_checked()
        await expect(page.locator("#speech")).to_contain_text("pro chosen")
        stops = []
        for _ in range(12):
            await page.keyboard.press("Tab")
            stops.append(await page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName"))
        assert stops[:10] == [
            "campaign",
            "open-history",
            "open-settings",
            "open-help",
            "log-out",
            "label",
            "SUMMARY",
            "submit",
            "skip",
            "flag",
        ]
        await page.locator("#submit").focus()
        first = await shown_id(page)
        await page.keyboard.press("Enter")
        await until_answers(gateway, {first: "pro"})


UNNAMED = """
() => [...document.querySelectorAll("button, input, select, textarea, progress, meter, img, dialog, summary")]
  .filter((element) => element.checkVisibility())
  .filter((element) => !(element.getAttribute("aria-label") || element.textContent.trim() || element.alt
    || (element.labels && [...element.labels].some((label) => label.textContent.trim()))))
  .map((element) => element.outerHTML)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_can_be_read_on_its_ground(gateway: Gateway, browser: Browser, scheme: str) -> None:
    await campaign_with(gateway, "a", "b")
    async with page_of(browser, gateway, "ann") as page:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.keyboard.press("1")
        poor = await page.evaluate(POOR_CONTRAST)
        assert poor == []
        assert await page.evaluate("getComputedStyle(document.querySelector('.choice')).animationName") == "none"


POOR_CONTRAST = """
() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!says || !element.checkVisibility() || element.closest(":disabled, .visually-hidden, [hidden], kbd, select")) continue;
    const [one, two] = [light(channels(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName}.${element.className} “${element.textContent.slice(0, 30)}” ${ratio.toFixed(2)}`);
  }
  return poor;
}
"""


async def test_an_empty_queue_is_asked_now_and_then_not_all_the_time(gateway: Gateway, browser: Browser) -> None:
    campaign = await campaign_with(gateway)
    async with page_of(browser, gateway, "ann") as page:
        await expect(page.locator("#empty-title")).to_be_visible()
        claims: list[str] = []
        page.on("request", lambda request: claims.append(request.url) if request.url.endswith("/claim") else None)
        await gateway.send(campaign, [text_item(campaign, "a")])
        await expect(page.locator("#item")).to_be_visible(timeout=20_000)
        assert 1 <= len(claims) <= 4
