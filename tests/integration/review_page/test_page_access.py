"""The review page in a real browser: own keys, screen readers, contrast."""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.integration.review_page.reviewing import campaign_with, page_of, shown_id, until_answers
from tests.unit.review_gateway.gateway import Gateway
from tests.unit.review_gateway.records import text_item

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_presets_and_own_keys(gateway: Gateway, browser: Browser) -> None:
    await campaign_with(gateway, "a", "b", "c")
    async with page_of(browser, gateway, "ann") as page:
        await choose_settings(page, "label-studio", "")
        first = await shown_id(page)
        await page.keyboard.press("Enter")
        await expect(page.locator("#about dd").first).to_have_text(first)  # in Label Studio Enter does not submit
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
