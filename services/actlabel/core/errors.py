"""What can go wrong, named by what to do next.

An exception tells its catcher what to do (getsentry/arroyo): show a person one line, try again later, put the record aside, or stop.
"""


class ActlabelError(Exception):
    """Something went wrong in actlabel."""

    def __init__(self, message: str | None = None) -> None:
        """Keep ``message``, or the first line of the class's docstring where none is given."""
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class UserError(ActlabelError):
    """The input is not usable.

    Shown to a person as one line, without a traceback: what is wrong, where (file and line, or field), what to do. Nothing was written.
    """


class NotUsableYet(UserError):
    """What the settings name cannot be used for now: it is out of reach, refuses us, or a file is not there.

    A command says so and ends. A stage says so, stays, and tries again: once a person has repaired it, the same start succeeds.
    """


class DeadLetter(ActlabelError):
    """This record cannot be processed and is put aside with its bytes."""

    def __init__(self, reason: str, detail: str) -> None:
        """``reason``: a word of a closed list, good for counting. ``detail``: one line for a person."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RetryLater(ActlabelError):
    """Something that is needed is out of reach for now; the same call may succeed later."""


class EndpointUnavailable(RetryLater):
    """A model endpoint did not answer in spite of retries; this counts towards the item's deadline, our own outages do not."""


class CampaignPaused(ActlabelError):
    """The campaign does not go on at this stage until a person lifts the pause.

    The record stays where it is: it is neither done nor put aside.
    """


class Fatal(ActlabelError):
    """This process cannot go on safely and must be restarted."""
