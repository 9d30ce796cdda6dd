"""Find rows of a file that describe the same device as an earlier row."""

from uuid import UUID

from devices.imports.errors import InvalidRow
from devices.imports.models import DeviceImport, ImportRow
from devices.imports.values import RowData, row_data
from devices.registry import identity
from devices.registry.errors import IdentifierRequired
from devices.registry.identifiers import Identifier, label
from devices.registry.identity import Candidate, Verdict


class Repeats:
    """The rows of one file so far, by identifier and by known device.

    Only hashes are kept, so that the memory for the largest file is about 30 MB.
    """

    def __init__(self, device_import: DeviceImport) -> None:
        self._import = device_import
        self._rows: dict[int, int] = {}
        self._unstored: dict[int, list[Identifier]] = {}
        stored = ImportRow.objects.filter(
            device_import=device_import, outcome__in=ImportRow.APPLIED
        )
        for number, values, device_id in stored.values_list(
            "number", "values", "device_id"
        ).iterator():
            self._note(number, _identifiers(row_data(values)), device_id)

    def same_device(self, number: int, data: RowData, device_id: UUID | None) -> int | None:
        """Return the number of the earlier row with the same device. If there is none, note this row.

        Args:
            device_id: the known device of the row.

        Raises:
            InvalidRow: the row has an identifier of an earlier row, but is not the same device,
                or perhaps not.
        """
        if device_id is not None and (first := self._rows.get(hash(device_id))) is not None:
            return first
        identifiers = _identifiers(data)
        first_of = {
            item: self._rows[hash(item)] for item in identifiers if hash(item) in self._rows
        }
        if first_of:
            return self._decide(identifiers, first_of)
        self._note(number, identifiers, device_id)
        self._unstored[number] = identifiers
        return None

    def note_stored(self) -> None:
        """Note that all rows so far are in the database."""
        self._unstored.clear()

    def _decide(self, identifiers: list[Identifier], first_of: dict[Identifier, int]) -> int:
        numbers = set(first_of.values())
        earlier = {n: items for n, items in self._unstored.items() if n in numbers}
        stored = ImportRow.objects.filter(
            device_import=self._import, number__in=numbers - earlier.keys()
        )
        earlier |= {row.number: _identifiers(row_data(row.values)) for row in stored}
        candidates = [
            Candidate(UUID(int=number), frozenset(items)) for number, items in earlier.items()
        ]
        decision = identity.decide(identifiers, candidates)
        if decision.verdict is Verdict.SAME and decision.device_id is not None:
            return decision.device_id.int
        item, row = next(iter(first_of.items()))
        text = label(item)
        raise InvalidRow(
            f"{text[:1].upper()}{text[1:]} {item.written or item.value} is in row {row} as well."
        )

    def _note(self, number: int, identifiers: list[Identifier], device_id: UUID | None) -> None:
        for item in identifiers:
            self._rows.setdefault(hash(item), number)
        if device_id is not None:
            self._rows.setdefault(hash(device_id), number)


def _identifiers(data: RowData) -> list[Identifier]:
    try:
        return data.report.identifiers()
    except IdentifierRequired:
        return []
