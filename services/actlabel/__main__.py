"""``python -m actlabel``, the same as the ``actlabel`` command."""

from actlabel.cli.app import main

if __name__ == "__main__":
    main()
