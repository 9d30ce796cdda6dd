"""Extension points: where a lower package calls functions of the packages above it."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from django.utils.module_loading import import_string

F = TypeVar("F", bound=Callable[..., Any])


class ExtensionPoint(Generic[F]):
    """A list of functions, registered by dotted path in the `apps.py` of their package.

    A path is imported when the point is first used, so registering imports nothing and
    cannot form an import cycle. A system check imports every registered path.
    """

    known: ClassVar[list["ExtensionPoint[Any]"]] = []

    def __init__(self, name: str) -> None:
        self.name = name
        self.paths: list[str] = []
        self._functions: tuple[F, ...] | None = None
        self.known.append(self)

    def register(self, path: str, *, first: bool = False) -> None:
        """Add a function.

        Args:
            path: dotted path of the function.
            first: whether to call the function before those that are registered already.
        """
        if path not in self.paths:
            self.paths.insert(0 if first else len(self.paths), path)
            self._functions = None

    def __iter__(self) -> Iterator[F]:
        if self._functions is None:
            self._functions = tuple(import_string(path) for path in self.paths)
        return iter(self._functions)
