"""What ends a stage early and is no defect of the program."""

import signal


class InputError(Exception):
    """Bad input. The command line prints the message alone, which names file or key and the mend, and ends with 1."""


class StoppedError(Exception):
    """A signal asked for a stop, and it was made in good order. The command line ends with status 128 + its number."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {where}")
        self.number = number
