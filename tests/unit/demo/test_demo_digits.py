"""The splits are disjoint and repeatable, images lose nothing, and the campaign's folder leaks no label."""

import asyncio
import base64
import itertools
import json

import aiohttp
import numpy as np
import pytest

from actlabel.demo.digits import LABELS, from_png, read_digits, split, to_png, true_labels, write_by_label, write_images
from actlabel.demo.models import ANNOTATOR, CRITIC, fit, served
from actlabel.intake.fields import Fields
from actlabel.intake.readers import good_records


@pytest.fixture(scope="module")
def digits():
    return read_digits()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("items", [None, 150])
def test_splits_are_disjoint_and_of_the_promised_sizes(digits, seed, items):
    splits = split(digits.labels, seed=seed, items=items)
    for (_, one), (_, other) in itertools.combinations(splits.parts().items(), 2):
        assert not np.intersect1d(one, other).size
    assert splits.sizes() == {"annotator": 100, "critic": 120, "test": 360, "campaign": items or 1217}
    for indices in splits.parts().values():
        assert set(digits.labels[indices]) == set(range(10))


def test_a_seed_names_its_splits(digits):
    once, again, other = (split(digits.labels, seed=seed) for seed in (3, 3, 4))
    assert once.sha256() == again.sha256()
    assert not set(once.sha256().values()) & set(other.sha256().values())


def test_fewer_items_change_no_other_part(digits):
    whole, part = split(digits.labels, seed=1), split(digits.labels, seed=1, items=200)
    assert np.isin(part.campaign, whole.campaign).all()
    assert {**whole.sha256(), "campaign": ""} == {**part.sha256(), "campaign": ""}


def test_an_image_loses_nothing(digits):
    for index in range(0, 1797, 100):
        assert (from_png(to_png(digits.ink[index])) == digits.ink[index]).all()


def test_the_folder_is_taken_by_intake_which_keeps_labels_apart(digits, tmp_path):
    indices = split(digits.labels, seed=0, items=20).campaign
    write_images(tmp_path / "images", digits, indices)
    records = list(good_records(tmp_path / "images", Fields(gold="label")))
    assert {record.id: record.gold for record in records} == true_labels(digits, indices)
    assert all(set(record.metadata) <= {"file_name"} for record in records)


def test_the_test_set_lies_in_a_folder_per_label(digits, tmp_path):
    indices = split(digits.labels, seed=0).test
    write_by_label(tmp_path / "test", digits, indices)
    found = {path.stem: path.parent.name for path in (tmp_path / "test").glob("*/*.png")}
    assert found == true_labels(digits, indices)


@pytest.mark.parametrize("seed", range(4))
def test_the_annotator_is_imperfect_and_the_critic_useful(digits, seed):
    splits = split(digits.labels, seed=seed)
    models = fit(digits, splits)
    ink, truth = digits.ink[splits.campaign], digits.labels[splits.campaign]
    labels = models[ANNOTATOR].predict_proba(ink).argmax(axis=1)
    doubt = 1 - models[CRITIC].predict_proba(ink)[np.arange(len(labels)), labels]
    wrong = labels != truth
    assert 0.78 < 1 - wrong.mean() < 0.9
    reviewed = np.argsort(-doubt)[: len(labels) // 5]
    assert wrong[reviewed].sum() / wrong.sum() > 0.7


async def test_both_models_answer_over_http_and_end_with_the_block(digits):
    splits = split(digits.labels, seed=0)
    index = splits.campaign[0]
    async with aiohttp.ClientSession() as http:
        with served(splits) as endpoint:
            async with http.get(f"{endpoint}/models") as response:
                assert [model["id"] for model in (await response.json())["data"]] == [ANNOTATOR, CRITIC]
            label = (await _ask(http, endpoint, ANNOTATOR, digits.ink[index]))["label"]
            doubt = (await _ask(http, endpoint, CRITIC, digits.ink[index], label))["error_probability"]
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{endpoint}/models")
    assert label in LABELS
    assert 0 <= doubt <= 1


async def _ask(http, endpoint, model, ink, under_review=None):
    url = "data:image/png;base64," + base64.b64encode(await asyncio.to_thread(to_png, ink)).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    if under_review is not None:
        parts.append({"type": "text", "text": f"Label under review: {under_review}"})
    async with http.post(
        f"{endpoint}/chat/completions", json={"model": model, "messages": [{"role": "user", "content": parts}]}
    ) as response:
        return json.loads((await response.json())["choices"][0]["message"]["content"])
