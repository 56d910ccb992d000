"""A campaign file says by name what is wrong with it, and where."""

from pathlib import Path

import pytest

from actlabel.core.errors import UserError
from actlabel.runtime.campaign_file import CampaignFile, parse_campaign, read_campaign_file

MINIMAL = """
name: stance
task:
  question: What stance does the statement take?
  labels: [agrees, disagrees, neutral]
annotator: {endpoint: "http://127.0.0.1:1/v1", model: a}
criticizer: {endpoint: "http://127.0.0.1:1/v1", model: b}
sampler: {budget: 10%}
spend_cap_usd: 5
seed: 0
"""


def test_a_page_without_a_manual_is_enough() -> None:
    file = parse_campaign(MINIMAL, where="stance.yaml")
    assert file.task.label_names == ("agrees", "disagrees", "neutral")
    assert (file.annotator.strategy, file.criticizer.strategy) == ("naive", "chain-of-thought")
    assert (file.sampler.rule, file.sampler.mode, file.sampler.audit_share) == ("threshold", "exact", 0.1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: stance", "name: Stance!", "stance.yaml: name: "),
        ("name: stance\n", "", "stance.yaml: name: is missing"),
        ("spend_cap_usd: 5", "", "stance.yaml: spend_cap_usd: is missing"),
        ("spend_cap_usd: 5", "spend_cap_usd: 5\ncolour: red", "stance.yaml: colour: is not a field of a campaign file"),
        ("[agrees, disagrees, neutral]", "[agrees, agrees]", "stance.yaml: task: Value error, label 'agrees' is there twice"),
        ("[agrees, disagrees, neutral]", "[agrees]", "stance.yaml: task.labels: "),
        ("budget: 10%", "budget: 110%", "a share lies between 0% and 100%"),
        ("budget: 10%", "budget: many", "write a count like 570 or a share like 10%"),
        ("budget: 10%", "budget: -3", "a count is not negative"),
        ("{budget: 10%}", "{budget: 10, mode: streaming}", "streaming with a count as budget needs expected_items"),
        ("{budget: 10%}", "{}", "stance.yaml: sampler.budget: is missing"),
        ("http://127.0.0.1:1/v1", "ftp://x", "annotator.endpoint: "),
        ("model: a}", "model: a, api_key_file: k, api_key_env: K}", "api_key_file and api_key_env are both given"),
        ('endpoint: "http://127.0.0.1:1/v1", model: a', "model: a", "annotator: Value error, neither endpoint nor endpoints is given"),
        ("model: a}", 'model: a, endpoints: [{url: "http://b"}]}', "endpoint and endpoints are both given; keep one"),
        ('endpoint: "http://127.0.0.1:1/v1"', "endpoints: [{url: http://b}, {url: http://b}]", "http://b is there twice"),
        ('endpoint: "http://127.0.0.1:1/v1", model: a', "endpoints: [{url: ftp://b}], model: a", "annotator.endpoints.0.url: "),
        ("model: a}", "model: a, requests_per_minute: 0}", "annotator.requests_per_minute: "),
        ("seed: 0", "source: {topic: t}", "a followed topic has no end, and exact mode waits for a seal; write sampler.mode: streaming"),
        ("seed: 0", "source: {topic: 'a b'}", "stance.yaml: source.topic: "),
        ("seed: 0", "source: {topic: t, format: avro}", "format avro needs schema_registry"),
        ("seed: 0", "source: {topic: t, format: protobuf, message: m}", "format protobuf needs descriptor_file and message"),
        ("seed: 0", "source: {topic: t, servers: kafka}", "stance.yaml: source.servers: "),
        ("seed: 0", "source: {topic: t, fields: {text: [], image: []}}", "name at least one field of content"),
        ("seed: 0", "source: {topic: t, format: avro, schema_registry: 'file:///etc/passwd'}", "source.schema_registry: "),
        ("seed: 0", "mirror: {topic: mine}", "stance.yaml: mirror.topic: is not a field of a campaign file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_name(old: str, new: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_campaign(MINIMAL.replace(old, new, 1), where="stance.yaml")
    assert message in str(caught.value)
    assert "\n\n" not in str(caught.value)


def test_several_endpoints_each_with_its_key_or_that_of_the_model() -> None:
    several = "endpoints: [{url: http://b, weight: 2, api_key_env: B}, {url: http://c}], api_key_env: OURS, model: a"
    model = parse_campaign(MINIMAL.replace('endpoint: "http://127.0.0.1:1/v1", model: a', several), where="f.yaml").annotator
    assert [(place.url, place.weight, place.api_key_env) for place in model.addresses()] == [
        ("http://b", 2.0, "B"),
        ("http://c", 1.0, "OURS"),
    ]
    assert CampaignFile.model_validate_json(parse_campaign(MINIMAL, where="f.yaml").canonical_json()).annotator.addresses()[0].weight == 1


def test_document_of_an_earlier_release_is_the_same_campaign() -> None:
    """A campaign that was applied before limits and endpoints existed has no such fields, and applying it again makes no new version."""
    now = parse_campaign(MINIMAL, where="f.yaml")
    document = now.model_dump(mode="json")
    for model in (document["annotator"], document["criticizer"]):
        for field in ("endpoints", "adaptive", "requests_per_minute", "tokens_per_minute"):
            del model[field]
    assert CampaignFile.model_validate(document) == now


def test_every_problem_has_a_line_of_its_own() -> None:
    with pytest.raises(UserError) as caught:
        parse_campaign("name: x\n", where="f.yaml")
    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ntask: [", "f.yaml:2: not valid YAML"),
        ("- a\n- b\n", "f.yaml: a campaign file is a mapping"),
        ("", "f.yaml: a campaign file is a mapping"),
        ("!!python/object/apply:os.system [x]", "f.yaml:1: not valid YAML"),  # hostile tags are not run
    ],
)
def test_broken_yaml_names_the_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=r"f\.yaml") as caught:
        parse_campaign(text, where="f.yaml")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        read_campaign_file(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(UserError, match=r"latin\.yaml: cannot be read as UTF-8"):
        read_campaign_file(tmp_path / "latin.yaml")


def test_canonical_json_is_stable_and_comes_back() -> None:
    file = parse_campaign(MINIMAL, where="f")
    assert CampaignFile.model_validate_json(file.canonical_json()) == file
    reordered = "\n".join(reversed([block for block in MINIMAL.split("\n") if block and not block.startswith((" ", "task"))]))
    again = parse_campaign(
        reordered + "\ntask:\n  labels: [agrees, disagrees, neutral]\n  question: What stance does the statement take?", where="f"
    )
    assert again.canonical_json() == file.canonical_json()


@pytest.mark.parametrize(
    ("budget", "population", "items"),
    [("10%", 2299, 229), ("100%", 7, 7), ("0.1%", 999, 0), (570, 2299, 570), (570, 100, 100), ("29%", 100, 29)],
)
def test_budget_in_items(budget: int | str, population: int, items: int) -> None:
    sampler = parse_campaign(MINIMAL, where="f").sampler.model_copy(update={"budget": budget})
    assert sampler.budget_items(population) == items


def test_labels_with_descriptions() -> None:
    text = MINIMAL.replace("[agrees, disagrees, neutral]", "{agrees: in favour, disagrees: against}")
    assert parse_campaign(text, where="f").task.labels[1].description == "against"


def test_a_source_and_a_mirror_have_sensible_defaults() -> None:
    text = MINIMAL.replace("{budget: 10%}", "{budget: 10%, mode: streaming}") + "source: {topic: posts, fields: {text: body}}\nmirror: {}\n"
    file = parse_campaign(text, where="stance.yaml")
    assert file.source is not None
    assert file.mirror is not None
    assert (file.source.servers, file.source.format, file.source.fields.id, file.source.fields.text) == (None, "json", "@place", ("body",))
    assert file.mirror.content
