"""The demo's campaign file: the same page that a person writes, kept in the demo's folder to be copied."""

from pathlib import Path

from actlabel.core.errors import UserError
from actlabel.demo.digits import LABELS
from actlabel.demo.models import ANNOTATOR, CRITIC
from actlabel.runtime.campaign_file import CampaignFile, parse_campaign, read_campaign_file

_PAGE = """\
# A campaign of your own looks like this one: `actlabel campaign apply campaign.yaml`.
name: {name}
task:
  question: Which digit is written here?
  labels: [{labels}]
  guidelines: |
    Say what the writer meant. A 7 with a bar is a 7; an open 4 is a 4.
annotator:
  endpoint: {endpoint}
  model: {annotator}
  price: {price}
criticizer:
  endpoint: {endpoint}
  model: {critic}
  strategy: naive
  price: {price}
sampler:
  rule: threshold
  budget: {budget}
  audit_share: {audit_share}
review:
  undo_seconds: 0  # the demo's reviewer never changes its mind
spend_cap_usd: 5.00
seed: {seed}
"""
# What a small hosted model charges: the demo's models are free, and the costs show how money is counted.
_PRICE = "{input_usd_per_million_tokens: 0.15, output_usd_per_million_tokens: 0.60}"


def campaign_page(*, name: str, endpoint: str, budget: str, audit_share: float, seed: int) -> str:
    """Fill in the page."""
    return _PAGE.format(
        name=name,
        labels=", ".join(f'"{label}"' for label in LABELS),
        endpoint=endpoint,
        annotator=ANNOTATOR,
        critic=CRITIC,
        price=_PRICE,
        budget=budget,
        audit_share=audit_share,
        seed=seed,
    )


def write_campaign(path: Path, page: str) -> CampaignFile:
    """Write the page and read it back as any campaign file is read. Raises ``UserError`` for a disk that refuses."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    return read_campaign_file(path)


def check_budget(budget: str) -> None:
    """Refuse a budget that a campaign file cannot have, before anything is made. Raises ``UserError``."""
    parse_campaign(campaign_page(name="digits", endpoint="http://localhost", budget=budget, audit_share=0.0, seed=0), where="--budget")
