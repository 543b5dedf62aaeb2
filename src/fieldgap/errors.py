"""The one error that users see: a sentence that names the file or the key, and the mend."""


class InputError(Exception):
    """Bad input. The command line prints the message alone and ends with status 1."""
