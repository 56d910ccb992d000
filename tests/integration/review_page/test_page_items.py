"""The review page in a real browser: help, flags, images, many labels."""

import pytest
from playwright.async_api import Browser, expect

from tests.integration.review_page.reviewing import answers_of, campaign_with, page_of, until_answers
from tests.unit.review_gateway.gateway import Gateway
from tests.unit.review_gateway.records import campaign_file, image_item, png, text_item

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
