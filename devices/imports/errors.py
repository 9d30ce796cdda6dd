"""Errors raised by the services of imports."""

from core.errors import Conflict, Invalid, Missing


class UnreadableFile(Invalid):
    """The file is not a table that can be read."""

    code = "file_unreadable"


class EncodingUnknown(UnreadableFile):
    """The text is not UTF-8, and it is not certain what it is."""

    code = "encoding_unknown"
    sentence = (
        "The file is not in UTF-8, and its encoding is not certain. Choose the encoding, or save"
        " the file as CSV UTF-8."
    )


class ImportFileTooLarge(Invalid):
    code = "file_too_large"


class InvalidColumns(Invalid):
    code = "columns_invalid"


class InvalidRow(Invalid):
    """A row has a value that cannot be used."""

    code = "row_invalid"


class NoSuchImport(Missing):
    code = "import_not_found"


class TooManyImports(Conflict):
    code = "too_many_imports"
    sentence = "There are too many unfinished imports. Finish or cancel one of them first."


class ImportStateConflict(Conflict):
    """The state of the import does not allow the operation."""

    code = "import_state_conflict"
