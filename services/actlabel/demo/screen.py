"""What the demo tells a person while it works: the port. The command line has the screens."""

from typing import Protocol

from actlabel.host.progress import CampaignProgress


class Screen(Protocol):
    """Where lines and progress go."""

    def say(self, line: str) -> None:
        """Print one line that stays."""

    def progress(self, progress: CampaignProgress) -> None:
        """Show how far the campaign is; called about twice a second."""

    def settled(self) -> None:
        """End the display of progress; lines may follow."""
