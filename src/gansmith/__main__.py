"""`python -m gansmith` is `gansmith`, also as one of the processes that torchrun starts."""

import os

from gansmith.cli import main
from gansmith.launch import leave_at_once


def _exit_code_of_main() -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        leave_at_once(_exit_code_of_main())
    main()
