"""Content negotiation for views with a single representation."""

from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request


class SingleFormatNegotiation(BaseContentNegotiation):
    """Use the view's first parser and renderer, whatever the client sends or accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next(iter(parsers))

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
