"""What pyright is to know of transformers: nothing. Its own package pulls in every model it has, a minute's work."""

from typing import Any

def __getattr__(name: str) -> Any: ...
