"""Text and token ids: the vocabulary, chat templates, and where a step ends."""
