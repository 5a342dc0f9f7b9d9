"""`python -m gansmith` is `gansmith`."""

from gansmith.cli import main

if __name__ == "__main__":
    main()
