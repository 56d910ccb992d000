"""Write the dashboards: ``python -m deploy.grafana.generate`` from the repository's root. The JSON is generated; edit ``pages``."""

import json
from pathlib import Path
from typing import Final

from deploy.grafana.pages import campaign, cost, pipeline, review, training
from deploy.grafana.panels import Page, document

FOLDER: Final = Path(__file__).parent / "dashboards"
PAGES: Final = (pipeline.PAGE, campaign.PAGE, cost.PAGE, review.PAGE, training.PAGE)


def text_of(page: Page) -> str:
    """Write one dashboard."""
    return json.dumps(document(page), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them, and remove what is no longer a page."""
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for page in PAGES:
        (FOLDER / f"{page.uid}.json").write_text(text_of(page), encoding="utf-8")


if __name__ == "__main__":
    main()
