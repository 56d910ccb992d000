"""Text of records, models and endpoints on a terminal."""


def printable(text: str) -> str:
    """Replace every character that could steer a terminal: what a record says is shown, never obeyed."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
